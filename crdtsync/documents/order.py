"""What stands before what in the texts of a document, also where it is deleted.

Whoever types between two characters names both, and whoever is honest names them in their order. The library relies on
that without looking: characters between one and another before it, or between one and itself, come to stand in one
place when they are applied and in another when the document is loaded again, so that equal logs give other texts (L5).
The order of two characters that are there never changes, so every site comes to the same verdict.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from pycrdt import _pycrdt as crdt

from crdtsync.documents.delta import Unit

_WHOLE: Final = b"\x00"
_AFTER: Final = b"\x00"
_SKIPPED: Final = (0, 10)
_DELETED: Final = 1
_STRING: Final = 4
_VALUES: Final = 8
_TEXT_VALUE: Final = 119


def in_order(doc: crdt.Doc, pairs: Sequence[tuple[Unit, Unit]]) -> bool:
    """Whether of each pair the first stands before the second, in one text; all of them are there.

    Costs a few microseconds for a pair, and a walk through the whole document where positions alone do not tell:
    between deleted characters, and in documents of several texts.
    """
    transaction = doc.create_transaction()
    try:
        texts = [name for name in doc.roots(transaction) if name.startswith("t:")]
        unclear = []
        for left, right in pairs:
            before, behind = _position(transaction, left), _position(transaction, right)
            if before > behind:
                return False
            if before == behind or len(texts) > 1:
                unclear.append((left, right))
        state = doc.get_update(transaction, _WHOLE) if unclear else b""
    finally:
        transaction.drop()
    return not unclear or _in_order_bare(_bare(state), texts, unclear)


def _in_order_bare(state: bytes, texts: Sequence[str], pairs: Sequence[tuple[Unit, Unit]]) -> bool:
    doc = crdt.Doc(1, None, None)
    transaction = doc.create_transaction()
    try:
        doc.apply_update(transaction, state)
        found = [doc.get_or_insert_text(transaction, name) for name in texts]
        for left, right in pairs:
            before, behind = _position(transaction, left), _position(transaction, right)
            if before >= behind:
                return False
            if not any(
                _stands(transaction, text, left, before) and _stands(transaction, text, right, behind) for text in found
            ):
                return False
    finally:
        transaction.drop()
    return True


def _position(transaction: crdt.Transaction, unit: Unit) -> int:
    """How much that is not deleted stands before a unit in its text; in a bare document, how many units."""
    return crdt.decode_sticky_index(_named(unit)).get_offset(transaction)


def _stands(transaction: crdt.Transaction, text: Any, unit: Unit, at: int) -> bool:
    """Whether a unit is the one at this position of this text. (The types of the library lack `sticky_index`.)"""
    return bool(at < text.len(transaction) and text.sticky_index(transaction, at, 0).encode() == _named(unit))


def _named(unit: Unit) -> bytes:
    return b"\x00" + _encoded(unit[0]) + _encoded(unit[1]) + _AFTER


def _encoded(number: int) -> bytes:
    out = bytearray()
    while number > 127:
        out.append(number & 127 | 128)
        number >>= 7
    out.append(number)
    return bytes(out)


def _bare(state: bytes) -> bytes:
    """A document of the same order in which each unit is an `x` and nothing is deleted, so that positions count units.

    Raises ValueError where the document holds what no delta of this house brings.
    """
    copy = _Copy(state)
    for _ in range(copy.number()):
        structs = copy.number()
        copy.number()  # the writer
        copy.number()  # its first clock
        for _ in range(structs):
            _bare_struct(copy)
    return b"".join(copy.out) + b"\x00"


def _bare_struct(copy: _Copy) -> None:
    data, info = copy.data, copy.data[copy.at]
    content = info & 0x1F
    copy.at += 1
    copy.out.append(bytes([info & 0xE0 | _STRING if content == _DELETED else info]))
    if content in _SKIPPED:
        copy.number()
        return
    for side in (0x80, 0x40):
        if info & side:
            copy.number()
            copy.number()
    if not info & 0xC0:
        copy.number()  # a root, by its name
        copy.text()
        if info & 0x20:
            copy.text()
    if content == _VALUES:
        for _ in range(copy.number()):
            if data[copy.at] != _TEXT_VALUE:
                raise ValueError("a value that no slot holds")
            copy.out.append(data[copy.at : copy.at + 1])
            copy.at += 1
            copy.text()
    elif content == _DELETED:
        copy.units(copy.take())
    elif content == _STRING:
        copy.units(len(copy.bytes().decode().encode("utf-16-le")) // 2)
    else:
        raise ValueError("a content that no field has")


class _Copy:
    """Reads an update and writes another one."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.at = 0
        self.out: list[bytes] = []

    def take(self) -> int:
        """Read a number."""
        value = shift = 0
        while True:
            byte = self.data[self.at]
            self.at += 1
            value |= (byte & 127) << shift
            if byte < 128:
                return value
            shift += 7

    def number(self) -> int:
        """Copy a number."""
        start = self.at
        value = self.take()
        self.out.append(self.data[start : self.at])
        return value

    def bytes(self) -> bytes:
        """Read bytes behind their length."""
        size = self.take()
        self.at += size
        return self.data[self.at - size : self.at]

    def text(self) -> None:
        """Copy bytes with their length."""
        start = self.at
        self.bytes()
        self.out.append(self.data[start : self.at])

    def units(self, count: int) -> None:
        """Write so many units."""
        self.out.append(_encoded(count) + b"x" * count)
