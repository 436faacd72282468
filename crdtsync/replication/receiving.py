"""What a peer sends: verified, put into causal order, stored, acknowledged (L1, L2, L3, L6).

A commit passes, in this order: limits and form (`codec`, `commit`), the practice, membership of its author where it was
written, the chain, the signature of the last commit of its log in the message. Opening and applying follow behind the
log.
"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import pairwise

from crdtsync import limits
from crdtsync.errors import BadSignature, Malformed, NotAMember, PeerError
from crdtsync.ids import DataKeyId, Head, LogId, log_text, replica_of
from crdtsync.replication import serving
from crdtsync.replication.commit import Commit, signed_bytes
from crdtsync.replication.effects import NewBoot, Store
from crdtsync.replication.forks import Forks
from crdtsync.replication.frontier import NOTHING
from crdtsync.replication.inbox import Waiting
from crdtsync.replication.membership import Member
from crdtsync.replication.messages import Commits, Credit, Feed, Unfeed
from crdtsync.replication.session import Peer
from crdtsync.replication.state import Core
from crdtsync.replication.stored import KeyObject


class Receiving:
    """Commits on their way from peers into the store. One batch is being stored at a time."""

    def __init__(self, core: Core, forks: Forks) -> None:
        self._core = core
        self._forks = forks
        self._storing: list[Waiting] = []
        self._late: dict[LogId, int] = {}
        self._signed: dict[LogId, Head] = {}

    @property
    def late(self) -> dict[LogId, int]:
        """Logs of members that left, and how many of their commits are set aside."""
        stored = self._core.stored
        ahead = {log: upto - stored.sequence(log) for log, upto in self._late.items()}
        return {log: commits for log, commits in ahead.items() if commits > 0}

    @property
    def late_heads(self) -> dict[LogId, Head]:
        """How far commits that are set aside were shown here, signed by their author: of each log that has any."""
        stored = self._core.stored
        return {log: head for log, head in self._signed.items() if head.sequence > stored.sequence(log)}

    @property
    def busy(self) -> bool:
        """Whether a batch is being stored."""
        return bool(self._storing)

    def commits(self, peer: Peer, message: Commits) -> None:
        """Take in one message. Raises PeerError for what no honest member sends (L6)."""
        core = self._core
        peer.received = max(peer.received, message.sent)
        peer.commits_at = core.now
        if not all(core.membership.knows(commit.header.members) for commit in message.commits):
            if len(peer.stalled) >= limits.stalled_messages_max or peer.waiting > limits.inbox_bytes_max:
                raise NotAMember("commits name membership records that never came; the link is given up")
            peer.stalled.append(message)
            peer.waiting += message.weight
            return
        keys = {key.id: key for key in message.keys}
        segments: dict[LogId, list[Commit]] = {}
        for commit in message.commits:
            segments.setdefault(commit.header.log, []).append(commit)
        for log, segment in segments.items():
            self._segment(peer, log, segment, keys)
        self.proceed()
        self._make_room()
        self.grant(peer)

    def unstall(self) -> list[tuple[Peer, PeerError]]:
        """Membership has grown: look again at what waited for it. Returns the peers whose commits are false (L6)."""
        false: list[tuple[Peer, PeerError]] = []
        self._core.inbox.recheck()
        for peer in list(self._core.peers.values()):
            try:
                for _ in range(len(peer.stalled)):
                    message = peer.stalled.popleft()
                    peer.waiting -= message.weight
                    self.commits(peer, message)
            except PeerError as error:
                false.append((peer, error))
        self.proceed()
        return false

    def forget_overtaken(self) -> None:
        """What waits for membership records, and has come another way meanwhile: those may be records that do not
        exist, and what is not waited for keeps no room and no credit (L7)."""
        stored = self._core.stored
        for peer in self._core.peers.values():
            for message in list(peer.stalled):
                if all(commit.header.sequence <= stored.sequence(commit.header.log) for commit in message.commits):
                    peer.stalled.remove(message)
                    peer.waiting -= message.weight

    def _segment(self, peer: Peer, log: LogId, segment: list[Commit], keys: dict[DataKeyId, KeyObject]) -> None:
        """Commits of one log, in their order."""
        core = self._core
        peer.counters.commits_in += len(segment)
        peer.learn(log, segment[-1].head)
        if log in core.refused_logs():
            peer.counters.duplicates_in += len(segment)
            return
        segment = [commit for commit in segment if core.counts(log, commit.header.sequence)]
        fresh = self._continuing(peer, log, segment)
        if not fresh:
            return
        self._verify(log, fresh[-1])
        core.feeds.progress(log, peer.link, core.now)
        for commit in fresh:
            introduced = tuple(keys[p.key] for p in commit.header.parts if p.introduces and p.key in keys)
            peer.waiting += commit.size
            core.inbox.put(Waiting(commit, commit is fresh[-1], introduced, peer.link))

    def _continuing(self, peer: Peer, log: LogId, segment: list[Commit]) -> list[Commit]:
        """Those of `segment` that go on from what is here, each checked against the chain (L3)."""
        core = self._core
        tail = core.inbox.tail(log)
        fresh: list[Commit] = []
        for at, commit in enumerate(segment):
            header = commit.header
            if header.practice != core.practice:
                raise Malformed("a commit of another practice")
            if not all(commit.parts):
                raise Malformed("a commit without all of its content")
            if header.sequence <= tail.sequence:
                if header.sequence == tail.sequence and commit.hash != tail.hash:
                    self._forked(peer, log, segment[at:], tail)
                    return []
                peer.counters.duplicates_in += 1
                continue
            if header.sequence > tail.sequence + 1:
                self._ask_again(peer, log, tail.sequence + 1)
                break
            if header.previous != tail.hash:
                self._forked(peer, log, segment[at:], tail)
                return []
            fresh.append(commit)
            tail = commit.head
        if not fresh and core.feeds.source(log) != peer.link:
            core.send(peer, Unfeed((log,)))  # it still sends what we take from somebody else
        return fresh

    def _forked(self, peer: Peer, log: LogId, run: list[Commit], tail: Head) -> None:
        """`run` is another continuation than the one at `tail`: if its author signed that, see where they part (L3).

        Anybody can make up a commit: only one that is signed, or chained to a later one that is, proves anything (L6).
        """
        chained = all(later.header.previous == commit.hash for commit, later in pairwise(run))
        if not chained or not self._authentic(log, run[-1]):
            raise BadSignature("a commit does not continue its log, and its signature does not verify")
        self._parted(peer, log, tail)

    def _ask_again(self, peer: Peer, log: LogId, at: int) -> None:
        """Something between was lost: ask for it, once in a while."""
        core = self._core
        if core.now - peer.refed_at.get(log, -1e9) < limits.gap_patience_s or core.feeds.source(log) != peer.link:
            return
        peer.refed_at[log] = core.now
        core.send(peer, Feed(((log, at),)))

    def _verify(self, log: LogId, last: Commit) -> None:
        if not self._authentic(log, last):
            raise BadSignature("a run of commits whose last signature does not verify")

    def _authentic(self, log: LogId, commit: Commit) -> bool:
        member = self._core.membership.state(commit.header.members).members.get(replica_of(log))
        return member is not None and self._core.verify(member.sig, signed_bytes(commit.hash), commit.signature)

    def _parted(self, peer: Peer, log: LogId, tail: Head) -> None:
        """The peer's log is another one than ours at `tail`: see where they part (L3), from what is stored on."""
        if self._core.inbox.waiting_of(log):
            self.drop(log)
        else:
            self._forks.suspect(peer, log, tail.sequence)

    def freeze(self) -> None:
        """Membership shows where logs end (L3): nothing beyond that is taken, told or waited for any more."""
        core = self._core
        for log, end in core.membership.state().frozen.items():
            known = core.frozen.get(log)
            if known is None or end < known:
                self.drop(log)
                core.frozen[log] = end
                core.inbox.freeze(log, end)
                core.stored.cut(log, end)
                author = replica_of(log)
                core.touched.add(author)
                core.alarm(
                    "fork",
                    f"{core.name_of(author)} wrote a log twice under one name: what follows on commit "
                    f"{end.sequence} of {log_text(log)} counts nowhere; look into that machine and close it.",
                )
                if log == core.log:
                    core.log = None
                    core.out.append(NewBoot("this replica's log was written twice under one name"))

    def admit(self, commit: Commit) -> bool:
        """Membership: the author was a member where it wrote, and was not removed, or wrote before the attested cut or
        before it was closed."""
        core = self._core
        log = commit.header.log
        author = replica_of(log)
        if core.membership.state(commit.header.members).active(author) is None:
            self._set_aside(log)
            return False
        current = core.membership.state()
        member = current.members.get(author)
        if member is not None and member.active:
            return True
        if _by_then(member, commit):
            return True
        cut = current.cuts.get(log)
        if cut is not None and commit.header.sequence <= cut.sequence:
            return commit.header.sequence < cut.sequence or commit.hash == cut.hash
        self._set_aside(log)
        return False

    def _set_aside(self, log: LogId) -> None:
        """It keeps no room and no credit meanwhile, which others need: whoever has it keeps it, and is asked again."""
        core = self._core
        if log not in self._late:
            core.alarm(
                "late",
                f"{core.name_of(replica_of(log))} has left the practice, and sends commits that do not count: they are "
                "set aside, and `late` in `status` tells how many.",
            )
        there = max((peer.have.sequence(log) for peer in core.peers.values()), default=0)
        tail = core.inbox.tail(log)
        self._late[log] = max(self._late.get(log, 0), tail.sequence, there)
        self._signed[log] = max(self._signed.get(log, tail), tail)
        core.aside[log] = None

    def proceed(self) -> None:
        """Store the next batch, if none is being stored and something is ready."""
        core = self._core
        if self._storing:
            return
        batch = core.inbox.take(limits.batch_commits_max, self.admit)
        for log in [log for log in core.aside if core.inbox.waiting_of(log)]:
            self.drop(log)
        if batch:
            self._storing = batch
            keys = {key.id: key for item in batch for key in item.keys}
            core.out.append(Store([(item.commit, item.checked) for item in batch], list(keys.values())))

    def stored(self) -> None:
        """The batch is on disk, synced: now, and not before, others may hear of it (L1)."""
        core = self._core
        batch, self._storing = self._storing, []
        counted = [item for item in batch if core.counts(*item.commit.id)]
        for item in batch:
            core.kept(item.commit)
            self._settle(item)
            self._account(item.commit)
        keys = [key for item in counted for key in item.keys]
        serving.push(core, [(item.commit, item.checked) for item in counted], keys)
        for log in core.frozen.keys() & core.refused_logs():
            if core.feeds.source(log) is not None:
                self.drop(log)
        self.proceed()
        for peer in core.peers.values():
            self.grant(peer)

    def _settle(self, item: Waiting) -> None:
        peer = self._core.peers.get(item.link)
        if peer is not None:
            peer.waiting -= item.commit.size

    def _account(self, commit: Commit) -> None:
        """What counts of a closed member since it was written by then needs no attest: it would take one per batch."""
        log = commit.header.log
        if _by_then(self._core.membership.state().members.get(replica_of(log)), commit):
            self._core.undoubted[log] = commit.head

    def grant(self, peer: Peer, *, step: int = limits.credit_bytes_step) -> None:
        """Give credit back once it is worth a message."""
        allowance = peer.allowance()
        if allowance - peer.granted >= step:
            peer.granted = allowance
            self._core.send(peer, Credit(allowance))

    def _make_room(self) -> None:
        """Keep the inbox within its bounds (L7). What waits for other commits goes first, so that those find room."""
        inbox = self._core.inbox
        while inbox.commits > limits.inbox_commits_max or inbox.bytes > limits.inbox_bytes_max:
            self.drop(inbox.least_wanted())

    def drop(self, log: LogId) -> None:
        """Forget what waits of a log; it is asked for again when there is room (L7)."""
        core = self._core
        for item in core.inbox.drop(log):
            self._settle(item)
        link = core.feeds.forget(log)
        if link in core.peers:
            core.send(core.peers[link], Unfeed((log,)))

    def check_heads(self, peer: Peer, heads: Iterable[tuple[LogId, Head]]) -> None:
        """Compare a peer's heads with ours: one sequence with two hashes is a fork (L3), if the peer can show it."""
        core = self._core
        for log, head in heads:
            mine = core.stored.head(log)
            if mine != NOTHING and mine.sequence == head.sequence and mine.hash != head.hash:
                self._forks.suspect(peer, log, head.sequence)


def _by_then(author: Member | None, commit: Commit) -> bool:
    """Whether a commit was written by when its author, who was honest, was closed."""
    return author is not None and author.closed_at is not None and commit.header.stamp <= author.closed_at
