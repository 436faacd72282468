"""What SQLite keeps of conflicts between records, and how it finds records that share something.

Equal values are found through the indexes that the kinds' tables have anyway: a table of its own would cost each new
record a write per value, on pages all over the file.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, Final

from crdtsync.ids import RecordId
from crdtsync.storage.base import StoredConflict
from crdtsync.storage.view_tables import KindTable, quoted

BETWEEN: Final = 0
"""The document number under which conflicts between records stand in _conflict: no document has it."""
_COLUMNS: Final = "id, kind, record, severity, body, detected_ms"


class BetweenTables:
    """The statements. `number_of` gives the rowid of a record that is in the view."""

    def __init__(
        self, db: sqlite3.Connection, tables: Mapping[str, KindTable], number_of: Callable[[str, RecordId], int | None]
    ) -> None:
        self._db = db
        self._tables = tables
        self._number_of = number_of
        self._selects: dict[tuple[str, tuple[str, ...]], str] = {}

    def sharing(
        self, kind: str, column: str, records: Collection[RecordId], beside: str | None = None
    ) -> list[tuple[Any, Any, Any]]:
        """Values of a column that one of the records has, and another record of its kind as well; with what the two
        have in the column `beside`."""
        table = self._tables.get(kind)
        if table is None or not {column, beside or column} <= set(table.columns):
            return []
        numbers = [number for record in records if (number := self._number_of(kind, record)) is not None]
        name = quoted(column)
        mine, its = (f"a.{quoted(beside)}", f"b.{quoted(beside)}") if beside else ("NULL", "NULL")
        sql = (
            f"SELECT DISTINCT a.{name}, {mine}, {its} FROM json_each(?) AS c "
            f"CROSS JOIN {table.name} AS a ON a._rowid_ = c.value "
            f"CROSS JOIN {table.name} AS b ON b.{name} = a.{name} AND b._rowid_ <> a._rowid_"
        )
        return self._db.execute(sql, (json.dumps(numbers),)).fetchall()

    def columns_of(self, kind: str, record: RecordId, columns: tuple[str, ...]) -> tuple[Any, ...] | None:
        """These columns of a record's row."""
        number = self._number_of(kind, record)
        sql = self._selects.get((kind, columns)) or self._select(kind, columns)
        if number is None or not sql:
            return None
        found: tuple[Any, ...] | None = self._db.execute(sql, (number,)).fetchone()
        return found

    def _select(self, kind: str, columns: tuple[str, ...]) -> str:
        """The question for these columns; empty while the table or one of them was not declared."""
        table = self._tables.get(kind)
        if table is None or not set(columns) <= set(table.columns):
            return ""
        sql = f"SELECT {', '.join(map(quoted, columns))} FROM {table.name} WHERE _rowid_ = ?"
        return self._selects.setdefault((kind, columns), sql)

    def holding(self, kind: str, columns: Sequence[str], value: Any) -> list[tuple[Any, ...]]:
        """Id and `columns` of the records whose first of these columns has the value, in order of their ids."""
        table = self._tables.get(kind)
        if table is None or not set(columns) <= set(table.columns):
            return []
        named = ", ".join(map(quoted, columns))
        sql = f"SELECT id, {named} FROM {table.name} WHERE {quoted(columns[0])} = ? ORDER BY id"
        return self._db.execute(sql, (value,)).fetchall()

    def between(self, kind: str, column: str, least: int, most: int, limit: int, *, falling: bool) -> list[int]:
        """The different whole numbers from `least` to `most` that the column has in some row."""
        table = self._tables.get(kind)
        if table is None or column not in table.columns:
            return []
        name, order = quoted(column), "DESC" if falling else "ASC"
        sql = (
            f"SELECT DISTINCT {name} FROM {table.name} WHERE {name} BETWEEN ? AND ? AND typeof({name}) = 'integer' "
            f"ORDER BY {name} {order} LIMIT ?"
        )
        return [number for (number,) in self._db.execute(sql, (least, most, limit))]

    def write_claims(self, claims: Mapping[RecordId, Mapping[str, str]]) -> None:
        """Replace the claims of these records."""
        self._db.executemany("DELETE FROM _claim WHERE record = ?", [(record,) for record in claims])
        rows = [(place, record, body) for record, found in claims.items() for place, body in found.items()]
        self._db.executemany("INSERT INTO _claim (place, record, body) VALUES (?, ?, ?)", rows)

    def claimants(self, place: str) -> list[tuple[RecordId, str]]:
        """Records that claim a place, in order of their ids, with what they say."""
        return self._db.execute("SELECT record, body FROM _claim WHERE place = ? ORDER BY record", (place,)).fetchall()

    def places_of(self, records: Collection[RecordId]) -> list[str]:
        """The places of conflicts in which any of the records takes part."""
        if self._db.execute("SELECT 1 FROM _between LIMIT 1").fetchone() is None:
            return []
        sql = "SELECT DISTINCT b.place FROM json_each(?) AS c CROSS JOIN _between AS b ON b.record = c.value"
        return [row[0] for row in self._db.execute(sql, (json.dumps(list(records)),))]

    def at(self, place: str) -> list[StoredConflict]:
        """The conflicts at a place, in order of their ids."""
        sql = (
            f"SELECT {_COLUMNS} FROM _conflict WHERE document = {BETWEEN} "
            "AND id IN (SELECT id FROM _between WHERE place = ?) ORDER BY id"
        )
        return [StoredConflict(*row) for row in self._db.execute(sql, (place,))]

    def write(self, found: Mapping[str, Sequence[StoredConflict]]) -> None:
        """Replace the conflicts at these places. Counts as a change of conflicts, also when there are no places."""
        db = self._db
        for place, conflicts in found.items():
            gone = [(BETWEEN, conflict.id) for conflict in self.at(place)]
            db.executemany("DELETE FROM _conflict WHERE document = ? AND id = ?", gone)
            db.execute("DELETE FROM _between WHERE place = ?", (place,))
            db.executemany(
                f"INSERT INTO _conflict (document, {_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?)",
                [(BETWEEN, c.id, c.kind, c.record, c.severity, c.body, c.detected_ms) for c in conflicts],
            )
            parties = [(place, c.id, record) for c in conflicts for record in json.loads(c.body)["records"]]
            db.executemany("INSERT INTO _between (place, id, record) VALUES (?, ?, ?)", parties)
        db.execute("UPDATE _conflict_changes SET count = count + 1")
