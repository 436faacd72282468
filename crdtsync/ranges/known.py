"""The ranges as one replica knows them, and numbers drawn out of them for one transaction."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Final

from crdtsync import limits
from crdtsync.authority import ranges as rules
from crdtsync.authority.ranges import Range, Source
from crdtsync.documents import Content
from crdtsync.engine import RecordEdits, WriteGrant
from crdtsync.ids import RecordId, ReplicaId, base32
from crdtsync.numbers import META_CLOSING, Numbers
from crdtsync.practice import NumberBlock, NumberRange
from crdtsync.ranges.records import KIND, NUMBERED, changed, range_of, wall
from crdtsync.replication.membership import State
from crdtsync.sealing.base import Sealer
from crdtsync.storage.base import Store

META_GIVEN: Final = "ranges.given"
"""The last number that this replica gave of each range, as JSON."""
META_BLOCKS: Final = "ranges.blocks"
"""The blocks that were handed to this replica: [range, first, last, the last that was given], as JSON."""

Look = Callable[[str, RecordId], Content | None]
"""What a record says now; None when there is none."""


class Known:
    """What a replica knows of ranges. Used in the store's thread alone; `look` reads records of the view, `state` is
    the membership as it is known now."""

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
        self.store = store
        self.sealer = sealer
        self.numbers = numbers
        self.replica = replica
        self.me = base32(replica)
        self.look = look
        self.state = state
        self._read: dict[RecordId, tuple[bytes, Range | None]] = {}
        self._exist = False
        self.crowded = False

    # -- what is known -------------------------------------------------------------------------------------------------

    @property
    def exist(self) -> bool:
        """Whether this practice numbers its patients: it has a range, or a block of one was handed to this replica."""
        if not self._exist:
            some = self.store.documents(KIND, (KIND, ""), 1)
            self._exist = bool(some) or self.store.meta(META_BLOCKS) is not None
        return self._exist

    def known(self) -> list[Range]:
        """All ranges that are known here, by their ids: the first of them where there are more than a practice has."""
        stored = self.store.documents(KIND, (KIND, ""), limits.ranges_max + 1)
        self.crowded = len(stored) > limits.ranges_max
        read = {each.record: self._known(each.record, each.fingerprint) for each in stored[: limits.ranges_max]}
        self._read = read
        return [each for _, each in read.values() if each is not None]

    def _known(self, record: RecordId, fingerprint: bytes) -> tuple[bytes, Range | None]:
        known = self._read.get(record)
        if known is not None and known[0] == fingerprint:
            return known
        content = self.look(KIND, record)
        return fingerprint, None if content is None else range_of(record, content)

    @property
    def marker(self) -> str | None:
        """Under which key the ranges say that this replica has lost something: None when it has not, "" before they say
        it."""
        if not self.numbers.ranges_closed:
            return None
        return (self.store.meta(META_CLOSING) or b"").decode()

    def noted(self) -> dict[str, int]:
        """The last number that this replica gave of each range, as it remembers itself."""
        return dict(json.loads(self.store.meta(META_GIVEN) or b"{}"))

    def blocks(self) -> list[Source]:
        """The blocks that were handed to this replica. After a loss none of them is used any more."""
        if self.marker == "":
            return []
        held = json.loads(self.store.meta(META_BLOCKS) or b"[]")
        return [Source(range_, first, last, floor, False, True) for range_, first, last, floor in held]

    def sources(self, known: Sequence[Range] | None = None) -> list[Source]:
        """Where this replica takes numbers from, in this order; nowhere while it does not look at all ranges (L7)."""
        found = self.known() if known is None else known
        if self.crowded:
            return []
        return rules.sources(found, self.me, noted=self.noted(), blocks=self.blocks(), marker=self.marker)

    def free(self, least: int, most: int) -> int | None:
        """The lowest number between these that no patient here has; None when all are in use."""
        step = limits.numbers_looked_step
        while least <= most:
            used = self.store.between(NUMBERED, "number", least, most, step)
            for number in used:
                if number != least:
                    return least
                least += 1
            if len(used) < step:
                break
        return least if least <= most else None

    def changed(self, record: str, change: Callable[[NumberRange], None]) -> RecordEdits:
        """What `change` does to a range as it stands."""
        return changed(RecordId(record), self.look(KIND, RecordId(record)), change)

    def called(self, each: Range) -> str:
        """The name of the site that a range belongs to now."""
        for member in self.state().members.values():
            if base32(member.replica) == each.owner:
                return member.name
        return each.site

    @property
    def site(self) -> str:
        """The name of this site."""
        member = self.state().members.get(self.replica)
        return self.me if member is None else member.name


class Giving:
    """Numbers given one after the other in one transaction; none at all while this replica must not give any."""

    def __init__(self, ranges: Known, grant: WriteGrant) -> None:
        self._ranges = ranges
        self._held = [] if ranges.numbers.refusal(grant) else ranges.sources()
        self._given: dict[str, int] = {}
        self._blocks: dict[tuple[str, int], int] = {}
        self._carved: list[RecordEdits] = []
        self._handed: dict[str, int] = {}

    @property
    def left(self) -> bool:
        """Whether any may be left."""
        return any(each.left for each in self._held)

    def next(self) -> int | None:
        """The next number; None when none can be given."""
        found = rules.take(self._held, self._ranges.free)
        if found is None:
            return None
        source, number = found
        if source.block:
            self._blocks[source.range, source.first] = number
        else:
            self._given[source.range] = number
        return number

    def carve(self, desk: str, size: int, now_ms: int) -> Source | None:
        """A block for a workstation."""
        block = rules.carve(self._held, size)
        if block is None:
            return None

        def hand_out(record: NumberRange) -> None:
            record.given = block.last
            record.blocks.add(NumberBlock(replica=desk, first=block.first, last=block.last, at=wall(now_ms)))

        self._carved.append(self._ranges.changed(block.range, hand_out))
        self._handed[block.range] = block.last
        return block

    def edits(self) -> list[RecordEdits]:
        """How far each range is given now."""

        def to(number: int) -> Callable[[NumberRange], None]:
            return lambda record: record.assign("given", number)

        return [*self._carved, *(self._ranges.changed(each, to(number)) for each, number in self._given.items())]

    def notes(self) -> Mapping[str, bytes | None]:
        """The same, to be remembered beside the log."""
        notes: dict[str, bytes | None] = {}
        if self._given or self._handed:
            noted = {**self._ranges.noted(), **self._given, **self._handed}
            notes[META_GIVEN] = json.dumps(noted).encode()
        if self._blocks:
            held = [
                (each.range, each.first, each.last, self._blocks.get((each.range, each.first), each.floor))
                for each in self._ranges.blocks()
            ]
            notes[META_BLOCKS] = json.dumps([each for each in held if each[3] < each[2]]).encode()
        return notes
