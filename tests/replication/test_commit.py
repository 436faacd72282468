"""Commits in bytes: round trips, what hash and signature cover, room for later versions, and every refusal."""

from __future__ import annotations

import hashlib
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crdtsync import limits
from crdtsync.errors import BadSignature, CrdtSyncError, Malformed, PeerError, TooLarge
from crdtsync.ids import CommitHash, CommitId, DataKeyId, EpochId, Head, LogId, MemberHash, PracticeId, RecordId
from crdtsync.replication.codec import pack, unpack
from crdtsync.replication.commit import (
    NO_HASH,
    Change,
    Commit,
    Header,
    Part,
    PartRef,
    commit_from_items,
    commit_items,
    decode_commit,
    decode_header,
    decode_part,
    encode_commit,
    encode_header,
    encode_part,
    header_hash,
    log_head,
    part_hash,
    signed_bytes,
)

LOG, OTHER = LogId(b"L" * 24), LogId(b"M" * 24)
SEALED = b"sealed bytes"


def ref(sealed: bytes = SEALED, introduces: bool = False) -> PartRef:
    return PartRef(DataKeyId(b"k" * 16), EpochId(b"e" * 16), part_hash(sealed), len(sealed), introduces)


def header(**changes: Any) -> Header:
    values: dict[str, Any] = {
        "practice": PracticeId(b"p" * 16),
        "log": LOG,
        "sequence": 2,
        "previous": CommitHash(b"h" * 32),
        "stamp": 3 << 16,
        "dependencies": ((OTHER, Head(7, CommitHash(b"d" * 32))),),
        "members": (MemberHash(b"m" * 32),),
        "parts": (ref(), ref(b"", True)),
        "continues": (OTHER, Head(9, CommitHash(b"c" * 32))),
        "fragment": (0, 2),
    }
    return Header(**values | changes)


def commit(head: Header | None = None, parts: tuple[bytes, ...] = (SEALED, b"")) -> Commit:
    data = encode_header(head or header())
    return Commit(head or header(), data, parts, b"s" * 64, header_hash(data))


hashes = st.binary(min_size=32, max_size=32)
logs = st.binary(min_size=24, max_size=24).map(LogId)
log_heads = st.tuples(logs, st.builds(Head, st.integers(0, 2**53), hashes.map(CommitHash)))
key_ids = st.binary(min_size=16, max_size=16)
refs = st.builds(
    PartRef,
    key=key_ids.map(DataKeyId),
    epoch=key_ids.map(EpochId),
    hash=hashes,
    size=st.integers(0, limits.part_bytes_max),
    introduces=st.booleans(),
)
headers = st.builds(
    Header,
    practice=key_ids.map(PracticeId),
    log=logs,
    sequence=st.integers(1, 2**53),
    previous=hashes.map(CommitHash),
    stamp=st.integers(0, 2**63 - 1),
    dependencies=st.lists(log_heads, max_size=4).map(tuple),
    members=st.lists(hashes.map(MemberHash), max_size=4).map(tuple),
    parts=st.lists(refs, max_size=4).map(tuple),
    continues=st.none() | log_heads,
    fragment=st.none() | st.integers(2, 2**31).flatmap(lambda n: st.tuples(st.integers(0, n - 1), st.just(n))),
)
texts = st.text(max_size=20)
parts = st.builds(
    Part,
    author=texts,
    wall_ms=st.integers(-(2**53), 2**53),
    reason=texts,
    workstation=texts,
    purpose=texts,
    changes=st.lists(st.builds(Change, texts, texts.map(RecordId), st.binary(max_size=40)), max_size=4).map(tuple),
)


# --- round trips -----------------------------------------------------------------------------------------


@given(headers)
def test_a_header_comes_back_as_it_was_written(written: Header) -> None:
    assert decode_header(encode_header(written)) == written


@given(parts)
def test_a_part_comes_back_as_it_was_written(written: Part) -> None:
    assert decode_part(encode_part(written)) == written


@given(st.lists(st.binary(max_size=30), max_size=4), st.booleans())
def test_a_commit_comes_back_with_and_without_its_parts(sealed: list[bytes], stripped: bool) -> None:
    """A part that is erased, or not for this replica, is b"" there; chain and signature do not change."""
    head = header(parts=tuple(ref(part) for part in sealed))
    written = commit(head, tuple(b"" if stripped else part for part in sealed))
    assert decode_commit(encode_commit(written)) == written
    assert commit_from_items(commit_items(written)) == written
    assert written.hash == commit(head, tuple(sealed)).hash


def test_names_of_a_commit() -> None:
    written = commit()
    assert written.id == CommitId(LOG, 2) and written.head == Head(2, written.hash)
    assert abs(written.size - len(encode_commit(written))) < 32


def test_hash_and_signature_are_over_these_bytes() -> None:
    """Pinned: a change of these is a change of the format."""
    data = encode_header(header())
    assert header_hash(data) == hashlib.sha256(b"crdtsync/commit/1" + data).digest()
    assert signed_bytes(header_hash(data)) == b"crdtsync/commit-signature/1" + header_hash(data)
    assert part_hash(b"x") == hashlib.sha256(b"crdtsync/part/1" + b"x").digest()
    assert bytes(32) == NO_HASH


@given(headers, headers)
def test_different_headers_have_different_hashes(one: Header, other: Header) -> None:
    same = header_hash(encode_header(one)) == header_hash(encode_header(other))
    assert same == (one == other)


def test_the_bytes_are_kept_as_received() -> None:
    """Also those that are written in another way than this version would: they are what was hashed and signed."""
    longer = b"\xdc\x00\x0b" + encode_header(header())[1:]
    received = commit_from_items([longer, [SEALED, b""], b"s" * 64])
    assert received.header_bytes == longer and received.header == header()
    assert received.hash == header_hash(longer) != header_hash(encode_header(header()))
    assert decode_commit(encode_commit(received)) == received


def test_what_later_versions_append_is_kept() -> None:
    items = header_items()
    items[8][0].append("later")
    items += ["later", [1]]
    received = commit_from_items([pack(items), [SEALED, b""], b"s" * 64])
    assert received.header == header()
    assert unpack(received.header_bytes, bytes_max=10_000, what="test") == items
    part = unpack(encode_part(PART), bytes_max=10_000, what="test")
    part[5][0].append("later")
    assert decode_part(pack([*part, "later"])) == PART


# --- refusals --------------------------------------------------------------------------------------------


def header_items() -> list[Any]:
    return unpack(encode_header(header()), bytes_max=limits.header_bytes_max, what="test")


def changed(items: list[Any], path: tuple[int, ...], value: Any) -> bytes:
    inner = items
    for step in path[:-1]:
        inner = inner[step]
    inner[path[-1]] = value
    return pack(items)


BAD_HEADERS: dict[str, tuple[tuple[int, ...], Any, str]] = {
    "version": ((0,), 2, "commit header: format version 2 is not known here; update this program"),
    "version of another type": ((0,), b"x" * 999, "commit header: format version b'xxxxxxxxxxxxxxxxxx is not known"),
    "practice": ((1,), b"p" * 15, "commit practice: not 16 bytes"),
    "practice a text": ((1,), "p" * 16, "commit practice: not 16 bytes"),
    "log": ((2,), b"L" * 16, "commit log: not 24 bytes"),
    "sequence 0": ((3,), 0, "commit sequence: not a number from 1"),
    "sequence too large": ((3,), 2**53 + 1, "commit sequence: not a number"),
    "sequence a flag": ((3,), True, "commit sequence: not a number"),
    "previous": ((4,), b"", "commit chain: not 32 bytes"),
    "stamp below 0": ((5,), -1, "commit stamp: not a number from 0"),
    "stamp too large": ((5,), 2**63, "commit stamp: not a number"),
    "stamp a float": ((5,), 1.5, "commit stamp: not a number"),
    "dependencies": ((6,), None, "commit dependencies: not a list of at most 4096"),
    "too many dependencies": ((6,), [0] * 4_097, "commit dependencies: not a list of at most 4096"),
    "dependency": ((6, 0), [LOG, 1], "log head: not three items"),
    "dependency, longer": ((6, 0), [LOG, 1, NO_HASH, 1], "log head: not three items"),
    "dependency's log": ((6, 0, 0), b"x", "log head: not 24 bytes"),
    "dependency's sequence": ((6, 0, 1), -1, "log head: not a number from 0"),
    "dependency's hash": ((6, 0, 2), b"x", "log head: not 32 bytes"),
    "members": ((7,), b"", "commit membership: not a list"),
    "member": ((7, 0), b"m" * 33, "commit membership: not 32 bytes"),
    "parts": ((8,), 1, "commit parts: not a list of at most 4096"),
    "too many parts": ((8,), [0] * 4_097, "commit parts: not a list of at most 4096"),
    "part": ((8, 0), b"x", "commit part: not key, epoch, hash, size and flag"),
    "part too short": ((8, 0), [b"k" * 16, b"e" * 16, NO_HASH, 1], "commit part: not key, epoch, hash, size and flag"),
    "part's flag": ((8, 0, 4), 1, "commit part: not key, epoch, hash, size and flag"),
    "part's key": ((8, 0, 0), b"k", "part key: not 16 bytes"),
    "part's epoch": ((8, 0, 1), b"e", "part epoch: not 16 bytes"),
    "part's hash": ((8, 0, 2), b"h", "part hash: not 32 bytes"),
    "part's size": ((8, 0, 3), limits.part_bytes_max + 1, "part size: not a number from 0 to 1048576"),
    "part's size below 0": ((8, 0, 3), -1, "part size: not a number"),
    "continues": ((9,), [], "log head: not three items"),
    "fragment": ((10,), [1], "commit header: fragment"),
    "fragment, longer": ((10,), [0, 2, 3], "commit header: fragment"),
    "fragment no list": ((10,), 1, "commit header: fragment"),
    "fragment of one": ((10,), [0, 1], "commit fragments: not a number from 2"),
    "fragments without end": ((10,), [0, 2**31 + 1], "commit fragments: not a number"),
    "fragment behind the last": ((10,), [2, 2], "commit fragment: not a number from 0 to 1"),
}


@pytest.mark.parametrize(("path", "value", "reason"), BAD_HEADERS.values(), ids=BAD_HEADERS)
def test_each_bad_header_is_refused_with_its_reason(path: tuple[int, ...], value: Any, reason: str) -> None:
    with pytest.raises(Malformed) as raised:
        decode_header(changed(header_items(), path, value))
    assert str(raised.value).startswith(reason)


def test_a_short_or_long_header_is_refused() -> None:
    with pytest.raises(Malformed, match="commit header: too short"):
        decode_header(pack(header_items()[:10]))
    with pytest.raises(Malformed, match="commit header: not a well-formed message"):
        decode_header(encode_header(header())[:-1])
    with pytest.raises(TooLarge, match="commit header: 262145 bytes where at most 262144 are allowed"):
        decode_header(bytes(limits.header_bytes_max + 1))


def test_a_header_that_names_a_wide_frontier_fits() -> None:
    wide = tuple((LogId(n.to_bytes(24, "big")), Head(2**53, CommitHash(b"d" * 32))) for n in range(3_000))
    assert decode_header(encode_header(header(dependencies=wide))).dependencies == wide


def good_items() -> list[Any]:
    return commit_items(commit())


BAD_COMMITS: dict[str, tuple[Any, type[PeerError], str]] = {
    "no list": (b"", Malformed, "commit: not three items"),
    "two items": (good_items()[:2], Malformed, "commit: not three items"),
    "four items": ([*good_items(), 1], Malformed, "commit: not three items"),
    "header no bytes": ([header_items(), [SEALED, b""], b"s" * 64], Malformed, "commit: not three items"),
    "no parts": ([*good_items()[:1], None, b"s" * 64], Malformed, "commit parts: not a list"),
    "one part": ([good_items()[0], [SEALED], b"s" * 64], Malformed, "commit: other parts than its header names"),
    "three parts": ([good_items()[0], [SEALED, b"", b""], b"s" * 64], Malformed, "commit: other parts than its header"),
    "part no bytes": ([good_items()[0], [SEALED.decode(), b""], b"s" * 64], Malformed, "commit part: not bytes"),
    "part none": ([good_items()[0], [None, b""], b"s" * 64], Malformed, "commit part: not bytes"),
    "part changed": (
        [good_items()[0], [b"Sealed bytes", b""], b"s" * 64],
        BadSignature,
        "commit part: its bytes are not",
    ),
    "part cut": ([good_items()[0], [SEALED[:-1], b""], b"s" * 64], BadSignature, "commit part: its bytes are not"),
    "part exchanged": ([good_items()[0], [b"", SEALED], b"s" * 64], BadSignature, "commit part: its bytes are not"),
    "short signature": ([good_items()[0], [SEALED, b""], b"s" * 63], Malformed, "commit signature: not 64 bytes"),
    "signature a text": ([good_items()[0], [SEALED, b""], "s" * 64], Malformed, "commit signature: not 64 bytes"),
}


@pytest.mark.parametrize(("items", "error", "reason"), BAD_COMMITS.values(), ids=BAD_COMMITS)
def test_each_bad_commit_is_refused_with_its_reason(items: Any, error: type[PeerError], reason: str) -> None:
    with pytest.raises(error) as raised:
        commit_from_items(items)
    assert str(raised.value).startswith(reason)


def test_a_commit_beyond_its_limit_is_refused_unread() -> None:
    with pytest.raises(TooLarge, match="commit: 1572865 bytes where at most 1572864 are allowed"):
        decode_commit(bytes(limits.commit_bytes_max + 1))


@pytest.mark.parametrize("item", [None, b"", [], [LOG, True, NO_HASH], [LOG, 2**53 + 1, NO_HASH]])
def test_a_log_head_is_three_items_in_bounds(item: Any) -> None:
    with pytest.raises(Malformed, match="log head: not"):
        log_head(item)


PART = Part(
    "dr.weber", 1_700_000_000_000, "visit", "desk 1", "care", (Change("patient", RecordId("r" * 26), b"delta"),)
)
BAD_PARTS: dict[str, tuple[tuple[int, ...], Any, str]] = {
    "author": ((0,), "x" * 201, "author: not a text of at most 200"),
    "wall clock": ((1,), 2**53 + 1, "wall clock: not a number"),
    "wall clock a float": ((1,), 0.5, "wall clock: not a number"),
    "reason": ((2,), "x" * 2_001, "reason: not a text of at most 2000"),
    "workstation": ((3,), None, "workstation: not a text"),
    "purpose": ((4,), b"x", "purpose: not a text"),
    "changes": ((5,), None, "changes: not a list of at most 4096"),
    "too many changes": ((5,), [0] * 4_097, "changes: not a list of at most 4096"),
    "change": ((5, 0), ["patient", "r"], "change: not kind, record and delta"),
    "change no list": ((5, 0), b"x", "change: not kind, record and delta"),
    "delta a text": ((5, 0, 2), "delta", "change: not kind, record and delta"),
    "kind": ((5, 0, 0), "x" * 65, "change kind: not a text of at most 64"),
    "record": ((5, 0, 1), 1, "change record: not a text of at most 64"),
}


@pytest.mark.parametrize(("path", "value", "reason"), BAD_PARTS.values(), ids=BAD_PARTS)
def test_each_bad_part_is_refused_with_its_reason(path: tuple[int, ...], value: Any, reason: str) -> None:
    items = unpack(encode_part(PART), bytes_max=1_000, what="test")
    with pytest.raises(Malformed) as raised:
        decode_part(changed(items, path, value))
    assert str(raised.value).startswith(reason)


def test_a_short_part_is_refused() -> None:
    with pytest.raises(Malformed, match="commit part: too short"):
        decode_part(pack(["dr.weber", 1, "", "", ""]))


def test_refusals_say_nothing_of_the_content() -> None:
    items = unpack(encode_part(PART), bytes_max=1_000, what="test")
    with pytest.raises(Malformed) as raised:
        decode_part(changed(items, (2,), "canary" * 400))
    assert "canary" not in str(raised.value)


@settings(max_examples=300, deadline=None)
@given(st.sampled_from(["header", "commit", "part"]), st.data())
def test_damaged_bytes_are_accepted_or_a_peers_error(which: str, draw: st.DataObject) -> None:
    """L6: nothing else is raised for bytes that were cut, changed or stretched anywhere."""
    good, decode = {
        "header": (encode_header(header()), decode_header),
        "commit": (encode_commit(commit()), decode_commit),
        "part": (encode_part(PART), decode_part),
    }[which]
    start = draw.draw(st.integers(0, len(good)))
    end = draw.draw(st.integers(start, min(len(good), start + 8)))
    data = good[:start] + draw.draw(st.binary(max_size=8)) + good[end:]
    try:
        decode(data)
    except CrdtSyncError as error:
        assert isinstance(error, PeerError)


def test_every_flipped_bit_of_a_commit_changes_its_hash_or_is_refused_or_is_in_the_signature() -> None:
    good = encode_commit(commit())
    for position in range(len(good)):
        for bit in range(8):
            bad = bytearray(good)
            bad[position] ^= 1 << bit
            try:
                received = decode_commit(bytes(bad))
            except PeerError:
                continue
            assert received.hash != commit().hash or received.signature != b"s" * 64


def test_a_part_has_the_size_that_the_header_names() -> None:
    sealed = b"sealed"
    for size, refused in ((len(sealed), False), (len(sealed) + 1, True)):
        ref = PartRef(DataKeyId(b"k" * 16), EpochId(b"e" * 16), part_hash(sealed), size)
        header = encode_header(Header(PracticeId(b"p" * 16), LOG, 1, NO_HASH, 1, (), (), (ref,)))
        items = [header, [sealed], bytes(64)]
        if refused:
            with pytest.raises(BadSignature, match="not those that the header names"):
                commit_from_items(items)
        else:
            assert commit_from_items(items).parts == (sealed,)
