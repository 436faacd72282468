"""Rows that follow from another declaration of their kind than the program's: written anew beside all else (L8)."""

from __future__ import annotations

import json
from collections.abc import Sequence

from crdtsync.storage.base import KindState, ViewChange
from crdtsync.storage.behind import states_of
from crdtsync.storage.database import VIEW_FILE
from crdtsync.storage.part import guarded
from crdtsync.storage.sqlite_view import SqliteView


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
        return states_of(self._view)

    @guarded(VIEW_FILE)
    def write_kind_state(self, kind: str, state: KindState) -> None:
        """Note how far a kind's rows are, with the transaction that is open."""
        behind = json.dumps(state.behind)
        self._writing.execute(
            "INSERT OR REPLACE INTO _kind (kind, declared, former, after, behind, done) VALUES (?, ?, ?, ?, ?, ?)",
            (kind, state.declared, state.former, state.after, behind, state.done),
        )
