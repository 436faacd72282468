"""What stands before what in the texts of a document, also where it is deleted.

Whoever types between two characters names both, and whoever is honest names them in their order. The library relies on
that without looking: characters between one and another before it, or between one and itself, come to stand in one
place when they are applied and in another when the document is loaded again, so that equal logs give other texts (L5).
The order of two characters that are there never changes, so every site comes to the same verdict.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from typing import Final

from pycrdt import _pycrdt as crdt

from crdtsync.documents.delta import Typed, Unit

_WHOLE: Final = b"\x00"
_AFTER: Final = b"\x00"
_SKIPPED: Final = (0, 10)
_DELETED: Final = 1
_STRING: Final = 4
_VALUES: Final = 8
_TEXT_VALUE: Final = 119


class Order:
    """The order of one document's characters. `learn` what is typed into it, or make a new one: it reads the document
    when it is asked for the first time where there are several texts."""

    def __init__(self) -> None:
        self._texts: _Texts | None = None

    def learn(self, client: int, typed: Sequence[Typed]) -> None:
        """Others were applied, or are about to be judged."""
        if self._texts is not None:
            for each in typed:
                self._texts.add(client, each.clock, each.root or each.left or each.right)

    def right(self, doc: crdt.Doc, typed: Sequence[Typed]) -> bool:
        """Whether each was typed between characters of one text that stand in this order; all of it was applied.

        Costs a few microseconds for each, and a walk through the whole document where positions do not tell: between
        deleted characters.
        """
        pairs = [(each.left, each.right) for each in typed if each.left is not None and each.right is not None]
        if not pairs:
            return True
        transaction = doc.create_transaction()
        try:
            several = sum(name.startswith("t:") for name in doc.roots(transaction)) > 1
            unclear = []
            for left, right in pairs:
                before, behind = _position(transaction, left), _position(transaction, right)
                if before > behind:
                    return False
                if before == behind:
                    unclear.append((left, right))
            state = doc.get_update(transaction, _WHOLE) if unclear or (several and self._texts is None) else b""
        finally:
            transaction.drop()
        return (not several or self._of_one_text(state, pairs)) and (not unclear or _in_order_bare(state, unclear))

    def _of_one_text(self, state: bytes, pairs: Sequence[tuple[Unit, Unit]]) -> bool:
        if self._texts is None:
            self._texts = _Texts()
            _bare(state, self._texts)
        texts = self._texts
        return all(texts.of(left) == texts.of(right) for left, right in pairs)


class _Texts:
    """To which root each unit belongs: runs of one writer are told by where they begin."""

    def __init__(self) -> None:
        self._starts: dict[int, list[int]] = {}
        self._roots: dict[int, list[str | Unit | None]] = {}

    def add(self, client: int, clock: int, root: str | Unit | None) -> None:
        """From this clock on this writer's units stand in a root: that name, or that of another unit. Clocks go up."""
        starts = self._starts.setdefault(client, [])
        if not starts or starts[-1] < clock:
            starts.append(clock)
            self._roots.setdefault(client, []).append(root)

    def of(self, unit: Unit) -> str | None:
        """The root of a unit; each run on the way to it is asked once."""
        way: list[tuple[int, int]] = []
        found: str | Unit | None = unit
        while isinstance(found, tuple):
            client, clock = found
            index = bisect_right(self._starts.get(client, []), clock) - 1
            if index < 0:
                found = None
                break
            way.append((client, index))
            found = self._roots[client][index]
        for client, index in way:
            self._roots[client][index] = found
        return found


def _in_order_bare(state: bytes, pairs: Sequence[tuple[Unit, Unit]]) -> bool:
    doc = crdt.Doc(1, None, None)
    transaction = doc.create_transaction()
    try:
        doc.apply_update(transaction, _bare(state))
        return all(_position(transaction, left) < _position(transaction, right) for left, right in pairs)
    finally:
        transaction.drop()


def _position(transaction: crdt.Transaction, unit: Unit) -> int:
    """How much that is not deleted stands before a unit in its text; in a bare document, how many units."""
    named = b"\x00" + _encoded(unit[0]) + _encoded(unit[1]) + _AFTER
    return crdt.decode_sticky_index(named).get_offset(transaction)


def _encoded(number: int) -> bytes:
    out = bytearray()
    while number > 127:
        out.append(number & 127 | 128)
        number >>= 7
    out.append(number)
    return bytes(out)


def _bare(state: bytes, texts: _Texts | None = None) -> bytes:
    """A document of the same order in which each unit is an `x` and nothing is deleted, so that positions count units.
    `texts` learns what stands where.

    Raises ValueError where the document holds what no delta of this house brings.
    """
    copy = _Copy(state)
    for _ in range(copy.number()):
        structs, client, clock = copy.number(), copy.number(), copy.number()
        for _ in range(structs):
            length, root = _bare_struct(copy)
            if texts is not None:
                texts.add(client, clock, root)
            clock += length
    return b"".join(copy.out) + b"\x00"


def _bare_struct(copy: _Copy) -> tuple[int, str | Unit | None]:
    """Copy one struct; its length, and its root, or a unit that stands in it."""
    data, info = copy.data, copy.data[copy.at]
    content = info & 0x1F
    copy.at += 1
    copy.out.append(bytes([info & 0xE0 | _STRING if content == _DELETED else info]))
    if content in _SKIPPED:
        return copy.number(), None
    root: str | Unit | None = None
    for side in (0x80, 0x40):
        if info & side:
            root = copy.number(), copy.number()
    if not info & 0xC0:
        copy.number()  # a root, by its name
        root = copy.text()
        if info & 0x20:
            copy.text()
    if content == _VALUES:
        count = copy.number()
        for _ in range(count):
            if data[copy.at] != _TEXT_VALUE:
                raise ValueError("a value that no slot holds")
            copy.out.append(data[copy.at : copy.at + 1])
            copy.at += 1
            copy.text()
        return count, root
    if content == _DELETED:
        return copy.units(copy.take()), root
    if content == _STRING:
        return copy.units(len(copy.bytes().decode().encode("utf-16-le")) // 2), root
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

    def text(self) -> str:
        """Copy bytes with their length; what they say."""
        start = self.at
        said = self.bytes()
        self.out.append(self.data[start : self.at])
        return said.decode(errors="replace")

    def units(self, count: int) -> int:
        """Write so many units."""
        self.out.append(_encoded(count) + b"x" * count)
        return count
