"""Documents in hand: those of the batch that is being derived or written, and a bounded cache of open ones (L7).

A document that took part in something that failed is never used again: it is loaded anew, and the changes that stood
are applied once more. So nothing half-done is ever seen by what comes next.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from crdtsync import limits
from crdtsync.documents import Document
from crdtsync.errors import Poisoned, StorageFailure
from crdtsync.ids import LogId, RecordId, client_id
from crdtsync.storage.base import StoredDocument

ReadDocument = Callable[[str, RecordId], StoredDocument | None]
_READ_ONLY_CLIENT: Final = 1


class Unsound(StorageFailure):
    """A document of the view that does not load: it has to be derived anew from the log (L8)."""

    def __init__(self, kind: str, record: RecordId) -> None:
        super().__init__(
            f"the view's document of {kind} {record} does not load; run `rebuild` to derive the view from the log"
        )
        self.kind = kind
        self.record = record


class OpenRecord:
    """One record's document in memory, and what the batch at hand did to it.

    `fingerprint` is the one that the view sums up (b"" while the view lacks the record), `deltas` what was applied
    since the view's state, `dirty` whether the view must be written. `arrival`, `arrived_ms` are of the last change;
    `touches` are the arrivals of all commits of the batch with a change of it, held ones too.
    """

    __slots__ = (
        "arrival",
        "arrived_ms",
        "cached",
        "damaged",
        "deltas",
        "dirty",
        "document",
        "fingerprint",
        "kind",
        "record",
        "subject",
        "touches",
    )

    def __init__(self, kind: str, record: RecordId, subject: str, document: Document) -> None:
        self.kind = kind
        self.record = record
        self.subject = subject
        self.document = document
        self.fingerprint = b""
        self.damaged = ""
        self.deltas: list[bytes] = []
        self.dirty = False
        self.cached = False
        self.arrival = 0
        self.arrived_ms = 0
        self.touches: list[int] = []

    def prove(self, client: int) -> None:
        """Raise Poisoned unless the document can be read, kept and loaded again, and is then the same (L5)."""
        fingerprint = self.document.fingerprint(self.kind, self.record)
        if Document(client, self.document.state()).fingerprint(self.kind, self.record) != fingerprint:
            raise Poisoned("the document is another one once it was kept and loaded")


class Shelf:
    """Takes documents from the cache or the view, and puts them back. `log` is the own log, under which they write."""

    def __init__(self, read: ReadDocument, cached_max: int = limits.documents_cached_max) -> None:
        self._read = read
        self._cached_max = cached_max
        self._cache: dict[tuple[str, str], OpenRecord] = {}
        self.taken: dict[tuple[str, str], OpenRecord] = {}
        self.log: LogId | None = None

    def write_as(self, log: LogId | None) -> None:
        """From now on documents are opened to be written by `log`; those opened for another log are dropped."""
        self.clear()
        self.log = log

    def client(self, record: RecordId) -> int:
        """The client id under which the record's document is opened."""
        return _READ_ONLY_CLIENT if self.log is None else client_id(self.log, record)

    def clear(self) -> None:
        """Drop every document."""
        self._cache.clear()
        self.taken.clear()

    def take(self, kind: str, record: RecordId, subject: str) -> OpenRecord:
        """The record's document, new and empty if the view has none. It stays in hand until `settle` or `drop`."""
        place = (kind, record)
        found = self.taken.get(place)
        if found is None:
            found = self._cache.pop(place, None) or self._load(kind, record, subject)
            self.taken[place] = found
        return found

    def peek(self, kind: str, record: RecordId) -> OpenRecord | None:
        """The record's document as the view has it, put into the cache; None when there is no such record."""
        place = (kind, record)
        found = self._cache.pop(place, None) or self._load(kind, record, "")
        if not (found.fingerprint or found.damaged):
            return None
        self._keep(place, found)
        return found

    def reload(self, taken: OpenRecord, deltas: int) -> None:
        """Load the document anew with the first `deltas` changes of this batch: what came after them never happened."""
        del taken.deltas[deltas:]
        stored = self._read(taken.kind, taken.record)
        taken.document = self._open(taken.kind, taken.record, stored.state if stored else b"")
        for delta in taken.deltas:
            taken.document.apply(delta)

    def forget(self, taken: OpenRecord) -> None:
        """The record was not changed after all: it is not in hand any more, and not in the cache."""
        self.taken.pop((taken.kind, taken.record), None)

    def settle(self, keep: bool) -> None:
        """The view has what the batch did. `keep` tells to cache all of its documents, else only those that were."""
        for place, found in self.taken.items():
            if (keep or found.cached) and found.fingerprint:
                found.deltas = []
                found.touches = []
                found.dirty = False
                self._keep(place, found)
        self.taken = {}

    def drop(self) -> None:
        """The batch failed: none of its documents is used again."""
        self.taken = {}

    def dirty(self) -> list[OpenRecord]:
        """The records in hand that the view must write, in the order in which they were taken."""
        return [found for found in self.taken.values() if found.dirty]

    def _keep(self, place: tuple[str, str], found: OpenRecord) -> None:
        found.cached = True
        self._cache[place] = found
        if len(self._cache) > self._cached_max:
            del self._cache[next(iter(self._cache))]

    def _load(self, kind: str, record: RecordId, subject: str) -> OpenRecord:
        stored = self._read(kind, record)
        if stored is None:
            return OpenRecord(kind, record, subject or record, self._open(kind, record, b""))
        found = OpenRecord(kind, record, stored.subject, self._open(kind, record, stored.state))
        found.fingerprint = stored.fingerprint
        found.damaged = stored.damaged
        return found

    def _open(self, kind: str, record: RecordId, state: bytes) -> Document:
        try:
            return Document(self.client(record), state)
        except Poisoned:
            raise Unsound(kind, record) from None
