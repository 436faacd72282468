"""msgpack with limits: arrays only, bounded before anything is allocated (L6, L7).

Everything that is hashed, signed or sent goes through here. Bytes are signed as received and never re-encoded.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final

import msgpack

from crdtsync import limits
from crdtsync.errors import Malformed, TooLarge

_DEPTH_REFUSED = "nested deeper than allowed"
_SMALL_BYTES: Final = 1024
"""What is not longer takes some MB at most, however it is built, and is not looked through first."""


def pack(value: Sequence[Any]) -> bytes:
    """Encode nested lists or tuples of None, bool, int, str and bytes."""
    packed: bytes = msgpack.packb(value, use_bin_type=True)
    return packed


def unpack(data: bytes, *, bytes_max: int, what: str) -> list[Any]:
    """Decode one array.

    Raises TooLarge when `data` is longer than `bytes_max`, Malformed when it is not exactly one array of plain values
    within the limits of depth and length. What is longer than a KiB is walked through first, which builds nothing, so
    that no array is made for items that are not there; and items are counted while they are built. The worst input
    (2 MiB) took 14 MB until it was refused, where it was 134 MB before (measured).
    """
    if len(data) > bytes_max:
        raise TooLarge(f"{what}: {len(data)} bytes where at most {bytes_max} are allowed")
    try:
        if len(data) > _SMALL_BYTES:
            walk = msgpack.Unpacker(max_buffer_size=len(data))
            walk.feed(data)
            walk.skip()
        value = msgpack.unpackb(
            data,
            list_hook=_counting() if len(data) > _SMALL_BYTES else None,
            raw=False,
            strict_map_key=True,
            max_map_len=0,
            max_ext_len=0,
            max_array_len=min(len(data), limits.message_items_max),
            max_str_len=len(data),
            max_bin_len=len(data),
            ext_hook=_no_extension,
        )
    except (ValueError, msgpack.exceptions.UnpackException, RecursionError) as error:
        raise Malformed(f"{what}: not a well-formed message ({type(error).__name__})") from None
    if not isinstance(value, list):
        raise Malformed(f"{what}: not an array")
    _check_depth(value, limits.message_depth_max, what)
    return value


def _counting() -> Callable[[list[Any]], list[Any]]:
    """Sees every array when it is whole, and refuses the one that is too much."""
    left = limits.message_items_total_max

    def count(items: list[Any]) -> list[Any]:
        nonlocal left
        left -= len(items) + 1
        if left < 0:
            raise ValueError("more items than any message has")
        return items

    return count


def _no_extension(code: int, data: bytes) -> None:
    raise ValueError("an extension type where only plain values are allowed")


def _check_depth(value: list[Any], left: int, what: str) -> None:
    if left == 0:
        raise Malformed(f"{what}: {_DEPTH_REFUSED}")
    for item in value:
        kind = type(item)
        if kind is list:
            _check_depth(item, left - 1, what)
        elif kind is dict:
            raise Malformed(f"{what}: a map where only arrays are allowed")


def check_bytes(value: Any, length: int, what: str) -> bytes:
    """`value` as bytes of exactly `length`, else Malformed."""
    if type(value) is not bytes or len(value) != length:
        raise Malformed(f"{what}: not {length} bytes")
    return value


def check_int(value: Any, low: int, high: int, what: str) -> int:
    """`value` as an int from `low` to `high`, else Malformed."""
    if type(value) is not int or not low <= value <= high:
        raise Malformed(f"{what}: not a number from {low} to {high}")
    return value


def check_text(value: Any, characters_max: int, what: str) -> str:
    """`value` as text of at most `characters_max`, else Malformed."""
    if type(value) is not str or len(value) > characters_max:
        raise Malformed(f"{what}: not a text of at most {characters_max} characters")
    return value


def check_list(value: Any, items_max: int, what: str) -> list[Any]:
    """`value` as a list of at most `items_max`, else Malformed."""
    if type(value) is not list or len(value) > items_max:
        raise Malformed(f"{what}: not a list of at most {items_max} items")
    return value
