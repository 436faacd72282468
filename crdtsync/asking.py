"""Questions to other replicas, and theirs to this one, as the driver carries them: sealed, awaited, answered.

    answer = await driver.ask(weimar, b"…", timeout=10)
    driver.on_ask = answer_questions        # async (asker, question) -> answer

The core passes them on and says again what is lost (`replication/asking`); here they are opened and sealed, and people
are waited for. What a question means is the application's matter: it may be asked again under another name after an
error, so answering it twice must do no harm.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from typing import Final, Protocol

import anyio
from anyio.abc import TaskGroup

from crdtsync import limits
from crdtsync.errors import AuthorityUnreachable, BadValue, CrdtSyncError, NotFound, RefusedError, SealBroken, TooLarge
from crdtsync.ids import ASK_ID_BYTES, AskId, PracticeId, ReplicaId
from crdtsync.replication import effects, events, flood
from crdtsync.replication.member_state import Member
from crdtsync.replication.replica import Replica
from crdtsync.sealing.base import Sealer
from crdtsync.sealing.letter import Envelope, open_letter, seal_letter

OnAsk = Callable[[ReplicaId, bytes], Awaitable[bytes]]
_GIVEN: Final = b"\x00"
_REFUSED: Final = b"\x01"
_REASON_BYTES_MAX: Final = 2_000


class Carrier(Protocol):
    """What carries questions: the driver, as far as they need it."""

    replica: Replica
    on_ask: OnAsk | None
    last_heard: dict[ReplicaId, float]

    def handle(self, event: events.Event) -> None:
        """Let the core take in an event."""

    def alarm(self, kind: str, text: str) -> None:
        """Tell people."""

    async def sealer(self) -> Sealer:
        """This replica's keys."""


class _Waiting:
    """Somebody who waits for an answer."""

    def __init__(self, target: ReplicaId) -> None:
        self.target = target
        self.done = anyio.Event()
        self.body: bytes | None = None
        self.failure: BaseException | None = None


class Asks:
    """Those who wait for answers, and those who give them. `run` must be running for questions to be answered."""

    def __init__(self, carrier: Carrier) -> None:
        self._carrier = carrier
        self._waiting: dict[AskId, _Waiting] = {}
        self._answering: dict[tuple[ReplicaId, AskId], anyio.CancelScope] = {}
        self._tasks: TaskGroup | None = None
        self._places: anyio.Semaphore | None = None

    # -- asking ------------------------------------------------------------------------------------------------------

    async def ask(self, target: ReplicaId, body: bytes, timeout: float) -> bytes:
        """The answer of `target` to `body`, within `timeout` seconds; see `Driver.ask`."""
        life_s_max = limits.ask_life_ms_max / 1000
        if not 0 < timeout <= life_s_max:
            raise BadValue(f"an answer is waited for {life_s_max:.0f} seconds at most: ask again for more")
        if len(body) > limits.ask_plain_bytes_max:
            raise BadValue(f"a question has at most {limits.ask_plain_bytes_max} bytes: ask in parts")
        member = self._member(target)
        if member is None:
            raise NotFound("no member of the practice that could answer has this id: look it up in `members`")
        deadline = time.monotonic() + timeout
        if self._places is None:
            self._places = anyio.Semaphore(limits.asks_own_max)
        with anyio.move_on_after(timeout):
            async with self._places:
                answer = await self._ask(member, body, deadline)
            if answer is not None:
                return self._opened(member, answer)
        raise AuthorityUnreachable(member.name, self._since(target))

    def _member(self, replica: ReplicaId) -> Member | None:
        member = self._carrier.replica.membership.state().active(replica)
        return member if member is not None and member.role in flood.SPEAKERS else None

    async def _ask(self, member: Member, body: bytes, deadline: float) -> bytes | None:
        """What came back, opened; None when nothing came in time."""
        carrier, sealer = self._carrier, await self._carrier.sealer()
        own, target = carrier.replica.id, member.replica
        ask = AskId(sealer.random(ASK_ID_BYTES))
        sealed = seal_letter(sealer, self._envelope(ask, own, target), member.kem, body)
        signature = sealer.sign(flood.signed_ask(self._practice, ask, own, target, sealed))
        waiting = self._waiting[ask] = _Waiting(target)
        try:
            left_ms = int((deadline - time.monotonic()) * 1000)
            carrier.handle(events.AskOut(ask, target, sealed, signature, left_ms))
            await waiting.done.wait()
        finally:
            del self._waiting[ask]
            if not waiting.done.is_set():
                carrier.handle(
                    events.CancelOut(ask, sealer.sign(flood.signed_cancel(self._practice, ask, own, target)))
                )
        if waiting.failure is not None:
            raise waiting.failure.with_traceback(None)
        if waiting.body is None:
            return None
        return open_letter(sealer, self._envelope(ask, target, own, answer=True), waiting.body)

    def _opened(self, member: Member, answer: bytes) -> bytes:
        if answer[:1] == _GIVEN:
            return answer[1:]
        raise RefusedError(f"{member.name} refuses: {answer[1:].decode(errors='replace')}")

    @property
    def _practice(self) -> PracticeId:
        return self._carrier.replica.membership.practice

    def _envelope(self, ask: AskId, sender: ReplicaId, receiver: ReplicaId, *, answer: bool = False) -> Envelope:
        return Envelope(self._practice, ask, sender, receiver, answer)

    def _since(self, replica: ReplicaId) -> str | None:
        heard = self._carrier.last_heard.get(replica)
        return None if heard is None else time.strftime("%Y-%m-%dT%H:%M:%S+00:00", time.gmtime(heard))

    def answered(self, effect: effects.Answered) -> None:
        """A question of ours has its answer, or its time is over."""
        waiting = self._waiting.get(effect.id)
        if waiting is None:
            return
        if effect.body is not None:
            self._carrier.last_heard[waiting.target] = time.time()
        waiting.body = effect.body
        waiting.done.set()

    def fail(self, error: BaseException) -> None:
        """Nothing more is carried out: tell all who wait."""
        for waiting in self._waiting.values():
            if not waiting.done.is_set():
                waiting.failure = error
                waiting.done.set()

    # -- answering ---------------------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Answer what is asked here until cancelled, as many at a time as the core lets in."""
        async with anyio.create_task_group() as tasks:
            self._tasks = tasks
            try:
                await anyio.sleep_forever()
            finally:
                self._tasks = None

    def asked(self, effect: effects.Asked) -> None:
        """Somebody asks. One that is withdrawn may still be ending what it had begun; it counts until then (L7)."""
        if self._tasks is not None and len(self._answering) < limits.asks_open_max:
            self._carrier.last_heard[effect.origin] = time.time()
            self._answering[effect.origin, effect.id] = scope = anyio.CancelScope()
            self._tasks.start_soon(self._answer, effect, scope)

    def withdrawn(self, effect: effects.Withdrawn) -> None:
        """Nobody waits for this answer any more."""
        scope = self._answering.get((effect.origin, effect.id))
        if scope is not None:
            scope.cancel()

    async def _answer(self, asked: effects.Asked, scope: anyio.CancelScope) -> None:
        try:
            with scope:
                member = self._member(asked.origin)
                if member is None:
                    return
                sealer = await self._carrier.sealer()
                answer = await self._reply(sealer, asked)
                own = self._carrier.replica.id
                envelope = self._envelope(asked.id, own, asked.origin, answer=True)
                sealed = seal_letter(sealer, envelope, member.kem, answer)
                signature = sealer.sign(flood.signed_answer(self._practice, asked.id, own, asked.origin, sealed))
                self._carrier.handle(events.AnswerOut(asked.id, asked.origin, sealed, signature))
        finally:
            del self._answering[asked.origin, asked.id]

    async def _reply(self, sealer: Sealer, asked: effects.Asked) -> bytes:
        """What the application answers; what it refuses, and what it fails on, is answered as well."""
        on_ask = self._carrier.on_ask
        try:
            question = open_letter(sealer, self._envelope(asked.id, asked.origin, self._carrier.replica.id), asked.body)
            if on_ask is None:
                return _refused("this program answers no questions")
            answer = _GIVEN + await on_ask(asked.origin, question)
        except (SealBroken, TooLarge):
            return _refused("the question cannot be read here")
        except CrdtSyncError as error:
            return _refused(str(error))
        except Exception as error:  # whatever the application does, the next question is answered
            self._carrier.alarm("question", f"a question of another site was not answered: {type(error).__name__}")
            return _refused("its program failed on this question")
        if len(answer) > limits.ask_plain_bytes_max:
            self._carrier.alarm("question", f"an answer of {len(answer)} bytes is too long to be given")
            return _refused("its answer is too long")
        return answer


def _refused(reason: str) -> bytes:
    return _REFUSED + reason.encode()[:_REASON_BYTES_MAX]
