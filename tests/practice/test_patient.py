from typing import Any

import pytest

from crdtsync.documents import Entries
from crdtsync.errors import BadValue
from crdtsync.ids import RecordId
from crdtsync.practice import Address, Patient
from crdtsync.practice.patient import check_insurance_number


@pytest.mark.parametrize("number", ["A123456780", "T555558879", "a123456780 "])
def test_insurance_numbers_with_a_right_check_digit_pass(number: str) -> None:
    assert check_insurance_number(number) == number.strip().upper()
    assert Patient(insurance_number=number).insurance_number == number.strip().upper()


@pytest.mark.parametrize("number", [f"A12345678{digit}" for digit in range(1, 10)])
def test_a_wrong_check_digit_is_refused_without_showing_the_number(number: str) -> None:
    patient = Patient()
    with pytest.raises(BadValue, match="check digit") as caught:
        patient.insurance_number = number
    assert number not in str(caught.value)
    with pytest.raises(BadValue, match="check digit"):
        Patient(insurance_number=number)


@pytest.mark.parametrize("number", ["", "A12345678", "1123456780", "A12345678X", "Ä123456780", "A\u066123456780"])
def test_other_forms_are_refused(number: str) -> None:
    with pytest.raises(BadValue, match="a letter and nine digits"):
        Patient(insurance_number=number)


def test_single_digit_mistakes_are_found() -> None:
    good = "T555558879"
    for place in range(1, 10):
        for digit in "0123456789":
            if digit != good[place]:
                with pytest.raises(ValueError, match="check digit"):
                    check_insurance_number(good[:place] + digit + good[place + 1 :])


def test_an_address_moves_as_one(apart: Any) -> None:
    patient = Patient(address=Address(street="Markt 1", city="Jena"))
    found = apart(patient, {"address": Address(street="Markt 2", city="Jena")}, {"address": Address(city="Gera")})
    assert len(found.conflicts["address"]) == 2
    assert Address(street="Markt 2", city="Gera") not in found.conflicts["address"]


def test_death_stays_and_phones_add_up(apart: Any) -> None:
    patient = Patient(phones=Entries(["1"]), deceased=False)
    found = apart(patient, {"deceased": True, "phones": ["1", "2"]}, {"title": "Dr.", "phones": ["1", "3"]})
    assert found.deceased is True
    assert sorted(found.phones) == ["1", "2", "3"]
    assert found.title == "Dr."
    assert found.conflicts == {}


def test_a_number_given_twice_is_a_conflict(apart: Any) -> None:
    found = apart(Patient(family_name="x"), {"number": 1001}, {"number": 2001})
    assert sorted(found.conflicts["number"]) == [1001, 2001]


def test_same_as_can_be_said_and_taken_back(apart: Any) -> None:
    found = apart(Patient(), {"same_as": [RecordId("b" * 26)]}, {"home_site": "Gera"})
    assert list(found.same_as) == ["b" * 26]
    found.same_as.remove(RecordId("b" * 26))
    assert list(found.same_as) == []
