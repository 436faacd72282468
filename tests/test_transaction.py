"""A transaction collects edits: what is asked of it, before anything is written."""

from __future__ import annotations

import pytest

from crdtsync.documents import Content, Record, UnknownRecord, read
from crdtsync.errors import BadValue, NotFound, UsageError
from crdtsync.ids import RecordId, is_record_id, record_id_from
from crdtsync.practice import Allergy, Patient
from crdtsync.transaction import AnyRecord, Transaction

pytestmark = pytest.mark.anyio
KNOWN = RecordId("a" * 26)


async def load(kind: type[Record] | str | None, record: RecordId) -> AnyRecord:
    if record != KNOWN:
        raise NotFound("not here")
    name = kind if isinstance(kind, str) else (kind or Patient).kind
    tag = "tttttttt"
    return read(name, record, Content({f"family_name/{tag}": '[[1,1,"Muster"]]'}, {}))


def begun(author: str = "dr.weber", reason: str = "visit") -> Transaction:
    return Transaction(load, author=author, reason=reason, workstation="desk 1", purpose="care")


def test_what_was_added_is_asked_for() -> None:
    tx = begun()
    patient = tx.add(Patient(family_name="Muster"))
    allergy = tx.add(Allergy(patient=patient.id, substance="nuts"))
    assert is_record_id(patient.id) and is_record_id(allergy.id) and patient.id != allergy.id
    request = tx.request()
    assert request is not None
    assert (request.author, request.reason, request.workstation, request.purpose) == (
        "dr.weber",
        "visit",
        "desk 1",
        "care",
    )
    assert [(r.kind, r.record, r.subject) for r in request.records] == [
        ("patient", patient.id, patient.id),
        ("allergy", allergy.id, patient.id),
    ]


def test_an_id_may_be_given_if_it_is_one() -> None:
    tx = begun()
    patient = Patient(family_name="Muster")
    patient.id = record_id_from("fhir", "Patient", "1")
    assert tx.add(patient) is patient and tx.add(patient) is patient
    other = Patient(family_name="Muster")
    other.id = patient.id
    with pytest.raises(UsageError, match="part of the transaction already"):
        tx.add(other)
    other.id = RecordId("Muster-1")
    with pytest.raises(BadValue, match="26 characters"):
        tx.add(other)


async def test_what_was_got_is_the_same_object_and_written_when_changed() -> None:
    tx = begun()
    patient = await tx.get(Patient, KNOWN)
    assert await tx.get("patient", KNOWN) is patient
    assert tx.request() is None
    patient.family_name = "Muster"
    assert tx.request() is None, "it says so already"
    patient.family_name = "Beispiel"
    request = tx.request()
    assert request is not None and len(request.records[0].edits) == 1
    assert [e.seen for e in request.records[0].edits] == [{"family_name/tttttttt": '[[1,1,"Muster"]]'}]  # type: ignore[union-attr]
    with pytest.raises(NotFound):
        await tx.get(Patient, "b" * 26)


async def test_a_kind_of_a_later_version_is_shown_and_not_edited() -> None:
    tx = begun()
    found = await tx.get("submarine", KNOWN)
    assert isinstance(found, UnknownRecord) and tx.request() is None


def test_a_patient_is_named_by_an_id() -> None:
    """The subject of a data key stands beside it unsealed, so it cannot be a name."""
    tx = begun()
    tx.add(Allergy(patient=RecordId("Erika Muster"), substance="nuts"))
    with pytest.raises(BadValue, match="record id") as raised:
        tx.request()
    assert "Erika" not in str(raised.value)


@pytest.mark.parametrize("field", ["author", "reason"])
def test_words_have_their_bounds(field: str) -> None:
    with pytest.raises(BadValue, match=f"the {field} of a transaction has at most") as raised:
        begun(**{field: "x" * 3_000})
    assert "xxx" not in str(raised.value)
