"""msgpack within limits: round trips, bombs that allocate nothing, and each refusal with its reason."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crdtsync import limits
from crdtsync.errors import Malformed, TooLarge
from crdtsync.replication.codec import check_bytes, check_int, check_list, check_text, pack, unpack

MEGABYTE = 1024 * 1024
plain = st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.text(max_size=8) | st.binary(max_size=8)
nested = st.recursive(plain, lambda inner: st.lists(inner, max_size=4), max_leaves=12)


def depth(value: Any) -> int:
    return 1 + max(map(depth, value), default=0) if isinstance(value, list) else 0


@given(st.lists(nested, max_size=5))
def test_what_was_packed_comes_back(value: list[Any]) -> None:
    data = pack(value)
    if depth(value) <= limits.message_depth_max:
        assert unpack(data, bytes_max=len(data), what="test") == value
    else:
        with pytest.raises(Malformed, match="test: nested deeper than allowed"):
            unpack(data, bytes_max=len(data), what="test")


def test_types_come_back_as_they_were() -> None:
    value = [True, 1, 0, False, "1", b"1", None, 2**64 - 1, -(2**63)]
    back = unpack(pack(value), bytes_max=100, what="test")
    assert [type(item) for item in back] == [type(item) for item in value] and back == value


def test_tuples_are_packed_as_arrays() -> None:
    assert pack((1, (2, b"x"))) == pack([1, [2, b"x"]])


@settings(max_examples=400)
@given(st.binary(max_size=200))
def test_any_bytes_are_an_array_or_malformed(data: bytes) -> None:
    """L6: nothing but a peer's error leaves for bytes of a peer."""
    try:
        value = unpack(data, bytes_max=200, what="test")
    except Malformed as error:
        assert str(error).startswith("test: ")
    else:
        assert type(value) is list and depth(value) <= limits.message_depth_max


def test_too_many_bytes_are_refused_unread() -> None:
    assert unpack(b"\x91\x01", bytes_max=2, what="test") == [1]
    with pytest.raises(TooLarge, match="test: 3 bytes where at most 2 are allowed"):
        unpack(b"\xc1\xc1\xc1", bytes_max=2, what="test")


REFUSED = {
    "nothing": (b"", "not a well-formed message"),
    "cut short": (b"\x92\x01", "not a well-formed message"),
    "something behind": (b"\x90\x90", "not a well-formed message"),
    "reserved byte": (b"\x91\xc1", "not a well-formed message"),
    "text that is no UTF-8": (b"\x91\xa1\xff", "not a well-formed message"),
    "half a surrogate pair": (b"\x91\xa3\xed\xa0\x80", "not a well-formed message"),
    "an array of 2**32 - 1": (b"\xdd\xff\xff\xff\xff", "not a well-formed message"),
    "bytes of 2**32 - 1": (b"\x91\xc6\xff\xff\xff\xff", "not a well-formed message"),
    "a text of 2**32 - 1": (b"\x91\xdb\xff\xff\xff\xff", "not a well-formed message"),
    "a map of 2**32 - 1": (b"\x91\xdf\xff\xff\xff\xff", "not a well-formed message"),
    "a map": (b"\x91\x81\x01\x02", "not a well-formed message"),
    "an empty map": (b"\x91\x80", "a map where only arrays are allowed"),
    "an extension": (b"\x91\xd4\x01\x00", "not a well-formed message"),
    "an empty extension": (b"\x91\xc7\x00\x01", "not a well-formed message"),
    "a timestamp": (b"\x91\xd6\xff\x00\x00\x00\x00", "not a well-formed message"),
    "an array too long": (b"\xdd\x00\x01\x00\x01" + b"\xc0" * 65_537, "not a well-formed message"),
    "a number": (b"\x01", "not an array"),
    "a text": (b"\xa1x", "not an array"),
    "none": (b"\xc0", "not an array"),
    "nine levels": (b"\x91" * 8 + b"\x90", "nested deeper than allowed"),
    "a million levels": (b"\x91" * 1_000_000, "not a well-formed message"),
}


@pytest.mark.parametrize(("data", "reason"), REFUSED.values(), ids=REFUSED)
def test_each_other_form_is_refused_with_its_reason(data: bytes, reason: str) -> None:
    with pytest.raises(Malformed) as raised:
        unpack(data, bytes_max=2 * MEGABYTE, what="test")
    assert str(raised.value).startswith(f"test: {reason}")


def test_eight_levels_and_the_longest_array_are_allowed() -> None:
    assert depth(unpack(b"\x91" * 7 + b"\x90", bytes_max=8, what="test")) == limits.message_depth_max == 8
    longest = [None] * limits.message_items_max
    assert unpack(pack(longest), bytes_max=MEGABYTE, what="test") == longest


@pytest.mark.parametrize(
    ("data", "bytes_max"),
    [
        (b"\xdd\xff\xff\xff\xff", MEGABYTE),
        (b"\x91\xc6\xff\xff\xff\xff" + bytes(1000), MEGABYTE),
        (b"\x91\xdb\x7f\xff\xff\xff" + bytes(1000), MEGABYTE),
        (b"\xdd\x00\x01\x00\x00" + bytes(1000), MEGABYTE),
        ((b"\xdc\xff\xff" * 20_000), MEGABYTE),
        ((b"\xdc\xff\xff" * 2_000 + bytes(66_000)), 4 * MEGABYTE),
        (b"\xdc\x00\x10" + (b"\xdc\xff\x00" + b"\x90" * 0xFF00) * 15 + b"\x90", 16 * MEGABYTE),
    ],
    ids=["array", "bytes", "text", "array longer than its bytes", "in arrays", "in arrays, padded", "empty arrays"],
)
def test_length_prefixes_allocate_little(data: bytes, bytes_max: int) -> None:
    tracemalloc.start()
    try:
        with pytest.raises(Malformed):
            unpack(data, bytes_max=2 * MEGABYTE, what="test")
        assert tracemalloc.get_traced_memory()[1] < bytes_max
    finally:
        tracemalloc.stop()


def test_a_message_says_nothing_of_the_content() -> None:
    with pytest.raises(Malformed) as raised:
        unpack(b"\x92\xa6secret\xc1", bytes_max=100, what="test")
    assert "secret" not in str(raised.value) and raised.value.__cause__ is None and raised.value.__suppress_context__


CHECKS: dict[str, tuple[Callable[[Any], Any], list[Any], list[Any], str]] = {
    "bytes": (
        lambda v: check_bytes(v, 2, "it"),
        [b"ab"],
        [b"a", b"abc", "ab", None, [1, 2], bytearray(2)],
        "it: not 2 bytes",
    ),
    "int": (
        lambda v: check_int(v, -1, 3, "it"),
        [-1, 0, 3],
        [-2, 4, True, False, 1.0, "1", None, 2**70],
        "it: not a number from -1 to 3",
    ),
    "text": (
        lambda v: check_text(v, 2, "it"),
        ["", "ab", "üü"],
        ["abc", b"ab", None, 1],
        "it: not a text of at most 2 characters",
    ),
    "list": (
        lambda v: check_list(v, 2, "it"),
        [[], [1, 2]],
        [[1, 2, 3], (1, 2), None, "ab"],
        "it: not a list of at most 2",
    ),
}


@pytest.mark.parametrize(("check", "good", "bad", "reason"), CHECKS.values(), ids=CHECKS)
def test_checks_let_through_what_they_promise(
    check: Callable[[Any], Any], good: list[Any], bad: list[Any], reason: str
) -> None:
    for value in good:
        assert check(value) is value
    for value in bad:
        with pytest.raises(Malformed, match=reason):
            check(value)
