from typing import Any

import pytest

from crdtsync.errors import BadValue, Undecided
from crdtsync.practice import Dosage, Drug, Issue, MedicationStatement, Prescription, PrescriptionContent

STATEMENT = MedicationStatement(drug=Drug(name="Ramipril", strength="5 mg"), dosage=Dosage(morning=1), status="active")


def test_two_dosages_are_both_kept_and_neither_is_mixed(apart: Any) -> None:
    found = apart(STATEMENT, {"dosage": Dosage(morning=2)}, {"dosage": Dosage(evening=1)})
    assert found.conflicts == {"dosage": [Dosage(evening=1), Dosage(morning=2)]}
    with pytest.raises(Undecided):
        found.decided("dosage")


def test_a_stop_beside_a_changed_dosage_is_a_conflict(apart: Any) -> None:
    found = apart(STATEMENT, {"dosage": Dosage(morning=2)}, {"status": "stopped"})
    assert found.conflicts == {"dosage": [Dosage(morning=2)], "status": ["stopped"]}


def test_a_stop_beside_another_reason_is_none(apart: Any) -> None:
    found = apart(STATEMENT, {"reason": "cough"}, {"status": "stopped"})
    assert (found.status, found.reason, found.conflicts) == ("stopped", "cough", {})


def test_on_hold_and_stopped_is_stopped(apart: Any) -> None:
    found = apart(STATEMENT, {"status": "on_hold"}, {"status": "stopped"})
    assert (found.status, found.conflicts) == ("stopped", {})


def test_what_a_prescription_says_never_changes(apart: Any) -> None:
    made = Prescription(content=PrescriptionContent(drug=Drug(name="Ramipril"), quantity="N1"), status="draft")
    found = apart(made, {"status": "active"}, {"status": "draft"})
    assert found.status == "active"
    with pytest.raises(BadValue, match="once"):
        found.content = PrescriptionContent(quantity="N3")


def test_completed_beside_cancelled_is_for_a_person(apart: Any) -> None:
    found = apart(Prescription(status="active"), {"status": "completed"}, {"status": "cancelled"})
    assert sorted(found.conflicts["status"]) == ["cancelled", "completed"]


def test_what_was_issued_twice_is_shown_twice_and_stays(apart: Any) -> None:
    first, second = ({"at": f"2026-03-02T0{hour}:00:00Z", "how": "printed"} for hour in (8, 9))
    found = apart(Prescription(status="active"), {"issued": [first]}, {"issued": [second, first]})
    assert list(found.issued) == [first, second]
    found.issued.add(Issue(at="2026-03-02T09:00:00Z", how="printed"))
    assert len(found.issued) == 2
