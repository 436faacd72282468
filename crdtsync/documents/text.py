"""Co-edited text, in characters.

The CRDT library counts UTF-8 bytes: an insert at a byte inside "ü" lands elsewhere at every site, silently. So people
and programs count characters (Unicode code points), edits travel as *hunks* between characters of the text that was
read, and only `document.py` turns them into byte positions, at the last moment.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from difflib import SequenceMatcher
from typing import Any, Final, NamedTuple

from pydantic import GetCoreSchemaHandler
from pydantic_core import core_schema

from crdtsync.errors import BadValue

_WORD: Final = re.compile(r"\w+|\W")
_COMPARE_MAX: Final = 400_000
"""Product of word counts up to which a replaced text is compared word by word; beyond, one stretch is replaced."""


class Hunk(NamedTuple):
    """The characters from `start` to before `end` of a text give way to `insert`."""

    start: int
    end: int
    insert: str


class Text:
    """The value of a `text` field: edit it in place; what two people write unseen is woven together.

    Positions and lengths count characters. Edits are kept until the transaction commits; if the text changed since it
    was read, their positions are mapped over that change.
    """

    __slots__ = ("_base", "_pieces", "_shown")

    def __init__(self, value: str = "") -> None:
        """A new text. Raises BadValue when `value` is not text that can be stored."""
        self._base = ""
        self._pieces: list[tuple[int, int] | str] = [checked(value)] if value else []
        self._shown: str | None = value

    @classmethod
    def as_read(cls, base: str) -> Text:
        """The text as a document holds it."""
        text = cls()
        text._base = text._shown = base
        text._pieces = [(0, len(base))] if base else []
        return text

    def __str__(self) -> str:
        if self._shown is None:
            self._shown = "".join(p if isinstance(p, str) else self._base[p[0] : p[1]] for p in self._pieces)
        return self._shown

    def __len__(self) -> int:
        return sum(_size(piece) for piece in self._pieces)

    def __repr__(self) -> str:
        return f"Text({str(self)!r})"

    def __eq__(self, other: object) -> bool:
        return str(self) == str(other) if isinstance(other, Text | str) else NotImplemented

    __hash__ = None  # type: ignore[assignment]  # it changes in place, as a list does

    def insert(self, position: int, value: str) -> None:
        """Insert before the character at `position` (the length: at the end). Raises BadValue out of bounds."""
        self._within(position, position)
        if checked(value):
            self._pieces.insert(self._cut(position), value)
            self._shown = None

    def delete(self, position: int, count: int) -> None:
        """Delete `count` characters from `position` on. Raises BadValue out of bounds."""
        self._within(position, position + count)
        if count:
            first = self._cut(position)
            del self._pieces[first : self._cut(position + count)]
            self._shown = None

    def append(self, value: str) -> None:
        """Insert at the end."""
        self.insert(len(self), value)

    def replace(self, value: str) -> None:
        """Make the text `value` by the fewest changed words, so that what others change elsewhere stays theirs."""
        for hunk in reversed(difference(str(self), checked(value))):
            self.delete(hunk.start, hunk.end - hunk.start)
            self.insert(hunk.start, hunk.insert)

    @property
    def base(self) -> str:
        """The text that the edits are counted in: as it was read."""
        return self._base

    def hunks(self) -> tuple[Hunk, ...]:
        """All edits since reading, in order of position and not overlapping."""
        found: list[Hunk] = []
        at, fresh = 0, ""
        for piece in [*self._pieces, (len(self._base), len(self._base))]:
            if isinstance(piece, str):
                fresh += piece
                continue
            if fresh or piece[0] > at:
                found.append(Hunk(at, piece[0], fresh))
            at, fresh = piece[1], ""
        return tuple(found)

    def _within(self, start: int, end: int) -> None:
        if not 0 <= start <= end <= len(self):
            raise BadValue(f"text: positions lie between 0 and {len(self)}, counted in characters")

    def _cut(self, position: int) -> int:
        """Split pieces at a position; the index of the piece that begins there."""
        at = 0
        for index, piece in enumerate(self._pieces):
            if at == position:
                return index
            size = _size(piece)
            if position < at + size:
                self._pieces[index : index + 1] = _split(piece, position - at)
                return index + 1
            at += size
        return len(self._pieces)

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: GetCoreSchemaHandler) -> core_schema.CoreSchema:
        return core_schema.no_info_plain_validator_function(
            cls._accept, serialization=core_schema.plain_serializer_function_ser_schema(str)
        )

    @classmethod
    def _accept(cls, value: Any) -> Text:
        if isinstance(value, Text):
            return value
        if value is None or isinstance(value, str):
            return cls(value or "")
        raise ValueError("expected text")


def checked(value: str) -> str:
    """The value, if it is text that UTF-8 can hold. Raises BadValue for half of a surrogate pair, or no text at all."""
    if not isinstance(value, str):
        raise BadValue("text: expected a str")
    try:
        value.encode()
    except UnicodeEncodeError:
        raise BadValue("text: half of a surrogate pair is no character; mend the encoding at its origin") from None
    return value


def _size(piece: tuple[int, int] | str) -> int:
    return len(piece) if isinstance(piece, str) else piece[1] - piece[0]


def _split(piece: tuple[int, int] | str, at: int) -> list[tuple[int, int] | str]:
    if isinstance(piece, str):
        return [piece[:at], piece[at:]]
    return [(piece[0], piece[0] + at), (piece[0] + at, piece[1])]


def difference(before: str, after: str) -> list[Hunk]:
    """Hunks that make `before` into `after`: what both begin and end with stays, then whole words are compared."""
    if before == after:
        return []
    start, limit = 0, min(len(before), len(after))
    while start < limit and before[start] == after[start]:
        start += 1
    tail = 0
    while tail < limit - start and before[-1 - tail] == after[-1 - tail]:
        tail += 1
    old, new = before[start : len(before) - tail], after[start : len(after) - tail]
    old_words, new_words = _WORD.findall(old), _WORD.findall(new)
    if not old or not new or len(old_words) * len(new_words) > _COMPARE_MAX:
        return [Hunk(start, start + len(old), new)]
    found, at, done = [], start, 0
    for kind, a1, a2, b1, b2 in SequenceMatcher(None, old_words, new_words, autojunk=False).get_opcodes():
        at += sum(map(len, old_words[done:a1]))
        size = sum(map(len, old_words[a1:a2]))
        if kind != "equal":
            found.append(Hunk(at, at + size, "".join(new_words[b1:b2])))
        at, done = at + size, a2
    return found


def rebase(hunks: Sequence[Hunk], base: str, current: str) -> list[Hunk]:
    """The same edits, counted in `current` instead of `base`.

    What somebody else inserted meanwhile stays, also in the middle of what is deleted here; what somebody else deleted
    is not deleted twice; inserts inside a deleted stretch land where it was.
    """
    moved = list(hunks)
    for other in reversed(difference(base, current)):
        moved = [part for hunk in moved for part in _rebase_one(hunk, other)]
    return moved


def _rebase_one(hunk: Hunk, other: Hunk) -> list[Hunk]:
    """One edit, counted in the text after `other` was made: up to two, since deleting goes around what was inserted."""
    shift = len(other.insert) - (other.end - other.start)
    if hunk.end < other.start or (hunk.end == other.start and hunk.start < hunk.end):
        return [hunk]
    if hunk.start >= other.end and (hunk.start > other.start or other.start == other.end):
        return [Hunk(hunk.start + shift, hunk.end + shift, hunk.insert)]
    behind = other.start + len(other.insert)
    before = Hunk(min(hunk.start, other.start), min(hunk.end, other.start), "")
    after = Hunk(behind, behind + max(0, hunk.end - other.end), "")
    if hunk.start < other.start:
        before = before._replace(insert=hunk.insert)
    else:
        after = after._replace(insert=hunk.insert)
    return [part for part in (before, after) if part.insert or part.end > part.start]
