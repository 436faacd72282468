"""Writing a batch of changes into the view: few statements per batch, nothing that a record does not need.

Measured: a record that is new costs no DELETE, words that did not change are not indexed again, and what `document`
just read is not looked up a second time.
"""

from __future__ import annotations

import hashlib
import sqlite3
from collections.abc import Callable, Sequence
from typing import Any, Final, NamedTuple

from crdtsync import limits
from crdtsync.errors import UnknownKind, UsageError
from crdtsync.ids import RecordId
from crdtsync.storage.base import ViewChange
from crdtsync.storage.checks import keep_detected
from crdtsync.storage.view_tables import KindTable

Key = tuple[str, RecordId]
_INSERT_DOCUMENT: Final = (
    "INSERT INTO _document (subject, fingerprint, damaged, words_hash, conflicts, arrival, state, number, kind, "
    "record) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
)
_UPDATE_DOCUMENT: Final = (
    "UPDATE _document SET subject = ?, fingerprint = ?, damaged = ?, words_hash = ?, conflicts = ?, arrival = ?, "
    "state = ? WHERE number = ?"
)
_UPDATE_DERIVED: Final = "UPDATE _document SET damaged = ?, words_hash = ?, conflicts = ? WHERE number = ?"
_INSERT_WORDS: Final = "INSERT INTO _search (rowid, words) VALUES (?, ?)"
_INSERT_CONFLICT: Final = (
    "INSERT OR REPLACE INTO _conflict (document, id, kind, record, severity, body, detected_ms) "
    "VALUES (?, ?, ?, ?, ?, ?, ?)"
)
_INSERT_TOUCH: Final = "INSERT OR IGNORE INTO _touch (document, arrival) VALUES (?, ?)"
_KNOWN_MAX: Final = 10 * limits.documents_cached_max


class Known(NamedTuple):
    """What must be known of a document to replace it: its number, the hash of its words, how many conflicts it has."""

    number: int
    words_hash: int
    conflicts: int


class ViewWriter:
    """The statements of one connection, and what it knows of documents without asking (bounded: L7)."""

    def __init__(self, db: sqlite3.Connection, tables: dict[str, KindTable]) -> None:
        self._db = db
        self._tables = tables
        self._known: dict[Key, Known | None] = {}
        self._next = 0

    def forget(self) -> None:
        """Ask the database again: a transaction was dropped, or the view emptied."""
        self._known.clear()
        self._next = 0

    def remember(self, key: Key, known: Known | None) -> None:
        """Take note of what was read of a document (None: it is not there)."""
        if len(self._known) >= _KNOWN_MAX:
            self._known.clear()
        self._known[key] = known

    def number_of(self, kind: str, record: RecordId) -> int | None:
        """The number of a document, None when it is not there."""
        known = self._known.get((kind, record)) or self._look_up((kind, record))
        return None if known is None else known.number

    def write(self, changes: Sequence[ViewChange], count: Callable[[str], None]) -> None:
        """Replace the named records. `count` is called with the kind of each record that is new."""
        batch = _Batch()
        for key, change in {(c.document.kind, c.document.record): c for c in changes}.items():
            try:
                known = self._known[key]
            except KeyError:
                known = self._look_up(key)
            hashed = words_hash(change.words)
            if known is None:
                count(key[0])
                now = Known(self._number(), hashed, len(change.conflicts))
            else:
                now = Known(known.number, hashed, len(change.conflicts))
            self._plan(batch, change, known, now)
            self.remember(key, now)
        self._run(batch)

    def write_rows(self, changes: Sequence[ViewChange]) -> None:
        """Replace what is derived from documents that are there. Raises UsageError for one that is not."""
        batch = _Batch()
        for change in changes:
            key = (change.document.kind, change.document.record)
            known = self._look_up(key)
            if known is None:
                raise UsageError(f"the view has no {key[0]} {key[1]} to derive a row from; write_view comes first")
            now = Known(known.number, words_hash(change.words), len(change.conflicts))
            batch.derived.append((change.document.damaged, now.words_hash, now.conflicts, now.number))
            self._plan_derived(batch, change, known, now)
            self.remember(key, now)
        self._run(batch)

    def _plan(self, batch: _Batch, change: ViewChange, known: Known | None, now: Known) -> None:
        document, number = change.document, now.number
        about = (document.subject, document.fingerprint, document.damaged, now.words_hash, now.conflicts)
        values = (*about, change.arrival, document.state, number)
        if known is None:
            batch.new_documents.append((*values, document.kind, document.record))
        else:
            batch.documents.append(values)
        batch.touches.extend([(number, arrival) for arrival in change.touches])
        self._plan_derived(batch, change, known, now)

    def _plan_derived(self, batch: _Batch, change: ViewChange, known: Known | None, now: Known) -> None:
        number = now.number
        self._plan_row(batch, change, known, number)
        if now.words_hash != (known.words_hash if known else 0):
            if known and known.words_hash:
                batch.dropped_words.append((number,))
            if now.words_hash:
                batch.words.append((number, change.words))
        if now.conflicts or (known and known.conflicts):
            self._plan_conflicts(batch, change, known, number)

    def _plan_row(self, batch: _Batch, change: ViewChange, known: Known | None, number: int) -> None:
        record, row = change.document.record, change.row
        table = self._tables.get(change.document.kind)
        if row is not None:
            if table is None:
                kind = change.document.kind
                raise UnknownKind(f"no table was declared for kind {kind!r}; call declare_tables first")
            statement = table.upsert if known else table.insert
            batch.rows.setdefault(statement, []).append(table.values(number, record, row, change))
        elif known and table is not None:
            batch.rows.setdefault(table.delete, []).append((record,))

    def _plan_conflicts(self, batch: _Batch, change: ViewChange, known: Known | None, number: int) -> None:
        detected: dict[str, int] = {}
        if known and known.conflicts:
            sql = "SELECT id, detected_ms FROM _conflict WHERE document = ?"
            detected = dict(self._db.execute(sql, (number,)).fetchall())
            batch.dropped_conflicts.append((number,))
        for c in keep_detected(change.conflicts, detected):
            batch.conflicts.append((number, c.id, c.kind, c.record, c.severity, c.body, c.detected_ms))

    def _run(self, batch: _Batch) -> None:
        many = self._db.executemany
        many(_INSERT_DOCUMENT, batch.new_documents)
        if batch.documents:
            many(_UPDATE_DOCUMENT, batch.documents)
        if batch.touches:
            many(_INSERT_TOUCH, batch.touches)
        if batch.derived:
            many(_UPDATE_DERIVED, batch.derived)
        for statement, rows in batch.rows.items():
            many(statement, rows)
        if batch.dropped_words:
            many("DELETE FROM _search WHERE rowid = ?", batch.dropped_words)
        if batch.words:
            many(_INSERT_WORDS, batch.words)
        if batch.dropped_conflicts:
            many("DELETE FROM _conflict WHERE document = ?", batch.dropped_conflicts)
        if batch.conflicts:
            many(_INSERT_CONFLICT, batch.conflicts)

    def _look_up(self, key: Key) -> Known | None:
        sql = "SELECT number, words_hash, conflicts FROM _document WHERE kind = ? AND record = ?"
        row = self._db.execute(sql, key).fetchone()
        return Known(*row) if row else None

    def _number(self) -> int:
        if not self._next:
            self._next = self._db.execute("SELECT coalesce(max(number), 0) + 1 FROM _document").fetchone()[0]
        self._next += 1
        return self._next - 1


class _Batch:
    """Parameters of the statements of one batch."""

    def __init__(self) -> None:
        self.new_documents: list[tuple[Any, ...]] = []
        self.documents: list[tuple[Any, ...]] = []
        self.touches: list[tuple[int, int]] = []
        self.derived: list[tuple[Any, ...]] = []
        self.rows: dict[str, list[tuple[Any, ...]]] = {}
        self.dropped_words: list[tuple[int]] = []
        self.words: list[tuple[int, str]] = []
        self.dropped_conflicts: list[tuple[int]] = []
        self.conflicts: list[tuple[Any, ...]] = []


def words_hash(words: str) -> int:
    """63 bits that tell words apart; 0 for none."""
    if not words:
        return 0
    return int.from_bytes(hashlib.blake2b(words.encode(), digest_size=8).digest(), "big") >> 1 or 1
