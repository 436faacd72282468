"""The end of this replica's own log: which commit comes next, and what it must name as seen.

A log has one writer, and names (log, sequence) are given once (L3). A commit names the heads of the other logs that
moved since the commit before it: with its own chain, that is all that the replica had when it wrote (L2). Naming a head
twice is allowed, leaving one out never is; so a writer that does not know what was named last names everything.

Everything here is pure: wall time is an argument, and a draft that is dropped has changed nothing but the clock.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from crdtsync import limits
from crdtsync.clock import HybridClock
from crdtsync.ids import Head, LogId, MemberHash, PracticeId
from crdtsync.replication.commit import NO_HASH, Commit, Header, PartRef

Dependencies = tuple[tuple[LogId, Head], ...]


@dataclass(frozen=True, slots=True)
class Place:
    """Where a commit will stand: known before its content is made, since documents name it inside."""

    sequence: int
    stamp: int


class LogWriter:
    """The newest commit of one log, and the heads that its next commit must name.

    `head` is None for a log without commits; `moved` are the heads of other logs that no commit of this log has named
    (all of them for a new boot, L4). `continues` is the head that a new boot goes on from.
    """

    def __init__(
        self,
        practice: PracticeId,
        log: LogId,
        clock: HybridClock,
        *,
        head: Head | None,
        moved: Mapping[LogId, Head],
        continues: tuple[LogId, Head] | None = None,
    ) -> None:
        self.practice = practice
        self.log = log
        self.clock = clock
        self.head = head or Head(0, NO_HASH)
        self.continues = continues if self.head.sequence == 0 else None
        self._moved = {other: at for other, at in moved.items() if other != log}

    def saw(self, log: LogId, head: Head) -> None:
        """Another log reached `head` here: the next commit names it."""
        if log != self.log:
            self._moved[log] = head

    def forget_beyond(self, log: LogId, end: Head) -> None:
        """`log` ends at `end` for everybody (L3): nothing behind it is named."""
        moved = self._moved.get(log)
        if moved is not None and moved.sequence > end.sequence:
            if end.sequence:
                self._moved[log] = end
            else:
                del self._moved[log]

    def draft(self) -> Draft:
        """Begin the next commits. Nothing of it counts before `accept`; a draft that fails is simply dropped."""
        return Draft(self, self._dependencies())

    def accept(self, draft: Draft) -> None:
        """The draft's commits are in the log, synced (L1): the next draft goes on behind them."""
        if draft.head.sequence == self.head.sequence:
            return
        self.head = draft.head
        self.continues = None
        self._moved.clear()

    def _dependencies(self) -> list[Dependencies]:
        """What must be named, in groups that fit a header each, in an order that everybody computes alike."""
        moved = sorted(self._moved.items())
        size = limits.dependencies_written_max
        return [tuple(moved[at : at + size]) for at in range(0, len(moved), size)] or [()]


class Draft:
    """Commits of one log that are being made, in order: take a `place`, build the header, `add` the finished commit."""

    def __init__(self, writer: LogWriter, dependencies: Sequence[Dependencies]) -> None:
        self._writer = writer
        self._named = dependencies
        self._built = 0
        self.head = writer.head

    @property
    def prefaces(self) -> int:
        """Commits without content that must come first, because one header cannot name all that moved."""
        return max(len(self._named) - 1 - self._built, 0)

    def place(self, ahead: int, now_ms: int) -> Place:
        """The place of the commit that will stand `ahead` behind the next one; each call gives a later stamp."""
        return Place(self.head.sequence + 1 + ahead, self._writer.clock.tick(now_ms))

    def build(
        self,
        place: Place,
        members: Sequence[MemberHash],
        parts: Sequence[PartRef],
        fragment: tuple[int, int] | None = None,
    ) -> Header:
        """The header of the next commit. Raises ValueError when `place` is another one: its names would differ."""
        if place.sequence != self.head.sequence + 1:
            raise ValueError(f"commit {self.head.sequence + 1} is next in this log, not {place.sequence}")
        return Header(
            practice=self._writer.practice,
            log=self._writer.log,
            sequence=place.sequence,
            previous=self.head.hash,
            stamp=place.stamp,
            dependencies=self._named[self._built] if self._built < len(self._named) else (),
            members=tuple(members),
            parts=tuple(parts),
            continues=self._writer.continues if place.sequence == 1 else None,
            fragment=fragment,
        )

    def add(self, commit: Commit) -> None:
        """The commit with the header built last is finished; the next one stands behind it."""
        self.head = commit.head
        self._built += 1

    def mark(self) -> tuple[Head, int]:
        """How far the draft goes, for `back_to`."""
        return self.head, self._built

    def back_to(self, mark: tuple[Head, int]) -> None:
        """Commits that were added since `mark` never were: their places are free again."""
        self.head, self._built = mark
