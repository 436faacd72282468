"""Which number comes next, and the list in which each has its invoice or the reason of its gap."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crdtsync.authority.pattern import parse
from crdtsync.authority.series import (
    ENDED,
    UNKNOWN_END,
    Gap,
    Given,
    Line,
    audit,
    count_key,
    next_number,
    place_of,
    series_id,
)

PATTERN = parse("R1", "R1-{year}-{n:03}")
FIRST = (1, 2026)


def invoice(place: tuple[int, int], n: int, by: str = "") -> Given:
    return Given(place, n, f"invoice{n}", "2026-03-02", "Jena", by)


def shown(lines: list[Line]) -> list[tuple[str | None, str | None]]:
    return [(line.number, line.given.invoice if line.given else line.reason) for line in lines]


def test_r1_and_its_lower_case_are_one_series() -> None:
    assert series_id("R1") == series_id(" r1") != series_id("R2")


def test_counts_go_on_begin_anew_with_a_year_and_with_a_term() -> None:
    assert next_number(FIRST, {}, 17) == 17
    assert next_number(FIRST, {FIRST: 17}, 17) == 18
    assert next_number((1, 2027), {FIRST: 17}, 17) == 1
    assert next_number((2, 2026), {FIRST: 17}, 17) == 1
    assert next_number((1, 2025), {FIRST: 17, (1, 2025): 3}, 17) == 4


@pytest.mark.parametrize("key", ["", "1", "1/", "/1", "a/1", "1/2/3", "-1/2", "1/²", "1/" + "9" * 40])
def test_what_is_no_count_is_passed_over(key: str) -> None:
    assert place_of(key) is None
    assert place_of(count_key(FIRST)) == FIRST


def test_every_number_stands_in_the_list_with_its_invoice_or_its_gap() -> None:
    given_numbers = [invoice(FIRST, 5), invoice(FIRST, 7, "R1-2026-008"), invoice(FIRST, 8), invoice((1, 2027), 1)]
    lines = audit(PATTERN, {FIRST: (5, 8), (1, 2027): (1, 1)}, given_numbers, [Gap(FIRST, 6, 6, "torn")])
    assert shown(lines) == [
        ("R1-2026-005", "invoice5"),
        ("R1-2026-006", "torn"),
        ("R1-2026-007", "invoice7"),
        ("R1-2026-008", "invoice8"),
        ("R1-2027-001", "invoice1"),
    ]
    assert not any(line.unexplained or line.unseen for line in lines)


def test_a_number_that_nobody_knows_of_is_seen() -> None:
    [_, lost] = audit(PATTERN, {FIRST: (1, 2)}, [invoice(FIRST, 1)], [])
    assert lost.unexplained and lost.number == "R1-2026-002"


def test_one_number_of_two_invoices_has_two_lines() -> None:
    twice = [invoice(FIRST, 1), invoice(FIRST, 1)._replace(invoice="other")]
    assert [line.given and line.given.invoice for line in audit(PATTERN, {FIRST: (1, 1)}, twice, [])] == [
        "invoice1",
        "other",
    ]


def test_a_term_that_was_taken_over_has_an_open_end_until_its_holder_has_heard() -> None:
    taken = Gap(FIRST, 2, None, UNKNOWN_END)
    lines = audit(PATTERN, {FIRST: (1, 1), (2, 2026): (1, 1)}, [invoice(FIRST, 1), invoice((2, 2026), 1)], [taken])
    assert shown(lines) == [("R1-2026-001", "invoice1"), (None, UNKNOWN_END), ("R1.2-2026-001", "invoice1")]
    assert (lines[1].n, lines[1].unseen, lines[0].unseen) == (2, True, False)
    heard = [taken, Gap((1, 2027), 2, 1, ENDED)]
    both = [invoice(FIRST, n) for n in (1, 2)] + [invoice((1, 2027), 1)]
    lines = audit(PATTERN, {FIRST: (1, 2), (1, 2027): (1, 1)}, both, heard)
    assert [(line.number, line.unseen) for line in lines] == [
        ("R1-2026-001", False), ("R1-2026-002", True), ("R1-2027-001", True),
    ]  # fmt: skip


@given(st.sets(st.integers(1, 30)), st.integers(5, 30), st.integers(1, 5))
def test_no_number_is_left_out(numbers: set[int], last: int, start: int) -> None:
    lines = audit(PATTERN, {FIRST: (start, last)}, [invoice(FIRST, n) for n in sorted(numbers)], [])
    expected = range(min([start, *numbers]), max([last, *numbers]) + 1)
    assert [line.n for line in lines] == list(expected)
    assert {line.n for line in lines if line.given} == numbers
    assert all(line.unexplained == (line.n not in numbers) for line in lines)
