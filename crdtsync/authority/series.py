"""Series of numbers: which number comes next, and the list of all that were given, with the reason of every gap."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Final, NamedTuple

from crdtsync.authority.pattern import Pattern
from crdtsync.ids import RecordId, record_id_from

Place = tuple[int, int]
"""A term, and a year (0 where the pattern names none): within it numbers are counted."""
UNKNOWN_END: Final = "given by the earlier holder and not known here"
UNKNOWN_AFTER_RESTORE: Final = "given before this site lost a part of its log, and not known here"
ENDED: Final = "its holder has heard that the series is elsewhere, and gave no more"


def series_id(name: str) -> RecordId:
    """The record id of a series: the same at every site, and the same for R1 and r1."""
    return record_id_from("series", name.strip().casefold())


def count_key(place: Place) -> str:
    """Under which a series keeps how far it has counted."""
    return f"{place[0]}/{place[1]}"


def place_of(key: str) -> Place | None:
    """The inverse of `count_key`; None for what is none."""
    term, _, year = key.partition("/")
    if not (term.isascii() and term.isdigit() and year.isascii() and year.isdigit() and len(key) < 30):
        return None
    return int(term), int(year)


def first_of(place: Place, counts: Mapping[Place, int], start: int) -> int:
    """What a count begins with: the first one of the first term with `start`, every later one with 1."""
    term, year = place
    earlier = any(other_term == 1 and other_year < year for other_term, other_year in counts)
    return start if term == 1 and not earlier else 1


def next_number(place: Place, counts: Mapping[Place, int], start: int) -> int:
    """The count that is next to be given at a place."""
    last = counts.get(place)
    return first_of(place, counts, start) if last is None else last + 1


class Given(NamedTuple):
    """A number that an invoice has. `at` is ISO 8601; `holder` and `cancelled_by` may be empty."""

    place: Place
    n: int
    invoice: str
    at: str
    holder: str
    cancelled_by: str


class Gap(NamedTuple):
    """What the series says of numbers without an invoice: from `first` to `last` of a place. Without `last`: from there
    on, unknown how many. With a `last` before `first`: nothing was given behind it."""

    place: Place
    first: int
    last: int | None
    reason: str


class Line(NamedTuple):
    """One line of the list: a number with its invoice, or the reason of its gap (empty: nobody knows it).

    `number` is None on the line of an open end: `n` and further ones may have been given. `unseen` marks what was given
    by a holder who did not know yet that the series was elsewhere.
    """

    number: str | None
    place: Place
    n: int
    given: Given | None
    reason: str
    unseen: bool

    @property
    def unexplained(self) -> bool:
        """Whether a number has neither an invoice nor a reason."""
        return self.given is None and not self.reason


def audit(
    pattern: Pattern, counts: Mapping[Place, tuple[int, int]], given: Iterable[Given], gaps: Sequence[Gap]
) -> list[Line]:
    """Every number that was ever given, in order of term, year and count; two lines where two invoices have one.

    `counts` has the first and the last number of each place.
    """
    at: dict[Place, dict[int, list[Given]]] = {}
    for each in given:
        at.setdefault(each.place, {}).setdefault(each.n, []).append(each)
    reached = {place: last for place, (_, last) in counts.items()}
    for place, numbers in at.items():
        reached[place] = max(reached.get(place, 0), *numbers)
    named: dict[Place, list[int]] = {place: [first] for place, (first, _) in counts.items()}
    for gap in gaps:
        if gap.last is not None and gap.last >= gap.first:
            reached[gap.place] = max(reached.get(gap.place, 0), gap.last)
            named.setdefault(gap.place, []).append(gap.first)
    lines: list[Line] = []
    terms = {term for term, _ in reached} | {gap.place[0] for gap in gaps}
    for term in sorted(terms):
        for place in sorted(place for place in reached if place[0] == term):
            least = min([*named.get(place, ()), *at.get(place, {})])
            for n in range(least, reached[place] + 1):
                lines += _lines(pattern, place, n, at.get(place, {}).get(n, ()), gaps)
        lines += _open_ends(term, reached, gaps)
    return lines


def _lines(pattern: Pattern, place: Place, n: int, given: Sequence[Given], gaps: Sequence[Gap]) -> Iterator[Line]:
    number = pattern.number(place[0], place[1] or None, n)
    unseen = any(gap.last is None and gap.place[0] == place[0] and (place[1], n) >= _begin(gap) for gap in gaps)
    if not given:
        yield Line(number, place, n, None, _reason(place, n, gaps), unseen)
    for each in given:
        yield Line(number, place, n, each, "", unseen)


def _begin(gap: Gap) -> tuple[int, int]:
    return gap.place[1], gap.first


def _reason(place: Place, n: int, gaps: Sequence[Gap]) -> str:
    """What is said of a number: by name, or else by an open end that it lies behind."""
    named = [gap.reason for gap in gaps if gap.place == place and gap.last is not None and gap.first <= n <= gap.last]
    behind = [gap.reason for gap in gaps if gap.last is None and gap.place[0] == place[0]]
    beyond = [gap for gap in gaps if gap.last is None and gap.place[0] == place[0] and (place[1], n) >= _begin(gap)]
    return "; ".join(dict.fromkeys(named)) or (behind[0] if beyond else "")


def _open_ends(term: int, reached: Mapping[Place, int], gaps: Sequence[Gap]) -> Iterator[Line]:
    """A term that was taken over has an open end until its holder has said that it heard of it."""
    if any(gap.place[0] == term and gap.last is not None and gap.last < gap.first for gap in gaps):
        return
    for gap in [gap for gap in gaps if gap.last is None and gap.place[0] == term][:1]:
        last = max((place[1], n) for place, n in [*reached.items(), (gap.place, gap.first - 1)] if place[0] == term)
        yield Line(None, (term, last[0]), last[1] + 1, None, gap.reason, True)
