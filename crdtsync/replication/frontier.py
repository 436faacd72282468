"""What a replica holds: per log, the last commit (a version vector with heads)."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping

from crdtsync.ids import Head, LogId
from crdtsync.replication.commit import NO_HASH

NOTHING = Head(0, NO_HASH)
"""The head of a log of which nothing is here."""


class Frontier:
    """Heads by log. It only grows, one commit after the other, but for logs that turn out to be forked (L3)."""

    __slots__ = ("_digest", "_heads")

    def __init__(self, heads: Mapping[LogId, Head] | Iterable[tuple[LogId, Head]] = ()) -> None:
        self._heads: dict[LogId, Head] = dict(heads)
        self._digest: bytes | None = None

    def head(self, log: LogId) -> Head:
        """The last commit of `log` that is here, or `NOTHING`."""
        return self._heads.get(log, NOTHING)

    def sequence(self, log: LogId) -> int:
        """Its sequence, 0 when there is none."""
        head = self._heads.get(log)
        return 0 if head is None else head.sequence

    def advance(self, log: LogId, head: Head) -> None:
        """Go on to `head`; one that is not newer changes nothing."""
        if head.sequence > self.sequence(log):
            self._heads[log] = head
            self._digest = None

    def cut(self, log: LogId, end: Head) -> None:
        """Go back to `end`, if this goes beyond it: what follows counts nowhere (a fork, L3)."""
        if self.sequence(log) > end.sequence:
            if end.sequence:
                self._heads[log] = end
            else:
                del self._heads[log]
            self._digest = None

    def covers(self, other: Iterable[tuple[LogId, Head]]) -> bool:
        """Whether all of `other` is here."""
        return all(self.sequence(log) >= head.sequence for log, head in other)

    def commits(self) -> int:
        """How many commits that is: logs have no gaps."""
        return sum(head.sequence for head in self._heads.values())

    def items(self) -> Iterator[tuple[LogId, Head]]:
        """Logs and heads, in no particular order."""
        return iter(self._heads.items())

    def __contains__(self, log: object) -> bool:
        return log in self._heads

    def __iter__(self) -> Iterator[LogId]:
        return iter(self._heads)

    def __len__(self) -> int:
        return len(self._heads)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Frontier) and self._heads == other._heads

    __hash__ = None  # type: ignore[assignment]  # a frontier changes, so it is no key

    def copy(self) -> Frontier:
        """An independent frontier with the same heads."""
        return Frontier(self._heads)

    def digest(self) -> bytes:
        """32 bytes that two replicas share exactly when they hold the same commits (L5)."""
        if self._digest is None:
            digest = hashlib.sha256(b"crdtsync/frontier/1")
            for log in sorted(self._heads):
                head = self._heads[log]
                digest.update(log + head.sequence.to_bytes(8, "big") + head.hash)
            self._digest = digest.digest()
        return self._digest
