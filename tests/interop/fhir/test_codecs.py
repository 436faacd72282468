"""Values of FHIR as values of fields, and back."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crdtsync.interop.fhir import codecs
from crdtsync.interop.fhir.codecs import Codec, coded, concept_words, joined, one_way

ANYTHING: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.decimals(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=6,
)
SEX = coded({"female": "f", "male": "m"}, also={"woman": "f"})
ALL = [codecs.TEXT, codecs.DATE, codecs.INSTANT, codecs.NUMBER, codecs.WHOLE, codecs.FLAG, joined(", "), SEX]


@given(ANYTHING)
def test_codecs_and_words_take_anything(value: Any) -> None:
    for codec in ALL:
        codec.read(value)
        codec.write(value)
    words = concept_words(value)
    assert words is None or words.strip()


@pytest.mark.parametrize(
    ("codec", "value", "field"),
    [
        (codecs.TEXT, "Müller", "Müller"),
        (codecs.TEXT, " ", None),
        (codecs.TEXT, 7, None),
        (codecs.DATE, "2001-03-29", "2001-03-29"),
        (codecs.DATE, "2001-03-29T23:59:05+00:00", "2001-03-29"),
        (codecs.DATE, "2001-03", None),
        (codecs.INSTANT, "2001-03-29T23:59:05+00:00", "2001-03-29T23:59:05+00:00"),
        (codecs.INSTANT, "2001-03-29T23:59:05.881Z", "2001-03-29T23:59:05.881Z"),
        (codecs.INSTANT, "2001-03-29T23:59:05", None),
        (codecs.INSTANT, "2001-03-29", None),
        (codecs.NUMBER, 5, 5),
        (codecs.NUMBER, 2**63 - 1, 2**63 - 1),
        (codecs.NUMBER, 2**63, None),
        (codecs.NUMBER, Decimal("5.10"), 5.1),
        (codecs.NUMBER, Decimal("1e400"), None),
        (codecs.NUMBER, True, None),
        (codecs.WHOLE, 5.0, None),
        (codecs.WHOLE, True, None),
        (codecs.FLAG, 1, None),
        (joined(" "), ["Anna", "Maria"], "Anna Maria"),
        (joined(" "), ["Anna", 7], None),
        (joined(" "), [], None),
        (SEX, "female", "f"),
        (SEX, "woman", "f"),
        (SEX, "other", None),
        (one_way(str), 7, "7"),
    ],
)
def test_read(codec: Codec, value: Any, field: Any) -> None:
    read = codec.read(value)
    assert read == field and type(read) is type(field)


def test_write_gives_back_what_was_read() -> None:
    assert joined(" ").write("Anna Maria") == ["Anna", "Maria"]
    assert SEX.write("f") == "female"
    assert SEX.write("x") is None
    assert one_way(str).write("7") is None


@pytest.mark.parametrize(
    ("concept", "words"),
    [
        ({"text": "Grippe", "coding": [{"display": "Influenza"}]}, "Grippe"),
        ({"coding": [{"code": "J11"}, {"code": "x", "display": "Influenza"}]}, "Influenza"),
        ({"coding": [{"code": "J11"}]}, "J11"),
        ({"coding": "J11"}, None),
        ("Grippe", None),
    ],
)
def test_concept_words(concept: Any, words: str | None) -> None:
    assert concept_words(concept) == words
