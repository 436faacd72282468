"""The same in memory as `sqlite_persons` on disk."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from functools import partial

from crdtsync.ids import RecordId
from crdtsync.storage.memory_rows import MemoryRows


class MemoryPersons(MemoryRows):
    """The part of a `MemoryStore` that knows which patients are one person."""

    _derived = (*MemoryRows._derived, "_links_from", "_links_to", "_person")

    def __init__(self) -> None:
        super().__init__()
        self._links_from: dict[RecordId, tuple[RecordId, ...]] = {}
        self._links_to: dict[RecordId, frozenset[RecordId]] = {}
        self._person: dict[RecordId, RecordId] = {}

    def has_links(self) -> bool:
        """Whether any patient is linked."""
        self._guard()
        return bool(self._links_from or self._person)

    def links(self, patients: Collection[RecordId]) -> list[tuple[RecordId, RecordId]]:
        """All links that begin or end at one of these."""
        self._guard()
        found = {(one, other) for one in patients for other in self._links_from.get(one, ())}
        return sorted(found | {(one, other) for other in patients for one in self._links_to.get(other, ())})

    def persons(self, patients: Collection[RecordId]) -> dict[RecordId, RecordId]:
        """The persons of these patients, and of all others that are the same; those alone are left out."""
        self._guard()
        wanted = {self._person[patient] for patient in patients if patient in self._person}
        return {patient: person for patient, person in self._person.items() if person in wanted} if wanted else {}

    def write_links(self, patient: RecordId, others: Collection[RecordId]) -> None:
        """Replace the links that begin at a patient."""
        undo = self._open()
        undo.append(partial(self._link, patient, self._links_from.get(patient, ())))
        self._link(patient, tuple(others))

    def _link(self, patient: RecordId, others: tuple[RecordId, ...]) -> None:
        for other in self._links_from.pop(patient, ()):
            left = self._links_to.pop(other) - {patient}
            if left:
                self._links_to[other] = left
        if others:
            self._links_from[patient] = others
        for other in others:
            self._links_to[other] = self._links_to.get(other, frozenset()) | {patient}

    def write_persons(self, persons: Mapping[RecordId, RecordId | None]) -> None:
        """Note whose patients these are; None: a person of their own."""
        undo = self._open()
        undo.append(partial(self._be, {patient: self._person.get(patient) for patient in persons}))
        self._be(persons)

    def _be(self, persons: Mapping[RecordId, RecordId | None]) -> None:
        for patient, person in persons.items():
            self._person.pop(patient, None)
            if person is not None:
                self._person[patient] = person
