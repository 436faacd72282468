"""Who belongs: the rules one by one, each order of arrival, forged records, and what they do not let happen."""

from __future__ import annotations

import pytest

from crdtsync import limits
from crdtsync.errors import BadSignature, Malformed, NotAMember, NotFound, TooLarge
from crdtsync.ids import MemberHash
from crdtsync.replication import membership as m

from .people import (
    Book,
    active,
    entry,
    epoch,
    epoch_id,
    every_order,
    founding,
    head,
    log,
    practice,
    replica,
    signer,
    verify,
)

# --- founding ---------------------------------------------------------------------------------------------------------


def test_founding_makes_a_practice_of_its_founder_and_the_recovery_identity() -> None:
    book = practice()
    state = book.state()
    assert book.practice == m.practice_of(book.heads[0]) == book.heads[0][:16]
    assert book.practice_name == "Praxis"
    founder, recovery = state.members[replica("a")], state.members[replica("sheet")]
    assert founder.active and founder.admin and founder.role == "site" and founder.administers and founder.reader
    assert recovery.active and recovery.administers and recovery.reader and recovery.role == "recovery"
    assert [member.replica for member in state.readers()] == sorted([replica("a"), replica("sheet")])
    assert state.sealing_epoch() == epoch_id("1")
    assert state.missing_shares() == [] and state.cuts == {}


def test_without_a_founding_record_there_is_no_practice() -> None:
    book = Book()
    assert book.state().members == {} and book.heads == () and book.state().sealing_epoch() is None
    for attribute in ("practice", "practice_name"):
        with pytest.raises(NotFound, match="no founding record"):
            getattr(book, attribute)


def test_the_empty_state_learns_its_practice() -> None:
    book = Book()
    assert book.state(()).practice == m.NO_PRACTICE
    book.add(founding())
    assert book.state(()).practice == book.practice and book.state(()).members == {}


def test_an_expected_practice_refuses_another_ones_founding_record() -> None:
    expected = practice()
    book = m.Membership(verify, expected.practice)
    with pytest.raises(Malformed, match="another practice"):
        book.add(founding("b"))
    assert book.practice == expected.practice
    assert book.add(founding("a")) == expected.heads[0]


def test_a_second_founding_record_is_refused() -> None:
    with pytest.raises(Malformed, match="another practice"):
        practice().add(founding("b"))


def test_a_record_of_another_practice_is_refused() -> None:
    book, other = practice(), practice(founder="b")
    other.adds("b", "c")
    with pytest.raises(Malformed, match="another practice"):
        book.add(other.records()[-1][1])


def test_founded_by_somebody_else_than_its_founder_is_refused() -> None:
    record = founding("a").replace(replica("a"), replica("b"), 1)
    with pytest.raises(NotAMember, match="not the founder"):
        Book(record)


# --- what a graph of records is ---------------------------------------------------------------------------------------


def test_a_known_record_is_none() -> None:
    book = practice("b")
    for _, data in book.records():
        assert book.add(data) is None


def test_records_come_with_parents_first_and_as_they_were_received() -> None:
    book = practice("b", "c")
    one, two = book.copy(), book.copy()
    one.addresses("b", "b.example:1")
    two.addresses("c", "c.example:1")
    book.meet(one, two)
    seen: set[MemberHash] = set()
    for record, data in book.records():
        assert set(book.get(record).parents) <= seen and book.get(record).data == data
        seen.add(record)
    assert len(book) == len(seen) == 5
    assert book.heads == tuple(sorted({one.records()[3][0], two.records()[3][0]}))


def test_missing_parents_are_named() -> None:
    full = practice("b", "c")
    book = Book(full.records()[0][1])
    with pytest.raises(m.MissingParents, match="1 records that it builds on") as raised:
        book.add(full.records()[2][1])
    assert raised.value.parents == (full.records()[1][0],)
    assert len(book) == 1


def test_the_state_at_earlier_heads_stays_what_it_was() -> None:
    book = practice("b")
    before = book.heads
    at_the_time = book.state()
    book.removes("a", "b")
    book.adds("a", "c")
    assert book.state(before) == at_the_time
    assert active(book.state(before)) == "ab" and active(book.state()) == "ac"
    assert book.knows(before) and book.knows(()) and not book.knows([MemberHash(bytes(32))])
    with pytest.raises(KeyError):
        book.state([MemberHash(bytes(32))])


def test_states_are_computed_once() -> None:
    book = practice("b")
    assert book.state() is book.state() is book.state(book.heads)
    first = book.state()
    book.adds("a", "c")
    assert book.state() is not first


def test_covers_tells_whether_heads_moved_back() -> None:
    book = practice("b", "c")
    hashes = [record for record, _ in book.records()]
    assert book.covers([hashes[2]], [hashes[0], hashes[1]]) and book.covers([hashes[1]], [hashes[1]])
    assert not book.covers([hashes[0]], [hashes[1]])
    with pytest.raises(KeyError):
        book.covers([hashes[0]], [MemberHash(bytes(32))])


def test_the_graph_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    book = practice("b")
    monkeypatch.setattr(limits, "membership_records_max", 2)
    with pytest.raises(TooLarge, match="more than 2 records"):
        book.adds("a", "c")
    assert book.add(book.records()[1][1]) is None


# --- signatures -------------------------------------------------------------------------------------------------------


def test_every_changed_byte_of_a_record_is_refused() -> None:
    """No flipped bit gets in, and none changes what is here (L6)."""
    book = practice("b")
    good = m.add(signer("a"), book.at("a"), entry("c"))
    before = book.records()
    for position in range(len(good)):
        for bit in range(8):
            bad = bytearray(good)
            bad[position] ^= 1 << bit
            with pytest.raises((Malformed, BadSignature, NotAMember, m.MissingParents, TooLarge)):
                book.add(bytes(bad))
    assert book.records() == before
    assert book.add(good) is not None


def test_signed_by_another_member_is_forged() -> None:
    book = practice("b")
    with pytest.raises(BadSignature, match="not its author's"):
        book.add(m.add(signer("b"), book.at("a"), entry("c")))


def test_a_stranger_is_no_member() -> None:
    book = practice()
    with pytest.raises(NotAMember, match="no active member"):
        book.addresses("x", "x.example:1")


def test_a_member_cannot_write_before_it_was_added() -> None:
    book = practice("b")
    place = m.Place(book.practice, replica("b"), (book.records()[0][0],))
    with pytest.raises(NotAMember):
        book.add(m.address(signer("b"), place, ["b.example:1"]))


def test_a_removed_member_that_has_seen_it_writes_nothing_more() -> None:
    book = practice("b")
    book.removes("a", "b")
    sign, place = signer("b"), book.at("b")
    for record in (
        m.address(sign, place, ["b.example:1"]),
        m.add(sign, place, entry("c")),
        m.remove(sign, place, replica("a"), reason="", heads={}, epoch=epoch("3", "b")),
        m.record(sign, place, "later", []),
    ):
        with pytest.raises(NotAMember, match="no active member when it was written"):
            book.add(record)


# --- rights -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("role", "admin"), [("site", False), ("workstation", True), ("archive", True), ("lab", True)])
def test_only_admin_sites_and_the_sheet_add_and_remove(role: str, admin: bool) -> None:
    book = practice("b")
    book.adds("a", "c", role, admin)
    book.adds("c", "d")
    book.removes("c", "b")
    assert book.names() == "abc"
    assert replica("d") not in book.state().members
    assert epoch_id("c-b") not in book.state().epochs
    assert book.state().sealing_epoch() == epoch_id("1")


def test_the_recovery_identity_administers() -> None:
    book = practice("b")
    book.removes("sheet", "a", readers="s")
    book.adds("sheet", "c")
    assert book.names() == "bc"


@pytest.mark.parametrize("role", ["workstation", "archive", "lab"])
def test_who_reads_nothing_makes_and_shares_no_epoch(role: str) -> None:
    book = practice("b")
    book.adds("a", "c", role, False)
    book.begins("c", "2", "c")
    book.shares("c", "1", "b")
    state = book.state()
    assert epoch_id("2") not in state.epochs
    assert (epoch_id("1"), replica("b")) in state.missing_shares()
    assert replica("c") not in {reader.replica for reader in state.readers()}


def test_a_site_that_is_no_admin_makes_an_epoch_when_it_needs_one() -> None:
    book = practice()
    book.adds("a", "b", "site", False)
    book.begins("b", "2", "abs", parents=["1"])
    assert book.state().sealing_epoch() == epoch_id("2")


def test_removing_somebody_who_never_was_there_has_no_effect() -> None:
    book = practice()
    book.removes("a", "z")
    assert epoch_id("a-z") not in book.state().epochs
    book.adds("a", "z")
    assert book.names() == "az"


def test_an_unknown_op_is_kept_passed_on_and_without_effect() -> None:
    book = practice("b")
    before = book.state()
    later = book.put(m.record(signer("b"), book.at("b"), "later", ["anything", [1, None], 2.5]))
    assert book.has(later) and book.heads == (later,)
    assert (later, book.get(later).data) in book.records()
    assert book.state() == before
    other = book.copy()
    other.adds("a", "c")
    assert other.names() == "abc"
    assert other.heads != (later,) and other.covers(other.heads, [later])


# --- removal ----------------------------------------------------------------------------------------------------------


def test_removal_needs_no_more_than_an_admin() -> None:
    book = practice("b", "c")
    book.removes("b", "c", readers="abs")
    state = book.state()
    assert active(state) == "ab" and state.active(replica("c")) is None
    removed = state.members[replica("c")]
    assert not removed.active and not removed.reader and not removed.administers and removed.name == "C"


def test_what_the_removed_one_did_unseen_is_void_in_every_order() -> None:
    base = practice("b", "c")
    a, b = base.copy(), base.copy()
    a.removes("a", "b", "2", "acs")
    b.addresses("b", "b.example:1")
    b.adds("b", "d")
    b.begins("b", "3", "abcds", parents=["1"])
    b.shares("b", "1", "c")
    b.attests("b", "a", 7)
    state = every_order(a, b)
    assert active(state) == "ac"
    assert state.members[replica("b")].addresses == ()
    assert not state.members[replica("d")].active
    assert replica("c") not in state.shares[epoch_id("1")]
    assert state.epochs[epoch_id("3")].void and not state.epochs[epoch_id("2")].void
    assert state.sealing_epoch() == epoch_id("2")


def test_what_the_removed_one_did_before_and_the_remover_saw_counts() -> None:
    book = practice("b")
    book.adds("b", "d")
    book.addresses("b", "b.example:1")
    book.removes("a", "b", readers="ads")
    state = book.state()
    assert active(state) == "ad"
    assert state.members[replica("b")].addresses == ("b.example:1",)


def test_mutual_removal_removes_both_in_every_order() -> None:
    base = practice("b", "c")
    a, b, c = base.copy(), base.copy(), base.copy()
    a.removes("a", "b", "2", "acs", cut=5)
    b.removes("b", "a", "3", "bcs", cut=6)
    c.addresses("c", "c.example:1")
    state = every_order(a, b, c)
    assert active(state) == "c"
    assert state.epochs[epoch_id("2")].void and state.epochs[epoch_id("3")].void
    assert state.sealing_epoch() is None
    assert state.cuts == {}


def test_cyclic_removal_removes_all_in_every_order() -> None:
    base = practice("b", "c", "d")
    a, b, c, d = (base.copy() for _ in range(4))
    a.removes("a", "b")
    b.removes("b", "c")
    c.removes("c", "a")
    d.addresses("d", "d.example:1")
    state = every_order(a, b, c, d)
    assert active(state) == "d"
    assert state.members[replica("d")].addresses == ("d.example:1",)


def test_even_the_last_two_can_remove_each_other_and_the_sheet_starts_anew() -> None:
    a = practice("b")
    b = a.copy()
    a.removes("a", "b")
    b.removes("b", "a")
    a.meet(b)
    assert a.names() == ""
    a.adds("sheet", "c")
    a.adds("sheet", "b")
    a.begins("sheet", "9", "bcs", parents=["1", "a-b", "b-a"])
    assert a.names() == "bc"
    assert a.state().sealing_epoch() == epoch_id("9")


def test_a_removal_by_one_who_is_removed_unseen_still_removes() -> None:
    base = practice("b", "c")
    a, b = base.copy(), base.copy()
    a.removes("a", "b")
    b.removes("b", "c")
    assert active(every_order(a, b)) == "a"


def test_an_add_that_is_void_counts_as_a_removal() -> None:
    """And so on: what the one did whom only a void add let in is void as well, except removals."""
    base = practice("b", "c", "e")
    a, b = base.copy(), base.copy()
    a.removes("a", "b")
    b.adds("b", "d")
    b.adds("d", "f")
    b.attests("d", "a", 3)
    b.addresses("d", "d.example:1")
    b.begins("d", "7", "d")
    b.removes("d", "e")
    assert b.names() == "abcdf"
    state = every_order(a, b)
    assert active(state) == "ac"
    assert {name: replica(name) in state.members for name in "df"} == {"d": True, "f": True}
    assert state.members[replica("d")].addresses == ()
    assert state.epochs[epoch_id("7")].void


def test_a_replica_whose_add_is_void_has_a_cut_of_its_own() -> None:
    base = practice("b", "c")
    a, b, c = base.copy(), base.copy(), base.copy()
    b.adds("b", "d")
    c.meet(b)
    c.attests("c", "d", 4)
    a.removes("a", "b")
    state = every_order(a, b, c)
    assert not state.members[replica("d")].active
    assert state.cuts == {log("d"): head(4)}


def test_a_void_add_beside_a_good_one_removes_nobody() -> None:
    base = practice("b")
    a, b = base.copy(), base.copy()
    b.adds("b", "d")
    a.removes("a", "b")
    a.adds("a", "d", admin=False)
    state = every_order(a, b)
    assert active(state) == "ad"
    assert not state.members[replica("d")].admin, "the add that counts is the one that is not void"


def test_rights_that_only_a_void_add_gave_are_void() -> None:
    """Two admins add one replica apart, as admin and as none; it acts as admin; the one who made it so was removed."""
    base = practice("b")
    a, b = base.copy(), base.copy()
    b.adds("b", "d")
    a.addresses("a", "a.example:1")
    sheet = a.copy()
    sheet.removes("sheet", "b")
    a.adds("a", "d", admin=False)
    b.meet(a)
    b.adds("d", "e")
    assert b.names() == "abde"
    state = every_order(sheet, b)
    assert active(state) == "ad"
    assert not state.members[replica("d")].admin


def test_removal_beside_an_add_of_the_same_replica_wins() -> None:
    base = practice("b", "c")
    base.removes("a", "c")
    a, b = base.copy(), base.copy()
    a.adds("a", "c")
    b.removes("b", "c", "again")
    assert active(every_order(a, b)) == "ab"


# --- coming in again --------------------------------------------------------------------------------------------------


def test_adding_again_needs_to_have_seen_the_removal() -> None:
    base = practice("b", "c")
    a, b = base.copy(), base.copy()
    a.removes("a", "c")
    b.adds("b", "c")
    assert active(every_order(a, b)) == "ab"
    a.meet(b)
    a.adds("a", "c")
    assert a.names() == "abc"
    a.addresses("c", "c.example:2")
    assert a.state().members[replica("c")].addresses == ("c.example:2",)


def test_adding_again_must_have_seen_every_removal() -> None:
    base = practice("b", "c")
    a, b = base.copy(), base.copy()
    a.removes("a", "c")
    b.removes("b", "c")
    again = a.copy()
    again.adds("a", "c")
    assert again.names() == "abc"
    assert active(every_order(again, b)) == "ab"
    a.meet(b, again)
    a.adds("b", "c")
    assert a.names() == "abc"


def test_what_was_void_stays_void_when_its_author_comes_again() -> None:
    base = practice("b", "c")
    a, b = base.copy(), base.copy()
    b.addresses("b", "b.example:1")
    b.adds("b", "d")
    a.removes("a", "b")
    a.adds("a", "b")
    state = every_order(a, b)
    assert active(state) == "abc"
    assert state.members[replica("b")].addresses == ()


def test_a_member_that_came_again_has_no_cut() -> None:
    book = practice("b")
    book.removes("a", "b", cut=3)
    assert book.state().cuts == {log("b"): head(3)}
    book.adds("a", "b")
    assert book.state().cuts == {}
    book.removes("a", "b", "3")
    assert book.state().cuts == {log("b"): head(3)}


def test_added_twice_apart_is_one_member() -> None:
    base = practice("b")
    a, b = base.copy(), base.copy()
    a.put(m.add(signer("a"), a.at("a"), entry("c", addresses=["one:1"])))
    b.put(m.add(signer("b"), b.at("b"), entry("c", addresses=["two:2"])))
    late = b.copy()
    late.addresses("c", "three:3")
    state = every_order(a, b, late)
    assert active(state) == "abc"
    assert state.members[replica("c")].addresses == ("three:3",)


def test_a_later_add_of_an_active_member_does_not_replace_its_keys() -> None:
    book = practice("b")
    first = book.state().members[replica("b")]
    other = m.Entry(entry("b").sig, b"other certificate", b"other key", "archive", False, "Other")
    book.put(m.add(signer("a"), book.at("a"), other))
    assert book.state().members[replica("b")] == first


def test_an_entry_replaces_the_addresses_that_its_author_had_seen() -> None:
    book = practice("b")
    book.addresses("b", "old:1")
    book.removes("a", "b")
    book.put(m.add(signer("a"), book.at("a"), entry("b", addresses=["new:1"])))
    assert book.state().members[replica("b")].addresses == ("new:1",)


def test_the_newest_address_holds() -> None:
    book = practice("b")
    one, two = book.copy(), book.copy()
    one.addresses("b", "one:1")
    one.addresses("b", "three:3", "four:4")
    two.addresses("b", "two:2")
    state = every_order(one, two)
    assert state.members[replica("b")].addresses == ("three:3", "four:4")
    one.addresses("b")
    assert one.state().members[replica("b")].addresses == ()
