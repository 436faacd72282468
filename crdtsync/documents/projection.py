"""A record as a row of its kind's table, the words to find it by, and its conflicts: derived from documents alone."""

from __future__ import annotations

import datetime
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, Final, Literal, get_args, get_origin

from pydantic import BaseModel

from crdtsync.documents.conflict import FieldConflict
from crdtsync.documents.document import Content
from crdtsync.documents.record import Record, kinds
from crdtsync.documents.schema import FieldPlan, KindPlan, base_type
from crdtsync.documents.settling import settle
from crdtsync.documents.slots import canonical
from crdtsync.documents.version import Found
from crdtsync.errors import BadValue, UnknownKind, UsageError
from crdtsync.ids import RecordId

_INTEGER_LIMIT: Final = 2**63
_UNPROJECTED: Final = frozenset({"source"})
"""Fields without a column: what an import could not map is kept in the document, and would double the table."""


@dataclass(slots=True)
class Projection:
    """What the view keeps of a record: `row` has every column of `table_of` (None for a kind that no model declares),
    `words` the text to search."""

    row: dict[str, Any] | None
    words: str
    conflicts: list[FieldConflict] = field(default_factory=list)


def project(kind: str, record: RecordId, content: Content) -> Projection:
    """Derive a record's row, words and conflicts. No models are built here; total over every content (L6)."""
    shape = _shape(kind)
    if shape is None:
        return Projection(None, "")
    settled = settle(shape.plan, record, content.slots)
    row = shape.blank.copy()
    words: list[str] = []
    columns = shape.columns
    for name, value in settled.shown.items():
        if value is not None:
            column = columns.get(name)
            if column is not None:
                column(row, words, value)
    for name, keyed in settled.entries.items():
        columns[name](row, words, list(keyed.values()))
    for name, found in settled.versions.items():
        columns[name](row, words, found)
    for name in shape.texts:
        written = content.texts.get(name)
        if written:
            row[name] = written
            words.append(written)
    if settled.conflicts:
        row["conflicted"] = len({name for conflict in settled.conflicts for name in conflict.fields})
    words.sort()  # slots come in the order of a hash map
    return Projection(row, "\n".join(words), settled.conflicts)


def table_of(kind: str) -> tuple[dict[str, str], list[str]]:
    """The columns of a kind's table but for `id`, with their SQLite types, and the columns that get an index.

    A field is a column; flags are 0 or 1; a small model is JSON, with a column `field_part` for each scalar part;
    entries are a JSON list; so are versions, oldest first, with a column `field_part` for each scalar part of the head
    that is shown first; a counter is its sum; `conflicted` is the number of fields in conflict. Raises UnknownKind, or
    UsageError when two fields come to one column.
    """
    shape = _shape(kind)
    if shape is None:
        raise UnknownKind(f"no model declares the kind {kind!r}; import the module that does")
    return dict(shape.types), list(shape.indexes)


def column_value(model: type[Record], name: str, value: Any) -> Any:
    """`value` as the column of this field holds it, to look for it. Raises UnknownField, or BadValue for one that the
    field refuses."""
    plan = model.plan().field(name)
    if value is None:
        return None
    if plan.rule.name == "text":
        return str(value)
    if plan.versions:
        raise BadValue(f"{model.kind}.{name}: versions are not looked for whole; ask in SQL for a part of the head")
    if plan.entries:
        return canonical([plan.to_json(plan.check(entry)) for entry in value])
    plain = plan.to_json(plan.check(value))
    return canonical(plain) if plan.model is not None else _sql_value(plain)


Column = Callable[[dict[str, Any], list[str], Any], None]


class _Shape:
    """A kind's columns, worked out once."""

    def __init__(self, plan: KindPlan, indexes: Sequence[str]) -> None:
        self.plan: Final = plan
        self.types: Final[dict[str, str]] = {}
        self.blank: Final[dict[str, Any]] = {}
        self.columns: Final[dict[str, Column]] = {}
        self.texts: Final = tuple(name for name, field in plan.fields.items() if field.rule.name == "text")
        links = []
        for name, column in plan.fields.items():
            if name not in _UNPROJECTED:
                self._add(column)
                if column.base is RecordId and not column.entries:
                    links.append(name)
        self._column("conflicted", "INTEGER", 0)
        self.indexes: Final = list(dict.fromkeys([*links, *indexes]))
        missing = [name for name in self.indexes if name not in self.types]
        if missing:
            raise UsageError(f"{plan.kind}: an index names {missing[0]!r}, which is no column")

    def _add(self, plan: FieldPlan) -> None:
        rule = plan.rule.name
        name = plan.name
        if rule == "text":
            self._column(name, "TEXT", None)
        elif plan.entries:
            self._column(name, "TEXT", "[]")
            self.columns[name] = _entries_column(name, _searched(plan.base))
        elif plan.model is not None:
            self._column(name, "TEXT", "[]" if plan.versions else None)
            parts = {part: base_type(info.annotation) for part, info in plan.model.model_fields.items()}
            scalars = [part for part, base in parts.items() if _sql_type(base) is not None]
            for part in scalars:
                self._column(f"{name}_{part}", _sql_type(parts[part]) or "", None)
            names = {part: f"{name}_{part}" for part in scalars}
            fill = _model_column(name, names, frozenset(p for p in parts if _searched(parts[p])))
            self.columns[name] = _versions_column(name, fill) if plan.versions else fill
        else:
            zero = rule in ("flag_on_wins", "flag_off_wins", "counter")
            self._column(name, _sql_type(plan.base) or "BLOB", 0 if zero else None)
            self.columns[name] = _scalar_column(name, _searched(plan.base))

    def _column(self, name: str, sql_type: str, blank: Any) -> None:
        if name in self.types or name == "id":
            raise UsageError(f"{self.plan.kind}: two fields come to the column {name!r}; name one of them differently")
        self.types[name] = sql_type
        self.blank[name] = blank


@lru_cache(maxsize=4096)
def _shape_of(model: type[Any]) -> _Shape:
    return _Shape(model.plan(), model.indexes)


def _shape(kind: str) -> _Shape | None:
    model = kinds().get(kind)
    return None if model is None else _shape_of(model)


def _sql_type(base: Any) -> str | None:
    """The SQLite type of a scalar; None for what only JSON can hold. "BLOB" keeps any scalar as it is."""
    if base is bool or base is int:
        return "INTEGER"
    if base is float:
        return "REAL"
    if base is str or base is RecordId or base in (datetime.date, datetime.datetime, datetime.time):
        return "TEXT"
    if get_origin(base) is Literal:
        return "TEXT" if all(isinstance(value, str) for value in get_args(base)) else "BLOB"
    return None


def _searched(base: Any) -> bool:
    """Whether values of this type are looked for by their words: written text, not links, states or dates."""
    if isinstance(base, type) and issubclass(base, BaseModel):
        return True
    if get_origin(base) in (list, tuple, set, frozenset, dict):
        return any(_searched(base_type(inner)) for inner in get_args(base))
    return base is str


def _sql_value(value: Any) -> Any:
    """A JSON value as a database takes it: also one that the column's type did not expect."""
    kind = type(value)
    if kind is str or kind is float:
        return value
    if kind is bool:
        return int(value)
    if kind is int:
        return value if -_INTEGER_LIMIT <= value < _INTEGER_LIMIT else str(value)
    return canonical(value)


def _collect(value: Any, words: list[str]) -> None:
    """All words inside a JSON value."""
    waiting = [value]
    while waiting:
        node = waiting.pop()
        if type(node) is str:
            words.append(node)
        elif type(node) is dict:
            waiting.extend(node.values())
        elif type(node) is list:
            waiting.extend(node)


def _scalar_column(name: str, searched: bool) -> Column:
    def fill(row: dict[str, Any], words: list[str], value: Any) -> None:
        if type(value) is str:
            row[name] = value
            if searched:
                words.append(value)
        else:
            row[name] = _sql_value(value)

    return fill


def _model_column(name: str, parts: Mapping[str, str], searched: frozenset[str]) -> Column:
    def fill(row: dict[str, Any], words: list[str], value: Any) -> None:
        row[name] = canonical(value)
        if type(value) is not dict:
            return
        for part, inner in value.items():
            column = parts.get(part)
            if column is not None and inner is not None:
                row[column] = _sql_value(inner)
            if part in searched:
                _collect(inner, words)

    return fill


def _entries_column(name: str, searched: bool) -> Column:
    def fill(row: dict[str, Any], words: list[str], value: Any) -> None:
        row[name] = canonical(value)
        if searched:
            _collect(value, words)

    return fill


def _versions_column(name: str, head: Column) -> Column:
    """All versions, with parts and words of the head that is shown first; words of the other heads too."""

    def fill(row: dict[str, Any], words: list[str], value: Found) -> None:
        for number, each in enumerate(value.heads):
            head({} if number else row, words, each.value)
        row[name] = canonical(list(value.shown.values()))

    return fill
