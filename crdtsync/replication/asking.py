"""Questions from one replica to one other, over any path of the mesh; their content is opaque here.

    asker       says a question to its target, or to all where that is not linked; again every `limits.ask_repeat_s` and
                on every link that comes to stand, until it is answered, cancelled, or its life is over
    on the way  passes it on, and remembers by which links it came: the answer goes back there
    target      tells the application once, and answers what is said again with the same bytes (`answering`)

Everything may be lost, doubled, late or said again: who asks says it again, and everybody else only passes on what
comes. Both question and answer are signed by their author, so that nobody on the way, an archive for one, can make up
any; a signature that does not verify ends the link that brought it (L6). `flood` tells what is passed on and what that
may cost (L7).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from crdtsync import limits
from crdtsync.ids import AskId, ReplicaId
from crdtsync.replication import flood
from crdtsync.replication.answering import Answering
from crdtsync.replication.effects import Answered
from crdtsync.replication.events import AnswerOut, AskOut, CancelOut
from crdtsync.replication.flood import Flood, Trail, Trails
from crdtsync.replication.messages import Answer, Ask, Cancel
from crdtsync.replication.session import Peer
from crdtsync.replication.state import Core


@dataclass(slots=True)
class Own:
    """A question of this replica. `next` is when it is said again, `tries` how often it was said."""

    event: AskOut
    expires: float
    next: float
    tries: int = 0


class Asking:
    """Questions that begin here, end here, or pass through."""

    def __init__(self, core: Core) -> None:
        self._core = core
        self._flood = Flood(core)
        self._own: dict[AskId, Own] = {}
        self.trails = Trails()
        """What is on its way through here. Not to be changed."""
        self.answering = Answering(core, self._flood)
        """What ends here. Not to be changed."""

    @property
    def due(self) -> float:
        """When `run` has something to do next; infinite while nothing is asked."""
        due = self.answering.due
        for own in self._own.values():
            due = min(due, own.next, own.expires)
        return due

    # -- questions of our own ----------------------------------------------------------------------------------------

    def ask(self, event: AskOut) -> None:
        """The application asks."""
        core = self._core
        life_s = min(event.life_ms, limits.ask_life_ms_max) / 1000
        own = self._own[event.id] = Own(event, core.now + life_s, math.inf)
        if event.target == core.replica:
            self.answering.own(event.id, event.body, life_s)
        else:
            self._say(own)

    def _say(self, own: Own) -> None:
        own.tries += 1
        own.next = self._core.now + limits.ask_repeat_s
        detour = own.tries >= limits.ask_detour_tries
        self._say_to(own, self._flood.ways(own.event.target, origin=self._core.replica, detour=detour))

    def _say_to(self, own: Own, peers: list[Peer]) -> None:
        event, left = own.event, int((own.expires - self._core.now) * 1000)
        message = Ask(
            event.id, self._core.replica, event.target, limits.ask_hops_max, left, event.body, event.signature
        )
        for peer in peers if left > 0 else ():
            self._core.send(peer, message)

    def link_stands(self, peer: Peer) -> None:
        """A link has come to stand: what is still asked is said there at once, if its way leads there."""
        for own in self._own.values():
            target = own.event.target
            if target != self._core.replica and peer in self._flood.ways(target, origin=self._core.replica):
                self._say_to(own, [peer])

    def cancel(self, event: CancelOut) -> None:
        """The application wants no answer any more."""
        core = self._core
        own = self._own.pop(event.id, None)
        if own is None:
            return
        if own.event.target == core.replica:
            self.answering.withdraw((core.replica, event.id))
            return
        message = Cancel(event.id, core.replica, own.event.target, event.signature)
        detour = own.tries >= limits.ask_detour_tries
        for peer in self._flood.ways(own.event.target, origin=core.replica, detour=detour):
            core.send(peer, message)

    def answer(self, event: AnswerOut) -> None:
        """The application has answered a question of somebody, or one of our own to ourselves."""
        if event.origin == self._core.replica:
            self._own.pop(event.id, None)
        self.answering.answered((event.origin, event.id), event.body, event.signature)

    def run(self) -> None:
        """Say again what has no answer, and let go of what is over."""
        now = self._core.now
        for ask, own in list(self._own.items()):
            if own.expires <= now:
                del self._own[ask]
                self._core.out.append(Answered(ask, None))
            elif own.next <= now:
                self._say(own)
        self.answering.run()
        self.trails.sweep(now)

    # -- what others say ---------------------------------------------------------------------------------------------

    def asked(self, peer: Peer, message: Ask) -> None:
        """A question came in. Raises BadSignature (L6)."""
        core = self._core
        life_s = min(message.expires_ms, limits.ask_life_ms_max) / 1000
        if not self._signed(message, flood.signed_ask(core.practice, *_signed_of(message))) or life_s <= 0:
            return
        if message.target != core.replica:
            self._pass_on(peer, message, life_s)
        elif self._flood.speaker(core.replica) is not None:
            self.answering.asked(peer, message, life_s)

    def _signed(self, message: Ask | Answer | Cancel, data: bytes) -> bool:
        """Whether this is somebody else's word that counts here. Raises BadSignature where it is nobody's."""
        speaker = self._flood.speaker(message.origin)
        if speaker is None or message.origin == self._core.replica:
            return False
        self._flood.check(speaker, data, message.signature)
        return True

    def _pass_on(self, peer: Peer, message: Ask, life_s: float) -> None:
        trail = self._trail(peer, message, message.origin, message.target, life_s)
        if trail is None or trail.cancelled:
            return
        trail.came_by(peer.link, self._core.peers)
        hops = min(message.hops, limits.ask_hops_max)
        if hops and trail.there.take(self._core.now, hops):
            left = int(min(life_s, trail.expires - self._core.now) * 1000)
            on = Ask(message.id, message.origin, message.target, hops - 1, left, message.body, message.signature)
            for other in self._flood.ways(message.target, origin=message.origin, but=peer.link):
                self._core.send(other, on)

    def _trail(
        self, peer: Peer, message: Ask | Answer, asker: ReplicaId, answerer: ReplicaId, life_s: float
    ) -> Trail | None:
        """The trail of a question or an answer, as far as this replica carries any and there is room for it."""
        if not self._flood.carries:
            return None
        trace, now = (asker, answerer, message.id), self._core.now
        return self.trails.get(trace, now) or self.trails.begin(
            trace, peer.replica, message.origin, len(message.body), now, life_s
        )

    def answered(self, peer: Peer, message: Answer) -> None:
        """An answer came in. Raises BadSignature (L6)."""
        core = self._core
        life_s = min(message.expires_ms, limits.ask_life_ms_max) / 1000
        if not self._signed(message, flood.signed_answer(core.practice, *_signed_of(message))) or life_s <= 0:
            return
        if message.target != core.replica:
            self._pass_back(peer, message, life_s)
            return
        own = self._own.get(message.id)
        if own is not None and own.event.target == message.origin:
            del self._own[message.id]
            core.out.append(Answered(message.id, message.body))

    def _pass_back(self, peer: Peer, message: Answer, life_s: float) -> None:
        trail = self._trail(peer, message, message.target, message.origin, life_s)
        if trail is None:
            return
        self.trails.end((message.target, message.origin, message.id))
        hops = min(message.hops, limits.ask_hops_max)
        if hops and trail.back.take(self._core.now, hops):
            left = int(min(life_s, trail.expires - self._core.now) * 1000)
            on = Answer(message.id, message.origin, message.target, hops - 1, left, message.body, message.signature)
            for other in self._flood.back(trail.came, message.target, origin=message.origin, but=peer.link):
                self._core.send(other, on)

    def cancelled(self, peer: Peer, message: Cancel) -> None:
        """An asker wants no answer any more. It goes where its question went, once. Raises BadSignature (L6)."""
        core = self._core
        ask, asker, target = message.id, message.origin, message.target
        if not self._signed(message, flood.signed_cancel(core.practice, ask, asker, target)):
            return
        if target == core.replica:
            self.answering.withdraw((asker, ask))
            return
        trace = asker, target, ask
        trail = self.trails.get(trace, core.now)
        if trail is not None and not trail.cancelled and self._flood.carries:
            self.trails.end(trace, cancelled=True)
            for other in self._flood.ways(target, origin=asker, but=peer.link):
                core.send(other, message)


def _signed_of(message: Ask | Answer) -> tuple[AskId, ReplicaId, ReplicaId, bytes]:
    return message.id, message.origin, message.target, message.body
