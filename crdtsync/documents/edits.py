"""Edits: what a transaction wants of a document, with what it had seen. Plain values that can be pickled."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from crdtsync.documents.slots import Item
from crdtsync.documents.text import Hunk


@dataclass(frozen=True, slots=True)
class SetField:
    """Set a field to a JSON value; None clears it.

    `seen` are the field's slots as the writer read them: what still stands as it was read is overwritten, the rest
    stays beside the new value. `group_seen` are the commits of the field's group that were seen, for fields that are
    declared with one.
    """

    field: str
    value: Any
    seen: Mapping[str, str]
    group_seen: tuple[str, ...] | None = None


@dataclass(frozen=True, slots=True)
class EditEntry:
    """Set one entry of an `entries` field to a JSON value; None removes it. `seen` are the entry's slots as read."""

    field: str
    key: str
    value: Any
    seen: Mapping[str, str]
    group_seen: tuple[str, ...] | None = None


@dataclass(frozen=True, slots=True)
class EditText:
    """Change a text by hunks that are counted in characters of `base`, the text as the writer read it."""

    field: str
    base: str
    hunks: tuple[Hunk, ...]


@dataclass(frozen=True, slots=True)
class Restore:
    """Put writes back that stood in a field, or in one of its entries (`key`), side by side and as whose they were.

    `seen` are the slots that they take the place of, as read; with no `items` those are only taken away, for what
    stands beside them.
    """

    field: str
    key: str | None
    items: tuple[Item, ...]
    seen: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class EditCounter:
    """Add `plus` to a counter and subtract `minus`; neither is negative. There is nothing to be seen before."""

    field: str
    plus: int
    minus: int


Edit = SetField | EditEntry | EditText | EditCounter | Restore
