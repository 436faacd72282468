"""The gate in front of a document: is this delta one that a document of this house can have written (L6)?

The CRDT library trusts its input. A deeply nested value overflows its stack and kills the process, lengths of nothing
and numbers beyond all clocks make it panic or hang, and structs under another writer's client id break that writer's
record for ever. So authors and receivers pass one gate before the library sees a byte: it walks the whole delta and
lets pass only what `Document.write` makes. The verdict follows from the bytes alone. Of 16,000 randomly damaged deltas
none that passed made the library panic; with a gate that looks at sizes and client ids only, thousands did.

An update (format v1; numbers are seven bits a byte, lowest first) is

    update  = runs, run*, clients, deleted*            runs: 0 or 1 here
    run     = structs, client, clock, struct*
    struct  = info, place, content
    place   = [left id] [right id], or, without both:  1, root name [, key]
    content = 4: text | 8: values, here: 1, 119, text
    deleted = client, ranges, (clock, length)*

What a delta builds on is told beside it (`Reach`): whether a document has all of that is for the caller to ask
(`Document.missing`), because structs and deletions that lack something wait inside the library, unseen, and not beyond
the next loading of the document: two sites with equal logs would come to differ (L5).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple, NoReturn, TypeAlias

from crdtsync import limits
from crdtsync.errors import Poisoned

_NUMBER_BYTES_MAX: Final = 8  # at most 56 bits: clocks and ids have 53
_KEYED: Final = 0x20
_LEFT: Final = 0x80
_RIGHT: Final = 0x40
_STRING: Final = 4
_VALUES: Final = 8
_ONE_TEXT: Final = b"\x01w"
_CLOCK_MAX: Final = 2**31
"""The library counts in 32 bits and panics beyond; no record sees so many writes of one log."""
_KEYS: Final = {bytes([0x28, 1, 1, ord("r"), size]): 5 + size for size in range(128)}
"""How a value under a new key of the map begins, by the length of its key: so far it is to the value."""
_TEXTS: Final = {_ONE_TEXT + bytes([size]): 3 + size for size in range(128)}
"""How the one text of a slot begins, and how long it is with that."""
_NOTHING: Final[Mapping[int, int]] = {}


Unit: TypeAlias = tuple[int, int]
"""One struct of clock 1, or one UTF-16 unit of a text, by its writer's client id and its clock."""


class Typed(NamedTuple):
    """Characters that stand together from `clock` on, and what they were typed between; at a text's beginning and end
    one of both is None, and the first ones of a text name it (`root`)."""

    clock: int
    length: int
    left: Unit | None
    right: Unit | None
    root: str | None


class Reach(NamedTuple):
    """What a delta adds and what it builds on, in clocks.

    Its structs are those of `client` from `start` up to `end` (both 0 when it has none). `needs` tells for each writer
    how many of its structs the delta refers to or deletes: a document must have them before. `typed` tells where
    characters are typed: the left one of two that they stand between must be before the right one (`order`).
    """

    client: int
    start: int
    end: int
    needs: Mapping[int, int]
    typed: Sequence[Typed] = ()


def check_delta(delta: bytes, client: int) -> Reach:
    """Let a delta pass that may have been written to one document under `client`; else raise Poisoned.

    Checked are its size (`limits.delta_bytes_max`), that it is whole and carries nothing but entries of the map, texts
    and deletions, that all its structs carry `client` and refer to none of those behind them, and that no clock or
    length is out of bounds. Nothing that passes is nested at all (`limits.delta_depth_max`). Costs 2-4 µs for an edit,
    about 5 µs for 12 new fields.
    """
    if len(delta) > limits.delta_bytes_max:
        _refuse(f"has {len(delta)} bytes; at most {limits.delta_bytes_max} are taken")
    typed: list[Typed] = []
    try:
        start, end, at, needs = (0, 0, 1, dict[int, int]()) if delta[0] == 0 else _run(delta, client, typed)
        if delta[at] or at + 1 != len(delta):
            at = _deletions(delta, at, needs)
            if at != len(delta):
                _refuse("goes on behind its end, or ends before it")
    except IndexError:
        _refuse("ends in the middle")
    if needs and end and needs.get(client, 0) > start:
        if needs[client] > end:
            _refuse("deletes structs of its own that it does not carry")
        needs[client] = start
    return Reach(client, start, end, needs or _NOTHING, typed or ())


def _refuse(what: str) -> NoReturn:
    raise Poisoned(f"a delta {what}")


def _number(data: bytes, at: int) -> tuple[int, int]:
    """A number and where it ends."""
    byte = data[at]
    if byte < 128:
        return byte, at + 1
    value = byte & 127
    for index in range(1, _NUMBER_BYTES_MAX):
        byte = data[at + index]
        value |= (byte & 127) << (7 * index)
        if byte < 128:
            return value, at + index + 1
    _refuse("has a number that does not end")


def _run(data: bytes, client: int, typed: list[Typed]) -> tuple[int, int, int, dict[int, int]]:
    """Walk the structs of the one writer: their first clock, the one behind them, where they end, what they need.
    `typed` learns where characters stand."""
    if data[0] > 1:
        _refuse("carries structs of several writers")
    structs, at = _number(data, 1)
    author, at = _number(data, at)
    start, at = _number(data, at)
    if author != client:
        _refuse("carries structs of another writer than its author")
    if not structs:
        _refuse("begins a run of no structs")
    clock = start
    needs: dict[int, int] = {}
    for _ in range(structs):
        try:  # the usual case, in few steps: this loop is half of what the gate costs
            value = at + _KEYS[data[at : at + 5]]
            at = value + _TEXTS[data[value : value + 3]]
            clock += 1
        except KeyError:
            length, at = _struct(data, at, client, clock, needs, typed)
            clock += length
    if clock > _CLOCK_MAX:
        _refuse("counts beyond all clocks")
    if needs.get(client, 0) > start:
        needs[client] = start  # the rest is in the delta itself
    return start, clock, at, needs


def _text_value(data: bytes, at: int) -> tuple[int, int]:
    """Walk the one value that a slot holds, a text; its length in clock and where it ends."""
    if data[at : at + 2] != _ONE_TEXT:
        _refuse("carries a value that no slot holds")
    size = data[at + 2]
    if size < 128:
        return 1, at + 3 + size
    size, at = _number(data, at + 2)
    return 1, at + size


def _struct(
    data: bytes, at: int, client: int, clock: int, needs: dict[int, int], typed: list[Typed]
) -> tuple[int, int]:
    """Walk any struct, which has this clock; its length in clock and where it ends. `needs` learns what it names."""
    info = data[at]
    content = info & 0x1F
    sides: list[Unit | None] = [None, None]
    root: str | None = None
    if info & 0xC0:
        if content == _VALUES and info & _RIGHT:
            _refuse("puts a value before another one of its slot")
        at += 1
        for index, side in enumerate((_LEFT, _RIGHT)):
            if info & side:
                author, at = _number(data, at)
                place, at = _number(data, at)
                if place >= (clock if author == client else _CLOCK_MAX):
                    _refuse("names a place that is none")
                if place >= needs.get(author, 0):
                    needs[author] = place + 1
                sides[index] = author, place
    else:
        root, at = _root(data, at + 1, bool(info & _KEYED))
        if content == (_STRING if info & _KEYED else _VALUES):
            _refuse("puts a value into a text, or a text into the map")
    if content == _VALUES:
        return _text_value(data, at)
    if content != _STRING:
        _refuse("carries a content that no field has")
    size, at = _length(data, at)
    try:
        length = len(data[at : at + size].decode().encode("utf-16-le")) // 2
    except UnicodeDecodeError:
        _refuse("carries text that is not UTF-8")
    typed.append(Typed(clock, length, sides[0], sides[1], root))
    return length, at + size


def _length(data: bytes, at: int) -> tuple[int, int]:
    length, at = _number(data, at)
    if not 0 < length <= _CLOCK_MAX:
        _refuse("has a length of nothing, or beyond all clocks")
    return length, at


def _root(data: bytes, at: int, keyed: bool) -> tuple[str, int]:
    """Walk the root that a first struct names: the map with a key, or a text without; its name and where it ends."""
    if data[at] != 1:
        _refuse("nests shared types, which no field does")
    size, start = _number(data, at + 1)
    name = data[start : start + size]
    if keyed:
        key, at = _number(data, start + size)
        at += key
    else:
        at = start + size
    if (name == b"r") != keyed or not (keyed or name.startswith(b"t:")):
        _refuse("names a root that no document has")
    return name.decode(errors="replace"), at


def _deletions(data: bytes, at: int, needs: dict[int, int]) -> int:
    """Walk what is deleted, of any writer; where it ends. `needs` learns of it."""
    clients, at = _number(data, at)
    for _ in range(clients):
        author, at = _number(data, at)
        ranges, at = _number(data, at)
        for _ in range(ranges):
            clock, at = _number(data, at)
            length, at = _length(data, at)
            if clock + length > _CLOCK_MAX:
                _refuse("deletes beyond all clocks")
            if clock + length > needs.get(author, 0):
                needs[author] = clock + length
    return at
