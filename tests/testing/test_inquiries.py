"""Questions in simulated worlds: what the world checks by itself, in worlds made by plan."""

from __future__ import annotations

from typing import Any

import pytest

from crdtsync import limits
from crdtsync.ids import AskId, ReplicaId
from crdtsync.replication import messages
from crdtsync.testing.planted import PLANTED
from crdtsync.testing.verdict import OracleFailed
from crdtsync.testing.world import World


def chain(**about: Any) -> World:
    """An archive between two sites, and nothing else."""
    world = World(seed=7, **about)
    world.found("Jena", "Weimar")
    world.invite_archive(world.node("Jena"), "Archiv")
    world.introduce(world.node("Jena"))
    world.connect([("Jena", "Archiv"), ("Archiv", "Weimar")])
    world.settle()
    return world


def test_an_archive_carries_questions_and_answers_and_can_read_neither() -> None:
    """The canary stands in every question: the world would have seen it in a message."""
    world = chain()
    jena, weimar, archive = world.node("Jena"), world.node("Weimar"), world.archives["Archiv"]
    inquiry = world.inquiries.ask(jena, weimar, 10.0)
    own = world.inquiries.ask(weimar, weimar, 10.0)
    world.run(2.0)
    assert inquiry.answered and own.answered and world.canary.text.encode() in inquiry.question
    assert len(archive.replica.asking.trails) == 1, "the one that it carried; what one asks oneself crosses no line"
    world.inquiries.last_round()
    world.check()


def test_who_dies_after_it_was_asked_is_asked_again_when_it_is_back() -> None:
    world = chain()
    weimar = world.node("Weimar")
    inquiry = world.inquiries.ask(world.node("Jena"), weimar, 60.0)
    while not weimar.replica.asking.answering.open:
        world.run(0.0001)  # it answers within the third part of a millisecond
    weimar.stop("a test")
    world.run(1.0)
    weimar.start()
    world.run(50.0)
    assert inquiry.answered and weimar.life == 2


def test_a_line_that_is_mended_in_time_brings_the_answer() -> None:
    world = chain()
    world.cut("Archiv", "Weimar", reset=False)
    inquiry = world.inquiries.ask(world.node("Jena"), world.node("Weimar"), 60.0)
    late = world.inquiries.ask(world.node("Jena"), world.node("Weimar"), 1.0)
    world.run(5.0)
    assert not inquiry.over and late.over and not late.answered
    world.mend("Archiv", "Weimar")
    world.run(10.0)
    assert inquiry.answered


def test_what_is_cancelled_is_over_at_once() -> None:
    world = chain()
    inquiry = world.inquiries.ask(world.node("Jena"), world.node("Weimar"), 60.0)
    world.inquiries.cancel(world.node("Jena"), inquiry)
    world.run(61.0)
    assert inquiry.over and not inquiry.answered
    assert world.node("Weimar").replica.asking.answering.open == 0


@pytest.mark.parametrize("name", ["answer-anew", "forget-cancelled", "keep-questions"])
def test_the_world_speaks_of_what_is_wrong(name: str) -> None:
    world = World(seed=7, planted=PLANTED[name].plant)
    world.found("Jena", "Weimar", "Gera")
    world.introduce(world.node("Jena"))
    world.connect([("Jena", "Weimar"), ("Weimar", "Gera")])
    world.settle()
    jena, gera = world.node("Jena"), world.node("Gera")
    with pytest.raises(OracleFailed, match=r"told a question twice|does not ask any more|does not answer"):
        inquiry = world.inquiries.ask(jena, gera, 10.0)
        if name == "forget-cancelled":
            world.inquiries.cancel(jena, inquiry)
        while name == "answer-anew" and not gera.replica.asking.answering.open:
            world.run(0.0001)  # it answers within the third part of a millisecond
        world.cut("Jena", "Weimar", reset=False)  # the answer is lost, and comes again
        world.run(0.5)
        world.mend("Jena", "Weimar")
        world.run(10.0)
        world.inquiries.last_round()


def test_questions_without_end_and_beyond_what_is_granted_are_seen() -> None:
    world = chain()
    jena = world.node("Jena")
    ask = messages.Ask(
        AskId(bytes(16)), ReplicaId(bytes(16)), ReplicaId(bytes(16)), limits.ask_hops_max, 1_000, b"", bytes(64)
    )
    with pytest.raises(OracleFailed, match="passes questions on without end"):
        for _ in range(10_000):
            world.inquiries.sent(jena, 1, messages.encode(ask))
    far = messages.Ask(ask.id, ask.origin, ask.target, limits.ask_hops_max + 1, 1_000, b"", bytes(64))
    with pytest.raises(OracleFailed, match="more than it may have"):
        world.inquiries.sent(jena, 2, messages.encode(far))
