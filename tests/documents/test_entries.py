import pytest

from crdtsync.documents import Entries
from crdtsync.documents.entries import entry_rank, value_key
from crdtsync.errors import BadValue


def bound(values: list[int], *, by_value: bool) -> Entries[int]:
    def check(value: object) -> int:
        if not isinstance(value, int):
            raise BadValue("expected a number")
        return value

    made = Entries(values)
    made.bind(check, lambda value: value, by_value)
    return made


def test_by_value_adding_twice_is_adding_once() -> None:
    made = bound([1, 2, 1], by_value=True)
    made.add(2)
    assert list(made) == [1, 2]
    assert len(made) == 2
    assert 2 in made
    assert 3 not in made
    assert made.edits(lambda: "x", 0) == [(value_key(1), 1), (value_key(2), 2)]


def test_with_keys_of_their_own_equal_values_stay_two() -> None:
    made = bound([1, 1], by_value=False)
    keys = [key for key, _ in made.edits(iter("xy").__next__, 7)]
    assert keys == ["0007-x", "0008-y"]
    assert sorted(["0010-a", "0009-b", "k"], key=entry_rank) == ["0009-b", "0010-a", "k"]


def test_editing_what_was_read() -> None:
    made: Entries[int] = Entries.as_read({"a": 1, "b": 2, "c": 3})
    made.bind(lambda value: value, lambda value: value, False)
    made.change("a", 10)
    made.change("b", 2)
    made.remove("c")
    made.add(4, key="d")
    made.add(5)
    made.remove(5)
    assert made.items() == [("a", 10), ("b", 2), ("d", 4)]
    assert made.edits(lambda: "x", 0) == [("a", 10), ("c", None), ("d", 4)]


def test_replacing_keeps_equal_entries() -> None:
    made: Entries[int] = Entries.as_read({"a": 1, "b": 2, "c": 2})
    made.bind(lambda value: value, lambda value: value, False)
    made.replace([2, 3])
    assert made.edits(lambda: "x", 5) == [("a", None), ("c", None), ("0005-x", 3)]
    assert made == [2, 3]


def test_what_is_refused() -> None:
    made = bound([1], by_value=False)
    with pytest.raises(BadValue, match="expected a number"):
        made.add("x")  # type: ignore[arg-type]
    with pytest.raises(BadValue, match="a value"):
        made.add(None)  # type: ignore[arg-type]
    with pytest.raises(BadValue, match="no such entry"):
        made.remove(9)
    with pytest.raises(BadValue, match="no entry under this key"):
        made.change("nothing", 1)
    with pytest.raises(BadValue, match="characters"):
        made.add(1, key="k" * 501)
    with pytest.raises(BadValue, match="surrogate"):
        made.add(1, key="\ud800")
    with pytest.raises(BadValue, match="no entry under this key"):
        by_value = bound([1], by_value=True)
        by_value.change(value_key(1), 2)
    assert made == [1]
