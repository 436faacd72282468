"""The form of membership records: round trips, room for later versions, and each refusal with its reason."""

from __future__ import annotations

import hashlib
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crdtsync import limits
from crdtsync.errors import CrdtSyncError, Malformed, PeerError, TooLarge
from crdtsync.ids import CommitId, MemberHash
from crdtsync.replication import membership as m
from crdtsync.replication.codec import pack, unpack
from crdtsync.replication.member_codec import decode_record
from crdtsync.replication.member_records import (
    Add,
    Address,
    Attest,
    Body,
    Close,
    Found,
    Hold,
    NewEpoch,
    Remove,
    Share,
    Succeed,
    Unknown,
    signed_bytes,
)

from .people import (
    RANDOM,
    digest,
    entry,
    epoch,
    epoch_id,
    founding,
    head,
    log,
    practice,
    replica,
    sealed,
    signer,
    verify,
)

BOOK = practice("b")
PLACE = BOOK.at("a")
SIGN = signer("a")
HELD = CommitId(log("b"), 3)
CLOSE = m.close(SIGN, PLACE, replica("b"), stamp=9, heads={log("b"): head(3)}, epoch=epoch("2", "as", "1"))


def test_each_op_comes_back_as_it_was_written() -> None:
    removal = m.remove(SIGN, PLACE, replica("b"), reason="löst", heads={log("b"): head(3)}, epoch=epoch("2", "as", "1"))
    shares = [(epoch_id("1"), replica("b"), b"x"), (epoch_id("1"), replica("c"), b"y")]
    written: list[tuple[bytes, str, Body]] = [
        (founding(), "found", Found("Praxis", RANDOM, entry("a"), entry("sheet", "recovery"), epoch("1", "as"))),
        (m.add(SIGN, PLACE, entry("c", addresses=["c:1"])), "add", Add(entry("c", addresses=["c:1"]), {})),
        (m.add(SIGN, PLACE, entry("c"), {epoch_id("1"): b"k"}), "add", Add(entry("c"), {epoch_id("1"): b"k"})),
        (removal, "remove", Remove(replica("b"), "löst", ((log("b"), head(3)),), epoch("2", "as", "1"))),
        (m.epoch(SIGN, PLACE, epoch("2", "ab")), "epoch", NewEpoch(epoch("2", "ab"))),
        (m.share(SIGN, PLACE, shares), "share", Share(tuple(shares))),
        (m.attest(SIGN, PLACE, {log("b"): head(3)}), "attest", Attest(((log("b"), head(3)),))),
        (m.address(SIGN, PLACE, ["a:1", "[::1]:2"]), "address", Address(("a:1", "[::1]:2"))),
        (
            m.succeed(SIGN, PLACE, log("b", 2), {log("b"): head(3)}),
            "succeed",
            Succeed(replica("b"), log("b", 2), ((log("b"), head(3)),)),
        ),
        (m.hold(SIGN, PLACE, HELD, head(3).hash, "form"), "hold", Hold(HELD, head(3).hash, "form")),
        (CLOSE, "close", Close(replica("b"), 9, ((log("b"), head(3)),), epoch("2", "as", "1"))),
        (m.record(SIGN, PLACE, "later", [1, [2]]), "later", Unknown()),
    ]
    for data, op, body in written:
        record = decode_record(data)
        assert (record.op, record.body, record.data, record.author) == (op, body, data, replica("a"))
        assert record.parents == (() if op == "found" else BOOK.heads)
        assert record.practice == (None if op == "found" else BOOK.practice)
        assert verify(entry("a").sig, signed_bytes(record.hash), record.signature)


def test_the_hash_covers_all_but_the_signature() -> None:
    data = m.address(SIGN, PLACE, ["a:1"])
    other = data[:-64] + bytes(64)
    assert decode_record(data).hash == decode_record(other).hash
    assert decode_record(m.address(SIGN, PLACE, ["a:2"])).hash != decode_record(data).hash


def test_the_hash_is_that_of_the_six_items() -> None:
    """Pinned: a change of these bytes is a change of the format."""
    items = unpack(m.address(SIGN, PLACE, ["a:1"]), bytes_max=1000, what="test")
    expected = hashlib.sha256(b"crdtsync/member/1" + pack(items[:6])).digest()
    assert decode_record(pack(items)).hash == expected
    assert signed_bytes(MemberHash(expected)) == b"crdtsync/member-signature/1" + expected


def items_of(data: bytes) -> list[Any]:
    return unpack(data, bytes_max=limits.membership_record_bytes_max, what="test")


def changed(data: bytes, path: tuple[int, ...], value: Any) -> bytes:
    """`data` with the item at `path` replaced."""
    items = items_of(data)
    inner = items
    for step in path[:-1]:
        inner = inner[step]
    inner[path[-1]] = value
    return pack(items)


FOUND = founding()
ADD = m.add(SIGN, PLACE, entry("c", addresses=["c:1"]), {epoch_id("1"): sealed("1", "c")})
REMOVE = m.remove(SIGN, PLACE, replica("b"), reason="", heads={log("b"): head(3)}, epoch=epoch("2", "as", "1"))
SHARE = m.share(SIGN, PLACE, [(epoch_id("1"), replica("b"), b"x")])
ATTEST = m.attest(SIGN, PLACE, {log("b"): head(3)})
ADDRESS = m.address(SIGN, PLACE, ["a:1"])
SUCCEED = m.succeed(SIGN, PLACE, log("b", 2), {log("b"): head(3)})
HOLD = m.hold(SIGN, PLACE, HELD, head(3).hash, "form")
HOLD_ITEMS = [HELD.log, HELD.sequence, head(3).hash, "form"]
PARENT = BOOK.heads[0]
LONG = "x" * 201

REFUSED: list[tuple[str, bytes, str]] = [
    ("version", changed(ADD, (0,), 2), "format version 2 is not known here; update this program"),
    ("version of another type", changed(ADD, (0,), "1"), "format version '1' is not known"),
    ("op of another type", changed(ADD, (1,), 7), "membership op: not a text"),
    ("long op", changed(ADD, (1,), "x" * 33), "membership op: not a text of at most 32"),
    ("practice too short", changed(ADD, (2,), bytes(15)), "membership practice: not 16 bytes"),
    ("practice of a founding record", changed(FOUND, (2,), bytes(16)), "membership practice: not 0 bytes"),
    ("author too long", changed(ADD, (3,), bytes(17)), "membership replica: not 16 bytes"),
    ("no parents", changed(ADD, (4,), []), "only the founding record has no parents"),
    ("parents of a founding record", changed(FOUND, (4,), [PARENT]), "only the founding record has no parents"),
    ("parents no list", changed(ADD, (4,), None), "membership parents: not a list"),
    ("short parent", changed(ADD, (4,), [bytes(31)]), "membership parent: not 32 bytes"),
    ("one parent twice", changed(ADD, (4,), [PARENT, PARENT]), "not in ascending order"),
    ("parents out of order", changed(ADD, (4,), [b"\2" * 32, b"\1" * 32]), "not in ascending order"),
    ("too many parents", changed(ADD, (4,), [bytes(32)] * 4097), "membership parents: not a list of at most 4096"),
    ("body no list", changed(ADD, (5,), b""), "membership body: not a list"),
    ("body of found", changed(FOUND, (5,), ["x"] * 4), "the body of `found` is too short"),
    ("body of add", changed(ADD, (5,), []), "the body of `add` is too short"),
    ("body of remove", changed(REMOVE, (5,), [b""] * 3), "the body of `remove` is too short"),
    (
        "body of epoch",
        changed(ADD, (1,), "epoch")[:0] + pack([1, "epoch", *items_of(ADD)[2:5], [], bytes(64)]),
        "`epoch`",
    ),
    ("body of share", changed(SHARE, (5,), []), "the body of `share` is too short"),
    ("body of attest", changed(ATTEST, (5,), []), "the body of `attest` is too short"),
    ("body of hold", changed(HOLD, (5,), HOLD_ITEMS[:3]), "the body of `hold` is too short"),
    ("body of close", changed(CLOSE, (5,), [replica("b"), 1, []]), "the body of `close` is too short"),
    ("closed replica", changed(CLOSE, (5, 0), b""), "membership replica: not 16 bytes"),
    ("stamp of a closing", changed(CLOSE, (5, 1), -1), "membership closing stamp: not a number from 0"),
    ("stamp beyond all times", changed(CLOSE, (5, 1), 2**63), "membership closing stamp: not a number from 0"),
    ("heads of a closing", changed(CLOSE, (5, 2), [[log("b"), 1]]), "log head: not three items"),
    ("head of another than the closed", changed(CLOSE, (5, 2, 0, 0), log("a")), "not of the closed replica's logs"),
    ("epoch of a closing", changed(CLOSE, (5, 3), 1), "not the list that its op promises"),
    ("log of a hold", changed(HOLD, (5, 0), b"x"), "log head: not 24 bytes"),
    ("sequence of a hold", changed(HOLD, (5, 1), -1), "log head"),
    ("hash of a hold", changed(HOLD, (5, 2), b"x"), "log head: not 32 bytes"),
    ("reason of a hold", changed(HOLD, (5, 3), "x" * 33), "hold reason: not a text of at most 32 characters"),
    ("body of address", changed(ADDRESS, (5,), []), "the body of `address` is too short"),
    ("long practice name", changed(FOUND, (5, 0), LONG), "membership name: not a text of at most 200"),
    ("random bytes", changed(FOUND, (5, 1), bytes(31)), "founding random bytes: not 32 bytes"),
    ("founder no site", changed(FOUND, (5, 2, 3), "archive"), "the founder is not an admin site"),
    ("founder no admin", changed(FOUND, (5, 2, 4), False), "the founder is not an admin site"),
    ("recovery of another role", changed(FOUND, (5, 3, 3), "site"), "recovery identity is not one of its own"),
    ("recovery is the founder", changed(FOUND, (5, 3, 0), entry("a").sig), "recovery identity is not one of its own"),
    ("entry no list", changed(ADD, (5, 0), b"x"), "not the list that its op promises"),
    ("entry too short", changed(ADD, (5, 0), items_of(ADD)[5][0][:6]), "not the list that its op promises"),
    ("signing key", changed(ADD, (5, 0, 0), bytes(33)), "membership signing key: not 32 bytes"),
    ("no certificate", changed(ADD, (5, 0, 1), b""), "membership certificate: not 1 to 4096 bytes"),
    ("long certificate", changed(ADD, (5, 0, 1), bytes(4097)), "membership certificate: not 1 to 4096 bytes"),
    ("sealing key a text", changed(ADD, (5, 0, 2), "x"), "membership sealing key: not 1 to 4096 bytes"),
    ("role a number", changed(ADD, (5, 0, 3), 1), "membership role: not a text"),
    ("admin a number", changed(ADD, (5, 0, 4), 1), "admin flag is neither true nor false"),
    ("name", changed(ADD, (5, 0, 5), LONG), "membership name: not a text"),
    ("addresses", changed(ADD, (5, 0, 6), ["x"] * 17), "membership addresses: not a list of at most 16"),
    ("address in an entry", changed(ADD, (5, 0, 6), [b"x"]), "membership address: not a text"),
    ("shares of an add", changed(ADD, (5, 1), None), "membership shares: not a list"),
    ("share of an add", changed(ADD, (5, 1), [[epoch_id("1")]]), "not the list that its op promises"),
    ("empty share of an add", changed(ADD, (5, 1), [[epoch_id("1"), b""]]), "sealed epoch key: not 1 to 4096 bytes"),
    ("removed replica", changed(REMOVE, (5, 0), b""), "membership replica: not 16 bytes"),
    ("reason", changed(REMOVE, (5, 1), "x" * 2001), "membership reason: not a text of at most 2000"),
    ("heads", changed(REMOVE, (5, 2), [[log("b"), 1]]), "log head: not three items"),
    (
        "head of somebody else",
        changed(REMOVE, (5, 2, 0, 0), log("a")),
        "not of the removed replica's logs",
    ),
    ("epoch no list", changed(REMOVE, (5, 3), 1), "not the list that its op promises"),
    ("epoch id", changed(REMOVE, (5, 3, 0), bytes(8)), "membership epoch: not 16 bytes"),
    ("epoch parents", changed(REMOVE, (5, 3, 1), 1), "epoch parents: not a list"),
    ("wrapped key", changed(REMOVE, (5, 3, 1, 0, 1), bytes(39)), "wrapped epoch key: not 40 bytes"),
    ("epoch recipients", changed(REMOVE, (5, 3, 2), b""), "epoch recipients: not a list"),
    ("epoch recipient", changed(REMOVE, (5, 3, 2, 0, 0), b"x"), "membership replica: not 16 bytes"),
    ("share", changed(SHARE, (5, 0, 0), [epoch_id("1"), replica("b")]), "not the list that its op promises"),
    ("head of an attest", changed(ATTEST, (5, 0, 0, 1), -1), "log head: not a number from 0"),
    ("hash of an attest", changed(ATTEST, (5, 0, 0, 2), bytes(31)), "log head: not 32 bytes"),
    ("addresses of an address", changed(ADDRESS, (5, 0), "a:1"), "membership addresses: not a list"),
    ("body of succeed", changed(SUCCEED, (5,), [replica("b"), log("b")]), "the body of `succeed` is too short"),
    ("succeeding log", changed(SUCCEED, (5, 1), bytes(23)), "membership log: not 24 bytes"),
    ("a log of another", changed(SUCCEED, (5, 1), log("c", 2)), "a log that is not another branch"),
    ("an end of another's log", changed(SUCCEED, (5, 2, 0, 0), log("c")), "a log that is not another branch"),
    ("who goes on ends", changed(SUCCEED, (5, 2, 0, 0), log("b", 2)), "a log that is not another branch"),
    ("head of a succession", changed(SUCCEED, (5, 2, 0, 1), -1), "log head: not a number from 0"),
    ("signature too short", changed(ADD, (6,), bytes(63)), "not seven items that end with a signature"),
    ("signature a text", changed(ADD, (6,), "x" * 64), "not seven items that end with a signature"),
    ("an item behind the signature", pack([*items_of(ADD), 1]), "not seven items that end with a signature"),
    ("six items", pack(items_of(ADD)[:6]), "not seven items that end with a signature"),
    ("another way to write the array", b"\xdc\x00\x07" + ADD[1:], "not seven items that end with a signature"),
    ("nothing", b"", "not a well-formed message"),
    ("cut short", ADD[:-1], "not a well-formed message"),
    ("no array", pack([ADD])[1:], "not an array"),
    ("a map", b"\x81\x01\x02", "not a well-formed message"),
]


@pytest.mark.parametrize(("data", "reason"), [case[1:] for case in REFUSED], ids=[case[0] for case in REFUSED])
def test_each_other_form_is_refused_with_its_reason(data: bytes, reason: str) -> None:
    with pytest.raises(Malformed) as raised:
        decode_record(data)
    assert reason in str(raised.value)


def test_a_record_beyond_its_limit_is_refused_before_it_is_read() -> None:
    with pytest.raises(TooLarge, match="at most 262144 are allowed"):
        decode_record(bytes(limits.membership_record_bytes_max + 1))


def test_an_epoch_for_two_hundred_readers_fits() -> None:
    """1,200 bytes for each: an HPKE delivery by the hybrid suite."""
    readers = {entry(str(n)).replica: digest(str(n), size=1_200) for n in range(200)}
    body = m.EpochBody(epoch_id("2"), (), readers)
    assert len(m.epoch(SIGN, PLACE, body)) < limits.membership_record_bytes_max


def test_what_later_versions_append_is_kept() -> None:
    data = ADD
    for path in ((5,), (5, 0), (5, 1, 0)):
        inner: Any = items_of(data)
        for step in path:
            inner = inner[step]
        data = changed(data, path, [*inner, "later", None, 3])
    record = decode_record(data)
    assert record.body == decode_record(ADD).body
    assert record.data == data and record.hash != decode_record(ADD).hash


def test_of_two_deliveries_to_one_reader_the_first_holds() -> None:
    twice = changed(REMOVE, (5, 3, 2), [[replica("a"), b"one"], [replica("a"), b"two"]])
    body = decode_record(twice).body
    assert isinstance(body, Remove) and body.epoch.sealed == {replica("a"): b"one"}


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=300))
def test_any_bytes_are_a_record_or_a_peers_error(data: bytes) -> None:
    _total(data)


@settings(max_examples=300, deadline=None)
@given(st.sampled_from([FOUND, ADD, REMOVE, SHARE, ATTEST, ADDRESS, CLOSE]), st.data())
def test_damaged_records_are_records_or_a_peers_error(good: bytes, draw: st.DataObject) -> None:
    """L6: nothing else is raised for bytes that were cut, changed or stretched anywhere."""
    start = draw.draw(st.integers(0, len(good)))
    end = draw.draw(st.integers(start, min(len(good), start + 8)))
    _total(good[:start] + draw.draw(st.binary(max_size=8)) + good[end:])


def _total(data: bytes) -> None:
    try:
        record = decode_record(data)
    except CrdtSyncError as error:
        assert isinstance(error, PeerError)
    else:
        assert record.data == data
