"""Patients, and what is known about them for long: allergies, conditions, immunizations."""

from __future__ import annotations

from collections.abc import Callable

from crdtsync.interop.fhir.codecs import DATE, FLAG, TEXT, WHOLE, coded, concept_words, joined, words
from crdtsync.interop.fhir.elements import first_with, objects, preferred, value_at
from crdtsync.interop.fhir.rules import Element, Link, Look, Resource, Shown, TypeMap
from crdtsync.practice import Allergy, Condition, Immunization, Patient
from crdtsync.practice.chart import NONE_KNOWN

KVNR_SYSTEM = "http://fhir.de/sid/gkv/kvid-10"
"""The identifier system of German health insurance numbers (KBV and gematik profiles)."""
_OLD_KVNR_SYSTEM = "http://fhir.de/NamingSystem/gkv/kvid-10"
_ICD10_SYSTEMS = (
    "http://fhir.de/CodeSystem/bfarm/icd-10-gm",
    "http://fhir.de/CodeSystem/dimdi/icd-10-gm",
    "http://hl7.org/fhir/sid/icd-10",
    "http://hl7.org/fhir/sid/icd-10-cm",
)
_NO_KNOWN_ALLERGY = "716186003"
"""SNOMED CT: no known allergy."""


def contacts(system: str) -> Callable[[Resource, Look], list[str]]:
    """The values of a patient's contact points of one system (`phone`, `email`), each once."""

    def read(resource: Resource, _: Look) -> list[str]:
        found: dict[str, None] = {}
        for point in objects(resource.get("telecom")):
            value = point.get("value") if point.get("system") == system else None
            if isinstance(value, str) and value.strip():
                found[value] = None
        return list(found)

    return read


def _deceased(resource: Resource, _: Look) -> bool | None:
    return True if isinstance(resource.get("deceasedDateTime"), str) else None


def _substance(resource: Resource, _: Look) -> str | None:
    return concept_words(resource.get("code"))


def _none_known(resource: Resource, _: Look) -> str | None:
    coding = value_at(resource, "code", "coding", first_with("code", _NO_KNOWN_ALLERGY), "code")
    return NONE_KNOWN if coding else None


def _reactions(resource: Resource, _: Look) -> str | None:
    found = []
    for reaction in objects(resource.get("reaction")):
        manifestations = [concept_words(concept) for concept in objects(reaction.get("manifestation"))]
        found += [word for word in (*manifestations, reaction.get("description")) if isinstance(word, str) and word]
    return ", ".join(found) or None


_NAME = preferred("use", "official", "usual")
_HOME = preferred("use", "home")
_KVNR = first_with("system", KVNR_SYSTEM, _OLD_KVNR_SYSTEM)

PATIENT = TypeMap(
    "Patient",
    Patient,
    (
        Element(("name", _NAME, "family"), "family_name", TEXT),
        Element(("name", _NAME, "given"), "given_name", joined(" ")),
        Element(("name", _NAME, "prefix"), "title", joined(" ")),
        Element(("birthDate",), "birth_date", DATE),
        Element(("gender",), "sex", words("female", "male", "other", "unknown")),
        Element(("identifier", _KVNR, "value"), "insurance_number", TEXT),
        Element(("address", _HOME, "line"), "address.street", joined(", ")),
        Element(("address", _HOME, "postalCode"), "address.postal_code", TEXT),
        Element(("address", _HOME, "city"), "address.city", TEXT),
        Element(("address", _HOME, "country"), "address.country", TEXT),
        Element(("deceasedBoolean",), "deceased", FLAG),
        Element(("deceasedDateTime",), "deceased_on", DATE),
        Shown("deceased", _deceased),
        Shown("phones", contacts("phone")),
        Shown("emails", contacts("email")),
    ),
)

ALLERGY = TypeMap(
    "AllergyIntolerance",
    Allergy,
    (
        Link(("patient", "reference"), "patient", "Patient"),
        Shown("substance", _none_known),
        Element(("code", "text"), "substance", TEXT),
        Shown("substance", _substance),
        Element(("criticality",), "criticality", words("low", "high", "unable-to-assess")),
        Element(("clinicalStatus", "coding", 0, "code"), "status", words("active", "inactive", "resolved")),
        Element(
            ("verificationStatus", "coding", 0, "code"),
            "verification",
            words("unconfirmed", "confirmed", "refuted", "entered-in-error"),
        ),
        Shown("reaction", _reactions),
        Element(("recordedDate",), "noted_on", DATE),
    ),
)

_CERTAINTY = {"confirmed": "G", "provisional": "V", "refuted": "A"}
"""The German certainty of a diagnosis: gesichert, Verdacht, ausgeschlossen."""

CONDITION = TypeMap(
    "Condition",
    Condition,
    (
        Link(("subject", "reference"), "patient", "Patient"),
        Element(("code", "coding", first_with("system", *_ICD10_SYSTEMS), "code"), "code.icd10", TEXT),
        Element(
            ("verificationStatus", "coding", 0, "code"),
            "code.certainty",
            coded(_CERTAINTY, also={"differential": "V", "unconfirmed": "V"}),
        ),
        Element(("code", "text"), "text", TEXT),
        Shown("text", _substance),
        Element(("onsetDateTime",), "onset", DATE),
        Element(
            ("clinicalStatus", "coding", 0, "code"),
            "status",
            words("active", "recurrence", "relapse", "inactive", "remission", "resolved"),
        ),
    ),
    happened=lambda resource: value_at(resource, "verificationStatus", "coding", 0, "code") != "entered-in-error",
)

IMMUNIZATION = TypeMap(
    "Immunization",
    Immunization,
    (
        Link(("patient", "reference"), "patient", "Patient"),
        Element(("vaccineCode", "text"), "vaccine", TEXT),
        Shown("vaccine", lambda resource, _: concept_words(resource.get("vaccineCode"))),
        Element(("lotNumber",), "lot", TEXT),
        Element(("occurrenceDateTime",), "given_on", DATE),
        Element(("protocolApplied", 0, "doseNumberPositiveInt"), "dose_number", WHOLE),
        Shown("entered_in_error", lambda resource, _: resource.get("status") == "entered-in-error" or None),
    ),
    happened=lambda resource: resource.get("status") != "not-done",
)
