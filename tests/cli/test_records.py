"""What the command line makes of its words, before a site is asked."""

from __future__ import annotations

import pytest

from crdtsync.cli.records import assign, make, model, split
from crdtsync.errors import BadValue, UnknownField, UnknownKind, UsageError
from crdtsync.practice import Dosage, MedicationStatement, Patient


def test_fields_are_split_at_the_first_equals_sign() -> None:
    assert split(["note=a=b", "title=", "x= "]) == {"note": "a=b", "title": "", "x": " "}


def test_a_word_that_is_no_field_is_counted_and_not_repeated() -> None:
    with pytest.raises(UsageError, match="number 2 of yours is not") as raised:
        split(["a=1", "Geheim"])
    assert "Geheim" not in str(raised.value)


def test_a_field_is_given_once() -> None:
    with pytest.raises(UsageError, match="the field a is given twice"):
        split(["a=1", "a=2"])


def test_an_unknown_kind_names_the_known_ones_and_the_nearest() -> None:
    with pytest.raises(UnknownKind, match=r"no kind 'patiant'; did you mean patient\? Known are: allergy,"):
        model("patiant")
    with pytest.raises(UnknownKind, match="no kind 'xyz'; known are: allergy,"):
        model("xyz")


def test_text_dates_and_json_are_taken_as_the_field_takes_them() -> None:
    patient = make("patient", {"family_name": "123", "birth_date": "1964-08-12", "phones": '["03641 1"]'})
    assert isinstance(patient, Patient)
    assert patient.family_name == "123"
    assert str(patient.birth_date) == "1964-08-12"
    assert list(patient.phones) == ["03641 1"]
    medication = make("medication_statement", {"dosage": '{"morning": 1, "unit": "Stk"}'})
    assert isinstance(medication, MedicationStatement)
    assert medication.dosage == Dosage(morning=1, unit="Stk")


def test_nothing_clears_a_field() -> None:
    patient = make("patient", {"family_name": "Muster"})
    assign(patient, {"family_name": ""})
    assert isinstance(patient, Patient) and patient.family_name is None


def test_refusals_name_the_field_and_keep_the_value_to_themselves() -> None:
    with pytest.raises(UnknownField, match="nickname"):
        make("patient", {"nickname": "Geheim"})
    for fields in ({"birth_date": "Geheim"}, {"phones": "Geheim"}):
        with pytest.raises(BadValue, match=next(iter(fields))) as raised:
            make("patient", fields)
        assert "Geheim" not in str(raised.value)
