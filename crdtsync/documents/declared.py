"""What a kind's class declares, as JSON that outlives the program: to see what a later version has added, and to refuse
what it must not change.

Fields and kinds only get added. Of what is there, a merge rule stays what it is, for else two versions of a program
would read one document differently and show other conflicts at each site; and a type may only become one that takes all
the values that were written. Severity, cautious value and group are ways of reading: they may change, and what the view
shows is derived anew.
"""

from __future__ import annotations

import dataclasses
import datetime
import json
from collections.abc import Mapping
from functools import lru_cache
from typing import Any, Final, Literal, get_args, get_origin

from pydantic import BaseModel

from crdtsync.documents.schema import FieldPlan, KindPlan, base_type
from crdtsync.documents.slots import canonical
from crdtsync.ids import RecordId

PROJECTION: Final = 1
"""Counted up whenever this package turns equal documents into other rows, words or conflicts than before."""
_SCALARS: Final[Mapping[Any, str]] = {
    str: "text",
    int: "integer",
    float: "number",
    bool: "flag",
    RecordId: "link",
    datetime.date: "date",
    datetime.datetime: "time",
    datetime.time: "clock time",
}
_APART: Final = frozenset({"cautious", "order"})
"""What of a rule is no plain value."""
_READING: Final = frozenset({"severity", "cautious", "group", "order", "type"})
"""What may change, or is compared in its own way."""
_WIDER: Final = frozenset({("integer", "number")})

Declared = Mapping[str, Any]
"""`{"projection": n, "fields": {name: {"name" of the rule, "type", "severity", …}}}`."""


@lru_cache(maxsize=1024)
def declared(plan: KindPlan) -> Declared:
    """What this class declares, just as JSON gives it back."""
    fields = {name: _field(field) for name, field in plan.fields.items()}
    return dict(json.loads(canonical({"projection": PROJECTION, "fields": fields})))


def refusal(kind: str, before: Declared, now: Declared) -> str:
    """Why `now` must not follow on `before`, in a sentence that says what to do; empty when it may."""
    fields = now["fields"]
    for name, was in before["fields"].items():
        if name not in fields:
            return (
                f"{kind}.{name} was declared here before, and this program lacks it: fields only get added. If this "
                "program is older than the one before, update it; else declare the field again (one that nobody needs "
                "any more is left empty)"
            )
        what = _changed(was, fields[name])
        if what:
            return (
                f"{kind}.{name} was declared here with another {what} than in this program, and what was written under "
                "it would be read wrongly: declare it as it was, and add a field of another name for what is new"
            )
    return ""


def with_former(before: Declared | None, now: Declared) -> dict[str, Any]:
    """`now`, and the fields of `before` that it lacks: all that was ever declared."""
    former = before["fields"] if before else {}
    return {**now, "fields": {**former, **now["fields"]}}


def columns_behind(plan: KindPlan, before: Declared | None, now: Declared) -> list[str] | None:
    """The columns that rows derived under `before` do not fill as `now` does; None: none of them counts.

    Empty when nothing has to be derived anew.
    """
    if before is None or before.get("projection") != now["projection"]:
        return None
    former, fields = before["fields"], now["fields"]
    if former == fields:
        return []
    found = ["conflicted"]
    for name, field in plan.fields.items():
        if former.get(name) != fields[name]:
            found += columns_of(field)
    return found


def columns_of(field: FieldPlan) -> list[str]:
    """The columns that a field may fill."""
    parts = field.model.model_fields if field.model is not None else ()
    return [field.name, *(f"{field.name}_{part}" for part in parts)]


def _field(field: FieldPlan) -> dict[str, Any]:
    """The rule with all that it was declared with, and the type of a value."""
    rule = field.rule
    found = {each.name: getattr(rule, each.name) for each in dataclasses.fields(rule) if each.name not in _APART}
    found = {name: value for name, value in found.items() if value not in (None, False, "", ())}
    if rule.has_cautious:
        found["cautious"] = rule.cautious
    if rule.order is not None:
        found["order"] = {name: sorted(above) for name, above in sorted(rule.order.above.items())}
    return {**found, "type": _type(field.inner, ())}


def _type(annotation: Any, inside: tuple[Any, ...]) -> Any:
    """A type in words: a scalar's name, `{"one of"}`, `{"parts"}`, `{"list"}`, or "any"."""
    base = base_type(annotation)
    origin = get_origin(base)
    if base in _SCALARS:
        return _SCALARS[base]
    if origin is Literal:
        return {"one of": sorted(get_args(base), key=repr)}
    if isinstance(base, type) and issubclass(base, BaseModel):
        if base in inside:
            return "any"
        return {"parts": {p: _type(info.annotation, (*inside, base)) for p, info in base.model_fields.items()}}
    if origin in (list, tuple, set, frozenset) and get_args(base):
        return {"list": _type(get_args(base)[0], inside)}
    return "any" if base is Any or base is object else "JSON"


def _changed(was: Mapping[str, Any], now: Mapping[str, Any]) -> str:
    """What of a field is another now; empty when nothing that matters."""
    if _merging(was) != _merging(now):
        return f"merge rule ({was['name']})"
    if not _ordered(was.get("order", {}), now.get("order", {})):
        return "order of its states"
    return "" if _takes(was["type"], now["type"]) else "type"


def _merging(field: Mapping[str, Any]) -> dict[str, Any]:
    """What decides how a document is written and merged."""
    return {name: value for name, value in field.items() if name not in _READING}


def _ordered(was: Mapping[str, list[str]], now: Mapping[str, list[str]]) -> bool:
    """Whether all former states are there, in the order that they had."""
    return all(name in now and {*now[name]} & was.keys() == {*above} for name, above in was.items())


def _takes(was: Any, now: Any) -> bool:
    """Whether a type takes every value of the former one."""
    if was == now or now == "any":
        return True
    if isinstance(was, str):
        return isinstance(now, str) and (was, now) in _WIDER
    if isinstance(now, str):
        return now == "text" and all(isinstance(value, str) for value in was.get("one of", (0,)))
    if "parts" in was and "parts" in now:
        parts = now["parts"]
        return all(name in parts and _takes(inner, parts[name]) for name, inner in was["parts"].items())
    if "list" in was and "list" in now:
        return _takes(was["list"], now["list"])
    return "one of" in was and all(value in now.get("one of", ()) for value in was["one of"])
