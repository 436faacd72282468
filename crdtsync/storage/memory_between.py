"""Conflicts between records, and finding records that share something, in memory. Every write gives what undoes it."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from crdtsync.ids import RecordId
from crdtsync.storage.base import StoredConflict, ViewChange

_Key = tuple[str, RecordId]
_Entries = Mapping[_Key, ViewChange]


class MemoryBetween:
    """What `between_tables` is for SQLite. Columns are indexed from the first question for them on."""

    def __init__(self) -> None:
        self._claims: dict[str, dict[RecordId, str]] = {}
        self._claims_of: dict[RecordId, Mapping[str, str]] = {}
        self._at: dict[str, Sequence[StoredConflict]] = {}
        self._indexes: dict[tuple[str, str], dict[Any, set[RecordId]]] = {}

    def copy(self) -> MemoryBetween:
        """Another one that holds the same."""
        twin = MemoryBetween()
        twin._claims = {place: dict(claims) for place, claims in self._claims.items()}
        twin._claims_of, twin._at = dict(self._claims_of), dict(self._at)
        return twin

    # -- equal values --------------------------------------------------------------------------------------------------

    def moved(self, key: _Key, before: ViewChange | None, after: ViewChange | None) -> None:
        """Keep the indexes up to date: a record's row is another one now."""
        for (kind, column), index in self._indexes.items():
            if kind == key[0]:
                old, new = _value(before, column), _value(after, column)
                if old is not None:
                    index[old].discard(key[1])
                if new is not None:
                    index.setdefault(new, set()).add(key[1])

    def _index(self, kind: str, column: str, entries: _Entries) -> dict[Any, set[RecordId]]:
        index = self._indexes.get((kind, column))
        if index is None:
            index = self._indexes[kind, column] = {}
            for key, entry in entries.items():
                value = _value(entry, column) if key[0] == kind else None
                if value is not None:
                    index.setdefault(value, set()).add(key[1])
        return index

    def sharing(
        self, kind: str, column: str, records: Collection[RecordId], beside: str | None, entries: _Entries
    ) -> list[tuple[Any, Any, Any]]:
        """Values of a column that one of the records has, and another record of its kind as well."""
        index = self._index(kind, column, entries)
        found: dict[tuple[Any, Any, Any], None] = {}
        for record in records:
            entry = entries.get((kind, record))
            value = _value(entry, column)
            for other in index[value] - {record} if value is not None else ():
                its = _value(entries[kind, other], beside) if beside else None
                found[value, _value(entry, beside) if beside else None, its] = None
        return list(found)

    def holding(self, kind: str, columns: Sequence[str], value: Any, entries: _Entries) -> list[tuple[Any, ...]]:
        """Id and `columns` of the records whose first of these columns has the value, in order of their ids."""
        found = sorted(self._index(kind, columns[0], entries).get(value, ()))
        return [(record, *(_value(entries[kind, record], column) for column in columns)) for record in found]

    def between(
        self, kind: str, column: str, least: int, most: int, limit: int, falling: bool, entries: _Entries
    ) -> list[int]:
        """The different whole numbers from `least` to `most` that the column has in some row."""
        index = self._index(kind, column, entries)
        found = [value for value, held in index.items() if held and type(value) is int and least <= value <= most]
        return sorted(found, reverse=falling)[:limit]

    # -- claims --------------------------------------------------------------------------------------------------------

    def claim(self, record: RecordId, claims: Mapping[str, str]) -> Mapping[str, str]:
        """Replace the claims of a record; those that it had before."""
        before = self._claims_of.pop(record, {})
        for place in before:
            del self._claims[place][record]
        for place, body in claims.items():
            self._claims.setdefault(place, {})[record] = body
        if claims:
            self._claims_of[record] = dict(claims)
        return before

    def claimants(self, place: str) -> list[tuple[RecordId, str]]:
        """Records that claim a place, in order of their ids, with what they say."""
        return sorted(self._claims.get(place, {}).items())

    # -- conflicts -----------------------------------------------------------------------------------------------------

    def put(self, place: str, conflicts: Sequence[StoredConflict]) -> Sequence[StoredConflict]:
        """Replace the conflicts at a place; those that were there before."""
        before = self._at.pop(place, ())
        if conflicts:
            self._at[place] = sorted(conflicts, key=lambda conflict: conflict.id)
        return before

    def at(self, place: str) -> list[StoredConflict]:
        """The conflicts at a place."""
        return list(self._at.get(place, ()))

    def places_of(self, records: Collection[RecordId]) -> list[str]:
        """The places of conflicts in which any of the records takes part."""
        wanted = set(records)
        return [
            place
            for place, conflicts in self._at.items()
            if any(not wanted.isdisjoint(json.loads(conflict.body)["records"]) for conflict in conflicts)
        ]

    def conflicts(self) -> list[StoredConflict]:
        """All of them."""
        return [conflict for conflicts in self._at.values() for conflict in conflicts]


def _value(entry: ViewChange | None, column: str) -> Any:
    return None if entry is None or entry.row is None else entry.row.get(column)
