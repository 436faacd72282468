"""The session oracle sees each guarantee broken, and nothing where all hold."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from crdtsync.ids import CommitId, LogId
from crdtsync.testing.ledger import OracleFailed
from crdtsync.testing.sessions import Sessions

A, B, C = (LogId(name * 24) for name in (b"a", b"b", b"c"))


def test_what_goes_on_is_no_news() -> None:
    books = Sessions()
    books.read("anna", {})
    books.wrote("anna", CommitId(A, 1), {})
    books.read("anna", {A: 1}, record="patient 1", fingerprint=b"1")
    books.read("bert", {A: 1}, record="patient 1", fingerprint=b"1")
    books.wrote("bert", CommitId(B, 1), {A: 1})
    books.read("bert", {A: 1, B: 1}, record="patient 1", fingerprint=b"2")
    books.read("cora", {})
    books.read("cora", {A: 1, B: 1}, record="patient 1", fingerprint=b"2")
    books.read("anna", {A: 1, B: 1}, record="patient 1", fingerprint=b"2")


def own_write_gone(books: Sessions) -> None:
    books.wrote("anna", CommitId(A, 1), {})
    books.read("anna", {B: 7})


def view_goes_back(books: Sessions) -> None:
    books.read("anna", {B: 7, C: 2})
    books.read("anna", {B: 6, C: 3})


def write_without_what_was_read(books: Sessions) -> None:
    books.read("bert", {A: 3})
    books.wrote("bert", CommitId(B, 1), {A: 2})


def seen_without_what_its_writer_had_read(books: Sessions) -> None:
    books.read("bert", {A: 3})
    books.wrote("bert", CommitId(B, 1))
    books.read("cora", {A: 2, B: 1})


def seen_without_what_its_writer_had_written_in_another_boot(books: Sessions) -> None:
    books.wrote("bert", CommitId(B, 1))
    books.wrote("bert", CommitId(C, 1))
    books.read("cora", {C: 1})


def seen_late_in_a_run(books: Sessions) -> None:
    """The newest commit brings nothing new, an earlier one did."""
    books.wrote("bert", CommitId(B, 1))
    books.read("bert", {A: 3, B: 1})
    books.wrote("bert", CommitId(B, 2))
    books.wrote("bert", CommitId(B, 3))
    books.read("cora", {B: 1})
    books.read("cora", {A: 1, B: 3})


def record_goes_back(books: Sessions) -> None:
    for number, print_ in enumerate((b"1", b"2", b"1")):
        books.read("anna", {A: number}, record="patient 1", fingerprint=print_)


def record_is_gone(books: Sessions) -> None:
    for number, print_ in enumerate((b"", b"1", b"")):
        books.read("anna", {A: number}, record="patient 1", fingerprint=print_)


@pytest.mark.parametrize(
    ("story", "words"),
    [
        (own_write_gone, "reading own writes"),
        (view_goes_back, "monotonic reads"),
        (write_without_what_was_read, "writes follow reads"),
        (seen_without_what_its_writer_had_read, "writes follow reads"),
        (seen_without_what_its_writer_had_written_in_another_boot, "monotonic writes"),
        (seen_late_in_a_run, "which its writer had seen"),
        (record_goes_back, "go back"),
        (record_is_gone, "go back"),
    ],
)
def test_each_guarantee_is_seen_broken(story: Callable[[Sessions], None], words: str) -> None:
    with pytest.raises(OracleFailed, match=words):
        story(Sessions())


def test_a_session_that_ended_owes_nothing() -> None:
    books = Sessions()
    books.read("anna", {A: 9})
    books.end("anna")
    books.read("anna", {A: 1})
    books.end("nobody")
