"""What resources become, and that nothing of them is lost."""

from __future__ import annotations

import copy
import json
from collections import Counter
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from crdtsync.documents import Record, fields_json
from crdtsync.interop.fhir import convert, read_bundle
from crdtsync.interop.fhir.bundle import entries
from crdtsync.interop.fhir.convert import TYPE_MAPS
from crdtsync.interop.fhir.elements import Place, find, leaves, plain
from crdtsync.interop.fhir.rules import Element, Link
from crdtsync.practice import DiagnosticReport, Observation, Patient, Prescription, Visit

from .bundles import CONCEPT, PATIENT_ID, SUBJECT, bundle, patient, resource

KINDS = {
    "Patient": "patient",
    "AllergyIntolerance": "allergy",
    "Condition": "condition",
    "MedicationRequest": "prescription",
    "Immunization": "immunization",
    "Observation": "observation",
    "Encounter": "visit",
    "DiagnosticReport": "diagnostic_report",
}


def one(element: dict[str, Any], *others: dict[str, Any]) -> dict[str, Any]:
    """The fields that a resource becomes, beside a patient and others."""
    records = convert(bundle(patient(), *others, element)).records
    return fields_json(records[-1])


def fields(element: dict[str, Any], *others: dict[str, Any]) -> dict[str, Any]:
    """The same without the source."""
    return {name: value for name, value in one(element, *others).items() if name != "source"}


# --- nothing is lost -------------------------------------------------------------------------------


def given_back(original: dict[str, Any], shown: dict[str, Any]) -> dict[Place, Any]:
    """What the fields give back of a resource, by the tables of the mapping read the other way."""
    found: dict[Place, Any] = {}
    for rule in TYPE_MAPS[original["resourceType"]].rules:
        value: Any = shown
        for part in rule.field.split("."):
            value = value.get(part) if isinstance(value, dict) else None
        if isinstance(rule, Element | Link) and value is not None and (place := find(original, rule.path)):
            back = place.value if isinstance(rule, Link) else rule.codec.write(value)
            found.update({(*place.place, *leaf.place): leaf.value for leaf in leaves(back)})
    return found


def lost(original: dict[str, Any], record: Record) -> Iterator[Place]:
    """The places of a resource whose value neither the source nor the fields hold."""
    shown = fields_json(record)
    kept = {leaf.place: leaf.value for leaf in leaves(shown["source"]["resource"])}
    back = given_back(original, shown)
    for leaf in leaves(plain(original)):
        for known in (kept, back):
            if leaf.place in known and json.dumps(known[leaf.place]) == json.dumps(leaf.value):
                break
        else:
            yield leaf.place


@pytest.fixture(scope="module")
def real(test_data: Path) -> list[dict[str, Any]]:
    files = sorted((test_data / "fhir-r4").glob("*.json.gz"))
    assert len(files) == 58
    return [read_bundle(path) for path in files]


@pytest.mark.slow
def test_every_real_resource_becomes_one_record_or_is_counted(real: list[dict[str, Any]]) -> None:
    ids: Counter[str] = Counter()
    kinds: Counter[str] = Counter()
    left_out: Counter[str] = Counter()
    types: Counter[str] = Counter()
    for one_bundle in real:
        conversion = convert(one_bundle)
        ids.update(record.id for record in conversion.records)
        kinds.update(record.kind for record in conversion.records)
        left_out.update(conversion.left_out)
        types.update(element["resourceType"] for _, element in entries(one_bundle))
        assert conversion.records[0].kind == "patient"
    assert set(ids.values()) == {1}
    assert kinds == {kind: types[name] for name, kind in KINDS.items()}
    assert left_out == {name: n for name, n in types.items() if name not in KINDS}
    assert sum(types.values()) == 15_060 and kinds["observation"] == 7_082


@pytest.mark.slow
def test_no_element_of_a_real_resource_is_lost(real: list[dict[str, Any]]) -> None:
    checked = 0
    for one_bundle in real[::4]:
        records = {record.id: record for record in convert(one_bundle).records}
        by_source = {fields_json(record)["source"]["resource"]["id"]: record for record in records.values()}
        for _, original in entries(one_bundle):
            if original["resourceType"] in KINDS:
                record = by_source[original["id"]]
                assert list(lost(original, record)) == []
                checked += 1
                # What the link leads to names itself, so the reference can be written again.
                if not isinstance(record, Patient):
                    target = records[fields_json(record)["patient"]]
                    reference = (original.get("subject") or original["patient"])["reference"]
                    assert reference == f"urn:uuid:{fields_json(target)['source']['resource']['id']}"
    assert checked > 1_000


@pytest.mark.slow
def test_the_fields_of_real_resources_are_filled(real: list[dict[str, Any]]) -> None:
    expected = {
        "patient": {"family_name", "given_name", "birth_date", "sex", "address", "phones"},
        "allergy": {"patient", "substance", "criticality", "status", "verification", "noted_on"},
        "condition": {"patient", "code", "text", "onset", "status"},
        "prescription": {"patient", "content", "status"},
        "immunization": {"patient", "vaccine", "given_on"},
        "observation": {"patient", "code", "value", "taken_at", "status", "source_id"},
        "visit": {"patient", "status", "started", "ended", "reason"},
        "diagnostic_report": {"patient", "status", "observations", "issued_at", "source_id"},
    }
    for one_bundle in real[::8]:
        for record in convert(one_bundle).records:
            missing = expected[record.kind] - fields_json(record).keys()
            assert not missing, f"{record.kind}: {missing}"


ANYTHING: st.SearchStrategy[Any] = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.sampled_from(["", "active", "2001-03-29"]),
    lambda inner: (
        st.lists(inner, max_size=2)
        | st.dictionaries(st.sampled_from(["text", "coding", "value", "reference", "use"]), inner, max_size=2)
    ),
    max_leaves=5,
)
SAMPLES = [
    patient(
        name=[
            {"use": "maiden", "family": "Wolff"},
            {"use": "official", "family": "Müller", "given": ["Anna", "Maria"]},
        ],
        telecom=[{"system": "phone", "value": "1", "use": "home"}, {"system": "email", "value": "a@example.org"}],
        address=[{"line": ["Weg 1", "Hinterhaus"], "city": "Jena", "state": "TH", "postalCode": "07743"}],
        identifier=[{"system": "http://fhir.de/sid/gkv/kvid-10", "value": "A000500015"}],
        birthDate="1992-03-30",
        deceasedDateTime="2020-01-01T10:00:00Z",
    ),
    resource(
        "Observation",
        status="final",
        code=CONCEPT,
        subject=SUBJECT,
        effectiveDateTime="2011-05-30T23:59:05+00:00",
        valueQuantity={"value": 1.5, "unit": "cm", "comparator": "<"},
        component=[{"code": CONCEPT, "valueString": "x"}],
    ),
    resource(
        "MedicationRequest",
        status="active",
        subject=SUBJECT,
        medicationCodeableConcept=CONCEPT,
        dosageInstruction=[
            {
                "asNeededBoolean": False,
                "timing": {"repeat": {"frequency": 2, "period": 1, "periodUnit": "d"}},
                "doseAndRate": [{"doseQuantity": {"value": 1}}],
            }
        ],
        dispenseRequest={"quantity": {"value": 20, "unit": "Stück"}},
    ),
    resource(
        "Encounter",
        status="finished",
        subject=SUBJECT,
        period={"start": "2001-03-29T23:59:05+00:00", "end": "2001-03-30T00:59:05+00:00"},
        participant=[{"individual": {"reference": "urn:uuid:x", "display": "Dr. X"}}],
        reasonCode=[CONCEPT],
    ),
    resource(
        "Condition",
        code=CONCEPT,
        subject=SUBJECT,
        clinicalStatus={"coding": [{"code": "active"}]},
        verificationStatus={"coding": [{"code": "confirmed"}]},
        onsetDateTime="2001",
    ),
    resource(
        "AllergyIntolerance",
        code=CONCEPT,
        patient=SUBJECT,
        criticality="low",
        reaction=[{"manifestation": [CONCEPT], "description": "Ausschlag"}],
    ),
    resource(
        "Immunization",
        vaccineCode=CONCEPT,
        patient=SUBJECT,
        lotNumber="7",
        occurrenceDateTime="2001-03-29",
        protocolApplied=[{"doseNumberPositiveInt": 2}],
    ),
    resource(
        "DiagnosticReport",
        status="final",
        subject=SUBJECT,
        performer=[{"display": "Labor Jena"}],
        basedOn=[{"identifier": {"value": "A-17"}}],
        result=[{"reference": "urn:uuid:observation-1", "display": "CRP"}],
        issued="2001-03-29T23:59:05Z",
    ),
]


@st.composite
def spoilt(draw: st.DrawFn) -> dict[str, Any]:
    """A resource with up to three values, of any depth, replaced by anything."""
    sample: dict[str, Any] = copy.deepcopy(draw(st.sampled_from(SAMPLES)))
    for _ in range(draw(st.integers(0, 3))):
        holder: Any = sample
        while True:
            keys = [key for key in holder if key not in ("resourceType", "id")] if isinstance(holder, dict) else []
            places = keys or (list(range(len(holder))) if isinstance(holder, list) else [])
            if not places:
                break
            key = draw(st.sampled_from(places))
            if not isinstance(holder[key], dict | list) or not holder[key] or draw(st.booleans()):
                holder[key] = draw(ANYTHING)
                break
            holder = holder[key]
    return sample


@given(spoilt())
@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_whatever_a_resource_holds_nothing_is_lost_and_nothing_breaks(element: dict[str, Any]) -> None:
    before = copy.deepcopy(element)
    conversion = convert(bundle(element))
    assert element == before
    if conversion.records:
        assert list(lost(element, conversion.records[0])) == []
    else:
        assert conversion.left_out == {element["resourceType"]: 1}


# --- what becomes of each type ---------------------------------------------------------------------


def test_patient() -> None:
    made = fields_json(convert(bundle(SAMPLES[0])).records[0])
    source = made.pop("source")
    assert made == {
        "family_name": "Müller",
        "given_name": "Anna Maria",
        "birth_date": "1992-03-30",
        "insurance_number": "A000500015",
        "address": {"street": "Weg 1, Hinterhaus", "postal_code": "07743", "city": "Jena"},
        "phones": ["1"],
        "emails": ["a@example.org"],
        "deceased": True,
        "deceased_on": "2020-01-01",
    }
    assert source["format"] == "FHIR R4"
    assert source["resource"]["name"] == [{"use": "maiden", "family": "Wolff"}, {"use": "official"}]
    assert source["resource"]["address"] == [{"state": "TH"}]
    assert source["resource"]["deceasedDateTime"] == "2020-01-01T10:00:00Z"
    assert "birthDate" not in source["resource"] and "full_url" not in source


def test_a_value_that_a_field_refuses_stays_in_the_source() -> None:
    identifier = {"system": "http://fhir.de/sid/gkv/kvid-10", "value": "A000500016"}
    made = fields_json(convert(bundle(patient(identifier=[identifier], birthDate="1992", gender="x"))).records[0])
    assert made["source"]["resource"] == patient(identifier=[identifier], birthDate="1992", gender="x")
    assert not made.keys() & {"insurance_number", "birth_date", "sex"}


def test_allergy() -> None:
    element = resource(
        "AllergyIntolerance",
        patient=SUBJECT,
        code=CONCEPT,
        criticality="unable-to-assess",
        clinicalStatus={"coding": [{"code": "inactive"}]},
        verificationStatus={"coding": [{"code": "entered-in-error"}]},
        recordedDate="2001-03-29",
        reaction=[{"manifestation": [{"text": "Urtikaria"}]}, {"description": "Atemnot"}],
    )
    assert fields(element) == {
        "patient": convert(bundle(patient())).records[0].id,
        "substance": "Etwas",
        "criticality": "unable_to_assess",
        "status": "inactive",
        "verification": "entered_in_error",
        "reaction": "Urtikaria, Atemnot",
        "noted_on": "2001-03-29",
    }
    none_known = {"coding": [{"code": "716186003"}], "text": "No known allergies"}
    assert fields(resource("AllergyIntolerance", code=none_known))["substance"] == "none known"


@pytest.mark.parametrize(
    ("verification", "certainty"),
    [("confirmed", "G"), ("provisional", "V"), ("differential", "V"), ("refuted", "A"), ("strange", None)],
)
def test_condition(verification: str, certainty: str | None) -> None:
    icd = {"system": "http://fhir.de/CodeSystem/bfarm/icd-10-gm", "code": "J11.1"}
    element = resource(
        "Condition",
        subject=SUBJECT,
        code={"coding": [{"system": "http://snomed.info/sct", "code": "6142004"}, icd]},
        clinicalStatus={"coding": [{"code": "remission"}]},
        verificationStatus={"coding": [{"code": verification}]},
        onsetDateTime="2001-03-29T23:59:05+00:00",
    )
    made = fields(element)
    del made["patient"]
    assert made == {
        "code": {"icd10": "J11.1"} | ({"certainty": certainty} if certainty else {}),
        "text": "6142004",
        "onset": "2001-03-29",
        "status": "remission",
    }


def test_immunization() -> None:
    element = resource(
        "Immunization",
        status="entered-in-error",
        patient=SUBJECT,
        vaccineCode=CONCEPT,
        lotNumber="X7",
        occurrenceDateTime="2001-03-29T08:00:00+01:00",
        protocolApplied=[{"doseNumberPositiveInt": 2}],
    )
    made = fields(element)
    del made["patient"]
    assert made == {
        "vaccine": "Etwas",
        "lot": "X7",
        "given_on": "2001-03-29",
        "dose_number": 2,
        "entered_in_error": True,
    }


def test_visit_with_the_name_of_who_was_there() -> None:
    doctor = resource("Practitioner", name=[{"prefix": ["Dr."], "given": ["Shonta"], "family": "Sanford"}])
    element = resource(
        "Encounter",
        status="onleave",
        subject=SUBJECT,
        period={"start": "2001-03-29T23:59:05+02:00"},
        participant=[{"individual": {"reference": f"urn:uuid:{doctor['id']}"}}],
        type=[CONCEPT, {"text": "Notfall"}],
    )
    made = fields(element, doctor)
    del made["patient"]
    assert made == {
        "status": "in_progress",
        "started": "2001-03-29T23:59:05+02:00",
        "practitioner": "Dr. Shonta Sanford",
        "reason": "Etwas, Notfall",
    }
    assert one(element, doctor)["source"]["resource"]["status"] == "onleave"


@pytest.mark.parametrize(
    ("elements", "value"),
    [
        ({"valueQuantity": {"value": 1.5, "unit": "mg/l"}}, {"number": 1.5, "unit": "mg/l"}),
        ({"valueQuantity": {"value": 5, "unit": "mg/l", "comparator": "<"}}, {"text": "< 5 mg/l"}),
        ({"valueQuantity": {"value": Decimal("5.10")}}, {"number": 5.1}),
        ({"valueInteger": 3}, {"number": 3.0}),
        ({"valueString": "trüb"}, {"text": "trüb"}),
        ({"valueBoolean": False}, {"text": "no"}),
        ({"valueCodeableConcept": {"coding": [{"display": "negativ"}]}}, {"text": "negativ"}),
        ({"dataAbsentReason": {"text": "hämolytisch"}}, {"text": "hämolytisch"}),
        (
            {
                "component": [
                    {"code": {"text": "Systole"}, "valueQuantity": {"value": Decimal("120.0"), "unit": "mm[Hg]"}},
                    {"code": {"text": "Diastole"}, "valueQuantity": {"value": 80, "unit": "mm[Hg]"}},
                    {"code": {"text": "Arm"}},
                ]
            },
            {"text": "Systole: 120.0 mm[Hg], Diastole: 80 mm[Hg]"},
        ),
        ({"valueQuantity": {"value": 1}, "referenceRange": [{"text": "1-2"}]}, {"number": 1.0, "range": "1-2"}),
        ({"valueQuantity": {"value": Decimal("1e400")}}, None),
    ],
)
def test_observation_values(elements: dict[str, Any], value: Any) -> None:
    made = one(resource("Observation", code=CONCEPT, **elements))
    assert made.get("value") == value
    for name, element in plain(elements).items():
        if isinstance(element, dict) and "$decimal" in json.dumps(element):
            assert made["source"]["resource"][name] == element


def test_observation() -> None:
    loinc = {"system": "http://loinc.org", "code": "8302-2", "display": "Body height"}
    element = resource(
        "Observation",
        status="corrected",
        code={"coding": [{"system": "urn:local", "code": "L"}, loinc]},
        subject=SUBJECT,
        effectivePeriod={"start": "2011-05-30T23:59:05+00:00"},
    )
    made = fields(element)
    del made["patient"]
    assert made == {
        "code": "8302-2",
        "taken_at": "2011-05-30T23:59:05Z",
        "status": "amended",
        "source_id": "observation-1",
    }


def test_diagnostic_report() -> None:
    laboratory = resource("Organization", name="Labor Jena")
    order = resource("ServiceRequest", identifier=[{"value": "A-17"}])
    finding = resource("Observation", code=CONCEPT)
    results = [finding["id"], finding["id"], "observation-2"]
    element = resource(
        "DiagnosticReport",
        status="corrected",
        code=CONCEPT,
        subject=SUBJECT,
        performer=[{"reference": f"urn:uuid:{laboratory['id']}"}],
        basedOn=[{"reference": f"urn:uuid:{order['id']}"}],
        result=[{"reference": f"urn:uuid:{result}"} for result in results] + [{"reference": "#inside"}, {}],
        issued="2011-05-30T23:59:05Z",
        effectiveDateTime="2011-05-29T10:00:00Z",
    )
    records = {
        record.kind: record for record in convert(bundle(patient(), laboratory, order, finding, element)).records
    }
    made = fields_json(records["diagnostic_report"])
    source = made.pop("source")["resource"]
    assert made.pop("patient") == records["patient"].id
    assert len(made["observations"]) == 2 and made.pop("observations")[0] == records["observation"].id
    assert made == {
        "laboratory": "Labor Jena",
        "order_number": "A-17",
        "status": "amended",
        "issued_at": "2011-05-30T23:59:05Z",
        "source_id": "diagnosticreport-1",
    }
    assert source["result"] == element["result"] and "issued" not in source and source["status"] == "corrected"
    assert "effectiveDateTime" in source


@pytest.mark.parametrize(
    ("step", "dosage"),
    [
        ({"text": "1-0-1"}, {"text": "1-0-1"}),
        ({"asNeededBoolean": True}, {"text": "as needed", "as_needed": True}),
        (
            {
                "timing": {"repeat": {"frequency": 2, "period": 1, "periodUnit": "d"}},
                "doseAndRate": [{"doseQuantity": {"value": 1, "unit": "Tablette"}}],
            },
            {"text": "2 times per 1 d, 1 Tablette each"},
        ),
        (
            {
                "timing": {"repeat": {"frequency": 2, "period": 1, "periodUnit": "d", "duration": 7}},
                "doseAndRate": [{"doseQuantity": {"value": 1}}],
            },
            None,
        ),
    ],
)
def test_prescription(step: dict[str, Any], dosage: dict[str, Any] | None) -> None:
    pzn = {"system": "http://fhir.de/CodeSystem/ifa/pzn", "code": "01234567"}
    element = resource(
        "MedicationRequest",
        status="entered-in-error",
        intent="order",
        subject=SUBJECT,
        medicationCodeableConcept={"coding": [{"system": "urn:local", "code": "x"}, pzn], "text": "Ramipril"},
        dosageInstruction=[step],
        dispenseRequest={"quantity": {"value": 20, "unit": "Stück"}},
    )
    made = fields(element)
    content = {"drug": {"name": "Ramipril", "code": "01234567"}, "quantity": "20 Stück"}
    assert made["content"] == (content | {"dosage": dosage} if dosage else content)
    assert made["status"] == "cancelled"


def test_a_drug_that_is_a_resource_of_its_own_is_named() -> None:
    medication = resource("Medication", code={"text": "Bisoprolol"})
    inside = {**medication, "id": "m"}
    cases: list[tuple[str, dict[str, Any]]] = [(f"urn:uuid:{medication['id']}", {}), ("#m", {"contained": [inside]})]
    for reference, extra in cases:
        element = resource("MedicationRequest", medicationReference={"reference": reference}, **extra)
        assert fields(element, medication)["content"] == {"drug": {"name": "Bisoprolol"}}


@pytest.mark.parametrize("intent", ["proposal", "plan", "option"])
def test_what_is_only_planned_is_a_draft(intent: str) -> None:
    assert fields(resource("MedicationRequest", status="active", intent=intent))["status"] == "draft"


@pytest.mark.parametrize(
    "element",
    [
        resource("Immunization", status="not-done", vaccineCode=CONCEPT),
        resource("MedicationRequest", status="active", doNotPerform=True, medicationCodeableConcept=CONCEPT),
        resource("Condition", code=CONCEPT, modifierExtension=[{"url": "urn:family-history", "valueBoolean": True}]),
        resource("Condition", code=CONCEPT, verificationStatus={"coding": [{"code": "entered-in-error"}]}),
        resource("Observation", code=CONCEPT, implicitRules="urn:other-rules"),
        resource("DiagnosticReport", status="cancelled", code=CONCEPT),
        resource("Claim"),
    ],
    ids=["not given", "must not be given", "modifier", "never was so", "other rules", "no report", "another type"],
)
def test_what_must_not_become_a_record_is_counted(element: dict[str, Any]) -> None:
    conversion = convert(bundle(patient(), element))
    assert [record.kind for record in conversion.records] == ["patient"]
    assert conversion.left_out == {element["resourceType"]: 1}


# --- ids and links ---------------------------------------------------------------------------------


def test_records_that_come_twice_have_the_same_ids_and_fields() -> None:
    one_bundle = bundle(*SAMPLES, resource("Observation", 2), resource("Observation", 3), urls=False)
    del one_bundle["entry"][-1]["resource"]["id"], one_bundle["entry"][-2]["resource"]["id"]
    first, second = convert(one_bundle).records, convert(copy.deepcopy(one_bundle)).records
    assert [fields_json(record) for record in first] == [fields_json(record) for record in second]
    assert [record.id for record in first] == [record.id for record in second]
    assert len({record.id for record in first}) == len(first)


def test_the_patient_comes_first_wherever_it_stands() -> None:
    records = convert(bundle(*SAMPLES[1:], SAMPLES[0])).records
    assert isinstance(records[0], Patient)
    assert {fields_json(record)["patient"] for record in records[1:]} == {records[0].id}
    assert isinstance(records[1], Observation) and isinstance(records[-1], DiagnosticReport)


def test_a_link_to_what_another_file_holds_keeps_its_reference() -> None:
    alone = convert(bundle(resource("Encounter", subject=SUBJECT))).records[0]
    with_patient = convert(bundle(patient())).records[0]
    assert isinstance(alone, Visit) and alone.patient == with_patient.id
    assert fields_json(alone)["source"]["resource"]["subject"] == SUBJECT


def test_a_reference_to_no_patient_is_no_link() -> None:
    group = resource("Group")
    made = one(resource("Observation", subject={"reference": f"urn:uuid:{group['id']}"}), group)
    assert "patient" not in made
    assert made["source"]["resource"]["subject"] == {"reference": "urn:uuid:group-1"}


def test_the_full_url_is_kept_where_it_says_more_than_the_id() -> None:
    one_bundle = bundle(patient())
    one_bundle["entry"][0]["fullUrl"] = f"https://a.example/fhir/Patient/{PATIENT_ID}"
    record = convert(one_bundle).records[0]
    assert fields_json(record)["source"]["full_url"] == one_bundle["entry"][0]["fullUrl"]
    assert record.id != convert(bundle(patient())).records[0].id


def test_records_are_ready_to_be_added() -> None:
    for record in convert(bundle(*SAMPLES)).records:
        assert record.id and isinstance(record, Record)
    assert isinstance(convert(bundle(SAMPLES[2])).records[0], Prescription)
