from typing import Any

from crdtsync.documents import Entries, Record, entries, latest, once, register, status
from crdtsync.documents.settling import commits_of, settle
from crdtsync.ids import RecordId

RECORD = RecordId("a" * 26)


class Thing(Record, kind="test_settling_thing"):
    name: str | None = register()
    window: str | None = latest()
    serial: str | None = once()
    state: str | None = status("a<b")
    tags: Entries[Any] = entries()


def settled(slots: dict[str, str]) -> Any:
    return settle(Thing.plan(), RECORD, slots)


def test_the_order_of_slots_says_nothing() -> None:
    slots = {
        "name/tagaaaaa": '[[1,1,"x"],[3,3,"z"]]',
        "name/tagbbbbb": '[[1,2,"y"]]',
        "window/tagaaaaa": '[[1,1,"old"]]',
        "window/tagbbbbb": '[[1,2,"new"]]',
        "state/tagaaaaa": '[[1,1,"b"]]',
        "state/tagbbbbb": '[[1,2,"a"]]',
        "tags/2/tagaaaaa": "[[1,1,2]]",
        "tags/1/tagaaaaa": "[[1,1,1]]",
    }
    one, two = settled(slots), settled(dict(reversed(slots.items())))
    assert one.shown == two.shown == {"name": "z", "window": "new", "state": "b"}
    assert one.conflicts == two.conflicts
    assert [value["value"] for value in one.conflicts[0].values] == ["z", "y", "x"]
    assert list(one.entries["tags"].values()) == list(two.entries["tags"].values()) == [1, 2]


def test_slots_in_another_shape_than_the_field_has_are_passed_over() -> None:
    found = settled({"tags/tagaaaaa": "[[1,1,1]]", "unknown/tagaaaaa": "[[1,1,1]]", "name/tagaaaaa": "?"})
    assert (found.shown, found.entries, found.conflicts) == ({}, {}, [])


def test_removed_entries_are_not_there() -> None:
    slots = {"tags/1/tagaaaaa": "[[1,1,null]]", "tags/2/tagaaaaa": "[[1,1,null]]", "tags/2/tagbbbbb": "[[1,1,5]]"}
    found = settled(slots)
    assert found.entries == {"tags": {"2": 5}}
    assert [conflict.field for conflict in found.conflicts] == ["tags/2"]


def test_commits_of_fields_are_all_surviving_ones() -> None:
    slots = {"name/tagaaaaa": "[[1,1,1],[2,2,2]]", "state/tagbbbbb": "[[7,1,1]]", "serial/tagbbbbb": "[[8,1,1]]"}
    assert commits_of(slots, ("name", "state")) == ("tagaaaaa.1", "tagaaaaa.2", "tagbbbbb.7")
