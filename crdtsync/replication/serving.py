"""What a peer is sent: commits of the logs that it feeds from us, in order of arrival, within its credit; and what is
durable here, as offer and acknowledgement.
"""

from __future__ import annotations

from collections.abc import Sequence

from crdtsync import limits
from crdtsync.ids import DataKeyId, LogId, replica_of
from crdtsync.replication.commit import Commit, signed_bytes
from crdtsync.replication.effects import ReadBacklog, ReadFeeds
from crdtsync.replication.events import AgainRead, BacklogRead, FeedsRead
from crdtsync.replication.messages import Again, Backlog, Commits, Feed, Have, Unfeed
from crdtsync.replication.session import Peer, Phase
from crdtsync.replication.state import Core
from crdtsync.replication.stored import KeyObject

Checked = tuple[Commit, bool]
"""A commit, and whether its own signature was verified here."""


def feed(core: Core, peer: Peer, message: Feed) -> None:
    """The peer wants logs from certain places on. One that was closed gets nothing."""
    if not core.serves(peer):
        return
    peer.feeds.update(message.cursors)
    behind = peer.behind(core.stored)
    if behind:
        core.out.append(ReadBacklog(peer.link, behind))
        _read_more(core, peer)


def unfeed(peer: Peer, message: Unfeed) -> None:
    """The peer takes these logs from somebody else now."""
    for log in message.logs:
        peer.feeds.pop(log, None)


def backlog_read(core: Core, event: BacklogRead) -> None:
    """Announce how much is about to come."""
    peer = core.peers.get(event.link)
    if peer is not None and event.commits:
        core.send(peer, Backlog(event.commits, event.size))


def feeds_read(core: Core, event: FeedsRead) -> None:
    """Send what was read, then read on."""
    peer = core.peers.get(event.link)
    if peer is None:
        return
    peer.reading = False
    run = []
    for item in event.commits:
        header = item.commit.header
        if peer.feeds.get(header.log) == header.sequence and core.counts(header.log, header.sequence):
            peer.feeds[header.log] += 1
            run.append((item.commit, item.checked))
    _send(core, peer, run, event.keys)
    if event.commits:  # else what comes next is rotten here; `resume` looks again
        _read_more(core, peer)


def resume(core: Core, peer: Peer) -> None:
    """Once in a while: go on where reading stopped for want of a sound commit."""
    if peer.live:
        _read_more(core, peer)


def again_read(core: Core, event: AgainRead) -> None:
    """Send commits once more to the one that asked, as many as fit a message."""
    peer = core.peers.get(event.link)
    run: list[Commit] = []
    size = 0
    for commit in event.commits:
        size += commit.size
        if run and size > limits.run_bytes_target:
            break
        run.append(commit)
    if peer is not None and run and core.serves(peer):
        core.send(peer, Again(tuple(run)), urgent=False)


def credit(core: Core, peer: Peer, allowed: int) -> None:
    """The peer can take more."""
    peer.allowed = max(peer.allowed, min(allowed, peer.sent + limits.in_flight_bytes_max))
    _read_more(core, peer)


def _read_more(core: Core, peer: Peer) -> None:
    if peer.reading or peer.credit <= 0:
        return
    behind = peer.behind(core.stored)
    if behind:
        peer.reading = True
        size = min(limits.run_bytes_target, peer.credit)
        core.out.append(ReadFeeds(peer.link, behind, limits.run_commits_max, size))


def push(core: Core, commits: Sequence[Checked], keys: Sequence[KeyObject]) -> None:
    """Commits are on disk now (L1): send them at once to the peers that feed them and lack nothing before them, and
    tell the others soon that they are here."""
    for peer in core.peers.values():
        if peer.phase is Phase.OPENING:
            continue
        sent = _push_to(core, peer, commits, keys) if peer.credit > 0 and not peer.reading else frozenset[LogId]()
        if not sent:
            _read_more(core, peer)
        for commit, _ in commits:
            if commit.header.log not in sent:
                peer.unsaid[commit.header.log] = None
        tell(core, peer)


def _push_to(core: Core, peer: Peer, commits: Sequence[Checked], keys: Sequence[KeyObject]) -> frozenset[LogId]:
    """Send those of `commits` that come next in the peer's feeds, unless older ones must go first.

    Returns the logs of which the peer thereby heard.
    """
    cursors = dict(peer.feeds)
    run = []
    for item in commits:
        header = item[0].header
        if cursors.get(header.log) == header.sequence:
            cursors[header.log] += 1
            run.append(item)
    if not run or any(core.stored.sequence(log) >= at for log, at in cursors.items()):
        return frozenset()
    if sum(commit.size for commit, _ in run) > peer.credit:
        return frozenset()  # reading on sends as much of it as the credit allows
    peer.feeds = cursors
    _send(core, peer, run, keys)
    return frozenset(commit.header.log for commit, _ in run)


def _send(core: Core, peer: Peer, run: list[Checked], keys: Sequence[KeyObject]) -> None:
    """Send in messages that fit, each with the keys that its commits introduce."""
    by_id = {key.id: key for key in keys}
    start = 0
    while start < len(run):
        end, size = start, 0
        while end < len(run) and end - start < limits.run_commits_max:
            size += run[end][0].size
            if size > limits.run_bytes_target and end > start:
                break
            end += 1
        _send_message(core, peer, run[start:end], by_id)
        start = end


def _send_message(core: Core, peer: Peer, run: list[Checked], by_id: dict[DataKeyId, KeyObject]) -> None:
    commits = _with_checked_ends(core, peer, run)
    if not commits:
        return
    introduced = {part.key: None for commit in commits for part in commit.header.parts if part.introduces}
    peer.sent += sum(commit.size for commit in commits)
    peer.counters.commits_out += len(commits)
    keys = tuple(by_id[key] for key in introduced if key in by_id)
    core.send(peer, Commits(peer.sent, keys, tuple(commits)), urgent=False)


def _with_checked_ends(core: Core, peer: Peer, run: list[Checked]) -> list[Commit]:
    """A commit is passed on under a signature that was checked: the last of each log must verify, or is left out."""
    ends: set[LogId] = set()
    kept: list[Commit] = []
    for commit, checked in reversed(run):
        log = commit.header.log
        if log not in ends and not checked and not _verifies(core, commit):
            peer.feeds[log] = min(peer.feeds[log], commit.header.sequence)
            continue
        ends.add(log)
        kept.append(commit)
    kept.reverse()
    return kept


def _verifies(core: Core, commit: Commit) -> bool:
    member = core.membership.state().members.get(replica_of(commit.header.log))
    return member is not None and core.verify(member.sig, signed_bytes(commit.hash), commit.signature)


def tell(core: Core, peer: Peer) -> None:
    """Acknowledge and offer what has become durable since the peer was last told, at most every `have_interval_s`."""
    if not peer.unsaid or core.now - peer.told_at < limits.have_interval_s:
        return
    logs = list(peer.unsaid)[: limits.frontier_entries_per_message_max]
    for log in logs:
        del peer.unsaid[log]
    peer.told_at = core.now
    heads = tuple((log, core.stored.head(log)) for log in logs if core.tells(peer, log))
    if heads:
        core.send(peer, Have(heads, whole=False))


def tell_all(core: Core, peer: Peer) -> None:
    """Tell the whole frontier, in as many messages as it takes."""
    heads = [(log, head) for log, head in core.stored.items() if core.tells(peer, log)]
    step = limits.frontier_entries_per_message_max
    peer.unsaid.clear()
    peer.told_at = core.now
    peer.told_whole_at = core.now
    for start in range(0, max(1, len(heads)), step):
        core.send(peer, Have(tuple(heads[start : start + step]), whole=start + step >= len(heads)))
