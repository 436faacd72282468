"""Questions to rows that are derived anew: only what is whole is answered."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Mapping
from typing import Final

from crdtsync.errors import RowsBehind
from crdtsync.storage.base import KindState
from crdtsync.storage.database import rows

STATES: Final = "SELECT kind, declared, former, after, behind, done FROM _kind"
PERSON_VIEW: Final = "person"
"""What questions ask to follow the links between patients."""
_PERSONS: Final = frozenset({PERSON_VIEW, "_person", "_same"})
_SAID: Final = ("patient", "same_as")
"""From which column persons follow."""


def states_of(db: sqlite3.Connection, sql: str = STATES) -> dict[str, KindState]:
    """What was noted of kinds' rows. Raises DatabaseError when that has rotted: a page of zeros passes SQLCipher."""
    found = {}
    for kind, declared, former, after, behind, done in rows(db, sql):
        try:
            columns, _, _ = (json.loads(text or "null") for text in (behind, declared, former))
        except (TypeError, ValueError):
            raise sqlite3.DatabaseError("what is noted of tables is not what was written") from None
        found[kind] = KindState(declared, former, after, None if columns is None else tuple(columns), done)
    return found


def kinds_behind(db: sqlite3.Connection) -> dict[str, KindState]:
    """The kinds of which some rows do not follow from what is declared."""
    return states_of(db, f"{STATES} WHERE after IS NOT NULL")


def refuse_behind(states: Mapping[str, KindState], read: Iterable[tuple[str, str]]) -> None:
    """Raise RowsBehind when one of these columns, by table, is still filled in rows of `states`."""
    asked = [_SAID if table in _PERSONS else (table, column) for table, column in read]
    kinds = {table for table, column in asked if table in states and _lacks(states[table], column)}
    if kinds:
        raise RowsBehind(sorted(kinds))


def _lacks(state: KindState, column: str) -> bool:
    return state.behind is None or column in state.behind
