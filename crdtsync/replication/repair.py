"""What mends a conversation in which something was lost, and finds what should not differ (L5).

Every `repair_interval_s` a replica looks: an unanswered hello is said again; a feed that brings nothing moves;
frontier, membership and content digests are compared with each peer; keys that parts wait for are asked for; a peer
that is silent is asked whether it lives, and given up.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from crdtsync import limits
from crdtsync.ids import CommitId, DataKeyId, LogId, replica_of
from crdtsync.replication import meeting, serving
from crdtsync.replication.commit import Commit, signed_bytes
from crdtsync.replication.effects import Close, Mend
from crdtsync.replication.events import Derived
from crdtsync.replication.gossip import Turn
from crdtsync.replication.messages import Digest, Feed, Ping, Unfeed, WantAgain, WantKeys
from crdtsync.replication.narrowing import Narrowing
from crdtsync.replication.receiving import Receiving
from crdtsync.replication.session import Peer, Phase
from crdtsync.replication.state import Core
from crdtsync.replication.stored import KeyObject

_NO_DIGEST = bytes(32)


class Repair:
    """Periodic care. `digests` remembers the content digest at recent frontiers, and with how many holds (L6): a view
    that does not leave out yet what the membership holds is not compared with anybody's."""

    def __init__(self, core: Core, receiving: Receiving) -> None:
        self._core = core
        self._receiving = receiving
        self._next = 0.0
        self._digests: dict[tuple[bytes, int], bytes] = {}
        self._waiting_keys: tuple[DataKeyId, ...] = ()
        self._asked = 0
        self._came: dict[CommitId, Commit] = {}
        """First commits of logs that peers sent again: once they are on disk, it is known what those logs continue."""
        self.narrowing = Narrowing(core)

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
        self._receiving.forget_overtaken()
        for peer in list(core.peers.values()):
            self._look_after(peer)
        live = {peer.link: peer for peer in core.live_peers()}
        say(core, core.feeds.stalled(core.now, live, core.inbox))
        orphans = {log: None for peer in live.values() for log in peer.have if core.feeds.source(log) is None}
        say(core, core.feeds.choose(core.now, orphans, live, core.inbox, core.refused_logs()))
        self._unblock()
        self._ask_for_keys()
        self._ask_again()

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
        peer.granted = max(peer.granted, peer.allowance())
        core.send(peer, self._digest(peer.granted))
        serving.resume(core, peer)

    def _digest(self, credit: int = 0) -> Digest:
        core = self._core
        at = self._place()
        return Digest(at[0], core.members_digest(), self._digests.get(at, _NO_DIGEST), credit)

    def _place(self) -> tuple[bytes, int]:
        """From what a view follows that is up to date."""
        return self._core.stored.digest(), self._core.membership.state().held

    def derived(self, event: Derived) -> None:
        """The view was derived; if it follows from all that is stored, remember what it sums up to."""
        self._waiting_keys = tuple(event.waiting)
        if event.waiting or event.held < 0 or event.arrival != self._core.arrived:
            return
        self._digests[self._core.stored.digest(), event.held] = event.digest
        while len(self._digests) > limits.digests_remembered_max:
            del self._digests[next(iter(self._digests))]

    def asked_for(self, keys: Sequence[KeyObject]) -> list[KeyObject]:
        """Those keys that parts wait for here: nobody fills this disk with others (L7)."""
        wanted = frozenset(self._waiting_keys)
        return [key for key in keys if key.id in wanted]

    def compare(self, peer: Peer, message: Digest) -> None:
        """The peer says where it stands: tell it what it may lack, and compare the content at equal frontiers (L5)."""
        core = self._core
        mine = self._digest()
        if message.members != mine.members:
            meeting.tell(core, peer)
        if message.frontier != core.stored.digest():
            if core.now - peer.told_whole_at >= limits.repair_interval_s:
                serving.tell_all(core, peer)
        elif message.members == mine.members and core.reads(peer):
            self._compare_content(peer, message)

    def _compare_content(self, peer: Peer, message: Digest) -> None:
        ours = self._digests.get(self._place(), _NO_DIGEST)
        if _NO_DIGEST in (ours, message.digest):
            return
        if ours == message.digest:
            self.narrowing.agreed()
        else:
            self.narrowing.begin(peer, message.frontier, message.members)

    def rot_found(self, commits: Iterable[CommitId]) -> None:
        """Our disk has changed these commits: ask for them again (L5)."""
        core, known = self._core, set(commits)
        whole = [commit for commit in core.rotten if commit not in known]
        if whole:
            self.mended(whole)
        fresh = [commit for commit in known if commit not in core.rotten]
        if not fresh:
            return
        if not core.rotten:
            core.alarm(
                "rot",
                "Commits on this disk are not what was written any more; they are fetched again from other "
                "sites. Have the disk looked at.",
            )
        for commit in sorted(fresh)[: limits.rotten_commits_max - len(core.rotten)]:
            core.rotten[commit] = None
        self._ask_again()

    def mended(self, commits: Iterable[CommitId]) -> None:
        """These are what was written again."""
        core = self._core
        for commit in commits:
            core.rotten.pop(commit, None)
            if commit in self._came and core.boots.learn(self._came.pop(commit)):
                core.touched.add(replica_of(commit.log))
        if not core.rotten:
            core.alarm("rot", "All commits that had changed on this disk were fetched again and are whole.")

    def again(self, commits: Iterable[Commit]) -> None:
        """A peer sends commits again; the store checks that they are those which its own log names."""
        wanted = [commit for commit in commits if commit.id in self._core.rotten]
        members = self._core.membership.state().members
        for commit in wanted:
            author = members.get(replica_of(commit.header.log))
            told = signed_bytes(commit.hash), commit.signature
            if commit.header.sequence == 1 and author is not None and self._core.verify(author.sig, *told):
                self._came[commit.id] = commit
        if wanted:
            self._core.out.append(Mend(wanted))

    def _ask_again(self) -> None:
        core = self._core
        by_log: dict[LogId, list[int]] = {}
        for commit in core.rotten:
            by_log.setdefault(commit.log, []).append(commit.sequence)
        for log, sequences in by_log.items():
            # Nobody says that they have what stands behind a fork; whoever took it before that was known has it.
            told = core.counts(log, min(sequences))
            peers = [peer for peer in core.live_peers() if not told or peer.have.sequence(log) >= min(sequences)]
            if peers:
                self._asked += 1
                wanted = WantAgain(log, tuple(sorted(sequences)[: limits.commits_again_max]))
                core.send(peers[self._asked % len(peers)], wanted, urgent=False)

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
