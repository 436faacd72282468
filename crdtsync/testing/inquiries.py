"""Sites that ask each other: what was asked, what was told to whom, and whether the answers are right.

The answer to a question follows from the question and from who is asked, so that nobody else can have given it. A
question is told to a process at most once in its life; whoever waits gets the one right answer or none; and where
everybody is within reach, one.
"""

from __future__ import annotations

import hashlib
from collections import Counter, deque
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Final

from crdtsync import limits
from crdtsync.ids import AskId, ReplicaId
from crdtsync.replication import messages
from crdtsync.testing.verdict import OracleFailed

if TYPE_CHECKING:
    from crdtsync.testing.mailbox import Reply
    from crdtsync.testing.node import Node
    from crdtsync.testing.process import Process
    from crdtsync.testing.story import Story
    from crdtsync.testing.world import World

_LIVES_S: Final = (1.0, 10.0, 60.0)
_ROUND: Final = 10
"""Questions that are asked of a healed world."""
_STEP_S: Final = 2.0
_KINDS: Final = {22: "questions", 23: "answers", 24: "cancellations"}


@dataclass(slots=True)
class Inquiry:
    """One question: who asked whom, and what became of it."""

    asker: ReplicaId
    target: ReplicaId
    question: bytes
    ask: AskId | None = None
    answered: bool = False
    over: bool = False
    cancelled: bool = False


def right_answer(target: ReplicaId, question: bytes) -> bytes:
    """What `target` answers to `question`."""
    return hashlib.sha256(b"answer" + target + question).digest()


class Inquiries:
    """The books of a world. `secret` stands in every question, so that it is seen where it should not be."""

    def __init__(self, world: World, secret: str) -> None:
        self._world = world
        self._secret = secret.encode()
        self.asked: dict[bytes, Inquiry] = {}
        self._told: set[tuple[str, int, bytes]] = set()
        self._said: Counter[tuple[str, int, int, int, bytes]] = Counter()

    # -- what sites do -----------------------------------------------------------------------------------------------

    def attend(self, node: Node) -> None:
        """A site has started: somebody there answers questions."""
        node.mailbox.on_ask = partial(self._tell, node)

    def ask(self, asker: Node, target: Node, life_s: float) -> Inquiry:
        """One site asks another one, or itself. `asker` must be awake."""
        question = self._secret + len(self.asked).to_bytes(4, "big")
        inquiry = self.asked[question] = Inquiry(asker.replica_id, target.replica_id, question)
        asker.step(f"asks {target.name} for {life_s:.0f} s")
        inquiry.ask = asker.mailbox.ask(target.replica_id, question, life_s, partial(self._done, asker, inquiry))
        if inquiry.ask is None:  # somebody of whom it has not heard
            inquiry.cancelled = inquiry.over = True
        return inquiry

    def cancel(self, asker: Node, inquiry: Inquiry) -> None:
        """It wants no answer any more."""
        if asker.awake and inquiry.ask is not None and asker.mailbox.waits(inquiry.ask):
            asker.step("asks no more")
            inquiry.cancelled = inquiry.over = True
            asker.mailbox.cancel(inquiry.ask)

    def _tell(self, node: Node, asker: ReplicaId, question: bytes, reply: Reply) -> None:
        inquiry = self.asked.get(question)
        if inquiry is None or (inquiry.asker, inquiry.target) != (asker, node.replica_id):
            raise OracleFailed(f"{node.name} is told a question that nobody asked it")
        told = node.name, node.life, question
        if told in self._told:
            raise OracleFailed(f"{node.name} is told a question twice")
        self._told.add(told)
        node.step("is asked")
        node.queue(node.machine.read_s, lambda: reply(right_answer(node.replica_id, question)))

    def _done(self, node: Node, inquiry: Inquiry, answer: bytes | None) -> None:
        if inquiry.over:
            raise OracleFailed(f"{node.name} is answered twice, or after it asked no more")
        inquiry.over = True
        if answer is None:
            return
        node.step("is answered")
        inquiry.answered = True
        if answer != right_answer(inquiry.target, inquiry.question):
            raise OracleFailed(f"{node.name} is given an answer that is not that of whom it asked")

    # -- what crosses lines ------------------------------------------------------------------------------------------

    def sent(self, process: Process, link: int, data: bytes) -> None:
        """L7: nobody says one thing more often on one link than its life has turns, or lets it go further than it may.

        A copy that may go further goes at once, so there are as many in each turn as there are hops; and what was late
        may begin anew when it had been forgotten.
        """
        message = messages.decode(data)
        if isinstance(message, messages.Ask | messages.Answer) and (
            message.hops > limits.ask_hops_max or message.expires_ms > limits.ask_life_ms_max
        ):
            raise OracleFailed(f"L7: {process.name} grants a question more than it may have")
        if isinstance(message, messages.Ask | messages.Answer | messages.Cancel):
            key = process.name, process.life, link, data[1], message.id
            self._said[key] += 1
            turns = limits.ask_life_ms_max / 1000 / limits.ask_pass_s + 1
            if self._said[key] > 2 * turns * (limits.ask_hops_max + 1):
                raise OracleFailed(f"L7: {process.name} passes {_KINDS[data[1]]} on without end")

    # -- what must hold ----------------------------------------------------------------------------------------------

    def bounds(self, process: Process) -> None:
        """L7: what is kept of questions keeps to its limits."""
        asking = process.replica.asking
        for load, count_max, size_max in asking.trails.loads():
            if load.count > count_max or load.size > size_max:
                raise OracleFailed(f"L7: {process.name} carries {load.count} questions of one share")
        if asking.answering.open > limits.asks_open_max:
            raise OracleFailed(f"L7: {process.name} answers {asking.answering.open} questions at a time")
        if any(size > limits.asks_answered_bytes_per_origin_max for size in asking.answering.answer_bytes.values()):
            raise OracleFailed(f"L7: {process.name} keeps more answers than it may")

    def all_answered(self) -> None:
        """Where nothing was cut and nobody stopped, every question is answered that had the time: there and back over
        all lines in half its life."""
        weathers = [line.weather for line in self._world.network.lines.values()]
        if 2 * sum(weather.delay_s + weather.jitter_s for weather in weathers) > _LIVES_S[-1] / 2:
            return
        for inquiry in self.asked.values():
            if not inquiry.answered and not inquiry.cancelled:
                raise OracleFailed("a question was not answered although nothing had happened")

    def last_round(self) -> None:
        """In a healed world everybody whom a path of lines leads to is asked, and answers."""
        world = self._world
        self._until_over()
        if len({process.identity for process in world.everybody()}) < len(world.everybody()):
            return  # two machines with one identity take each other's links away
        chance, nodes = world.streams("asks/last"), world.members()
        pairs = [(one, other) for one in nodes for other in nodes if self._within_reach(one, other)]
        asked = [self.ask(*pair, _LIVES_S[-1]) for pair in chance.sample(pairs, min(len(pairs), _ROUND))]
        self._until_over()
        for inquiry in asked:
            if not inquiry.answered:
                names = {node.replica_id: node.name for node in nodes}
                raise OracleFailed(f"{names[inquiry.target]} does not answer {names[inquiry.asker]} in a healed world")

    def _until_over(self) -> None:
        while any(not inquiry.over for inquiry in self.asked.values()):
            self._world.run(_STEP_S)

    def _within_reach(self, one: Node, other: Node) -> bool:
        """Whether a question crosses as few lines as it may. A question to oneself crosses none."""
        standing = {process.name for process in (*self._world.members(), *self._world.keepers())}
        lines = [pair for pair in self._world.network.lines if pair <= standing]
        reached, left = {one.name: 0}, deque([one.name])
        while left:
            name = left.popleft()
            for beside in sorted(other for pair in lines if name in pair for other in pair.difference(reached)):
                reached[beside] = reached[name] + 1
                left.append(beside)
        return reached.get(other.name, limits.ask_hops_max + 2) <= limits.ask_hops_max + 1


def plan(story: Story) -> None:
    """Sites ask each other, one at a time and in bursts, and some think better of it."""
    chance = story.streams("asks")
    for _ in range(story.options.asks):
        when = chance.uniform(0.0, story.options.duration_s * 0.97)
        for _ in range(chance.choice((1, 1, 1, 8))):
            story.timeline.at(when, partial(_ask_somebody, story))


def _ask_somebody(story: Story) -> None:
    chance = story.streams("asks")
    awake = [node for node in story.nodes.values() if node.awake]
    if not awake:
        return
    asker, target = chance.choice(awake), chance.choice(list(story.nodes.values()))
    life_s = _LIVES_S[-1] if story.options.calm else chance.choice(_LIVES_S)
    story.faults["asks"] += 1
    inquiry = story.inquiries.ask(asker, target, life_s)
    if chance.random() < 0.15:
        story.timeline.after(chance.uniform(0.0, life_s), partial(story.inquiries.cancel, asker, inquiry))
