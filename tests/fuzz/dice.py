"""Bytes that decide: structured input for targets that a flat string of bytes does not lead far into.

A `Dice` is read from its front; an empty one always gives 0, so every string of bytes is a valid input.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeVar

T = TypeVar("T")

_EDGES: tuple[Any, ...] = (
    None,
    False,
    True,
    0,
    1,
    -1,
    2,
    2**16,
    2**31,
    2**53 - 1,
    2**53,
    2**63 - 1,
    2**63,
    2**64 - 1,
    -(2**63),
    1.5,
    b"",
    b"\0",
    b"x" * 16,
    b"x" * 24,
    b"x" * 32,
    b"x" * 64,
    "",
    "a",
    "é\U0001f600",
    "x" * 300,
    [],
    [[]],
    [[[[[[[[[[]]]]]]]]]],
    [None] * 40,
)


class Dice:
    """Decisions, read from bytes."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    @property
    def left(self) -> int:
        """How many bytes are not used yet."""
        return len(self._data) - self._at

    def take(self, count: int) -> bytes:
        """The next bytes, fewer at the end."""
        taken = self._data[self._at : self._at + count]
        self._at += len(taken)
        return taken

    def rest(self) -> bytes:
        """All bytes that are left."""
        return self.take(self.left)

    def byte(self) -> int:
        """A number from 0 to 255."""
        return (self.take(1) or b"\0")[0]

    def below(self, count: int) -> int:
        """A number from 0 to `count` - 1."""
        size = 1 if count <= 256 else 2 if count <= 65_536 else 4
        return int.from_bytes(self.take(size), "big") % count

    def pick(self, choices: Sequence[T]) -> T:
        """One of some things."""
        return choices[self.below(len(choices))]

    def piece(self) -> bytes:
        """Some bytes, behind their length."""
        return self.take(self.below(65_536) if self.byte() >= 250 else self.byte())


def patched(dice: Dice, data: bytes, patches: int = 4) -> bytes:
    """`data` with up to `patches` changes: bytes changed, cut out, put in, doubled, or cut off at the end."""
    changed = bytearray(data)
    for _ in range(1 + dice.below(patches)):
        at = dice.below(len(changed) + 1)
        how = dice.below(5)
        if how == 0 and at < len(changed):
            changed[at] = dice.byte()
        elif how == 1:
            del changed[at : at + 1 + dice.below(8)]
        elif how == 2:
            changed[at:at] = dice.take(1 + dice.below(8))
        elif how == 3:
            changed[at:at] = changed[at : at + 1 + dice.below(64)]
        elif how == 4:
            del changed[at:]
    return bytes(changed)


def twisted(dice: Dice, value: list[Any], twists: int = 3) -> list[Any]:
    """A copy of nested lists with up to `twists` items changed for others of any type, left out or doubled."""
    whole = _copied(value)
    for _ in range(1 + dice.below(twists)):
        place = whole
        for _ in range(dice.below(6)):
            inner = [item for item in place if type(item) is list and item]
            if not inner:
                break
            place = dice.pick(inner)
        if not place:
            continue
        at = dice.below(len(place))
        how = dice.below(5)
        if how == 0:
            place[at] = _copied(dice.pick(_EDGES))
        elif how == 1:
            del place[at]
        elif how == 2:
            place.insert(at, _copied(place[at]))
        elif how == 3:
            other = dice.below(len(place))
            place[at], place[other] = place[other], place[at]
        else:
            place[at] = _near(dice, place[at])
    return whole


def _near(dice: Dice, item: Any) -> Any:
    """Another value of the same type."""
    if type(item) is bytes:
        return patched(dice, item, 2)
    if type(item) is int:
        return item + dice.pick((-1, 1, 2, -2, 256, -256, 2**32))
    if type(item) is str:
        return item + dice.pick(("", " ", "x", "\0", "é"))
    return _copied(dice.pick(_EDGES))


def _copied(item: Any) -> Any:
    return [_copied(each) for each in item] if type(item) is list else item
