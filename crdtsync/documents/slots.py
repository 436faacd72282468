"""What a document keeps under which key.

A document is one flat map of text to text, plus one shared text per co-edited field. A key of the map, a *slot*, is
`field/tag` or `field/entry/tag`: the tag is the writer's log (`ids.log_tag`), so that no two logs write one slot, and
what they wrote unseen stands side by side. What a slot holds is compact JSON, a list of items

    [sequence, stamp, value]  or  [sequence, stamp, value, seen]  or  [sequence, stamp, value, seen, [tag, sequence]]

where `sequence` names the commit within the tag's log, `stamp` is its hybrid time, `value` is JSON (null: cleared or
removed), and `seen` are the commits, as `tag.sequence`, of the field's group that the writer knew. What an undo puts
back ends with the tag and the sequence of the write that it was, and has its stamp: it counts as this write again, in
all that follows from it. JSON inside a string keeps integers lossless; native numbers of the CRDT library come back as
floats.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from math import inf
from typing import Any, Final, NamedTuple, NoReturn

JSON_DEPTH_MAX: Final = 60
"""Nesting of a slot's JSON: far below what the parser's own recursion stands, so that every site reads alike."""


class Item(NamedTuple):
    """One surviving write: who (`tag`, `sequence`), when (`stamp`), what (`value`, JSON), and what it had seen."""

    tag: str
    sequence: int
    stamp: int
    value: Any
    seen: list[Any] | None

    @property
    def commit(self) -> str:
        """`tag.sequence`: the commit that wrote it, as documents name commits."""
        return f"{self.tag}.{self.sequence}"


def slot_key(field: str, tag: str, entry: str | None = None) -> str:
    """The slot in which log `tag` writes `field`, or one entry of it."""
    return f"{field}/{tag}" if entry is None else f"{field}/{entry}/{tag}"


def split_slot(slot: str) -> tuple[str, str | None, str]:
    """Field, entry (None when the slot is the field's own) and tag. The entry may contain slashes."""
    field, _, rest = slot.partition("/")
    entry, slash, tag = rest.rpartition("/")
    return field, entry if slash else None, tag


def _refuse_constant(_name: str) -> NoReturn:
    raise ValueError("not a JSON number")


def _finite(text: str) -> float:
    """A number as a float; one beyond all floats is none, since no canonical text gives it back."""
    value = float(text)
    if value in (inf, -inf):
        raise ValueError("not a number that JSON gives back")
    return value


_decoder: Final = json.JSONDecoder(parse_float=_finite, parse_constant=_refuse_constant)
_scan: Final[Callable[[str, int], tuple[Any, int]]] = vars(_decoder)["scan_once"]  # half the time of json.loads
_encoder: Final = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"), sort_keys=True, allow_nan=False)


def canonical(value: Any) -> str:
    """The one JSON text of a value: equal values have equal texts at every site.

    Raises ValueError for NaN and infinities, TypeError for what is not JSON.
    """
    return _encoder.encode(value)


def parse_items(raw: str) -> list[list[Any]] | None:
    """The items of a slot, or None when the text is not what a slot holds (such a slot is kept, and never shown).

    The verdict follows from the text alone, never from the depth of the caller's stack.
    """
    try:
        items, end = _scan(raw, 0)
    except (StopIteration, ValueError, RecursionError):
        return None
    if end != len(raw) or type(items) is not list or not items:
        return None
    for item in items:
        if type(item) is not list or len(item) < 3 or type(item[0]) is not int or type(item[1]) is not int:
            return None
    if len(raw) > 2 * JSON_DEPTH_MAX and too_deep(items, raw.count("[") + raw.count("{")):
        return None
    if "\\u" in raw and not _is_unicode(raw, items):
        return None
    return items


def too_deep(value: Any, brackets: int | None = None) -> bool:
    """Whether JSON is nested deeper than `JSON_DEPTH_MAX`; `brackets` is a bound of the depth that is known already."""
    if brackets is not None and brackets <= JSON_DEPTH_MAX:
        return False
    level = [value] if type(value) is dict or type(value) is list else []
    for _ in range(JSON_DEPTH_MAX + 1):
        deeper: list[Any] = []
        for node in level:
            inner = node.values() if type(node) is dict else node
            deeper.extend(child for child in inner if type(child) is dict or type(child) is list)
        if not deeper:
            return False
        level = deeper
    return True


def _is_unicode(raw: str, items: list[list[Any]]) -> bool:
    """Whether escapes in the text give characters: half of a surrogate pair is none, and no database takes it."""
    try:
        canonical(items).encode()
    except (UnicodeEncodeError, ValueError):
        return False
    return True


def items_of(tag: str, raw: str) -> list[Item]:
    """The items of a slot with the tag of its writer; empty when the slot holds something else."""
    return [as_item(tag, item) for item in parse_items(raw) or ()]


def as_item(tag: str, item: list[Any]) -> Item:
    """An item as it stands in a slot, with its writer's tag: of the first writer, where it was put back."""
    seen = item[3] if len(item) > 3 and type(item[3]) is list else None
    first, sequence = written_by(tag, item)
    return Item(first, sequence, item[1], item[2], seen)


def written_by(tag: str, item: list[Any]) -> tuple[str, int]:
    """Tag and sequence of the commit that wrote the value of an item, which may have been put back since."""
    if len(item) > 4 and type(item[4]) is list and len(item[4]) == 2:
        first, sequence = item[4]
        if type(first) is str and type(sequence) is int:
            return first, sequence
    return tag, item[0]
