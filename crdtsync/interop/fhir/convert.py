"""From a bundle to records: pure, so that what an import will write is known before it writes anything."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from crdtsync.documents import Record, fields_json
from crdtsync.errors import BadValue
from crdtsync.interop.fhir.bundle import entries
from crdtsync.interop.fhir.elements import Found, drop, find, objects, plain
from crdtsync.interop.fhir.patients import ALLERGY, CONDITION, IMMUNIZATION, PATIENT
from crdtsync.interop.fhir.references import References, SourceKey
from crdtsync.interop.fhir.reports import DIAGNOSTIC_REPORT
from crdtsync.interop.fhir.rules import Element, Link, Links, Resource, Shown, TypeMap
from crdtsync.interop.fhir.treatment import OBSERVATION, PRESCRIPTION, VISIT

TYPE_MAPS: Mapping[str, TypeMap] = {
    mapping.resource_type: mapping
    for mapping in (PATIENT, ALLERGY, CONDITION, IMMUNIZATION, VISIT, OBSERVATION, PRESCRIPTION, DIAGNOSTIC_REPORT)
}
"""The resource types that become records."""
SOURCE_FORMAT = "FHIR R4"


@dataclass(frozen=True)
class Conversion:
    """What a bundle becomes: its records, patients first, and by resource type how many were left out."""

    records: list[Record]
    left_out: dict[str, int]


@dataclass(frozen=True)
class _Place:
    """A resource where it stands: the URL of its entry, its name, and its bundle."""

    resource: dict[str, Any]
    url: str
    key: SourceKey
    references: References

    def target(self, reference: Any, expected: str) -> SourceKey | None:
        return self.references.target(reference, url=self.url, expected=expected)

    def look(self, reference: Any, expected: str) -> Resource | None:
        return self.references.resource(self.target(reference, expected))


def convert(bundle: dict[str, Any]) -> Conversion:
    """The records that `bundle`, as `read_bundle` gives it, stands for.

    Every resource of the types in `TYPE_MAPS` becomes one record, whose id follows from its source. What says that
    something was *not* so becomes none where its kind has no word for that, nor does what carries rules which change
    its meaning (`modifierExtension`, `implicitRules`); they are counted in `left_out` like other types. Each element
    that the record's fields do not give back exactly, or that a field refuses, is kept in the record's `source`:
    `{"format", "resource"}` and, where the entry's full URL says more than the id, `"full_url"`. Nothing is lost.
    """
    references = References()
    places = [_Place(resource, url, references.add(url, resource), references) for url, resource in entries(bundle)]
    records: list[Record] = []
    left_out: Counter[str] = Counter()
    for place in places:
        mapping = TYPE_MAPS.get(place.key.resource_type)
        if mapping is None or not mapping.happened(place.resource) or _is_modified(place.resource):
            left_out[place.key.resource_type] += 1
        else:
            records.append(_Making(mapping, place).record())
    records.sort(key=lambda record: not isinstance(record, PATIENT.model))
    return Conversion(records, dict(sorted(left_out.items())))


def _is_modified(resource: Resource) -> bool:
    """FHIR R4, 2.4.0.1: who does not know a modifier must not process the resource as if it were not there."""
    return bool(resource.get("modifierExtension")) or bool(resource.get("implicitRules"))


class _Making:
    """One record in the making: the values that the rules found, and which elements they came from."""

    def __init__(self, mapping: TypeMap, place: _Place) -> None:
        self._mapping = mapping
        self._place = place
        self._values: dict[str, Any] = {}
        self._elements: list[tuple[Element, Found]] = []
        self._links: list[tuple[Link, Found]] = []

    def record(self) -> Record:
        for rule in self._mapping.rules:
            if _inside(self._values, rule.field) is None:
                self._follow(rule)
        record = self._mapping.model()
        record.id = self._place.key.record
        for field, value in self._values.items():
            try:
                record.assign(field, value)
            except BadValue:
                continue  # the elements that it came from stay in the source, since the record gives nothing back
        record.assign("source", self._source(fields_json(record)))
        return record

    def _follow(self, rule: Element | Link | Links | Shown) -> None:
        if isinstance(rule, Shown):
            _put(self._values, rule.field, rule.read(self._place.resource, self._place.look))
            return
        found = find(self._place.resource, rule.path)
        if found is None:
            return
        if isinstance(rule, Links):
            _put(self._values, rule.field, self._linked(rule, found.value))
            return
        if isinstance(rule, Element):
            if rule.unless and find(self._place.resource, rule.unless) is not None:
                return
            _put(self._values, rule.field, rule.codec.read(found.value))
            self._elements.append((rule, found))
            return
        target = self._place.target(found.value, rule.expected)
        if target is not None and target.resource_type == rule.expected:
            _put(self._values, rule.field, target.record)
            self._links.append((rule, found))

    def _linked(self, rule: Links, references: Any) -> list[str] | None:
        """The records that references lead to, each once; None where none does."""
        targets = (self._place.target(each.get("reference"), rule.expected) for each in objects(references))
        found = (target.record for target in targets if target is not None and target.resource_type == rule.expected)
        return list(dict.fromkeys(found)) or None

    def _source(self, shown: Mapping[str, Any]) -> dict[str, Any]:
        given_back = {
            found.place
            for rule, found in self._elements
            if _equal(rule.codec.write(_inside(shown, rule.field)), found.value)
        }
        # A link gives its reference back if the record that it leads to comes from this bundle too.
        for link, found in self._links:
            if _inside(shown, link.field) is not None and self._place.look(found.value, link.expected) is not None:
                given_back.add(found.place)
        rest = plain(self._place.resource)
        for place in given_back:
            drop(rest, place)
        source = {"format": SOURCE_FORMAT, "resource": rest}
        url = self._place.url
        return source if url in ("", f"urn:uuid:{rest.get('id')}") else {**source, "full_url": url}


def _inside(values: Mapping[str, Any], field: str) -> Any:
    """The value of `content.drug.name` inside the values of a record's fields."""
    here: Any = values
    for part in field.split("."):
        here = here.get(part) if isinstance(here, Mapping) else None
    return here


def _put(values: dict[str, Any], field: str, value: Any) -> None:
    if value is None:
        return
    *holders, last = field.split(".")
    for part in holders:
        values = values.setdefault(part, {})
    values[last] = value


def _equal(one: Any, other: Any) -> bool:
    """Equal as JSON: 1, 1.0 and true are three things, and so are 5.1 and 5.10."""
    return type(one) is type(other) and bool(one == other)
