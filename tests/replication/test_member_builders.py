"""Writing membership records: what nobody would accept is not signed."""

from __future__ import annotations

import pytest

from crdtsync.errors import Malformed, TooLarge
from crdtsync.replication import membership as m
from crdtsync.replication.codec import unpack
from crdtsync.replication.member_codec import decode_record

from .people import Book, entry, epoch, epoch_id, founding, head, log, practice, replica, signer


def never(message: bytes) -> bytes:
    raise AssertionError("signed")


def test_a_record_that_others_would_refuse_is_not_signed() -> None:
    place = practice().at("a")
    long = entry("c", addresses=["x"] * 17)
    with pytest.raises(Malformed, match="membership addresses"):
        m.add(never, place, long)
    with pytest.raises(Malformed, match="not of the removed replica's logs"):
        m.remove(never, place, replica("b"), reason="", heads={log("c"): head(1)}, epoch=epoch("2", "a"))
    with pytest.raises(TooLarge, match="membership record"):
        m.share(never, place, [(epoch_id("1"), replica("b"), bytes(4_000))] * 80)
    with pytest.raises(Malformed, match="no parents"):
        m.address(never, m.Place(place.practice, place.author, ()), [])
    with pytest.raises(Malformed, match="founding random bytes"):
        m.found(
            never,
            name="",
            random=b"",
            founder=entry("a"),
            recovery=entry("sheet", "recovery"),
            epoch=epoch("1", "as"),
        )


def test_a_signature_of_another_length_is_refused() -> None:
    with pytest.raises(Malformed, match="membership signature: not 64 bytes"):
        m.address(lambda message: bytes(63), practice().at("a"), [])


def test_equal_words_are_equal_bytes() -> None:
    """Whatever order mappings and parents come in: a replica that says a thing twice says one thing."""
    book = practice("b")
    one, two = book.copy(), book.copy()
    one.addresses("a", "1")
    two.addresses("b", "2")
    book.meet(one, two)
    place = book.at("a")
    turned = m.Place(place.practice, place.author, tuple(reversed(place.parents)))
    heads = {log("b", boot): head(boot) for boot in range(1, 5)}
    again = dict(reversed(heads.items()))
    assert m.attest(signer("a"), place, heads) == m.attest(signer("a"), turned, again)
    one_epoch, other = epoch("2", "abs"), epoch("2", "sba")
    assert m.epoch(signer("a"), place, one_epoch) == m.epoch(signer("a"), turned, other)


def test_a_place_is_behind_everything_that_is_here() -> None:
    book = practice("b")
    assert book.at("b") == m.Place(book.practice, replica("b"), book.heads)
    record = book.get(book.addresses("b", "x:1"))
    assert record.parents == (book.records()[1][0],)


def test_what_is_signed_is_domain_and_hash() -> None:
    signed: list[bytes] = []

    def sign(message: bytes) -> bytes:
        signed.append(message)
        return signer("a")(message)

    data = m.address(sign, practice().at("a"), ["a:1"])
    assert signed == [b"crdtsync/member-signature/1" + decode_record(data).hash]


def test_the_founding_record_belongs_to_no_practice_yet() -> None:
    items = unpack(founding(), bytes_max=10_000, what="test")
    assert items[2] == b"" and items[4] == []
    assert Book(founding()).state().deliveries(replica("a"))[0].info == (
        b"crdtsync/epoch/1" + bytes(16) + epoch_id("1") + replica("a")
    )
