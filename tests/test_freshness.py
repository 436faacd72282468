"""How fresh data are, from plain values: a bound that never says too much, and None where nobody said anything."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from crdtsync.freshness import Here, Missing, Seen, as_of_ms, missing_here, missing_there
from crdtsync.ids import Head, LogId
from crdtsync.replication.frontier import Frontier
from tests.replication.people import head, log, replica

B, OLD_B, C = log("b", 2), log("b", 1), log("c")
NOW = 1_000_000


def frontier(**heads: int) -> Frontier:
    logs = {"b": B, "old": OLD_B, "c": C}
    return Frontier({logs[name]: head(sequence) for name, sequence in heads.items()})


def here(ends: dict[LogId, Head] | None = None, **heads: int) -> Here:
    return Here(frontier(**heads), ends or {}, NOW)


def seen(
    told: int | None = None, written: tuple[int, ...] = (), announced: tuple[int, int] = (0, 0), **has: int
) -> Seen:
    return Seen(replica("b"), frontier(**has), told, written, announced)


def test_of_a_site_that_was_never_heard_of_nothing_is_known() -> None:
    never = seen()
    assert as_of_ms(never, here(c=4)) is None
    assert missing_here(never, here(c=4)) == Missing(None, None) and missing_there(never, here(c=4)) is None


def test_all_that_it_told_is_here_as_of_when_it_was_last_heard() -> None:
    assert as_of_ms(seen(900, (500,), b=3), here(b=3)) == 900
    assert as_of_ms(seen(900, (), b=3), here(b=4)) == 900, "others brought more of it"
    assert as_of_ms(seen(900), here(c=4)) == 900, "it has written nothing"


def test_while_something_of_it_is_on_its_way_the_newest_commit_here_tells() -> None:
    assert as_of_ms(seen(900, (500,), b=4), here(b=3)) == 500
    assert as_of_ms(seen(900, (), b=4), here()) is None, "nothing of it is here"
    assert as_of_ms(seen(900, (500,), b=1, old=9), here(b=1, old=8)) == 500, "also under an earlier boot"


def test_what_it_has_of_others_does_not_count() -> None:
    assert as_of_ms(seen(900, (500,), b=3, c=70), here(b=3)) == 900


def test_over_others_the_newest_commit_tells() -> None:
    assert as_of_ms(seen(None, (500,), b=3), here(b=3)) == 500
    assert as_of_ms(seen(None, (500,)), here(b=3)) == 500, "also when nobody said what it has"


def test_of_several_copies_the_oldest_end_tells() -> None:
    assert as_of_ms(seen(None, (500, 300)), here(b=3, old=3)) == 300


def test_a_clock_that_is_ahead_makes_no_data_of_the_future() -> None:
    assert as_of_ms(seen(None, (NOW + 3_600_000,), b=3), here(b=3)) == NOW


def test_what_counts_nowhere_is_not_missing() -> None:
    forked = {B: head(3)}
    assert as_of_ms(seen(900, (), b=9), here(forked, b=3)) == 900
    assert missing_here(seen(900, b=9), here(forked, b=3)) == Missing(0, 0)


def test_bytes_are_known_when_they_were_announced_and_nothing_else_came() -> None:
    behind = here(b=2)
    assert missing_here(seen(900, announced=(5, 700), b=7), behind) == Missing(5, 700)
    assert missing_here(seen(900, announced=(4, 700), b=7), behind) == Missing(5, None), "of other commits"
    assert missing_here(seen(900, b=7), behind) == Missing(5, None)
    assert missing_here(seen(900, announced=(5, 700), b=2), behind) == Missing(0, 0)
    assert missing_here(seen(None, c=3), here()) == Missing(3, None), "as others told"


def test_what_it_lacks_begins_behind_what_it_has() -> None:
    assert missing_there(seen(900, b=3), here(b=3, c=2, old=1)) == {C: 1, OLD_B: 1}
    assert missing_there(seen(900, b=3, c=1), here(b=2, c=2)) == {C: 2}
    assert missing_there(seen(900, b=3), here(b=3)) == {}


HEADS = st.fixed_dictionaries({}, optional={"b": st.integers(0, 3), "old": st.integers(0, 3), "c": st.integers(0, 3)})


@given(HEADS, HEADS, st.none() | st.integers(0, 2 * NOW), st.lists(st.integers(0, 2 * NOW), max_size=2))
def test_more_here_never_makes_data_older_nor_more_missing(
    has: dict[str, int], derived: dict[str, int], told: int | None, written: list[int]
) -> None:
    known = seen(told, tuple(written), (0, 0), **has)
    less, more = here(None, **derived), here(None, **{name: max(at, derived.get(name, 0)) for name, at in has.items()})
    before, after = as_of_ms(known, less), as_of_ms(known, more)
    assert before is None or (after is not None and before <= after <= NOW)
    lacking, left = missing_here(known, less), missing_here(known, more)
    assert left.commits in (0, None) and (left.commits is None) == (lacking.commits is None)
    assert lacking.commits is None or lacking.commits >= 0
    there = missing_there(known, less)
    assert there is None or all(sequence >= 1 for sequence in there.values())
