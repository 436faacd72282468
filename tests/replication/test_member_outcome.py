"""Where the logs of removed members end: what readers attest, and what moves nothing."""

from __future__ import annotations

import pytest

from crdtsync.replication import membership as m

from .people import (
    epoch,
    every_order,
    head,
    log,
    practice,
    replica,
    signer,
)


def test_cuts_grow_with_what_remaining_readers_attest() -> None:
    book = practice("b", "c")
    book.attests("c", "b", 2)
    assert book.state().cuts == {}, "logs of active members are not cut"
    book.removes("a", "b", readers="acs", cut=5)
    assert book.state().cuts == {log("b"): head(5)}
    book.attests("c", "b", 4)
    assert book.state().cuts == {log("b"): head(5)}, "never down"
    book.attests("c", "b", 9)
    book.attests("sheet", "b", 8)
    assert book.state().cuts == {log("b"): head(9)}


def test_an_attest_made_before_the_removal_counts() -> None:
    base = practice("b", "c")
    a, c = base.copy(), base.copy()
    c.attests("c", "b", 12)
    a.removes("a", "b", cut=5)
    assert every_order(a, c).cuts == {log("b"): head(12)}


def test_only_readers_move_cuts() -> None:
    book = practice("b")
    book.adds("a", "w", "workstation", False)
    book.adds("a", "r", "archive", False)
    book.removes("a", "b", cut=5)
    book.attests("w", "b", 10)
    book.attests("r", "b", 11)
    assert book.state().cuts == {log("b"): head(5)}


def test_the_removed_one_does_not_attest_itself() -> None:
    base = practice("b", "c")
    a, b = base.copy(), base.copy()
    a.removes("a", "b", cut=5)
    b.attests("b", "b", 100)
    assert every_order(a, b).cuts == {log("b"): head(5)}


def test_an_accomplice_who_goes_too_does_not_move_the_cut() -> None:
    base = practice("b", "c")
    a, c = base.copy(), base.copy()
    a.removes("a", "b", cut=5)
    a.removes("a", "c")
    c.attests("c", "b", 50)
    assert every_order(a, c).cuts == {log("b"): head(5)}


def test_what_a_reader_attested_holds_when_it_goes_later() -> None:
    book = practice("b", "c")
    book.removes("c", "b", cut=5)
    book.removes("a", "c")
    assert book.state().cuts == {log("b"): head(5)}


@pytest.mark.parametrize(("one", "other"), [("left", "right"), ("right", "left")])
def test_of_two_heads_at_one_place_everybody_takes_the_same(one: str, other: str) -> None:
    base = practice("b", "c")
    a, c = base.copy(), base.copy()
    base.removes("a", "b")
    a.attests("a", "b", 5, one)
    c.attests("c", "b", 5, other)
    state = every_order(base, a, c)
    assert state.cuts[log("b")] == min(head(5, "left"), head(5, "right"))


def test_each_log_of_a_removed_replica_has_its_cut() -> None:
    book = practice("b")
    heads = {log("b", 1): head(4), log("b", 2): head(6)}
    book.put(m.remove(signer("a"), book.at("a"), replica("b"), reason="", heads=heads, epoch=epoch("2", "as")))
    assert book.state().cuts == heads
