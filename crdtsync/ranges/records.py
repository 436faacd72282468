"""Ranges as records: what they say to the rules of `crdtsync.authority.ranges`, and how they are changed."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, Final

from crdtsync.authority.ranges import Block, Closing, Range, Release
from crdtsync.documents import Content, edits_of, read
from crdtsync.documents.slots import items_of, split_slot
from crdtsync.engine import RecordEdits
from crdtsync.ids import RecordId
from crdtsync.practice import NumberRange

KIND: Final = NumberRange.kind
NUMBERED: Final = "patient"
_BOUNDS: Final = ("first", "last", "replica", "site", "spare")


def range_of(record: RecordId, content: Content) -> Range | None:
    """The range that a record describes; None for one that is not whole yet, or numbers something else."""
    found = read(KIND, record, content)
    assert isinstance(found, NumberRange), "the kind is declared"
    if found.numbers != NUMBERED or found.first is None or found.last is None:
        return None
    told = [found.given, *found.conflicts.get("given", ())]
    return Range(
        id=record,
        site=found.site or "",
        replica=found.replica or "",
        first=found.first,
        last=found.last,
        spare=bool(found.spare),
        born=_born(content),
        given=max((number for number in told if type(number) is int), default=0),
        blocks=tuple(Block(each.replica, each.first, each.last) for each in found.blocks),
        closings=tuple(Closing(each.key, each.replica) for each in found.closings),
        releases=tuple(Release(each.step, each.replica, each.since, tuple(each.closings)) for each in found.releases),
        ended=found.stopped,
        clear=_clear(found),
    )


def _clear(found: NumberRange) -> bool:
    """Whether it says one thing alone of what decides who gives which numbers."""
    said = (*_BOUNDS, "releases", "closings", "blocks")
    if any(name in found.conflicts or name in found.unknown for name in said):
        return False
    assert found.first is not None and found.last is not None
    return bool(found.replica) and 0 < found.first <= found.last


def _born(content: Content) -> int:
    """The hybrid time at which its first number was set: of ranges that overlap the younger one is stopped."""
    return min(_stamps(content, "first"), default=0)


def changed(record: RecordId, content: Content | None, change: Callable[[NumberRange], None]) -> RecordEdits:
    """What `change` does to a range as it stands (None: a new one), as edits of a transaction."""
    found = read(KIND, record, content or Content({}, {}))
    assert isinstance(found, NumberRange), "the kind is declared"
    change(found)
    return RecordEdits(KIND, record, record, edits_of(found, _no_key))


def _no_key() -> str:
    raise AssertionError("entries of ranges are named by what they say")


def wall(now_ms: int) -> datetime:
    """A wall time as fields hold it."""
    return datetime.fromtimestamp(now_ms / 1000, UTC)


def since(content: Content, field: str) -> int:
    """The hybrid time at which a field was written as it stands."""
    return max(_stamps(content, field), default=0)


def _stamps(content: Content, field: str) -> list[int]:
    slots = [(split_slot(slot), raw) for slot, raw in content.slots.items()]
    return [item.stamp for (name, _, tag), raw in slots if name == field for item in items_of(tag, raw)]


def shown(each: Range, site: str) -> dict[str, Any]:
    """A range for people and scripts; `site` is the name of the one that has it now."""
    return {"id": each.id, "site": site, "from": each.first, "to": each.last, "spare": each.spare}
