"""Questions to the view, asked in threads beside the one writer: they never wait for it, nor it for them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from functools import partial
from typing import Any, Final, TypeVar

import anyio
import anyio.to_thread

from crdtsync.changes import Change, Cursor
from crdtsync.documents import Document, Record, column_value, kinds, model_of, read
from crdtsync.engine import Counted
from crdtsync.engine.between import ISSUE, is_open
from crdtsync.errors import NotFound, UnknownKind, UsageError
from crdtsync.folder import Unlocked
from crdtsync.ids import RecordId
from crdtsync.practice import DetectedIssue
from crdtsync.storage.base import StoredDocument
from crdtsync.storage.reader import Reader
from crdtsync.transaction import AnyRecord

T = TypeVar("T")
_READING_CLIENT: Final = 1
"""A document that is only read needs no client id of its own."""
_THREADS: Final = 4
_CHANGES_AT_ONCE: Final = 500


class Questions:
    """Reads the view of an open replica."""

    def __init__(self, reader: Reader) -> None:
        self._reader = reader
        self._limiter = anyio.CapacityLimiter(_THREADS)

    @classmethod
    @asynccontextmanager
    async def open(cls, unlocked: Unlocked) -> AsyncIterator[Questions]:
        """Questions to the view in this folder, whose store is open."""
        reader = Reader(unlocked.path, unlocked.view_key)
        try:
            yield cls(reader)
        finally:
            reader.close()

    async def ask(self, question: Callable[[Reader], T]) -> T:
        """The answer to a question of this site's own, asked in a thread."""
        return await self._ask(lambda: question(self._reader))

    async def _ask(self, question: Callable[[], T]) -> T:
        return await anyio.to_thread.run_sync(question, limiter=self._limiter)

    def record(self, kind: type[Record] | str | None, record: RecordId) -> AnyRecord:
        """One record, read where it is asked for: a hop to a thread and back costs more than reading one row by its key
        (measured: 0.1 ms beside 0.2 to 1 ms). Raises NotFound."""
        name = kind if kind is None or isinstance(kind, str) else kind.kind
        if name is None:
            document = next(iter(self._reader.documents_of(record)), None)
        else:
            document = self._reader.document(name, record)
        if document is None:
            raise NotFound(f"there is no {name or 'record'} with the id {record} here")
        return self._opened(document)

    async def find(self, kind: type[Record] | str, limit: int | None, equals: Mapping[str, Any]) -> list[AnyRecord]:
        """Records of a kind whose fields have these values. Where a field names a patient, records of all patients
        that are the same person are found."""
        name = kind if isinstance(kind, str) else kind.kind
        model = model_of(name)
        if model is None:
            return await self._ask(lambda: self._find_unknown(name, limit, equals))
        where = {field: column_value(model, field, value) for field, value in equals.items()}
        fields = [model.plan().field(field) for field in where]
        links = [field.name for field in fields if field.base is RecordId and not field.entries]
        return await self._ask(lambda: [self._opened(found) for found in self._reader.find(name, where, limit, links)])

    def _find_unknown(self, kind: str, limit: int | None, equals: Mapping[str, Any]) -> list[AnyRecord]:
        """A kind that no model declares has no table; it is found if records of it came from a later version."""
        documents = self._reader.documents(kind, limit)
        if not documents:
            raise UnknownKind(f"no kind is named {kind!r}; the kinds are {', '.join(sorted(kinds()))}")
        if equals:
            raise UsageError(f"{kind} is a kind of a later version; it can be listed here, not searched by its fields")
        return [self._opened(document) for document in documents]

    async def same_person(self, record: RecordId) -> list[RecordId]:
        """All patients that are one person with this one, itself included."""
        return await self._ask(lambda: self._reader.same_person(record))

    async def persons(self, linked: bool, limit: int | None) -> list[list[RecordId]]:
        """The patients of each person."""
        return await self._ask(lambda: self._reader.persons(linked, limit))

    async def linked(self, patients: Sequence[RecordId]) -> list[tuple[RecordId, RecordId]]:
        """All links that begin or end at one of these patients."""
        return await self._ask(lambda: self._reader.linked(patients))

    async def sql(self, query: str, params: Sequence[Any]) -> list[dict[str, Any]]:
        """Rows of one SELECT."""
        return await self._ask(lambda: self._reader.sql(query, params))

    async def search(self, words: str, limit: int) -> list[AnyRecord]:
        """Records that contain the words."""
        return await self._ask(lambda: [self._opened(found) for found in self._reader.search(words, limit)])

    async def changes(self, after: Cursor) -> list[Change]:
        """The next records that changed behind a cursor."""

        def ask() -> list[Change]:
            found = self._reader.changed(after.arrival, after.kind, RecordId(after.record), _CHANGES_AT_ONCE)
            return [Change(str(Cursor(arrival, kind, record)), kind, record) for arrival, kind, record in found]

        return await self._ask(ask)

    async def records_of(self, subject: str) -> list[tuple[str, RecordId]]:
        """Kind and id of all records of a subject, in this order."""
        return await self._ask(lambda: self._reader.records_of(subject))

    def _opened(self, document: StoredDocument) -> AnyRecord:
        record = opened(document)
        if isinstance(record, Record):
            record._reading.in_the_way = partial(in_the_way, self._reader, record.id)
        return record

    async def counted(self) -> Counted:
        """What the view holds, as readers see it: also when the disk has failed the one writer."""

        def ask() -> Counted:
            state = self._reader.view_state()
            conflicts = [found for found in self._reader.conflicts() if is_open(self._reader, found)]
            return Counted(state.digest.hex(), state.records, self._reader.counts(), len(conflicts))

        return await self._ask(ask)


def opened(document: StoredDocument) -> AnyRecord:
    """The record in a stored document."""
    content = Document(_READING_CLIENT, document.state).content()
    record = read(document.kind, document.record, content)
    if document.damaged:
        (record._reading if isinstance(record, Record) else record).damaged = document.damaged
    return record


def in_the_way(reader: Reader, record: RecordId, within: Sequence[str]) -> list[str]:
    """The conflicts of high severity that nobody has acknowledged: of those `within` a record, and of those between it
    and others. Asked where it is needed: a few rows by their keys."""
    between = [found.id for found in reader.conflicts_between(record) if found.severity == "high"]
    return [conflict for conflict in (*within, *between) if not _answered(reader, conflict, conflict in between)]


def _answered(reader: Reader, conflict: str, between: bool) -> bool:
    document = reader.document(ISSUE, RecordId(conflict))
    issue = None if document is None else opened(document)
    if not isinstance(issue, DetectedIssue):
        return False
    return len(issue.acknowledged) > 0 or (between and issue.dismissed is not None)
