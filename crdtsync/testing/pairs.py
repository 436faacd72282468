"""Metamorphic pairs: the same work in two worlds that differ in all that must not matter.

What people do is planned: every field of a record belongs to one site, which writes it in the plan's order, and adds to
and removes from a set only what it has itself put there. Such work commutes, or is ordered by the plan. So whatever the
network, the schedule, the disks and the crashes are, in the end each record has the values of the plan, without a
conflict, at every site; and two worlds with one plan end with the same values.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any, Final

from crdtsync.documents import edits_of, subject_of
from crdtsync.engine import RecordEdits, WriteOutcome, WriteRequest
from crdtsync.ids import RecordId, record_id
from crdtsync.practice import Patient
from crdtsync.testing import oracles
from crdtsync.testing.ground import Machine
from crdtsync.testing.network import Weather
from crdtsync.testing.node import Node
from crdtsync.testing.process import Process
from crdtsync.testing.verdict import OracleFailed
from crdtsync.testing.world import World

SITES: Final = ("Jena", "Weimar", "Gera")
FIELDS: Final = ("family_name", "given_name", "title")
_RECORDS: Final = 4
_ACTS: Final = 40
_RETRY_S: Final = 2.0
_PLAY_S_MAX: Final = 20_000.0

Values = dict[RecordId, dict[str, Any]]


class PairWorld(World):
    """One of the two: lines, latencies, losses, crashes and moments by `seed`, the work by `plan`."""

    def __init__(self, plan: int, seed: int, *, planted: Callable[[Node], None] | None = None) -> None:
        super().__init__(seed, planted=planted)
        self._plan = random.Random(f"crdtsync/pair/{plan}")
        self._left = 0
        self._acts: dict[str, list[tuple[RecordId, str, Any]]] = {name: [] for name in SITES}
        self.records: list[RecordId] = []
        self.expected: Values = {}

    def fuse(self, process: Process, where: str) -> bool:
        """A few crashes, behind any step."""
        return self._left > 0 and self.crashes < 4 and self.streams("fuse").random() < 0.01

    def crashed(self, process: Process) -> None:
        """It comes back soon."""
        super().crashed(process)
        self.timeline.after(self.streams("outages").uniform(0.1, 30.0), process.start)

    def play(self) -> Values:
        """The whole plan; returns the values that every site ends with. Raises OracleFailed where they differ."""
        machines = {name: Machine(self.streams("machines").choice((0.001, 0.02))) for name in SITES}
        self.found(*SITES, machines=machines)
        self.introduce(self.nodes[SITES[0]])
        chance = self.streams("lines")
        for one, other in ((0, 1), (1, 2), (0, 2))[: chance.choice((2, 3))]:
            weather = Weather(10 ** chance.uniform(-3, 0), 0.1, chance.choice((0.0, 0.2)), chance.choice((0.0, 0.3)))
            self.connect([(SITES[one], SITES[other])], weather)
        self._begin()
        self._draw()
        for name in SITES:
            self._next(name)
        while self._left:
            self.run(30.0)
            if self.timeline.now > _PLAY_S_MAX:
                raise OracleFailed(f"{self._left} acts of a plan are not done after {_PLAY_S_MAX:.0f} s")
        self.heal()
        self.settle()
        self.check()
        return self._values()

    def _begin(self) -> None:
        """The records are there, everywhere, before anybody changes them."""
        ids = self._plan
        for _ in range(_RECORDS):
            patient = Patient(family_name="neu")
            patient.id = record_id(ids.randbytes(16))
            self.records.append(patient.id)
            self.expected[patient.id] = {"family_name": "neu"}
            self._submit(self.nodes[SITES[0]], patient, lambda outcome: None)
        self.run(30.0)
        while reason := oracles.unsettled(self.members()):  # how long lines that lose things take is chance
            self.run(30.0)
            if self.timeline.now > _PLAY_S_MAX:
                raise OracleFailed(f"L5: no rest within {_PLAY_S_MAX:.0f} s: {reason}")

    def _draw(self) -> None:
        for number in range(_ACTS):
            at = self._plan.randrange(len(SITES))
            record, value = self._plan.choice(self.records), f"Wert {number}"
            if self._plan.random() < 0.3:
                self._acts[SITES[at]].append((record, "phones", f"0{at}{self._plan.randrange(4)}"))
            else:
                self._acts[SITES[at]].append((record, FIELDS[at], value))
            self._left += 1

    def _next(self, name: str) -> None:
        """The site's next act, when the one before stands."""
        if self._acts[name]:
            self.timeline.after(self.streams(f"moments/{name}").uniform(0.1, 60.0), lambda: self._act(name))

    def _act(self, name: str) -> None:
        node = self.nodes[name]
        record, field, value = self._acts[name][0]
        if not node.awake:
            self.timeline.after(_RETRY_S, lambda: self._act(name))
            return
        patient: Any = self.desk.read(node, "patient", record)
        if patient is None or self._stands(patient, field, value):
            self._done(name, record, field, value)
            return
        if field == "phones":
            patient.phones.add(value)
        else:
            setattr(patient, field, value)
        self._submit(node, patient, lambda outcome: self._written(name, outcome))

    def _stands(self, patient: Any, field: str, value: Any) -> bool:
        """A process may end between writing and saying so: then what it wrote is found when it comes back."""
        return bool(value in patient.phones if field == "phones" else getattr(patient, field) == value)

    def _written(self, name: str, outcome: WriteOutcome | None) -> None:
        if outcome is None or outcome.error is not None:
            self.timeline.after(_RETRY_S, lambda: self._act(name))
        else:
            self._done(name, *self._acts[name][0])

    def _done(self, name: str, record: RecordId, field: str, value: Any) -> None:
        self._acts[name].pop(0)
        self._left -= 1
        values = self.expected[record]
        values[field] = {*values.get(field, ()), value} if field == "phones" else value
        self._next(name)

    def _submit(self, node: Node, patient: Patient, done: Callable[[WriteOutcome | None], None]) -> None:
        ids = self._plan
        edits = edits_of(patient, lambda: ids.randbytes(8).hex())
        change = RecordEdits("patient", patient.id, subject_of(patient), edits)
        node.write(WriteRequest("dr.weber", "work", "desk-1", "care", [change]), done)

    def _values(self) -> Values:
        found: Values = {}
        for node in self.members():
            if node.disk.conflicts():
                raise OracleFailed(f"{node.name} shows a conflict where nobody wrote beside another")
            for record in self.records:
                patient: Any = self.desk.read(node, "patient", record)
                values = {name: getattr(patient, name) for name in FIELDS} | {"phones": sorted(patient.phones)}
                if found.setdefault(record, values) != values:
                    raise OracleFailed(f"{node.name} shows other values of {record} than the others")
        return found


def compare(plan: int, one: int, other: int, *, planted: Callable[[Node], None] | None = None) -> Values:
    """Play one plan in two worlds. Raises OracleFailed when they end with other values."""
    first, second = (PairWorld(plan, seed, planted=planted).play() for seed in (one, other))
    if first != second:
        raise OracleFailed(f"plan {plan} ends with other values in world {other} than in world {one}")
    return first
