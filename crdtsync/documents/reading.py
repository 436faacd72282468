"""From documents to records and back: `read` and `edits_of`, and records as JSON and as written on a command line."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

from pydantic import ValidationError

from crdtsync.documents.count import Counter
from crdtsync.documents.document import Content
from crdtsync.documents.edits import Edit, EditCounter, EditEntry, EditText, SetField
from crdtsync.documents.entries import Entries, entry_rank
from crdtsync.documents.merge import decide
from crdtsync.documents.record import Reading, Record, UnknownRecord, model_of
from crdtsync.documents.schema import REGISTER, FieldPlan
from crdtsync.documents.settling import Settled, commits_of, settle
from crdtsync.documents.slots import Item, canonical, items_of, split_slot
from crdtsync.documents.text import Text
from crdtsync.documents.version import Version, Versions
from crdtsync.errors import BadValue
from crdtsync.ids import RecordId


def read(kind: str, record: RecordId, content: Content) -> Record | UnknownRecord:
    """The record that a document holds: each field with the value that a reader shows first, conflicts beside it.

    Total over every content: what this version does not know or cannot hold is in `unknown`, and stays (L6).
    """
    model = model_of(kind)
    if model is None:
        return _read_unknown(kind, record, content)
    plan = model.plan()
    settled = settle(plan, record, content.slots)
    reading = Reading(content)
    reading.shown = settled.shown
    reading.found = settled.conflicts
    reading.unknown = _unknown_values(content, plan.fields)
    values = {name: _shown_value(field, settled, content, reading) for name, field in plan.fields.items()}
    _conflict_values(plan.fields, settled, reading)
    return model.as_read(record, reading, values)


def _shown_value(plan: FieldPlan, settled: Settled, content: Content, reading: Reading) -> Any:
    if plan.handle:
        return _handle(plan, settled, content, reading)
    plain = settled.shown.get(plan.name)
    if plain is None:
        return plan.default
    try:
        return plan.from_json(plain)
    except ValidationError:
        reading.unknown.setdefault(plan.name, []).append(plain)
        return plan.default


def _handle(plan: FieldPlan, settled: Settled, content: Content, reading: Reading) -> Any:
    if plan.entries:
        held = {}
        for key, value in settled.entries.get(plan.name, {}).items():
            try:
                held[key] = plan.from_json(value)
            except ValidationError:
                reading.unknown.setdefault(plan.name, []).append(value)
        return Entries.as_read(held)
    if plan.rule.name == "text":
        return Text.as_read(content.texts.get(plan.name, ""))
    if plan.versions:
        return _shown_versions(plan, settled, reading)
    return Counter.as_read(settled.shown.get(plan.name, 0))


def _shown_versions(plan: FieldPlan, settled: Settled, reading: Reading) -> Versions[Any]:
    found = settled.versions.get(plan.name)
    if found is None:
        return Versions()
    held = {}
    for key, value in found.shown.items():
        try:
            held[key] = plan.version_from_json(value)
        except ValidationError:
            reading.unknown.setdefault(plan.name, []).append(value)
    return Versions.as_read(held, [head.value["id"] for head in found.heads])


def _conflict_values(fields: Mapping[str, FieldPlan], settled: Settled, reading: Reading) -> None:
    for conflict in settled.conflicts:
        for value in conflict.values:
            plan = fields[value.get("field", conflict.fields[0])]
            shown = reading.conflicts.setdefault(plan.name, [])
            try:
                held = None if value["value"] is None else _held(plan, value["value"])
            except ValidationError:
                held = value["value"]
            if held not in shown:
                shown.append(held)


def _held(plan: FieldPlan, plain: Any) -> Any:
    return plan.version_from_json(plain) if plan.versions else plan.from_json(plain)


def _unknown_values(content: Content, fields: Mapping[str, FieldPlan]) -> dict[str, list[Any]]:
    found: dict[str, list[Any]] = {}
    for slot, raw in content.slots.items():
        field, _, tag = split_slot(slot)
        if field not in fields:
            found.setdefault(field, []).extend(item.value for item in items_of(tag, raw))
    for field, text in content.texts.items():
        if field not in fields or fields[field].rule.name != "text":
            found.setdefault(field, []).append(text)
    return found


def _read_unknown(kind: str, record: RecordId, content: Content) -> UnknownRecord:
    held: dict[tuple[str, str | None], list[Item]] = {}
    for slot, raw in content.slots.items():
        field, entry, tag = split_slot(slot)
        held.setdefault((field, entry), []).extend(items_of(tag, raw))
    fields: dict[str, Any] = {}
    conflicts: dict[str, list[Any]] = {}
    for (field, entry), items in sorted(held.items(), key=lambda pair: (pair[0][0], entry_rank(pair[0][1] or ""))):
        if not items:
            continue
        outcome = decide(REGISTER, items)
        if entry is not None:
            if outcome.shown is not None and isinstance(fields.setdefault(field, {}), dict):
                fields[field][entry] = outcome.shown
        elif outcome.shown is not None:
            fields[field] = outcome.shown
        if outcome.undecided:
            conflicts.setdefault(field, []).extend(survivor.value for survivor in outcome.undecided)
    for field, text in content.texts.items():
        fields.setdefault(field, text)
    return UnknownRecord(kind, record, fields, conflicts)


def edits_of(record: Record | UnknownRecord, new_key: Callable[[], str]) -> list[Edit]:
    """What was assigned and edited since the record was read (or made), each with what its writer had seen.

    `new_key` draws the random part of a new entry's key. Asking twice gives the same edits, but for those keys.
    """
    if isinstance(record, UnknownRecord):
        return []
    reading, plan = record._reading, record.plan()
    seen = _by_field(reading.content.slots)
    found: list[Edit] = []
    for name, field in plan.fields.items():
        slots = seen.get(name, {})
        held = record.__dict__[name]
        if isinstance(held, Text):
            hunks = held.hunks()
            if hunks:
                found.append(EditText(name, held.base, hunks))
        elif isinstance(held, Entries):
            found.extend(_entry_edits(name, held, slots, new_key))
        elif isinstance(held, Versions):
            found.extend(EditEntry(name, key, value, _of_entry(slots, key)) for key, value in held.edits())
        elif isinstance(held, Counter):
            counted = held.edit()
            if counted is not None:
                found.append(EditCounter(name, *counted))
        elif name in reading.assigned:
            value = None if held is None else field.to_json(held)
            if slots or value is not None:
                group = field.rule.group
                known = None if group is None else commits_of(reading.content.slots, plan.groups[group])
                found.append(SetField(name, value, slots, known))
    return found


def _by_field(slots: Mapping[str, str]) -> dict[str, dict[str, str]]:
    found: dict[str, dict[str, str]] = {}
    for slot, raw in slots.items():
        found.setdefault(slot.partition("/")[0], {})[slot] = raw
    return found


def _of_entry(slots: Mapping[str, str], key: str) -> dict[str, str]:
    return {slot: raw for slot, raw in slots.items() if split_slot(slot)[1] == key}


def _entry_edits(
    field: str, held: Entries[Any], slots: Mapping[str, str], new_key: Callable[[], str]
) -> list[EditEntry]:
    seen: dict[str, dict[str, str]] = {}
    ordinal = 0
    for slot, raw in slots.items():
        key = split_slot(slot)[1] or ""
        seen.setdefault(key, {})[slot] = raw
        rank = entry_rank(key)[0]
        ordinal = max(ordinal, rank + 1 if rank < 2**31 else 0)
    edits = held.edits(new_key, ordinal)
    return [EditEntry(field, key, v, seen.get(key, {})) for key, v in edits if v is not None or key in seen]


def subject_of(record: Record | UnknownRecord) -> str:
    """Whose data this is: the patient, where the kind names one by `once` and it is set; else the record itself.

    A record's subject is fixed when it is created; for an existing record, ask the store.
    """
    if isinstance(record, Record):
        field = record.plan().fields.get("patient")
        if field is not None and field.rule.name == "once":
            patient = record.__dict__["patient"]
            if patient:
                return str(patient)
    return record.id


def fields_json(record: Record | UnknownRecord) -> dict[str, Any]:
    """`{field: value}` as JSON, of all fields that say something: what a reader would show first."""
    if isinstance(record, UnknownRecord):
        return dict(record.fields)
    reading = record._reading
    found: dict[str, Any] = {}
    for name, field in record.plan().fields.items():
        held = record.__dict__[name]
        if isinstance(held, Text):
            value: Any = str(held)
        elif isinstance(held, Entries):
            value = held.json()
        elif isinstance(held, Versions):
            value = [field.to_json(version) for version in held]
        elif isinstance(held, Counter):
            value = held.value
        elif name in reading.unknown and name not in reading.assigned:
            value = reading.shown.get(name)
        else:
            value = None if held is None else field.to_json(held)
        if value is not None and value != "" and value != []:
            found[name] = value
    return found


def conflicts_json(record: Record | UnknownRecord) -> dict[str, list[Any]]:
    """`{field: [value, value ...]}` as JSON, of all fields in conflict, as they were read."""
    if isinstance(record, UnknownRecord):
        return dict(record.conflicts)
    fields = record.plan().fields
    return {
        name: [None if value is None else _plain(fields[name], value) for value in values]
        for name, values in record.conflicts.items()
    }


def _plain(plan: FieldPlan, value: Any) -> Any:
    if isinstance(value, Version):
        return plan.to_json(value)
    try:
        canonical(value)
    except (TypeError, ValueError):
        return plan.to_json(value)
    return value


def parse_value(model: type[Record], field: str, text: str) -> Any:
    """A value as written on a command line, ready to be assigned: text, dates, times, links and states as they are,
    everything else as JSON; nothing clears the field. Raises UnknownField or BadValue."""
    plan = model.plan().field(field)
    if text == "":
        return None
    if plan.as_written and not plan.rule.keyed:
        return text
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        raise BadValue(f"{model.kind}.{field}: expected JSON, for example {_example(plan)}") from None
    if plan.entries and not isinstance(value, list):
        raise BadValue(f"{model.kind}.{field}: expected a JSON list of entries, for example {_example(plan)}")
    if plan.versions and not isinstance(value, dict | list):
        raise BadValue(f"{model.kind}.{field}: expected a version as JSON, or a list, for example {_example(plan)}")
    return value


def _example(plan: FieldPlan) -> str:
    if plan.model is not None:
        part = next(iter(plan.model.model_fields), "name")
        example = f'{{"{part}": ...}}'
    else:
        example = {bool: "true", int: "12", float: "1.5", dict: '{"name": ...}'}.get(plan.base, '"..."')
    return f"[{example}]" if plan.rule.keyed else example
