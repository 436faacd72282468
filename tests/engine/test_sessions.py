"""Session guarantees over engines: what a person reads at one site never goes back, and brings along all that its
writers had read (L2). What a view includes is read out of its documents, not asked of the engine.
"""

from __future__ import annotations

import random
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crdtsync.documents import Document, read
from crdtsync.ids import CommitId, LogId
from crdtsync.practice import Patient
from crdtsync.replication.commit import Commit
from crdtsync.storage.memory import MemoryStore
from crdtsync.testing.ledger import OracleFailed
from crdtsync.testing.sessions import Sessions
from tests.examples import examples

from .sites import SiteRig, patient_of, record_of

RECORDS = 3
Ready = Callable[[SiteRig, Commit], bool]


def causal(site: SiteRig, commit: Commit) -> bool:
    """Whether all that a commit depends on is here."""
    here = site.engine.frontier()
    return all(log in here and here[log].sequence >= at.sequence for log, at in commit.header.dependencies)


def careless(site: SiteRig, commit: Commit) -> bool:
    """What L2 is there against."""
    return True


class Practice:
    """Three sites, one person at each. Every write adds one phone number, which nobody takes away."""

    def __init__(self, seed: int, ready: Ready) -> None:
        self.chance = random.Random(seed)
        self.ready = ready
        self.sites = [SiteRig(f"{name}-{seed}", MemoryStore()) for name in ("jena", "weimar", "gera")]
        self.phones: dict[str, CommitId] = {}
        self.books = Sessions()

    def step(self) -> None:
        site, other = self.chance.sample(self.sites, 2)
        act = self.chance.random()
        if act < 0.35:
            self.read(site)
            self.write(site)
        elif act < 0.75:
            self.pull(site, other, self.chance.randint(1, 4))
        elif act < 0.85:
            site.engine.derive(site.now(), self.chance.randint(1, 3))
        elif act < 0.90:
            assert isinstance(site.store, MemoryStore)
            site.store.crash(lambda written: self.chance.randint(0, written))
            site.reopen()
            site.derive()
        elif act < 0.93:
            site.derive()
            site.open()
        elif act < 0.96:
            site.engine.rebuild(site.now())
        self.read(self.chance.choice(self.sites))

    def write(self, site: SiteRig) -> None:
        number = record_of(self.chance.randrange(RECORDS))
        state = site.engine.record("patient", number)
        patient = patient_of(0, phones=[]) if state is None else site.get("patient", number)
        assert isinstance(patient, Patient)
        patient.id = number
        phone = str(len(self.phones))
        patient.phones.add(phone)
        commit = site.write(patient).id
        self.phones[phone] = commit
        self.books.wrote(site.name, commit)

    def pull(self, site: SiteRig, other: SiteRig, most: int) -> None:
        """Take some of what the other has, log by log, in any order in which `ready` lets them in."""
        keys = [ref.key for s in other.store.arrivals(0, 10**6, 10**9) for ref in s.commit.header.parts]
        site.engine.put_keys(other.engine.read_keys(keys))
        for _ in range(most):
            here = site.engine.frontier()
            next_ones = [(log, here[log].sequence + 1 if log in here else 1) for log in sorted(other.engine.frontier())]
            found = [stored.commit for at in next_ones if (stored := other.store.commit(*at)) is not None]
            found = [commit for commit in found if self.ready(site, commit)]
            if not found:
                return
            site.engine.append([(self.chance.choice(found), True)], (), site.now())

    def read(self, site: SiteRig) -> None:
        """All records, as whoever asks this site is shown them: what the log held is derived first."""
        site.derive()
        seen: dict[LogId, set[int]] = {}
        prints: dict[str, bytes] = {}
        for stored in site.store.documents(None, ("", ""), RECORDS):
            prints[stored.record] = stored.fingerprint
            patient = read("patient", stored.record, Document(1, stored.state).content())
            for phone in patient.phones:
                commit = self.phones[phone]
                seen.setdefault(commit.log, set()).add(commit.sequence)
        for log, sequences in seen.items():
            assert sequences == set(range(1, max(sequences) + 1)), f"a gap in {log.hex()}"
        view = {log: max(sequences) for log, sequences in seen.items()}
        for number in range(RECORDS):
            record = record_of(number)
            self.books.read(site.name, view, record=record, fingerprint=prints.get(record, b""))


@given(seed=st.integers(0, 2**32))
@examples(25)
def test_a_session_at_any_site_keeps_its_guarantees(seed: int) -> None:
    practice = Practice(seed, causal)
    for _ in range(40):
        practice.step()


def test_without_causal_order_a_session_is_seen_to_break() -> None:
    """The same sites, each log in its order and nothing more: pure chance shows it in a few histories."""
    broken = 0
    for seed in range(20):
        practice = Practice(seed, careless)
        try:
            for _ in range(60):
                practice.step()
        except OracleFailed as failed:
            assert "writes follow reads" in str(failed)
            broken += 1
    assert broken >= 3


def test_a_view_that_loses_its_newest_transaction_is_seen_to_go_back(monkeypatch: pytest.MonkeyPatch) -> None:
    practice = Practice(1, causal)
    site = practice.sites[0]
    practice.write(site)
    practice.write(site)
    practice.read(site)
    documents = site.store.documents
    older = SiteRig("other").store.documents(None, ("", ""), 9)
    monkeypatch.setattr(site.store, "documents", lambda *asked: older)
    with pytest.raises(OracleFailed, match="reading own writes"):
        practice.read(site)
    monkeypatch.setattr(site.store, "documents", documents)
    practice.read(site)
