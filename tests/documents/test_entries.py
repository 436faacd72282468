from typing import Any

import pytest

from crdtsync.documents import Content, Entries, Record, Value, append_only, edits_of, fields_json, never_removed, read
from crdtsync.documents.entries import entry_rank, value_key
from crdtsync.documents.merge import Rule
from crdtsync.documents.slots import canonical
from crdtsync.errors import BadValue
from crdtsync.ids import RecordId

KIND = "test_entries_thing"


class Hazard(Value):
    name: str
    verification: str | None = None


class Payment(Value):
    cents: int
    day: str | None = None


class Thing(Record, kind=KIND):
    hazards: Entries[Hazard] = never_removed()
    payments: Entries[Payment] = append_only()
    reminders: Entries[Any] = append_only(by=["channel", "start"])


def bound(values: list[int], *, by_value: bool) -> Entries[int]:
    def check(value: object, known: object) -> int:
        if not isinstance(value, int):
            raise BadValue("expected a number")
        return value

    made = Entries(values)
    made.bind(check, lambda value: value, Rule("entries", by_value=by_value))
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
    made.bind(lambda value, known: value, lambda value: value, Rule("entries"))
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
    made.bind(lambda value, known: value, lambda value: value, Rule("entries"))
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


def test_what_is_never_removed_is_marked(writer: Any) -> None:
    one, two = writer("one", KIND), writer("two", KIND)
    two.receive(one.write(Thing(hazards=[Hazard(name="penicillin"), Hazard(name="latex")])))
    (key, _), (other, latex) = one.read().hazards.items()
    for act in (lambda thing: thing.hazards.remove(key), lambda thing: thing.assign("hazards", [{"name": "latex"}])):
        with pytest.raises(BadValue, match=r"mark\(key, 'refuted'\)"):
            act(one.read())
    with pytest.raises(BadValue, match="refuted or entered_in_error"):
        one.read().hazards.mark(key, "wrong")
    with pytest.raises(BadValue, match="no such entry"):
        one.read().hazards.mark("nobody", "refuted")
    marked = one.edit(lambda thing: thing.hazards.mark(key, "refuted"))
    changed = two.edit(lambda thing: thing.hazards.change(key, Hazard(name="penicillin V")))
    one.receive(changed)
    two.receive(marked)
    assert one.fingerprint() == two.fingerprint()
    assert one.read().hazards.items() == [(key, Hazard(name="penicillin V")), (other, latex)]
    assert one.read().conflicts["hazards"][1].verification == "refuted"
    one.edit(lambda thing: thing.hazards.mark(Hazard(name="penicillin V"), "entered_in_error"))
    assert one.read().hazards.holding == [latex] and len(one.read().hazards) == 2


def test_as_json_an_entry_that_differs_by_its_mark_is_marked(writer: Any) -> None:
    one = writer("one", KIND)
    one.write(Thing(hazards=[Hazard(name="a"), Hazard(name="b")]))
    keys = [key for key, _ in one.read().hazards.items()]
    one.edit(hazards=[{"name": "b"}, {"name": "a", "verification": "refuted"}, {"name": "c"}])
    assert [key for key, _ in one.read().hazards.items()][:2] == keys
    assert fields_json(one.read())["hazards"] == [
        {"name": "a", "verification": "refuted"}, {"name": "b"}, {"name": "c"}
    ]  # fmt: skip
    with pytest.raises(BadValue, match="stays"):
        one.edit(hazards=[])


def test_marking_keeps_parts_that_a_newer_version_added() -> None:
    slots = {"hazards/k/tagaaaaa": '[[1,1,{"name":"a","grade":3}]]'}
    found = read(KIND, RecordId("x"), Content(slots, {}))
    assert isinstance(found, Thing)
    found.hazards.mark("k", "refuted")
    (edit,) = edits_of(found, lambda: "k")
    assert getattr(edit, "value", None) == {"name": "a", "grade": 3, "verification": "refuted"}


def test_what_is_added_twice_or_at_two_sites_is_one(writer: Any) -> None:
    one, two = writer("one", KIND), writer("two", KIND)
    payment = Payment(cents=1072, day="2026-03-02")
    first = one.write(Thing(payments=[payment, payment]))
    second = two.write(Thing(payments=[payment, Payment(cents=5)]))
    one.receive(second)
    two.receive(first)
    assert list(one.read().payments) == list(two.read().payments) and len(one.read().payments) == 2
    assert one.edit(payments=[payment]) == b"" and len(one.read().payments) == 2
    for act in (
        lambda thing: thing.payments.remove(payment),
        lambda thing: thing.payments.change(thing.payments.items()[0][0], Payment(cents=1)),
    ):
        with pytest.raises(BadValue, match="corrects it"):
            act(one.read())
    assert one.edit(payments=[]) == b""
    assert one.read().conflicts == {}


def test_entries_named_by_parts_of_them_are_one_whatever_else_they_say(writer: Any) -> None:
    one, two = writer("one", KIND), writer("two", KIND)
    first = one.write(Thing(reminders=[{"channel": "sms", "start": "9:00", "sent": 1}]))
    later = [{"channel": "sms", "start": "9:00", "sent": 2}, {"channel": "sms"}, {"channel": "sms", "a": 1}]
    second = two.write(Thing(reminders=later), stamp=9)
    one.receive(second)
    two.receive(first)
    assert one.fingerprint() == two.fingerprint()
    assert [each.get("sent") for each in one.read().reminders] == [1, None, None]
    assert one.read().conflicts == {} and len(two.read().reminders) == 3
    assert one.edit(lambda thing: thing.reminders.add({"channel": "sms", "start": "9:00", "sent": 3})) == b""
    assert value_key({"a": 1, "b": 2}, by=["a"]) == value_key({"a": 1}) == value_key({"a": 1}, by=["b"])
    assert canonical(fields_json(two.read())["reminders"]) == canonical(fields_json(one.read())["reminders"])
