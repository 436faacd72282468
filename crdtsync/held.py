"""Which patients a workstation held: noted by its sites before they gave it anything, read when it is lost."""

from __future__ import annotations

from contextlib import suppress
from typing import Any, Final, Protocol

from crdtsync import limits
from crdtsync.errors import NotFound, RefusedError
from crdtsync.ids import RecordId, ReplicaId, base32, record_id_from
from crdtsync.practice import Patient
from crdtsync.replication.membership import Member, State
from crdtsync.transaction import AnyRecord

KIND: Final = "workstation_holding"
"""The kind of the notes: `subjects` are lists of subjects with the time since when the workstation could read them,
`ids` are supplies of ids for records that it may create itself."""


class Records(Protocol):
    """The records of a site, as this page needs them."""

    async def get(self, kind: str, record: str) -> AnyRecord:
        """One record of a kind. Raises NotFound."""

    async def record(self, record: str) -> AnyRecord:
        """One record of whatever kind. Raises NotFound."""


def note_of(replica: ReplicaId, number: int) -> RecordId:
    """The id of a record that notes what a workstation holds; `number` counts from 0."""
    return record_id_from(KIND, base32(replica), str(number))


async def held_by(records: Records, state: State, name: str) -> list[dict[str, Any]]:
    """The patients that the workstations of this name (or with this replica id) ever held, by name: id, name, number,
    since when, and the workstation's replica id. A patient that is not here has neither name nor number.

    Raises NotFound for a name that nobody has, RefusedError for one that is no workstation's.
    """
    found = [patient for desk in _workstations(state, name.strip()) for patient in await _patients(records, desk)]
    return sorted(found, key=lambda row: (row["name"] or "", row["id"]))


def _workstations(state: State, name: str) -> list[Member]:
    members = [m for m in state.members.values() if m.role != "recovery" and name in (m.name, base32(m.replica))]
    desks = [member for member in members if member.role == "workstation"]
    if not members:
        raise NotFound(f"the practice has no member named {name}; `members` lists them")
    if not desks:
        holds = "every record" if members[0].role == "site" else "sealed records, which it cannot read"
        raise RefusedError(f"{name} is no workstation but of the role {members[0].role}, which holds {holds}")
    return desks


async def _patients(records: Records, desk: Member) -> list[dict[str, Any]]:
    given, made = await _noted(records, desk.replica)
    rows = [await _row(records, subject, since, desk, missing=True) for subject, since in given.items()]
    rows += [await _row(records, record, since, desk) for record, since in made.items() if record not in given]
    return [row for row in rows if row is not None]


async def _noted(records: Records, desk: ReplicaId) -> tuple[dict[RecordId, str], dict[RecordId, str]]:
    """Subjects that it was given, and ids that it may have made records of; each with the earliest time."""
    given: dict[RecordId, str] = {}
    made: dict[RecordId, str] = {}
    number = 0
    with suppress(NotFound):  # there are no more notes
        while True:
            note = await records.get(KIND, note_of(desk, number))
            for entry in _entries(note, "subjects"):
                for subject in entry["subjects"]:
                    given[subject] = min(entry["since"], given.get(subject, entry["since"]))
            for entry in _entries(note, "ids"):
                for index in range(min(entry["count"], limits.held_ids_max)):
                    record = record_id_from("block", entry["seed"], str(index))
                    made[record] = min(entry["since"], made.get(record, entry["since"]))
            number += 1
    return given, made


def _entries(note: AnyRecord, field: str) -> list[dict[str, Any]]:
    return list(getattr(note, field).json())


async def _row(
    records: Records, subject: RecordId, since: str, desk: Member, *, missing: bool = False
) -> dict[str, Any] | None:
    """What is told of a subject; None for one that is no patient, such as a template, and for one that is not here
    unless it is `missing`."""
    row = {"id": subject, "name": None, "number": None, "since": since, "replica": base32(desk.replica)}
    try:
        record = await records.record(subject)
    except NotFound:
        return row if missing else None
    if not isinstance(record, Patient):
        return None
    names = (record.title, record.given_name, record.family_name)
    return row | {"name": " ".join(word for word in names if word), "number": record.number}
