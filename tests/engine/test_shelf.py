"""Documents in hand: bounded, and never used again after something failed with them (L7)."""

from __future__ import annotations

import pytest

from crdtsync.documents import Document, SetField
from crdtsync.engine.shelf import Shelf
from crdtsync.errors import StorageFailure
from crdtsync.ids import BootId, LogId, RecordId, ReplicaId, client_id, log_id
from crdtsync.storage.base import StoredDocument

from .sites import record_of

LOG = log_id(ReplicaId(b"r" * 16), BootId(b"1" * 8))


def delta_by(document: Document, value: str) -> bytes:
    return document.write(tag="aaaaaaaa", sequence=1, stamp=1, edits=[SetField("title", value, {})])


def stored_as(number: int, state: bytes) -> StoredDocument:
    return StoredDocument("task", record_of(number), record_of(number), state, b"f" * 32)


def shelf_of(*states: bytes, cached_max: int = 2) -> tuple[Shelf, list[str]]:
    """A shelf over documents 0, 1, …, and the list of those that were read."""
    kept = {record_of(number): stored_as(number, state) for number, state in enumerate(states)}
    reads: list[str] = []

    def read(kind: str, record: RecordId) -> StoredDocument | None:
        reads.append(record)
        return kept.get(record)

    shelf = Shelf(read, cached_max)
    shelf.write_as(LogId(LOG))
    return shelf, reads


def test_the_cache_keeps_what_was_used_last() -> None:
    shelf, reads = shelf_of(b"", b"", b"")
    for number in (0, 1, 0, 2, 0, 1):
        assert shelf.peek("task", record_of(number)) is not None
    assert reads == [record_of(number) for number in (0, 1, 2, 1)]
    assert shelf.peek("task", record_of(9)) is None


def test_documents_that_a_batch_only_passes_by_are_not_kept() -> None:
    shelf, reads = shelf_of(b"", b"")
    shelf.peek("task", record_of(0))
    for _ in range(2):
        shelf.take("task", record_of(0), "")
        shelf.take("task", record_of(1), "")
        shelf.settle(keep=False)
    assert reads == [record_of(0), record_of(1), record_of(1)]


def test_what_a_failed_batch_touched_is_loaded_anew() -> None:
    writer = Document(client_id(LOG, record_of(0)))
    shelf, reads = shelf_of(b"")
    taken = shelf.take("task", record_of(0), "")
    taken.document.apply(delta_by(writer, "never"))
    shelf.drop()
    assert shelf.take("task", record_of(0), "").document.content().slots == {}
    assert len(reads) == 2


def test_going_back_keeps_the_changes_that_stood() -> None:
    writer = Document(7)
    first = delta_by(writer, "first")
    second = delta_by(Document(8), "second")
    shelf, _ = shelf_of(b"")
    taken = shelf.take("task", record_of(0), "")
    for delta in (first, second):
        taken.document.apply(delta)
        taken.deltas.append(delta)
    shelf.reload(taken, 1)
    assert taken.deltas == [first]
    assert taken.document.content() == writer.content()


def test_a_new_record_that_came_to_nothing_is_not_kept() -> None:
    shelf, reads = shelf_of()
    shelf.take("task", record_of(0), "subject")
    shelf.settle(keep=True)
    assert shelf.peek("task", record_of(0)) is None
    assert len(reads) == 2


def test_a_state_that_does_not_load_names_the_way_out() -> None:
    shelf, _ = shelf_of(b"\xff" * 10)
    with pytest.raises(StorageFailure, match="rebuild"):
        shelf.take("task", record_of(0), "")
