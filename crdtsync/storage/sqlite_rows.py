"""Rows that follow from another declaration of their kind than the program's: written anew beside all else (L8)."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Sequence
from typing import Final

from crdtsync.storage.base import KindState, ViewChange
from crdtsync.storage.database import VIEW_FILE, rows
from crdtsync.storage.part import guarded
from crdtsync.storage.sqlite_view import SqliteView

_STATES: Final = "SELECT kind, declared, former, after, behind, done FROM _kind"
_BEHIND: Final = f"{_STATES} WHERE after IS NOT NULL"


class SqliteRows(SqliteView):
    """The part of a `SqliteStore` that derives rows anew."""

    @guarded(VIEW_FILE)
    def write_rows(self, changes: Sequence[ViewChange]) -> None:
        """Replace rows, words and conflicts of records that are there. After an exception: `abort_view`."""
        assert self._writing
        self._writer.write_rows(changes)

    @guarded(VIEW_FILE)
    def kind_states(self) -> dict[str, KindState]:
        """What was noted of kinds' rows."""
        return _states(self._view, _STATES)

    @guarded(VIEW_FILE)
    def write_kind_state(self, kind: str, state: KindState) -> None:
        """Note how far a kind's rows are, with the transaction that is open."""
        behind = json.dumps(state.behind)
        self._writing.execute(
            "INSERT OR REPLACE INTO _kind (kind, declared, former, after, behind, done) VALUES (?, ?, ?, ?, ?, ?)",
            (kind, state.declared, state.former, state.after, behind, state.done),
        )


def kinds_behind(db: sqlite3.Connection) -> dict[str, KindState]:
    """The kinds of which some rows do not follow from what is declared."""
    return _states(db, _BEHIND)


def _states(db: sqlite3.Connection, sql: str) -> dict[str, KindState]:
    found = {}
    for kind, declared, former, after, behind, done in rows(db, sql):
        columns = json.loads(behind)
        found[kind] = KindState(declared, former, after, None if columns is None else tuple(columns), done)
    return found
