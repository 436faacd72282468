"""What laboratories report: the report; its observations are resources of their own."""

from __future__ import annotations

from crdtsync.interop.fhir.codecs import INSTANT, TEXT, coded, one_way
from crdtsync.interop.fhir.elements import objects, value_at
from crdtsync.interop.fhir.rules import Element, Link, Links, Look, Resource, Shown, TypeMap
from crdtsync.interop.fhir.treatment import person_name
from crdtsync.practice import DiagnosticReport

_NEVER_WAS = ("cancelled", "entered-in-error")


def _laboratory(resource: Resource, look: Look) -> str | None:
    """The first performer as people say it: its name here, else the name of the organization or person it is."""
    for performer in objects(resource.get("performer")):
        display = performer.get("display")
        organization = look(performer.get("reference"), "Organization") or {}
        person = look(performer.get("reference"), "Practitioner")
        for name in (display, organization.get("name"), person_name(person)):
            if isinstance(name, str) and name.strip():
                return name
    return None


def _order_number(resource: Resource, look: Look) -> str | None:
    """The number of the order that the report answers."""
    for order in objects(resource.get("basedOn")):
        request = look(order.get("reference"), "ServiceRequest") or {}
        for number in (value_at(order, "identifier", "value"), value_at(request, "identifier", 0, "value")):
            if isinstance(number, str) and number.strip():
                return number
    return None


DIAGNOSTIC_REPORT = TypeMap(
    "DiagnosticReport",
    DiagnosticReport,
    (
        Link(("subject", "reference"), "patient", "Patient"),
        Shown("laboratory", _laboratory),
        Shown("order_number", _order_number),
        Element(
            ("status",),
            "status",
            coded(
                {"preliminary": "preliminary", "final": "final", "amended": "amended"},
                also={
                    "registered": "preliminary",
                    "partial": "preliminary",
                    "corrected": "amended",
                    "appended": "amended",
                },
            ),
        ),
        Links(("result",), "observations", "Observation"),
        Element(("issued",), "issued_at", INSTANT),
        Element(("effectiveDateTime",), "issued_at", one_way(INSTANT.read)),
        Element(("id",), "source_id", one_way(TEXT.read)),
    ),
    happened=lambda resource: resource.get("status") not in _NEVER_WAS,
)
