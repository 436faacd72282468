"""What mends a conversation in which something was lost, and finds what should not differ (L5).

Every `repair_interval_s` a replica looks: an unanswered hello is said again; a feed that brings nothing moves;
frontier, membership and content digests are compared with each peer; keys that parts wait for are asked for; a peer
that is silent is asked whether it lives, and given up.
"""

from __future__ import annotations

from crdtsync import limits
from crdtsync.ids import DataKeyId
from crdtsync.replication import meeting, serving
from crdtsync.replication.effects import Close, Rederive
from crdtsync.replication.events import Derived
from crdtsync.replication.gossip import Turn
from crdtsync.replication.messages import Credit, Digest, Feed, Ping, Unfeed, WantKeys, members_digest
from crdtsync.replication.receiving import Receiving
from crdtsync.replication.session import Peer, Phase
from crdtsync.replication.state import Core

_NO_DIGEST = bytes(32)


class Repair:
    """Periodic care. `digests` remembers the content digest at recent frontiers."""

    def __init__(self, core: Core, receiving: Receiving) -> None:
        self._core = core
        self._receiving = receiving
        self._next = 0.0
        self._digests: dict[bytes, bytes] = {}
        self._waiting_keys: tuple[DataKeyId, ...] = ()
        self._asked = 0
        self._differing: dict[bytes, None] = {}

    @property
    def due(self) -> float:
        """When `run` wants to be called next."""
        return self._next

    def run(self) -> None:
        """Look after every link."""
        core = self._core
        if core.now < self._next:
            return
        self._next = core.now + limits.repair_interval_s
        for peer in list(core.peers.values()):
            self._look_after(peer)
        live = {peer.link: peer for peer in core.live_peers()}
        say(core, core.feeds.stalled(core.now, live, core.inbox))
        orphans = {log: None for peer in live.values() for log in peer.have if core.feeds.source(log) is None}
        say(core, core.feeds.choose(core.now, orphans, live, core.inbox, core.refused_logs()))
        self._unblock()
        self._ask_for_keys()

    def _look_after(self, peer: Peer) -> None:
        core = self._core
        silent = core.now - peer.heard
        if silent >= limits.idle_seconds_max:
            core.out.append(Close(peer.link, "nothing was heard for a minute"))
            return
        if peer.phase is Phase.OPENING:
            return
        if peer.credit <= 0 or silent >= limits.ping_interval_s:
            core.send(peer, ping(core, peer), urgent=False)
        self._receiving.grant(peer, step=1)
        core.send(peer, Credit(peer.granted))
        core.send(peer, self._digest())

    def _digest(self) -> Digest:
        core = self._core
        frontier = core.stored.digest()
        return Digest(frontier, members_digest(core.membership.heads), self._digests.get(frontier, _NO_DIGEST))

    def derived(self, event: Derived) -> None:
        """The view was derived; if it follows from all that is stored, remember what it sums up to."""
        self._waiting_keys = tuple(event.waiting)
        if event.waiting or event.arrival != self._core.stored.commits():
            return
        self._digests[self._core.stored.digest()] = event.digest
        while len(self._digests) > limits.digests_remembered_max:
            del self._digests[next(iter(self._digests))]

    def compare(self, peer: Peer, message: Digest) -> None:
        """The peer says where it stands: tell it what it may lack, and compare the content at equal frontiers (L5)."""
        core = self._core
        mine = self._digest()
        if message.members != mine.members:
            meeting.tell(core, peer)
        if message.frontier != core.stored.digest():
            if core.now - peer.told_whole_at >= limits.repair_interval_s:
                serving.tell_all(core, peer)
        elif message.members == mine.members:
            self._compare_content(peer, message)

    def _compare_content(self, peer: Peer, message: Digest) -> None:
        ours = self._digests.get(message.frontier, _NO_DIGEST)
        if _NO_DIGEST in (ours, message.digest) or ours == message.digest or message.frontier in self._differing:
            return
        self._differing[message.frontier] = None
        if len(self._differing) > limits.digests_remembered_max:
            del self._differing[next(iter(self._differing))]
        self._core.alarm("digest", "The records here differ from those of a peer that holds the same commits.")
        self._core.out.append(Rederive(peer.replica))

    def _unblock(self) -> None:
        """A link whose whole credit waits here for commits that another link does not bring: let them go, and ask for
        them again behind what they wait for.

        What they wait for may have been lost on this very link: that is asked for once the peer has answered, and
        letting go before would begin the waiting for that answer anew, for ever.
        """
        core = self._core
        for peer in core.live_peers():
            quiet = core.now - peer.commits_at >= limits.feed_stall_s
            if quiet and peer.waiting >= limits.in_flight_bytes_max // 2:
                if peer.answered < peer.commits_at:
                    core.send(peer, ping(core, peer), urgent=False)
                    continue
                for log in core.inbox.held_from(peer.link):
                    self._receiving.drop(log)
                self._receiving.grant(peer, step=1)

    def _ask_for_keys(self) -> None:
        live = self._core.live_peers()
        if not self._waiting_keys or not live:
            return
        self._asked += 1
        peer = live[self._asked % len(live)]
        self._core.send(peer, WantKeys(self._waiting_keys[: limits.keys_per_message_max]))


def ping(core: Core, peer: Peer) -> Ping:
    """A question whose answer comes behind all that the peer has sent before it."""
    return Ping(peer.sent, max(0, int(core.now * 1000)))


def say(core: Core, turn: Turn) -> None:
    """Tell peers what `Feeds` decided, in as many messages as it takes."""
    step = limits.frontier_entries_per_message_max
    for link in turn.ask:
        if link in core.peers:
            core.send(core.peers[link], ping(core, core.peers[link]), urgent=False)
    for link, logs in turn.unfeed.items():
        if link in core.peers:
            for start in range(0, len(logs), step):
                core.send(core.peers[link], Unfeed(tuple(logs[start : start + step])))
    for link, cursors in turn.feed.items():
        if link in core.peers:
            for start in range(0, len(cursors), step):
                core.send(core.peers[link], Feed(tuple(cursors[start : start + step])))
