"""Two sites that each edit one record, apart."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from crdtsync.documents import Document, Record, edits_of, read
from crdtsync.ids import RecordId

RECORD = RecordId("a" * 26)


@pytest.fixture(scope="session")
def apart() -> Callable[..., Any]:
    """`apart(record, first, second)`: both sites hold the record, each makes its changes unseen, both merge; what a
    third site then reads."""

    def run(record: Record, *changes: dict[str, Any]) -> Any:
        origin = Document(1)
        edits = edits_of(record, lambda: "k")
        whole = [origin.write(tag="origaaaa", sequence=1, stamp=1, edits=edits)]
        for number, values in enumerate(changes, start=2):
            document = Document(number, origin.state() if whole[0] else b"")
            held = read(record.kind, RECORD, document.content())
            assert isinstance(held, Record)
            for field, value in values.items():
                held.assign(field, value)
            edits = edits_of(held, lambda: "k")
            whole.append(document.write(tag=f"site{number:04}", sequence=1, stamp=number, edits=edits))
        one, two = Document(98), Document(99)
        for delta in filter(None, whole):
            one.apply(delta)
        for delta in filter(None, [whole[0], *reversed(whole[1:])]):
            two.apply(delta)
        assert one.fingerprint(record.kind, RECORD) == two.fingerprint(record.kind, RECORD)
        return read(record.kind, RECORD, one.content())

    return run
