"""Where two sites differ that hold the same commits (L5): narrowed down part by part, to records.

Both sides sum up the fingerprints of sixteen parts of their records, then of sixteen parts of each part that differs,
until few enough are left to be told one by one. Whoever finds records that differ derives them anew from its own log.
Nothing is ever taken from the other side: that would spread rot.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from crdtsync import limits
from crdtsync.ids import RecordId
from crdtsync.replication.effects import ReadSums, Rederive, RepairRecords
from crdtsync.replication.events import SumsRead
from crdtsync.replication.messages import Path, Sums, SumsOf, WantSums
from crdtsync.replication.session import Peer
from crdtsync.replication.state import Core

_WAYS_MAX: Final = 256
"""Parts that may differ at a time; when more do, everything is derived anew."""


@dataclass(slots=True)
class Round:
    """One narrowing down with one peer, at one frontier and membership."""

    frontier: bytes
    members: bytes
    since: float
    ways: list[Path] = field(default_factory=lambda: [()])
    asked: tuple[Path, ...] = ()
    theirs: dict[Path, Sums] | None = None
    ours: dict[Path, Sums] | None = None
    records: dict[tuple[str, RecordId], None] = field(default_factory=dict)
    """Records that differ, as far as is known."""

    def compare(self, theirs: dict[Path, Sums], ours: dict[Path, Sums]) -> None:
        """Take in both sides' sums of what was asked for."""
        for path in self.asked:
            one, other = ours.get(path), theirs.get(path)
            if one is None or other is None or one == other:
                continue
            if one.parts and other.parts:
                pairs = zip(one.parts, other.parts, strict=False)
                self.ways += [(*path, step) for step, (mine, yours) in enumerate(pairs) if mine != yours]
            elif one.parts or other.parts:
                parts = one.parts or other.parts  # the other side has few records here, perhaps none
                self.ways += [(*path, step) for step in range(len(parts))]
            else:
                differing = set(one.records) ^ set(other.records)
                self.records.update(dict.fromkeys((each.kind, each.record) for each in sorted(differing)))


class Narrowing:
    """Rounds under way, one per link."""

    def __init__(self, core: Core) -> None:
        self._core = core
        self._rounds: dict[int, Round] = {}
        self._summing: set[int] = set()
        self._next = 0.0
        self._tried: dict[tuple[str, RecordId], None] = {}
        self._told: set[tuple[str, RecordId]] = set()

    def begin(self, peer: Peer, frontier: bytes, members: bytes) -> None:
        """The peer's records differ from ours at this frontier and membership. Once in a while at most."""
        core = self._core
        self._rounds = {
            link: round_
            for link, round_ in self._rounds.items()
            if link in core.peers and core.now - round_.since < limits.narrowing_interval_s
        }
        if core.now < self._next or self._rounds:
            return
        self._next = core.now + limits.narrowing_interval_s
        core.alarm(
            "digest",
            f"The records here differ from those of {core.name_of(peer.replica)}, which holds the same "
            "commits: they are compared, and derived anew where they differ.",
        )
        self._rounds[peer.link] = round_ = Round(frontier, members, core.now)
        self._ask(peer, round_)

    def agreed(self) -> None:
        """A peer's records and ours are the same: whatever differs from now on is something new."""
        self._tried.clear()
        self._told = set()

    def _ask(self, peer: Peer, round_: Round) -> None:
        step = limits.narrowing_parts_max
        round_.asked, round_.ways = tuple(round_.ways[:step]), round_.ways[step:]
        round_.theirs = round_.ours = None
        self._core.send(peer, WantSums(round_.frontier, round_.members, round_.asked), urgent=False)
        self._core.out.append(ReadSums(peer.link, round_.asked, asked=False))

    def wanted(self, peer: Peer, message: WantSums) -> None:
        """A peer wants sums of ours; one question at a time, and only about where we stand."""
        here = (self._core.stored.digest(), self._core.members_digest())
        if peer.link not in self._summing and (message.frontier, message.members) == here:
            self._summing.add(peer.link)
            self._core.out.append(ReadSums(peer.link, message.paths, asked=True))

    def read(self, event: SumsRead) -> None:
        """Our view was summed up."""
        core = self._core
        if event.asked:
            self._summing.discard(event.link)
        peer = core.peers.get(event.link)
        if peer is None or event.arrival != core.arrived:
            return
        here = (core.stored.digest(), core.members_digest())
        if event.asked:
            core.send(peer, SumsOf(*here, tuple(event.sums)), urgent=False)
            return
        round_ = self._rounds.get(event.link)
        if round_ is not None and (round_.frontier, round_.members) == here:
            round_.ours = dict(event.sums)
            self._go_on(peer, round_)

    def shown(self, peer: Peer, message: SumsOf) -> None:
        """The peer tells what its view sums up to."""
        round_ = self._rounds.get(peer.link)
        if round_ is not None and (round_.frontier, round_.members) == (message.frontier, message.members):
            round_.theirs = dict(message.sums)
            self._go_on(peer, round_)

    def _go_on(self, peer: Peer, round_: Round) -> None:
        if round_.theirs is None or round_.ours is None:
            return
        round_.compare(round_.theirs, round_.ours)
        too_many = len(round_.ways) > _WAYS_MAX or len(round_.records) > limits.repaired_records_max
        if round_.ways and not too_many:
            self._ask(peer, round_)
            return
        del self._rounds[peer.link]
        if too_many:
            self._core.out.append(Rederive(peer.replica))
        else:
            self._repair(peer, list(round_.records))

    def _repair(self, peer: Peer, records: Sequence[tuple[str, RecordId]]) -> None:
        """Derive anew what was not derived anew before; what was, stays a matter for people."""
        core = self._core
        again = [place for place in records if place in self._tried]
        fresh = [place for place in records if place not in self._tried]
        self._tried.update(dict.fromkeys(fresh))
        while len(self._tried) > limits.repaired_records_max * 4:
            del self._tried[next(iter(self._tried))]
        if again and again[0] not in self._told:
            names = ", ".join(f"{kind} {record}" for kind, record in again[:5])
            core.alarm(
                "digest",
                f"{len(again)} records still differ from those of {core.name_of(peer.replica)} although "
                f"they were derived anew: {names}. Update the older program, or report this.",
            )
            self._told = {*self._tried.keys() & self._told, *again}
        if fresh:
            core.out.append(RepairRecords(fresh))
