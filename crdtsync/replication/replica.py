"""The core of a replica: pure, synchronous, deterministic. `handle(now, event)` gives the effects that the driver must
carry out in their order; one object runs under the simulator, in memory and over real disks and networks.

It knows logs, frontiers, membership and peers. Deltas are opaque to it, so that an archive runs it without a key.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from crdtsync import limits
from crdtsync.errors import Malformed, NotAMember, PeerError, TooLarge
from crdtsync.ids import Head, LogId, PracticeId, ReplicaId, base32
from crdtsync.replication import effects, events, meeting, messages, serving
from crdtsync.replication.effects import Close, Effect, NewBoot, ReadKeys, StoreKeys
from crdtsync.replication.frontier import Frontier
from crdtsync.replication.holdings import Holdings
from crdtsync.replication.inbox import Inbox
from crdtsync.replication.membership import Membership
from crdtsync.replication.receiving import Receiving
from crdtsync.replication.repair import Repair, say
from crdtsync.replication.session import Peer, Phase
from crdtsync.replication.state import Core, Verify

__all__ = ["Replica", "effects", "events"]


class Replica:
    """One replica's part of the protocol. Holds L1, L2, L3, L6 and L7 as far as they concern what peers send.

    `frontier` is what is stored, `log` the log that is being written (None while no boot is open). `now` is a monotonic
    time in seconds; it may begin anywhere.
    """

    def __init__(
        self,
        *,
        practice: PracticeId,
        replica: ReplicaId,
        membership: Membership,
        verify: Verify,
        frontier: Mapping[LogId, Head],
        log: LogId | None = None,
    ) -> None:
        stored = Frontier(frontier)
        self._core = Core(practice, replica, membership, verify, stored, Inbox(stored), log)
        self._receiving = Receiving(self._core)
        self._repair = Repair(self._core, self._receiving)
        self._holdings = Holdings(self._core)
        self._recovering: tuple[LogId, Head] | None = None

    # -- what the driver may look at ---------------------------------------------------------------------------------

    @property
    def id(self) -> ReplicaId:
        """Who this is."""
        return self._core.replica

    @property
    def membership(self) -> Membership:
        """Who belongs to the practice."""
        return self._core.membership

    @property
    def stored(self) -> Frontier:
        """What is on disk. Not to be changed."""
        return self._core.stored

    @property
    def log(self) -> LogId | None:
        """The log that this replica writes."""
        return self._core.log

    @property
    def peers(self) -> Mapping[int, Peer]:
        """The links. Not to be changed."""
        return self._core.peers

    @property
    def inbox(self) -> Inbox:
        """What waits. Not to be changed."""
        return self._core.inbox

    @property
    def frozen(self) -> Mapping[LogId, str]:
        """Logs of which nothing more is taken, and why (L3)."""
        return self._core.frozen

    @property
    def late(self) -> Mapping[LogId, int]:
        """Logs of removed replicas, and how many of their commits were set aside."""
        return self._receiving.late

    @property
    def recovering(self) -> bool:
        """Whether a peer knows more of our own log than we do, and we have not fetched it yet: no writes (L4)."""
        return self._recovering is not None

    @property
    def busy(self) -> bool:
        """Whether commits are being stored."""
        return self._receiving.busy

    @property
    def wakeup(self) -> float:
        """When the driver must come back with a `Tick` at the latest; never, while there is no link to look after."""
        if not self._core.peers:
            return float("inf")
        due = min(self._repair.due, self._holdings.due)
        for peer in self._core.peers.values():
            if peer.unsaid:
                due = min(due, peer.told_at + limits.have_interval_s)
        return due

    def holding(self, replica: ReplicaId) -> Frontier:
        """What another replica is known to have on disk, also one that is linked only to others. Not to be changed."""
        return self._holdings.of(replica)

    def attests_due(self) -> dict[LogId, Head]:
        """Heads of logs of removed replicas that are stored here beyond what anybody has attested."""
        state = self._core.membership.state()
        due: dict[LogId, Head] = {}
        for log, head in self._core.stored.items():
            author = state.members.get(ReplicaId(log[:16]))
            if author is not None and not author.active:
                cut = state.cuts.get(log)
                if cut is None or cut.sequence < head.sequence:
                    due[log] = head
        return due

    # -- events ------------------------------------------------------------------------------------------------------

    def handle(self, now: float, event: events.Event) -> list[Effect]:
        """Take in what happened; returns what must be done, in this order. Never raises for what a peer sent (L6)."""
        core = self._core
        core.now = now
        core.out = []
        _HANDLERS[type(event)](self, event)
        if now >= self.wakeup:
            self._tick()
        return core.out

    def _tick(self, _: events.Tick | None = None) -> None:
        for peer in self._core.peers.values():
            if peer.phase is Phase.OPENING:
                if self._core.now - peer.said_at >= limits.repair_interval_s:
                    self._greet(peer)
            else:
                serving.tell(self._core, peer)
        self._holdings.pass_on()
        self._repair.run()

    def _link_up(self, event: events.LinkUp) -> None:
        core = self._core
        if core.membership.state().active(event.replica) is None:
            core.out.append(Close(event.link, "the peer is no member of this practice"))
            return
        for other in list(core.peers.values()):
            if other.replica == event.replica:
                loser = self._loser(other, event)
                core.out.append(Close(loser, "there is another link to this peer"))
                if loser == event.link:
                    return
                self._forget_link(other.link)
        peer = Peer(event.link, event.replica, event.dialled, core.now)
        core.peers[event.link] = peer
        self._holdings.begin(peer)
        self._greet(peer)

    def _loser(self, other: Peer, event: events.LinkUp) -> int:
        """Of two links to one peer both sides keep the same: the newer of one dialler, else that of the smaller id."""
        if other.dialled == event.dialled:
            return other.link
        keeps_ours = self._core.replica < event.replica
        return other.link if event.dialled == keeps_ours else event.link

    def _greet(self, peer: Peer) -> None:
        core = self._core
        peer.said_at = core.now
        heard = peer.phase is not Phase.OPENING
        core.send(peer, messages.Hello(messages.PROTOCOL_VERSION, core.practice, core.replica, core.log or b"", heard))

    def _link_down(self, event: events.LinkDown) -> None:
        if event.link in self._core.peers:
            self._forget_link(event.link)

    def _forget_link(self, link: int) -> None:
        core = self._core
        del core.peers[link]
        lost = core.feeds.link_down(link)
        self._choose(lost)

    def _received(self, event: events.Received) -> None:
        core = self._core
        peer = core.peers.get(event.link)
        if peer is None:
            return
        peer.heard = core.now
        peer.counters.bytes_in += len(event.message)
        try:
            message = messages.decode(event.message)
            if isinstance(message, messages.Hello):
                self._hello(peer, message)
            elif message is not None and peer.phase is not Phase.OPENING:
                _MESSAGES[type(message)](self, peer, message)
        except PeerError as error:
            self._give_up(peer, error)

    def _give_up(self, peer: Peer, error: PeerError) -> None:
        """End the link to a peer that sent what no honest member sends (L6)."""
        if peer.link in self._core.peers:
            self._core.out.append(Close(peer.link, f"{type(error).__name__}: {error}"))
            self._forget_link(peer.link)

    def _unstall(self) -> None:
        """Membership has grown: what waited for it may go on, or turns out to be false."""
        for peer, error in self._receiving.unstall():
            self._give_up(peer, error)

    def _hello(self, peer: Peer, message: messages.Hello) -> None:
        core = self._core
        if message.practice != core.practice:
            raise NotAMember("the peer belongs to another practice")
        if message.replica != peer.replica:
            raise NotAMember("the peer says that it is another than its key")
        if message.version != messages.PROTOCOL_VERSION:
            raise Malformed(f"the peer speaks protocol version {message.version}; update the older program")
        if peer.phase is Phase.OPENING:
            peer.phase = Phase.TELLING
        elif message.heard:
            return  # an answer to what we said twice: answering it would go to and fro for ever
        else:
            self._greet(peer)  # it asks again, so it has not heard us
        meeting.tell(core, peer)
        serving.tell_all(core, peer)

    def _have(self, peer: Peer, message: messages.Have) -> None:
        for log, head in message.heads:
            peer.learn(log, head)
        self._holdings.heads(peer.replica, message.heads, peer)
        if len(peer.have) > limits.frontier_entries_max:
            raise TooLarge("the peer's frontier names more logs than a practice can have")
        if message.whole and peer.phase is Phase.TELLING:
            peer.phase = Phase.LIVE
        self._receiving.check_heads(message.heads)
        self._check_own_log(peer)
        if peer.live:
            self._choose(list(peer.have) if message.whole else [log for log, _ in message.heads])

    def _check_own_log(self, peer: Peer) -> None:
        """L4: a peer that knows more of our own log than we do has seen a later life of this disk."""
        core = self._core
        if core.log is None:
            return
        theirs = peer.have.head(core.log)
        if theirs.sequence > core.inbox.taken.sequence(core.log):
            core.alarm("rollback", "A peer holds commits of this replica that are not here: they are fetched first.")
            self._recovering = (core.log, theirs)
            core.log = None
            core.out.append(NewBoot("a peer holds more of this replica's log than the replica itself"))

    def _choose(self, logs: Iterable[LogId]) -> None:
        core = self._core
        live = {peer.link: peer for peer in core.live_peers()}
        say(core, core.feeds.choose(core.now, logs, live, core.inbox, core.refused_logs()))

    def _commits(self, peer: Peer, message: messages.Commits) -> None:
        known = set(peer.have)
        self._holdings.heads(peer.replica, {c.header.log: c.head for c in message.commits}.items(), peer)
        self._receiving.commits(peer, message)
        if peer.live:
            self._choose([log for log in peer.have if log not in known])

    def _backlog(self, peer: Peer, message: messages.Backlog) -> None:
        peer.announced = (message.commits, message.size)

    def _credit(self, peer: Peer, message: messages.Credit) -> None:
        serving.credit(self._core, peer, message.size)

    def _feed(self, peer: Peer, message: messages.Feed) -> None:
        serving.feed(self._core, peer, message)
        if len(peer.feeds) > limits.frontier_entries_max:
            raise TooLarge("the peer asks for more logs than a practice can have")

    def _unfeed(self, peer: Peer, message: messages.Unfeed) -> None:
        serving.unfeed(peer, message)

    def _members(self, peer: Peer, message: messages.Members) -> None:
        meeting.told(self._core, peer, message)

    def _records(self, peer: Peer, message: messages.Records) -> None:
        if meeting.received(self._core, peer, message):
            self._unstall()

    def _want_keys(self, peer: Peer, message: messages.WantKeys) -> None:
        self._core.out.append(ReadKeys(peer.link, message.ids))

    def _keys(self, _: Peer, message: messages.Keys) -> None:
        if message.keys:
            self._core.out.append(StoreKeys(message.keys))

    def _digest(self, peer: Peer, message: messages.Digest) -> None:
        self._repair.compare(peer, message)

    def _holding(self, peer: Peer, message: messages.Holding) -> None:
        self._holdings.heads(message.replica, message.heads, peer)

    def _ping(self, peer: Peer, message: messages.Ping) -> None:
        peer.received = max(peer.received, message.sent)
        self._receiving.grant(peer, step=1)
        self._core.send(peer, messages.Pong(message.time), urgent=False)

    def _pong(self, peer: Peer, message: messages.Pong) -> None:
        peer.answered = max(peer.answered, min(message.time / 1000, self._core.now))

    # -- answers of the driver ---------------------------------------------------------------------------------------

    def _stored(self, _: events.Stored) -> None:
        self._receiving.stored()
        if self._recovering is not None and self._core.stored.covers([self._recovering]):
            self._recovering = None

    def _wrote(self, event: events.Wrote) -> None:
        core = self._core
        for commit in event.commits:
            core.stored.advance(commit.header.log, commit.head)
            core.inbox.written(commit)
        serving.push(core, [(commit, True) for commit in event.commits], event.keys)
        self._receiving.proceed()

    def _boot_opened(self, event: events.BootOpened) -> None:
        core = self._core
        previous, core.log = core.log, event.log
        core.feeds.forget(event.log)
        if previous is not None:
            self._choose([previous])
        self._choose([log for peer in core.live_peers() for log in peer.have])

    def _members_stored(self, event: events.MembersStored) -> None:
        meeting.stored(self._core, event.records)
        self._unstall()

    def _feeds_read(self, event: events.FeedsRead) -> None:
        serving.feeds_read(self._core, event)

    def _backlog_read(self, event: events.BacklogRead) -> None:
        serving.backlog_read(self._core, event)

    def _keys_read(self, event: events.KeysRead) -> None:
        peer = self._core.peers.get(event.link)
        if peer is not None and event.keys:
            self._core.send(peer, messages.Keys(tuple(event.keys)))

    def _keys_stored(self, _: events.KeysStored) -> None:
        """Deriving what waited for them is the driver's next step."""

    def _derived(self, event: events.Derived) -> None:
        self._repair.derived(event)

    def describe(self, replica: ReplicaId) -> str:
        """A replica's name in the membership, or its id where the name is not known."""
        member = self._core.membership.state().members.get(replica)
        return base32(replica) if member is None else member.name


_HANDLERS: dict[type, Callable[[Replica, Any], None]] = {
    events.LinkUp: Replica._link_up,
    events.LinkDown: Replica._link_down,
    events.Received: Replica._received,
    events.Stored: Replica._stored,
    events.Wrote: Replica._wrote,
    events.BootOpened: Replica._boot_opened,
    events.MembersStored: Replica._members_stored,
    events.FeedsRead: Replica._feeds_read,
    events.BacklogRead: Replica._backlog_read,
    events.KeysRead: Replica._keys_read,
    events.KeysStored: Replica._keys_stored,
    events.Derived: Replica._derived,
    events.Tick: Replica._tick,
}

_MESSAGES: dict[type, Callable[[Replica, Peer, Any], None]] = {
    messages.Members: Replica._members,
    messages.Records: Replica._records,
    messages.Have: Replica._have,
    messages.Feed: Replica._feed,
    messages.Unfeed: Replica._unfeed,
    messages.Backlog: Replica._backlog,
    messages.Commits: Replica._commits,
    messages.Credit: Replica._credit,
    messages.WantKeys: Replica._want_keys,
    messages.Keys: Replica._keys,
    messages.Digest: Replica._digest,
    messages.Ping: Replica._ping,
    messages.Pong: Replica._pong,
    messages.Holding: Replica._holding,
}
