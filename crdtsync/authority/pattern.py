"""Patterns of numbers: how the series "R1" writes its seventh number of 2026 in its first term, and in its second.

    parse("R1", "R1-{year}-{n:05}").number(1, 2026, 7)    R1-2026-00007
    parse("R1", "R1-{year}-{n:05}").number(2, 2026, 7)    R1.2-2026-00007

From the second term on, `name.term` stands in the place of the name, so that a holder that is only cut off and the one
that took over never give one number. A pattern is a small regular language, over all terms, years and counts: two
series whose languages meet are refused, and so is a pattern that could write two numbers alike.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Final

from crdtsync import limits
from crdtsync.errors import BadValue

_NAME: Final = re.compile(r"[^\W_]([^\W]|-)*")
_HOLE: Final = re.compile(r"\{([^{}]*)\}")
_COUNT: Final = re.compile(r"n(?::0([1-9]\d?))?")
_DIGITS: Final = frozenset("0123456789")
_FIRST: Final = _DIGITS - {"0"}
_YEAR: Final = "year"
_NAMED: Final = "name"


@dataclass(frozen=True, slots=True)
class Part:
    """A piece of a pattern: literal `text`, or what stands in its place ("name", "year", "n"), `width` digits wide."""

    what: str
    text: str = ""
    width: int = 1


@dataclass(frozen=True)
class Pattern:
    """A pattern that was found good."""

    name: str
    text: str
    parts: tuple[Part, ...]

    @property
    def yearly(self) -> bool:
        """Whether the count begins anew each year."""
        return any(part.what == _YEAR for part in self.parts)

    def number(self, term: int, year: int | None, n: int) -> str:
        """The number that was given as the `n`-th of a year (None where the pattern names none) in a term."""
        return "".join(_written(part, self.name, term, year, n) for part in self.parts)

    @cached_property
    def machine(self) -> Machine:
        """What reads every number that the pattern can write."""
        return Machine(self)


def _written(part: Part, name: str, term: int, year: int | None, n: int) -> str:
    if part.what == _NAMED:
        return name if term == 1 else f"{name}.{term}"
    if part.what == _YEAR:
        return f"{year:04}"
    return f"{n:0{part.width}}" if part.what == "n" else part.text


def check_name(name: str) -> None:
    """Raises BadValue for what is no name of a series."""
    if len(name) > limits.series_name_characters_max or not _NAME.fullmatch(name):
        raise BadValue(
            f"a series is named by letters, digits, hyphens and underscores, at most "
            f"{limits.series_name_characters_max} of them, like R1 or R1-B"
        )


def parse(name: str, text: str) -> Pattern:
    """The pattern that `text` writes for the series `name`. Raises BadValue, with what to mend."""
    check_name(name)
    if len(text) > limits.series_pattern_characters_max:
        raise BadValue(f"a pattern has at most {limits.series_pattern_characters_max} characters")
    pattern = Pattern(name, text, _parts(name, text))
    if pattern.machine.ambiguous():
        raise BadValue(
            f"with the pattern {text} two numbers could read alike: put something that is no digit, such as a hyphen, "
            "between the name, the year and the count"
        )
    return pattern


def _parts(name: str, text: str) -> tuple[Part, ...]:
    parts: list[Part] = []
    at = 0
    for hole in _HOLE.finditer(text):
        parts += _literal(text[at : hole.start()])
        parts.append(_hole(hole.group(1)))
        at = hole.end()
    parts += _literal(text[at:])
    for what, least in (("n", 1), (_YEAR, 0)):
        if not least <= sum(part.what == what for part in parts) <= 1:
            raise BadValue("a pattern has {n} (or {n:05}) once, and {year} at most once, like R1-{year}-{n:05}")
    for index, part in enumerate(parts):
        before, found, behind = part.text.partition(name)
        if found:
            named = [*_literal(before), Part(_NAMED), *_literal(behind)]
            return (*parts[:index], *named, *parts[index + 1 :])
    raise BadValue(f"the pattern must have the series' name {name} in it, where later terms are told apart from it")


def _literal(text: str) -> list[Part]:
    if any(c in "{}" or not c.isprintable() for c in text):
        raise BadValue("beside {year}, {n} and {n:05} a pattern has printed characters, and no other braces")
    return [Part("text", text)] if text else []


def _hole(inner: str) -> Part:
    if inner == _YEAR:
        return Part(_YEAR)
    count = _COUNT.fullmatch(inner)
    if count is None or int(count.group(1) or 1) > limits.series_digits_max:
        raise BadValue(
            f"a pattern knows {{year}}, {{n}}, and {{n:05}} for five digits (at most {limits.series_digits_max}), and "
            f"not {{{inner}}}"
        )
    return Part("n", width=int(count.group(1) or 1))


def may_coincide(one: Pattern, other: Pattern) -> bool:
    """Whether two series could ever, in any terms and years, give one number; upper and lower case are one."""
    return _meet(one.machine, other.machine, lambda a, b: True)


class Machine:
    """A finite automaton with two beginnings, for the first term and for later ones; `ends` are where it accepts.

    Each way through it writes one number of one term, year and count.
    """

    def __init__(self, pattern: Pattern) -> None:
        self.edges: list[list[tuple[frozenset[str], int]]] = []
        self.begins: list[int] = []
        self.ends: set[int] = set()
        for later in (False, True):
            begin = self._state()
            self.begins.append(begin)
            ends = {begin}
            for part in pattern.parts:
                ends = self._part(ends, part, pattern.name, later=later)
            self.ends |= ends

    def ambiguous(self) -> bool:
        """Whether two ways through it read alike."""
        return _meet(self, self, lambda a, b: a != b)

    def _state(self) -> int:
        self.edges.append([])
        return len(self.edges) - 1

    def _then(self, ends: set[int], characters: frozenset[str]) -> set[int]:
        """A further character behind all of `ends`."""
        state = self._state()
        for end in ends:
            self.edges[end].append((characters, state))
        return {state}

    def _part(self, ends: set[int], part: Part, name: str, *, later: bool) -> set[int]:
        if part.what == _YEAR:
            return self._run(ends, [_FIRST, _DIGITS, _DIGITS, _DIGITS])
        if part.what == "n":
            return self._count(ends, part.width)
        for character in name if part.what == _NAMED else part.text:
            ends = self._then(ends, frozenset({character.lower()}))
        if part.what == _NAMED and later:
            ends = self._then(ends, frozenset("."))
            return self._run(ends, [_FIRST - {"1"}]) | self._count(self._run(ends, [_FIRST]), 1, first=_DIGITS)
        return ends

    def _run(self, ends: set[int], characters: list[frozenset[str]]) -> set[int]:
        for each in characters:
            ends = self._then(ends, each)
        return ends

    def _count(self, ends: set[int], width: int, first: frozenset[str] = _FIRST) -> set[int]:
        """A count of `width` digits, padded with zeros, or of more, that begins with none."""
        padded = self._run(ends, [_DIGITS] * width) if width > 1 else set()
        longer = self._run(ends, [first, *[_DIGITS] * (width if width > 1 else 0)])
        for state in longer:
            self.edges[state].append((_DIGITS, state))
        return padded | longer


def _meet(one: Machine, other: Machine, counts: Callable[[int, int], bool]) -> bool:
    """Whether a text is read by both on ways that are somewhere at two states that count as apart."""
    begun = [(a, b, counts(a, b)) for a in one.begins for b in other.begins]
    seen, left = set(begun), deque(begun)
    while left:
        a, b, apart = left.popleft()
        if apart and a in one.ends and b in other.ends:
            return True
        for mine, to in one.edges[a]:
            for its, there in other.edges[b]:
                pair = (to, there, apart or counts(to, there))
                if mine & its and pair not in seen:
                    seen.add(pair)
                    left.append(pair)
    return False
