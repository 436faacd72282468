"""The core of a replica: pure, synchronous, deterministic. `handle(now, event)` gives the effects that the driver must
carry out in their order; one object runs under the simulator, in memory and over real disks and networks.

It knows logs, frontiers, membership and peers. Deltas are opaque to it, so that an archive runs it without a key.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from crdtsync import limits
from crdtsync.errors import Malformed, NotAMember, PeerError, TooLarge
from crdtsync.ids import Head, LogId, PracticeId, ReplicaId
from crdtsync.replication import effects, events, meeting, messages, serving
from crdtsync.replication.asking import Asking
from crdtsync.replication.boots import Boots, Continues
from crdtsync.replication.branches import Branches
from crdtsync.replication.effects import Close, Effect, ReadAgain, ReadKeys, StoreKeys
from crdtsync.replication.fork_proof import ForkProof
from crdtsync.replication.forks import Forks
from crdtsync.replication.frontier import Frontier
from crdtsync.replication.holdings import Holdings
from crdtsync.replication.inbox import Inbox
from crdtsync.replication.membership import Membership
from crdtsync.replication.receiving import Receiving
from crdtsync.replication.recovering import Recovering
from crdtsync.replication.repair import Repair, say
from crdtsync.replication.session import Peer, Phase
from crdtsync.replication.state import Core, Verify

__all__ = ["Replica", "effects", "events"]


class Replica:
    """One replica's part of the protocol. Holds L1 to L4, L6 and L7 as far as they concern what peers send.

    `frontier` is what is stored, `boots` what the first commit of each of its logs continues. `log` is the log that is
    being written (None while no boot is open), `line` the one that this store's own processes wrote last. `recovering`
    is the flag of the last `NoteRecovering`. `now` is a monotonic time in seconds; it may begin anywhere.
    """

    def __init__(
        self,
        *,
        practice: PracticeId,
        replica: ReplicaId,
        membership: Membership,
        verify: Verify,
        frontier: Mapping[LogId, Head],
        boots: Mapping[LogId, Continues],
        log: LogId | None = None,
        line: LogId | None = None,
        recovering: bool = False,
    ) -> None:
        stored = Frontier(frontier)
        arrived = stored.commits()
        frozen = dict(membership.state().frozen)
        for forked, end in frozen.items():
            stored.cut(forked, end)
        tree = Boots(boots, lambda log: self._core.stored.sequence(log))
        inbox = Inbox(stored, frozen)
        self._core = Core(practice, replica, membership, verify, stored, inbox, tree, log, arrived=arrived)
        self._core.frozen.update(frozen)
        self._forks = Forks(self._core)
        self._receiving = Receiving(self._core, self._forks)
        self._repair = Repair(self._core, self._receiving)
        self._holdings = Holdings(self._core)
        self._branches = Branches(self._core)
        self._recovering = Recovering(self._core, recovering)
        self._asking = Asking(self._core)
        self._line = line
        self._wakeup = self._due()

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
    def arrived(self) -> int:
        """How many commits are on disk, also those that count nowhere."""
        return self._core.arrived

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
    def frozen(self) -> Mapping[LogId, Head]:
        """Logs that were written twice under one name, and where they end for everybody (L3)."""
        return self._core.frozen

    @property
    def late(self) -> Mapping[LogId, int]:
        """Logs of removed replicas, and how many of their commits were set aside."""
        return self._receiving.late

    @property
    def late_heads(self) -> Mapping[LogId, Head]:
        """How far what is set aside was shown here, signed by its author: what a person may attest after all."""
        return self._receiving.late_heads

    @property
    def recovering(self) -> bool:
        """Whether others know more of our own logs than we do, and we have not fetched it yet: no writes (L4)."""
        return self._recovering.active

    @property
    def suspended(self) -> Mapping[ReplicaId, tuple[LogId, ...]]:
        """Members whose logs have branched, and where: until an admin says which branch goes on (L4)."""
        return self._branches.suspended

    def tips(self, replica: ReplicaId) -> list[LogId]:
        """The logs in which what a replica wrote ends here: one, unless it has branched (L4); none where it has written
        nothing."""
        return self._core.boots.open_tips(replica, self._core.membership.state().closed)

    @property
    def superseded(self) -> bool:
        """Whether an admin said that another branch of this very replica goes on: no writes here any more (L4)."""
        core = self._core
        written = core.log is not None and core.log in core.stored
        return self._branches.superseded(core.log if written else self._line)

    @property
    def asking(self) -> Asking:
        """Questions that pass through here or end here. Not to be changed."""
        return self._asking

    @property
    def busy(self) -> bool:
        """Whether commits are being stored."""
        return self._receiving.busy

    @property
    def wakeup(self) -> float:
        """When the driver must come back with a `Tick` at the latest; never, while there is no link to look after."""
        return self._wakeup

    def _due(self) -> float:
        due = min(self._recovering.due, self._forks.due, self._asking.due)
        if not self._core.peers:
            return due
        due = min(due, self._repair.due, self._holdings.due)
        for peer in self._core.peers.values():
            if peer.unsaid and peer.told_at + limits.have_interval_s < due:
                due = peer.told_at + limits.have_interval_s
        return due

    def holding(self, replica: ReplicaId) -> Frontier:
        """What another replica is known to have on disk, also one that is linked only to others. Not to be changed."""
        return self._holdings.of(replica)

    def attests_due(self) -> dict[LogId, Head]:
        """Heads of logs of members that left that are stored here beyond what anybody has attested, and do not count
        by themselves."""
        state = self._core.membership.state()
        due: dict[LogId, Head] = {}
        for log, head in self._core.stored.items():
            author = state.members.get(ReplicaId(log[:16]))
            if author is not None and not author.active:
                cut = state.cuts.get(log)
                undoubted = author.closed_at is not None and self._core.undoubted.get(log) == head
                if not undoubted and (cut is None or cut.sequence < head.sequence):
                    due[log] = head
        return due

    def forks_due(self) -> list[ForkProof]:
        """Proofs of forks that were found here and stand in no membership record yet."""
        return self._forks.proofs()

    # -- events ------------------------------------------------------------------------------------------------------

    def handle(self, now: float, event: events.Event) -> list[Effect]:
        """Take in what happened; returns what must be done, in this order. Never raises for what a peer sent (L6)."""
        core = self._core
        core.now = now
        core.out = []
        _HANDLERS[type(event)](self, event)
        self._branches.look()
        for peer, error in self._recovering.look():
            self._give_up(peer, error)
        self._wakeup = self._due()
        if now >= self._wakeup:
            self._tick()
            self._wakeup = self._due()
        return core.out

    def _tick(self, _: events.Tick | None = None) -> None:
        for peer in self._core.peers.values():
            if peer.phase is Phase.OPENING:
                if self._core.now - peer.said_at >= limits.repair_interval_s:
                    self._greet(peer)
            else:
                serving.tell(self._core, peer)
        self._holdings.pass_on()
        for peer, error in self._forks.run():
            self._give_up(peer, error)
        self._repair.run()
        self._asking.run()

    def _link_up(self, event: events.LinkUp) -> None:
        core = self._core
        if not core.welcomes(event.replica):
            core.out.append(Close(event.link, "the peer is no member of this practice"))
            return
        others = [peer for peer in core.peers.values() if peer.replica == event.replica]
        for other in others:
            if not self._both(other, event, len(others)) and not self._only_one(other, event):
                return
        peer = Peer(event.link, event.replica, event.dialled, core.now)
        core.peers[event.link] = peer
        self._holdings.begin(peer)
        self._greet(peer)

    def _both(self, other: Peer, link: events.LinkUp, count: int) -> bool:
        """Whether both links may stand until their hellos tell whether two copies of one disk are running (L4).

        A newer link takes the place of one that its end has dialled before: that one is dead. One that would have to
        give way is heard first, or a copy might never get in.
        """
        branched = link.replica in self._branches.suspended
        return count < limits.links_per_replica_max and (branched or self._loser(other, link) == link.link)

    def _only_one(self, other: Peer, link: events.LinkUp | Peer) -> bool:
        """Of two links to one peer end one. Whether the other one is that."""
        loser = self._loser(other, link)
        self._core.out.append(Close(loser, "there is another link to this peer"))
        if loser in self._core.peers:
            self._forget_link(loser)
        return loser == other.link

    def _loser(self, other: Peer, event: events.LinkUp | Peer) -> int:
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
        self._recovering.link_down(core.peers[link])
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
        aside = list(self._core.aside)
        self._core.aside.clear()
        self._receiving.freeze()
        for peer, error in self._receiving.unstall():
            self._give_up(peer, error)
        self._choose(aside)

    def _hello(self, peer: Peer, message: messages.Hello) -> None:
        core = self._core
        if message.practice != core.practice:
            raise NotAMember("the peer belongs to another practice")
        if message.replica != peer.replica:
            raise NotAMember("the peer says that it is another than its key")
        if message.version != messages.PROTOCOL_VERSION:
            raise Malformed(f"the peer speaks protocol version {message.version}; update the older program")
        if not self._tell_apart(peer, LogId(message.log)):
            return
        if peer.phase is Phase.OPENING:
            peer.phase = Phase.TELLING
        elif message.heard:
            return  # an answer to what we said twice: answering it would go to and fro for ever
        else:
            self._greet(peer)  # it asks again, so it has not heard us
        meeting.tell(core, peer)
        serving.tell_all(core, peer)

    def _tell_apart(self, peer: Peer, log: LogId) -> bool:
        """Two links to one replica stand beside each other only while two of its disks are running (L4). Whether this
        one still stands."""
        peer.log = log
        for other in list(self._core.peers.values()):
            if other.replica == peer.replica and other.log == log and other is not peer:
                older, newer = sorted((other, peer), key=lambda each: each.link)
                self._only_one(older, newer)
        return peer.link in self._core.peers

    def _have(self, peer: Peer, message: messages.Have) -> None:
        for log, head in message.heads:
            peer.learn(log, head)
        self._holdings.heads(peer.replica, message.heads, peer)
        if len(peer.have) > limits.frontier_entries_max:
            raise TooLarge("the peer's frontier names more logs than a practice can have")
        if message.whole and peer.phase is Phase.TELLING:
            peer.phase = Phase.LIVE
            self._asking.link_stands(peer)
        self._receiving.check_heads(peer, message.heads)
        self._recovering.heard(peer, message.heads)
        if peer.live:
            self._choose(list(peer.have) if message.whole else [log for log, _ in message.heads])

    def _choose(self, logs: Iterable[LogId]) -> None:
        core = self._core
        live = {peer.link: peer for peer in core.live_peers()}
        say(core, core.feeds.choose(core.now, logs, live, core.inbox, core.refused_logs()))

    def _commits(self, peer: Peer, message: messages.Commits) -> None:
        known = set(peer.have)
        self._holdings.heads(peer.replica, {c.header.log: c.head for c in message.commits}.items(), peer)
        self._receiving.commits(peer, message)
        if len(peer.have) > limits.frontier_entries_max:
            raise TooLarge("the peer sends commits of more logs than a practice can have")
        if peer.live:
            self._choose([log for log in peer.have if log not in known])

    def _backlog(self, peer: Peer, message: messages.Backlog) -> None:
        peer.announced = (message.commits, message.size)
        peer.announced_at = (peer.counters.commits_in, peer.received)

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
            self._branches.members_changed()

    def _want_keys(self, peer: Peer, message: messages.WantKeys) -> None:
        if self._core.serves(peer):
            self._core.out.append(ReadKeys(peer.link, message.ids))

    def _keys(self, _: Peer, message: messages.Keys) -> None:
        asked = self._repair.asked_for(message.keys)
        if asked:
            self._core.out.append(StoreKeys(asked))

    def _digest(self, peer: Peer, message: messages.Digest) -> None:
        if message.credit:
            serving.credit(self._core, peer, message.credit)
        if message.frontier == self._core.stored.digest():
            self._has_the_same(peer)
        self._repair.compare(peer, message)

    def _has_the_same(self, peer: Peer) -> None:
        """The hash of a peer's frontier is that of ours: it tells as much as the heads, some of which may be lost."""
        heads = list(self._core.stored.items())
        if peer.have.digest() != self._core.stored.digest():
            for log, head in heads:
                peer.learn(log, head)
            self._holdings.heads(peer.replica, heads, peer)
        if peer.phase is Phase.TELLING:
            peer.phase = Phase.LIVE
            self._choose([log for log, _ in heads])

    def _holding(self, peer: Peer, message: messages.Holding) -> None:
        self._holdings.heads(message.replica, message.heads, peer)

    def _want_heads(self, peer: Peer, message: messages.WantHeads) -> None:
        if self._core.tells(peer, message.log):
            self._forks.wanted(peer, message)

    def _heads(self, peer: Peer, message: messages.Heads) -> None:
        self._forks.shown(peer, message)

    def _want_sums(self, peer: Peer, message: messages.WantSums) -> None:
        if self._core.reads(peer):  # what sums up records tells of them
            self._repair.narrowing.wanted(peer, message)

    def _sums_of(self, peer: Peer, message: messages.SumsOf) -> None:
        self._repair.narrowing.shown(peer, message)

    def _want_again(self, peer: Peer, message: messages.WantAgain) -> None:
        if self._core.serves(peer):
            self._core.out.append(ReadAgain(peer.link, message.log, message.sequences))

    def _again(self, _: Peer, message: messages.Again) -> None:
        self._repair.again(message.commits)

    def _ask(self, peer: Peer, message: messages.Ask) -> None:
        self._asking.asked(peer, message)

    def _answer(self, peer: Peer, message: messages.Answer) -> None:
        self._asking.answered(peer, message)

    def _cancel(self, peer: Peer, message: messages.Cancel) -> None:
        self._asking.cancelled(peer, message)

    def _ping(self, peer: Peer, message: messages.Ping) -> None:
        peer.received = max(peer.received, message.sent)
        self._receiving.grant(peer, step=1)
        self._core.send(peer, messages.Pong(message.time), urgent=False)

    def _pong(self, peer: Peer, message: messages.Pong) -> None:
        peer.answered = max(peer.answered, min(message.time / 1000, self._core.now))

    # -- answers of the driver ---------------------------------------------------------------------------------------

    def _stored(self, _: events.Stored) -> None:
        self._receiving.stored()

    def _wrote(self, event: events.Wrote) -> None:
        core = self._core
        counted = [commit for commit in event.commits if core.counts(*commit.id)]
        for commit in event.commits:
            core.kept(commit)
            self._line = commit.header.log
        for commit in counted:
            core.inbox.written(commit)
        self._recovering.wrote()
        serving.push(core, [(commit, True) for commit in counted], event.keys)
        self._receiving.proceed()

    def _boot_opened(self, event: events.BootOpened) -> None:
        core = self._core
        previous, core.log = core.log, event.log
        core.feeds.forget(event.log)
        if previous is not None:
            self._choose([previous])
        self._choose([log for peer in core.live_peers() for log in peer.have])
        for peer in core.peers.values():
            self._greet(peer)  # others tell the copies of a disk apart by the logs that they write

    def _go_on_alone(self, _: events.GoOnAlone) -> None:
        self._recovering.by_word()

    def _members_stored(self, event: events.MembersStored) -> None:
        meeting.stored(self._core, event.records)
        self._unstall()
        self._branches.members_changed()

    def _feeds_read(self, event: events.FeedsRead) -> None:
        serving.feeds_read(self._core, event)

    def _backlog_read(self, event: events.BacklogRead) -> None:
        serving.backlog_read(self._core, event)

    def _keys_read(self, event: events.KeysRead) -> None:
        peer = self._core.peers.get(event.link)
        if peer is not None and event.keys and self._core.serves(peer):
            self._core.send(peer, messages.Keys(tuple(event.keys)))

    def _headers_read(self, event: events.HeadersRead) -> None:
        try:
            self._forks.read(event)
        except PeerError as error:
            self._give_up(self._core.peers[event.link], error)

    def _sums_read(self, event: events.SumsRead) -> None:
        self._repair.narrowing.read(event)

    def _again_read(self, event: events.AgainRead) -> None:
        serving.again_read(self._core, event)

    def _rot_found(self, event: events.RotFound) -> None:
        self._repair.rot_found(event.commits)

    def _mended(self, event: events.Mended) -> None:
        self._repair.mended(event.commits)

    def _keys_stored(self, _: events.KeysStored) -> None:
        """Deriving what waited for them is the driver's next step."""

    def _derived(self, event: events.Derived) -> None:
        self._repair.derived(event)

    def _ask_out(self, event: events.AskOut) -> None:
        self._asking.ask(event)

    def _cancel_out(self, event: events.CancelOut) -> None:
        self._asking.cancel(event)

    def _answer_out(self, event: events.AnswerOut) -> None:
        self._asking.answer(event)

    def describe(self, replica: ReplicaId) -> str:
        """A replica's name in the membership, or its id where the name is not known."""
        return self._core.name_of(replica)


_HANDLERS: dict[type, Callable[[Replica, Any], None]] = {
    events.LinkUp: Replica._link_up,
    events.LinkDown: Replica._link_down,
    events.Received: Replica._received,
    events.Stored: Replica._stored,
    events.Wrote: Replica._wrote,
    events.BootOpened: Replica._boot_opened,
    events.GoOnAlone: Replica._go_on_alone,
    events.MembersStored: Replica._members_stored,
    events.FeedsRead: Replica._feeds_read,
    events.BacklogRead: Replica._backlog_read,
    events.KeysRead: Replica._keys_read,
    events.HeadersRead: Replica._headers_read,
    events.SumsRead: Replica._sums_read,
    events.AgainRead: Replica._again_read,
    events.RotFound: Replica._rot_found,
    events.Mended: Replica._mended,
    events.KeysStored: Replica._keys_stored,
    events.Derived: Replica._derived,
    events.AskOut: Replica._ask_out,
    events.CancelOut: Replica._cancel_out,
    events.AnswerOut: Replica._answer_out,
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
    messages.WantHeads: Replica._want_heads,
    messages.Heads: Replica._heads,
    messages.WantSums: Replica._want_sums,
    messages.SumsOf: Replica._sums_of,
    messages.WantAgain: Replica._want_again,
    messages.Again: Replica._again,
    messages.Ask: Replica._ask,
    messages.Answer: Replica._answer,
    messages.Cancel: Replica._cancel,
}
