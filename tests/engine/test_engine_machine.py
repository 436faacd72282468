"""Two or three engines over random histories: whatever order, batches, late keys, crashes and new boots, equal logs
make equal views, a view is what follows from its log, and verifying finds nothing (L1, L2, L5, L8).
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test

from crdtsync import limits
from crdtsync.documents import Record
from crdtsync.engine import Engine
from crdtsync.ids import DataKeyId, RecordId
from crdtsync.replication.commit import Commit
from crdtsync.sealing.keyring import Keyring
from crdtsync.storage.memory import MemoryStore
from crdtsync.testing.desk_rules import Sheet, edit_sheet
from crdtsync.testing.world import tightened
from tests.examples import examples

from .sites import EPOCH_KEY, PRACTICE, SiteRig, patient_of, record_of

RECORDS = 4
SITES = st.integers(0, 2)
NEXT_EPOCH = b"f" * 32
TIGHT = {"commit_bytes_target": 900, "documents_cached_max": 2, "tail_bytes_max": 2_000, "subjects_replayed_max": 1}


class EngineMachine(RuleBasedStateMachine):
    """Engines over stores in memory; what is not derived, or waits for keys, is behind and not different."""

    def __init__(self) -> None:
        super().__init__()
        self.sites: list[SiteRig] = []
        self.told: dict[str, int] = {}

    @initialize(
        count=st.integers(2, 3),
        tight=st.booleans(),
        first=st.lists(st.tuples(SITES, st.integers(0, 2**20)), max_size=6),
    )
    def found(self, count: int, tight: bool, first: list[tuple[int, int]]) -> None:
        self.bounds = tightened(TIGHT if tight else {})
        self.bounds.__enter__()
        self.sites = [SiteRig(name, MemoryStore()) for name in ("jena", "weimar", "gera")[:count]]
        for site in self.sites:
            self.memory(site).view_checkpoint_every = 3
        self.told = {site.name: 0 for site in self.sites}
        for who, number in first:
            self.write(who, [(number, number % RECORDS)])

    def site(self, number: int) -> SiteRig:
        return self.sites[number % len(self.sites)]

    def memory(self, site: SiteRig) -> MemoryStore:
        assert isinstance(site.store, MemoryStore)
        return site.store

    # -- writing ----------------------------------------------------------------------------------------------------

    @rule(
        who=SITES, edits=st.lists(st.tuples(st.integers(0, 2**20), st.integers(0, RECORDS - 1)), min_size=1, max_size=3)
    )
    def write(self, who: int, edits: list[tuple[int, int]]) -> None:
        site = self.site(who)
        site.derive()
        if site.engine.needs_boot:
            site.engine.open_boot()
        requests = [site.request(self.edited(site, number, record)) for number, record in edits]
        before = site.engine.last_sequence
        outcomes = site.write_all(requests)
        assert [outcome.error for outcome in outcomes] == [None] * len(edits)
        written = [commit.header.sequence for outcome in outcomes for commit in outcome.commits]
        assert written == list(range(before + 1, before + 1 + len(written))), "L3: each place is given once"

    def edited(self, site: SiteRig, number: int, record: int) -> Record:
        if number // 5 % 3 == 0:
            return self.edited_sheet(site, number, record_of(record + RECORDS), record_of(record))
        state = site.engine.record("patient", record_of(record))
        patient = patient_of(record) if state is None else site.patient(record)
        what = number % 5
        if what == 0:
            patient.title = f"t{number % 7}"
        elif what == 1:
            patient.phones.add(f"0{number % 9}")
        elif what == 2 and len(patient.phones):
            patient.phones.remove(list(patient.phones)[number % len(patient.phones)])
        elif what == 3:
            patient.family_name = "Ä" * (number % 400)
        else:
            patient.note.insert(number % (len(patient.note) + 1), ["ü", "ab", "€"][number % 3])
        return patient

    def edited_sheet(self, site: SiteRig, number: int, record: RecordId, patient: RecordId) -> Record:
        """A record with a field under each rule."""
        if site.engine.record(Sheet.kind, record) is None:
            sheet: Record = Sheet(patient=patient, consent=True)
            sheet.id = record
        else:
            sheet = site.get(Sheet.kind, record)
        edit_sheet(sheet, random.Random(number))
        return sheet

    @rule(who=SITES)
    def a_next_epoch_begins(self, who: int) -> None:
        """Others read what is sealed under it when its key comes to them."""
        site = self.site(who)
        epoch = site.keyring.learn(NEXT_EPOCH)
        site.grant = site.grant.__class__(site.grant.members, epoch)

    @rule(who=SITES)
    def an_epochs_key_comes(self, who: int) -> None:
        self.site(who).keyring.learn(NEXT_EPOCH)

    # -- receiving --------------------------------------------------------------------------------------------------

    @rule(who=SITES, other=SITES, most=st.integers(1, 9), keys=st.booleans(), seed=st.integers(0, 2**32))
    def pull(self, who: int, other: int, most: int, keys: bool, seed: int) -> None:
        """Some of what another has, interleaved in any causal order, in any batches, with its keys or without."""
        site, source, chance = self.site(who), self.site(other), random.Random(seed)
        commits = causal(site, source, chance)[:most]
        while commits:
            size = chance.randint(1, len(commits))
            batch, commits = commits[:size], commits[size:]
            ids = [ref.key for commit in batch for ref in commit.header.parts if ref.introduces]
            site.engine.append(
                [(commit, chance.random() < 0.5) for commit in batch],
                source.engine.read_keys(ids) if keys else (),
                site.now(),
            )

    @rule(who=SITES, other=SITES, part=st.integers(0, 3))
    def keys_come(self, who: int, other: int, part: int) -> None:
        site = self.site(who)
        wanted = [key for at, key in enumerate(named(site)) if part == 3 or at % 3 == part]
        site.engine.put_keys(self.site(other).engine.read_keys(wanted))

    @rule(who=SITES, batch=st.integers(1, 5))
    def derive(self, who: int, batch: int) -> None:
        site = self.site(who)
        result = site.engine.derive(site.now(), batch)
        assert result.alarms == []
        assert result.arrival <= site.store.log_head().arrival

    @rule(who=SITES, batch=st.integers(1, 4))
    def derive_what_waited(self, who: int, batch: int) -> None:
        site = self.site(who)
        assert site.engine.derive_waiting(site.now(), batch).alarms == []

    @rule(who=SITES)
    def rebuild(self, who: int) -> None:
        """L8: the digest is as before. What waits for keys may wait for other things then, so it is left out."""
        site = self.site(who)
        waits = bool(site.derive().waiting)
        before = site.engine.digest()
        assert site.engine.rebuild(site.now()) == before or waits

    @rule(seed=st.integers(0, 2**32), acts=st.integers(5, 30))
    def a_while_passes(self, seed: int, acts: int) -> None:
        """Everybody writes and takes from each other, mostly with the keys that belong to it."""
        chance = random.Random(seed)
        for _ in range(acts):
            who, other, number = chance.randrange(3), chance.randrange(3), chance.randrange(2**20)
            act = chance.random()
            if act < 0.4:
                self.write(who, [(number, chance.randrange(RECORDS)) for _ in range(chance.randint(1, 2))])
            elif act < 0.8:
                self.pull(who, other, chance.randint(1, 9), chance.random() < 0.7, number)
            elif act < 0.9:
                self.derive(who, chance.randint(1, 5))
            else:
                self.keys_come(who, other, chance.randrange(4))

    # -- the end of a process -----------------------------------------------------------------------------------------

    @rule(who=SITES, survive=st.integers(0, 4), fresh=st.booleans())
    def crash(self, who: int, survive: int, fresh: bool) -> None:
        """The log stands, the view may be behind; the log is continued, or a new boot begins."""
        site = self.site(who)
        log_head, frontier = site.store.log_head(), site.store.frontier()
        self.memory(site).crash(lambda written: min(survive, written))
        if fresh or site.engine.log is None:
            site.open()
        else:
            site.reopen()
        assert site.store.log_head() == log_head and site.engine.frontier() == frontier

    @rule(who=SITES)
    def a_new_boot(self, who: int) -> None:
        self.site(who).engine.open_boot()

    # -- what always holds --------------------------------------------------------------------------------------------

    @invariant()
    def views_are_behind_their_logs_or_whole(self) -> None:
        whole: dict[Any, tuple[str, int]] = {}
        for site in self.sites:
            status = site.engine.status()
            assert status.held == () and status.derived <= status.arrival
            assert status.digest == digest_of(site)[0] and status.records == digest_of(site)[1]
            if status.derived == status.arrival and not status.waiting:
                frontier = tuple(sorted(site.engine.frontier().items()))
                assert whole.setdefault(frontier, site.engine.digest()) == site.engine.digest(), "L5"

    @rule(who=SITES)
    def a_view_is_what_follows_from_its_log(self, who: int) -> None:
        """L8: by fresh objects, over a copy of the disk."""
        site = self.site(who)
        if site.derive().waiting:
            return
        twin = Engine(self.memory(site).copy(), site.sealer, keyring_of(site), practice=PRACTICE, replica=site.replica)
        assert twin.rebuild(site.now()) == site.engine.digest()

    @rule(who=SITES)
    def verifying_finds_nothing(self, who: int) -> None:
        site = self.site(who)
        site.derive()
        assert site.verify(*self.sites) == []

    def teardown(self) -> None:
        try:
            self.agree()
        finally:
            if self.sites:
                self.bounds.__exit__(None, None, None)

    def agree(self) -> None:
        """Everything comes to everybody."""
        for _ in range(2):
            for at in range(len(self.sites)):
                self.an_epochs_key_comes(at)
                for other in range(len(self.sites)):
                    self.pull(at, other, 10_000, True, at)
                    self.keys_come(at, other, 3)
                self.site(at).derive()
        for site in self.sites:
            assert site.store.waiting() == {} and not site.engine.status().waiting
            assert site.engine.frontier() == self.sites[0].engine.frontier()
            assert site.engine.digest() == self.sites[0].engine.digest()
            assert shown(site) == shown(self.sites[0])
            assert site.verify(*self.sites) == []
            assert site.engine.rebuild(site.now()) == site.engine.digest() == self.sites[0].engine.digest()


def causal(site: SiteRig, source: SiteRig, chance: random.Random) -> list[Commit]:
    """What `source` has and `site` lacks, in any order in which each stands behind all that it depends on."""
    at = {log: head.sequence for log, head in site.engine.frontier().items()}
    ends = {log: head.sequence for log, head in source.engine.frontier().items()}
    found = []
    while True:
        ready = []
        for log in sorted(log for log in ends if at.get(log, 0) < ends[log]):
            stored = source.store.commit(log, at.get(log, 0) + 1)
            assert stored is not None
            if all(at.get(other, 0) >= head.sequence for other, head in stored.commit.header.dependencies):
                ready.append(stored.commit)
        if not ready:
            return found
        commit = chance.choice(ready)
        at[commit.header.log] = commit.header.sequence
        found.append(commit)


def named(site: SiteRig) -> Sequence[DataKeyId]:
    """The keys that parts in the log name."""
    stored = site.store.arrivals(0, 10**6, 10**9)
    return list(dict.fromkeys(ref.key for each in stored for ref in each.commit.header.parts))


def keyring_of(site: SiteRig) -> Keyring:
    keyring = Keyring(site.sealer)
    for key in (EPOCH_KEY, NEXT_EPOCH):
        if site.keyring.has(site.sealer.epoch_id(key)):
            keyring.learn(key)
    return keyring


def digest_of(site: SiteRig) -> tuple[str, int]:
    """The order-free sum of what the documents say of themselves (L5)."""
    documents = site.store.documents(None, ("", ""), limits.query_rows_max)
    total = sum(int.from_bytes(document.fingerprint, "big") for document in documents) % (1 << 256)
    return total.to_bytes(32, "big").hex(), len(documents)


def shown(site: SiteRig) -> Any:
    """Documents, conflicts and rows, as people and programs see them."""
    store = site.store
    assert isinstance(store, MemoryStore)
    documents = [(d.kind, d.record, d.subject, d.fingerprint) for d in store.documents(None, ("", ""), 10**6)]
    rows = [(store.row(kind, record), store.words(kind, record)) for kind, record, _, _ in documents]
    return documents, rows, sorted((c.id, c.record, c.severity, c.body) for c in store.conflicts())


def test_engines_agree_whatever_happens_to_them() -> None:
    machine: Any = EngineMachine
    run_state_machine_as_test(machine, settings=examples(150, steps=15))
