from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crdtsync.errors import Malformed, TooLarge
from crdtsync.sealing.fields import join_fields, split_fields


def split(data: bytes) -> list[bytes]:
    return split_fields(data, fields_max=5, field_bytes_max=100, what="test")


@given(st.lists(st.binary(max_size=100), max_size=5))
def test_fields_come_apart_again(fields: list[bytes]) -> None:
    assert split(join_fields(fields)) == fields


@given(st.binary(max_size=60))
def test_any_bytes_are_a_list_or_an_error(data: bytes) -> None:
    try:
        fields = split(data)
    except (Malformed, TooLarge):
        return
    assert join_fields(fields) == data


def test_too_many_and_too_long_fields_are_refused() -> None:
    with pytest.raises(TooLarge, match="more than 5"):
        split(join_fields([b""] * 6))
    with pytest.raises(TooLarge, match="101 bytes"):
        split(join_fields([bytes(101)]))


@pytest.mark.parametrize("data", [b"\xff\xff\xff\xff", b"\x00\x00\x00\x02a", b"\x00\x00\x01", b"\x00"])
def test_a_length_beyond_the_end_is_refused(data: bytes) -> None:
    with pytest.raises(Malformed, match="ends before"):
        split(data)
