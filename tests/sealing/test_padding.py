from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crdtsync.sealing.padding import pad, padded_length, unpad


@given(st.binary(max_size=2000))
def test_padding_comes_off_again(content: bytes) -> None:
    assert unpad(pad(content)) == content


@given(st.integers(2, 2**40))
def test_lengths_grow_by_an_eighth_at_most_and_are_stable(length: int) -> None:
    padded = padded_length(length)
    assert length <= padded <= length * 1.12 + 1
    assert padded_length(padded) == padded


def test_lengths_of_the_paper() -> None:
    assert [padded_length(n) for n in (0, 1, 2, 8, 9, 100, 1000, 2**20 + 1)] == [0, 1, 2, 8, 10, 104, 1024, 1081344]


@pytest.mark.parametrize("padded", [b"", b"\x00", b"abc", b"\x00" * 64, b"a\x80" + b"\x00" * 40, b"a\x81"])
def test_bytes_that_were_not_padded_are_refused(padded: bytes) -> None:
    with pytest.raises(ValueError, match="not a padded content"):
        unpad(padded)
