"""Whether a delta goes on from what a document holds, as every delta of an honest member does (L2).

A second reading of the format, apart from `crdtsync.documents.delta`: for deltas that passed that gate.
"""

from __future__ import annotations

from collections.abc import Iterable

_LEFT, _RIGHT = 0x80, 0x40



class _Reader:
    def __init__(self, data: bytes) -> None:
        self.data = data
        self.at = 0

    def number(self) -> int:
        value = shift = 0
        while True:
            byte = self.data[self.at]
            self.at += 1
            value |= (byte & 127) << shift
            shift += 7
            if byte < 128:
                return value

    def skip(self) -> bytes:
        """A text or key behind its length."""
        size = self.number()
        self.at += size
        return self.data[self.at - size : self.at]


class Held:
    """What stands at each clock of each writer: `map` for a slot, `text` for a unit of UTF-16, `half` for the second
    unit of a character."""

    def __init__(self, deltas: Iterable[bytes] = ()) -> None:
        self._units: dict[int, list[str]] = {}
        for delta in deltas:
            assert self.fits(delta)

    def clock(self, client: int) -> int:
        """Where the writer's structs end."""
        return len(self._units.get(client, ()))

    def copy(self) -> Held:
        """The same, to go on from."""
        made = Held()
        made._units = {client: list(units) for client, units in self._units.items()}
        return made

    def fits(self, delta: bytes) -> bool:
        """Whether a delta goes on from here, as honest ones do; if so it is taken in.

        Structs go on exactly where their writer's end; all that they and deletions name is there; slots stand behind
        slots and characters between characters; and no character is cut in half.
        """
        read = _Reader(delta)
        fine = True
        for _ in range(read.number()):
            structs, client, clock = read.number(), read.number(), read.number()
            fine = fine and clock == self.clock(client)
            units = self._units.setdefault(client, [])
            for _ in range(structs):
                places, found = _struct(read)
                fine = fine and all(self._between(at, side, found[0]) for at, side in places)
                units.extend(found)
        for _ in range(read.number()):
            writer = read.number()
            for _ in range(read.number()):
                start = read.number()
                end = start + read.number()
                fine = fine and end <= self.clock(writer) and not (self._half(writer, start) or self._half(writer, end))
        return fine

    def _between(self, at: tuple[int, int], side: int, kind: str) -> bool:
        client, clock = at
        if clock >= self.clock(client):
            return False
        there = self._units[client][clock].replace("half", "text")
        return there == kind and not self._half(client, clock + 1 if side == _LEFT else clock)

    def _half(self, client: int, clock: int) -> bool:
        return clock < self.clock(client) and self._units[client][clock] == "half"


def _struct(read: _Reader) -> tuple[list[tuple[tuple[int, int], int]], list[str]]:
    """The places that a struct names, with their sides, and what it adds."""
    info = read.data[read.at]
    read.at += 1
    places = [((read.number(), read.number()), side) for side in (_LEFT, _RIGHT) if info & side]
    if not places:
        read.number()
        read.skip()
        if info & 0x20:
            read.skip()
    if info & 0x1F == 4:
        text = read.skip().decode()
        return places, [unit for char in text for unit in (["text", "half"] if char > "\uffff" else ["text"])]
    read.at += 2  # one value, a text
    read.skip()
    return places, ["map"]
