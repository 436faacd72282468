"""Questions to the view, beside the one writer: connections of their own that can only read.

Each ask has a connection to itself and sees the last transaction that ended. Three things keep a question from
writing: the file is opened read-only, `query_only` is set, and an authorizer allows nothing but reading.
"""

from __future__ import annotations

import json
import os
import sqlite3
import threading
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Any, Final, TypeVar

import sqlcipher3

from crdtsync import limits
from crdtsync.errors import StorageFailure, UnknownField, UnknownKind, UsageError
from crdtsync.ids import RecordId
from crdtsync.storage.base import KindState, StoredConflict, StoredDocument, ViewState
from crdtsync.storage.behind import PERSON_VIEW, kinds_behind, refuse_behind
from crdtsync.storage.database import CALL_ERRORS, DISK_ERRORS, VIEW_FILE, connect_cipher, reason_of, rows
from crdtsync.storage.sqlite_persons import LINKS
from crdtsync.storage.sqlite_view import CONFLICT, CONFLICTS, DOCUMENT, DOCUMENTS_OF, read_state
from crdtsync.storage.view_tables import quoted

IDLE_MAX: Final = 4
"""Connections kept open between questions."""
_STEPS: Final = 10_000
_INTERRUPTED: Final = 9
_READ_ONLY: Final = 8
_DISK_CODES: Final = frozenset({5, 6, 7, 10, 11, 13, 14, 26})
_NOT_AUTHORIZED: Final = 23
_MODES: Final = {"cache_size": -8_000, "temp_store": 2, "query_only": 1, "busy_timeout": 5_000}
_ALLOWED: Final = frozenset({sqlite3.SQLITE_SELECT, sqlite3.SQLITE_READ, sqlite3.SQLITE_RECURSIVE})
_PRAGMAS: Final = frozenset({"data_version", "table_info", "table_xinfo"})
_FUNCTIONS_REFUSED: Final = frozenset({"load_extension", "sqlcipher_export", "fts3_tokenizer"})
_WHICH_ROWS: Final = ""
"""How SQLite calls what a question reads of a table when it reads no column of it: which rows there are."""
_SAME_PERSON: Final = "SELECT patient FROM _person WHERE person = (SELECT person FROM _person WHERE patient = ?)"
_WARNINGS: Final[tuple[type[Exception], ...]] = (sqlite3.Warning, sqlcipher3.Warning)
_COLUMNS_OF_D: Final = ", ".join(f"d.{name}" for name in DOCUMENT.split(", "))
_STATED: Final = (
    f"SELECT {', '.join(f'c.{name}' for name in CONFLICT.split(', '))}, w.kind, {_COLUMNS_OF_D} FROM _conflict AS c "
    "LEFT JOIN _document AS w ON w.number = c.document LEFT JOIN _document AS d ON d.kind = ? AND d.record = c.id"
)
"""Conflicts, the kind of the record that each lies within, and the document that people keep about it."""

R = TypeVar("R")


class Reader:
    """Reads the view of the replica in `folder`, whose store is open. Every method may be called from any thread.

    Raises UsageError for a question that cannot be asked so, StorageFailure when the view cannot be read.
    """

    def __init__(self, folder: str | Path, view_key: bytes) -> None:
        self._path = Path(folder).absolute() / VIEW_FILE.name
        self._key = view_key
        self._idle: list[tuple[tuple[int, int], sqlite3.Connection]] = []
        self._guard = threading.Lock()
        self._closed = False

    def close(self) -> None:
        """Close what is idle now, and what is in use when it comes back. Idempotent."""
        with self._guard:
            self._closed = True
            idle, self._idle = self._idle, []
        for _, db in idle:
            db.close()

    # -- questions of applications -------------------------------------------------------------------------------------

    def sql(
        self,
        query: str,
        params: Sequence[Any] | Mapping[str, Any] = (),
        *,
        rows_max: int = limits.query_rows_max,
        seconds_max: float = limits.query_seconds_max,
    ) -> list[dict[str, Any]]:
        """The rows that one SELECT gives, each as column name to value.

        Raises UsageError for anything but one question, for one that is not understood, that gives more than
        `rows_max` rows or takes longer than `seconds_max`; RowsBehind for one whose answer would not be whole.
        """

        def ask(db: sqlite3.Connection) -> list[dict[str, Any]]:
            states = kinds_behind(db)
            if states:
                self._refuse_behind(query, params, states)
            cursor = db.execute(query, params)
            if cursor.description is None:
                raise UsageError("this is not a question; ask with SELECT, and write through a transaction of the site")
            names = [column[0] for column in cursor.description]
            found = cursor.fetchmany(rows_max + 1)
            if len(found) > rows_max:
                raise UsageError(f"the answer has more than {rows_max} rows; ask for fewer with WHERE or LIMIT")
            return [dict(zip(names, row, strict=True)) for row in found]

        return self._ask(ask, seconds_max)

    def search(self, words: str, limit: int = 50) -> list[StoredDocument]:
        """Documents that contain words beginning with each of `words`, best first. Case and accents do not count."""
        match = " ".join('"' + word.replace('"', '""') + '"*' for word in words.replace("\0", " ").split())
        if not match:
            return []
        sql = (
            f"SELECT {_COLUMNS_OF_D} FROM (SELECT rowid AS number, rank FROM _search WHERE _search MATCH ? "
            "ORDER BY rank LIMIT ?) AS s CROSS JOIN _document AS d ON d.number = s.number ORDER BY s.rank"
        )
        return self._ask(lambda db: [StoredDocument(*row) for row in rows(db, sql, (match, limit))])

    def find(
        self,
        kind: str,
        where: Mapping[str, Any] | None = None,
        limit: int | None = None,
        links: Collection[str] = (),
    ) -> list[StoredDocument]:
        """Documents of a kind whose columns equal the values in `where` (None: is empty), in the order in which they
        came. In the columns `links`, a patient stands for all patients that are the same person.

        Raises UnknownKind for a kind without a table, UnknownField for a column that it does not have, RowsBehind where
        some of these columns are still filled.
        """
        wanted = where or {}

        def follows(name: str) -> bool:
            return name in links and wanted[name] is not None

        def ask(db: sqlite3.Connection) -> list[StoredDocument]:
            columns = {row[1] for row in rows(db, f"PRAGMA table_info({quoted(kind)})")}
            if not columns or kind.startswith("_"):
                raise UnknownKind(f"no table is known for the kind {kind!r}; see `record list` for the kinds there are")
            followed = [(PERSON_VIEW, "")] if links else []
            refuse_behind(kinds_behind(db), [*((kind, column) for column in (*wanted, _WHICH_ROWS)), *followed])
            for name in wanted.keys() - columns:
                raise UnknownField(f"{kind} has no column {name!r}; it has {', '.join(sorted(columns))}")
            tests = " AND ".join(_test(name, follows(name)) for name in wanted) or "1"
            sql = (
                f"SELECT {_COLUMNS_OF_D} FROM {quoted(kind)} AS t JOIN _document AS d ON d.number = t._rowid_ "
                f"WHERE {tests} ORDER BY t._rowid_ LIMIT ?"
            )
            values = [value for name, value in wanted.items() for _ in range(1 + follows(name))]
            found = rows(db, sql, (*values, -1 if limit is None else limit))
            return [StoredDocument(*row) for row in found]

        return self._ask(ask)

    def same_person(self, record: RecordId) -> list[RecordId]:
        """All patients that are one person with this one, itself included, by their ids; itself alone if it is linked
        with none, also where it is no patient. Raises RowsBehind."""

        def ask(db: sqlite3.Connection) -> list[RecordId]:
            refuse_behind(kinds_behind(db), [(PERSON_VIEW, "")])
            return sorted({record, *(RecordId(row[0]) for row in rows(db, _SAME_PERSON, (record,)))})

        return self._ask(ask)

    def persons(self, linked: bool, limit: int | None) -> list[list[RecordId]]:
        """The patients of each person, by their ids, the least first: of all, or of those who have several records.
        Raises RowsBehind."""
        table = "_person" if linked else PERSON_VIEW

        def ask(db: sqlite3.Connection) -> list[list[RecordId]]:
            refuse_behind(kinds_behind(db), [(PERSON_VIEW, "")])
            found: dict[str, list[RecordId]] = {}
            for person, patient in db.execute(f"SELECT person, patient FROM {table} ORDER BY person, patient"):
                if person not in found and len(found) == limit:
                    break
                found.setdefault(person, []).append(RecordId(patient))
            return list(found.values())

        return self._ask(ask)

    def linked(self, patients: Collection[RecordId]) -> list[tuple[RecordId, RecordId]]:
        """All links that begin or end at one of these patients."""
        these = json.dumps(list(patients))
        found = self._ask(lambda db: rows(db, LINKS, (these, these)))
        return [(RecordId(one), RecordId(other)) for one, other in found]

    # -- questions of the site -----------------------------------------------------------------------------------------

    def document(self, kind: str, record: RecordId) -> StoredDocument | None:
        """One document."""
        sql = f"SELECT {DOCUMENT} FROM _document WHERE kind = ? AND record = ?"
        found = self._ask(lambda db: rows(db, sql, (kind, record)))
        return StoredDocument(*found[0]) if found else None

    def documents_of(self, record: RecordId) -> list[StoredDocument]:
        """All documents under this id, in order of their kinds."""
        return [StoredDocument(*row) for row in self._ask(lambda db: rows(db, DOCUMENTS_OF, (record,)))]

    def documents(self, kind: str, limit: int | None = None) -> list[StoredDocument]:
        """Documents of a kind, with or without a table, in order of their ids."""
        sql = f"SELECT {DOCUMENT} FROM _document WHERE kind = ? ORDER BY record LIMIT ?"
        found = self._ask(lambda db: rows(db, sql, (kind, -1 if limit is None else limit)))
        return [StoredDocument(*row) for row in found]

    def changed(self, arrival: int, kind: str, record: RecordId, limit: int) -> list[tuple[int, str, RecordId]]:
        """Arrival of their last change, kind and id of the records that changed behind this place, in this order.

        Whoever goes on from the last one given misses nothing: a record that changes again moves to the end.
        """
        sql = (
            "SELECT arrival, kind, record FROM _document WHERE (arrival, kind, record) > (?, ?, ?) "
            "ORDER BY arrival, kind, record LIMIT ?"
        )
        return [tuple(row) for row in self._ask(lambda db: rows(db, sql, (arrival, kind, record, limit)))]

    def records_of(self, subject: str) -> list[tuple[str, RecordId]]:
        """Kind and id of all records of a subject, in this order. Looks at every record: for rare questions."""
        sql = "SELECT kind, record FROM _document WHERE subject = ? ORDER BY kind, record"
        return [(row[0], row[1]) for row in self._ask(lambda db: rows(db, sql, (subject,)))]

    def conflicts(self) -> list[StoredConflict]:
        """All open conflicts, oldest first."""
        return [StoredConflict(*row) for row in self._ask(lambda db: rows(db, CONFLICTS))]

    def stated_conflicts(self, issue: str) -> list[tuple[StoredConflict, str | None, StoredDocument | None]]:
        """All conflicts, oldest first: each with the kind of the record that it lies within (None for one between
        records), and the document of kind `issue` that bears its id."""
        sql = f"{_STATED} ORDER BY c.detected_ms, c.id"
        return [_stated(row) for row in self._ask(lambda db: rows(db, sql, (issue,)))]

    def stated_conflict(
        self, issue: str, conflict: str
    ) -> tuple[StoredConflict, str | None, StoredDocument | None] | None:
        """One conflict, in the same way; None when there is none of this id."""
        found = self._ask(lambda db: rows(db, f"{_STATED} WHERE c.id = ?", (issue, conflict)))
        return _stated(found[0]) if found else None

    def conflicts_between(self, record: RecordId) -> list[StoredConflict]:
        """Conflicts between this record and others."""
        sql = (
            f"SELECT {CONFLICT} FROM _conflict WHERE document = 0 AND id IN (SELECT id FROM _between WHERE record = ?) "
            "ORDER BY detected_ms, id"
        )
        return [StoredConflict(*row) for row in self._ask(lambda db: rows(db, sql, (record,)))]

    def conflict_changes(self) -> int:
        """A number that goes up when the list of conflicts, or what is said of one, may have changed."""
        return int(self._ask(lambda db: rows(db, "SELECT count FROM _conflict_changes"))[0][0])

    def counts(self) -> dict[str, int]:
        """Number of records per kind, by looking at all of them."""
        return dict(self._ask(lambda db: rows(db, "SELECT kind, count(*) FROM _document GROUP BY kind ORDER BY kind")))

    def view_state(self) -> ViewState:
        """What the view was derived from, as readers see it now."""
        return self._ask(read_state)

    def _refuse_behind(
        self, query: str, params: Sequence[Any] | Mapping[str, Any], states: Mapping[str, KindState]
    ) -> None:
        """Raise RowsBehind when a question reads columns that are still filled.

        What was read before rows were right may be, and what is right stays so: nothing slips in between.
        """
        read: set[tuple[str, str]] = set()

        def note(action: int, first: str | None, second: str | None, base: str | None, trigger: str | None) -> int:
            if action == sqlite3.SQLITE_READ:
                read.add((first or "", second or ""))
            return _authorize(action, first, second, base, trigger)

        with closing(self._connect()) as db:  # one that has prepared nothing yet: only then it is asked for each column
            db.set_authorizer(note)
            with suppress(*DISK_ERRORS, *CALL_ERRORS, *_WARNINGS):  # what is wrong with it is told when it is asked
                db.execute(f"EXPLAIN {query}", params).fetchall()
        refuse_behind(states, read)

    # -- connections ---------------------------------------------------------------------------------------------------

    def _ask(self, question: Callable[[sqlite3.Connection], R], seconds_max: float = limits.query_seconds_max) -> R:
        with self._connection() as db:
            end = time.monotonic() + seconds_max
            db.set_progress_handler(lambda: time.monotonic() > end, _STEPS)
            try:
                return question(db)
            except (*DISK_ERRORS, *CALL_ERRORS, *_WARNINGS) as error:
                raise _explained(error, seconds_max) from None
            finally:
                db.set_progress_handler(None, 0)

    @contextmanager
    def _connection(self) -> Iterator[sqlite3.Connection]:
        place, db = self._take()
        try:
            yield db
        except BaseException:
            # The statement may have been left half read: do not lend this connection again.
            db.close()
            raise
        with self._guard:
            if len(self._idle) < IDLE_MAX and not self._closed:
                self._idle.append((place, db))
                return
        db.close()

    def _take(self) -> tuple[tuple[int, int], sqlite3.Connection]:
        try:
            status = os.stat(self._path)
        except OSError as error:
            raise StorageFailure(
                f"{VIEW_FILE.name} cannot be read ({error.strerror}); open the replica first"
            ) from None
        place = (status.st_dev, status.st_ino)
        while True:
            with self._guard:
                if self._closed:
                    raise UsageError("the replica is closed; open it again")
                if not self._idle:
                    break
                found = self._idle.pop()
            if found[0] == place:
                return found
            found[1].close()  # of a view that was thrown away since
        return place, self._connect()

    def _connect(self) -> sqlite3.Connection:
        db = connect_cipher(f"{self._path.as_uri()}?mode=ro", self._key, uri=True, check_same_thread=False)
        try:
            for name, value in _MODES.items():
                db.execute(f"PRAGMA {name} = {value}")
            rows(db, "SELECT count(*) FROM sqlite_schema")
            db.set_authorizer(_authorize)
        except DISK_ERRORS as error:
            with suppress(*DISK_ERRORS):
                db.close()
            raise StorageFailure(f"{VIEW_FILE.name}: {reason_of(error)}; open the replica again") from None
        return db


def _stated(row: Sequence[Any]) -> tuple[StoredConflict, str | None, StoredDocument | None]:
    return StoredConflict(*row[:6]), row[6], None if row[7] is None else StoredDocument(*row[7:])


def _test(column: str, follow: bool) -> str:
    """The condition on a column, with a place for the value in each of its parts."""
    name = f"t.{quoted(column)}"
    return f"{name} IN (SELECT ? UNION ALL {_SAME_PERSON})" if follow else f"{name} IS ?"


def _authorize(action: int, first: str | None, second: str | None, database: str | None, trigger: str | None) -> int:
    if action in _ALLOWED:
        return sqlite3.SQLITE_OK
    if action == sqlite3.SQLITE_FUNCTION and (second or "").lower() not in _FUNCTIONS_REFUSED:
        return sqlite3.SQLITE_OK
    # FTS5 asks for data_version itself.
    if action == sqlite3.SQLITE_PRAGMA and (first or "").lower() in _PRAGMAS:
        return sqlite3.SQLITE_OK
    return sqlite3.SQLITE_DENY


def _explained(error: Exception, seconds_max: float) -> Exception:
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF
    if code in _DISK_CODES:  # busy, locked, no memory, I/O, corrupt, full, cannot open, not a database
        return StorageFailure(f"{VIEW_FILE.name}: {reason_of(error)}; run `crdtsync rebuild`")
    if code == _INTERRUPTED:
        return UsageError(f"the question took longer than {seconds_max:g} s; ask for less, or for an indexed column")
    if code in (_NOT_AUTHORIZED, _READ_ONLY):
        return UsageError("questions can only read (SELECT); write through a transaction of the site")
    return UsageError(f"the question cannot be answered: {reason_of(error)}")
