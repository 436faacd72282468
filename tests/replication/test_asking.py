"""Questions over the mesh: they find their way, are told once, answered with the same bytes, and cost no more than they
may (L6, L7)."""

from __future__ import annotations

import math

import pytest

from crdtsync import limits
from crdtsync.ids import AskId
from crdtsync.replication import effects, events, flood, messages
from crdtsync.replication.messages import Answer, Ask, Cancel
from tests.replication import people
from tests.replication.webs import Fate, Web

CHAIN = "abcdefghijk"
LINES = [CHAIN[at : at + 2] for at in range(len(CHAIN) - 1)]


def ask_id(number: int) -> AskId:
    return AskId(people.digest("an ask of a test", str(number), size=16))


def lost(*kinds: type[messages.Message]) -> Fate:
    return lambda message: 0 if isinstance(message, kinds) else 1


# -- the way there and back ----------------------------------------------------------------------------------------


def test_a_linked_target_is_asked_straight() -> None:
    web = Web("abc", ["ab", "bc", "ac"])
    ask = web.ask("a", "c")
    web.carry()
    assert web.asked("c") == [(ask, "a")] and web.ways(Ask) == ["ac"]
    web.answer("c", "a", ask, "me")
    web.carry()
    assert web.answered("a") == [(ask, b"me")] and web.ways(Answer) == ["ca"]
    web.later(limits.ask_repeat_s)
    web.carry()
    assert web.ways(Ask) == ["ac"], "what is answered is not said again"
    assert web["a"].core.asking.due == math.inf and web["c"].core.asking.due == math.inf


def test_a_chain_carries_it_without_a_link_between_the_two() -> None:
    web = Web("abc", ["ab", "bc"])
    ask = web.ask("a", "c")
    web.carry()
    web.answer("c", "a", ask, "me")
    web.carry()
    assert web.ways(Ask) == ["ab", "bc"] and web.ways(Answer) == ["cb", "ba"]
    assert web.answered("a") == [(ask, b"me")]
    assert web.asked("b") == []


def test_in_a_ring_it_is_told_once_and_the_answer_comes_by_both_ways() -> None:
    web = Web("abcd", ["ab", "bc", "cd", "da"])
    ask = web.ask("a", "c")
    web.carry()
    assert web.asked("c") == [(ask, "a")]
    assert sorted(web.ways(Ask)) == ["ab", "ad", "bc", "dc"]
    web.answer("c", "a", ask, "me")
    web.carry()
    assert sorted(web.ways(Answer)) == ["ba", "cb", "cd", "da"]
    assert web.answered("a") == [(ask, b"me")], "the second copy of an answer is passed over"


def test_nine_links_are_crossed_and_no_more() -> None:
    web = Web(CHAIN, LINES)
    near, far = web.ask("a", CHAIN[9]), web.ask("a", CHAIN[10])
    web.carry()
    assert web.asked(CHAIN[9]) == [(near, "a")] and web.asked(CHAIN[10]) == []
    web.answer(CHAIN[9], "a", near, "me")
    web.carry()
    assert web.answered("a") == [(near, b"me")]
    web.later(10.0)
    assert web.answered("a") == [(near, b"me"), (far, None)]


def test_a_copy_that_may_go_further_is_passed_on_although_another_one_was_just_now() -> None:
    web = Web("abc", ["ab", "bc"])
    link = web.links["ab"]
    web["b"].hear(link, web.message(ask_id(1), "a", "c", hops=1), web.message(ask_id(1), "a", "c", hops=7))
    web["b"].hear(link, web.message(ask_id(1), "a", "c", hops=7), web.message(ask_id(1), "a", "c", hops=3))
    assert [m.hops for m in web["b"].said(web.links["bc"]) if isinstance(m, Ask)] == [0, 6]


def test_hops_and_life_beyond_what_is_granted_are_cut() -> None:
    web = Web("abc", ["ab", "bc"])
    web["b"].hear(web.links["ab"], web.message(ask_id(1), "a", "c", hops=10**6, life_ms=10**9))
    [on] = [m for m in web["b"].said(web.links["bc"]) if isinstance(m, Ask)]
    assert on.hops == limits.ask_hops_max - 1 and on.expires_ms <= limits.ask_life_ms_max


def test_what_has_no_life_left_goes_nowhere() -> None:
    web = Web("abc", ["ab", "bc"])
    for target in "cb":
        web["b"].hear(web.links["ab"], web.message(ask_id(1), "a", target, life_ms=0))
    assert not [m for m in web["b"].said(web.links["bc"]) if isinstance(m, Ask)] and web.asked("b") == []


def test_nobody_passes_on_what_comes_back_to_its_asker() -> None:
    web = Web("abc", ["ab", "bc", "ca"])
    web["a"].hear(web.links["ab"], web.message(ask_id(1), "a", "c"))
    assert not [m for m in web["a"].said(web.links["ca"]) if isinstance(m, Ask)]


def test_the_answer_takes_another_way_where_the_first_one_has_ended() -> None:
    """a-b-c with d beside: the question came by b, which is gone when c answers."""
    web = Web("abcd", ["ab", "bc"])
    ask = web.ask("a", "c")
    web.carry()
    web.down("bc")
    web.up("cd")
    web.up("da")
    web.carry()
    web.answer("c", "a", ask, "me")
    web.carry()
    assert web.ways(Answer) == ["cd", "da"] and web.answered("a") == [(ask, b"me")]


def test_an_answer_goes_straight_where_its_asker_is_linked() -> None:
    web = Web("abc", ["ab", "bc"])
    ask = web.ask("a", "c")
    web.carry()
    web.up("ca")
    web.carry()
    web.answer("c", "a", ask, "me")
    assert {type(m) for m in web["c"].said(web.links["ca"])} >= {Answer}


# -- what is lost, doubled, late -----------------------------------------------------------------------------------


def test_a_lost_question_is_said_again() -> None:
    web = Web("abc", ["ab", "bc"])
    ask = web.ask("a", "c")
    web.carry(lost(Ask))
    web.later(limits.ask_repeat_s / 2)
    web.carry()
    assert web.asked("c") == [] and web.ways(Ask) == ["ab"]
    web.later(limits.ask_repeat_s / 2)
    web.carry()
    assert web.asked("c") == [(ask, "a")]


def test_a_lost_answer_is_given_again_with_the_same_bytes_and_nobody_is_asked_twice() -> None:
    web = Web("abc", ["ab", "bc"])
    ask = web.ask("a", "c")
    web.carry()
    web.answer("c", "a", ask, "me")
    web.answer("c", "a", ask, "somebody else")
    web.carry(lost(Answer))
    assert web.answered("a") == []
    web.later(limits.ask_repeat_s)
    web.carry()
    assert web.answered("a") == [(ask, b"me")] and web.asked("c") == [(ask, "a")]
    told = [message for _, _, message in web.said if isinstance(message, Answer)]
    assert len({(m.body, m.signature) for m in told}) == 1


def test_copies_of_a_question_in_one_moment_are_answered_once() -> None:
    web = Web("ab", ["ab"])
    ask = web.ask("a", "b")
    web.carry(lambda message: 5)
    web.answer("b", "a", ask, "me")
    [again] = [m for _, _, m in web.said if isinstance(m, Ask)]
    web["b"].said(web.links["ab"])
    web["b"].hear(web.links["ab"], *[again] * 5)
    assert [m for m in web["b"].said(web.links["ab"]) if isinstance(m, Answer)] == [], "it was answered just now"
    assert web.asked("b") == [(ask, "a")]


def test_a_link_that_comes_to_stand_is_told_at_once() -> None:
    web = Web("abc", ["bc"])
    ask = web.ask("a", "c")
    assert web.answered("a") == []
    web.up("ab")
    web.carry()
    assert web.asked("c") == [(ask, "a")]
    web.up("ac")
    web.carry()
    assert web.ways(Ask) == ["ab", "bc", "ac"]


def test_a_link_that_only_leads_round_about_is_left_alone_while_the_target_is_linked() -> None:
    web = Web("abc", ["ab"])
    web.ask("a", "b")
    web.carry()
    web.up("ac")
    web.carry()
    assert web.ways(Ask) == ["ab"]


def test_a_dead_link_to_the_target_is_gone_round() -> None:
    """The link between a and c is dead and neither has noticed: after two tries in vain it goes by b, too."""
    web = Web("abc", ["ab", "bc", "ac"])
    web.down("ac", noticed="")
    ask = web.ask("a", "c")
    web.carry()
    web.later(limits.ask_repeat_s)
    web.carry()
    assert web.asked("c") == []
    web.later(limits.ask_repeat_s)
    web.carry()
    assert web.asked("c") == [(ask, "a")]
    web.answer("c", "a", ask, "me")
    web.carry()
    assert web.answered("a") == [(ask, b"me")]


def test_a_question_that_nobody_answers_ends_in_time_also_without_any_link() -> None:
    web = Web("ab")
    ask = web.ask("a", "b", life_ms=3_000)
    assert web["a"].core.wakeup == pytest.approx(web["a"].now + limits.ask_repeat_s)
    web.later(limits.ask_repeat_s)
    assert web["a"].core.wakeup == pytest.approx(web["a"].now + 1.0) and web.answered("a") == []
    web.later(1.0)
    assert web.answered("a") == [(ask, None)] and web["a"].core.asking.due == math.inf


def test_nobody_waits_for_longer_than_a_question_may_live() -> None:
    web = Web("ab")
    web.ask("a", "b", life_ms=10**9)
    web.later(limits.ask_life_ms_max / 1000)
    assert len(web.answered("a")) == 1


def test_a_question_to_oneself_needs_nobody() -> None:
    web = Web("ab", ["ab"])
    ask, left = web.ask("a", "a"), web.ask("a", "a")
    assert web.asked("a") == [(ask, "a"), (left, "a")]
    web.answer("a", "a", ask, "me")
    assert web.answered("a") == [(ask, b"me")]
    web.cancel("a", "a", left)
    assert web.withdrawn("a") == [left]
    late = web.ask("a", "a", life_ms=1_000)
    web.later(1.0)
    assert web.answered("a")[1:] == [(late, None)] and web.withdrawn("a") == [left, late]
    web.carry()
    assert web.said == []


# -- cancelling ----------------------------------------------------------------------------------------------------


def test_a_cancelled_question_is_withdrawn_all_the_way() -> None:
    web = Web("abc", ["ab", "bc"])
    ask = web.ask("a", "c")
    web.carry()
    web.cancel("a", "c", ask)
    web.cancel("a", "c", ask)
    web.carry()
    assert web.withdrawn("c") == [ask] and web.ways(Cancel) == ["ab", "bc"]
    web.answer("c", "a", ask, "too late")
    web.later(30.0)
    web.carry()
    assert web.answered("a") == [] and web.ways(Answer) == []


def test_what_was_cancelled_goes_no_further_when_it_comes_late() -> None:
    web = Web("abc", ["ab", "bc"])
    ask = web.ask("a", "c")
    web.carry()
    [late, *_] = [m for _, _, m in web.said if isinstance(m, Ask)]
    web.cancel("a", "c", ask)
    web.carry()
    web.later(limits.ask_pass_s)
    web["b"].hear(web.links["ab"], late)
    assert not [m for m in web["b"].said(web.links["bc"]) if isinstance(m, Ask)]


def test_what_was_answered_is_not_withdrawn() -> None:
    web = Web("ab", ["ab"])
    ask = web.ask("a", "b")
    web.carry()
    web.answer("b", "a", ask, "me")
    web.cancel("a", "b", ask)
    web.carry()
    assert web.withdrawn("b") == [] and web.answered("a") == []


def test_a_question_whose_life_is_over_is_withdrawn() -> None:
    web = Web("ab", ["ab"])
    ask = web.ask("a", "b", life_ms=1_000)
    web.carry()
    web.later(1.0)
    assert web.withdrawn("b") == [ask]
    web.answer("b", "a", ask, "too late")
    web.carry()
    assert web.ways(Answer) == []


# -- who may ask, and who is heard ---------------------------------------------------------------------------------


@pytest.mark.parametrize("what", ["ask", "answer", "cancel"])
def test_a_forged_signature_ends_the_link_that_brought_it(what: str) -> None:
    web = Web("abc", ["ab", "bc"])
    good = web.message(ask_id(1), "a", "c")
    forged: messages.Message
    if what == "ask":
        forged = Ask(good.id, good.origin, good.target, 8, 1_000, b"another body", good.signature)
    elif what == "answer":
        forged = Answer(good.id, good.origin, good.target, 8, 1_000, good.body, good.signature)
    else:
        forged = Cancel(good.id, good.origin, good.target, good.signature)
    web["b"].hear(web.links["ab"], forged)
    assert "BadSignature" in web["b"].closed[web.links["ab"]]
    assert web.links["bc"] not in web["b"].closed and web["b"].said(web.links["bc"]) == []


def test_words_of_strangers_and_of_the_removed_are_dropped_and_nobody_is_blamed() -> None:
    """Membership travels more slowly than questions do."""
    web = Web("abc", ["ab", "bc"])
    stranger = web.message(ask_id(1), "z", "c")
    web["b"].hear(web.links["ab"], stranger)
    place = web["b"].book.at("b")
    removal = people.m.remove(
        people.signer("b"), place, people.replica("a"), reason="gone", heads={}, epoch=people.epoch("2", "bc")
    )
    record = web["b"].book.add(removal)
    assert record is not None
    web["b"].handle(events.MembersStored([(record, removal)]))
    web["b"].hear(web.links["bc"], web.message(ask_id(2), "a", "b"))
    assert web.asked("b") == [] and web.links["bc"] not in web["b"].closed
    assert not [m for m in web["b"].said(web.links["bc"]) if isinstance(m, Ask)]


def test_an_archive_passes_on_and_is_neither_asked_nor_heard() -> None:
    web = Web("abc", ["ab", "bc"], roles={"b": "archive"})
    ask = web.ask("a", "c")
    web.ask("a", "b")
    web.carry()
    web.answer("c", "a", ask, "me")
    web.carry()
    assert web.answered("a") == [(ask, b"me")] and web.asked("b") == []
    web.ask("b", "c")
    web.carry()
    assert web.asked("c") == [(ask, "a")] and not web["c"].closed


def test_a_workstation_asks_and_answers_and_passes_nothing_on() -> None:
    web = Web("abcd", ["ab", "bc", "cd"], roles={"c": "workstation"})
    ask = web.ask("a", "d")
    web.carry()
    assert web.asked("d") == [] and web.ways(Ask) == ["ab"]
    own, there = web.ask("c", "a"), web.ask("a", "c")
    web.carry()
    assert web.asked("a") == [(own, "c")] and web.asked("c") == [(there, "a")]
    web["c"].hear(web.links["bc"], web.message(ask, "a", "d"))
    assert not [m for m in web["c"].said(web.links["cd"]) if isinstance(m, Ask)]


def test_an_answer_by_another_than_who_was_asked_is_not_taken() -> None:
    web = Web("abc", ["ab", "ac"])
    ask = web.ask("a", "c")
    body = b"it was me"
    signed = flood.signed_answer(web.practice, ask, people.replica("b"), people.replica("a"), body)
    answer = Answer(ask, people.replica("b"), people.replica("a"), 8, 1_000, body, people.signer("b")(signed))
    web["a"].hear(web.links["ab"], answer)
    assert web.answered("a") == [] and not web["a"].closed
    web.carry()
    web.answer("c", "a", ask, "me")
    web.carry()
    assert web.answered("a") == [(ask, b"me")]


def test_nobody_uses_up_the_ids_of_others() -> None:
    """b has seen the id of a question and says it under its own name, and answers it, before it comes by."""
    web = Web("abcd", ["ab", "bc", "cd"])
    own = web.message(ask_id(1), "b", "d", "mine")
    signed = flood.signed_answer(web.practice, ask_id(1), people.replica("b"), people.replica("a"), b"no")
    answer = Answer(ask_id(1), people.replica("b"), people.replica("a"), 8, 9_000, b"no", people.signer("b")(signed))
    web["c"].hear(web.links["bc"], own, answer, web.message(ask_id(1), "a", "d"))
    web.carry()
    assert sorted(web.asked("d")) == sorted([(ask_id(1), "b"), (ask_id(1), "a")])


# -- bounds (L7) ---------------------------------------------------------------------------------------------------


def test_one_replica_cannot_make_others_carry_without_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "asks_passed_per_origin_max", 5)
    web = Web("abcde", ["ab", "bc", "eb"])
    flooded = [web.message(ask_id(n), "a", "d") for n in range(50)]
    web["b"].hear(web.links["ab"], *flooded)
    passed = [m for m in web["b"].said(web.links["bc"]) if isinstance(m, Ask)]
    assert len(passed) == 5 == len(web["b"].core.asking.trails)
    web["b"].hear(web.links["eb"], web.message(ask_id(99), "e", "d"), web.message(ask_id(98), "a", "d"))
    passed = [m for m in web["b"].said(web.links["bc"]) if isinstance(m, Ask)]
    assert [m.id for m in passed] == [ask_id(99), ask_id(98)], "others, and other neighbours, are served all the same"
    web.later(10.0)
    web["b"].hear(web.links["ab"], flooded[40])
    assert [m.id for m in web["b"].said(web.links["bc"]) if isinstance(m, Ask)] == [ask_id(40)], "time makes room"


def test_a_short_life_does_not_make_room_sooner_than_a_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "asks_passed_per_origin_max", 5)
    web = Web("abcd", ["ab", "bc"])
    for n in range(30):
        web["b"].hear(web.links["ab"], web.message(ask_id(n), "a", "d", life_ms=1))
        web.later(0.01)
    assert len([m for m in web["b"].said(web.links["bc"]) if isinstance(m, Ask)]) == 5


def test_what_was_answered_makes_room(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "asks_passed_per_origin_max", 2)
    web = Web("abc", ["ab", "bc"])
    for _ in range(20):
        ask = web.ask("a", "c")
        web.carry()
        web.answer("c", "a", ask, "me")
        web.carry()
    assert len(web.answered("a")) == 20 and len(web["b"].core.asking.trails) == 2


@pytest.mark.parametrize("bound", ["asks_passed_bytes_per_origin_max", "asks_passed_bytes_per_link_max"])
def test_bytes_are_bounded_too(monkeypatch: pytest.MonkeyPatch, bound: str) -> None:
    monkeypatch.setattr(limits, bound, 1_000)
    web = Web("abcd", ["ab", "bc"])
    web["b"].hear(web.links["ab"], *[web.message(ask_id(n), "a", "d", "x" * 300) for n in range(10)])
    assert len([m for m in web["b"].said(web.links["bc"]) if isinstance(m, Ask)]) == 3


def test_one_link_brings_no_more_than_its_share(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "asks_passed_per_link_max", 4)
    web = Web("abcdefg", ["ab", "bc"])
    web["b"].hear(web.links["ab"], *[web.message(ask_id(n), name, "d") for n, name in enumerate("aeacgfeg")])
    assert len(web["b"].core.asking.trails) == 4


def test_answers_to_questions_that_nobody_saw_are_charged_to_their_author(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "asks_passed_per_origin_max", 5)
    web = Web("abcd", ["ab", "bc"])
    a, d, body = people.replica("a"), people.replica("d"), b"hear me"
    for n in range(20):
        signed = flood.signed_answer(web.practice, ask_id(n), a, d, body)
        answer = Answer(ask_id(n), a, d, 8, 60_000, body, people.signer("a")(signed))
        web["b"].hear(web.links["ab"], answer)
    assert len(web["b"].core.asking.trails) <= 5


def test_the_application_is_not_asked_more_at_a_time_than_it_may(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "asks_open_per_origin_max", 2)
    monkeypatch.setattr(limits, "asks_open_max", 3)
    web = Web("abc", ["ac", "bc"])
    asks = [web.ask("a", "c", life_ms=60_000) for _ in range(4)]
    others = [web.ask("b", "c", life_ms=60_000) for _ in range(2)]
    web.carry()
    assert [ask for ask, _ in web.asked("c")] == [*asks[:2], others[0]]
    assert web["c"].core.asking.answering.open == 3
    for ask, asker in web.asked("c"):
        web.answer("c", asker, ask, "me")
    web.later(limits.ask_repeat_s)
    web.carry()
    for ask, asker in web.asked("c"):
        web.answer("c", asker, ask, "me")
    web.later(limits.ask_repeat_s)
    web.carry()
    assert {ask for ask, _ in web.asked("c")} == {*asks, *others}, "said again, all have their turn"
    assert len(web.asked("c")) == 6


def test_an_old_question_that_is_said_again_is_not_told_again() -> None:
    web = Web("abc", ["ab", "bc"])
    ask = web.ask("a", "c", life_ms=5_000)
    web.carry()
    web.answer("c", "a", ask, "me")
    web.carry()
    old = web.message(ask, "a", "c", life_ms=60_000)
    web.later(1_000.0)
    web["c"].hear(web.links["bc"], old)
    assert web.asked("c") == [(ask, "a")]
    assert not [m for m in web["c"].said(web.links["bc"]) if isinstance(m, Answer)]


def test_what_is_remembered_is_bounded_and_nobody_else_pays_for_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "asks_heard_per_origin_max", 5)
    monkeypatch.setattr(limits, "asks_open_per_origin_max", 100)
    web = Web("abc", ["ac", "bc"])
    via_b, via_a = web.links["bc"], web.links["ac"]
    web["c"].hear(via_b, *[web.message(ask_id(n), "a", "c", life_ms=4_000) for n in range(9)])
    assert len(web.asked("c")) == 5, "what still lives is not forgotten for something new"
    web["c"].hear(via_a, web.message(ask_id(20), "a", "c"))
    assert web.asked("c")[-1] == (ask_id(20), "a"), "the share of another neighbour has room"
    answering = web["c"].core.asking.answering
    assert answering.heard(people.replica("a"), people.replica("b")) == 5
    web.later(4.0)
    web["c"].hear(via_b, web.message(ask_id(30), "a", "c"))
    assert web.asked("c")[-1] == (ask_id(30), "a")
    assert answering.heard(people.replica("a"), people.replica("b")) == 5


def test_answers_are_kept_within_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "asks_answered_bytes_per_origin_max", 1_000)
    web = Web("ab", ["ab"])
    for _ in range(10):
        ask = web.ask("a", "b")
        web.carry()
        web.answer("b", "a", ask, "x" * 300)
        web.carry()
        assert sum(web["b"].core.asking.answering.answer_bytes.values()) <= 1_000
    assert len(web.answered("a")) == 10
    web.later(60.0)
    assert web["b"].core.asking.answering.answer_bytes == {}


def test_links_that_come_and_go_leave_nothing_behind() -> None:
    web = Web("abc", ["bc"])
    for _ in range(3 * limits.links_remembered_max):
        web.up("ab")
        web.carry()
        web["b"].hear(web.links["ab"], web.message(ask_id(1), "a", "c"), web.message(ask_id(2), "a", "b"))
        web.down("ab")
    [trail] = web["b"].core.asking.trails._trails.values()
    assert len(trail.came) <= limits.links_remembered_max
    [here] = web["b"].core.asking.answering._here.values()
    assert len(here.came) <= limits.links_remembered_max
    assert web.asked("b") == [(ask_id(2), "a")]


def test_a_target_that_starts_again_is_asked_anew() -> None:
    """What was heard lives in memory alone: an application that must not do a thing twice knows by what it is asked."""
    web = Web("ab", ["ab"])
    ask = web.ask("a", "b")
    web.carry()
    web.down("ab")
    web["b"].core = web["b"]._core(web["b"].author.log)
    web.up("ab")
    web.carry()
    assert web.asked("b") == [(ask, "a"), (ask, "a")]
    web.answer("b", "a", ask, "me")
    web.carry()
    assert web.answered("a") == [(ask, b"me")]


def test_effects_name_who_asks() -> None:
    web = Web("ab", ["ab"])
    ask = web.ask("a", "b", "how many?")
    web.carry()
    assert effects.Asked(ask, people.replica("a"), b"how many?") in web["b"].seen
