"""The small numbers of sites: stable, and different for all who know of each other."""

from __future__ import annotations

from crdtsync import limits

from .people import Book, practice, replica


def indices(book: Book, *names: str) -> list[int | None]:
    found = book.state().indices
    return [found.get(replica(name)) for name in names]


def test_sites_are_numbered_in_the_order_in_which_they_were_let_in() -> None:
    book = practice("b", "c")
    assert indices(book, "a", "b", "c") == [0, 1, 2]
    book.adds("b", "d", role="archive")
    book.adds("c", "e")
    assert indices(book, "a", "b", "c", "d", "e") == [0, 1, 2, None, 3]
    book.removes("a", "b")
    book.adds("a", "f")
    assert indices(book, "a", "b", "c", "e", "f") == [0, 1, 2, 3, 4]


def test_two_that_were_let_in_unseen_of_each_other_are_told_apart_by_all_who_know_both() -> None:
    one = practice("b")
    other = one.copy()
    one.adds("a", "c")
    other.adds("b", "d")
    assert indices(one, "c") == indices(other, "d") == [2]
    one.meet(other)
    tied = indices(one, "c", "d")
    assert tied == indices(other, "c", "d") and sorted(map(int, filter(None, tied))) == [2, 2 + limits.site_indices_max]
    one.adds("a", "e")
    assert indices(one, "e") == [4]
