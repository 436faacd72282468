"""Pieces: what is in them comes back, and how many of them a backup writes again."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crdtsync import Malformed, limits
from crdtsync.backup.pieces import (
    PieceRef,
    commits_in,
    gaps,
    in_pieces,
    keys_in,
    keys_piece,
    log_piece,
    member_chain,
    members_in,
    members_piece,
    pack_refs,
    unpack_refs,
    weight,
    worth_keeping,
)
from crdtsync.replication.codec import pack
from crdtsync.replication.stored import StoredCommit
from crdtsync.testing.stores import SampleLog, sample_key


def ref(size: int, last: int = 1) -> PieceRef:
    return PieceRef(bytes(32), size, last, bytes(32))


def test_commits_keys_and_records_come_back() -> None:
    log = SampleLog("a")
    commits = [log.next(), log.next(parts=0), log.next(parts=3, missing=[1])]
    stored = [StoredCommit(7 + n, -3 + n, commit, n == 1) for n, commit in enumerate(commits)]
    assert commits_in(log_piece(stored), 6) == stored
    keys = [sample_key(n, f"s{n}") for n in range(5)]
    assert keys_in(keys_piece(keys)) == keys
    assert members_in(members_piece([b"one", b""])) == [b"one", b""]


@pytest.mark.parametrize("strange", [[1], [[1, True]], [[b"x", True, b"", [], b""]], ["x"], [[1, 1, b"", [], b""]]])
def test_what_was_not_written_is_refused(strange: list[object]) -> None:
    for read in (lambda data: commits_in(data, 0), keys_in, members_in):
        with pytest.raises(Malformed):
            read(pack(strange))
    with pytest.raises(Malformed):
        unpack_refs(b"short")
    with pytest.raises(Malformed):
        unpack_refs("text")


@given(st.lists(st.builds(PieceRef, st.binary(min_size=32, max_size=32), st.integers(0, 2**32 - 1),
                          st.integers(0, 2**53), st.binary(min_size=32, max_size=32)), max_size=5))  # fmt: skip
def test_references_come_back(refs: list[PieceRef]) -> None:
    assert list(unpack_refs(pack_refs(refs))) == refs


@given(st.lists(st.integers(1, 50_000), min_size=1, max_size=400))
def test_daily_backups_write_in_proportion_to_what_is_new(days: list[int]) -> None:
    """Day after day: the number of pieces stays near what must be, and no byte is written more than some times."""
    refs: list[PieceRef] = []
    written = 0
    for new in days:
        kept = worth_keeping(refs, new)
        size = new + sum(each.size for each in refs[kept:])
        written += size
        full, rest = divmod(size, limits.backup_piece_bytes_target)
        refs = refs[:kept] + [ref(limits.backup_piece_bytes_target)] * full + [ref(rest)] * (rest > 0)
    total = sum(days)
    assert sum(each.size for each in refs) == total
    assert len(refs) <= 2 * total / limits.backup_piece_bytes_target + 22
    assert written <= 21 * total, "each time a byte is written again, its piece has at least doubled"


def test_little_news_leaves_large_pieces_alone() -> None:
    assert worth_keeping([ref(500_000), ref(40_000)], 30_000) == 2
    assert worth_keeping([ref(500_000), ref(40_000)], 40_000) == 1
    assert worth_keeping([ref(500_000), ref(40_000), ref(30_000)], 30_000) == 1
    assert worth_keeping([ref(900_000)], 10**9) == 1, "a piece that is full enough"
    assert worth_keeping([], 5) == 0


@given(st.lists(st.tuples(st.integers(1, 9), st.booleans()), max_size=12), st.integers(0, 9))
def test_gaps_are_filled_and_nothing_twice(pieces: list[tuple[int, bool]], more: int) -> None:
    ends, refs, last = [], [], 0
    for count, usable in pieces:
        last += count
        ends.append(last)
        refs.append(ref(1, last) if usable else None)
    at = 0
    for step in gaps(refs, ends, last + more):
        if isinstance(step, PieceRef):
            assert at == ([0, *ends])[ends.index(step.last)]
            at = step.last
        else:
            assert step[0] == at < step[1]
            at = step[1]
    assert at == last + more


@given(st.lists(st.integers(1, 3 * 2**20), max_size=20))
def test_pieces_keep_to_their_size(sizes: list[int]) -> None:
    pieces = list(in_pieces((size, size, 1) for size in sizes))
    assert [size for piece in pieces for size in piece] == sizes
    for piece in pieces:
        assert len(piece) == 1 or sum(piece) <= limits.backup_piece_bytes_target


def test_many_small_items_make_several_pieces() -> None:
    pieces = list(in_pieces((n, 1, limits.backup_piece_items_max // 2) for n in range(5)))
    assert [len(piece) for piece in pieces] == [2, 2, 1]
    assert weight(StoredCommit(1, 1, SampleLog("a").next(parts=2), True)) == (SampleLog("a").next(parts=2).size, 10)


def test_the_chain_tells_order_and_content() -> None:
    start = bytes(32)
    one, other = member_chain(start, b"a"), member_chain(start, b"b")
    assert member_chain(one, b"b") != member_chain(other, b"a") != one
