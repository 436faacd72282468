"""What the parts of the core share: one replica's knowledge, and the effects of the event at hand."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from crdtsync.ids import LogId, MemberHash, PracticeId, ReplicaId
from crdtsync.replication import messages
from crdtsync.replication.effects import Alarm, Effect, Send
from crdtsync.replication.frontier import Frontier
from crdtsync.replication.gossip import Feeds
from crdtsync.replication.inbox import Inbox
from crdtsync.replication.membership import Membership
from crdtsync.replication.session import Peer

Verify = Callable[[bytes, bytes, bytes], bool]
"""Public signing key, message, signature: whether it verifies."""


@dataclass(slots=True)
class Core:
    """One replica's knowledge. `stored` is what is on disk, synced: all that others may hear of (L1)."""

    practice: PracticeId
    replica: ReplicaId
    membership: Membership
    verify: Verify
    stored: Frontier
    inbox: Inbox
    log: LogId | None = None
    peers: dict[int, Peer] = field(default_factory=dict)
    feeds: Feeds = field(default_factory=Feeds)
    frozen: dict[LogId, str] = field(default_factory=dict)
    """Logs that have two hashes for one sequence somewhere: nothing more is taken of them (L3)."""
    unstored: set[MemberHash] = field(default_factory=set)
    """Membership records that count here and are on their way to the disk: others do not hear of them yet (L1)."""
    out: list[Effect] = field(default_factory=list)
    now: float = 0.0

    def send(self, peer: Peer, message: messages.Message, *, urgent: bool = True) -> None:
        """Say something to a peer."""
        data = messages.encode(message)
        peer.counters.bytes_out += len(data)
        self.out.append(Send(peer.link, data, urgent))

    def alarm(self, kind: str, text: str) -> None:
        """Tell people."""
        self.out.append(Alarm(kind, text))

    def refused_logs(self) -> frozenset[LogId]:
        """Logs that are taken from nobody: our own, and frozen ones."""
        own = () if self.log is None else (self.log,)
        return frozenset((*own, *self.frozen))

    def live_peers(self) -> list[Peer]:
        """Peers with whom feeds may run."""
        return [peer for peer in self.peers.values() if peer.live]
