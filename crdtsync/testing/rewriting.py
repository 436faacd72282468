"""Other client ids in CRDT updates, however strange these are: for tests of what a hostile member can write.

An update (format v1) is walked as the CRDT library's own decoder does it, all contents included; see `documents.delta`
for the part of the format that this house writes. Where it ends to make sense, the rest stays as it is.
"""

from __future__ import annotations

from contextlib import suppress
from typing import Final

_GC, _SKIP = 0, 10
_LEFT, _RIGHT, _KEY = 0x80, 0x40, 0x20
_DELETED, _JSON, _BINARY, _STRING, _EMBED, _FORMAT, _TYPE, _ANY, _DOC, _MOVE = 1, 2, 3, 4, 5, 6, 7, 8, 9, 11
_NAMED_TYPES: Final = (3, 5)
_ANY_FIXED: Final = {124: 4, 123: 8, 122: 8}
_ANY_OBJECT, _ANY_ARRAY, _ANY_TEXT, _ANY_BYTES, _ANY_INTEGER = 118, 117, 119, 116, 125


class _Lost(Exception):
    """The update makes no sense from here on."""


def with_client(delta: bytes, client: int) -> bytes:
    """The update with every client id in it replaced by `client`."""
    walk = _Walk(delta, client)
    with suppress(IndexError, _Lost):
        walk.update()
    return bytes(walk.out) + delta[walk.at :]


class _Walk:
    """Reads at `at` and writes to `out`: what is in `out` is what was read so far, with other ids."""

    def __init__(self, data: bytes, client: int) -> None:
        self.data = data
        self.at = 0
        self.out = bytearray()
        self._client = _number(client)

    def update(self) -> None:
        for _ in range(self._copied()):
            structs = self._copied()
            self._own()
            self._copied()
            for _ in range(structs):
                self._struct()
        for _ in range(self._copied()):
            self._own()
            for _ in range(self._copied()):
                self._copied()
                self._copied()

    def _struct(self) -> None:
        info = self._byte()
        if info in (_GC, _SKIP):
            self._copied()
            return
        if info & _LEFT:
            self._id()
        if info & _RIGHT:
            self._id()
        if not info & (_LEFT | _RIGHT):
            if self._copied() == 1:
                self._bytes()
            else:
                self._id()
            if info & _KEY:
                self._bytes()
        self._content(info & 0x1F)

    def _content(self, kind: int) -> None:
        if kind == _DELETED:
            self._copied()
        elif kind in (_BINARY, _STRING, _EMBED):
            self._bytes()
        elif kind == _FORMAT:
            self._bytes()
            self._bytes()
        elif kind == _JSON:
            for _ in range(self._copied()):
                self._bytes()
        elif kind == _TYPE:
            if self._byte() in _NAMED_TYPES:
                self._bytes()
        elif kind == _ANY:
            self._any(self._copied())
        elif kind == _DOC:
            self._bytes()
            self._any(1)
        elif kind == _MOVE:
            flags = self._copied()
            self._id()
            if not flags & 1:
                self._id()
        else:
            raise _Lost

    def _any(self, values: int) -> None:
        """Values, nested ones included: without recursion, since bombs are nested deep."""
        left = [(values, False)]
        while left:
            count, keyed = left.pop()
            if count == 0:
                continue
            left.append((count - 1, keyed))
            if keyed:
                self._bytes()
            kind = self._byte()
            if kind in (_ANY_OBJECT, _ANY_ARRAY):
                left.append((self._copied(), kind == _ANY_OBJECT))
            elif kind in (_ANY_TEXT, _ANY_BYTES):
                self._bytes()
            elif kind == _ANY_INTEGER:
                self._copied()
            else:
                self._take(_ANY_FIXED.get(kind, 0))

    def _id(self) -> None:
        self._own()
        self._copied()

    def _own(self) -> None:
        """A client id: read, and replaced."""
        self._skip()
        self.out += self._client

    def _copied(self) -> int:
        """A number, read and written as it is."""
        start = self.at
        value = self._skip()
        self.out += self.data[start : self.at]
        return value

    def _skip(self) -> int:
        value = shift = 0
        at = self.at
        while self.data[at] > 127:
            value |= (self.data[at] & 127) << shift
            shift += 7
            at += 1
        value |= self.data[at] << shift
        self.at = at + 1
        return value

    def _byte(self) -> int:
        value = self.data[self.at]
        self._take(1)
        return value

    def _bytes(self) -> None:
        self._take(self._copied())

    def _take(self, count: int) -> None:
        if self.at + count > len(self.data):
            raise _Lost
        self.out += self.data[self.at : self.at + count]
        self.at += count


def _number(value: int) -> bytes:
    data = bytearray()
    while value > 127:
        data.append(value & 127 | 128)
        value >>= 7
    data.append(value)
    return bytes(data)
