"""The view of a `MemoryStore`: transactions, and a journal of those that a power cut may still take (L1, L8)."""

from __future__ import annotations

from abc import ABC, abstractmethod
from bisect import bisect_right
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

from crdtsync.errors import UnknownKind, UsageError
from crdtsync.ids import DataKeyId, RecordId
from crdtsync.replication.stored import LogHead
from crdtsync.storage.base import StoredConflict, StoredDocument, TableSpec, ViewChange, ViewState
from crdtsync.storage.checks import EMPTY_VIEW, check_derived, check_row, keep_detected, seen_alike
from crdtsync.storage.memory_between import MemoryBetween

_Key = tuple[str, RecordId]


class MemoryView(ABC):
    """The derived half of a `MemoryStore`.

    The newest `view_checkpoint_every` transactions at most are volatile: like SQLite with `synchronous=NORMAL`, whose
    checkpoints sync what lies before them.
    """

    _derived: tuple[str, ...] = ("_entries", "_in_conflict", "_counts", "_waiting", "_touches")
    """The dictionaries that are emptied with the view."""

    def __init__(self) -> None:
        self.view_checkpoint_every = 50
        self._tables: dict[str, list[str]] = {}
        self._indexes: set[tuple[str, str]] = set()
        self._entries: dict[_Key, ViewChange] = {}
        self._touches: dict[_Key, tuple[int, ...]] = {}
        self._in_conflict: dict[_Key, None] = {}
        self._counts: dict[str, int] = {}
        self._waiting: dict[DataKeyId, list[int]] = {}
        self._state = EMPTY_VIEW
        self._sorted: list[tuple[str, str]] | None = None
        self._begun: list[Callable[[], object]] | None = None
        self._between = MemoryBetween()
        self._view_undo: list[Callable[[], object]] = []

    @abstractmethod
    def _guard(self) -> None: ...

    @abstractmethod
    def log_head(self) -> LogHead:
        """How far the log goes."""

    @abstractmethod
    def _is_prefix(self, head: LogHead) -> bool: ...

    def declare_tables(self, tables: Sequence[TableSpec]) -> bool:
        """Remember the columns of each kind; True when a view that holds documents got a new table or column."""
        self._guard()
        self._refuse_open()
        added = False
        for spec in tables:
            columns = self._tables.setdefault(spec.kind, [])
            new = [column for column in spec.columns if column not in columns]
            added = added or bool(new) or not columns
            columns.extend(new)
        return added and bool(self._entries)

    def view_state(self) -> ViewState:
        """What the view was derived from; a view that is no prefix of the log is emptied (L1)."""
        self._guard()
        if not self._is_prefix(self._state.head):
            self.reset_view()
        return self._state

    # -- reading -------------------------------------------------------------------------------------------------------

    def document(self, kind: str, record: RecordId) -> StoredDocument | None:
        """One document as last derived."""
        self._guard()
        entry = self._entries.get((kind, record))
        return entry.document if entry else None

    def documents_of(self, record: RecordId) -> list[StoredDocument]:
        """All documents under this id, in order of their kinds."""
        self._guard()
        keys = [(kind, record) for kind in sorted(self._counts)]
        return [self._entries[key].document for key in keys if key in self._entries]

    def documents(self, kind: str | None, after: tuple[str, str], limit: int) -> list[StoredDocument]:
        """Documents in order of (kind, record), beginning behind `after`."""
        self._guard()
        if self._sorted is None:
            self._sorted = sorted(self._entries)
        found: list[StoredDocument] = []
        for key in self._sorted[bisect_right(self._sorted, max(after, (kind or "", ""))) :]:
            if len(found) >= limit or kind not in (None, key[0]):
                break
            found.append(self._entries[key[0], RecordId(key[1])].document)
        return found

    def row(self, kind: str, record: RecordId) -> Mapping[str, Any] | None:
        """The record's row in its kind's table (for oracles and tests)."""
        entry = self._entries.get((kind, record))
        return entry.row if entry else None

    def words(self, kind: str, record: RecordId) -> str:
        """The record's text to search (for oracles and tests)."""
        entry = self._entries.get((kind, record))
        return entry.words if entry else ""

    def shows(self, change: ViewChange) -> bool:
        """Whether the view holds just this of a record."""
        self._guard()
        entry = self._entries.get((change.document.kind, change.document.record))
        return entry is not None and seen_alike(entry, change)

    def touches(self, kind: str, record: RecordId) -> list[int]:
        """Arrivals of all commits with a change of this record, in order."""
        self._guard()
        return list(self._touches.get((kind, record), ()))

    def waiting(self) -> dict[DataKeyId, list[int]]:
        """Keys that parts wait for."""
        self._guard()
        return {key: list(arrivals) for key, arrivals in self._waiting.items()}

    def conflicts(self) -> list[StoredConflict]:
        """All open conflicts, oldest first."""
        self._guard()
        found = [conflict for key in self._in_conflict for conflict in self._entries[key].conflicts]
        found += self._between.conflicts()
        return sorted(found, key=lambda conflict: (conflict.detected_ms, conflict.id))

    def counts(self) -> dict[str, int]:
        """Number of records per kind."""
        self._guard()
        return {kind: number for kind, number in sorted(self._counts.items()) if number}

    def sharing(
        self, kind: str, column: str, records: Collection[RecordId], beside: str | None = None
    ) -> list[tuple[Any, Any, Any]]:
        """Values of a column that one of the records has, and another record of its kind as well."""
        self._guard()
        if not {column, beside or column} <= set(self._tables.get(kind, ())):
            return []
        return self._between.sharing(kind, column, records, beside, self._entries)

    def columns_of(self, kind: str, record: RecordId, columns: tuple[str, ...]) -> tuple[Any, ...] | None:
        """These columns of a record's row; None when there is no such row."""
        self._guard()
        entry = self._entries.get((kind, record))
        if entry is None or entry.row is None or not set(columns) <= set(self._tables.get(kind, ())):
            return None
        return tuple(map(entry.row.get, columns))

    def holding(self, kind: str, columns: Sequence[str], value: Any) -> list[tuple[Any, ...]]:
        """Id and `columns` of the records whose first of these columns has the value, in order of their ids."""
        self._guard()
        if not set(columns) <= set(self._tables.get(kind, ())):
            return []
        return self._between.holding(kind, columns, value, self._entries)

    def between(self, kind: str, column: str, least: int, most: int, limit: int, *, falling: bool = False) -> list[int]:
        """The different whole numbers from `least` to `most` that the column has in some row."""
        self._guard()
        if column not in self._tables.get(kind, ()):
            return []
        return self._between.between(kind, column, least, most, limit, falling, self._entries)

    def claimants(self, place: str) -> list[tuple[RecordId, str]]:
        """Records that claim a place, in order of their ids, with what they say."""
        self._guard()
        return self._between.claimants(place)

    def between_places(self, records: Collection[RecordId]) -> list[str]:
        """The places of conflicts between records in which any of these takes part."""
        self._guard()
        return self._between.places_of(records)

    def between_at(self, place: str) -> list[StoredConflict]:
        """The conflicts between records at a place, in order of their ids."""
        self._guard()
        return self._between.at(place)

    # -- writing -------------------------------------------------------------------------------------------------------

    def begin_view(self) -> None:
        """Begin a transaction of the view."""
        self._guard()
        self._refuse_open()
        self._begun = []

    def _refuse_open(self) -> None:
        if self._begun is not None:
            raise UsageError("a transaction of the view is open; end it with commit_view or abort_view first")

    def _open(self) -> list[Callable[[], object]]:
        self._guard()
        if self._begun is None:
            raise UsageError("no transaction of the view is open; call begin_view first")
        return self._begun

    def write_view(self, changes: Sequence[ViewChange]) -> None:
        """Replace the named records' documents, rows, words and conflicts; add to what is known of their history."""
        undo = self._open()
        for change in changes:
            kind = change.document.kind
            if change.row is not None:
                if kind not in self._tables:
                    raise UnknownKind(f"no table was declared for kind {kind!r}; call declare_tables first")
                check_row(change, self._tables[kind])
            key = (kind, change.document.record)
            before = self._entries.get(key)
            if change.conflicts and before is not None and before.conflicts:
                known = {conflict.id: conflict.detected_ms for conflict in before.conflicts}
                change = replace(change, conflicts=keep_detected(change.conflicts, known))
            self._put(key, change)
            undo.append(partial(self._put, key, before))
            if change.touches:
                undo.append(partial(self._touch, key, self._touches.get(key, ())))
                self._touch(key, tuple(sorted({*self._touches.get(key, ()), *change.touches})))

    def _touch(self, key: _Key, arrivals: tuple[int, ...]) -> None:
        self._touches.pop(key, None)
        if arrivals:
            self._touches[key] = arrivals

    def _put(self, key: _Key, entry: ViewChange | None) -> None:
        self._between.moved(key, self._entries.get(key), entry)
        if entry is None:
            del self._entries[key]
        else:
            if key not in self._entries:
                self._counts[key[0]] = self._counts.get(key[0], 0) + 1
                self._sorted = None
            self._entries[key] = entry
            if entry.conflicts:
                self._in_conflict[key] = None
                return
        self._in_conflict.pop(key, None)
        if entry is None:
            self._counts[key[0]] -= 1
            self._sorted = None

    def write_waiting(self, key: DataKeyId, arrivals: Sequence[int]) -> None:
        """Remember that parts of these commits wait for a key; an empty sequence forgets the key."""
        undo = self._open()
        before = self._waiting.get(key, [])
        self._wait(key, list(arrivals))
        undo.append(partial(self._wait, key, before))

    def _wait(self, key: DataKeyId, arrivals: list[int]) -> None:
        self._waiting.pop(key, None)
        if arrivals:
            self._waiting[key] = arrivals

    def write_claims(self, claims: Mapping[RecordId, Mapping[str, str]]) -> None:
        """Replace the claims of these records."""
        undo = self._open()
        for record, found in claims.items():
            undo.append(partial(self._between.claim, record, self._between.claim(record, found)))

    def write_between(self, found: Mapping[str, Sequence[StoredConflict]]) -> None:
        """Replace the conflicts between records at these places."""
        undo = self._open()
        for place, conflicts in found.items():
            undo.append(partial(self._between.put, place, self._between.put(place, conflicts)))

    def commit_view(self, state: ViewState) -> None:
        """End the transaction; it is volatile until the next checkpoint."""
        steps = self._open()
        check_derived(state, self.log_head())
        self._end(state, steps)

    def _end(self, state: ViewState, steps: list[Callable[[], object]]) -> None:
        before = self._state

        def undo() -> None:
            self._state = before
            for step in reversed(steps):
                step()

        self._state, self._begun = state, None
        self._view_undo.append(undo)
        if len(self._view_undo) > self.view_checkpoint_every:
            self._view_undo.clear()

    def abort_view(self) -> None:
        """Drop the transaction, if one is open."""
        for step in reversed(self._begun or ()):
            step()
        self._begun = None

    def reset_view(self) -> None:
        """Empty the view, to be derived again from the log."""
        self._guard()
        self.abort_view()
        held = {name: vars(self)[name] for name in (*self._derived, "_between")}

        def restore() -> None:
            vars(self).update(held)
            self._sorted = None

        vars(self).update({name: {} for name in self._derived})
        self._between = MemoryBetween()
        self._sorted = None
        self._end(EMPTY_VIEW, [restore])
