"""Questions to this replica: each is told to the application once, and answered again with the same bytes.

    new        told (`Asked`), unless too many are open, or it was heard before; said again it gets another chance
    open       until `AnswerOut`; withdrawn when its asker cancels it, and when its life is over
    answered   until its life is over, or newer answers need the room; said again it is answered again
    heard      what is over: never told again while it is remembered

A link that says again what was asked long ago fills no more than its neighbour's own share of what is remembered, so
it cannot make this replica forget what it has just heard, nor refuse what others bring (L7).
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from crdtsync import limits
from crdtsync.ids import AskId, ReplicaId
from crdtsync.replication.effects import Answered, Asked, Withdrawn
from crdtsync.replication.flood import Flood
from crdtsync.replication.messages import Answer, Ask
from crdtsync.replication.session import Peer
from crdtsync.replication.state import Core

Name = tuple[ReplicaId, AskId]
"""Who asks, and the question."""


@dataclass(slots=True)
class Here:
    """A question that is being answered, or was. `came` says when it was last answered on each link that brings it."""

    expires: float
    came: dict[int, float] = field(default_factory=dict)
    answer: bytes | None = None
    signature: bytes = b""


class Answering:
    """What others ask this replica."""

    def __init__(self, core: Core, flood: Flood) -> None:
        self._core = core
        self._flood = flood
        self._here: dict[Name, Here] = {}
        self._open: dict[ReplicaId, int] = {}
        self._answers: dict[ReplicaId, int] = {}
        self._heard: dict[ReplicaId, dict[ReplicaId, dict[AskId, float]]] = {}
        """By asker and by the neighbour that brought it: when its life is over."""
        self.due = math.inf
        """When the life of an open question is over."""

    @property
    def open(self) -> int:
        """How many questions of others the application is answering."""
        return sum(self._open.values())

    @property
    def answer_bytes(self) -> dict[ReplicaId, int]:
        """Bytes of answers that are kept, by asker."""
        return {asker: size for asker, size in self._answers.items() if size}

    def heard(self, asker: ReplicaId, neighbour: ReplicaId) -> int:
        """How many questions of one replica are remembered that one neighbour brought."""
        return len(self._heard.get(asker, {}).get(neighbour, ()))

    # -- questions ---------------------------------------------------------------------------------------------------

    def asked(self, peer: Peer, message: Ask, life_s: float) -> None:
        """A question has come in; its signature was checked."""
        name = message.origin, message.id
        here = self._here.get(name)
        if here is not None:
            self._again(peer, name, here)
        elif self._has_room(message.origin) and self._remember(name, peer.replica, life_s):
            self._begin(name, message.body, life_s).came[peer.link] = -math.inf

    def own(self, ask: AskId, body: bytes, life_s: float) -> None:
        """This replica asks itself."""
        self._begin((self._core.replica, ask), body, life_s)  # bounded by who asks: `limits.asks_own_max`

    def _begin(self, name: Name, body: bytes, life_s: float) -> Here:
        asker, ask = name
        here = self._here[name] = Here(self._core.now + life_s)
        if asker != self._core.replica:
            self._open[asker] = self._open.get(asker, 0) + 1
        self.due = min(self.due, here.expires)
        self._core.out.append(Asked(ask, asker, body))
        return here

    def _again(self, peer: Peer, name: Name, here: Here) -> None:
        if len(here.came) >= limits.links_remembered_max:
            here.came = {link: at for link, at in here.came.items() if link in self._core.peers}
        last = here.came.setdefault(peer.link, -math.inf)
        if here.answer is not None and self._core.now - last >= limits.ask_pass_s:
            self._tell(name, here, [peer])

    def _has_room(self, asker: ReplicaId) -> bool:
        return self.open < limits.asks_open_max and self._open.get(asker, 0) < limits.asks_open_per_origin_max

    def _remember(self, name: Name, neighbour: ReplicaId, life_s: float) -> bool:
        """Remember that this was asked. False where it was before, or where that share is full of what still lives."""
        asker, ask = name
        shares = self._heard.setdefault(asker, {})
        if any(ask in share for share in shares.values()):
            return False
        share = shares.setdefault(neighbour, {})
        if len(share) >= limits.asks_heard_per_origin_max:
            oldest = next(iter(share))
            if share[oldest] > self._core.now:
                return False
            del share[oldest]
        share[ask] = self._core.now + life_s
        return True

    # -- answers -----------------------------------------------------------------------------------------------------

    def answered(self, name: Name, body: bytes, signature: bytes) -> None:
        """The application has answered."""
        here = self._here.get(name)
        if here is None or here.answer is not None:
            return
        asker, ask = name
        self._closed(asker)
        if asker == self._core.replica:
            del self._here[name]
            self._core.out.append(Answered(ask, body))
            return
        here.answer, here.signature = body, signature
        self._answers[asker] = self._answers.get(asker, 0) + len(body)
        self._make_room(asker, name)
        self._tell(name, here, self._flood.back(here.came, asker, origin=self._core.replica))

    def _make_room(self, asker: ReplicaId, newest: Name) -> None:
        """Forget the oldest answers to one replica that gets too many; they are not given again."""
        if self._answers[asker] <= limits.asks_answered_bytes_per_origin_max:
            return
        for name, here in list(self._here.items()):
            if self._answers[asker] <= limits.asks_answered_bytes_per_origin_max:
                return
            if name[0] == asker and name != newest and here.answer is not None:
                self._forget(name)

    def _tell(self, name: Name, here: Here, peers: list[Peer]) -> None:
        asker, ask = name
        left = int((here.expires - self._core.now) * 1000)
        if here.answer is None or left <= 0:
            return
        answer = Answer(ask, self._core.replica, asker, limits.ask_hops_max, left, here.answer, here.signature)
        for peer in peers:
            here.came[peer.link] = self._core.now
            self._core.send(peer, answer)

    # -- endings -----------------------------------------------------------------------------------------------------

    def withdraw(self, name: Name) -> None:
        """The asker wants no answer any more."""
        here = self._here.get(name)
        if here is not None and here.answer is None:
            self._closed(name[0])
            del self._here[name]
            self._core.out.append(Withdrawn(name[1], name[0]))

    def run(self) -> None:
        """Let go of what is over."""
        now = self._core.now
        for name in [name for name, here in self._here.items() if here.expires <= now]:
            self.withdraw(name)
            self._forget(name)
        self.due = min((h.expires for h in self._here.values() if h.answer is None), default=math.inf)

    def _closed(self, asker: ReplicaId) -> None:
        if asker != self._core.replica:
            self._open[asker] -= 1
            if not self._open[asker]:
                del self._open[asker]

    def _forget(self, name: Name) -> None:
        here = self._here.pop(name, None)
        if here is not None and here.answer is not None:
            self._answers[name[0]] -= len(here.answer)
