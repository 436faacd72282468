"""Links between patients, and the person that linked patients are."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from typing import Final

from crdtsync.ids import RecordId
from crdtsync.storage.database import VIEW_FILE, rows
from crdtsync.storage.part import guarded
from crdtsync.storage.sqlite_rows import SqliteRows

_THESE: Final = "(SELECT value FROM json_each(?))"
LINKS: Final = (
    f"SELECT patient, other FROM _same WHERE patient IN {_THESE} UNION "
    f"SELECT patient, other FROM _same WHERE other IN {_THESE} ORDER BY 1, 2"
)
"""Links that begin or end at one of some patients, given twice, as JSON lists."""
_PERSONS: Final = f"SELECT patient, person FROM _person WHERE patient IN {_THESE}"
_TOGETHER: Final = f"SELECT patient, person FROM _person WHERE person IN (SELECT person FROM ({_PERSONS}))"


class SqlitePersons(SqliteRows):
    """The part of a `SqliteStore` that knows which patients are one person."""

    @guarded(VIEW_FILE)
    def has_links(self) -> bool:
        """Whether any patient is linked."""
        found = self._view.execute("SELECT EXISTS (SELECT 1 FROM _same) OR EXISTS (SELECT 1 FROM _person)").fetchone()
        return bool(found[0])

    @guarded(VIEW_FILE)
    def links(self, patients: Collection[RecordId]) -> list[tuple[RecordId, RecordId]]:
        """All links that begin or end at one of these."""
        these = json.dumps(list(patients))
        return [(RecordId(one), RecordId(other)) for one, other in rows(self._view, LINKS, (these, these))]

    @guarded(VIEW_FILE)
    def persons(self, patients: Collection[RecordId]) -> dict[RecordId, RecordId]:
        """The persons of these patients, and of all others that are the same; those alone are left out."""
        return dict(rows(self._view, _TOGETHER, (json.dumps(list(patients)),)))

    @guarded(VIEW_FILE)
    def write_links(self, patient: RecordId, others: Collection[RecordId]) -> None:
        """Replace the links that begin at a patient."""
        db = self._writing
        db.execute("DELETE FROM _same WHERE patient = ?", (patient,))
        db.executemany("INSERT INTO _same (patient, other) VALUES (?, ?)", [(patient, other) for other in others])

    @guarded(VIEW_FILE)
    def write_persons(self, persons: Mapping[RecordId, RecordId | None]) -> None:
        """Note whose patients these are; None: a person of their own."""
        db = self._writing
        db.executemany("DELETE FROM _person WHERE patient = ?", [(patient,) for patient in persons])
        linked = [(patient, person) for patient, person in persons.items() if person is not None]
        db.executemany("INSERT INTO _person (patient, person) VALUES (?, ?)", linked)
