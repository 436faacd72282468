"""Patterns: what they write, what is refused, and that no two series ever give one number."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crdtsync import limits
from crdtsync.authority.pattern import Pattern, may_coincide, parse
from crdtsync.errors import BadValue


def test_a_number_is_written_with_its_year_and_from_the_second_term_on_with_that() -> None:
    pattern = parse("R1", "R1-{year}-{n:05}")
    assert pattern.number(1, 2026, 7) == "R1-2026-00007"
    assert pattern.number(2, 2026, 1) == "R1.2-2026-00001"
    assert pattern.number(101, 2026, 123_456) == "R1.101-2026-123456"
    assert pattern.yearly and not parse("B", "{n}/B").yearly
    assert parse("B", "{n}/B").number(3, None, 12) == "12/B.3"
    assert parse("n", "A{n}-n").number(2, None, 5) == "A5-n.2"


@pytest.mark.parametrize(
    ("name", "pattern", "said"),
    [
        ("", "-{n}", "named by letters"),
        ("R 1", "R 1-{n}", "named by letters"),
        ("R.1", "R.1-{n}", "named by letters"),
        ("-R1", "-R1-{n}", "named by letters"),
        ("R" * 33, "R" * 33 + "-{n}", "named by letters"),
        ("R1", "RE-{n}", "must have the series' name R1"),
        ("n", "A-{n}", "must have the series' name n"),
        ("R1", "R1-{year}", "has {n}"),
        ("R1", "R1-{n}-{n}", "has {n}"),
        ("R1", "R1-{year}-{year}-{n}", "{year} at most once"),
        ("R1", "R1-{month}-{n}", "not {month}"),
        ("R1", "R1-{n:5}", "not {n:5}"),
        ("R1", "R1-{n:013}", "not {n:013}"),
        ("R1", "R1-{n", "no other braces"),
        ("R1", "R1-\n{n}", "printed characters"),
        ("R1", "R1{n}", "read alike"),
        ("R1", "R1{year}{n}", "read alike"),
        ("R1", "R1.{n}-{n}", "has {n}"),
        ("R1", "R1-" + "x" * limits.series_pattern_characters_max + "{n}", "at most"),
    ],
)
def test_a_pattern_that_will_not_do_is_refused_with_what_to_mend(name: str, pattern: str, said: str) -> None:
    with pytest.raises(BadValue, match=said.replace("{", r"\{").replace("}", r"\}").replace("(", r"\(")):
        parse(name, pattern)


@pytest.mark.parametrize(
    ("one", "other", "meet"),
    [
        (("R1", "R1-{n}"), ("R2", "R2-{n}"), False),
        (("R1", "R1-{n}"), ("r1", "r1-{n:05}"), True),
        (("R1", "R1-{year}-{n:05}"), ("R1-B", "R1-B-{year}-{n:05}"), False),
        (("R1", "R1-{year}-{n}"), ("R1-2026", "R1-2026-{n}"), True),
        (("R1", "R1-{n}"), ("R", "R-{n}"), False),
        (("1", "1-{n}"), ("1-2", "{n}-2"), True),
        (("R1", "R1-{n}"), ("X", "R1-{n}X"), False),
        (("2", "R.2-{n}"), ("R", "R-{n}"), True),
    ],
)
def test_series_that_could_give_one_number_are_told_apart_from_those_that_cannot(
    one: tuple[str, str], other: tuple[str, str], meet: bool
) -> None:
    try:
        first, second = parse(*one), parse(*other)
    except BadValue:
        assert one == ("1", "1-{n}")
        return
    assert may_coincide(first, second) is may_coincide(second, first) is meet


names = st.text("R1b2-", min_size=1, max_size=4)
literals = st.text("R1b2-./", max_size=2)


@st.composite
def patterns(draw: st.DrawFn) -> Pattern | None:
    name = draw(names)
    holes = ["{n}" if (width := draw(st.integers(1, 3))) == 1 else f"{{n:0{width}}}", name]
    if draw(st.booleans()):
        holes.append("{year}")
    text = draw(literals)
    for hole in draw(st.permutations(holes)):
        text += hole + draw(literals)
    try:
        return parse(name, text)
    except BadValue:
        return None


grants = st.tuples(
    st.one_of(st.just(1), st.integers(2, 130)),
    st.integers(2000, 2030),
    st.one_of(st.integers(1, 12), st.integers(1, 10**5)),
)


@settings(max_examples=100, deadline=None)
@given(patterns(), patterns(), st.lists(grants, max_size=20), st.lists(grants, max_size=20))
def test_accepted_series_never_give_one_number_twice(
    one: Pattern | None, other: Pattern | None, mine: list[tuple[int, int, int]], its: list[tuple[int, int, int]]
) -> None:
    if one is None or other is None:
        return
    if one.name.casefold() == other.name.casefold():
        other, its = one, mine + its
    elif may_coincide(one, other):
        return
    given_as: dict[str, tuple[str, int, int, int]] = {}
    for pattern, places in ((one, mine), (other, its)):
        for term, year, n in places:
            place = (pattern.name, term, year if pattern.yearly else 0, n)
            assert given_as.setdefault(pattern.number(term, year, n).lower(), place) == place


@settings(max_examples=200, deadline=None)
@given(patterns(), patterns(), grants, grants)
def test_what_two_patterns_both_write_is_found(
    one: Pattern | None, other: Pattern | None, mine: tuple[int, int, int], its: tuple[int, int, int]
) -> None:
    if one is not None and other is not None and one.number(*mine).lower() == other.number(*its).lower():
        assert may_coincide(one, other)
