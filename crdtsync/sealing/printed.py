"""Bytes that people read, type and read out: base32 in groups, with check characters.

The alphabet is a to z and 2 to 7, in either case. The digits that it lacks are read as the letters they look like: 0 as
o, 1 as l, 8 as b. Spaces, line ends and hyphens between groups do not count.
"""

from __future__ import annotations

import hashlib
import re
from typing import Final

from crdtsync.ids import base32

_ALPHABET: Final = "abcdefghijklmnopqrstuvwxyz234567"
_LOOKALIKES: Final = str.maketrans("018", "olb")
_BETWEEN: Final = re.compile(r"[\s\-\u2010-\u2015]+")


def check_characters(domain: bytes, text: str, count: int) -> str:
    """`count` characters (5 bits each, at most 8 of them) that follow from `text`."""
    return base32(hashlib.sha256(domain + text.encode()).digest()[:5])[:count]


def grouped(text: str, size: int, separator: str = "-") -> str:
    """`text` in groups of `size` characters."""
    return separator.join(text[at : at + size] for at in range(0, len(text), size))


def typed_groups(text: str) -> list[str]:
    """What somebody typed, as its groups in lower case. Raises ValueError for a character that is never printed."""
    groups = [group.lower().translate(_LOOKALIKES) for group in _BETWEEN.split(text) if group]
    for position, group in enumerate(groups, 1):
        if strange := next((character for character in group if character not in _ALPHABET), None):
            raise ValueError(f"group {position} contains {strange!r}, which is never printed")
    return groups


def decoded(text: str) -> bytes:
    """The whole bytes in base32 `text`, whatever its length; bits left over are dropped."""
    bits = 0
    for character in text:
        bits = bits << 5 | _ALPHABET.index(character)
    count, surplus = divmod(len(text) * 5, 8)
    return (bits >> surplus).to_bytes(count, "big")
