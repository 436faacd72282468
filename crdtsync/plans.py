"""Plans to take changes back, kept until they are carried out: sealed, in pieces that are a transaction each.

A plan names records with the edits that undo changes to them, and what each said in these fields when the plan was
made. It is begun only while that is so still; then each piece takes itself out of the plan in the transaction that
makes it a commit, so a plan that was cut short, by a crash or by its caller, goes on where it was, and nothing is done
twice.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Final

from crdtsync import limits
from crdtsync.documents import Content, Edit, edits_from_json, edits_json
from crdtsync.documents.slots import canonical, split_slot
from crdtsync.engine import RecordEdits, WriteRequest
from crdtsync.errors import NotFound, RefusedError
from crdtsync.ids import RecordId
from crdtsync.kept import Kept

_PLANS: Final = "undo.plans"
PURPOSE: Final = "revert"


@dataclass(frozen=True, slots=True)
class Planned:
    """The edits of one record, and a hash of what it said, in the fields that they change, when they were made."""

    edits: RecordEdits
    said: str


@dataclass(frozen=True, slots=True)
class Plan:
    """What is known of a plan without opening its pieces: `rows` of them, for `records` records.

    `what` says in words what is taken back. Once begun it has an `author`, and the time and reason of that.
    """

    id: str
    what: str
    made_ms: int
    records: int = 0
    rows: int = 0
    begun_ms: int = 0
    author: str = ""
    reason: str = ""
    kinds: dict[str, int] = field(default_factory=dict)

    @property
    def begun(self) -> bool:
        """Whether some of it may be written already."""
        return self.begun_ms > 0

    @property
    def purpose(self) -> str:
        """The purpose under which its transactions are written: history tells what belongs together."""
        return f"{PURPOSE} {self.id}"

    def row(self, number: int) -> str:
        """The name of a piece."""
        return f"undo.plan.{self.id}.{number}"


class Plans:
    """The plans of one replica. Used in the store's thread alone."""

    def __init__(self, kept: Kept) -> None:
        self._kept = kept

    def all(self) -> list[Plan]:
        """All plans, oldest first."""
        names = Plan.__slots__
        return [Plan(**{n: each[n] for n in names if n in each}) for each in self._kept.read(_PLANS) or ()]

    def get(self, name: str) -> Plan:
        """A plan. Raises NotFound."""
        found = next((each for each in self.all() if each.id == name), None)
        if found is None:
            raise NotFound(
                f"there is no preview {name} here: it was carried out, or is too old; make a new one with --preview"
            )
        return found

    def add(self, plan: Plan, planned: Sequence[Planned]) -> Plan:
        """Keep a plan, in one synced transaction. The oldest previews that nobody began give way to it."""
        plans = self.all()
        waiting = [each for each in plans if not each.begun]
        gone = waiting[: max(0, len(plans) + 1 - limits.plans_kept_max)]
        if len(plans) - len(gone) >= limits.plans_kept_max:
            raise RefusedError(f"{len(plans)} reverts were begun and not ended: end some of them first")
        step = limits.revert_records_step
        pieces = [[_plain(each) for each in planned[at : at + step]] for at in range(0, len(planned), step)]
        for each in planned:
            plan.kinds[each.edits.kind] = plan.kinds.get(each.edits.kind, 0) + 1
        plan = replace(plan, records=len(planned), rows=len(pieces))
        values: dict[str, Any] = {plan.row(number): piece for number, piece in enumerate(pieces)}
        for old in gone:
            values.update({old.row(number): None for number in range(old.rows)})
        values[_PLANS] = [asdict(each) for each in plans if each not in gone] + [asdict(plan)]
        self._kept.write(values)
        return plan

    def begin(self, name: str, author: str, reason: str, now_ms: int) -> Plan:
        """Begin a plan, durably; one that was begun before goes on as it was. Raises NotFound."""
        plan = self.get(name)
        if plan.begun:
            return plan
        begun = replace(plan, author=author, reason=reason, begun_ms=now_ms)
        self._kept.write({_PLANS: [asdict(begun if each.id == name else each) for each in self.all()]})
        return begun

    def piece(self, plan: Plan, number: int) -> list[Planned]:
        """What is left to be done of a piece: all of it, or nothing."""
        return [_planned(each) for each in self._kept.read(plan.row(number)) or ()]

    def request(self, plan: Plan, number: int) -> WriteRequest | None:
        """A piece as a transaction; None when it is written."""
        planned = self.piece(plan, number)
        if not planned:
            return None
        edits = [each.edits for each in planned]
        return WriteRequest(plan.author, plan.reason, "", plan.purpose, edits, mass=True, ticket=plan.row(number))

    def left(self, plan: Plan) -> int:
        """How many pieces are not written yet."""
        return sum(self._kept.has(plan.row(number)) for number in range(plan.rows))

    def forget(self, name: str) -> Plan:
        """Drop what is left of a plan."""
        plan = self.get(name)
        rows = {plan.row(number): None for number in range(plan.rows)}
        left = [asdict(each) for each in self.all() if each.id != name]
        self._kept.write({**rows, _PLANS: left or None})
        return plan


def said(content: Content | None, edits: Sequence[Edit]) -> str:
    """A hash of what a record says in the fields that edits change: while it is the same, they do what they did."""
    found, fields = content or Content({}, {}), {edit.field for edit in edits}
    slots = {slot: raw for slot, raw in found.slots.items() if split_slot(slot)[0] in fields}
    texts = {field: text for field, text in found.texts.items() if field in fields}
    return hashlib.sha256(canonical([slots, texts]).encode()).hexdigest()


def _plain(planned: Planned) -> list[Any]:
    edits = planned.edits
    return [edits.kind, edits.record, edits.subject, edits_json(edits.edits), planned.said]


def _planned(data: list[Any]) -> Planned:
    kind, record, subject, edits, mark = data
    return Planned(RecordEdits(kind, RecordId(record), subject, edits_from_json(edits)), mark)
