"""The file of a patient's history: lines of JSON, a table of contents, and a seal over all of it.

    section*   {"section": NAME, …}                          one line each
    contents   {"section": "contents", "sections": [[name, bytes, SHA-256], …]}
    seal       {"section": "seal", "key", "contents": bytes, "sha256", "signature"}

The table of contents names every byte before it; the seal signs the table. So whatever byte is changed, it is known
which section it stands in. docs/HISTORY.md tells what the sections hold. Pure: bytes in, bytes out.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

Verify = Callable[[bytes, bytes, bytes], bool]
"""(signing key, message, signature) -> whether the signature holds."""
FORMAT: Final = "crdtsync-history/1"
DOMAIN: Final = b"crdtsync/history-export/1"
CONTENTS: Final = "contents"
SEAL: Final = "seal"
_SEAL_BEGINS: Final = b'{"section":"seal",'
"""Stands nowhere else: quotation marks inside a text are written with a backslash."""


@dataclass(frozen=True, slots=True)
class Problem:
    """What is wrong with a file, and in which of its sections."""

    section: str
    problem: str


@dataclass(frozen=True, slots=True)
class Seal:
    """Who sealed a file (by the signing key), how long its table of contents is, and the hash of that."""

    key: bytes
    contents: int
    sha256: bytes
    signature: bytes

    @property
    def signed(self) -> bytes:
        """What was signed: all of the seal but the signature."""
        return DOMAIN + self.key + self.contents.to_bytes(8, "big") + self.sha256


@dataclass(frozen=True, slots=True)
class Opened:
    """A file taken apart: its sections by name, as far as their bytes are those of the table of contents."""

    sections: dict[str, dict[str, Any]]
    seal: Seal | None
    problems: list[Problem]


def line(value: Any) -> bytes:
    """One section as it stands in the file."""
    text = json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    return text.encode("utf-8", "surrogatepass") + b"\n"


def sealed(sections: Iterable[tuple[str, bytes]], key: bytes, sign: Callable[[bytes], bytes]) -> Iterator[bytes]:
    """The lines of a whole file. `sections` are names, each given once, with their lines; `key` is the public half of
    what `sign` signs with."""
    table = []
    for name, data in sections:
        table.append([name, len(data), hashlib.sha256(data).hexdigest()])
        yield data
    contents = line({"section": CONTENTS, "sections": table})
    yield contents
    unsigned = Seal(key, len(contents), hashlib.sha256(contents).digest(), b"")
    yield _seal_line(replace(unsigned, signature=sign(unsigned.signed)))


def _seal_line(seal: Seal) -> bytes:
    return line(
        {
            "section": SEAL,
            "key": seal.key.hex(),
            "contents": seal.contents,
            "sha256": seal.sha256.hex(),
            "signature": seal.signature.hex(),
        }
    )


def is_history(data: bytes) -> bool:
    """Whether this is such a file at all, whatever was changed in it."""
    return FORMAT.encode() in data[:4096] or _seal_of(data)[0] is not None


def take_apart(data: bytes, verify: Verify) -> Opened:
    """Check every byte of a file: the seal by its signature, the table of contents by the seal, all else by the table.

    Whether the one who sealed it belongs to the practice is for the caller to ask.
    """
    seal, start = _seal_of(data)
    if seal is None:
        return Opened({}, None, [Problem(SEAL, "the last line is not a seal: the file was cut off, or changed there")])
    if not verify(seal.key, seal.signed, seal.signature):
        return Opened({}, None, [Problem(SEAL, "its signature does not hold: the seal was changed")])
    at = start - seal.contents
    contents = data[at:start] if at >= 0 else b""
    if hashlib.sha256(contents).digest() != seal.sha256:
        return Opened({}, seal, [Problem(CONTENTS, "the table of contents is not the one that was sealed")])
    table = _table_of(contents)
    if table is None:
        return Opened({}, seal, [Problem(CONTENTS, "the table of contents is not understood")])
    return _sections(data[:at], table, seal)


def _sections(data: bytes, table: Sequence[tuple[str, int, str]], seal: Seal) -> Opened:
    sections: dict[str, dict[str, Any]] = {}
    problems = []
    at = 0
    for name, size, sha256 in table:
        piece = data[at : at + size]
        at += size
        if hashlib.sha256(piece).hexdigest() != sha256:
            problems.append(Problem(name, "its bytes are not those that were sealed"))
            continue
        value = _parsed(piece)
        if value is None or name in sections:
            problems.append(Problem(name, "it is not understood, or stands there twice"))
        else:
            sections[name] = value
    if at != len(data):
        problems.append(Problem(CONTENTS, f"the file has {len(data) - at:+} bytes beside those of its sections"))
    return Opened(sections, seal, problems)


def _seal_of(data: bytes) -> tuple[Seal | None, int]:
    """The seal at the end, and where that begins; None when it is not exactly what a seal looks like."""
    start = max(data.rfind(_SEAL_BEGINS), 0)
    value = _parsed(data[start:])
    try:
        assert value is not None
        key, sha256, signature = (bytes.fromhex(value[name]) for name in ("key", "sha256", "signature"))
        seal = Seal(key, value["contents"], sha256, signature)
        if type(seal.contents) is int and 0 < seal.contents < 2**63 and _seal_line(seal) == data[start:]:
            return seal, start
    except (AssertionError, KeyError, TypeError, ValueError):
        pass
    return None, start


def _table_of(contents: bytes) -> list[tuple[str, int, str]] | None:
    value = _parsed(contents)
    try:
        assert value is not None
        table = [(name, size, sha256) for name, size, sha256 in value["sections"]]
    except (AssertionError, KeyError, TypeError, ValueError):
        return None
    fit = all(type(name) is str and type(size) is int and size > 0 and type(sha) is str for name, size, sha in table)
    return table if fit else None


def _parsed(data: bytes) -> dict[str, Any] | None:
    try:
        value = json.loads(data)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None
