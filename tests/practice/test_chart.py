import datetime
from typing import Any

import pytest

from crdtsync.errors import BadValue
from crdtsync.practice import Allergy, ChartEntry, Condition, ConditionCode, Immunization, Observation, ObservationValue


def test_while_people_disagree_the_dangerous_reading_is_shown(apart: Any) -> None:
    made = Allergy(substance="Penicillin", criticality="low", verification="unconfirmed", status="active")
    found = apart(
        made,
        {"criticality": "high", "verification": "confirmed", "status": "active"},
        {"criticality": "unable_to_assess", "verification": "refuted", "status": "resolved"},
        {"status": "inactive"},
    )
    assert (found.criticality, found.verification) == ("high", "confirmed")
    assert found.decided("criticality") == "high"
    assert found.decided("verification") == "confirmed"
    assert set(found.conflicts) == {"criticality", "verification", "status"}


def test_an_immunization_is_written_once(apart: Any) -> None:
    found = apart(Immunization(), {"vaccine": "MMR", "lot": "A1"}, {"vaccine": "MMR", "lot": "A2"})
    assert found.vaccine == "MMR"
    assert sorted(found.conflicts["lot"]) == ["A1", "A2"]
    with pytest.raises(BadValue, match="once"):
        found.vaccine = "flu"


def test_an_amended_observation_wins_and_an_error_is_for_a_person(apart: Any) -> None:
    made = Observation(code="8302-2", value=ObservationValue(number=180, unit="cm"), status="preliminary")
    assert apart(made, {"status": "final"}, {"status": "amended"}).status == "amended"
    found = apart(made, {"status": "final"}, {"status": "entered_in_error"})
    assert set(found.conflicts) == {"status"}
    assert found.value == ObservationValue(number=180, unit="cm")


def test_a_draft_is_typed_together_and_retracted_for_good(apart: Any) -> None:
    made = ChartEntry(type="note")
    made.draft.insert(0, "Müller: Husten")
    found = apart(made, {"draft": "Müller: Husten, Fieber"}, {"draft": "Herr Müller: Husten", "retracted": True})
    assert str(found.draft) == "Herr Müller: Husten, Fieber"
    assert found.retracted is True


def test_a_diagnosis_has_a_code_and_text() -> None:
    made = Condition(code=ConditionCode(icd10="J20.9", certainty="G"), text="acute bronchitis")
    assert made.code == ConditionCode(icd10="J20.9", certainty="G")
    with pytest.raises(BadValue):
        made.assign("status", "unheard of")


AT = datetime.datetime(2026, 3, 2, 9, tzinfo=datetime.UTC)


def test_what_was_signed_stays_and_what_was_typed_unseen_is_unsigned(apart: Any) -> None:
    made = ChartEntry(type="note", draft="Husten")
    one = ChartEntry(type="note", draft="Husten")
    version = one.sign("dr.weber", AT, codes=["J20.9"])
    assert one.unsigned is None and one.versions.head == version
    found = apart(made, {"versions": [version.value]}, {"draft": "Husten, Fieber"})
    assert found.versions.head.value.text == "Husten"
    assert found.versions.head.value.signed_by == "dr.weber" and found.versions.head.value.codes == ("J20.9",)
    assert found.unsigned == "Husten, Fieber"
    child = found.sign("dr.yilmaz", AT, reason="fever added")
    assert child.parents == (version.id,) and child.value.text == "Husten, Fieber" and found.unsigned is None
