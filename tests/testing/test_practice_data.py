"""The generated practice: the same for everybody, whole, and possible."""

from __future__ import annotations

from collections import Counter
from datetime import date, datetime
from itertools import pairwise

from crdtsync.documents import Document, edits_of, fields_json, read
from crdtsync.ids import is_record_id
from crdtsync.practice import Allergy, Appointment, MedicationStatement, Patient, Visit
from crdtsync.testing.practice_data import generate, patient


def test_equal_arguments_give_equal_records() -> None:
    one = [(record.id, record.kind, fields_json(record)) for record in generate(30, 7)]
    other = [(record.id, record.kind, fields_json(record)) for record in generate(30, 7)]
    assert one == other
    assert [record.id for record in generate(20, 7)] == [id for id, _, _ in one[: len(list(generate(20, 7)))]]
    assert {record.id for record in generate(30, 8)}.isdisjoint(id for id, _, _ in one)


def test_every_record_belongs_to_a_patient_before_it() -> None:
    patients: set[str] = set()
    kinds: Counter[str] = Counter()
    ids: Counter[str] = Counter()
    for record in generate(100, 1):
        kinds[record.kind] += 1
        ids[record.id] += 1
        if isinstance(record, Patient):
            patients.add(record.id)
        else:
            assert fields_json(record)["patient"] in patients
    assert set(ids.values()) == {1} and all(map(is_record_id, ids))
    assert kinds.keys() == {"patient", "medication_statement", "allergy", "appointment", "visit"}
    assert kinds["patient"] == kinds["appointment"] == 100
    assert 400 < kinds.total() < 800


def test_a_patient_has_twelve_fields_and_is_the_one_that_generate_gives() -> None:
    fields = fields_json(patient(3, 1)).keys() - {"deceased", "title"}
    assert len(fields) == 12
    titled = [number for number in range(40) if patient(number, 1).title]
    assert titled and len(titled) < 30
    generated = [record for record in generate(4, 1) if isinstance(record, Patient)]
    assert fields_json(generated[3]) == fields_json(patient(3, 1)) and generated[3].id == patient(3, 1).id
    assert len({patient(number, 1).number for number in range(500)}) == 500


def test_appointments_of_one_calendar_never_overlap_and_fall_on_working_days() -> None:
    slots: dict[str, list[tuple[datetime, datetime]]] = {}
    for record in generate(400, 2):
        if isinstance(record, Appointment):
            assert record.slot is not None and record.calendar is not None
            assert record.slot.start.weekday() < 5 and 7 <= record.slot.start.hour < 13
            slots.setdefault(record.calendar, []).append((record.slot.start, record.slot.end))
    for taken in slots.values():
        for (_, end), (start, _) in pairwise(sorted(taken)):
            assert end <= start
    assert len(slots) == 2


def test_values_are_possible() -> None:
    for record in generate(60, 3):
        if isinstance(record, Patient):
            assert record.birth_date is not None and date(1925, 1, 1) < record.birth_date < date(2020, 1, 1)
            assert record.insurance_number is not None and len(record.insurance_number) == 10
        elif isinstance(record, MedicationStatement):
            assert record.drug is not None and record.dosage is not None and record.status == "active"
        elif isinstance(record, Allergy):
            assert record.substance and record.criticality in ("low", "high")
        elif isinstance(record, Visit):
            assert record.started is not None and record.ended is not None and record.started < record.ended


def test_records_can_be_written_and_read() -> None:
    for record in generate(5, 4):
        document = Document(1)
        document.write(tag="aaaaaaaa", sequence=1, stamp=1, edits=edits_of(record, lambda: "k"))
        assert fields_json(read(record.kind, record.id, document.content())) == fields_json(record)
