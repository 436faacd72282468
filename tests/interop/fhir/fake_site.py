"""A site in memory, as far as an import sees one: real documents, a real SQL database, no log and no network."""

from __future__ import annotations

import sqlite3
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

from crdtsync.documents import Document, Record, UnknownRecord, edits_of, fields_json, kinds, read
from crdtsync.errors import NotFound
from crdtsync.ids import RecordId


class FakeTransaction:
    """Collects what is added."""

    def __init__(self) -> None:
        self.added: list[Record] = []

    def add(self, record: Record) -> Record:
        self.added.append(record)
        return record


class FakeSite:
    """Each record is a document, written under `tag`; a kind's table holds ids alone."""

    def __init__(self, tag: str = "aaaaaaaa", client: int = 1) -> None:
        self.documents: dict[RecordId, tuple[str, Document]] = {}
        self.reasons: list[str] = []
        self.authors: set[str] = set()
        self.sizes: list[int] = []
        self._tag = tag
        self._client = client
        self._tables = sqlite3.connect(":memory:")
        for kind in kinds():
            self._tables.execute(f'CREATE TABLE "{kind}" (id TEXT PRIMARY KEY)')

    def close(self) -> None:
        self._tables.close()

    @asynccontextmanager
    async def transaction(self, *, author: str, reason: str, mass: bool) -> AsyncIterator[FakeTransaction]:
        transaction = FakeTransaction()
        yield transaction
        self.authors.add(author)
        self.reasons.append(reason)
        self.sizes.append(len(transaction.added))
        for record in transaction.added:
            self._write(record)

    def _write(self, record: Record) -> None:
        sequence = len(self.reasons)
        document = Document(self._client)
        document.write(tag=self._tag, sequence=sequence, stamp=sequence, edits=edits_of(record, self._no_key))
        assert record.id not in self.documents, "an import must not write what is there"
        self.documents[record.id] = (record.kind, document)
        self._tables.execute(f'INSERT INTO "{record.kind}" VALUES (?)', (record.id,))

    def _no_key(self) -> str:
        raise AssertionError("a random key would make two imports of one bundle differ")

    async def sql(self, query: str, params: Sequence[Any] = ()) -> list[dict[str, Any]]:
        return [{"id": row[0]} for row in self._tables.execute(query, params)]

    async def record(self, record: RecordId) -> Record | UnknownRecord:
        if record not in self.documents:
            raise NotFound(f"there is no record {record}")
        kind, document = self.documents[record]
        return read(kind, record, document.content())

    async def contents(self) -> dict[str, dict[str, Any]]:
        """Every record's fields by its id."""
        return {record: fields_json(await self.record(record)) for record in self.documents}
