"""One link to one peer: how far the conversation is, what the peer has, and what it is being sent.

    OPENING   hello sent, waiting for the peer's            → TELLING on hello
    TELLING   each tells its membership and its frontier    → LIVE when the peer's whole frontier was told
    LIVE      feeds run, commits are pushed as they come

A peer is sent only what it asked for with `feed`, within the credit that it gave. That makes each commit cross a link
once: whoever wants a log takes it from one peer at a time.

Every message may be lost, doubled or late: feeds name absolute places, credit and what was sent are running totals, and
`repair` says again what brought no answer.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from enum import Enum
from typing import Final

from crdtsync import limits
from crdtsync.ids import Head, LogId, MemberHash, ReplicaId
from crdtsync.replication.frontier import Frontier
from crdtsync.replication.messages import Commits

_CREDIT_MAX: Final = 2**53
"""What a message can say, whatever the peer claims to have sent."""


class Phase(Enum):
    """How far the conversation is."""

    OPENING = "opening"
    TELLING = "telling"
    LIVE = "live"


@dataclass(slots=True)
class Counters:
    """What crossed this link, for `status`, oracles and benchmarks."""

    commits_in: int = 0
    duplicates_in: int = 0
    commits_out: int = 0
    bytes_in: int = 0
    bytes_out: int = 0


@dataclass(slots=True)
class Peer:
    """All that is known of one link."""

    link: int
    replica: ReplicaId
    dialled: bool
    heard: float
    phase: Phase = Phase.OPENING
    log: LogId | None = None
    """The log that the peer writes, as its hello said: two running copies of one disk write different ones (L4)."""
    have: Frontier = field(default_factory=Frontier)
    """What is durable at the peer, as it said: offer and acknowledgement."""
    member_hashes: set[MemberHash] = field(default_factory=set)
    """Membership records that the peer is known to have."""
    member_told: set[MemberHash] = field(default_factory=set)
    """Those that it has named in a list which is not at its end yet."""
    feeds: dict[LogId, int] = field(default_factory=dict)
    """What the peer wants from us: per log the next sequence to send."""
    allowed: int = field(default_factory=lambda: limits.in_flight_bytes_max)
    """How many bytes of commits we may have sent since the link began; the peer raises it."""
    sent: int = 0
    """How many bytes of commits we have sent since the link began."""
    received: int = 0
    """How many bytes of commits the peer says it has sent since the link began."""
    waiting: int = 0
    """Bytes of commits from this link that are not stored yet, stalled ones included."""
    granted: int = field(default_factory=lambda: limits.in_flight_bytes_max)
    """The allowance that the peer was told last."""
    reading: bool = False
    """A `ReadFeeds` is on its way."""
    announced: tuple[int, int] = (0, 0)
    """Commits and bytes that the peer said are about to come."""
    announced_at: tuple[int, int] = (0, 0)
    """How many commits had come by then, and the bytes that the peer had sent."""
    unsaid: dict[LogId, None] = field(default_factory=dict)
    """Logs that have grown here since the peer was told."""
    hearsay: dict[ReplicaId, dict[LogId, None]] = field(default_factory=dict)
    """News of third replicas that the peer was not told yet."""
    told_at: float = -1.0
    commits_at: float = 0.0
    """When commits last came in."""
    answered: float = -1.0
    """When the newest ping was sent that the peer has answered: what it had sent before has arrived, or was lost."""
    stalled: deque[Commits] = field(default_factory=deque)
    """Commits that wait until the membership records which they name are stored."""
    refed_at: dict[LogId, float] = field(default_factory=dict)
    """When a gap last made us ask for a log again."""
    said_at: float = 0.0
    """When repair last told this peer where we stand."""
    told_whole_at: float = -1e9
    """When the peer was last told our whole frontier."""
    counters: Counters = field(default_factory=Counters)

    @property
    def live(self) -> bool:
        """Whether feeds may run."""
        return self.phase is Phase.LIVE

    @property
    def credit(self) -> int:
        """Bytes of commits that we may still send."""
        return self.allowed - self.sent

    @property
    def to_come(self) -> tuple[int, int]:
        """Commits and bytes that were announced and have not come."""
        commits, size = self.announced
        commits_then, size_then = self.announced_at
        return commits - (self.counters.commits_in - commits_then), size - (self.received - size_then)

    def allowance(self) -> int:
        """What the peer may have sent in all: what it sent, and as much more as fits beside what still waits here."""
        return min(self.received - self.waiting + limits.in_flight_bytes_max, _CREDIT_MAX)

    def learn(self, log: LogId, head: Head) -> None:
        """The peer has this."""
        self.have.advance(log, head)

    def behind(self, stored: Frontier) -> dict[LogId, int]:
        """Cursors of the feeds for which something is stored that has not been sent."""
        return {log: at for log, at in self.feeds.items() if stored.sequence(log) >= at}
