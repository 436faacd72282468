"""What later versions of a kind may be: fields only get added, rules stay, types take all that was written."""

from __future__ import annotations

import datetime
import json
from collections.abc import Iterator
from typing import Any, Literal

import pytest

from crdtsync.documents import (
    Entries,
    Link,
    Record,
    Text,
    Value,
    entries,
    flag_on_wins,
    kinds,
    latest,
    once,
    register,
    status,
    text,
)
from crdtsync.documents.declared import columns_behind, declared, refusal, with_former
from crdtsync.documents.projection import table_of
from crdtsync.documents.schema import KindPlan
from crdtsync.errors import UsageError

METACLASS: Any = type(Record)


@pytest.fixture(autouse=True)
def own_kinds() -> Iterator[None]:
    """Forget the kinds that a test declares."""
    before = dict(kinds())
    yield
    kinds().clear()
    kinds().update(before)


class Size(Value):
    length: int | None = None


class WiderSize(Value):
    length: float | None = None
    width: int | None = None


def plan_of(**fields: tuple[Any, Any]) -> KindPlan:
    """A kind that declares these fields, each by type and rule; it is not kept."""
    body: dict[str, Any] = {name: rule for name, (_, rule) in fields.items()}
    body["__annotations__"] = {name: annotation for name, (annotation, _) in fields.items()}
    made = METACLASS("Thing", (Record,), {**body, "__module__": __name__})
    return KindPlan("thing", made)


def between(before: tuple[Any, Any], now: tuple[Any, Any]) -> str:
    """What is said when a field was one thing and is another."""
    return refusal("thing", declared(plan_of(it=before)), declared(plan_of(it=now)))


GROWS = [
    ((str | None, register()), (str | None, register(severity="high", cautious="x", group="g"))),
    ((int | None, register()), (float | None, register())),
    ((int | None, register()), (Any, register())),
    ((Literal["a", "b"] | None, register()), (Literal["c", "b", "a"] | None, register())),
    ((Literal["a", "b"] | None, register()), (str | None, register())),
    ((Size | None, register()), (WiderSize | None, register())),
    ((Entries[Size], entries()), (Entries[WiderSize], entries())),
    ((list[int] | None, register()), (list[float] | None, register())),
    ((str | None, status("a<b")), (str | None, status("a<b<c", "cancelled"))),
    ((str | None, status("a<c")), (str | None, status("a<b<c"))),
]
BREAKS = [
    ((str | None, register()), (str | None, latest()), "merge rule \\(register\\)"),
    ((str | None, register()), (Entries[str], entries()), "merge rule"),
    ((Entries[str], entries(by_value=True)), (Entries[str], entries()), "merge rule \\(entries\\)"),
    ((str | None, register()), (Text, text()), "merge rule"),
    ((bool, flag_on_wins()), (bool | None, register()), "merge rule"),
    ((str | None, once()), (str | None, register()), "merge rule"),
    ((str | None, register()), (int | None, register()), "type"),
    ((float | None, register()), (int | None, register()), "type"),
    ((str | None, register()), (Literal["a"] | None, register()), "type"),
    ((Literal[1, 2] | None, register()), (str | None, register()), "type"),
    ((Literal["a", "b"] | None, register()), (Literal["a"] | None, register()), "type"),
    ((datetime.date | None, register()), (datetime.datetime | None, register()), "type"),
    ((Link | None, register()), (str | None, register()), "type"),
    ((WiderSize | None, register()), (Size | None, register()), "type"),
    ((Size | None, register()), (str | None, register()), "type"),
    ((str | None, status("a<b")), (str | None, status("b<a")), "order of its states"),
    ((str | None, status("a<b<c")), (str | None, status("a<c")), "order of its states"),
    ((str | None, status("a<b")), (str | None, status("a", "b")), "order of its states"),
]


@pytest.mark.parametrize(("before", "now"), GROWS)
def test_a_field_may_grow_and_be_read_otherwise(before: tuple[Any, Any], now: tuple[Any, Any]) -> None:
    assert between(before, now) == "" and between(before, before) == "" and between(now, now) == ""


@pytest.mark.parametrize(("before", "now", "what"), BREAKS)
def test_a_field_may_not_become_another(before: tuple[Any, Any], now: tuple[Any, Any], what: str) -> None:
    said = between(before, now)
    with pytest.raises(UsageError, match=rf"^thing.it .*another {what} .*add a field of another name"):
        raise UsageError(said)


def test_a_field_may_not_go_and_says_what_to_do() -> None:
    both = declared(plan_of(one=(str | None, register()), two=(str | None, register())))
    one = declared(plan_of(one=(str | None, register())))
    assert refusal("thing", one, both) == ""
    said = refusal("thing", both, one)
    assert said.startswith("thing.two ") and "update it" in said and "declare the field again" in said
    assert with_former(both, one)["fields"] == both["fields"] and with_former(None, one) == one


def test_what_is_declared_is_json() -> None:
    for model in list(kinds().values()):
        found = declared(model.plan())
        assert json.loads(json.dumps(found)) == found


def test_columns_are_behind_that_the_former_declaration_did_not_fill() -> None:
    before = plan_of(name=(str | None, register()), size=(Size | None, register()))
    now = plan_of(
        name=(str | None, register()), size=(WiderSize | None, register()), tags=(Entries[str], entries(by_value=True))
    )
    was, is_ = declared(before), declared(now)
    assert columns_behind(now, is_, is_) == []
    assert sorted(columns_behind(now, was, is_) or ()) == ["conflicted", "size", "size_length", "size_width", "tags"]
    assert columns_behind(before, is_, was) == ["conflicted", "size", "size_length"], "an older program has fewer"
    assert columns_behind(now, None, is_) is None
    assert columns_behind(now, {**was, "projection": -1}, is_) is None


def test_every_column_belongs_to_a_field() -> None:
    """So that none is forgotten when a field changes."""
    for kind, model in list(kinds().items()):
        everything = columns_behind(model.plan(), {"projection": 1, "fields": {}}, declared(model.plan())) or []
        assert set(table_of(kind)[0]) <= set(everything), kind


def declare(**fields: tuple[Any, Any]) -> None:
    body: dict[str, Any] = {name: rule for name, (_, rule) in fields.items()}
    body["__annotations__"] = {name: annotation for name, (annotation, _) in fields.items()}
    body["__module__"] = __name__
    METACLASS("Kite", (Record,), body, kind="kite")


def test_declaring_a_kind_again_in_one_program_only_adds() -> None:
    declare(span=(int | None, register()))
    declare(span=(int | None, register()), colour=(str | None, register()))
    first = kinds()["kite"]
    with pytest.raises(UsageError, match=r"kite.colour was declared here before"):
        declare(span=(int | None, register()))
    with pytest.raises(UsageError, match=r"kite.span .* merge rule"):
        declare(span=(int | None, latest()), colour=(str | None, register()))
    assert kinds()["kite"] is first
