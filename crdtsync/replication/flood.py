"""What travels from link to link until it is where it should be: whose word it is, which way it goes, what it may cost.

    speaker   an active member that has something to ask or to say: a site or a workstation; it signs what it says
    ways      straight to the target where a live link to it stands, else to everybody but the one it came from
    turn      each thing is passed on once in `limits.ask_pass_s`, and again for a copy that may go further
    trail     by which links a thing came, for as long as it lives: the way back

How far a thing may still go and how long it lives is not signed, since it changes on the way: both are cut to what is
granted here. What is remembered is bounded by who brought it and whose it is together (L7): a member that floods fills
its own share, and one that says again what others said long ago fills no share but that of its own links.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Collection, Container
from dataclasses import dataclass, field
from typing import Final

from crdtsync import limits
from crdtsync.errors import BadSignature
from crdtsync.ids import AskId, PracticeId, ReplicaId
from crdtsync.replication.member_state import Member
from crdtsync.replication.session import Peer
from crdtsync.replication.state import Core

_DOMAIN: Final = b"crdtsync/ask/1"
_ASK: Final = b"\x16"
_ANSWER: Final = b"\x17"
_CANCEL: Final = b"\x18"
SPEAKERS: Final = ("site", "workstation")
"""Roles that ask and answer. Others have no key to any record: what is sealed to them they should not get."""
_CARRIERS: Final = ("site", "archive")

Trace = tuple[ReplicaId, ReplicaId, AskId]
"""The asker, who is asked, and the question: of one asker's ids nobody else can use up any."""


def signed_ask(practice: PracticeId, ask: AskId, origin: ReplicaId, target: ReplicaId, body: bytes) -> bytes:
    """What the asker signs: everything that is not changed on the way."""
    return _signed(_ASK, practice, ask, origin, target, body)


def signed_answer(practice: PracticeId, ask: AskId, origin: ReplicaId, target: ReplicaId, body: bytes) -> bytes:
    """What the one who answers signs; it is `origin` here, and `target` the asker."""
    return _signed(_ANSWER, practice, ask, origin, target, body)


def signed_cancel(practice: PracticeId, ask: AskId, origin: ReplicaId, target: ReplicaId) -> bytes:
    """What an asker signs that wants no answer any more."""
    return _signed(_CANCEL, practice, ask, origin, target, b"")


def _signed(kind: bytes, practice: PracticeId, ask: AskId, one: ReplicaId, other: ReplicaId, body: bytes) -> bytes:
    return b"".join((_DOMAIN, practice, kind, ask, one, other, hashlib.sha256(body).digest()))


class Flood:
    """Whose word is heard here, and which way it goes on."""

    def __init__(self, core: Core) -> None:
        self._core = core

    def speaker(self, replica: ReplicaId) -> Member | None:
        """The member whose word this would be. None where it is not known here, was removed, or has no say: that is not
        the fault of whoever passes it on, since membership travels more slowly than questions do."""
        member = self._core.membership.state().active(replica)
        return member if member is not None and member.role in SPEAKERS else None

    def check(self, speaker: Member, data: bytes, signature: bytes) -> None:
        """Raise BadSignature for what its speaker has not signed: nobody passes that on who has looked (L6)."""
        if not self._core.verify(speaker.sig, data, signature):
            raise BadSignature("what is passed on here was not signed by the replica that it names")

    @property
    def carries(self) -> bool:
        """Whether this replica passes things on: sites and archives do, workstations come and go."""
        return self._carries(self._core.replica)

    def _carries(self, replica: ReplicaId) -> bool:
        member = self._core.membership.state().active(replica)
        return member is not None and member.role in _CARRIERS

    def ways(self, target: ReplicaId, *, origin: ReplicaId, but: int | None = None, detour: bool = False) -> list[Peer]:
        """The links on which a thing of `origin` goes on: to the target if it is linked, and else, or with `detour` as
        well, to all that pass things on; never to where it came from."""
        peers = [peer for peer in self._core.live_peers() if peer.link != but]
        straight = [peer for peer in peers if peer.replica == target]
        if straight and not detour:
            return straight
        others = [p for p in peers if p.replica not in (target, origin) and self._carries(p.replica)]
        return [*straight, *others]

    def back(
        self, came: Collection[int], asker: ReplicaId, *, origin: ReplicaId, but: int | None = None
    ) -> list[Peer]:
        """The links on which an answer of `origin` goes back: every one by which its question came, and straight to
        the asker if it is linked. Where none of them stands, it is passed on like a question."""
        peers = [p for p in self._core.live_peers() if p.link != but and (p.link in came or p.replica == asker)]
        return peers or self.ways(asker, origin=origin, but=but)


@dataclass(slots=True)
class Turn:
    """When a thing was last passed on, and how far that copy could go."""

    at: float = -math.inf
    hops: int = -1

    def take(self, now: float, hops: int) -> bool:
        """Whether a copy that may cross so many links more goes on now. One that may go further does at once: the first
        copy that came may have come by a long way."""
        if now - self.at < limits.ask_pass_s and hops <= self.hops:
            return False
        self.at, self.hops = now, hops
        return True


@dataclass(slots=True)
class Trail:
    """One question that is on its way through here. `brought` is the neighbour that brought it first."""

    brought: ReplicaId
    whose: ReplicaId
    size: int
    expires: float
    came: dict[int, None] = field(default_factory=dict)
    there: Turn = field(default_factory=Turn)
    back: Turn = field(default_factory=Turn)
    cancelled: bool = False
    """It is not wanted any more, and goes no further."""

    def came_by(self, link: int, stand: Container[int]) -> None:
        """It came on this link; those that `stand` no more are forgotten, once there are many."""
        if len(self.came) >= limits.links_remembered_max:
            self.came = {each: None for each in self.came if each in stand}
        self.came[link] = None


@dataclass(slots=True)
class Load:
    """How many things, and how many bytes; `over` are those of them that make room, the first ones first."""

    count: int = 0
    size: int = 0
    over: dict[Trace, None] = field(default_factory=dict)

    def fits(self, size: int, count_max: int, size_max: int) -> bool:
        """Whether one more of this size keeps within these bounds."""
        return self.count < count_max and self.size + size <= size_max


class Trails:
    """What is on its way through here, within the bounds of each neighbour and of each replica behind it (L7)."""

    def __init__(self) -> None:
        self._trails: dict[Trace, Trail] = {}
        self._neighbours: dict[ReplicaId, Load] = {}
        self._shares: dict[tuple[ReplicaId, ReplicaId], Load] = {}
        self._swept = -math.inf

    def __len__(self) -> int:
        return len(self._trails)

    def loads(self) -> list[tuple[Load, int, int]]:
        """What neighbours and shares hold, each with its bounds in number and bytes."""
        neighbours, shares = _neighbour_bounds(), _share_bounds()
        return [
            *((load, *neighbours) for load in self._neighbours.values()),
            *((load, *shares) for load in self._shares.values()),
        ]

    def get(self, trace: Trace, now: float) -> Trail | None:
        """The trail, if it is still warm."""
        trail = self._trails.get(trace)
        return trail if trail is not None and trail.expires > now else None

    def begin(
        self, trace: Trace, brought: ReplicaId, whose: ReplicaId, size: int, now: float, life_s: float
    ) -> Trail | None:
        """Remember a thing for its life, and for no less than it takes to say it again; None where the share that it
        belongs to is full.

        What was answered makes room. What was not does not: dropping that for newer things would let one replica make
        others carry as much as it likes.
        """
        self.sweep(now)
        if trace in self._trails:  # one that has gone cold
            self._drop(trace)
        neighbour = self._neighbours.setdefault(brought, Load())
        share = self._shares.setdefault((brought, whose), Load())
        for load, bounds in ((share, _share_bounds()), (neighbour, _neighbour_bounds())):
            while load.over and not load.fits(size, *bounds):
                self._drop(next(iter(load.over)))
            if not load.fits(size, *bounds):
                return None
        trail = Trail(brought, whose, size, now + max(life_s, limits.ask_repeat_s))
        self._trails[trace] = trail
        for load in (neighbour, share):
            load.count += 1
            load.size += size
        return trail

    def end(self, trace: Trace, *, cancelled: bool = False) -> None:
        """It was answered or, if `cancelled`, is not wanted any more and goes no further."""
        trail = self._trails[trace]
        trail.cancelled = trail.cancelled or cancelled
        self._neighbours[trail.brought].over[trace] = None
        self._shares[trail.brought, trail.whose].over[trace] = None

    def sweep(self, now: float) -> None:
        """Once in a turn: drop what has ended."""
        if now - self._swept < limits.ask_pass_s:
            return
        self._swept = now
        for trace in [trace for trace, trail in self._trails.items() if trail.expires <= now]:
            self._drop(trace)
        self._neighbours = {key: load for key, load in self._neighbours.items() if load.count}
        self._shares = {key: load for key, load in self._shares.items() if load.count}

    def _drop(self, trace: Trace) -> None:
        trail = self._trails.pop(trace)
        for load in (self._neighbours[trail.brought], self._shares[trail.brought, trail.whose]):
            load.count -= 1
            load.size -= trail.size
            load.over.pop(trace, None)


def _neighbour_bounds() -> tuple[int, int]:
    return limits.asks_passed_per_link_max, limits.asks_passed_bytes_per_link_max


def _share_bounds() -> tuple[int, int]:
    return limits.asks_passed_per_origin_max, limits.asks_passed_bytes_per_origin_max
