"""A transaction: records that are added and edited, and become one commit when the block ends (L2)."""

from __future__ import annotations

import secrets
from collections.abc import Awaitable, Callable
from typing import TypeVar, overload

from crdtsync import limits
from crdtsync.documents import Record, UnknownRecord, edits_of, subject_of
from crdtsync.engine import RecordEdits, WriteRequest
from crdtsync.errors import BadValue, UsageError
from crdtsync.ids import CommitId, RecordId, is_record_id, record_id

R = TypeVar("R", bound=Record)
AnyRecord = Record | UnknownRecord
Load = Callable[[type[Record] | str | None, RecordId], Awaitable[AnyRecord]]


class Transaction:
    """Collects edits. Nothing is written before the block ends; an exception in the block drops everything.

    `commit` names the commit once the block has ended, None when nothing had changed.
    """

    def __init__(self, load: Load, *, author: str, reason: str, workstation: str, purpose: str) -> None:
        _check("author", author, limits.name_characters_max)
        _check("reason", reason, limits.reason_characters_max)
        _check("workstation", workstation, limits.name_characters_max)
        _check("purpose", purpose, limits.name_characters_max)
        self._load = load
        self._about = (author, reason, workstation, purpose)
        self._records: dict[tuple[str, RecordId], AnyRecord] = {}
        self._added: set[RecordId] = set()
        self.commit: CommitId | None = None

    def add(self, record: R) -> R:
        """Write a new record. Its id is drawn now, unless it was set: then writing twice gives one record."""
        if not record.id:
            record.id = record_id(secrets.token_bytes(16))
        elif not is_record_id(record.id):
            raise BadValue("a record id is 26 characters of a-z and 2-7; make one with crdtsync.ids.record_id_from")
        if self._records.setdefault((record.kind, record.id), record) is not record:
            raise UsageError(f"this {record.kind} is part of the transaction already; edit that one")
        self._added.add(record.id)
        return record

    @overload
    async def get(self, kind: type[R], record: str) -> R: ...

    @overload
    async def get(self, kind: str, record: str) -> AnyRecord: ...

    async def get(self, kind: type[Record] | str, record: str) -> AnyRecord:
        """A record to be edited: assign its fields or use their methods. Asking twice gives the same object.

        Raises NotFound.
        """
        name = kind if isinstance(kind, str) else kind.kind
        place = (name, RecordId(record))
        found = self._records.get(place)
        if found is None:
            found = await self._load(kind, RecordId(record))
            found = self._records.setdefault(place, found)
        return found

    def request(self) -> WriteRequest | None:
        """What is to be written, None when nothing was changed. Raises BadValue for a patient who is no record id."""
        records = []
        for (kind, record), value in self._records.items():
            edits = edits_of(value, lambda: secrets.token_hex(8))
            if edits:
                records.append(RecordEdits(kind, record, self._subject(value), edits))
        return WriteRequest(*self._about, records) if records else None

    def _subject(self, record: AnyRecord) -> str:
        """Whose data a record is. It stands beside its data key unsealed, so it is an id, never a word."""
        subject = subject_of(record)
        if record.id in self._added and not is_record_id(subject):
            raise BadValue(f"the patient of a {record.kind} is named by the patient's record id, and this is none")
        return subject


def _check(what: str, text: str, characters_max: int) -> None:
    if len(text) > characters_max:
        raise BadValue(f"the {what} of a transaction has at most {characters_max} characters")
