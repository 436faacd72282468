"""The causal inbox: commits that wait until all that they depend on is here (L2), bounded (L7).

Per log it holds a gapless continuation of what is stored. `take` gives the commits that may be stored next, in a causal
order; the order in which they are stored is therefore causal for good.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from crdtsync.ids import Head, LogId
from crdtsync.replication.commit import Commit
from crdtsync.replication.frontier import Frontier
from crdtsync.replication.stored import KeyObject


@dataclass(frozen=True, slots=True)
class Waiting:
    """A verified commit on its way into the store, the keys it introduces, and the link that brought it."""

    commit: Commit
    checked: bool
    keys: tuple[KeyObject, ...]
    link: int


class Inbox:
    """Commits that are verified and not yet stored.

    `taken` is the frontier of all that `take` has given out, ahead of what is on disk while a batch is being stored.
    """

    def __init__(self, stored: Frontier) -> None:
        self.taken = stored.copy()
        self.commits = 0
        self.bytes = 0
        self._queues: dict[LogId, deque[Waiting]] = {}
        self._candidates: dict[LogId, None] = {}
        self._blocked: dict[LogId, dict[LogId, None]] = {}

    def tail(self, log: LogId) -> Head:
        """The last commit of `log` that is here in any way: the next one must continue it."""
        queue = self._queues.get(log)
        return queue[-1].commit.head if queue else self.taken.head(log)

    def put(self, waiting: Waiting) -> None:
        """Add the commit that continues its log's tail. Who calls has checked that it does."""
        commit = waiting.commit
        log = commit.header.log
        self._queues.setdefault(log, deque()).append(waiting)
        self.commits += 1
        self.bytes += commit.size
        if len(self._queues[log]) == 1:
            self._candidates[log] = None

    def written(self, commit: Commit) -> None:
        """A commit of our own is stored without having waited here."""
        self._advance(commit.header.log, commit.head)

    def recheck(self) -> None:
        """Something besides commits has changed (membership): look at every log again."""
        for log in self._queues:
            self._candidates[log] = None

    def take(self, commits_max: int, admit: Callable[[Commit], bool]) -> list[Waiting]:
        """Up to `commits_max` commits whose dependencies are stored or stand before them in the answer.

        A commit that `admit` refuses stays, with all behind it, until `recheck`.
        """
        batch: list[Waiting] = []
        while self._candidates and len(batch) < commits_max:
            log = next(iter(self._candidates))
            del self._candidates[log]
            queue = self._queues.get(log)
            while queue and len(batch) < commits_max:
                commit = queue[0].commit
                if not self._ready(log, commit) or not admit(commit):
                    break
                batch.append(queue.popleft())
                self.commits -= 1
                self.bytes -= commit.size
                self._advance(log, commit.head)
            if not queue:
                self._queues.pop(log, None)
            elif len(batch) >= commits_max:
                self._candidates[log] = None
        return batch

    def _ready(self, log: LogId, commit: Commit) -> bool:
        header = commit.header
        # The head that a boot continues may be named by a later commit only, where there is much to name.
        for other, head in (*header.dependencies, *((header.continues,) if header.continues else ())):
            if other != log and self.taken.sequence(other) < head.sequence:
                self._blocked.setdefault(other, {})[log] = None
                return False
        return True

    def _advance(self, log: LogId, head: Head) -> None:
        self.taken.advance(log, head)
        waiting = self._blocked.pop(log, None)
        if waiting is not None:
            self._candidates.update(waiting)

    def drop(self, log: LogId) -> list[Waiting]:
        """Forget what waits of `log`: it will be asked for again. Returns what was dropped."""
        queue = self._queues.pop(log, None)
        self._candidates.pop(log, None)
        if queue is None:
            return []
        self.commits -= len(queue)
        self.bytes -= sum(waiting.commit.size for waiting in queue)
        return list(queue)

    def least_wanted(self) -> LogId:
        """The log to be dropped when there is no room: one whose next commit waits for others, if there is any, and of
        those the one that takes the most room."""
        sizes = {log: sum(waiting.commit.size for waiting in queue) for log, queue in self._queues.items()}
        return max(sizes, key=lambda log: (not self._ready(log, self._queues[log][0].commit), sizes[log], log))

    def waiting_logs(self) -> Iterable[LogId]:
        """Logs of which something waits."""
        return list(self._queues)

    def waiting_of(self, log: LogId) -> int:
        """How many commits of `log` wait."""
        return len(self._queues.get(log, ()))

    def held_from(self, link: int) -> dict[LogId, int]:
        """Bytes that wait here from one link, by log."""
        held: dict[LogId, int] = {}
        for log, queue in self._queues.items():
            size = sum(waiting.commit.size for waiting in queue if waiting.link == link)
            if size:
                held[log] = size
        return held
