import datetime
import json
from typing import Any, ClassVar, Literal

import pytest
from pydantic import AwareDatetime, field_validator

from crdtsync.documents import (
    Content,
    Entries,
    Link,
    Record,
    Text,
    Value,
    Versions,
    counter,
    edits_of,
    entries,
    fields_json,
    flag_off_wins,
    flag_on_wins,
    kinds,
    latest,
    model_of,
    never_removed,
    once,
    read,
    register,
    status,
    text,
    versions,
)
from crdtsync.errors import BadValue, Undecided, UnknownField, UsageError
from crdtsync.ids import RecordId


class Dose(Value):
    clinical: ClassVar[bool] = True
    amount: float | None = None


def _body(holder: str, value: type[Any], declared: Any) -> dict[str, Any]:
    """The body of a class with one field `held` of Entries[value] or Versions[value]."""
    annotation = {"Entries": Entries, "Versions": Versions}[holder][value]  # type: ignore[index]  # by name
    return {"held": declared, "__annotations__": {"held": annotation}, "__module__": __name__, "__qualname__": "Made"}


class Place(Value):
    street: str | None = None
    city: str | None = None


class Thing(Record, kind="test_record_thing"):
    name: str | None = register()
    count: int | None = register()
    factor: float | None = register()
    risk: Literal["low", "high"] | None = register(cautious="high")
    place: Place | None = register()
    born: datetime.date | None = register()
    seen_at: AwareDatetime | None = register()
    serial: str | None = once()
    owner: Link | None = once()
    window: str | None = latest()
    state: Literal["draft", "active", "done"] | None = status("draft<active<done")
    danger: bool = flag_on_wins()
    allowed: bool = flag_off_wins()
    phones: Entries[str] = entries(by_value=True)
    places: Entries[Place] = entries()
    note: Text = text()
    even: int | None = register()

    @field_validator("even")
    @classmethod
    def _even(cls, value: int | None) -> int | None:
        if value is not None and value % 2:
            raise ValueError("expected an even number")
        return value


def assigned(thing: Record) -> dict[str, Any]:
    return {edit.field: getattr(edit, "value", None) for edit in edits_of(thing, lambda: "k")}


def reread(thing: Record, **seen: str) -> Thing:
    made = read("test_record_thing", RecordId("r"), Content(seen, {}))
    assert isinstance(made, Thing)
    return made


def known(**slots: str) -> Thing:
    """A record read from slots given as field=JSON of items, all by one log."""
    return reread(Thing(), **{f"{field}/tagaaaaa": raw for field, raw in slots.items()})


def test_a_new_record_has_the_edits_of_what_was_given() -> None:
    born = datetime.date(2000, 1, 2)
    thing = Thing(name="a", place=Place(city="Jena"), phones=Entries(["1"]), note=Text("x"), born=born)
    plain = {"name": "a", "place": {"city": "Jena"}, "phones": "1", "note": None, "born": "2000-01-02"}
    assert assigned(thing) == plain
    assert thing.id == ""
    assert assigned(Thing()) == {}
    assert assigned(Thing(name=None)) == {}


@pytest.mark.parametrize(
    ("field", "value", "held", "plain"),
    [
        ("name", "ü", "ü", "ü"),
        ("count", 2**63, 2**63, 2**63),
        ("factor", 2.3, 2.3, 2.3),
        ("risk", "low", "low", "low"),
        ("place", {"city": "Gera"}, Place(city="Gera"), {"city": "Gera"}),
        ("born", "1970-03-12", datetime.date(1970, 3, 12), "1970-03-12"),
        ("seen_at", "2026-01-02T10:00:00+01:00", datetime.datetime.fromisoformat("2026-01-02T10:00:00+01:00"),
         "2026-01-02T10:00:00+01:00"),
        ("owner", "abc", "abc", "abc"),
        ("danger", True, True, True),
        ("phones", ["1", "2", "1"], ["1", "2"], ["1", "2"]),
        ("places", [{"city": "Jena"}], [Place(city="Jena")], [{"city": "Jena"}]),
        ("note", "long", "long", "long"),
        ("source", {"a": [1, None, 2**70]}, {"a": [1, None, 2**70]}, {"a": [1, None, 2**70]}),
    ],
)  # fmt: skip
def test_assigning_validates_and_is_tracked(field: str, value: Any, held: Any, plain: Any) -> None:
    thing = Thing()
    setattr(thing, field, value)
    assert getattr(thing, field) == held
    assert fields_json(thing)[field] == plain
    assert set(assigned(thing)) == {field}
    assert Thing(**{field: value}) == thing


@pytest.mark.parametrize(
    ("field", "value", "reason"),
    [
        ("name", 5, "string"),
        ("name", "\ud800", "surrogate"),
        ("count", "many", "integer"),
        ("risk", "medium", "low"),
        ("place", {"town": "Jena"}, "no part named town"),
        ("place", {"city": 5}, "city"),
        ("born", "yesterday", "date"),
        ("seen_at", "2026-01-02T10:00:00", "timezone"),
        ("owner", "", "id"),
        ("factor", float("nan"), "JSON"),
        ("source", object(), "JSON"),
        ("source", json.loads("[" * 70 + "]" * 70), "deep"),
        ("phones", "1", "list"),
        ("phones", [1], "string"),
        ("note", 5, "str"),
        ("even", 3, "even"),
    ],
)
def test_bad_values_are_refused_and_change_nothing(field: str, value: Any, reason: str) -> None:
    thing = Thing()
    with pytest.raises(BadValue, match=reason) as caught:
        setattr(thing, field, value)
    assert assigned(thing) == {}
    assert thing == Thing()
    assert "yesterday" not in str(caught.value)
    with pytest.raises(BadValue):
        Thing(**{field: value})


def test_unknown_fields_are_named() -> None:
    with pytest.raises(UnknownField, match="has no field 'nam'; its fields are source, name"):
        Thing(nam="x")  # type: ignore[call-arg]  # what a test of the refusal needs
    with pytest.raises(UnknownField, match="'nam'"):
        Thing().nam = "x"  # type: ignore[attr-defined]  # what a test of the refusal needs
    with pytest.raises(UnknownField):
        Thing().assign("nam", 1)
    with pytest.raises(UnknownField):
        Thing().decided("nam")


def test_assigning_what_stands_is_no_edit_and_taking_back_neither() -> None:
    thing = known(name='[[1,1,"a"]]', danger="[[1,1,false]]")
    thing.name = "a"
    thing.danger = False
    thing.count = None
    assert assigned(thing) == {}
    thing.name = "b"
    thing.name = "a"
    assert assigned(thing) == {}


def test_clearing_writes_removed() -> None:
    thing = known(name='[[1,1,"a"]]', danger="[[1,1,true]]")
    thing.name = None
    thing.assign("danger", None)
    assert thing.danger is False
    assert assigned(thing) == {"name": None, "danger": False}


def test_once_stays() -> None:
    thing = known(serial='[[1,1,"s1"]]')
    thing.serial = "s1"
    for other in ("s2", None):
        with pytest.raises(BadValue, match="once"):
            thing.serial = other
    assert thing.serial == "s1"
    assert assigned(thing) == {}
    fresh = known()
    fresh.serial = "s9"
    fresh.serial = "s8"
    assert assigned(fresh) == {"serial": "s8"}


def test_a_conflict_of_once_is_decided_between_its_values() -> None:
    thing = known(serial='[[1,1,"s1"],[2,2,"s2"]]')
    assert thing.conflicts == {"serial": ["s2", "s1"]}
    with pytest.raises(BadValue):
        thing.serial = "s3"
    thing.serial = "s1"
    assert assigned(thing) == {"serial": "s1"}
    chosen = known(serial='[[1,1,"s1"],[2,2,"s2"]]')
    chosen.serial = "s2"
    assert assigned(chosen) == {"serial": "s2"}


def test_decided_gives_the_cautious_value_or_refuses() -> None:
    thing = known(name='[[1,1,"a"],[2,2,"b"]]', risk='[[1,1,"high"],[2,2,"low"]]', count="[[1,1,3]]")
    assert (thing.name, thing.risk) == ("b", "high")
    assert thing.decided("risk") == "high"
    assert thing.decided("count") == 3
    with pytest.raises(Undecided, match="name"):
        thing.decided("name")
    thing.name = "c"
    assert thing.decided("name") == "c"
    cleared = known(risk='[[1,1,"low"],[2,2,null]]')
    with pytest.raises(Undecided):
        cleared.decided("risk")


def test_parts_that_a_newer_version_added_survive_an_edit() -> None:
    thing = known(place='[[1,1,{"city":"Jena","floor":3}]]')
    assert thing.place is not None
    thing.place = thing.place.model_copy(update={"city": "Gera"})
    assert assigned(thing) == {"place": {"city": "Gera", "floor": 3}}
    with pytest.raises(BadValue, match="no part named cellar"):
        thing.place = {"city": "Gera", "floor": 3, "cellar": 1}  # type: ignore[assignment]  # JSON is taken as well


def test_the_id_can_be_preset() -> None:
    thing = Thing()
    thing.id = RecordId("mine")
    assert thing.id == "mine"
    with pytest.raises(BadValue):
        thing.id = RecordId("")
    with pytest.raises(UnknownField):
        thing.conflicts = {}  # type: ignore[misc]  # what a test of the refusal needs


def test_equality_is_kind_id_and_values() -> None:
    one, two = Thing(name="a", phones=Entries(["1"])), Thing(name="a", phones=Entries(["1"]))
    assert one == two
    two.phones.add("2")
    assert one != two
    one.phones.add("2")
    one.id = RecordId("x")
    assert one != two


def test_declarations_that_cannot_hold_are_refused() -> None:
    with pytest.raises(UsageError, match="latest"):

        class Clinical(Record, kind="test_record_clinical"):
            clinical: ClassVar[bool] = True
            dose: int | None = latest()

    with pytest.raises(UsageError, match="latest"):

        class Billing(Record, kind="test_record_billing"):
            billing: ClassVar[bool] = True
            amount: int | None = latest()

    with pytest.raises(UsageError, match=r"harmful\.dose: .* its type is a clinical one; declare .* register\(\)"):

        class Harmful(Record, kind="test_record_harmful"):
            dose: Dose | None = latest()

    with pytest.raises(UsageError, match="cautious value"):

        class Careless(Record, kind="test_record_careless"):
            risk: Literal["low", "high"] | None = register(cautious="higher")

    for marked in (Place, str):
        with pytest.raises(UsageError, match="part 'verification'"):
            type(Record)("Removed", (Record,), _body("Entries", marked, never_removed()), kind="test_record_removed")

    class Numbered(Value):
        id: str | None = None

    for value in (str, Numbered):
        with pytest.raises(UsageError, match="declare versions"):
            type(Record)("Versioned", (Record,), _body("Versions", value, versions()), kind="test_record_versioned")

    with pytest.raises(UsageError, match="as Counter"):

        class NoCounter(Record, kind="test_record_no_counter"):
            sum: int = counter()

    with pytest.raises(UsageError, match="Entries"):

        class NoEntries(Record, kind="test_record_no_entries"):
            lines: list[str] = entries()

    with pytest.raises(UsageError, match="as Text"):

        class NoText(Record, kind="test_record_no_text"):
            note: str = text()

    with pytest.raises(UsageError, match="as bool"):

        class NoFlag(Record, kind="test_record_no_flag"):
            danger: bool | None = flag_on_wins()

    with pytest.raises(UsageError, match="must be known"):

        class NoType(Record, kind="test_record_no_type"):
            other: "Nowhere | None" = register()  # type: ignore[name-defined]  # noqa: F821

    with pytest.raises(UsageError, match="named by"):

        class BadKind(Record, kind="Bad Kind"):
            pass

    with pytest.raises(UsageError, match="declared by"):

        class Again(Record, kind="test_record_thing"):
            pass

    with pytest.raises(UsageError, match="must not be named"):

        class Reserved(Record, kind="test_record_reserved"):
            conflicted: str | None = register()

    assert model_of("test_record_thing") is Thing
    assert kinds()["test_record_thing"] is Thing
    assert model_of("test_record_clinical") is None


def test_a_plain_field_is_a_register() -> None:
    class Plain(Record, kind="test_record_plain"):
        word: str | None = None

    plain = Plain(word="x")
    assert assigned(plain) == {"word": "x"}
    assert Plain.plan().fields["word"].rule.name == "register"


def test_records_with_private_state_of_their_own_are_read() -> None:
    class Private(Record, kind="test_record_private"):
        word: str | None = register()
        _cache: int = 7

    made = read("test_record_private", RecordId("r"), Content({"word/tagaaaaa": '[[1,1,"x"]]'}, {}))
    assert isinstance(made, Private)
    assert (made.word, made._cache, made.id) == ("x", 7, "r")
