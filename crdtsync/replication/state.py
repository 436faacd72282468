"""What the parts of the core share: one replica's knowledge, and the effects of the event at hand."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from crdtsync.ids import CommitId, Head, LogId, MemberHash, PracticeId, ReplicaId, base32, replica_of
from crdtsync.replication import messages
from crdtsync.replication.boots import Boots
from crdtsync.replication.commit import Commit
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
    boots: Boots
    log: LogId | None = None
    peers: dict[int, Peer] = field(default_factory=dict)
    feeds: Feeds = field(default_factory=Feeds)
    arrived: int = 0
    """How many commits are on disk: more than `stored` sums up to where logs turned out to be forked."""
    frozen: dict[LogId, Head] = field(default_factory=dict)
    """Logs that have two hashes for one sequence somewhere, and where they end for everybody (L3)."""
    rotten: dict[CommitId, None] = field(default_factory=dict)
    """Commits on our disk that are not what was written any more: they are asked for again (L5)."""
    touched: set[ReplicaId] = field(default_factory=set)
    """Replicas whose boots may end elsewhere than when that was last looked at (L4)."""
    aside: dict[LogId, None] = field(default_factory=dict)
    """Logs of removed replicas of which nothing more is taken until the membership has changed (L7)."""
    undoubted: dict[LogId, Head] = field(default_factory=dict)
    """Logs of closed members, and how far they count here without an attest, as this process has seen."""
    unstored: set[MemberHash] = field(default_factory=set)
    """Membership records that count here and are on their way to the disk: others do not hear of them yet (L1)."""
    out: list[Effect] = field(default_factory=list)
    now: float = 0.0
    _members: tuple[tuple[MemberHash, ...], bytes] = ((), messages.members_digest(()))

    def send(self, peer: Peer, message: messages.Message, *, urgent: bool = True) -> None:
        """Say something to a peer."""
        data = messages.encode(message)
        peer.counters.bytes_out += len(data)
        self.out.append(Send(peer.link, data, urgent))

    def name_of(self, replica: ReplicaId) -> str:
        """A replica's name in the membership, or its id where the name is not known."""
        member = self.membership.state().members.get(replica)
        return base32(replica) if member is None else member.name

    def members_digest(self) -> bytes:
        """A hash of the newest membership records that are here."""
        heads = self.membership.heads
        if heads != self._members[0]:
            self._members = heads, messages.members_digest(heads)
        return self._members[1]

    def alarm(self, kind: str, text: str) -> None:
        """Tell people."""
        self.out.append(Alarm(kind, text))

    def kept(self, commit: Commit) -> None:
        """A commit is on disk, synced."""
        log = commit.header.log
        self.arrived += 1
        if not self.counts(*commit.id):
            return
        self.stored.advance(log, commit.head)
        if self.boots.learn(commit) or log in self.membership.state().closed:
            self.touched.add(replica_of(log))

    def refused_logs(self) -> frozenset[LogId]:
        """Logs that are taken from nobody: our own, those set aside, and frozen ones that are here up to their end."""
        own = () if self.log is None else (self.log,)
        ended = [log for log, end in self.frozen.items() if self.inbox.tail(log).sequence >= end.sequence]
        return frozenset((*own, *self.aside, *ended))

    def counts(self, log: LogId, sequence: int) -> bool:
        """Whether a commit stands before the end of its log, if that has one (L3)."""
        return self.counted(log, sequence) == sequence

    def counted(self, log: LogId, sequence: int) -> int:
        """How far a log that goes up to `sequence` counts."""
        end = self.frozen.get(log)
        return sequence if end is None else min(sequence, end.sequence)

    def reads(self, peer: Peer) -> bool:
        """Whether this peer can read records: only then its digest says something, and ours may be told in parts."""
        member = self.membership.state().members.get(peer.replica)
        return member is not None and member.reader

    def welcomes(self, replica: ReplicaId) -> bool:
        """Whether a link to it may stand: it belongs, or was closed and may still hand over what it has."""
        member = self.membership.state().members.get(replica)
        return member is not None and member.links

    def serves(self, peer: Peer) -> bool:
        """Whether this peer is given anything: one that was closed only gives."""
        return self.membership.state().active(peer.replica) is not None

    def tells(self, peer: Peer, log: LogId) -> bool:
        """Whether this peer hears how far `log` is here: one that was closed hears of its own, as acknowledgement."""
        return replica_of(log) == peer.replica or self.serves(peer)

    def live_peers(self) -> list[Peer]:
        """Peers with whom feeds may run."""
        return [peer for peer in self.peers.values() if peer.live]
