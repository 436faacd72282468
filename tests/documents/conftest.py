"""Writers for tests: each is one log at one replica, and holds one record's document."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from crdtsync.documents import Content, Document, Record, check_delta, edits_of, read
from crdtsync.ids import RecordId

RECORD = RecordId("aaaaaaaaaaaaaaaaaaaaaaaaaa")


class Writer:
    """A log that edits one record of a kind and takes in what other logs wrote."""

    def __init__(self, name: str, kind: str) -> None:
        self.tag = (name + "aaaaaaaa")[:8]
        self.kind = kind
        self.client = int.from_bytes(name.encode(), "big") + (1 << 52)
        self.document = Document(self.client)
        self.sequence = 0
        self.stamp = 0
        self.keys: Iterator[int] = iter(range(10**6))

    def read(self) -> Any:
        return read(self.kind, RECORD, self.document.content())

    def write(self, record: Record, *, stamp: int | None = None) -> bytes:
        """Commit what was assigned to a record that was read here (or made anew)."""
        self.sequence += 1
        self.stamp = self.stamp + 1 if stamp is None else stamp
        edits = edits_of(record, lambda: f"{self.tag}{next(self.keys)}")
        delta = self.document.write(tag=self.tag, sequence=self.sequence, stamp=self.stamp, edits=edits)
        if delta:
            check_delta(delta, self.client)
        return delta

    def edit(self, act: Callable[[Any], object] | None = None, *, stamp: int | None = None, **values: Any) -> bytes:
        """Read, change and commit."""
        record = self.read()
        if act is not None:
            act(record)
        for field, value in values.items():
            setattr(record, field, value)
        return self.write(record, stamp=stamp)

    def receive(self, *deltas: bytes) -> None:
        for delta in deltas:
            self.document.apply(delta)

    @property
    def content(self) -> Content:
        return self.document.content()

    def fingerprint(self) -> bytes:
        return self.document.fingerprint(self.kind, RECORD)


@pytest.fixture
def record_id() -> RecordId:
    return RECORD


@pytest.fixture(scope="session")
def writer() -> type[Writer]:
    return Writer
