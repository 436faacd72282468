"""`view.db`: documents, a table per kind, words, conflicts; encrypted, derived from the log, disposable (L8)."""

from __future__ import annotations

import sqlite3
from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

from crdtsync.errors import RefusedError, StorageFailure, UsageError
from crdtsync.ids import DataKeyId, RecordId
from crdtsync.replication.stored import LogHead
from crdtsync.storage.base import StoredConflict, StoredDocument, TableSpec, ViewChange, ViewState
from crdtsync.storage.behind import states_of
from crdtsync.storage.between_tables import BetweenTables
from crdtsync.storage.checks import EMPTY_VIEW, check_derived
from crdtsync.storage.database import (
    DISK_ERRORS,
    VIEW_FILE,
    FileSpec,
    is_damage,
    is_disk_full,
    open_encrypted,
    rows,
    transaction,
)
from crdtsync.storage.part import guarded
from crdtsync.storage.sqlite_log import SqliteLog
from crdtsync.storage.view_tables import KindTable, declare, known_tables
from crdtsync.storage.view_writer import Known, ViewWriter, words_hash

DOCUMENT: Final = "kind, record, subject, state, fingerprint, damaged"
"""The columns of a StoredDocument, in its order."""
CONFLICT: Final = "id, kind, record, severity, body, detected_ms"
"""The columns of a StoredConflict, in its order."""
KINDS: Final = (
    "WITH RECURSIVE kinds (kind) AS (SELECT min(kind) FROM _document UNION ALL "
    "SELECT (SELECT min(kind) FROM _document WHERE kind > kinds.kind) FROM kinds WHERE kinds.kind IS NOT NULL) "
)
"""One step over the index per kind, where DISTINCT would read all of it."""
DOCUMENTS_OF: Final = (
    f"{KINDS} SELECT {', '.join('d.' + name for name in DOCUMENT.split(', '))} FROM kinds "
    "CROSS JOIN _document AS d ON d.kind = kinds.kind AND d.record = ? ORDER BY d.kind"
)
CONFLICTS: Final = f"SELECT {CONFLICT} FROM _conflict ORDER BY detected_ms, id"
TOUCHES: Final = (
    "SELECT arrival FROM _touch WHERE document = (SELECT number FROM _document WHERE kind = ? AND record = ?) "
    "ORDER BY arrival"
)
_DOUBT: Final = "view in doubt"
_UNFIT: Final[tuple[type[Exception], ...]] = (RefusedError, *DISK_ERRORS)  # also DamagedFile

_EMPTIED: Final = ("_document", "_conflict", "_waiting", "_touch", "_between", "_claim", "_same", "_person")


class SqliteView(SqliteLog):
    """The view of a `SqliteStore`, behind its log.

    A view that is damaged, foreign, under another key, of a newer schema, or no prefix of the log is thrown away when
    the store opens (L1). Damage that only shows later raises StorageFailure, and is thrown away at the next opening.
    """

    _view_db: sqlite3.Connection | None = None
    _in_view = False

    def _open_view(self, folder: Path, key: bytes) -> None:
        self._specs: dict[str, TableSpec] = {}
        self._view_folder, self._view_key = folder, key
        if self.meta(_DOUBT) is not None:
            discard_view(folder)
            self.set_meta({_DOUBT: None})
        try:
            self._connect_view()
            fits = self._is_prefix(self._view_state.head)
        except _UNFIT:
            fits = False
        if not fits:
            self._start_over()

    def _connect_view(self) -> None:
        self._view_db = db = open_encrypted(self._view_folder, VIEW_FILE, self._view_key)
        self._view_state = read_state(db)
        states_of(db)
        self._tables: dict[str, KindTable] = known_tables(db)
        self._writer = ViewWriter(db, self._tables)
        self._between = BetweenTables(db, self._tables, self._writer.number_of)
        self._counts: dict[str, int] | None = None
        self._in_view = False

    def _start_over(self) -> None:
        """Throw the file away and make an empty one, with the tables that were declared."""
        self._close_view()
        discard_view(self._view_folder)
        self._connect_view()
        with transaction(self._view) as db:
            declare(db, self._tables, list(self._specs.values()))

    def _close_view(self) -> None:
        if self._view_db is not None:
            with suppress(*DISK_ERRORS):
                self._view_db.close()
            self._view_db = None

    def _failed(self, error: Exception, file: FileSpec) -> StorageFailure:
        if file is VIEW_FILE and not is_disk_full(error):
            with suppress(*DISK_ERRORS):
                self._log_db.execute("INSERT OR REPLACE INTO meta (name, value) VALUES (?, ?)", (_DOUBT, b"1"))
        return super()._failed(error, file)

    @property
    def _view(self) -> sqlite3.Connection:
        assert self._view_db is not None, "it is open as long as the store is, which `guarded` checks"
        return self._view_db

    @property
    def _writing(self) -> sqlite3.Connection:
        if not self._in_view:
            raise UsageError("no transaction of the view is open; call begin_view first")
        return self._view

    # -- tables and state ---------------------------------------------------------------------------------------------

    @guarded(VIEW_FILE)
    def declare_tables(self, tables: Sequence[TableSpec]) -> bool:
        """Create missing tables, columns and indexes, in a transaction of its own.

        True when a table or a column was added to a view that holds documents: they need deriving anew.
        """
        self._refuse_open()
        self._specs.update({spec.kind: spec for spec in tables})
        try:
            with transaction(self._view) as db:
                added = declare(db, self._tables, tables)
        except BaseException:
            self._tables.clear()
            self._tables.update(known_tables(self._view))
            raise
        return added and self._view.execute("SELECT 1 FROM _document LIMIT 1").fetchone() is not None

    @guarded(VIEW_FILE)
    def view_state(self) -> ViewState:
        """What the view was derived from, as of the last transaction that ended."""
        return self._view_state

    # -- reading ------------------------------------------------------------------------------------------------------

    @guarded(VIEW_FILE)
    def document(self, kind: str, record: RecordId) -> StoredDocument | None:
        """One document as last derived (also within a batch that was begun)."""
        sql = f"SELECT {DOCUMENT}, number, words_hash, conflicts FROM _document WHERE kind = ? AND record = ?"
        row = self._view.execute(sql, (kind, record)).fetchone()
        self._writer.remember((kind, record), Known(*row[6:]) if row else None)
        return StoredDocument(*row[:6]) if row else None

    @guarded(VIEW_FILE)
    def documents_of(self, record: RecordId) -> list[StoredDocument]:
        """All documents under this id, in order of their kinds."""
        return [StoredDocument(*row) for row in rows(self._view, DOCUMENTS_OF, (record,))]

    @guarded(VIEW_FILE)
    def documents(self, kind: str | None, after: tuple[str, str], limit: int) -> list[StoredDocument]:
        """Documents in order of (kind, record), beginning behind `after`."""
        which = "(kind, record) > (?, ?)" + ("" if kind is None else " AND kind = ?")
        sql = f"SELECT {DOCUMENT} FROM _document WHERE {which} ORDER BY kind, record LIMIT ?"
        start = after if kind is None else (*max(after, (kind, "")), kind)
        return [StoredDocument(*row) for row in rows(self._view, sql, (*start, limit))]

    @guarded(VIEW_FILE)
    def shows(self, change: ViewChange) -> bool:
        """Whether the view holds just this of a record. Words are compared by their hash."""
        wanted = change.document
        sql = "SELECT number, subject, fingerprint, damaged, words_hash FROM _document WHERE kind = ? AND record = ?"
        row = self._view.execute(sql, (wanted.kind, wanted.record)).fetchone()
        if row is None or row[1:] != (wanted.subject, wanted.fingerprint, wanted.damaged, words_hash(change.words)):
            return False
        table = self._tables.get(wanted.kind)
        if table is not None and not table.shows(self._view, row[0], change):
            return False
        kept = rows(self._view, "SELECT id, kind, record, severity, body FROM _conflict WHERE document = ?", row[:1])
        return sorted(kept) == sorted((c.id, c.kind, c.record, c.severity, c.body) for c in change.conflicts)

    @guarded(VIEW_FILE)
    def touches(self, kind: str, record: RecordId) -> list[int]:
        """Arrivals of all commits with a change of this record, in order."""
        return [row[0] for row in rows(self._view, TOUCHES, (kind, record))]

    @guarded(VIEW_FILE)
    def waiting(self) -> dict[DataKeyId, list[int]]:
        """Keys that parts wait for."""
        found: dict[DataKeyId, list[int]] = {}
        for key, arrival in rows(self._view, "SELECT key, arrival FROM _waiting ORDER BY key, place"):
            found.setdefault(DataKeyId(key), []).append(arrival)
        return found

    @guarded(VIEW_FILE)
    def conflicts(self) -> list[StoredConflict]:
        """All open conflicts, oldest first."""
        return [StoredConflict(*row) for row in rows(self._view, CONFLICTS)]

    @guarded(VIEW_FILE)
    def sharing(
        self, kind: str, column: str, records: Collection[RecordId], beside: str | None = None
    ) -> list[tuple[Any, Any, Any]]:
        """Values of a column that one of the records has, and another record of its kind as well."""
        return self._between.sharing(kind, column, records, beside)

    @guarded(VIEW_FILE)
    def columns_of(self, kind: str, record: RecordId, columns: tuple[str, ...]) -> tuple[Any, ...] | None:
        """These columns of a record's row; None when there is no such row."""
        return self._between.columns_of(kind, record, columns)

    @guarded(VIEW_FILE)
    def holding(self, kind: str, columns: Sequence[str], value: Any) -> list[tuple[Any, ...]]:
        """Id and `columns` of the records whose first of these columns has the value, in order of their ids."""
        return self._between.holding(kind, columns, value)

    @guarded(VIEW_FILE)
    def between(self, kind: str, column: str, least: int, most: int, limit: int, *, falling: bool = False) -> list[int]:
        """The different whole numbers from `least` to `most` that the column has in some row."""
        return self._between.between(kind, column, least, most, limit, falling=falling)

    @guarded(VIEW_FILE)
    def claimants(self, place: str) -> list[tuple[RecordId, str]]:
        """Records that claim a place, in order of their ids, with what they say."""
        return self._between.claimants(place)

    @guarded(VIEW_FILE)
    def between_places(self, records: Collection[RecordId]) -> list[str]:
        """The places of conflicts between records in which any of these takes part."""
        return self._between.places_of(records)

    @guarded(VIEW_FILE)
    def between_at(self, place: str) -> list[StoredConflict]:
        """The conflicts between records at a place, in order of their ids."""
        return self._between.at(place)

    @guarded(VIEW_FILE)
    def counts(self) -> dict[str, int]:
        """Number of records per kind; counted once, then kept."""
        if self._counts is None:
            self._counts = dict(rows(self._view, "SELECT kind, count(*) FROM _document GROUP BY kind"))
        return {kind: self._counts[kind] for kind in sorted(self._counts)}

    # -- writing ------------------------------------------------------------------------------------------------------

    @guarded(VIEW_FILE)
    def begin_view(self) -> None:
        """Begin a transaction of the view."""
        self._refuse_open()
        self._view.execute("BEGIN IMMEDIATE")
        self._in_view = True

    def _refuse_open(self) -> None:
        if self._in_view:
            raise UsageError("a transaction of the view is open; end it with commit_view or abort_view first")

    @guarded(VIEW_FILE)
    def write_view(self, changes: Sequence[ViewChange]) -> None:
        """Replace the named records' documents, rows, words and conflicts, add to their histories. After an exception:
        `abort_view`."""
        assert self._writing
        self._writer.write(changes, self._count)

    def _count(self, kind: str) -> None:
        if self._counts is not None:
            self._counts[kind] = self._counts.get(kind, 0) + 1

    @guarded(VIEW_FILE)
    def write_waiting(self, key: DataKeyId, arrivals: Sequence[int]) -> None:
        """Remember that parts of these commits wait for a key; an empty sequence forgets the key."""
        db = self._writing
        db.execute("DELETE FROM _waiting WHERE key = ?", (key,))
        places = [(key, place, arrival) for place, arrival in enumerate(arrivals)]
        db.executemany("INSERT INTO _waiting (key, place, arrival) VALUES (?, ?, ?)", places)

    @guarded(VIEW_FILE)
    def write_claims(self, claims: Mapping[RecordId, Mapping[str, str]]) -> None:
        """Replace the claims of these records."""
        assert self._writing
        self._between.write_claims(claims)

    @guarded(VIEW_FILE)
    def write_between(self, found: Mapping[str, Sequence[StoredConflict]]) -> None:
        """Replace the conflicts between records at these places."""
        assert self._writing
        self._between.write(found)

    @guarded(VIEW_FILE)
    def commit_view(self, state: ViewState) -> None:
        """End the transaction. A power cut may take it, with all that came after it, until a checkpoint."""
        db = self._writing
        check_derived(state, self.log_head())
        write_state(db, state)
        db.execute("COMMIT")
        self._in_view = False
        self._view_state = state
        self._copy_when_due(VIEW_FILE, db)

    @guarded(VIEW_FILE)
    def abort_view(self) -> None:
        """Drop the transaction, if one is open."""
        if self._in_view:
            self._in_view = False
            self._view.execute("ROLLBACK")
            self._writer.forget()
            self._counts = None

    @guarded(VIEW_FILE)
    def reset_view(self) -> None:
        """Empty the view, to be derived again from the log. One that cannot even be emptied is thrown away."""
        try:
            self.abort_view()
            with transaction(self._view) as db:
                for table in self._tables.values():
                    db.execute(f"DELETE FROM {table.name}")
                for name in _EMPTIED:
                    db.execute(f"DELETE FROM {name}")
                db.execute("INSERT INTO _search (_search) VALUES ('delete-all')")
                write_state(db, EMPTY_VIEW)
        except DISK_ERRORS as error:
            if not is_damage(error):
                raise
            self._start_over()
        self._writer.forget()
        self._counts = None
        self._view_state = EMPTY_VIEW


def read_state(db: sqlite3.Connection) -> ViewState:
    """What the view in `db` was derived from."""
    row = db.execute("SELECT arrival, chain, digest, records FROM _state").fetchone()
    return ViewState(LogHead(row[0], row[1]), row[2], row[3]) if row else EMPTY_VIEW


def write_state(db: sqlite3.Connection, state: ViewState) -> None:
    """Note, in the caller's transaction, what the view is now derived from."""
    db.execute(
        "INSERT OR REPLACE INTO _state (one, arrival, chain, digest, records) VALUES (1, ?, ?, ?, ?)",
        (state.head.arrival, state.head.chain, state.digest, state.records),
    )


def discard_view(folder: Path) -> None:
    """Delete the view's files. Raises StorageFailure when the system does not let go of them."""
    try:
        for suffix in ("", "-wal", "-shm"):
            (folder / (VIEW_FILE.name + suffix)).unlink(missing_ok=True)
    except OSError as error:
        raise StorageFailure(
            f"{VIEW_FILE.name} cannot be removed ({error.strerror}); close the programs that read it, then open again"
        ) from None
