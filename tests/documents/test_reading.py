import datetime
import json
from typing import Any, Literal

import pytest

from crdtsync.documents import (
    Content,
    Entries,
    Link,
    Record,
    Text,
    UnknownRecord,
    Value,
    conflicts_json,
    edits_of,
    entries,
    fields_json,
    flag_on_wins,
    once,
    parse_value,
    read,
    register,
    status,
    subject_of,
    text,
)
from crdtsync.errors import BadValue, Undecided, UnknownField
from crdtsync.ids import RecordId

KIND = "test_reading_thing"


class Line(Value):
    code: str | None = None
    cents: int | None = None


class Thing(Record, kind=KIND):
    patient: Link | None = once()
    name: str | None = register()
    count: int | None = register()
    born: datetime.date | None = register()
    shape: Literal["round", "square"] | None = register()
    dose: Line | None = register(group="g", severity="high")
    state: Literal["active", "stopped"] | None = status("active<stopped", group="g")
    danger: bool = flag_on_wins()
    phones: Entries[str] = entries(by_value=True)
    lines: Entries[Line] = entries()
    note: Text = text()


Writers = Any


@pytest.fixture
def two(writer: Writers) -> tuple[Any, Any]:
    return writer("one", KIND), writer("two", KIND)


def exchange(one: Any, two: Any, first: bytes, second: bytes) -> None:
    one.receive(second)
    two.receive(first)
    assert one.content == two.content
    assert one.fingerprint() == two.fingerprint()


def test_what_is_written_is_read(two: tuple[Any, Any]) -> None:
    one, other = two
    thing = Thing(name="ü", count=2**63, born=datetime.date(1970, 3, 12), lines=Entries([Line(cents=2**53 + 1)]))
    thing.note.insert(0, "Grüße")
    other.receive(one.write(thing))
    found = other.read()
    assert (found.name, found.count, found.born, str(found.note)) == ("ü", 2**63, datetime.date(1970, 3, 12), "Grüße")
    assert list(found.lines) == [Line(cents=2**53 + 1)]
    assert found.conflicts == found.unknown == {}
    assert edits_of(found, lambda: "k") == []


def test_different_fields_merge_and_equal_ones_become_a_conflict(two: tuple[Any, Any]) -> None:
    one, other = two
    other.receive(one.write(Thing(name="a", count=1)))
    exchange(one, other, one.edit(name="b", count=2), other.edit(name="c", shape="round"))
    found = one.read()
    assert (found.count, found.shape) == (2, "round")
    assert sorted(found.conflicts["name"]) == ["b", "c"]
    assert found.conflicts["name"] == other.read().conflicts["name"]
    other.receive(one.edit(name="c"))
    assert other.read().conflicts == {}
    assert other.read().name == "c"


def test_removing_beside_an_edit_is_visible(two: tuple[Any, Any]) -> None:
    one, other = two
    other.receive(one.write(Thing(name="a")))
    exchange(one, other, one.edit(name=None), other.edit(name="b"))
    assert one.read().name == "b"
    assert conflicts_json(one.read()) == {"name": ["b", None]}


def test_entries_add_wins_and_an_edit_beside_a_removal_stays(two: tuple[Any, Any]) -> None:
    one, other = two
    other.receive(one.write(Thing(phones=Entries(["1", "2"]), lines=Entries([Line(code="a"), Line(code="b")]))))
    key = one.read().lines.items()[0][0]

    def act(thing: Any) -> None:
        thing.phones.remove("1")
        thing.lines.remove(key)

    def other_act(thing: Any) -> None:
        thing.phones.add("3")
        thing.lines.change(key, Line(code="a", cents=5))
        thing.lines.add(Line(code="c"))

    exchange(one, other, one.edit(act), other.edit(other_act))
    found = one.read()
    assert sorted(found.phones) == ["2", "3"]
    assert [line.code for line in found.lines] == ["a", "b", "c"]
    assert found.conflicts == {"lines": [Line(code="a", cents=5), None]}
    other.receive(one.edit(lambda thing: thing.lines.remove(key)))
    assert [line.code for line in other.read().lines] == ["b", "c"]
    assert other.read().conflicts == {}


def test_entries_keep_the_order_in_which_they_were_added(two: tuple[Any, Any]) -> None:
    one, _ = two
    one.write(Thing(lines=Entries([Line(code=str(n)) for n in range(12)])))
    one.edit(lambda thing: thing.lines.add(Line(code="last")))
    assert [line.code for line in one.read().lines] == [*map(str, range(12)), "last"]


def test_a_stop_beside_a_changed_dose_is_a_conflict_until_somebody_saw_both(two: tuple[Any, Any]) -> None:
    one, other = two
    other.receive(one.write(Thing(dose=Line(cents=1), state="active")))
    exchange(one, other, one.edit(dose=Line(cents=2)), other.edit(state="stopped"))
    found = one.read()
    assert found.conflicts == {"dose": [Line(cents=2)], "state": ["stopped"]}
    assert (found.dose, found.state) == (Line(cents=2), "stopped")
    with pytest.raises(Undecided):
        found.decided("dose")
    other.receive(one.edit(state="stopped"))
    assert other.read().conflicts == {}
    one.receive(other.edit(dose=Line(cents=3)))
    assert one.read().conflicts == {}


def test_text_of_two_people_is_woven(two: tuple[Any, Any]) -> None:
    one, other = two
    other.receive(one.write(Thing(note=Text("Müller klagt über Husten"))))
    exchange(
        one,
        other,
        one.edit(lambda thing: thing.note.insert(0, "Herr ")),
        other.edit(lambda thing: thing.note.replace("Müller klagt über Schnupfen")),
    )
    assert str(one.read().note) == "Herr Müller klagt über Schnupfen"


def test_unknown_fields_kinds_and_values_are_kept(two: tuple[Any, Any]) -> None:
    slots = {
        "name/tagaaaaa": '[[1,1,"a"]]',
        "shape/tagaaaaa": '[[1,1,"oval"]]',
        "added_later/tagaaaaa": '[[1,1,{"x":1}]]',
        "also/k/tagaaaaa": "[[1,1,2]]",
        "lines/0000-k/tagaaaaa": '[[1,1,{"cents":"many"}]]',
        "name/broken/tagaaaaa": "junk",
    }
    thing = read(KIND, RecordId("r"), Content(slots, {"later_text": "x", "note": "y"}))
    assert isinstance(thing, Thing)
    assert thing.unknown == {
        "added_later": [{"x": 1}], "also": [2], "later_text": ["x"], "shape": ["oval"], "lines": [{"cents": "many"}],
    }  # fmt: skip
    assert (thing.name, thing.shape, str(thing.note)) == ("a", None, "y")
    assert fields_json(thing) == {"name": "a", "shape": "oval", "danger": False, "note": "y"}
    with pytest.raises(Undecided, match="newer version"):
        thing.decided("shape")
    thing.name = "b"
    (edit,) = edits_of(thing, lambda: "k")
    assert edit.field == "name"
    thing.shape = None
    assert {edit.field for edit in edits_of(thing, lambda: "k")} == {"name", "shape"}

    other = read("kind_of_a_newer_version", RecordId("r"), Content(slots, {"later_text": "x"}))
    assert isinstance(other, UnknownRecord)
    assert fields_json(other) == {
        "name": "a", "shape": "oval", "added_later": {"x": 1}, "also": {"k": 2}, "lines": {"0000-k": {"cents": "many"}},
        "later_text": "x",
    }  # fmt: skip
    assert (other.kind, other.id, subject_of(other), conflicts_json(other)) == ("kind_of_a_newer_version", "r", "r", {})
    assert edits_of(other, lambda: "k") == []


def test_unknown_kinds_show_conflicts_as_registers() -> None:
    slots = {"f/tagaaaaa": "[[1,1,1]]", "f/tagbbbbb": "[[1,2,2]]", "g/tagaaaaa": "[[1,1,null]]"}
    found = read("kind_of_a_newer_version", RecordId("r"), Content(slots, {}))
    assert conflicts_json(found) == {"f": [2, 1]}
    assert fields_json(found) == {"f": 2}


@pytest.mark.parametrize("raw", ["junk", "[]", "[[1,2]]", '[["x",1,1]]', "[[1,1,1,2,3,4]]", "null", "[" * 5000])
@pytest.mark.parametrize("slot", ["name/tagaaaaa", "name", "/", "", "lines/x", "lines//tagaaaaa", "note/tagaaaaa"])
def test_reading_is_total(slot: str, raw: str) -> None:
    found = read(KIND, RecordId("r"), Content({slot: raw}, {"name": "text under a name that is no text"}))
    json.dumps([fields_json(found), conflicts_json(found), found.unknown])
    read("kind_of_a_newer_version", RecordId("r"), Content({slot: raw}, {}))


def test_the_subject_is_the_patient_where_it_is_set_once() -> None:
    thing = Thing(patient=RecordId("the-patient"))
    thing.id = RecordId("mine")
    assert subject_of(thing) == "the-patient"
    thing = Thing()
    thing.id = RecordId("mine")
    assert subject_of(thing) == "mine"


@pytest.mark.parametrize(
    ("field", "written", "value"),
    [
        ("name", "5", "5"),
        ("name", "", None),
        ("count", "18446744073709551616", 2**64),
        ("born", "1970-03-12", "1970-03-12"),
        ("shape", "round", "round"),
        ("patient", "abc", "abc"),
        ("danger", "true", True),
        ("dose", '{"cents": 5}', {"cents": 5}),
        ("phones", '["1", "2"]', ["1", "2"]),
        ("lines", "[]", []),
        ("note", "as it is", "as it is"),
        ("source", '{"a": 1}', {"a": 1}),
    ],
)
def test_values_as_written_on_a_command_line(field: str, written: str, value: Any) -> None:
    assert parse_value(Thing, field, written) == value
    Thing().assign(field, value)


@pytest.mark.parametrize(
    ("field", "written", "example"),
    [
        ("count", "many", "12"),
        ("dose", "{", "code"),
        ("phones", "1", "list"),
        ("danger", "yes", "true"),
        ("lines", "x", "code"),
    ],
)
def test_what_is_not_json_is_refused_with_an_example(field: str, written: str, example: str) -> None:
    with pytest.raises(BadValue, match=example):
        parse_value(Thing, field, written)
    with pytest.raises(UnknownField):
        parse_value(Thing, "nothing", "1")


def test_a_list_replaces_the_entries_that_were_seen(two: tuple[Any, Any]) -> None:
    one, _ = two
    one.write(Thing(phones=Entries(["1", "2"]), lines=Entries([Line(code="a")])))
    one.edit(lambda thing: thing.assign("phones", parse_value(Thing, "phones", '["2", "3"]')))
    one.edit(lambda thing: thing.assign("lines", None))
    assert sorted(one.read().phones) == ["2", "3"]
    assert list(one.read().lines) == []
    one.edit(lambda thing: thing.phones.add("1"))
    assert sorted(one.read().phones) == ["1", "2", "3"]
