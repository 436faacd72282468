"""Random histories with hostile members: whatever comes in whatever order, all sites end up the same (L2, L5, L6).

Three honest sites and two hostile ones write, forge, exchange commits, keys and holds, lose their processes and views,
and derive in batches of any size. In the end views, held commits and damaged records are equal
everywhere, follow from the logs, and no commit of an honest site was ever held by anybody's word.
"""

from __future__ import annotations

import random

import pytest

from crdtsync.documents import EditText, SetField
from crdtsync.documents.text import Hunk
from crdtsync.ids import CommitId, RecordId, client_id
from crdtsync.practice import Patient
from crdtsync.replication.commit import Change
from crdtsync.storage.memory import MemoryStore

from .hostile import POISONS, Member, Pen, Records, deletion, entry, seal, text_after
from .sites import keys_of, patient_of, record_of

RECORDS = 4
STEPS = 90


class History:
    """One random history."""

    def __init__(self, seed: int) -> None:
        self.chance = random.Random(seed)
        signed: Records = {}
        self.honest = [Member(name, signed, MemoryStore()) for name in ("jena", "gera", "weimar")]
        self.hostile = [Member(name, signed, MemoryStore()) for name in ("mallory", "mordred")]
        self.all = [*self.honest, *self.hostile]
        self.forged: set[CommitId] = set()
        self.own = 100

    def run(self) -> None:
        moves = [self.write] * 4 + [self.forge] * 2 + [self.exchange] * 6 + [self.learn] * 2 + [self.keys, self.restart]
        for _ in range(STEPS):
            self.chance.choice(moves)()
        self.calm()
        for site in self.honest:
            self.own += 1
            self.put(site, patient_of(self.own, family_name=site.name))
        self.calm()
        self.check()

    # -- moves ---------------------------------------------------------------------------------------------------------

    def record(self) -> RecordId:
        return record_of(self.chance.randrange(RECORDS))

    def put(self, site: Member, *patients: Patient) -> None:
        if site.engine.needs_boot:
            site.engine.open_boot()
        site.write(*patients)

    def write(self) -> None:
        """An honest transaction, by anybody."""
        site = self.chance.choice(self.all)
        site.derive(self.chance.choice([1, 3, 1_000]))
        patients = []
        for number in self.chance.sample(range(RECORDS), self.chance.randint(1, 2)):
            found = site.engine.record("patient", record_of(number))
            if found is None or not found.content.slots:
                patients.append(patient_of(number, title=f"{site.name}{self.chance.random()}"))
                continue
            patient = site.patient(number)
            if self.chance.random() < 0.5:
                patient.title = f"{site.name}{self.chance.random()}"
            elif self.chance.random() < 0.5:
                patient.family_name = f"{site.name}{self.chance.random()}"
            else:
                at = self.chance.randrange(len(str(patient.note)) + 1)
                if at and self.chance.random() < 0.3:
                    patient.note.delete(at - 1, 1)
                else:
                    patient.note.insert(at, self.chance.choice("äbc😀"))
                patient.given_name = str(self.chance.random())
            patients.append(patient)
        self.put(site, *patients)

    def forge(self) -> None:
        """A commit of a hostile member, past its own gate."""
        site = self.chance.choice(self.hostile)
        if site.engine.needs_boot and self.chance.random() < 0.7:
            site.engine.open_boot()
        parts: dict[str, list[Change]] = {}
        for _ in range(self.chance.randint(1, 3)):
            record = self.record()
            subject = record if self.chance.random() < 0.9 else self.record()
            kind = "patient" if self.chance.random() < 0.95 else "task"
            parts.setdefault(subject, []).append(Change(kind, record, self.delta(site, record)))
        content: list[tuple[str, object]] = list(parts.items())
        if self.chance.random() < 0.05:
            content.append((self.record() + "x", b"s" * 200))
        fragments = 2 if self.chance.random() < 0.1 else 1
        self.forged.update(commit.id for commit in seal(site, *content, fragments=fragments))  # type: ignore[arg-type]

    def delta(self, site: Member, record: RecordId) -> bytes:
        chance, pen = self.chance, Pen(site)
        assert site.engine.log is not None
        client = client_id(site.engine.log, record)
        other = chance.choice(self.all)
        assert other.engine.log is not None
        states = [site.state("patient", record)]
        if chance.random() < 0.5:
            states.append(other.state("patient", record))  # what its commit does not name
        edits = pen.overwrite("title", chance.random(), states[-1]) if states[-1] else [SetField("title", "evil", {})]
        kind = chance.randrange(9)
        if kind <= 2:
            return pen.delta(record, edits, *states)
        if kind == 3:
            return pen.deltas(record, [edits, [SetField("sex", "x", {})]], *states)[1]  # a gap before it
        if kind == 4:
            return pen.delta(record, [EditText("note", "", (Hunk(0, 0, "first"),))])  # the same clocks again
        if kind == 5:
            return deletion(client_id(other.engine.log, record), chance.randrange(8), chance.randrange(1, 4))
        if kind == 6:
            return text_after(client, chance.randrange(3), client_id(other.engine.log, record), chance.randrange(6))
        if kind == 7:
            return entry(client, chance.randrange(4))
        return chance.choice(list(POISONS.values()))(client, record)

    def exchange(self) -> None:
        one, other = self.chance.sample(self.all, 2)
        arrived = len(other.store.arrivals(0, 10**6, 10**9))
        one.pull(other, upto=self.chance.randint(0, arrived), keys=self.chance.random() < 0.7)
        if self.chance.random() < 0.7:
            one.derive(self.chance.choice([1, 2, 1_000]))

    def learn(self) -> None:
        site = self.chance.choice(self.all)
        signed = sorted(site.signed)
        site.learn_holds(self.chance.sample(signed, self.chance.randint(0, len(signed))))

    def keys(self) -> None:
        one, other = self.chance.sample(self.all, 2)
        one.pull_keys(other)
        if self.chance.random() < 0.7:
            one.sign(one.engine.derive_waiting(one.now(), self.chance.choice([1, 1_000])))

    def restart(self) -> None:
        site = self.chance.choice(self.all)
        if self.chance.random() < 0.2:
            site.store.reset_view()
        site.restart()

    # -- the end -------------------------------------------------------------------------------------------------------

    def calm(self) -> None:
        before = (-1, -1)
        signed = self.all[0].signed
        while before != (now := (len(signed), sum(len(site.engine.frontier()) for site in self.all))):
            before = now
            for one in self.all:
                for other in self.all:
                    if one is not other:
                        one.pull(other)
                        one.pull_keys(other)
                one.derive()
            for one in self.all:
                one.learn_holds(signed)
                one.derive()

    def check(self) -> None:
        first = self.all[0]
        truth = first.engine.digest(), first.held(), first.damaged()
        assert {commit for commit, _, _ in first.signed.values()} <= self.forged, "an honest commit was held"
        for site in self.all:
            assert site.engine.frontier() == first.engine.frontier()
            assert (site.engine.digest(), site.held(), site.damaged()) == truth, site.name
            assert site.engine.verify(None, keys_of(*self.all)).problems == []
            for number in range(101, self.own + 1):
                assert site.patient(number).family_name == self.honest[number - 101].name
        for site in self.all:
            site.engine.rebuild(site.now())
            assert (site.engine.digest(), site.held(), site.damaged()) == truth, f"{site.name} rebuilt"
            site.restart()
            site.derive()
            assert (site.engine.digest(), site.held(), site.damaged()) == truth, f"{site.name} restarted"


@pytest.mark.parametrize("seed", [*range(8), 16, 22, 95, 1045])
def test_all_sites_agree_in_the_end(seed: int) -> None:
    History(seed).run()


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(100, 160))
def test_all_sites_agree_in_the_end_many(seed: int) -> None:
    History(seed).run()
