"""The own log and the frontier around it: which log is written, what it continues, what time was heard of (L4)."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Final

from crdtsync.clock import HybridClock, wall_ms
from crdtsync.errors import RefusedError
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
from crdtsync.replication.commit import Commit
from crdtsync.replication.writer import Draft, LogWriter
from crdtsync.sealing.base import Sealer
from crdtsync.storage.base import Store

_META_LOG: Final = "engine.log"


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
        previous = self._newest()
        continues = None if previous is None else (previous, self.frontier[previous])
        self._store.set_meta({_META_LOG: log})
        self._write_to(log, None, self.frontier, continues)
        return log

    def continue_log(self, log: LogId) -> None:
        """Go on writing `log` (see `Engine.continue_log`)."""
        head = self.frontier.get(log)
        moved: Mapping[LogId, Head] = self.frontier
        own = self._store.commit(log, head.sequence) if head is not None else None
        if own is not None:
            # Each own commit names all that moved before it, so what arrived later is what is left to be named.
            moved = {other: at for other, at in self.frontier.items() if self._arrival_of(other, at) > own.arrival}
            self._clock.last = max(self._clock.last, own.commit.header.stamp)
        self._write_to(log, head, moved, None)

    def _write_to(
        self, log: LogId, head: Head | None, moved: Mapping[LogId, Head], continues: tuple[LogId, Head] | None
    ) -> None:
        self.writer = LogWriter(self._practice, log, self._clock, head=head, moved=moved, continues=continues)
        for other, at in self.frontier.items():
            stored = self._store.commit(other, at.sequence)
            if stored is not None:
                self._unheard.append((other, stored.commit.header.stamp))

    def _newest(self) -> LogId | None:
        own = [log for log in self.frontier if replica_of(log) == self._replica]
        last = self._store.meta(_META_LOG)
        if last is not None and last in own:
            return LogId(last)
        return max(own, key=lambda log: self._arrival_of(log, self.frontier[log]), default=None)

    def _arrival_of(self, log: LogId, head: Head) -> int:
        stored = self._store.commit(log, head.sequence)
        return stored.arrival if stored else 0

    def arrived(self, commits: Sequence[Commit]) -> None:
        """Commits of any log are in the store."""
        writer = self.writer
        for commit in commits:
            log, head = commit.header.log, commit.head
            if log in self.frozen and head.sequence > self.frozen[log].sequence:
                continue
            self.frontier[log] = head
            if writer is not None:
                writer.saw(log, head)

    def wrote(self, draft: Draft) -> None:
        """The commits of a draft are in the store."""
        assert self.writer is not None, "there is no draft without a writer"
        self.writer.accept(draft)
        self.frontier[self.writer.log] = draft.head

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
