import datetime
import sqlite3
from typing import Any, ClassVar, Literal

import pytest
from pydantic import AwareDatetime

from crdtsync.documents import (
    Content,
    Entries,
    Link,
    Record,
    Text,
    Value,
    entries,
    flag_on_wins,
    once,
    project,
    read,
    register,
    table_of,
    text,
)
from crdtsync.errors import UnknownKind, UsageError
from crdtsync.ids import RecordId

KIND = "test_projection_thing"
RECORD = RecordId("a" * 26)


class Slot(Value):
    start: AwareDatetime | None = None
    count: int | None = None
    sure: bool | None = None
    resources: tuple[str, ...] = ()
    owner: Link | None = None


class Thing(Record, kind=KIND):
    indexes: ClassVar[tuple[str, ...]] = ("slot_start",)
    patient: Link | None = once()
    name: str | None = register(severity="high")
    size: int | None = register()
    factor: float | None = register()
    born: datetime.date | None = register()
    shape: Literal["round", "square"] | None = register()
    slot: Slot | None = register()
    anything: Any = register()
    danger: bool = flag_on_wins()
    phones: Entries[str] = entries(by_value=True)
    note: Text = text()


def test_tables_have_a_column_per_field_and_per_scalar_part() -> None:
    columns, indexes = table_of(KIND)
    assert columns == {
        "patient": "TEXT", "name": "TEXT", "size": "INTEGER", "factor": "REAL", "born": "TEXT", "shape": "TEXT",
        "slot": "TEXT", "slot_start": "TEXT", "slot_count": "INTEGER", "slot_sure": "INTEGER", "slot_owner": "TEXT",
        "anything": "BLOB", "danger": "INTEGER", "phones": "TEXT", "note": "TEXT", "conflicted": "INTEGER",
    }  # fmt: skip
    assert indexes == ["patient", "slot_start"]
    with pytest.raises(UnknownKind):
        table_of("no such kind")


def test_a_record_becomes_a_row_and_words(writer: Any) -> None:
    one = writer("one", KIND)
    one.write(
        Thing(
            patient=RecordId("the-patient"),
            name="Müller",
            size=2**62,
            born=datetime.date(1970, 3, 12),
            shape="round",
            slot=Slot(count=3, sure=True, resources=("Raum eins",), owner=RecordId("x")),
            anything=[1, {"a": None}],
            danger=True,
            phones=Entries(["0364 1"]),
            note=Text("süß"),
            source={"imported": "elsewhere"},
        )
    )
    made = project(KIND, RECORD, one.content)
    assert made.row == {
        "patient": "the-patient", "name": "Müller", "size": 2**62, "factor": None, "born": "1970-03-12",
        "shape": "round", "slot": '{"count":3,"owner":"x","resources":["Raum eins"],"sure":true}',
        "slot_start": None, "slot_count": 3, "slot_sure": 1, "slot_owner": "x", "anything": '[1,{"a":null}]',
        "danger": 1, "phones": '["0364 1"]', "note": "süß", "conflicted": 0,
    }  # fmt: skip
    assert made.words.split("\n") == ["0364 1", "Müller", "Raum eins", "süß"]
    assert made.conflicts == []
    assert set(made.row or ()) == set(table_of(KIND)[0])


def test_an_empty_record_has_a_whole_row() -> None:
    made = project(KIND, RECORD, Content({}, {}))
    assert set(made.row or ()) == set(table_of(KIND)[0])
    assert (made.row or {})["phones"] == "[]"
    assert (made.row or {})["danger"] == 0
    assert made.words == ""


def test_conflicts_are_equal_at_every_site_and_counted_by_field(writer: Any) -> None:
    one, two = writer("one", KIND), writer("two", KIND)
    two.receive(one.write(Thing(name="a", size=1)))
    first, second = one.edit(name="b", size=2), two.edit(name="c", size=3)
    one.receive(second)
    two.receive(first)
    made = project(KIND, RECORD, one.content)
    assert made == project(KIND, RECORD, two.content)
    assert [(found.field, found.severity) for found in made.conflicts] == [("name", "high"), ("size", "medium")]
    assert (made.row or {})["conflicted"] == 2
    assert (made.row or {})["name"] == made.conflicts[0].values[0]["value"] == one.read().name
    assert {value["commit"] for value in made.conflicts[0].values} == {"oneaaaaa.2", "twoaaaaa.1"}


def test_what_no_column_expects_still_fits_a_database() -> None:
    slots = {
        "size/tagaaaaa": f"[[1,1,{2**63}]]",
        "name/tagaaaaa": '[[1,1,{"not":"text"}]]',
        "slot/tagaaaaa": '[[1,1,"not a slot"]]',
        "phones/k/tagaaaaa": "[[1,1,[[5]]]]",
        "danger/tagaaaaa": '[[1,1,"very"]]',
        "anything/tagaaaaa": '[[1,1,"a\\u0000b"]]',
        "note/tagaaaaa": "[[1,1,5]]",
        "born/tagaaaaa": "[[1,1,true]]",
    }
    row = project(KIND, RECORD, Content(slots, {"name": "x"})).row or {}
    assert row["size"] == str(2**63)
    assert (row["name"], row["danger"], row["born"]) == ('{"not":"text"}', 0, 1)
    database = sqlite3.connect(":memory:")
    columns, _ = table_of(KIND)
    database.execute(f"CREATE TABLE t ({', '.join(f'{name} {kind}' for name, kind in columns.items())})")
    database.execute(f"INSERT INTO t VALUES ({', '.join('?' * len(columns))})", [row[name] for name in columns])
    assert database.execute("SELECT anything FROM t").fetchone() == ("a\x00b",)
    database.close()
    read(KIND, RECORD, Content(slots, {}))


def test_kinds_that_no_model_declares_have_no_row() -> None:
    made = project("kind_of_a_newer_version", RECORD, Content({"a/tagaaaaa": "[[1,1,1]]"}, {}))
    assert (made.row, made.words, made.conflicts) == (None, "", [])


def test_columns_that_collide_and_indexes_of_nothing_are_refused() -> None:
    class Twice(Record, kind="test_projection_twice"):
        slot: Slot | None = register()
        slot_start: str | None = register()

    class NoColumn(Record, kind="test_projection_no_column"):
        indexes: ClassVar[tuple[str, ...]] = ("nothing",)

    with pytest.raises(UsageError, match="slot_start"):
        table_of("test_projection_twice")
    with pytest.raises(UsageError, match="nothing"):
        table_of("test_projection_no_column")
