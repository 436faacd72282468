"""The own log and the frontier around it: which log is written, what it continues, what time was heard of (L4).

What a boot continues is decided when it writes first: until then it may have fetched newer commits of its own replica,
and then goes on from these. The store remembers which log this folder wrote last: that, of all branches, is its own.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from typing import Final

from crdtsync.clock import HybridClock, wall_ms
from crdtsync.errors import RefusedError, RottenCommit
from crdtsync.ids import (
    BOOT_ID_BYTES,
    BootId,
    Head,
    LogId,
    PracticeId,
    ReplicaId,
    base32,
    log_id,
    log_tag,
    replica_of,
)
from crdtsync.replication.boots import Boots, Continues
from crdtsync.replication.commit import Commit
from crdtsync.replication.writer import Draft, LogWriter
from crdtsync.sealing.base import Sealer
from crdtsync.storage.base import Store

_META_LOG: Final = "engine.log"
_META_LINE: Final = "engine.line"


class OwnLog:
    """Opens and continues boots, and keeps the frontier of all logs in memory, as the store has it."""

    def __init__(
        self, store: Store, sealer: Sealer, practice: PracticeId, replica: ReplicaId, alarm: Callable[[str], None]
    ) -> None:
        self._store = store
        self._sealer = sealer
        self._practice = practice
        self._replica = replica
        self._alarm = alarm
        self._clock = HybridClock()
        self._unheard: list[tuple[LogId, int]] = []
        self._ahead: set[LogId] = set()
        self.frontier = store.frontier()
        self.frozen: dict[LogId, Head] = {}
        self.writer: LogWriter | None = None
        own = [log for log in self.frontier if replica_of(log) == replica]
        # One whose first commit is rotten counts as a beginning: what this folder wrote last is its line all the same.
        self._boots = Boots({**dict.fromkeys(own), **begun(store, own)}, self._height)
        self._line = self._kept(_META_LOG) or self._kept(_META_LINE)

    def _height(self, log: LogId) -> int:
        head = self.frontier.get(log)
        return 0 if head is None else head.sequence

    def _kept(self, name: str) -> LogId | None:
        """A log that the store remembers, if it has commits."""
        log = self._store.meta(name)
        return LogId(log) if log is not None and log in self.frontier else None

    @property
    def line(self) -> LogId | None:
        """The log that this folder wrote last; where that is not known, the newest of this replica."""
        if self._line is not None:
            return self._line
        own = [log for log in self.frontier if replica_of(log) == self._replica]
        return max(own, key=self._arrived_at, default=None)

    def freeze(self, frozen: Mapping[LogId, Head]) -> None:
        """These logs end here for everybody (L3): what follows is named by no commit."""
        for log, end in frozen.items():
            self.frozen[log] = end
            if self.frontier.get(log, end).sequence > end.sequence:
                self._cut(self.frontier, log, end)
            if self.writer is not None:
                self.writer.forget_beyond(log, end)

    @staticmethod
    def _cut(heads: dict[LogId, Head], log: LogId, end: Head) -> None:
        if end.sequence:
            heads[log] = end
        else:
            del heads[log]

    def open_boot(self, boot: BootId | None) -> LogId:
        """Write a fresh log from now on (see `Engine.open_boot`)."""
        tags = {log_tag(log) for log in self.frontier}
        log = log_id(self._replica, boot or BootId(self._sealer.random(BOOT_ID_BYTES)))
        while boot is None and log_tag(log) in tags:
            log = log_id(self._replica, BootId(self._sealer.random(BOOT_ID_BYTES)))
        if log in self.frontier:
            raise RefusedError("this boot was written before; open another one")
        self._store.set_meta({_META_LOG: log, _META_LINE: self._line})
        self._write_to(log, None, self.frontier)
        self.decide({})
        return log

    def decide(self, closed: Mapping[LogId, Head]) -> None:
        """Before the first commit of a boot: let it continue the newest end of this folder's own line (L4).

        `closed` are branches that others have succeeded: they are continued only where nothing else is left.
        """
        writer, line = self.writer, self.line
        if writer is None or writer.head.sequence:
            return
        ends = [] if line is None else self._boots.ends_of(line)
        going_on = [end for end in ends if not self._boots.is_closed(end, closed)] or ends
        newest = max(going_on, key=self._arrived_at, default=None)
        writer.continues = None if newest is None else (newest, self.frontier[newest])

    def continue_log(self, log: LogId) -> None:
        """Go on writing `log` (see `Engine.continue_log`). Raises RottenCommit when its last commit cannot be read."""
        head = self.frontier.get(log)
        moved: Mapping[LogId, Head] = self.frontier
        own = self._store.commit(log, head.sequence) if head is not None else None
        if own is not None:
            # Each own commit names all that moved before it, so what arrived later is what is left to be named.
            moved = {other: at for other, at in self.frontier.items() if self._arrival_of(other, at) > own.arrival}
            self._clock.last = max(self._clock.last, own.commit.header.stamp)
        self._write_to(log, head, moved)
        self.decide({})

    def _write_to(self, log: LogId, head: Head | None, moved: Mapping[LogId, Head]) -> None:
        self.writer = LogWriter(self._practice, log, self._clock, head=head, moved=moved)
        for other, at in self.frontier.items():
            with suppress(RottenCommit):  # its stamp is heard with the next one
                stored = self._store.commit(other, at.sequence)
                if stored is not None:
                    self._unheard.append((other, stored.commit.header.stamp))

    def _arrived_at(self, log: LogId) -> int:
        return self._arrival_of(log, self.frontier[log])

    def _arrival_of(self, log: LogId, head: Head) -> int:
        try:
            stored = self._store.commit(log, head.sequence)
        except RottenCommit as error:
            return error.arrival
        return stored.arrival if stored else 0

    def arrived(self, commits: Sequence[Commit]) -> None:
        """Commits of any log are in the store."""
        writer = self.writer
        for commit in commits:
            log, head = commit.header.log, commit.head
            if log in self.frozen and head.sequence > self.frozen[log].sequence:
                continue
            self.frontier[log] = head
            if replica_of(log) == self._replica:
                self._boots.learn(commit)
            if writer is not None:
                writer.saw(log, head)

    def wrote(self, draft: Draft) -> None:
        """The commits of a draft are in the store."""
        writer = self.writer
        assert writer is not None, "there is no draft without a writer"
        continues = writer.continues
        writer.accept(draft)
        if draft.head.sequence:
            self.frontier[writer.log] = draft.head
            self._boots.begin(writer.log, continues)
            self._line = writer.log

    def was_continued(self) -> bool:
        """Whether somebody else wrote on under the name of this log (L3)."""
        writer = self.writer
        return writer is not None and self.frontier.get(writer.log, writer.head) != writer.head

    def hear(self, stamps: Iterable[tuple[LogId, int]], now_ms: int) -> None:
        """Learn the stamps of others, once wall time is known; a clock that is far ahead raises one alarm per log."""
        if self._unheard or not now_ms:
            self._unheard.extend(stamps)
            if not now_ms:
                return
            stamps, self._unheard = self._unheard, []
        clock = self._clock
        for log, stamp in stamps:
            if stamp > clock.last and not clock.observe(stamp, now_ms) and log not in self._ahead:
                self._ahead.add(log)
                minutes = (wall_ms(stamp) - now_ms) // 60_000
                self._alarm(f"the clock of replica {base32(replica_of(log))} is {minutes} minutes ahead; set it right")


def begun(store: Store, logs: Iterable[LogId]) -> dict[LogId, Continues]:
    """What the first commit of each of these logs continues; logs of which it is rotten are left out."""
    found: dict[LogId, Continues] = {}
    for log in logs:
        with suppress(RottenCommit):
            first = store.commit(log, 1)
            found[log] = None if first is None else first.commit.header.continues
    return found
