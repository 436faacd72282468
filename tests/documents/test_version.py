from typing import Any

import pytest

from crdtsync.documents import (
    Content,
    Record,
    Value,
    Versions,
    conflicts_json,
    edits_of,
    fields_json,
    project,
    read,
    table_of,
    versions,
)
from crdtsync.documents.projection import column_value
from crdtsync.documents.reading import parse_value
from crdtsync.documents.slots import canonical
from crdtsync.documents.version import version_id
from crdtsync.errors import BadValue, Undecided
from crdtsync.ids import RecordId

KIND = "test_versions_thing"
RECORD = RecordId("a" * 26)


class Page(Value):
    text: str
    signed_by: str | None = None
    pages: tuple[str, ...] = ()


class Thing(Record, kind=KIND):
    letter: Versions[Page] = versions(severity="high")


def texts(record: Any) -> list[str]:
    return [version.value.text for version in record.letter]


def row_of(writer: Any) -> dict[str, Any]:
    row = project(KIND, RECORD, writer.content).row
    assert row is not None
    return row


def test_each_version_builds_on_what_its_writer_saw(writer: Any) -> None:
    one = writer("one", KIND)
    one.write(Thing(letter=[Page(text="a"), {"text": "b"}]))
    one.edit(lambda thing: thing.letter.add(Page(text="c", signed_by="dr.weber")))
    first, second, third = one.read().letter
    assert (first.parents, second.parents, third.parents) == ((), (first.id,), (second.id,))
    assert one.read().letter.head == third and third.value.signed_by == "dr.weber"
    assert fields_json(one.read())["letter"][2] == {
        "id": third.id, "parents": [second.id], "text": "c", "signed_by": "dr.weber", "pages": [],
    }  # fmt: skip
    assert one.read().conflicts == {}


def test_a_version_added_unseen_becomes_a_second_head_until_one_builds_on_both(writer: Any) -> None:
    one, two, three = (writer(name, KIND) for name in ("one", "two", "six"))
    start = one.write(Thing(letter=[Page(text="draft")]))
    two.receive(start)
    signed = one.edit(lambda thing: thing.letter.add(Page(text="signed", signed_by="dr.weber")))
    edited = two.edit(lambda thing: thing.letter.add(Page(text="edited")), stamp=9)
    one.receive(edited)
    two.receive(signed)
    three.receive(start, edited, signed)
    assert one.fingerprint() == two.fingerprint() == three.fingerprint()
    found = three.read()
    assert [head.value.text for head in found.letter.heads] == ["edited", "signed"]
    assert [value["text"] for value in conflicts_json(found)["letter"]] == ["edited", "signed"]
    (conflict,) = project(KIND, RECORD, three.content).conflicts
    assert (conflict.field, conflict.severity) == ("letter", "high")
    assert (row_of(three)["conflicted"], row_of(three)["letter_text"]) == (1, "edited")
    with pytest.raises(Undecided, match="builds on both"):
        _ = found.letter.head
    with pytest.raises(Undecided):
        found.decided("letter")

    kept = found.conflicts["letter"][1]
    closed = three.edit(lambda thing: thing.assign("letter", kept))
    one.receive(closed)
    head = one.read().letter.head
    assert (head.value.text, head.value.signed_by, len(head.parents)) == ("signed", "dr.weber", 2)
    assert one.read().conflicts == {} and texts(one.read()).count("signed") == 2
    assert row_of(one)["letter_signed_by"] == "dr.weber"


def test_the_same_version_at_two_sites_is_one(writer: Any) -> None:
    one, two = writer("one", KIND), writer("two", KIND)
    first, second = one.write(Thing(letter=[Page(text="a")])), two.write(Thing(letter=[Page(text="a")]))
    one.receive(second)
    two.receive(first)
    assert len(one.read().letter) == 1 and one.read().conflicts == {}
    assert one.fingerprint() == two.fingerprint()
    assert one.edit(lambda thing: thing.letter.add(Page(text="a"))) == b""


def test_versions_as_json_are_added_once_and_never_changed(writer: Any) -> None:
    one = writer("one", KIND)
    one.edit(letter=parse_value(Thing, "letter", '{"text": "a"}'))
    shown = fields_json(one.read())["letter"]
    assert one.edit(letter=shown) == b""
    one.edit(letter=[*shown, {"text": "b"}])
    assert texts(one.read()) == ["a", "b"]
    first, second = one.read().letter
    one.edit(letter={"text": "c", "parents": [first.id]})
    assert {head.id for head in one.read().letter.heads} == {second.id, one.read().letter.heads[0].id}
    for wrong, reason in [
        ({**shown[0], "text": "x"}, "frozen"),
        ({"id": "nobody", "text": "x"}, "no version with this id"),
        ({"text": "x", "parents": ["nobody"]}, "id of this parent"),
        ({"text": "x", "parents": "nobody"}, "list of the ids"),
        ({"texts": "x"}, "text"),
        ({"text": "x", "more": 1}, "no part named more"),
        ("x", "expected a version"),
        (None, "stays"),
    ]:
        with pytest.raises(BadValue, match=reason):
            one.read().assign("letter", wrong)
    for written in ("x", '"x"', "7"):
        with pytest.raises(BadValue):
            parse_value(Thing, "letter", written)


def test_columns_show_the_head_and_words_come_from_heads_alone(writer: Any) -> None:
    columns, _ = table_of(KIND)
    assert columns == {"letter": "TEXT", "letter_text": "TEXT", "letter_signed_by": "TEXT", "conflicted": "INTEGER"}
    one = writer("one", KIND)
    assert project(KIND, RECORD, one.content).row == {
        "letter": "[]", "letter_text": None, "letter_signed_by": None, "conflicted": 0,
    }  # fmt: skip
    one.write(Thing(letter=[Page(text="old", signed_by="x"), Page(text="new", pages=("appendix",))]))
    assert (row_of(one)["letter_text"], row_of(one)["letter_signed_by"]) == ("new", None)
    assert row_of(one)["letter"] == canonical(fields_json(one.read())["letter"])
    assert project(KIND, RECORD, one.content).words.split("\n") == ["appendix", "new"]
    with pytest.raises(BadValue, match="SQL"):
        column_value(Thing, "letter", [])


def slot(stored: Any, key: str = "", tag: str = "tagaaaaa") -> dict[str, str]:
    return {f"letter/{key or version_id(stored)}/{tag}": canonical([[1, 1, stored]])}


def test_what_is_no_version_of_its_id_is_passed_over() -> None:
    good = {"text": "a", "parents": []}
    child = {"text": "b", "parents": [version_id(good), "of nobody"]}
    forged = slot({"text": "x", "parents": []}, version_id(good), "tagbbbbb") | slot(None, version_id(child), "tagc")
    odd = slot([1], "k1") | slot({"text": "x"}, "k2") | slot({"text": "x", "parents": [1]}) | {"letter/tagaaaaa": "[]"}
    odd |= slot({"text": "x", "parents": []}, "an id of another")
    named = slot({"text": "x", "parents": [], "id": "another"})
    found = read(KIND, RECORD, Content({**slot(good), **slot(child), **forged, **odd, **named}, {}))
    assert isinstance(found, Thing)
    assert texts(found) == ["a", "b"] and found.letter.head is not None and found.conflicts == {}
    assert project(KIND, RECORD, Content({**forged, **odd}, {})).conflicts == []


def test_a_version_that_this_program_cannot_hold_is_kept_and_built_upon() -> None:
    later = {"texts": ["a"], "parents": []}
    found = read(KIND, RECORD, Content(slot(later), {}))
    assert isinstance(found, Thing) and len(found.letter) == 0 and len(found.unknown["letter"]) == 1
    with pytest.raises(Undecided, match="newer version"):
        _ = found.letter.head
    found.letter.add(Page(text="b"))
    (edit,) = edits_of(found, lambda: "k")
    assert getattr(edit, "value", None) == {"text": "b", "pages": [], "parents": [version_id(later)]}


def test_parts_of_a_newer_version_stay_when_one_of_two_heads_is_chosen() -> None:
    one, two = {"text": "a", "floor": 3, "parents": []}, {"text": "b", "parents": []}
    found = read(KIND, RECORD, Content({**slot(one), **slot(two)}, {}))
    assert isinstance(found, Thing)
    found.assign("letter", next(head for head in found.letter.heads if head.value.text == "a"))
    (edit,) = edits_of(found, lambda: "k")
    assert getattr(edit, "value", {})["floor"] == 3


def test_versions_wait_for_their_record() -> None:
    made: Versions[Page] = Versions([Page(text="a")])
    assert made.add(Page(text="b")) is None and len(made) == 2
    with pytest.raises(BadValue, match="record exists"):
        made.add(Page(text="c"), parents=[])
    assert texts(Thing(letter=made)) == ["a", "b"]
    assert Thing(letter=[Page(text="a")]).letter == Thing(letter=[Page(text="a")]).letter
