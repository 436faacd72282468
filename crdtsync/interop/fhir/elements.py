"""Where a value stands inside a resource: finding it, taking it out, putting it back.

A path is a tuple of steps: a string enters an object, a number or a `Pick` enters a list. Resources come from outside,
so nothing here trusts a shape: a step that does not fit finds nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

Pick = Callable[[list[Any]], int | None]
"""Chooses the item of a list that a step enters; None when there is none."""
Step = str | int | Pick
Place = tuple[str | int, ...]
"""A path whose picks have been made."""

DECIMAL = "$decimal"
"""The key under which a decimal number is kept as it was written, where a binary float would change its digits."""


@dataclass(frozen=True)
class Found:
    """A value and the place where it stands."""

    place: Place
    value: Any


def find(resource: Mapping[str, Any], path: tuple[Step, ...]) -> Found | None:
    """The value at `path`; None when a step finds nothing or the value is null."""
    here: Any = resource
    place: list[str | int] = []
    for step in path:
        key = _key(step, here)
        if key is None:
            return None
        here = here[key]
        place.append(key)
    return None if here is None else Found(tuple(place), here)


def _key(step: Step, holder: Any) -> str | int | None:
    """Where `step` enters `holder`; None when it does not fit."""
    if isinstance(step, str):
        return step if isinstance(holder, dict) and step in holder else None
    if not isinstance(holder, list):
        return None
    index = step if isinstance(step, int) else step(holder)
    return index if index is not None and 0 <= index < len(holder) else None


def value_at(resource: Mapping[str, Any], *path: Step) -> Any:
    """Like `find`, the value alone."""
    found = find(resource, path)
    return None if found is None else found.value


def objects(value: Any) -> list[dict[str, Any]]:
    """The objects in a list; none where there is no list."""
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []


def only(items: list[Any]) -> int | None:
    """Picks the item of a list that has no other."""
    return 0 if len(items) == 1 else None


def first_with(key: str, *wanted: str) -> Pick:
    """Picks the first object whose `key` is one of `wanted`, the earlier ones first."""

    def pick(items: list[Any]) -> int | None:
        for value in wanted:
            for index, item in enumerate(items):
                if isinstance(item, dict) and item.get(key) == value:
                    return index
        return None

    return pick


def preferred(key: str, *wanted: str) -> Pick:
    """Like `first_with`; the first item of all where none of them has it."""
    choose = first_with(key, *wanted)

    def pick(items: list[Any]) -> int | None:
        index = choose(items)
        return index if index is not None else (0 if items else None)

    return pick


def drop(resource: dict[str, Any], place: Place) -> None:
    """Take the value at `place` out of `resource`, and the objects which that leaves empty.

    Items of lists stay where they are, as empty objects if need be, so that the places of the others stay true.
    """
    chain: list[Any] = [resource]
    for key in place[:-1]:
        chain.append(chain[-1][key])
    for depth in range(len(place) - 1, -1, -1):
        key, holder = place[depth], chain[depth]
        if isinstance(holder, list):
            return
        del holder[key]
        if holder:
            return


def leaves(value: Any, place: Place = ()) -> Iterator[Found]:
    """Every value inside `value` that is no object and no list, and every empty one, with its place."""
    if isinstance(value, dict) and value:
        for key, item in value.items():
            yield from leaves(item, (*place, key))
    elif isinstance(value, list) and value:
        for index, item in enumerate(value):
            yield from leaves(item, (*place, index))
    else:
        yield Found(place, value)


def deeper_than(value: Any, depth_max: int) -> bool:
    """Whether objects and lists are nested deeper than `depth_max`; never recurses."""
    level = [value]
    for _ in range(depth_max + 1):
        level = [
            item
            for holder in level
            if isinstance(holder, dict | list)
            for item in (holder.values() if isinstance(holder, dict) else holder)
        ]
        if not level:
            return False
    return True


def exact_number(text: str) -> float | Decimal:
    """A JSON number with a point or an exponent: a float where that gives the same digits back, else a Decimal.

    FHIR R4 (datatypes, decimal) asks to keep the precision as written: 5.10 is not 5.1 for a laboratory.
    """
    number = float(text)
    return number if repr(number) == text else Decimal(text)


def plain(value: Any) -> Any:
    """A copy of `value` that is plain JSON; each Decimal becomes `{"$decimal": digits}`."""
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, list):
        return [plain(item) for item in value]
    if isinstance(value, Decimal):
        return {DECIMAL: str(value)}
    return value
