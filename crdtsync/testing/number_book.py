"""The book of patient numbers: which patient was shown with which number, at any site, at any time.

It is independent of the code under test: it keeps what was set, handed out and shown, and says when one number stands
for two patients. Three things excuse that, each counted by itself, and only then: what an older disk, put back, has
taken from everybody; copies of one disk that gave numbers before they heard of each other; and ranges with numbers in
common that were set unseen by each other. What is excused and still stands must be shown as a conflict.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from crdtsync.errors import StorageFailure
from crdtsync.ids import RecordId, base32
from crdtsync.testing.verdict import OracleFailed

if TYPE_CHECKING:
    from crdtsync.testing.node import Node


@dataclass(frozen=True, slots=True)
class Given:
    """A number as it was first shown: who has it, and on whose machine that was seen."""

    holder: str
    seen_at: str


class NumberBook:
    """`patients` are all that were ever to get a number; `excuses` counts why a number stood for two."""

    def __init__(self) -> None:
        self.patients: list[RecordId] = []
        self.excuses: Counter[str] = Counter()
        self.restored: set[str] = set()
        """Identities whose disk was set back."""
        self.cloned: set[str] = set()
        """Identities of which two machines run."""
        self.spans: list[tuple[int, int, str]] = []
        """First, last and identity of all ranges that were set."""
        self.shown = 0
        self._lost: dict[str, int] = {}
        self._given: dict[int, Given] = {}
        self._twice: set[tuple[str, str, int]] = set()

    def set(self, first: int, last: int, identity: str) -> None:
        """A range was set."""
        self.spans.append((first, last, identity))

    def lost(self, node: Node) -> None:
        """Others brought commits of this one that its disk lacked: the ranges that it had are closed from now on. A
        copy of its disk that has heard of nothing yet goes on."""
        self._lost[node.name] = len(self.spans)

    def fresh(self, node: Node, patients: Iterable[RecordId]) -> None:
        """These were created just now: none has a number out of a closed range. Raises OracleFailed."""
        closed = self.spans[: self._lost.get(node.name, 0)]
        for patient in patients:
            number = _number(node, patient) or 0
            if any(first <= number <= last and owner == node.identity for first, last, owner in closed):
                raise OracleFailed(f"L4: {node.name} gives {number} of a range that is closed")

    def handed_out(self, node: Node, first: int, last: int, nodes: Sequence[Node]) -> None:
        """A block was carved for a workstation: its numbers are as good as given, unless somebody has them already."""
        held = {number for patient in self.patients for other in nodes if (number := _number(other, patient))}
        for number in range(first, last + 1):
            if number not in held:
                self._note(node, f"workstation {first}", number, nodes)

    def look(self, node: Node, nodes: Sequence[Node]) -> None:
        """What a site shows now. Raises OracleFailed for a number that stands for two without an excuse."""
        for patient in self.patients:
            number = _number(node, patient)
            if number is not None:
                self._note(node, patient, number, nodes)

    def _note(self, node: Node, holder: str, number: int, nodes: Sequence[Node]) -> None:
        known = self._given.setdefault(number, Given(holder, node.identity))
        self.shown += 1
        if known.holder == holder or (known.holder, holder, number) in self._twice:
            return
        excuse = self._excuse(known, number, nodes)
        if not excuse:
            raise OracleFailed(f"number {number}, which {known.holder} has, is given to {holder}, as {node.name} shows")
        self.excuses[excuse] += 1
        self._twice |= {(known.holder, holder, number), (holder, known.holder, number)}

    def _excuse(self, known: Given, number: int, nodes: Sequence[Node]) -> str:
        owners = [identity for first, last, identity in self.spans if first <= number <= last]
        if len(owners) > 1:
            return "overlapping ranges"
        if self.cloned.intersection(owners):
            return "copies of one disk"
        if self.restored.intersection(owners):
            holds = any(_number(node, RecordId(known.holder)) == number for node in nodes)
            return "set back, and not all others were reached" if holds else "lost with a disk"
        return ""

    def conflicts(self, node: Node) -> None:
        """At rest: what stands for two patients is a conflict. Raises OracleFailed."""
        shown: dict[int, list[RecordId]] = {}
        for patient in self.patients:
            number = _number(node, patient)
            if number is not None:
                shown.setdefault(number, []).append(patient)
        told = {
            tuple(json.loads(each.body)["records"]) for each in node.disk.conflicts() if each.kind == "duplicate_number"
        }
        for number, patients in shown.items():
            if len(patients) > 1 and not any({*pair} <= {*patients} for pair in told):
                raise OracleFailed(f"{node.name} shows {number} for {len(patients)} patients, and no conflict of it")

    def followers(self, nodes: Iterable[Node]) -> None:
        """At rest: whoever was told that a number follows has it, where the site has numbers left. Raises
        OracleFailed."""
        for node in nodes:
            host = node.host
            busy = node.replica_id in node.replica.suspended or node.replica.recovering or node.replica.superseded
            if busy or host.numbers.unconfirmed or not any(source.left for source in host.ranges.sources()):
                continue
            for patient in self.patients:
                row = node.disk.row("patient", patient)
                if row and row.get("number") is None and row.get("number_follows") == base32(node.replica_id):
                    raise OracleFailed(f"{node.name} has numbers left, and {patient} still waits for one")


def _number(node: Node, patient: RecordId) -> int | None:
    """The number that a disk shows, whether its process runs or not."""
    try:
        row = node.disk.row("patient", patient)
    except StorageFailure:
        return None
    number = None if row is None else row.get("number")
    return number if type(number) is int else None
