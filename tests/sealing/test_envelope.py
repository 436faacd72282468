from __future__ import annotations

import pytest

from crdtsync.ids import DataKeyId, EpochId, LogId, PracticeId
from crdtsync.sealing.envelope import part_context

PLACE = (PracticeId(b"p" * 16), LogId(b"l" * 24), 2**53, 4095, EpochId(b"e" * 16), DataKeyId(b"k" * 16))


def test_a_context_names_each_field_at_a_fixed_place() -> None:
    context = part_context(*PLACE)
    place = (2**53).to_bytes(8, "big") + (4095).to_bytes(4, "big")
    assert context == b"crdtsync/sealed-part/1" + b"p" * 16 + b"l" * 24 + place + b"e" * 16 + b"k" * 16


@pytest.mark.parametrize("at", [0, 1, 4, 5])
def test_an_id_of_another_length_is_refused(at: int) -> None:
    place = list(PLACE)
    place[at] = b"short"
    with pytest.raises(ValueError, match="other lengths"):
        part_context(*place)  # type: ignore[arg-type]  # as above
