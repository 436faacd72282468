"""Edits as JSON, for those that are kept until somebody decides: what is not a commit yet has no other form."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from crdtsync.documents.edits import Edit, EditCounter, EditEntry, EditText, Restore, SetField
from crdtsync.documents.slots import Item
from crdtsync.documents.text import Hunk


def edits_json(edits: Sequence[Edit]) -> list[Any]:
    """Edits as JSON; `edits_from_json` gives equal ones back."""
    return [_plain(edit) for edit in edits]


def edits_from_json(data: Sequence[Any]) -> list[Edit]:
    """The inverse of `edits_json`. Raises ValueError for what a later version wrote."""
    return [_edit(each) for each in data]


def _plain(edit: Edit) -> list[Any]:
    match edit:
        case SetField():
            return ["field", edit.field, edit.value, dict(edit.seen), edit.group_seen]
        case EditEntry():
            return ["entry", edit.field, edit.key, edit.value, dict(edit.seen), edit.group_seen]
        case EditText():
            return ["text", edit.field, edit.base, edit.hunks]
        case EditCounter():
            return ["counter", edit.field, edit.plus, edit.minus]
        case Restore():
            return ["restore", edit.field, edit.key, edit.items, dict(edit.seen)]


def _edit(data: list[Any]) -> Edit:
    match data:
        case ["field", field, value, seen, group]:
            return SetField(field, value, seen, None if group is None else tuple(group))
        case ["entry", field, key, value, seen, group]:
            return EditEntry(field, key, value, seen, None if group is None else tuple(group))
        case ["text", field, base, hunks]:
            return EditText(field, base, tuple(Hunk(*hunk) for hunk in hunks))
        case ["counter", field, plus, minus]:
            return EditCounter(field, plus, minus)
        case ["restore", field, key, items, seen]:
            return Restore(field, key, tuple(Item(*item) for item in items), seen)
    raise ValueError("an edit in a form that this version does not know; update this program")
