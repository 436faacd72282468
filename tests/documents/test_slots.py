import json

import pytest

from crdtsync.documents.slots import (
    JSON_DEPTH_MAX,
    canonical,
    items_of,
    parse_items,
    slot_key,
    split_slot,
    too_deep,
)


@pytest.mark.parametrize(
    ("field", "entry", "tag"),
    [("name", None, "abcdefgh"), ("lines", "0001-x", "abcdefgh"), ("tags", "a/b/c", "abcdefgh")],
)
def test_keys_split_into_what_they_were_made_of(field: str, entry: str | None, tag: str) -> None:
    assert split_slot(slot_key(field, tag, entry)) == (field, entry, tag)


@pytest.mark.parametrize("number", [7, 2**53 - 1, 2**53 + 1, 2**63, -(2**63)])
def test_integers_are_lossless(number: int) -> None:
    value = items_of("abcdefgh", canonical([[1, 2, number]]))[0].value
    assert value == number
    assert type(value) is int


def test_canonical_text_does_not_depend_on_the_order_of_names() -> None:
    assert canonical({"b": 1, "a": "ü"}) == canonical({"a": "ü", "b": 1}) == '{"a":"ü","b":1}'


@pytest.mark.parametrize("value", [float("nan"), float("inf"), object(), {1, 2}])
def test_what_is_not_json_has_no_canonical_text(value: object) -> None:
    with pytest.raises((ValueError, TypeError)):
        canonical(value)


@pytest.mark.parametrize(
    "raw",
    ["", "{}", "[]", "null", "[[1,2]]", "[[1.0,2,3]]", '[["1",2,3]]', "[[true,2,3]]", "[[1,2,3]] ", "[[1,2,NaN]]",
     "[[1,2,1e999]]", "[1]", '[[1,2,"\\ud800"]]', "[[1,2,3]", "[[1,2," + "9" * 5000 + "]]"],
)  # fmt: skip
def test_a_slot_that_holds_something_else_has_no_items(raw: str) -> None:
    assert parse_items(raw) is None
    assert items_of("abcdefgh", raw) == []


@pytest.mark.parametrize("depth", [JSON_DEPTH_MAX + 1, 900, 100_000])
def test_deep_json_is_refused_whatever_the_stack(depth: int) -> None:
    assert parse_items(f"[[1,2,{'[' * depth}{']' * depth}]]") is None


def test_many_brackets_that_are_not_deep_are_fine() -> None:
    value = [{"a": [[]]}] * 200 + ["[" * 500]
    assert parse_items(canonical([[1, 2, value]])) == [[1, 2, value]]
    assert not too_deep(value)


def test_items_carry_who_and_when() -> None:
    first, second = items_of("abcdefgh", json.dumps([[3, 9, None, ["ijklmnop.1"]], [4, 10, "x"]]))
    assert (first.commit, first.stamp, first.value, first.seen) == ("abcdefgh.3", 9, None, ["ijklmnop.1"])
    assert (second.commit, second.seen) == ("abcdefgh.4", None)
