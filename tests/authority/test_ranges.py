"""The rules of ranges: no number twice, whatever happens in whatever order; the same verdicts everywhere."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crdtsync.authority import ranges as rules
from crdtsync.authority.ranges import Block, Closing, Range, Release, Source
from tests.examples import examples

NAMES = ("A", "B", "C")


def a_range(first: int = 1, last: int = 100, **more: Any) -> Range:
    fields = {"id": f"r{first}", "site": "A", "replica": "A", **more}
    return Range(first=first, last=last, **fields)


def any_free(least: int, most: int) -> int | None:
    return least if least <= most else None


# --- one range --------------------------------------------------------------------------------------------------------


def test_the_floor_is_the_highest_that_anything_says() -> None:
    assert a_range(10, 19).floor == 9 and a_range(10, 19).used == 0
    assert a_range(10, 19, given=12).floor == 12
    assert a_range(10, 19, given=12, blocks=(Block("D", 13, 15),)).floor == 15
    assert a_range(10, 19, releases=(Release(1, "B", 17),)).floor == 17
    assert a_range(10, 19, given=40).floor == 19 == a_range(10, 19, releases=(Release(1, "B", 99),)).floor


def test_the_last_release_says_whose_it_is() -> None:
    each = a_range(releases=(Release(2, "C", 0), Release(1, "B", 0)))
    assert each.owner == "C" and each.owners == {"A", "B", "C"} and each.step == 3
    assert a_range().owner == "A" and a_range().step == 1
    twice = (Release(1, "B", 0), Release(1, "C", 0))
    assert a_range(releases=twice).owner == a_range(releases=twice[::-1]).owner == "C"


def test_a_closing_is_answered_by_a_release_that_names_it() -> None:
    closing = Closing("k1", "A")
    assert a_range(closings=(closing,)).closed
    assert a_range(closings=(closing,), releases=(Release(1, "A", 0),)).closed, "made without knowing of it"
    assert not a_range(closings=(closing,), releases=(Release(1, "A", 0, ("k1",)),)).closed
    assert a_range(closings=(closing, Closing("k2", "A")), releases=(Release(1, "A", 0, ("k1",)),)).closed
    assert not a_range(closings=(closing,), releases=(Release(1, "B", 0),)).closed, "another one has it now"


@pytest.mark.parametrize(
    ("each", "marker", "state"),
    [
        (a_range(), None, "open"),
        (a_range(given=100), None, "exhausted"),
        (a_range(), "", "closed"),
        (a_range(), "k", "closed"),
        (a_range(releases=(Release(1, "A", 0, ("k",)),)), "k", "open"),
        (a_range(closings=(Closing("k", "A"),)), None, "closed"),
        (a_range(ended=True), None, "ended"),
        (a_range(clear=False), None, "unclear"),
    ],
)
def test_states(each: Range, marker: str | None, state: str) -> None:
    assert rules.state_of(each, {}, marker) == state
    [source] = rules.sources([each], "A", marker=marker)
    assert source.state == state and (source.left > 0) == (state == "open")
    assert rules.sources([each], "B") == []


# --- several ----------------------------------------------------------------------------------------------------------


def test_of_overlapping_ranges_all_but_the_oldest_are_stopped() -> None:
    old, young, last = a_range(1, 50, born=3), a_range(40, 90, born=5), a_range(80, 99, born=9)
    assert rules.stopped([last, young, old]) == {"r40": "r1", "r80": "r40"}
    alike = a_range(1, 50, born=3, id="r2")
    assert rules.stopped([alike, old]) == {"r2": "r1"}
    assert rules.stopped([old, replace(young, clear=False)]) == {}
    assert rules.stopped([replace(old, ended=True), young]) == {"r40": "r1"}, "what it gave may not be known yet"


def test_what_is_in_the_way() -> None:
    both = [a_range(50, 60), a_range(10, 20)]
    found = rules.in_the_way(both, 20, 50)
    assert found is not None and found.id == "r10"
    assert rules.in_the_way(both, 21, 49) is None


def test_spare_ranges_come_last_and_each_number_once() -> None:
    held = rules.sources([a_range(1, 1, spare=True), a_range(9, 9), a_range(5, 6)], "A")
    numbers = []
    while (found := rules.take(held, any_free)) is not None:
        numbers.append(found[1])
    assert numbers == [5, 6, 9, 1]


def test_a_block_is_carved_behind_what_is_given_and_never_out_of_a_block() -> None:
    held = rules.sources([a_range(1, 10, given=4)], "A")
    block = rules.carve(held, 3)
    assert block == Source("r1", 5, 7, 4, False, True)
    found = rules.take(held, any_free)
    assert found is not None and found[1] == 8
    last = rules.carve(held, 99)
    assert last is not None and (last.first, last.last) == (9, 10)
    assert rules.carve(held, 1) is None and rules.carve([block], 1) is None


def test_what_one_remembers_counts_as_well() -> None:
    [source] = rules.sources([a_range(1, 10, given=4)], "A", noted={"r1": 7})
    assert source.floor == 7
    [source] = rules.sources([a_range(1, 10, given=4)], "A", noted={"r1": 99, "r5": 3})
    assert source.floor == 10 and source.state == "exhausted"


def test_a_block_of_a_stopped_range_is_stopped() -> None:
    old, young = a_range(1, 50, born=3), a_range(40, 90, born=5)
    [block] = rules.sources([old, young], "D", blocks=[Source("r40", 60, 69, 59, False, True)])
    assert block.state == "stopped"


@pytest.mark.parametrize(
    ("used", "spare", "level"),
    [(0, 0, ""), (79, 0, ""), (80, 0, "80"), (94, 0, "80"), (95, 0, "95"), (99, 5, "95"), (100, 5, "exhausted")],
)
def test_levels(used: int, spare: int, level: str) -> None:
    held = rules.sources([a_range(1, 100, given=used), a_range(201, 205, given=200 + spare, spare=True)], "A")
    if spare == 0 and used:
        assert rules.usage(held).level == level
    plain = rules.sources([a_range(1, 100, given=used)], "A")
    assert rules.usage(plain).level == ("exhausted" if used == 100 else level)


def test_the_spare_is_a_level_of_its_own() -> None:
    spare = a_range(201, 205, spare=True)
    assert rules.usage(rules.sources([a_range(1, 10, given=10), spare], "A")).level == "spare"
    assert rules.usage(rules.sources([a_range(1, 10), replace(spare, given=201)], "A")).level == "spare"
    assert rules.usage([]).level == ""


# --- any order of things ----------------------------------------------------------------------------------------------


@dataclass
class Site:
    """A site with what it knows: ranges, and numbers that patients have."""

    name: str
    known: dict[str, Range] = field(default_factory=dict)
    numbers: set[int] = field(default_factory=set)
    noted: dict[str, int] = field(default_factory=dict)
    marker: str | None = None

    def free(self, least: int, most: int) -> int | None:
        return next((n for n in range(least, most + 1) if n not in self.numbers), None)

    def sources(self) -> list[Source]:
        return rules.sources(list(self.known.values()), self.name, noted=self.noted, marker=self.marker)

    def hear(self, other: Site) -> None:
        self.numbers |= other.numbers
        for each in other.known.values():
            mine = self.known.get(each.id, each)
            self.known[each.id] = replace(
                mine,
                given=max(mine.given, each.given),
                blocks=tuple(dict.fromkeys((*mine.blocks, *each.blocks))),
                closings=tuple(dict.fromkeys((*mine.closings, *each.closings))),
                releases=tuple(dict.fromkeys((*mine.releases, *each.releases))),
                ended=mine.ended or each.ended,
            )


@dataclass
class Practice:
    """Sites that set, give, hand out, lose and release, by turns."""

    sites: dict[str, Site] = field(default_factory=lambda: {name: Site(name) for name in NAMES})
    given: dict[int, list[str]] = field(default_factory=dict)
    """Per number the ranges that it was given out of."""
    blocks: list[tuple[str, int, int]] = field(default_factory=list)
    clock: int = 0

    def set(self, at: str, owner: str, first: int, size: int) -> None:
        self.clock += 1
        site, last = self.sites[at], first + size
        if rules.in_the_way(site.known.values(), first, last) is None:
            name = f"{self.clock}@{at}"
            site.known[name] = Range(name, owner, owner, first, last, size % 3 == 0, self.clock)

    def give(self, at: str) -> None:
        site = self.sites[at]
        found = rules.take(site.sources(), site.free)
        if found is not None:
            source, number = found
            self.given.setdefault(number, []).append(source.range)
            self._gave(site, source.range, number)
            site.numbers.add(number)

    def carve(self, at: str, size: int) -> None:
        site = self.sites[at]
        block = rules.carve(site.sources(), size)
        if block is not None:
            self.blocks.append((block.range, block.first, block.last))
            for number in range(block.first, block.last + 1):
                if number not in site.numbers:  # the workstation passes over what it knows
                    self.given.setdefault(number, []).append(block.range)
            self._gave(site, block.range, block.last)
            each = site.known[block.range]
            site.known[each.id] = replace(each, blocks=(*each.blocks, Block("D", block.first, block.last)))

    def _gave(self, site: Site, name: str, number: int) -> None:
        site.known[name] = replace(site.known[name], given=max(site.known[name].given, number))
        site.noted[name] = number

    def hear(self, at: str, other: str) -> None:
        self.sites[at].hear(self.sites[other])

    def lose(self, at: str) -> None:
        """A site is made from what others know; all have met when somebody releases the rest."""
        self.clock += 1
        others = [site for name, site in self.sites.items() if name != at]
        for site in (*others, *others):
            for other in others:
                site.hear(other)
        anew = Site(at, marker=f"loss {self.clock}")
        anew.hear(others[0])
        self.sites[at] = anew
        assert rules.take(anew.sources(), anew.free) is None, "a number out of a closed range"
        everywhere = {number for site in self.sites.values() for number in site.numbers}
        lost = {number for number in self.given if number not in everywhere and self._not_handed(number)}
        for number in lost:
            del self.given[number]  # nobody knows of it: whoever releases answers for that
        for each in list(anew.known.values()):
            if each.owner == at:
                highest = max([each.floor, *(n for n in anew.numbers if each.first <= n <= each.last)])
                release = Release(each.step, at, highest, (f"loss {self.clock}",))
                anew.known[each.id] = replace(each, releases=(*each.releases, release))

    def _not_handed(self, number: int) -> bool:
        known = [each for site in self.sites.values() for each in site.known.values()]
        return not any(b.first <= number <= b.last for each in known for b in each.blocks)


_NAME = st.sampled_from(NAMES)
_ACT = st.one_of(
    st.tuples(st.just("give"), _NAME),
    st.tuples(st.just("give"), _NAME),
    st.tuples(st.just("set"), _NAME, _NAME, st.integers(1, 60), st.integers(0, 9)),
    st.tuples(st.just("carve"), _NAME, st.integers(1, 4)),
    st.tuples(st.just("hear"), _NAME, _NAME),
    st.tuples(st.just("lose"), _NAME),
)


@given(st.lists(_ACT, max_size=60))
@examples(300)
def test_no_number_twice_but_out_of_ranges_that_were_set_unseen(acts: Sequence[tuple[Any, ...]]) -> None:
    practice = Practice()
    for name, *arguments in acts:
        getattr(practice, name)(*arguments)
    for _ in NAMES:
        for at in NAMES:
            for other in NAMES:
                practice.hear(at, other)
    known = [list(site.known.values()) for site in practice.sites.values()]
    verdicts = [rules.stopped(each) for each in known]
    assert verdicts[0] == verdicts[1] == verdicts[2]
    by_id = {each.id: each for each in known[0]}
    for number, sources in practice.given.items():
        one = sources[0]
        for other in sources[1:]:
            assert one != other, f"{number} was given twice out of one range"
            apart = by_id.get(one), by_id.get(other)
            if None not in apart:  # else one of the two was lost with the site that had set it
                assert {one, other} & verdicts[0].keys(), f"{number} was given out of two ranges"
    for younger, older in verdicts[0].items():
        assert (by_id[older].born, older) < (by_id[younger].born, younger)
        owner = practice.sites[by_id[younger].owner]
        assert next(s for s in owner.sources() if s.range == younger).left == 0


@given(st.lists(st.tuples(st.integers(1, 40), st.integers(0, 15), st.integers(0, 5)), max_size=12))
@examples(200)
def test_overlaps_are_found_as_by_comparing_all_pairs(spans: Sequence[tuple[int, int, int]]) -> None:
    known = [a_range(first, first + size, id=f"r{n}", born=born) for n, (first, size, born) in enumerate(spans)]
    found = {frozenset((one.id, other.id)) for one, other in rules.overlapping(known)}
    wanted = {
        frozenset((one.id, other.id))
        for one in known
        for other in known
        if one.id < other.id and one.first <= other.last and other.first <= one.last
    }
    assert found == wanted and len(list(rules.overlapping(known))) == len(wanted)
    assert rules.stopped(known) == rules.stopped(known[::-1])
