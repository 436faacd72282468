"""Patient numbers as a replica gives them, in the store's thread.

A number is given in the commit that needs it: the patient's number and how far the range is given are one transaction,
durable before anybody sees it (L1). Every local transaction passes here. One that adds a patient without a number gets
one, where the practice has ranges; where none can be given now the patient is created all the same, and says that its
number follows. One that sets a number inside somebody's range by hand is refused. Bulk work that is meant (`mass`, as
an import) passes as it is, and numbers that any patient here has are passed over when giving.

What is given is remembered beside the log too, in the same transaction: a range that somebody has set back in its
record, or whose last commit is held, gives nothing twice.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Final

from crdtsync import limits
from crdtsync.authority import ranges as rules
from crdtsync.authority.ranges import Range
from crdtsync.documents import SetField, edits_of, read
from crdtsync.engine import RecordEdits, WriteGrant, WriteRequest
from crdtsync.errors import NotFound, RefusedError
from crdtsync.ids import RecordId, ReplicaId, base32
from crdtsync.numbers import META_CLOSING, Numbers
from crdtsync.practice import NumberRange, Patient, RangeClosing
from crdtsync.ranges import telling
from crdtsync.ranges.known import META_BLOCKS, Giving, Known, Look
from crdtsync.ranges.records import KIND, NUMBERED, range_of, since, wall
from crdtsync.replication.membership import State
from crdtsync.sealing.base import Sealer
from crdtsync.storage.base import Store

_FOLLOWS: Final = "number_follows"
_MARKER_BYTES: Final = 10

Answer = dict[str, Any]
Decided = tuple[WriteRequest | None, Answer]
"""The transaction to be written (None: nothing), and the answer for whoever asked."""


class Ranges(Known):
    """The ranges of one replica, and what they do with its transactions."""

    def __init__(
        self,
        store: Store,
        sealer: Sealer,
        numbers: Numbers,
        replica: ReplicaId,
        *,
        look: Look,
        state: Callable[[], State],
    ) -> None:
        super().__init__(store, sealer, numbers, replica, look=look, state=state)
        self._queue: list[RecordId] = []
        self._teller = telling.Teller()

    # -- transactions --------------------------------------------------------------------------------------------------

    def concerns(self, request: WriteRequest) -> bool:
        """Whether numbers have to do with a transaction: then it is written by itself. Others share their sync, also
        those that edit patients; the store is asked only where a patient is touched."""
        kinds = {each.kind for each in request.records}
        if KIND in kinds:
            return True
        if NUMBERED not in kinds or _exempt(request) or not self.exist:
            return False
        mine = [each for each in request.records if each.kind == NUMBERED]
        return any(_number_in(each) is not None or self._is_new(each.record) for each in mine)

    def _is_new(self, patient: RecordId) -> bool:
        return self.store.document(NUMBERED, patient) is None

    def check(self, request: WriteRequest) -> None:
        """Raise RefusedError for a number that is set by hand inside a range, and for a range that is."""
        known: list[Range] | None = None
        for each in request.records:
            if each.kind == KIND:
                self._check_range(each)
            number = _number_in(each) if each.kind == NUMBERED and not _exempt(request) else None
            if number is not None:
                known = self.known() if known is None else known
                self._check_number(each.record, number, known)

    def _check_number(self, patient: RecordId, number: int, known: Sequence[Range]) -> None:
        found = rules.in_the_way(known, number, number)
        if found is not None and number not in self._numbers_of(patient):
            raise RefusedError(
                f"patient numbers from {found.first} to {found.last} are given by {self.called(found)} alone, so none "
                "of them can be set by hand: leave the number out, and the patient gets the next one; or use one "
                "outside every range (crdtsync range list DIR)"
            )

    def _numbers_of(self, patient: RecordId) -> list[Any]:
        content = self.look(NUMBERED, patient)
        found = None if content is None else read(NUMBERED, patient, content)
        return [] if found is None else [getattr(found, "number", None), *found.conflicts.get("number", ())]

    def _check_range(self, edits: RecordEdits) -> None:
        """A conflict over how far a range is given may be decided by hand, upwards."""
        content = self.look(KIND, edits.record)
        known = None if content is None else range_of(edits.record, content)
        for each in edits.edits:
            value = each.value if isinstance(each, SetField) and each.field == "given" else None
            if known is None or type(value) is not int or not known.given <= value <= known.last:
                raise RefusedError(
                    "a range is set, released and ended by `crdtsync range`, not as a record; of several values of "
                    "`given` keep the highest"
                )

    def numbered(self, request: WriteRequest, grant: WriteGrant) -> WriteRequest:
        """The transaction with a number for each patient that it adds without one; for those whose number cannot be
        given now, with the note that it follows. Raises RefusedError as `check` does."""
        self.check(request)
        wanting = set() if _exempt(request) else self._wanting(request.records)
        if not wanting:
            return request
        giving = Giving(self, grant)
        records: list[RecordEdits] = []
        for each in request.records:
            if each.kind == NUMBERED and each.record in wanting:
                wanting.remove(each.record)
                number = giving.next()
                field, value = ("number", number) if number is not None else (_FOLLOWS, self.me)
                each = replace(each, edits=[*each.edits, SetField(field, value, {})])
            records.append(each)
        return replace(request, records=[*records, *giving.edits()], notes={**request.notes, **giving.notes()})

    def _wanting(self, records: Iterable[RecordEdits]) -> set[RecordId]:
        """New patients that bring no number along."""
        mine = [each for each in records if each.kind == NUMBERED]
        have = {each.record for each in mine if _number_in(each) is not None}
        wanting = {each.record for each in mine} - have
        return set(filter(self._is_new, wanting))

    # -- one patient, and those that wait ------------------------------------------------------------------------------

    def give(self, patient: RecordId, grant: WriteGrant, author: str, reason: str) -> Decided:
        """A number for a patient that has none: {"number"}, or {"number": None, "follows": True}. Raises NotFound, and
        RefusedError in a practice without ranges."""
        content = self.look(NUMBERED, patient)
        found = None if content is None else read(NUMBERED, patient, content)
        if not isinstance(found, Patient):
            raise NotFound(f"there is no patient with the id {patient} here")
        if found.number is not None:
            return None, {"number": found.number}
        if not self.exist:
            raise RefusedError(
                "the practice has no range of patient numbers: an admin sets one (crdtsync range set DIR --name SITE "
                "--from N --to M)"
            )
        giving = Giving(self, grant)
        number = giving.next()
        if number is None and found.number_follows == self.me:
            return None, {"number": None, "follows": True}
        request = self._filled([(found, number)], giving, author, reason)
        return request, {"number": number} if number is not None else {"number": None, "follows": True}

    def _filled(
        self, patients: Sequence[tuple[Patient, int | None]], giving: Giving, author: str, reason: str
    ) -> WriteRequest:
        records = []
        for patient, number in patients:
            patient.number_follows = self.me if number is None else None
            if number is not None:
                patient.number = number
            records.append(RecordEdits(NUMBERED, patient.id, patient.id, edits_of(patient, str)))
        return WriteRequest(author, reason, "", "", [*records, *giving.edits()], giving.notes(), mass=True)

    def followers(self) -> list[RecordId]:
        """Patients whose number follows from here, in the order in which that was said: those of this replica, and of
        those whose place it has taken."""
        found: dict[RecordId, int] = {}
        for replica in (self.me, *self._forerunners()):
            for record, *_ in self.store.holding(NUMBERED, (_FOLLOWS, "number"), replica):
                content = self.look(NUMBERED, RecordId(record))
                if content is not None:
                    found[RecordId(record)] = since(content, _FOLLOWS)
        return sorted(found, key=lambda record: (found[record], record))

    def _forerunners(self) -> list[str]:
        """Replicas whose ranges this one has now, and removed ones that had its name."""
        mine = [each for each in self.known() if each.owner == self.me]
        state = self.state()
        own = state.active(self.replica)
        members = state.members.values()
        gone = {base32(m.replica) for m in members if not m.active and own is not None and m.name == own.name}
        return sorted((gone.union(*(each.owners for each in mine))) - {self.me})

    def tend(self, grant: WriteGrant, now_ms: int) -> WriteRequest | None:
        """What this replica does by itself: say that its ranges are closed, where it lost something, and give their
        numbers to patients who wait, at most `limits.numbers_filled_step` of them. None when there is nothing to do.

        To be called when ranges have changed, when numbers may be given again, and at the start.
        """
        if not self.exist:
            return None
        known = self.known()
        self._teller.look(self.site, known, self.sources(known), self.called, left=self._left(known))
        if grant.suspended or self.numbers.given_up:  # two that told each other of what each has lost would never end
            return None
        closing, notes = self._closings(known, now_ms)
        if closing or notes:
            return WriteRequest("", "part of what this site wrote was lost", "", "", closing, notes, mass=True)
        giving = Giving(self, grant)
        if not giving.left:
            return None
        filled: list[tuple[Patient, int | None]] = []
        for patient in self._next_followers():
            number = giving.next()
            if number is None:
                break
            filled.append((patient, number))
        if not filled:
            return None
        return self._filled(filled, giving, "", "the number that was to follow")

    def _next_followers(self) -> list[Patient]:
        """The next of those who wait. All of them are looked up once, and again when those are done."""
        for _ in range(2):
            found: list[Patient] = []
            while self._queue and len(found) < limits.numbers_filled_step:
                record = self._queue.pop()
                content = self.look(NUMBERED, record)
                patient = None if content is None else read(NUMBERED, record, content)
                if isinstance(patient, Patient) and patient.number is None and patient.number_follows:
                    found.append(patient)
            if found:
                return found
            self._queue = self.followers()[::-1]
        return []

    def _closings(self, known: Sequence[Range], now_ms: int) -> tuple[list[RecordEdits], Mapping[str, bytes | None]]:
        """Say in every range of this replica, once per loss, that its rest is closed."""
        marker = self.marker
        if marker is None:
            return [], {}
        mine = [each for each in known if each.owner == self.me and each.clear]
        lacking = [each for each in mine if not marker or marker not in _told_closings(each)]
        notes: dict[str, bytes | None] = {}
        if not marker and (mine or self.store.meta(META_BLOCKS) is not None):
            marker = self.new_marker()
            notes = {META_CLOSING: marker.encode(), META_BLOCKS: None}
        return [self.closing(each, marker, now_ms) for each in lacking], notes

    def new_marker(self) -> str:
        """A key for a loss."""
        return base32(self.sealer.random(_MARKER_BYTES))

    def closing(self, each: Range, marker: str, now_ms: int) -> RecordEdits:
        """A range says that its rest is closed."""

        def say(record: NumberRange) -> None:
            record.closings.add(RangeClosing(key=marker, replica=self.me, at=wall(now_ms)))

        return self.changed(each.id, say)

    # -- blocks for workstations ---------------------------------------------------------------------------------------

    def carve(self, desk: ReplicaId, size: int, grant: WriteGrant, now_ms: int) -> Decided:
        """A block of at most `size` numbers of this replica's ranges for the workstation `desk`: {"range", "first",
        "last"}. Once it is durable here these numbers are the workstation's alone. Raises RefusedError where none can
        be given now."""
        giving = Giving(self, grant)
        block = giving.carve(base32(desk), max(1, min(size, limits.number_block_max)), now_ms)
        if block is None:
            raise RefusedError(
                self.numbers.refusal(grant) or "this site has no patient numbers left to hand out: set another range"
            )
        request = WriteRequest("", "numbers for a workstation", "", "", giving.edits(), giving.notes(), mass=True)
        return request, {"range": block.range, "first": block.first, "last": block.last}

    def take_block(self, block: Mapping[str, Any]) -> None:
        """At the workstation: note, durably, a block that its site has handed to it, as `carve` told it."""
        held = json.loads(self.store.meta(META_BLOCKS) or b"[]")
        first, last = block["first"], block["last"]
        if not any(each[:3] == [block["range"], first, last] for each in held):
            held.append([block["range"], first, last, first - 1])
            self.store.set_meta({META_BLOCKS: json.dumps(held).encode()})

    # -- for people ----------------------------------------------------------------------------------------------------

    def told(self) -> list[str]:
        """What people should be told that they were not yet: sentences, each once."""
        return self._teller.told()

    def described(self, refusal: str) -> Mapping[str, Any]:
        """For `status`: `ranges` of this replica, and `numbers`, see `telling.described`. `refusal` says why none may
        be given now."""
        known = self.known() if self.exist else []
        following = len(self.store.holding(NUMBERED, (_FOLLOWS,), self.me))
        if self.crowded:
            refusal = (
                f"there are more than {limits.ranges_max} ranges of patient numbers, so none is used: see who made "
                "them (crdtsync record list DIR number_range), and remove that member"
            )
        return telling.described(
            self.site, known, self.sources(known), following, refusal, self.called, self._left(known)
        )

    def _left(self, known: Sequence[Range]) -> bool:
        """Whether ranges are left of a machine that had this site's name, and belongs to the practice no more."""
        state = self.state()
        active = {base32(member.replica) for member in state.members.values() if member.active}
        return any(each.site == self.site and not each.ended and each.owner not in active for each in known)

    def listed(self) -> list[dict[str, Any]]:
        """All ranges of the practice, see `telling.listed`."""
        return telling.listed(self.known(), self.called, self.marker, self.me)


def _exempt(request: WriteRequest) -> bool:
    """Bulk work that is meant brings its numbers along; what the brake held, or an undo, does not."""
    return request.mass and not request.ticket


def _number_in(edits: RecordEdits) -> int | None:
    """The number that edits of a patient set."""
    for each in edits.edits:
        if isinstance(each, SetField) and each.field == "number" and type(each.value) is int:
            return each.value
    return None


def _told_closings(each: Range) -> set[str]:
    return {closing.key for closing in each.closings} | each.answered
