"""Finding, dropping and copying elements."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crdtsync.interop.fhir.elements import (
    deeper_than,
    drop,
    exact_number,
    find,
    first_with,
    leaves,
    only,
    plain,
    preferred,
    value_at,
)

JSON: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from("abc"), inner, max_size=3),
    max_leaves=12,
)


def test_find_follows_objects_lists_and_picks() -> None:
    resource = {"name": [{"use": "maiden", "family": "Wolff"}, {"use": "official", "family": "Muster"}]}
    assert value_at(resource, "name", 0, "family") == "Wolff"
    found = find(resource, ("name", preferred("use", "official"), "family"))
    assert found is not None and found.place == ("name", 1, "family") and found.value == "Muster"
    assert value_at(resource, "name", first_with("use", "nickname"), "family") is None
    assert value_at(resource, "name", preferred("use", "nickname"), "family") == "Wolff"
    assert value_at(resource, "name", only, "family") is None
    assert value_at(resource, "name", 2, "family") is None


@pytest.mark.parametrize("shape", [None, 7, "text", [], [[]], {"use": "official"}, [None], ["official"]])
def test_find_survives_every_shape(shape: Any) -> None:
    assert find({"name": shape}, ("name", preferred("use", "official"), "family")) is None


def test_drop_takes_emptied_objects_along_but_keeps_the_places_of_lists() -> None:
    resource: dict[str, Any] = {"a": {"b": {"c": 1}}, "l": [{"x": 1}, {"y": 2, "z": 3}]}
    drop(resource, ("a", "b", "c"))
    drop(resource, ("l", 0, "x"))
    drop(resource, ("l", 1, "y"))
    assert resource == {"l": [{}, {"z": 3}]}


@given(st.dictionaries(st.sampled_from("abc"), JSON, max_size=3), st.data())
def test_drop_loses_nothing_but_what_it_is_asked_to(resource: dict[str, Any], data: st.DataObject) -> None:
    before = {found.place: found.value for found in leaves(resource) if found.place}
    droppable = [place for place in before if isinstance(place[-1], str)]
    if not droppable:
        return
    place = data.draw(st.sampled_from(droppable))
    drop(resource, place)
    after = {found.place: found.value for found in leaves(resource)}
    assert place not in after
    assert {other: value for other, value in before.items() if other != place}.items() <= after.items()


def test_deeper_than_counts_levels() -> None:
    assert not deeper_than({"a": [1]}, 2)
    assert deeper_than({"a": [1]}, 1)
    bomb: Any = 1
    for _ in range(100_000):
        bomb = [bomb]
    assert deeper_than(bomb, 64)
    while isinstance(bomb, list):  # taken apart level by level, since freeing it at once would recurse
        bomb = bomb.pop()


@pytest.mark.parametrize("text", ["5.1", "0.25", "166.82501702858627", "1e+16"])
def test_a_number_that_floats_can_say_is_a_float(text: str) -> None:
    number = exact_number(text)
    assert isinstance(number, float) and repr(number) == text


@pytest.mark.parametrize("text", ["5.10", "0.1000000000000000000001", "1E3", "1e400", "-0.0000"])
def test_other_numbers_keep_their_digits(text: str) -> None:
    number = exact_number(text)
    assert isinstance(number, Decimal)
    assert Decimal(plain({"value": [number]})["value"][0]["$decimal"]) == Decimal(text)


@given(JSON)
def test_plain_copies(value: Any) -> None:
    copy = plain(value)
    assert copy == value and json.dumps(copy) == json.dumps(value)
    if isinstance(value, dict | list):
        assert copy is not value
