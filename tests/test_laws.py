"""Laws of ids, cursors and stamps: what is written is read back, what is not is refused, and order follows cause."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crdtsync import ids, limits
from crdtsync.changes import Cursor
from crdtsync.clock import HybridClock, wall_ms
from crdtsync.errors import UsageError
from crdtsync.ids import CommitId, LogId

LOGS = st.binary(min_size=24, max_size=24).map(LogId)
SEQUENCES = st.integers(0, 2**53)
WORDS = "abcdefghijklmnopqrstuvwxyz234567"


@given(st.binary(max_size=40))
def test_base32_reads_back(data: bytes) -> None:
    assert ids.from_base32(ids.base32(data)) == data


@given(st.text(WORDS + "A018=- é", max_size=30))
def test_base32_takes_one_text_for_one_value_and_nothing_else(text: str) -> None:
    try:
        data = ids.from_base32(text)
    except ValueError:
        return
    assert ids.base32(data) == text


@given(LOGS, SEQUENCES)
def test_logs_and_commits_read_back(log: LogId, sequence: int) -> None:
    assert ids.log_from_text(ids.log_text(log)) == log
    commit = CommitId(log, sequence)
    assert ids.commit_from_text(ids.commit_text(commit)) == commit
    assert ids.log_id(ids.replica_of(log), ids.boot_of(log)) == log


@given(LOGS, SEQUENCES, st.integers(0, 60), st.text(WORDS + ".:-+_ 01²٣", min_size=1, max_size=2), st.booleans())
def test_a_changed_name_is_another_commit_or_none(log: LogId, sequence: int, at: int, by: str, longer: bool) -> None:
    text = ids.commit_text(CommitId(log, sequence))
    at %= len(text)
    changed = text[:at] + by + text[at + (0 if longer else 1) :]
    try:
        commit = ids.commit_from_text(changed)
    except ValueError:
        return
    assert ids.commit_text(commit) == changed


@given(st.lists(st.text(max_size=4), max_size=3), st.lists(st.text(max_size=4), max_size=3))
def test_record_ids_from_words_are_equal_exactly_for_equal_words(one: list[str], other: list[str]) -> None:
    first, second = ids.record_id_from(*one), ids.record_id_from(*other)
    assert (first == second) == (one == other)
    assert ids.is_record_id(first)


@given(LOGS, st.binary(min_size=16, max_size=16).map(ids.record_id))
def test_client_ids_are_exact_in_every_language(log: LogId, record: ids.RecordId) -> None:
    assert 0 < ids.client_id(log, record) < 2**53
    assert len(ids.log_tag(log)) == ids.TAG_CHARACTERS


# -- cursors ----------------------------------------------------------------------------------------------------------

KINDS = st.text("abcdefgh_", max_size=8)
RECORDS = st.text(max_size=26)


@given(st.builds(Cursor, st.integers(0, 10**18 - 1), KINDS, RECORDS))
def test_a_cursor_reads_back(cursor: Cursor) -> None:
    assert Cursor.parse(str(cursor)) == cursor


@given(st.text(max_size=12) | st.text("0123456789²٣.", max_size=12))
def test_any_text_is_a_cursor_or_refused(text: str) -> None:
    try:
        cursor = Cursor.parse(text)
    except UsageError:
        return
    assert cursor.arrival >= 0


@pytest.mark.parametrize("text", ["²", "¹.a.b", "9" * 5_000, "9" * 19, "", ".", "-1.a.b", "1_0.a.b", " 1.a.b"])
def test_what_no_change_brought_is_no_cursor(text: str) -> None:
    with pytest.raises(UsageError, match="a cursor is what an earlier change brought"):
        Cursor.parse(text)


# -- stamps -----------------------------------------------------------------------------------------------------------

WALLS = st.integers(0, 2**43)


@given(st.lists(WALLS, min_size=1, max_size=20))
def test_stamps_of_one_writer_only_grow(walls: list[int]) -> None:
    """Whatever its wall clock does; and they lie at it or ahead of it."""
    clock, last = HybridClock(), 0
    for wall in walls:
        stamp = clock.tick(wall)
        assert stamp > last and wall_ms(stamp) >= wall
        last = stamp


@given(st.lists(st.tuples(st.integers(0, 2), st.integers(0, 2), st.integers(-200_000, 200_000)), max_size=40))
def test_stamps_follow_cause(history: list[tuple[int, int, int]]) -> None:
    """Whoever has heard of an event stamps its own later, however clocks differ within what is adopted."""
    clocks = [HybridClock() for _ in range(3)]
    heard = [0, 0, 0]
    for step, (who, teller, skew) in enumerate(history):
        wall = 1_700_000_000_000 + step + skew
        if abs(skew) * 2 <= limits.clock_ahead_ms_max and who != teller:
            clocks[who].observe(heard[teller], wall)
            heard[who] = max(heard[who], heard[teller] if clocks[who].last >= heard[teller] else 0)
        stamp = clocks[who].tick(wall)
        assert stamp > heard[who]
        heard[who] = stamp


@given(WALLS, WALLS, st.integers(0, 2**16 - 1))
def test_nobody_is_dragged_along_by_a_clock_that_is_far_ahead(mine: int, theirs: int, counter: int) -> None:
    clock = HybridClock(mine << 16)
    adopted = clock.observe((theirs << 16) + counter, mine)
    assert adopted == (theirs <= mine + limits.clock_ahead_ms_max)
    assert wall_ms(clock.last) <= mine + limits.clock_ahead_ms_max


def total_order(values: list[Any], key: Callable[[Any], Any]) -> None:
    """Antisymmetric, transitive and total, asked of every two and three."""
    for one in values:
        for other in values:
            assert (key(one) < key(other)) + (key(one) == key(other)) + (key(other) < key(one)) == 1
            for third in values:
                if key(one) <= key(other) <= key(third):
                    assert key(one) <= key(third)


@given(st.lists(st.builds(CommitId, LOGS, SEQUENCES), max_size=6))
def test_commits_and_tags_stand_in_a_total_order(commits: list[CommitId]) -> None:
    total_order(commits, lambda commit: commit)
    total_order([commit.log for commit in commits], ids.log_tag)
