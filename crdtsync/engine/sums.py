"""What parts of the view sum up to, for narrowing down where two sites differ (L5).

Records are spread over sixteen parts by a hash of kind and id, each part over sixteen parts, and so on. A part of few
records is told record by record.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from typing import Final

from crdtsync import limits
from crdtsync.ids import RecordId
from crdtsync.replication.messages import PARTS, Path, Print, Sums
from crdtsync.storage.base import Store, StoredDocument

_PAGE: Final = 500
_MODULUS: Final = 1 << 256
_DOMAIN: Final = b"crdtsync/place/1"


class _Part:
    """The sums of one part of the records, while they are taken."""

    def __init__(self) -> None:
        self._counts, self._totals = [0] * PARTS, [0] * PARTS
        self._few: list[Print] = []

    def add(self, step: int, stored: StoredDocument) -> None:
        self._counts[step] += 1
        self._totals[step] += int.from_bytes(stored.fingerprint, "big")
        if len(self._few) <= limits.sums_records_max:
            self._few.append(Print(stored.kind, stored.record, stored.fingerprint))

    def sums(self) -> Sums:
        if len(self._few) <= limits.sums_records_max:
            return Sums((), tuple(self._few))
        pairs = zip(self._counts, self._totals, strict=True)
        return Sums(tuple((count, (total % _MODULUS).to_bytes(32, "big")) for count, total in pairs), ())


def sums(store: Store, paths: Sequence[Path]) -> list[tuple[Path, Sums]]:
    """The parts of the view at the end of `paths`: record by record where there are few, else the sums of sixteen parts
    of each. Goes over all documents once."""
    parts = {path: _Part() for path in paths}
    longest = max(map(len, paths), default=0)
    for stored in documents(store):
        steps = steps_of(stored.kind, stored.record, longest + 1)
        for path, part in parts.items():
            if steps[: len(path)] == path:
                part.add(steps[len(path)], stored)
    return [(path, part.sums()) for path, part in parts.items()]


def documents(store: Store) -> Iterator[StoredDocument]:
    """All documents, in order."""
    after = ("", "")
    while page := store.documents(None, after, _PAGE):
        yield from page
        after = (page[-1].kind, page[-1].record)


def steps_of(kind: str, record: RecordId, count: int) -> Path:
    """The first steps of the way to a record: numbers below sixteen."""
    digest = hashlib.sha256(_DOMAIN + kind.encode() + b"\0" + record.encode()).digest()
    return tuple((digest[step // 2] >> (0 if step % 2 else 4)) & 15 for step in range(count))
