"""Questions in any web of lines that lose, double and delay, with restarts (L6, L7).

Whatever happens: nobody is told a question twice in one life, nobody gets another answer than the one that was given to
this question, nobody hears of what it cancelled, no honest peer is given up, and every table keeps to its bounds. In a
healed web everybody is answered.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import permutations
from typing import Any

from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from crdtsync import limits
from crdtsync.ids import AskId
from crdtsync.replication import effects, events, messages
from crdtsync.testing.world import tightened
from tests.examples import examples
from tests.replication import people
from tests.replication.cores import Site
from tests.replication.webs import Web

NAMES = "abcde"
SHAPES = ("ab", "ab bc", "ab bc cd", "ab bc ca", "ab bc cd da", "ab ac ad ae", "ab bc cd de ea ac", "ab bc cd de")
TIGHT = {
    "asks_passed_per_origin_max": 2,
    "asks_passed_per_link_max": 3,
    "asks_open_per_origin_max": 1,
    "asks_open_max": 2,
    "asks_answered_bytes_per_origin_max": 12,
    "links_remembered_max": 2,
}
FATES = st.sampled_from(["comes in", "comes in", "comes in", "lost", "doubled"])
GOOD_ENDINGS = ("there is another link", "nothing was heard")


@dataclass
class Question:
    """What was asked, and what became of it."""

    asker: str
    target: str
    text: str
    life: int
    cancelled: bool = False
    answers: list[bytes | None] = field(default_factory=list)


class AskingMachine(RuleBasedStateMachine):
    """Two to five sites, of which some may be archives that pass on."""

    @initialize(shape=st.sampled_from(SHAPES), archive=st.booleans(), tight=st.booleans())
    def found(self, shape: str, archive: bool, tight: bool) -> None:
        self.bounds = tightened(TIGHT if tight else {})
        self.bounds.__enter__()
        self.lines = shape.split()
        names = sorted({name for line in self.lines for name in line})
        archives = {"b"} if archive and len(names) > 2 else set()
        self.web = Web("".join(names), self.lines, dict.fromkeys(archives, "archive"))
        self.people = [name for name in names if name not in archives]
        self.lives = dict.fromkeys(names, 0)
        self.questions: dict[AskId, Question] = {}
        self.told: set[tuple[str, int, AskId]] = set()
        self.given: dict[AskId, set[bytes]] = {}
        self.open: list[tuple[str, int, str, AskId]] = []
        self.strays: list[tuple[str, int, bytes]] = []

    # -- what happens ----------------------------------------------------------------------------------------------

    def hear(self) -> None:
        """Take in what the cores wanted since this was called last."""
        for name, site in self.web.sites.items():
            seen, site.seen = site.seen, []
            for effect in seen:
                self.take(name, effect)

    def take(self, name: str, effect: effects.Effect) -> None:
        if isinstance(effect, effects.Asked):
            question = self.questions[effect.id]
            told = name, self.lives[name], effect.id
            assert told not in self.told, "nobody is told a question twice"
            self.told.add(told)
            assert question.target == name and effect.body == question.text.encode()
            assert self.web.name_of(effect.origin) == question.asker
            self.open.append((name, self.lives[name], question.asker, effect.id))
        elif isinstance(effect, effects.Answered):
            question = self.questions[effect.id]
            assert question.asker == name and question.life == self.lives[name]
            assert not question.cancelled and not question.answers, "one answer, and none to what was cancelled"
            assert effect.body is None or effect.body in self.given[effect.id]
            question.answers.append(effect.body)
        elif isinstance(effect, effects.Withdrawn):
            self.open = [each for each in self.open if (each[0], each[3]) != (name, effect.id)]
        elif isinstance(effect, effects.Close):
            assert effect.reason.startswith(GOOD_ENDINGS), f"an honest peer is given up: {effect.reason}"
            for line in [line for line, number in self.web.links.items() if number == effect.link]:
                self.web.down(line)
            if effect.link in self.web[name].core.peers:
                self.web[name].handle(events.LinkDown(effect.link))

    def lanes(self) -> list[tuple[Site, int, Any]]:
        """Receiver, link and what is on its way there."""
        found = []
        for line, number in sorted(self.web.links.items()):
            for sender, receiver in (line, line[::-1]):
                queue = self.web[sender].sent.get(number)
                if queue:
                    found.append((self.web[receiver], number, queue))
        return found

    @rule(which=st.integers(0, 9), fates=st.lists(FATES, min_size=1, max_size=6))
    def messages_come_in(self, which: int, fates: list[str]) -> None:
        for fate in fates:
            lanes = self.lanes()
            if not lanes:
                return
            site, number, queue = lanes[which % len(lanes)]
            data = queue.popleft()
            a_question = isinstance(messages.decode(data), messages.Ask | messages.Answer | messages.Cancel)
            if fate != "comes in" and a_question:
                if fate == "lost":
                    continue
                self.strays.append((site.name, number, data))
            site.handle(events.Received(number, data))
        self.hear()

    @rule(which=st.integers(0, 9))
    def a_second_copy_comes_late(self, which: int) -> None:
        if self.strays:
            name, number, data = self.strays.pop(which % len(self.strays))
            self.web[name].handle(events.Received(number, data))
            self.hear()

    @rule()
    def everything_comes_in(self) -> None:
        self.web.carry()
        self.hear()

    @rule(which=st.integers(0, 9), noticed=st.sampled_from(["both", "one", "none"]))
    def a_line_comes_or_goes(self, which: int, noticed: str) -> None:
        """A link that has ended may stand for one side, or for both: what they say is lost."""
        line = self.lines[which % len(self.lines)]
        if line in self.web.links:
            self.web.down(line, noticed={"both": line, "one": line[0], "none": ""}[noticed])
        else:
            self.web.up(line)
        self.hear()

    @rule(which=st.integers(0, 9), seconds=st.sampled_from([0.1, 1.0, 2.0, 5.0, 61.0]), all_of_them=st.booleans())
    def time_passes(self, which: int, seconds: float, all_of_them: bool) -> None:
        names = sorted(self.web.sites)
        for name in names if all_of_them else [names[which % len(names)]]:
            self.web[name].later(seconds)
        self.hear()

    @rule(one=st.integers(0, 4), other=st.integers(0, 4), life_ms=st.sampled_from([500, 5_000, 60_000]))
    def somebody_asks(self, one: int, other: int, life_ms: int) -> None:
        self.ask(self.people[one % len(self.people)], self.people[other % len(self.people)], life_ms)

    def ask(self, asker: str, target: str, life_ms: int) -> Question:
        ask = AskId(people.digest("machine", str(len(self.questions)), size=16))
        question = Question(asker, target, f"question {len(self.questions)}", self.lives[asker])
        self.questions[ask] = question
        self.web[asker].handle(self.web.ask_out(ask, asker, target, question.text, life_ms))
        self.hear()
        return question

    @precondition(lambda self: self.open)
    @rule(which=st.integers(0, 9))
    def somebody_answers(self, which: int) -> None:
        name, life, asker, ask = self.open.pop(which % len(self.open))
        if life == self.lives[name]:
            text = f"answer {len(self.given)}"
            self.given.setdefault(ask, set()).add(text.encode())
            self.web.answer(name, asker, ask, text)
            self.hear()

    @rule(which=st.integers(0, 9))
    def somebody_thinks_better_of_it(self, which: int) -> None:
        asks = [ask for ask, q in self.questions.items() if not q.answers and q.life == self.lives[q.asker]]
        if asks:
            ask = asks[which % len(asks)]
            question = self.questions[ask]
            question.cancelled = True
            self.web.cancel(question.asker, question.target, ask)
            self.hear()

    @rule(which=st.integers(0, 9), rarely=st.integers(0, 3))
    def a_site_starts_again(self, which: int, rarely: int) -> None:
        names = sorted(self.web.sites)
        name = names[which % len(names)]
        if rarely:
            return
        for line in [line for line in self.web.links if name in line]:
            self.web.down(line)
        self.lives[name] += 1
        site = self.web[name]
        site.core = site._core(site.author.log)

    # -- what always holds -----------------------------------------------------------------------------------------

    @invariant()
    def bounds_are_kept(self) -> None:
        for site in self.web.sites.values() if hasattr(self, "web") else ():
            asking = site.core.asking
            for load, count_max, size_max in asking.trails.loads():
                assert 0 <= load.count <= count_max and 0 <= load.size <= size_max
            here = asking.answering._here
            others = [at for at in here if at[0] != site.core.id and here[at].answer is None]
            assert len(others) == asking.answering.open <= limits.asks_open_max
            kept = sum(len(each.answer or b"") for each in here.values())
            assert kept == sum(asking.answering.answer_bytes.values())
            assert site.core.wakeup > site.now, "what is due has been done"

    # -- and in the end --------------------------------------------------------------------------------------------

    def teardown(self) -> None:
        try:
            if hasattr(self, "web"):
                self.heal()
        finally:
            if hasattr(self, "bounds"):
                self.bounds.__exit__(None, None, None)

    def heal(self) -> None:
        for line in list(self.web.links):
            self.web.down(line)
        for site in self.web.sites.values():  # links that one side still believed in
            for number in list(site.core.peers):
                site.handle(events.LinkDown(number))
        for line in self.lines:
            self.web.up(line)
        self.pass_time(limits.ask_life_ms_max / 1000 + 5)
        assert all(q.answers or q.cancelled or q.life < self.lives[q.asker] for q in self.questions.values())
        asked = [self.ask(one, other, 60_000) for one, other in permutations(self.people, 2)]
        self.pass_time(58.0, step=2.0)
        if limits.asks_passed_per_origin_max > len(asked):
            assert all(q.answers and q.answers[0] is not None for q in asked), "in a healed web everybody is answered"
        else:
            assert any(q.answers and q.answers[0] is not None for q in asked)
        self.pass_time(limits.ask_life_ms_max / 1000 + 5)
        for site in self.web.sites.values():
            assert not len(site.core.asking.trails), "nothing is kept beyond its life"
            assert site.core.asking.due > 1e300


    def pass_time(self, seconds: float, step: float = 5.0) -> None:
        """Time passes for all, everything comes in, and whoever is asked answers."""
        for _ in range(int(seconds / step) + 1):
            self.web.carry()
            self.hear()
            while self.open:
                self.somebody_answers(0)
            self.web.carry()
            self.web.later(step)
            self.hear()
            self.bounds_are_kept()


def test_questions_keep_their_promises_in_any_web() -> None:
    machine: Any = AskingMachine
    run_state_machine_as_test(machine, settings=examples(60, steps=40))
