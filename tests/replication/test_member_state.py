"""Key epochs: which one to seal under, who lacks which, and what opens what was sealed."""

from __future__ import annotations

from crdtsync.replication import membership as m

from .people import (
    active,
    entry,
    epoch,
    epoch_id,
    every_order,
    practice,
    replica,
    sealed,
    signer,
)


def test_removal_carries_the_next_epoch() -> None:
    book = practice("b")
    book.shares("a", "1", "b")
    body = epoch("2", "as", parents=["1"])
    record = book.put(m.remove(signer("a"), book.at("a"), replica("b"), reason="lost", heads={}, epoch=body))
    state = book.state()
    assert state.sealing_epoch() == epoch_id("2")
    held = state.epochs[epoch_id("2")]
    assert (held.id, held.parents, held.sealed) == (body.id, body.parents, body.sealed)
    assert (held.record, held.author, held.void) == (record, replica("a"), False)
    assert state.missing_shares() == []


def test_an_epoch_that_a_removed_one_can_open_is_not_sealed_under() -> None:
    """By being a recipient of it, of one that wraps it, or its author."""
    book = practice("b", "c")
    book.shares("a", "1", "b")
    assert book.state().sealing_epoch() == epoch_id("1")
    book.removes("a", "b", "2", "as")
    assert book.state().sealing_epoch() == epoch_id("2"), "shared with the removed one"
    book.begins("a", "3", "acs", parents=["2"])
    book.removes("a", "c", "4", "as", cut=1)
    assert book.state().sealing_epoch() == epoch_id("4")
    assert epoch_id("2") not in book.state().sealing_epochs, "an epoch that wraps it was sealed to the removed one"


def test_an_epochs_author_knows_it() -> None:
    book = practice("b")
    book.begins("b", "2", "as", parents=["1"])
    book.removes("a", "b", "3", "b")
    assert book.state().sealing_epochs == ()


def test_an_epoch_sealed_to_a_desk_is_not_sealed_under() -> None:
    book = practice()
    book.adds("a", "w", "workstation", False)
    book.begins("a", "2", "aws", parents=["1"])
    assert book.state().sealing_epoch() is None


def test_of_epochs_made_apart_everybody_takes_the_same() -> None:
    base = practice("b")
    a, b = base.copy(), base.copy()
    a.begins("a", "2", "abs", parents=["1"])
    b.begins("b", "3", "abs", parents=["1"])
    state = every_order(a, b)
    assert set(state.sealing_epochs) == {epoch_id("2"), epoch_id("3")}
    a.meet(b)
    a.begins("b", "4", "abs", parents=["2", "3"])
    assert a.state().sealing_epochs == (epoch_id("4"),)


def test_epochs_that_wrap_each_other_are_not_sealed_under() -> None:
    book = practice("b")
    book.begins("b", "2", "abs", parents=["1", "3", "2"])
    book.begins("b", "3", "abs", parents=["2"])
    assert book.state().sealing_epoch() is None
    assert [reader for epoch, reader in book.state().missing_shares()] == []


def test_a_newcomer_lacks_the_outermost_epoch_only() -> None:
    book = practice()
    book.begins("a", "2", "as", parents=["1"])
    book.adds("a", "b")
    assert book.state().missing_shares() == [(epoch_id("2"), replica("b"))]
    book.shares("a", "2", "b")
    assert book.state().missing_shares() == []
    assert book.state().shares[epoch_id("2")][replica("b")] == sealed("2", "b")


def test_an_add_brings_shares_along() -> None:
    book = practice()
    book.put(m.add(signer("a"), book.at("a"), entry("b"), {epoch_id("1"): sealed("1", "b")}))
    assert book.state().missing_shares() == []


def test_shares_are_missing_after_two_met_who_removed_and_added_apart() -> None:
    base = practice("b", "c")
    for name in "bc":
        base.shares("a", "1", name)
    a, b = base.copy(), base.copy()
    a.removes("a", "c", "2", "abs")
    b.adds("b", "d")
    b.shares("b", "1", "d")
    state = every_order(a, b)
    assert state.missing_shares() == [(epoch_id("2"), replica("d"))]
    assert state.sealing_epoch() == epoch_id("2")


def test_a_share_by_a_removed_one_is_made_again_by_another() -> None:
    base = practice("b")
    base.adds("a", "c")
    a, b = base.copy(), base.copy()
    b.shares("b", "1", "c")
    a.removes("a", "b", "2", "acs", cut=1)
    assert (epoch_id("1"), replica("c")) in every_order(a, b).missing_shares()


def test_void_epochs_stay_open_to_their_readers() -> None:
    """What honest members sealed under such an epoch, before they knew, is still read."""
    base = practice("b", "c")
    a, b = base.copy(), base.copy()
    b.begins("b", "3", "acs", parents=["1"])
    a.removes("a", "b", "2", "acs")
    state = every_order(a, b)
    assert state.shares[epoch_id("3")][replica("c")] == sealed("3", "c")
    assert [delivery.epoch for delivery in state.deliveries(replica("c"))].count(epoch_id("3")) == 1


def test_a_void_epoch_stays_unfit_when_its_author_comes_again() -> None:
    base = practice("b")
    a, b = base.copy(), base.copy()
    b.begins("b", "3", "abs", parents=["1"])
    a.removes("a", "b", "2", "as")
    a.adds("a", "b")
    state = every_order(a, b)
    assert active(state) == "ab"
    assert state.sealing_epochs == (epoch_id("2"),)


def test_deliveries_name_the_context_that_opens_them() -> None:
    book = practice("b")
    book.shares("a", "1", "b")
    book.begins("b", "2", "abs")
    book.put(m.share(signer("b"), book.at("b"), [(epoch_id("2"), replica("a"), b"second copy")]))
    state = book.state()
    assert state.deliveries(replica("a")) == [
        m.Delivery(epoch_id("1"), m.epoch_info(m.NO_PRACTICE, epoch_id("1"), replica("a")), sealed("1", "a")),
        m.Delivery(epoch_id("2"), m.epoch_info(book.practice, epoch_id("2"), replica("a")), sealed("2", "a")),
    ], "the first delivery holds"
    assert state.deliveries(replica("b"))[0] == m.Delivery(
        epoch_id("1"), m.epoch_info(book.practice, epoch_id("1"), replica("b")), sealed("1", "b")
    )
    assert state.deliveries(replica("z")) == []


def test_epoch_info_binds_practice_epoch_and_reader() -> None:
    book = practice()
    info = m.epoch_info(book.practice, epoch_id("1"), replica("a"))
    assert info == b"crdtsync/epoch/1" + book.practice + epoch_id("1") + replica("a")


def test_one_epoch_in_two_records_is_the_one_that_is_not_void() -> None:
    base = practice("b")
    a, b = base.copy(), base.copy()
    b.begins("b", "2", "b")
    a.addresses("a", "a:1")
    a.begins("a", "2", "as", parents=["1"])
    a.removes("a", "b", "3", "as")
    state = every_order(a, b)
    assert state.epochs[epoch_id("2")].author == replica("a")
    assert not state.epochs[epoch_id("2")].void


def test_a_share_of_an_unknown_epoch_has_no_effect() -> None:
    book = practice("b")
    before = book.state()
    book.shares("a", "99", "b")
    assert book.state() == before
