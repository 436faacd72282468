"""What a change did to a record, field by field, for people: what a reader saw before and after it."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from typing import Any

from crdtsync.documents.document import Content
from crdtsync.documents.reading import conflicts_json, fields_json, read
from crdtsync.documents.record import model_of
from crdtsync.documents.slots import canonical, items_of, split_slot
from crdtsync.ids import RecordId


def said(kind: str, record: RecordId, content: Content) -> tuple[dict[str, Any], dict[str, list[Any]]]:
    """Per field the value that a reader is shown first, and all values of the fields in conflict, as JSON.

    Fields that this version does not know are told too: their only value, else a list of them.
    """
    found = read(kind, record, content)
    shown, several = fields_json(found), conflicts_json(found)
    for name, values in found.unknown.items():
        shown.setdefault(name, values[0] if len(values) == 1 else list(values))
    return shown, several


def changes(
    kind: str, record: RecordId, before: Content, after: Content, fields: Iterable[str]
) -> list[dict[str, Any]]:
    """`{"field", "before", "after"}` of each of the `fields` that were written, and of others that are shown otherwise.

    A field of which several values stand now has them in `values`; a field of which another value is shown than the one
    that was written has that in `wrote`. None is nothing, or cleared. Total over every content (L6).
    """
    (old, old_several), (new, new_several) = said(kind, record, before), said(kind, record, after)
    written = set(fields)
    names = dict.fromkeys([*old, *new, *old_several, *new_several, *sorted(written)])
    found = []
    for name in sorted(names):
        values = new_several.get(name)
        if name not in written and old.get(name) == new.get(name) and old_several.get(name) == values:
            continue
        told = {"field": name, "before": old.get(name), "after": new.get(name)}
        if values is not None:
            told["values"] = values
        wrote = _wrote(name, before, after)
        if wrote is not None and canonical(wrote[0]) != canonical(new.get(name)):
            told["wrote"] = wrote[0]
        found.append(told)
    return found


def _wrote(field: str, before: Content, after: Content) -> list[Any] | None:
    """The one value that was written to a field's own slot, in a list; None for several, none, or entries."""
    values = []
    for slot, raw in after.slots.items():
        name, entry, tag = split_slot(slot)
        if name == field and entry is None and before.slots.get(slot) != raw:
            known = items_of(tag, before.slots.get(slot, ""))
            values += [item.value for item in items_of(tag, raw) if item not in known]
    return values if len(values) == 1 else None


def shape(kind: str) -> str:
    """A short hash of what this program knows of a kind, "" for a kind that no model declares: two programs with one
    shape show a document alike."""
    model = model_of(kind)
    if model is None:
        return ""
    plan = model.plan()
    rules = {
        name: [field.rule.name, field.rule.severity, field.rule.group, repr(field.default), repr(field.base)]
        for name, field in plan.fields.items()
    }
    return hashlib.sha256(canonical([kind, rules]).encode()).hexdigest()[:16]
