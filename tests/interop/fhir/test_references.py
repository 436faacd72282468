"""Names of resources, and what references lead to."""

from __future__ import annotations

from typing import Any

import pytest

from crdtsync.ids import is_record_id
from crdtsync.interop.fhir.references import References, SourceKey

UUID = "0e3b764f-dabe-4bf6-81b2-9f705bde24fd"


def named(url: str, **resource: Any) -> SourceKey:
    return References().add(url, {"resourceType": "Patient", **resource})


def test_a_resource_is_named_by_type_server_and_id() -> None:
    assert named(f"urn:uuid:{UUID}", id=UUID) == SourceKey("Patient", "", UUID)
    assert named("https://a.example/fhir/Patient/7", id="7") == SourceKey("Patient", "https://a.example/fhir", "7")
    assert named("https://a.example/fhir/Patient/7/_history/3", id="7").system == "https://a.example/fhir"
    assert named("", id="7") == SourceKey("Patient", "", "7")


def test_equal_ids_of_two_servers_are_two_records() -> None:
    one, other = named("https://a.example/Patient/7", id="7"), named("https://b.example/Patient/7", id="7")
    assert one.record != other.record
    assert is_record_id(one.record)


def test_the_full_url_names_what_has_no_id() -> None:
    assert named(f"urn:uuid:{UUID}") == SourceKey("Patient", "", UUID)
    assert named("https://a.example/Patient/7") == SourceKey("Patient", "https://a.example", "7")


def test_content_names_what_has_nothing_else_and_copies_stay_apart() -> None:
    first, second = References(), References()
    keys = [first.add("", {"resourceType": "Observation", "value": n}) for n in (1, 1, 2)]
    assert len(set(keys)) == 3
    again = [second.add("", {"value": n, "resourceType": "Observation"}) for n in (2, 1, 1)]
    assert set(again) == set(keys)


@pytest.mark.parametrize(
    ("reference", "key"),
    [
        ("urn:uuid:p", SourceKey("Patient", "", "5")),
        ("Patient/7", SourceKey("Patient", "https://a.example/fhir", "7")),
        ("Patient/7/_history/2", SourceKey("Patient", "https://a.example/fhir", "7")),
        ("https://b.example/Patient/9", SourceKey("Patient", "https://b.example", "9")),
        ("urn:uuid:elsewhere", SourceKey("Patient", "", "elsewhere")),
        ("Group/7", SourceKey("Group", "https://a.example/fhir", "7")),
        ("#contained", None),
        ("Patient?identifier=7", None),
        ("", None),
        (None, None),
        (7, None),
    ],
)
def test_references(reference: Any, key: SourceKey | None) -> None:
    references = References()
    references.add("urn:uuid:p", {"resourceType": "Patient", "id": "5"})
    found = references.target(reference, url="https://a.example/fhir/Observation/1", expected="Patient")
    assert found == key


def test_only_what_the_bundle_holds_is_found_in_it() -> None:
    references = References()
    patient = {"resourceType": "Patient", "id": "7"}
    references.add("https://a.example/Patient/7", patient)
    here = references.target("Patient/7", url="https://a.example/Encounter/1", expected="Patient")
    there = references.target("Patient/8", url="https://a.example/Encounter/1", expected="Patient")
    assert references.resource(here) is patient
    assert references.resource(there) is None
    assert references.resource(None) is None
