"""What happens in a practice: visits, observations, prescriptions."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from crdtsync.interop.fhir.codecs import FLAG, INSTANT, NUMBER, TEXT, coded, concept_words, one_way
from crdtsync.interop.fhir.elements import first_with, objects, only, preferred, value_at
from crdtsync.interop.fhir.rules import Element, Link, Look, Resource, Shown, TypeMap
from crdtsync.practice import Observation, Prescription, Visit

_DRUG_CODES = ("http://fhir.de/CodeSystem/ifa/pzn", "http://www.whocc.no/atc", "http://fhir.de/CodeSystem/bfarm/atc")

# --- visits ----------------------------------------------------------------------------------------


def person_name(person: Resource | None) -> str | None:
    """`Dr. Shonta Sanford`: the first name of a Practitioner as people say it."""
    name = value_at(person or {}, "name", 0)
    if not isinstance(name, dict):
        return None
    if isinstance(name.get("text"), str):
        return str(name["text"]) or None
    lists = [part for key in ("prefix", "given") for part in name.get(key) or [] if isinstance(part, str)]
    family = name.get("family")
    return " ".join([*lists, family] if isinstance(family, str) else lists) or None


def _practitioner(resource: Resource, look: Look) -> str | None:
    for participant in objects(resource.get("participant")):
        individual = participant.get("individual")
        if isinstance(individual, dict):
            display = individual.get("display")
            words = display if isinstance(display, str) else None
            if words := words or person_name(look(individual.get("reference"), "Practitioner")):
                return words
    return None


def _reason(resource: Resource, _: Look) -> str | None:
    for key in ("reasonCode", "type"):
        words = [words for concept in objects(resource.get(key)) if (words := concept_words(concept))]
        if words:
            return ", ".join(words)
    return None


VISIT = TypeMap(
    "Encounter",
    Visit,
    (
        Link(("subject", "reference"), "patient", "Patient"),
        Element(
            ("status",),
            "status",
            coded(
                {
                    "planned": "planned",
                    "arrived": "arrived",
                    "in-progress": "in_progress",
                    "finished": "finished",
                    "cancelled": "cancelled",
                },
                also={"triaged": "arrived", "onleave": "in_progress", "entered-in-error": "cancelled"},
            ),
        ),
        Element(("period", "start"), "started", INSTANT),
        Element(("period", "end"), "ended", INSTANT),
        Shown("practitioner", _practitioner),
        Shown("reason", _reason),
    ),
)

# --- observations ----------------------------------------------------------------------------------


def _value_words(holder: Resource) -> str | None:
    """What a person reads of `value[x]`: `120 mm[Hg]`, `negative`."""
    text = holder.get("valueString")
    words = text if isinstance(text, str) else concept_words(holder.get("valueCodeableConcept"))
    return words or _quantity_words(holder.get("valueQuantity"))


def _quantity_words(quantity: Any) -> str | None:
    """`5.10 mg/l`, with the digits as written."""
    number = quantity.get("value") if isinstance(quantity, dict) else None
    if isinstance(number, bool) or not isinstance(number, int | float | Decimal):
        return None
    words = [quantity.get("comparator"), str(number), quantity.get("unit")]
    return " ".join(word for word in words if isinstance(word, str))


def _components(resource: Resource, _: Look) -> str | None:
    """The parts of an observation that has several (blood pressure), in words."""
    words = []
    for component in objects(resource.get("component")):
        name, value = concept_words(component.get("code")), _value_words(component)
        if name and value:
            words.append(f"{name}: {value}")
    return ", ".join(words) or None


_COMPARATOR = ("valueQuantity", "comparator")


def _compared(resource: Resource, _: Look) -> str | None:
    """`< 5 mg/l`: below the limit of measurement is not the number 5."""
    return _quantity_words(resource.get("valueQuantity")) if value_at(resource, *_COMPARATOR) else None


def _yes_or_no(value: Any) -> str | None:
    return ("yes" if value else "no") if isinstance(value, bool) else None


OBSERVATION = TypeMap(
    "Observation",
    Observation,
    (
        Link(("subject", "reference"), "patient", "Patient"),
        Element(("code", "coding", preferred("system", "http://loinc.org"), "code"), "code", TEXT),
        Shown("code", lambda resource, _: concept_words(resource.get("code"))),
        Element(("valueQuantity", "value"), "value.number", NUMBER, unless=_COMPARATOR),
        Element(("valueQuantity", "unit"), "value.unit", TEXT, unless=_COMPARATOR),
        Shown("value.text", _compared),
        Element(("valueInteger",), "value.number", NUMBER),
        Element(("valueString",), "value.text", TEXT),
        Element(("valueCodeableConcept", "text"), "value.text", TEXT),
        Shown("value.text", lambda resource, _: concept_words(resource.get("valueCodeableConcept"))),
        Element(("valueBoolean",), "value.text", one_way(_yes_or_no)),
        Element(("dataAbsentReason",), "value.text", one_way(concept_words)),
        Shown("value.text", _components),
        Element(("referenceRange", only, "text"), "value.range", TEXT),
        Element(("effectiveDateTime",), "taken_at", INSTANT),
        Element(("effectiveInstant",), "taken_at", INSTANT),
        Element(("effectivePeriod", "start"), "taken_at", INSTANT),
        Element(
            ("status",),
            "status",
            coded(
                {
                    "preliminary": "preliminary",
                    "final": "final",
                    "amended": "amended",
                    "entered-in-error": "entered_in_error",
                },
                also={"registered": "preliminary", "corrected": "amended"},
            ),
        ),
        Element(("id",), "source_id", one_way(TEXT.read)),
    ),
)

# --- prescriptions ---------------------------------------------------------------------------------


def _drug_words(resource: Resource, look: Look) -> str | None:
    words = concept_words(resource.get("medicationCodeableConcept"))
    reference = resource.get("medicationReference")
    if words or not isinstance(reference, dict):
        return words
    medication = look(reference.get("reference"), "Medication")
    if medication is None:
        wanted = reference.get("reference")
        contained = objects(resource.get("contained"))
        medication = next((item for item in contained if wanted == f"#{item.get('id')}"), None)
    words = concept_words(medication.get("code")) if medication else None
    display = reference.get("display")
    return words or (display if isinstance(display, str) else None)


def _dosage_words(resource: Resource, _: Look) -> str | None:
    words = [text for step in objects(resource.get("dosageInstruction")) if (text := _instruction_words(step))]
    return "; ".join(words) or None


def _instruction_words(step: Resource) -> str | None:
    """One dosage instruction as a person reads it: its own text, else `2 times per 1 d, 1 each`.

    Only a rhythm that these words say whole is said: half a dosage is worse than a look into the source.
    """
    if isinstance(step.get("text"), str):
        return str(step["text"]) or None
    words = [_rhythm(step), "as needed" if step.get("asNeededBoolean") is True else None]
    return ", ".join(word for word in words if word) or None


def _rhythm(step: Resource) -> str | None:
    repeat = value_at(step, "timing", "repeat")
    if not isinstance(repeat, dict) or set(repeat) != {"frequency", "period", "periodUnit"}:
        return None
    dose = NUMBER.read(value_at(step, "doseAndRate", only, "doseQuantity", "value"))
    if dose is None or not isinstance(repeat["frequency"], int) or NUMBER.read(repeat["period"]) is None:
        return None
    unit = value_at(step, "doseAndRate", only, "doseQuantity", "unit")
    each = f"{dose} {unit} each" if isinstance(unit, str) else f"{dose} each"
    return f"{repeat['frequency']} times per {NUMBER.read(repeat['period'])} {repeat['periodUnit']}, {each}"


def _only_proposed(resource: Resource, _: Look) -> str | None:
    """What somebody proposes or plans to prescribe is a draft, however active its status."""
    return "draft" if resource.get("intent") in ("proposal", "plan", "option") else None


PRESCRIPTION = TypeMap(
    "MedicationRequest",
    Prescription,
    (
        Link(("subject", "reference"), "patient", "Patient"),
        Element(("medicationCodeableConcept", "text"), "content.drug.name", TEXT),
        Shown("content.drug.name", _drug_words),
        Element(
            ("medicationCodeableConcept", "coding", first_with("system", *_DRUG_CODES), "code"),
            "content.drug.code",
            TEXT,
        ),
        Element(("dosageInstruction", only, "text"), "content.dosage.text", TEXT),
        Shown("content.dosage.text", _dosage_words),
        Element(("dosageInstruction", only, "asNeededBoolean"), "content.dosage.as_needed", FLAG),
        Shown(
            "content.quantity", lambda resource, _: _quantity_words(value_at(resource, "dispenseRequest", "quantity"))
        ),
        Shown("status", _only_proposed),
        Element(
            ("status",),
            "status",
            coded(
                {
                    "draft": "draft",
                    "active": "active",
                    "completed": "completed",
                    "cancelled": "cancelled",
                    "stopped": "stopped",
                },
                also={"entered-in-error": "cancelled"},
            ),
        ),
    ),
    happened=lambda resource: resource.get("doNotPerform") is not True,
)
