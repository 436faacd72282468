"""Which patients are one person: what their records say of each other, closed over all of them (L5).

`same_as` of a patient names others. A link holds in both directions, whoever of the two says it, and through any third.
A record that is not here, or is no patient, may stand between two that are: both say that they are it. The person of
linked patients is the least of their ids, so every site that holds the same records says the same, whatever came first.
A record that nobody wrote to, and a link to itself, count for nothing.

Kept up to date in the transaction that changes a patient: what it costs is the size of the persons that it touches.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any, Final

from crdtsync.documents import BLANK
from crdtsync.ids import RecordId
from crdtsync.storage.base import Store, ViewChange

KIND: Final = "patient"
FIELD: Final = "same_as"
_ID_CHARACTERS_MAX: Final = 64
_NONE: Final = "[]"


class Persons:
    """The persons of a store's view. What it writes lies in the transaction that is open."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def update(self, changes: Sequence[ViewChange]) -> None:
        """Take in these records, which the view has as they are."""
        said = {c.document.record: links_of(c) for c in changes if c.document.kind == KIND}
        if said and (any(said.values()) or self._store.has_links()):
            self._close(self._touched(said))

    def shows(self, change: ViewChange) -> bool:
        """Whether the view says of a record's person just what follows."""
        record = change.document.record
        if change.document.kind != KIND or not (links_of(change) or self._store.has_links()):
            return True
        kept = [other for one, other in self._store.links([record]) if one == record]
        before, now = self._closed([record])
        return kept == links_of(change) and before == now

    def _touched(self, said: Mapping[RecordId, list[RecordId]]) -> set[RecordId]:
        """Write the links that are other than before. What of these records may belong to another person now."""
        links = self._store.links(said)
        persons = self._store.persons(said)
        touched: set[RecordId] = set()
        for record, others in said.items():
            before = [other for one, other in links if one == record]
            if before != others:
                self._store.write_links(record, others)
                touched.add(record)  # whom it named before is of its person still, until that is closed anew
        near: dict[RecordId, set[RecordId]] = {}
        for one, other in links:
            near.setdefault(one, set()).add(other)
            near.setdefault(other, set()).add(one)
        for record in said:
            person = persons.get(record)
            around = {persons.get(other) for other in near.get(record, ())}
            if (around or person) and (around != {person} or person is None or not self._is_here(record)):
                touched.add(record)
        return touched

    def _close(self, touched: Collection[RecordId]) -> None:
        if touched:
            before, now = self._closed(touched)
            moved = {patient for patient, _ in before.items() ^ now.items()}
            self._store.write_persons({patient: now.get(patient) for patient in moved})

    def _closed(self, touched: Collection[RecordId]) -> tuple[dict[RecordId, RecordId], dict[RecordId, RecordId]]:
        """The persons of all whom these are or were linked with: as the view has them, and as they follow."""
        before = self._store.persons(touched)
        near: dict[RecordId, set[RecordId]] = {record: set() for record in (*touched, *before)}
        reached: set[RecordId] = set(near)
        while reached:
            links = self._store.links(reached)
            found = {record for link in links for record in link} - near.keys()
            near.update({record: set() for record in found})
            for one, other in links:
                near[one].add(other)
                near[other].add(one)
            reached = found
        return self._store.persons(near), self._named(near)

    def _named(self, near: Mapping[RecordId, Iterable[RecordId]]) -> dict[RecordId, RecordId]:
        """Each patient that is linked with another that is here, and the least of them all."""
        found: dict[RecordId, RecordId] = {}
        left = set(near)
        while left:
            together, reached = set[RecordId](), [left.pop()]
            while reached:
                record = reached.pop()
                together.add(record)
                reached += [other for other in near[record] if other in left]
                left.difference_update(near[record])
            here = [record for record in together if self._is_here(record)] if len(together) > 1 else []
            if len(here) > 1:
                found.update(dict.fromkeys(here, min(here)))
        return found

    def _is_here(self, record: RecordId) -> bool:
        stored = self._store.document(KIND, record)
        return stored is not None and stored.fingerprint != BLANK


def links_of(change: ViewChange) -> list[RecordId]:
    """Whom a patient's record says to be the same, each once; what cannot be an id is passed over (L6)."""
    text = _NONE if change.row is None else change.row.get(FIELD) or _NONE
    if text == _NONE:
        return []
    said: list[Any] = json.loads(text)
    ids = {RecordId(each) for each in said if isinstance(each, str) and 0 < len(each) <= _ID_CHARACTERS_MAX}
    return sorted(ids - {change.document.record})
