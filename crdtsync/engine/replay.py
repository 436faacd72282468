"""Deriving chosen records once more from the whole log: for verifying, and for keys that came late (L5, L8)."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Final

from crdtsync import limits
from crdtsync.engine.derive import Deriver
from crdtsync.engine.marks import Marks
from crdtsync.engine.parts import Parts
from crdtsync.engine.shelf import Shelf
from crdtsync.engine.view import View
from crdtsync.engine.watch import Watch
from crdtsync.errors import Malformed, SealBroken, TooLarge
from crdtsync.ids import DataKeyId, RecordId
from crdtsync.replication.commit import Change, PartRef
from crdtsync.replication.stored import KeyObject, StoredCommit
from crdtsync.storage.base import Store, StoredDocument

_BROKEN: Final = (SealBroken, Malformed, TooLarge)


def arrivals(store: Store, upto: int) -> Iterator[list[StoredCommit]]:
    """The log in batches, from its beginning up to arrival `upto`."""
    at = 0
    while at < upto:
        batch = store.arrivals(at, min(limits.batch_commits_max, upto - at), limits.in_flight_bytes_max)
        if not batch:
            return
        yield batch
        at = batch[-1].arrival


class Replay(Deriver):
    """Applies what touches `wanted` records, and nothing that waits according to `skip`."""

    def __init__(
        self,
        store: Store,
        parts: Parts,
        shelf: Shelf,
        marks: Marks,
        *,
        wanted: Callable[[str, RecordId], bool],
        skip: Mapping[DataKeyId, Collection[int]],
        alarm: Callable[[str], None],
        full: Callable[[], None],
        unreadable: Callable[[StoredCommit], None],
        watch: Watch,
    ) -> None:
        super().__init__(store, parts, shelf, marks, alarm=alarm, full=full, kinds_of=lambda record: (), watch=watch)
        self._wanted = wanted
        self._skip = skip
        self._unreadable = unreadable

    def _key(self, stored: StoredCommit, ref: PartRef) -> KeyObject | None:
        if stored.arrival in self._skip.get(ref.key, ()):
            return None
        key = self._parts.key(ref.key)
        if key is None or not self._parts.readable(key, ref):
            self._unreadable(stored)
            return None
        return key

    def _change(self, stored: StoredCommit, subject: str, change: Change) -> None:
        if self._wanted(change.kind, change.record):
            super()._change(stored, subject, change)


def replay_keys(
    store: Store,
    parts: Parts,
    marks: Marks,
    view: View,
    keys: Collection[DataKeyId],
    alarm: Callable[[str], None],
    watch: Watch,
) -> None:
    """Derive again, into the open transaction, all records that parts under `keys` touch.

    Earlier parts of these subjects came to be readable after later ones were derived; a document must take the changes
    of a log in their order, so it is built again from the beginning.
    """
    replay_records(store, parts, marks, view, _records_of(store, parts, keys, view.head.arrival), alarm, watch)


def replay_records(
    store: Store,
    parts: Parts,
    marks: Marks,
    view: View,
    records: Collection[tuple[str, RecordId]],
    alarm: Callable[[str], None],
    watch: Watch,
) -> None:
    """Derive these records again, by kind and id, into the open transaction, as if the view had never had them."""
    upto = view.head.arrival

    def from_nothing(kind: str, record: RecordId) -> StoredDocument | None:
        stored = store.document(kind, record)
        return replace(stored, state=b"") if stored else None

    shelf = Shelf(from_nothing)
    replay = Replay(
        store,
        parts,
        shelf,
        marks,
        wanted=lambda kind, record: (kind, record) in records,
        skip={key: set(waiting) for key, waiting in marks.waiting.items()},
        alarm=alarm,
        full=lambda: None,
        unreadable=lambda stored: None,
        watch=watch,
    )
    for batch in arrivals(store, upto):
        replay.run(batch)
    dirty = shelf.dirty()
    for found in dirty:
        found.arrival = upto
    view.write(dirty)


def _records_of(store: Store, parts: Parts, keys: Collection[DataKeyId], upto: int) -> set[tuple[str, RecordId]]:
    records: set[tuple[str, RecordId]] = set()
    for batch in arrivals(store, upto):
        for stored in batch:
            for index, ref in enumerate(stored.commit.header.parts):
                if ref.key in keys:
                    records.update(_changed(parts, stored, index, ref))
    return records


def _changed(parts: Parts, stored: StoredCommit, index: int, ref: PartRef) -> Sequence[tuple[str, RecordId]]:
    key, commit = parts.key(ref.key), stored.commit
    if key is None or not parts.readable(key, ref):
        return ()
    try:
        part = parts.open(commit.header.log, commit.header.sequence, index, ref, key, commit.parts[index])
    except _BROKEN:
        return ()
    return [(change.kind, change.record) for change in part.changes]
