"""Who has a duty: the same in whatever order terms come, and no two sites ever open one term unseen."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crdtsync.authority.terms import CLASSES, Tenure, current, founders, handed, lost, opened, rank

SITES = ["jena", "weimar", "gera", "apolda"]
INDICES = {name: index for index, name in enumerate(SITES)}


def test_the_highest_step_of_the_highest_term_has_it() -> None:
    founded = Tenure(1, 0, "jena")
    assert current([]) is None
    assert current([founded]) == founded
    over = handed(founded, "weimar")
    assert current([over, founded]) == over == Tenure(1, 1, "weimar")
    assert current([over, Tenure(2, 0, "gera"), founded]) == Tenure(2, 0, "gera")


def test_what_was_founded_for_two_has_nobody_until_it_is_taken_over() -> None:
    terms = [Tenure(1, 0, "jena"), Tenure(1, 0, "weimar")]
    assert current(terms) is None and founders(terms) == ["jena", "weimar"]
    terms.append(opened(terms, "weimar", INDICES))
    assert current(terms) == terms[-1]


def test_the_numbers_of_terms_are_those_that_people_expect() -> None:
    terms = [opened([], "jena", INDICES)]
    assert terms == [Tenure(1, 0, "jena")]
    assert opened(terms, "weimar", INDICES).term == 2 and opened(terms, "gera", INDICES).term == 3
    terms.append(opened(terms, "weimar", INDICES))
    assert opened(terms, "jena", INDICES).term == CLASSES + 1 and opened(terms, "gera", INDICES).term == 3
    assert opened(terms, "weimar", INDICES, anew=True).term == CLASSES // 2 + 2


def test_ranks_begin_with_whom_it_was_founded_for() -> None:
    terms = [Tenure(1, 0, "gera")]
    assert [rank(name, INDICES, terms) for name in ("gera", "jena", "weimar", "apolda")] == [0, 1, 2, 3]
    with pytest.raises(KeyError):
        rank("nobody", INDICES, terms)


def test_a_site_that_was_put_off_knows_which_terms_it_has_lost() -> None:
    terms = [Tenure(1, 0, "jena"), Tenure(1, 1, "weimar"), Tenure(3, 0, "gera"), Tenure(101, 0, "jena")]
    assert lost(terms, "jena") == []
    assert lost(terms, "weimar") == [Tenure(1, 1, "weimar")]
    assert lost(terms, "gera") == [Tenure(3, 0, "gera")]


tenures = st.builds(Tenure, st.integers(1, 5), st.integers(0, 3), st.sampled_from(SITES))


@given(st.lists(tenures, max_size=8), st.randoms(use_true_random=False))
def test_order_does_not_matter(terms: list[Tenure], chance: object) -> None:
    mixed = [*terms, *terms]
    chance.shuffle(mixed)  # type: ignore[attr-defined]
    assert current(mixed) == current(terms)
    assert founders(mixed) == founders(terms)
    for site in SITES:
        assert lost(mixed, site) == lost(terms, site)
        assert opened(mixed, site, INDICES) == opened(terms, site, INDICES)


@settings(max_examples=200, deadline=None)
@given(st.data())
def test_sites_that_know_different_parts_never_open_one_term_for_two(data: st.DataObject) -> None:
    """Any history: takers that know only some of the terms open more of them, for themselves and for others."""
    sites = [f"site{number}" for number in range(data.draw(st.integers(2, 8)))]
    indices = dict(zip(sites, data.draw(st.permutations(range(len(sites)))), strict=True))
    founded = opened([], data.draw(st.sampled_from(sites)), indices)
    every = [founded]
    for _ in range(data.draw(st.integers(1, 12))):
        known = [founded, *(each for each in every[1:] if data.draw(st.booleans()))]
        site = data.draw(st.sampled_from(sites))
        made = opened(known, site, indices, anew=data.draw(st.booleans()))
        assert made.term > max(each.term for each in known)
        every.append(made)
    for one, other in itertools.combinations(every, 2):
        assert one.term != other.term or one.holder == other.holder
    assert current(every) is not None
