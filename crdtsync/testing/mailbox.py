"""What `crdtsync.asking` does for a real driver, for a simulated process: seal questions, wait for answers, answer."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from crdtsync.errors import SealBroken
from crdtsync.ids import ASK_ID_BYTES, AskId, ReplicaId
from crdtsync.replication import effects, events, flood
from crdtsync.sealing.letter import Envelope, open_letter, seal_letter
from crdtsync.testing.sealer import PlainSealer
from crdtsync.testing.verdict import OracleFailed

if TYPE_CHECKING:
    from crdtsync.testing.process import Process

Reply = Callable[[bytes], None]
Done = Callable[[bytes | None], None]


class Mailbox:
    """One process's questions and answers. `on_ask` gets the asker, its question, and what to answer with, once."""

    def __init__(self, process: Process) -> None:
        self._process = process
        # A stream of its own: worlds in which nobody asks are what they were.
        self._sealer = PlainSealer(process.identity, process.world.streams(f"{process.name}/letters").randbytes)
        self._waiting: dict[AskId, tuple[ReplicaId, Done]] = {}
        self.on_ask: Callable[[ReplicaId, bytes, Reply], None] | None = None

    def ask(self, target: ReplicaId, question: bytes, life_s: float, done: Done) -> AskId | None:
        """Ask `target`; `done` gets the answer, or None when its time is over or the process ends. None where `target`
        is no member that is known here."""
        process, own = self._process, self._process.replica_id
        member = process.replica.membership.state().active(target)
        if member is None:
            return None
        ask = AskId(self._sealer.random(ASK_ID_BYTES))
        sealed = seal_letter(self._sealer, Envelope(process.practice, ask, own, target, False), member.kem, question)
        signature = self._sealer.sign(flood.signed_ask(process.practice, ask, own, target, sealed))
        self._waiting[ask] = (target, done)
        process.handle(events.AskOut(ask, target, sealed, signature, int(life_s * 1000)))
        return ask

    def cancel(self, ask: AskId) -> None:
        """No answer is wanted any more."""
        target, _ = self._waiting.pop(ask)
        signed = flood.signed_cancel(self._process.practice, ask, self._process.replica_id, target)
        self._process.handle(events.CancelOut(ask, self._sealer.sign(signed)))

    def waits(self, ask: AskId) -> bool:
        """Whether an answer is waited for."""
        return ask in self._waiting

    def drop(self) -> None:
        """The process has ended."""
        waiting, self._waiting = self._waiting, {}
        for _, done in waiting.values():
            done(None)

    # -- what the core wants -----------------------------------------------------------------------------------------

    def answered(self, effect: effects.Answered) -> None:
        """An answer has come in, or its time is over."""
        if effect.id not in self._waiting:
            raise OracleFailed(f"{self._process.name} is answered what it does not ask any more")
        target, done = self._waiting.pop(effect.id)
        if effect.body is None:
            done(None)
            return
        envelope = Envelope(self._process.practice, effect.id, target, self._process.replica_id, True)
        try:
            answer = open_letter(self._sealer, envelope, effect.body)
        except SealBroken:
            raise OracleFailed(f"{self._process.name} is given an answer that was not sealed to it") from None
        done(answer)

    def asked(self, effect: effects.Asked) -> None:
        """Somebody asks."""
        process, life = self._process, self._process.life
        envelope = Envelope(process.practice, effect.id, effect.origin, process.replica_id, False)
        try:
            question = open_letter(self._sealer, envelope, effect.body)
        except SealBroken:
            raise OracleFailed(f"{process.name} is told a question that was not sealed to it") from None

        def reply(answer: bytes) -> None:
            if process.up and process.life == life:
                self._answer(effect, answer)

        if self.on_ask is not None:
            self.on_ask(effect.origin, question, reply)

    def _answer(self, asked: effects.Asked, answer: bytes) -> None:
        process, own = self._process, self._process.replica_id
        member = process.replica.membership.state().active(asked.origin)
        if member is None:
            return
        envelope = Envelope(process.practice, asked.id, own, asked.origin, True)
        sealed = seal_letter(self._sealer, envelope, member.kem, answer)
        signed = flood.signed_answer(process.practice, asked.id, own, asked.origin, sealed)
        process.handle(events.AnswerOut(asked.id, asked.origin, sealed, self._sealer.sign(signed)))
