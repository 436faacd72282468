"""Which log is taken from whom: each from one peer at a time, so that a commit crosses into a site once (M1).

A log is taken from its author while the author is linked, else from any peer that has it; commits of every origin are
passed on that way, through any connected topology. A feed that brings nothing while another peer has more moves there,
unless its peer is merely slow.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from crdtsync import limits
from crdtsync.ids import LogId, ReplicaId, replica_of
from crdtsync.replication.inbox import Inbox
from crdtsync.replication.session import Peer


@dataclass(slots=True)
class Source:
    """From which link a log is taken, and since when nothing came although there is more."""

    link: int
    progress: float
    behind: float | None = None
    """Since when it is known that there is more than came."""


@dataclass(frozen=True, slots=True)
class Turn:
    """What to tell peers: cursors to ask for, logs to give up, by link; and links to be asked whether they live."""

    feed: dict[int, list[tuple[LogId, int]]]
    unfeed: dict[int, list[LogId]]
    ask: dict[int, None]


class Feeds:
    """From whom each log is taken. Deterministic: the same peers and frontiers give the same choice."""

    def __init__(self) -> None:
        self._sources: dict[LogId, Source] = {}

    def source(self, log: LogId) -> int | None:
        """The link that brings `log`, if any."""
        source = self._sources.get(log)
        return None if source is None else source.link

    def progress(self, log: LogId, link: int, now: float) -> None:
        """Commits of `log` came in on `link`."""
        source = self._sources.get(log)
        if source is not None and source.link == link:
            source.progress = now

    def link_down(self, link: int) -> list[LogId]:
        """The link is gone. Returns the logs that need another source."""
        lost = [log for log, source in self._sources.items() if source.link == link]
        for log in lost:
            del self._sources[log]
        return lost

    def forget(self, log: LogId) -> int | None:
        """Take `log` from nobody until `choose` is asked again. Returns the link that was its source."""
        source = self._sources.pop(log, None)
        return None if source is None else source.link

    def choose(
        self, now: float, logs: Iterable[LogId], peers: Mapping[int, Peer], inbox: Inbox, refused: frozenset[LogId]
    ) -> Turn:
        """Give each of `logs` its source. `refused` are logs that we write ourselves, or that are frozen (L3)."""
        turn = Turn({}, {}, {})
        for log in logs:
            if log in refused:
                self._give_up(log, turn)
                continue
            best = _best(log, peers)
            current = self._sources.get(log)
            if best is None or (current is not None and current.link == best.link):
                continue
            tail = inbox.tail(log).sequence
            if current is not None and current.link in peers:
                if best.replica != replica_of(log) or peers[current.link].have.sequence(log) > tail:
                    continue  # only the author is better, and moving while something is on its way brings it twice
                self._give_up(log, turn)
            self._sources[log] = Source(best.link, now)
            turn.feed.setdefault(best.link, []).append((log, tail + 1))
        return turn

    def stalled(self, now: float, peers: Mapping[int, Peer], inbox: Inbox) -> Turn:
        """Move feeds that bring nothing although their peer, or another, has more.

        A peer that answers has sent what it had to send before, so nothing is on its way. Until then the same peer is
        not asked again, and one that is heard of is given `limits.feed_patience_s`: over a slow line the commits may be
        on their way, and bringing them twice would make it slower.
        """
        turn = Turn({}, {}, {})
        for log in list(self._sources):
            stalled = self._stalled(log, now, peers, inbox)
            if not stalled and not self._starved(log, now):
                continue
            tail = inbox.tail(log).sequence
            current = self._sources[log].link
            others = [p for p in peers.values() if p.live and p.link != current and p.have.sequence(log) > tail]
            since = self._quiet_since(log, peers[current]) if stalled and current in peers else self._behind_since(log)
            if current in peers and _may_be_slow(since, now, peers[current], alone=not others or not stalled):
                turn.ask[current] = None
                continue
            self._give_up(log, turn)
            link = min(others, key=lambda p: (-p.have.sequence(log), p.link)).link if others else current
            if link in peers:
                self._sources[log] = Source(link, now)
                turn.feed.setdefault(link, []).append((log, tail + 1))
        return turn

    def _give_up(self, log: LogId, turn: Turn) -> None:
        source = self._sources.pop(log, None)
        if source is not None:
            turn.unfeed.setdefault(source.link, []).append(log)

    def _stalled(self, log: LogId, now: float, peers: Mapping[int, Peer], inbox: Inbox) -> bool:
        source = self._sources[log]
        peer = peers.get(source.link)
        if peer is None:
            return True
        tail = inbox.tail(log).sequence
        more = any(p.have.sequence(log) > tail for p in peers.values() if p.live)
        if not more or inbox.waiting_of(log) or peer.stalled:
            source.behind = None
            return False
        if source.behind is None:
            source.behind = now
        return now - self._quiet_since(log, peer) >= limits.feed_stall_s

    def _starved(self, log: LogId, now: float) -> bool:
        """Whether nothing of `log` came for long although there is more, while the link is busy with other logs.

        What was lost, or dropped for want of room, does not come by itself; and others may be dropped and asked for
        again without end, as long as it does not come.
        """
        source = self._sources[log]
        return source.behind is not None and now - self._behind_since(log) >= limits.feed_starved_s

    def _behind_since(self, log: LogId) -> float:
        source = self._sources[log]
        return max(source.progress, source.behind or source.progress)

    def _quiet_since(self, log: LogId, peer: Peer) -> float:
        return max(self._behind_since(log), peer.commits_at)


def _may_be_slow(since: float, now: float, peer: Peer, *, alone: bool) -> bool:
    """Whether a peer that has brought nothing `since` then may only have a slow line."""
    if peer.answered >= since:
        return False
    return alone or (now - peer.heard < limits.feed_stall_s and now - since < limits.feed_patience_s)


def _best(log: LogId, peers: Mapping[int, Peer]) -> Peer | None:
    author = replica_of(log)
    best: Peer | None = None
    for peer in peers.values():
        if not peer.live or log not in peer.have:
            continue
        if best is None or _rank(peer, log, author) < _rank(best, log, author):
            best = peer
    return best


def _rank(peer: Peer, log: LogId, author: ReplicaId) -> tuple[bool, bool, int, int]:
    """The author first, and of two running copies of it the one that writes this log (L4); then who has more."""
    return peer.replica != author, peer.log != log, -peer.have.sequence(log), peer.link
