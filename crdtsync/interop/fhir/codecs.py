"""How a value of FHIR becomes a value of a field, and back.

`read` gives None for what the field cannot say. `write` gives the value of FHIR that the field's value stands for; an
import keeps in `source` every element that `write` does not give back exactly as it was.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

_INT64_MAX = 2**63 - 1
_DATE = re.compile(r"(\d{4}-\d{2}-\d{2})(?:T.*)?")
_INSTANT = re.compile(r"\d{4}-\d{2}-\d{2}T\d{2}:\d{2}(?::\d{2}(?:\.\d+)?)?(?:Z|[+-]\d{2}:\d{2})")


@dataclass(frozen=True)
class Codec:
    """A pair of total functions; `write` undoes `read` where it can."""

    read: Callable[[Any], Any]
    write: Callable[[Any], Any]


def _same(value: Any) -> Any:
    return value


def _nothing(_: Any) -> None:
    return None


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) and value.strip() else None


def _date(value: Any) -> str | None:
    match = _DATE.fullmatch(value) if isinstance(value, str) else None
    return match[1] if match else None


def _instant(value: Any) -> str | None:
    return value if isinstance(value, str) and _INSTANT.fullmatch(value) else None


def _number(value: Any) -> int | float | None:
    if isinstance(value, bool) or not isinstance(value, int | float | Decimal):
        return None
    if isinstance(value, int):
        return value if abs(value) <= _INT64_MAX else None
    number = float(value)
    return number if math.isfinite(number) else None


def _whole(value: Any) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) and abs(value) <= _INT64_MAX else None


def _flag(value: Any) -> bool | None:
    return value if isinstance(value, bool) else None


TEXT = Codec(_text, _same)
DATE = Codec(_date, _same)
"""A whole day; of a point in time its day, as written (the element then stays in `source` too)."""
INSTANT = Codec(_instant, _same)
"""A point in time with its zone."""
NUMBER = Codec(_number, _same)
"""Within what a database column holds (64 bits); larger integers stay in `source`."""
WHOLE = Codec(_whole, _same)
FLAG = Codec(_flag, _same)


def joined(separator: str) -> Codec:
    """A list of texts as one text."""

    def read(value: Any) -> str | None:
        if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
            return None
        return _text(separator.join(value))

    def write(value: Any) -> Any:
        return value.split(separator) if isinstance(value, str) else None

    return Codec(read, write)


def coded(words: Mapping[str, str], also: Mapping[str, str] | None = None) -> Codec:
    """A code as the field's word; `also` names further codes that the word covers but does not give back."""
    back = {word: code for code, word in words.items()}
    every = {**words, **(also or {})}

    def read(value: Any) -> str | None:
        return every.get(value) if isinstance(value, str) else None

    def write(value: Any) -> Any:
        return back.get(value) if isinstance(value, str) else None

    return Codec(read, write)


def words(*codes: str) -> Codec:
    """Codes whose words in a field are the same, with underscores for hyphens."""
    return coded({code: code.replace("-", "_") for code in codes})


def one_way(read: Callable[[Any], Any]) -> Codec:
    """What a field can show of an element, which stays in `source` whole."""
    return Codec(read, _nothing)


def concept_words(concept: Any) -> str | None:
    """What a person reads of a CodeableConcept: its text, else the first display, else the first code."""
    if not isinstance(concept, dict):
        return None
    found = _text(concept.get("text"))
    codings = concept.get("coding")
    for key in ("display", "code"):
        for coding in codings if isinstance(codings, list) else []:
            if found is None and isinstance(coding, dict):
                found = _text(coding.get(key))
    return found
