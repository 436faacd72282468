"""The tables that applications ask: one per record kind, with real columns and indexes."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping, Sequence
from typing import Any, Final

from crdtsync.errors import UsageError
from crdtsync.ids import RecordId
from crdtsync.storage.base import TableSpec, ViewChange
from crdtsync.storage.checks import check_row

COLUMN_TYPES: Final = frozenset({"TEXT", "INTEGER", "REAL", "BLOB", "NUMERIC"})
"""What a column may be declared as."""


class KindTable:
    """A kind's table and the statements that write it. A row's rowid is the number of its document."""

    def __init__(self, kind: str, columns: Sequence[str]) -> None:
        self.kind = kind
        self.name = quoted(kind)
        self.columns = tuple(columns)
        self._known = frozenset(columns)
        names = ", ".join(["_rowid_", "id", *map(quoted, columns)])
        places = ", ".join("?" * (len(columns) + 2))
        into = f"INTO {self.name} ({names}) VALUES ({places})"
        self.insert = f"INSERT OR REPLACE {into}"  # somebody may have taken the document away, and left the row
        updates = ", ".join(f"{quoted(column)} = excluded.{quoted(column)}" for column in columns) or "id = id"
        self.upsert = f"INSERT {into} ON CONFLICT (id) DO UPDATE SET {updates}"
        self.delete = f"DELETE FROM {self.name} WHERE id = ?"

    def values(self, number: int, record: RecordId, row: Mapping[str, Any], change: ViewChange) -> tuple[Any, ...]:
        """The row as `insert` and `upsert` take it; a column that `row` does not name becomes NULL."""
        if not row.keys() <= self._known:
            check_row(change, self.columns)
        return (number, record, *map(row.get, self.columns))


    def shows(self, db: sqlite3.Connection, number: int, change: ViewChange) -> bool:
        """Whether the table holds just the row that `change` says, or none where it says none."""
        record, row = change.document.record, change.row
        columns = ", ".join(["_rowid_", "id", *map(quoted, self.columns)])
        found = db.execute(f"SELECT {columns} FROM {self.name} WHERE id = ?", (record,)).fetchone()
        if row is None or found is None:
            return row is None and found is None
        return bool(found == self.values(number, record, row, change))


def quoted(name: str) -> str:
    """`name` as an SQL identifier."""
    return '"' + name.replace('"', '""') + '"'


def known_tables(db: sqlite3.Connection) -> dict[str, KindTable]:
    """The kinds' tables that are there."""
    sql = "SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE '\\_%' ESCAPE '\\'"
    names = [row[0] for row in db.execute(sql) if not row[0].startswith("sqlite_")]
    return {name: KindTable(name, _columns(db, name)) for name in names}


def declare(db: sqlite3.Connection, tables: dict[str, KindTable], specs: Sequence[TableSpec]) -> bool:
    """Create what is missing, in the caller's transaction. True when a table or a column was added; `tables` is brought
    up to date. An index needs nothing derived anew, so it does not count."""
    added = False
    for spec in specs:
        _check(spec)
        table = tables.get(spec.kind)
        present = table.columns if table else ()
        new = [column for column in spec.columns if column not in present]
        if table is None:
            db.execute(f"CREATE TABLE {quoted(spec.kind)} (id TEXT PRIMARY KEY)")
        for column in new:
            db.execute(f"ALTER TABLE {quoted(spec.kind)} ADD COLUMN {quoted(column)} {spec.columns[column]}")
        for column in spec.indexes:
            index = quoted(f"_index {spec.kind} {column}")
            db.execute(f"CREATE INDEX IF NOT EXISTS {index} ON {quoted(spec.kind)} ({quoted(column)})")
        if table is None or new:
            tables[spec.kind] = KindTable(spec.kind, _columns(db, spec.kind))
            added = True
    return added


def _check(spec: TableSpec) -> None:
    if not spec.kind or spec.kind.startswith(("_", "sqlite_")) or spec.kind == "person":
        raise UsageError(
            f"a kind's table cannot be named {spec.kind!r}; person, and names with a leading underscore, are taken"
        )
    for column, type_ in spec.columns.items():
        if type_ not in COLUMN_TYPES or column == "id":
            raise UsageError(
                f"column {column!r} of {spec.kind}: its type must be one of {sorted(COLUMN_TYPES)}, and not id"
            )
    missing = set(spec.indexes) - set(spec.columns)
    if missing:
        raise UsageError(f"index of {spec.kind}: there is no column {sorted(missing)[0]!r}")


def _columns(db: sqlite3.Connection, kind: str) -> list[str]:
    return [row[1] for row in db.execute(f"PRAGMA table_info({quoted(kind)})") if row[1] != "id"]
