"""Records: what a practice program sees. Pydantic models whose fields carry merge rules.

    class Patient(Record, kind="patient"):
        family_name: str | None = register()
        phones: Entries[str] = entries(by_value=True)

Assigning a field, or using the methods of its entries or text, edits the record; the transaction that gave it out
writes the edits when it ends. A field that unseen writes left with several values is in `conflicts`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Final

from pydantic import BaseModel, ConfigDict, PrivateAttr, ValidationError

from crdtsync.documents.conflict import FieldConflict
from crdtsync.documents.count import Counter
from crdtsync.documents.declared import declared, refusal
from crdtsync.documents.document import Content
from crdtsync.documents.entries import Entries
from crdtsync.documents.merge import register
from crdtsync.documents.schema import FieldPlan, KindPlan, bad_value
from crdtsync.documents.slots import canonical
from crdtsync.documents.text import Text
from crdtsync.documents.version import Version, Versions
from crdtsync.errors import BadValue, Undecided, UnknownField, UsageError
from crdtsync.ids import RecordId

_KIND: Final = re.compile(r"[a-z][a-z0-9_]{0,62}")
_RESERVED: Final = frozenset(
    {
        "assign",
        "billing",
        "clinical",
        "conflicted",
        "conflicts",
        "damaged",
        "decided",
        "for_prescribing",
        "id",
        "indexes",
        "kind",
        "plan",
        "retracts",
        "unknown",
    }
)
_KINDS: Final[dict[str, type[Record]]] = {}
_EMPTY: Final = Content({}, {})
_VERSIONS: Final = (dict, list, tuple, BaseModel, Version, Versions)


class Reading:
    """What a record was read from, and what was assigned since: the other half of a record, not for applications.

    `in_the_way` is told of high conflicts of one field, and gives those that nobody has acknowledged, together with
    those between this record and others; None where the record was not read from a site.
    """

    __slots__ = ("assigned", "conflicts", "content", "damaged", "found", "in_the_way", "shown", "unknown")

    def __init__(self, content: Content = _EMPTY) -> None:
        self.content = content
        self.assigned: set[str] = set()
        self.shown: Mapping[str, Any] = {}
        self.conflicts: dict[str, list[Any]] = {}
        self.unknown: dict[str, list[Any]] = {}
        self.damaged = ""
        self.found: Sequence[FieldConflict] = ()
        self.in_the_way: Callable[[Sequence[str]], Sequence[str]] | None = None


class Record(BaseModel):
    """The base of all kinds. Subclasses name theirs: `class Patient(Record, kind="patient")`.

    A kind that sets `clinical` or `billing` refuses fields under `latest`. `indexes` names columns to be indexed
    beside the links to other records. `retracts` names, per field, the values by which a record does not count any
    more: many of those in a short time are a mass change, which the brake holds.
    """

    model_config: ClassVar[ConfigDict] = ConfigDict(extra="forbid", defer_build=True, validate_default=False)
    kind: ClassVar[str] = ""
    clinical: ClassVar[bool] = False
    billing: ClassVar[bool] = False
    indexes: ClassVar[tuple[str, ...]] = ()
    retracts: ClassVar[Mapping[str, tuple[Any, ...]]] = {
        "archived": (True,),
        "entered_in_error": (True,),
        "retracted": (True,),
        "status": ("cancelled", "entered_in_error"),
        "verification": ("entered_in_error", "refuted"),
    }

    source: Any = register(severity="low")

    _id: RecordId = PrivateAttr(default=RecordId(""))
    _reading: Reading = PrivateAttr(default_factory=Reading)

    def __init__(self, /, **values: Any) -> None:
        """A new record. Raises UnknownField, or BadValue for a value that its field refuses."""
        try:
            super().__init__(**values)
        except ValidationError as error:
            raise self._refusal(error) from None
        plan = self.plan()
        for name in self.model_fields_set:
            field = plan.fields[name]
            if not field.handle and self.__dict__[name] is None and field.default is not None:
                self.__dict__[name] = field.default
            elif not field.handle:
                field.check(self.__dict__[name])
        self._bind()
        self._reading.assigned = {name for name in self.model_fields_set if not plan.fields[name].handle}

    @classmethod
    def as_read(cls, record: RecordId, reading: Reading, values: dict[str, Any]) -> Record:
        """A record of values that were checked one by one: what `read` makes. In a third of pydantic's own time."""
        made: Record = cls.__new__(cls)
        if len(cls.__private_attributes__) > 2:
            made = cls.model_construct(**values)
            made._id = record
            made._reading = reading
        else:
            object.__setattr__(made, "__dict__", values)
            object.__setattr__(made, "__pydantic_fields_set__", set(values))
            object.__setattr__(made, "__pydantic_extra__", None)
            object.__setattr__(made, "__pydantic_private__", {"_id": record, "_reading": reading})
        made._bind()
        return made

    @classmethod
    def _refusal(cls, error: ValidationError) -> Exception:
        first = error.errors(include_input=False, include_url=False, include_context=False)[0]
        name = str(first["loc"][0]) if first["loc"] else ""
        if first["type"] == "extra_forbidden" and len(first["loc"]) == 1:
            return UnknownField(f"{cls.kind} has no field {name!r}; its fields are {', '.join(cls.model_fields)}")
        return bad_value(cls.kind, name, error)

    def __init_subclass__(cls, *, kind: str = "", **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)

    @classmethod
    def __pydantic_init_subclass__(cls, *, kind: str = "", **kwargs: Any) -> None:
        super().__pydantic_init_subclass__(**kwargs)
        if not kind:
            return
        if not _KIND.fullmatch(kind):
            raise UsageError(f"a kind is named by lower-case letters, digits and underscores: {kind!r} is not")
        if kind == "person":
            raise UsageError("no kind is named 'person': SQL has a view of this name, of linked patients; name it else")
        other = _KINDS.get(kind)
        if other is not None and (other.__module__, other.__qualname__) != (cls.__module__, cls.__qualname__):
            raise UsageError(f"the kind {kind!r} is declared by {other.__module__}.{other.__qualname__} already")
        reserved = _RESERVED.intersection(cls.model_fields)
        if reserved:
            raise UsageError(f"{kind}: a field must not be named {min(reserved)!r}; records use that name themselves")
        if not cls.__pydantic_fields_complete__:
            raise UsageError(f"{kind}: the types of all fields must be known where the class is defined; import them")
        cls.kind = kind
        cls.plan()
        cls._refuse_loss(kind)
        _keep(kind, cls)

    @classmethod
    def _refuse_loss(cls, kind: str) -> None:
        """Refuse `latest` where it would harm somebody: in clinical and billing kinds, and for such values."""
        for name, field in cls.plan().fields.items():
            of_kind = "clinical" if cls.clinical else "billing" if cls.billing else ""
            careful = of_kind or field.careful
            if field.rule.name == "latest" and careful:
                what = f"{kind} is a {careful} kind" if of_kind else f"its type is a {careful} one"
                raise UsageError(
                    f"{kind}.{name}: `latest` drops one of two values without a word, and {what}; declare the field "
                    "with register(), which keeps both for a person to decide, or with another rule, or move it into "
                    "a kind of its own"
                )

    @classmethod
    def plan(cls) -> KindPlan:
        """What this class declares, worked out once."""
        made = cls.__dict__.get("_kind_plan")
        if not isinstance(made, KindPlan):
            made = KindPlan(cls.kind, cls)
            type.__setattr__(cls, "_kind_plan", made)
        return made

    @property
    def id(self) -> RecordId:
        """The record's id; empty until it is added to a transaction, unless it was set before."""
        return self._id

    @id.setter
    def id(self, value: RecordId) -> None:
        if not isinstance(value, str) or not 0 < len(value) <= 64:
            raise BadValue(f"{self.kind}: an id has 1 to 64 characters")
        self._id = value

    @property
    def conflicts(self) -> dict[str, list[Any]]:
        """Every value of each field in conflict, as it was read, the one that the field shows in front.

        None stands for cleared or removed. Values that this version cannot hold are plain JSON.
        """
        return self._reading.conflicts

    @property
    def unknown(self) -> dict[str, list[Any]]:
        """JSON values of fields that this version does not know, and of fields that it cannot hold. All are kept."""
        return self._reading.unknown

    @property
    def damaged(self) -> str:
        """Why the record is not whole: a change to it could not be applied, and a person must enter anew what is
        missing. Empty when it is whole (L6)."""
        return self._reading.damaged

    def decided(self, field: str) -> Any:
        """The one value of a field. Raises Undecided when it is in conflict and has no cautious value among its values,
        or holds a value of a newer version; UnknownField."""
        plan = self.plan().field(field)
        if field in self._reading.assigned:
            return getattr(self, field)
        values = self._reading.conflicts.get(field)
        if values is not None:
            if plan.rule.has_cautious and len(values) > 1:
                cautious = canonical(plan.rule.cautious)
                found = [value for value in values if value is not None and canonical(plan.to_json(value)) == cautious]
                if found:
                    return found[0]
            raise Undecided(f"{self.kind}.{field} has several values; a person must decide: resolve the conflict first")
        if field in self._reading.unknown:
            raise Undecided(f"{self.kind}.{field} holds a value of a newer version of this program; update first")
        return getattr(self, field)

    def for_prescribing(self, field: str) -> Any:
        """The value of a field that somebody is about to act on, such as the dosage of a prescription.

        While a conflict of high severity touches the field, or stands between this record and others, it must have been
        acknowledged: then this is the value that a reader sees first. Raises Undecided otherwise, and for a value of a
        newer version; UnknownField. Acknowledgements are looked up now; conflicts within the record are those read.
        """
        self.plan().field(field)
        if field in self._reading.assigned:
            return getattr(self, field)
        reading = self._reading
        own = [each.id for each in reading.found if each.severity == "high" and field in each.fields]
        standing = own if reading.in_the_way is None else reading.in_the_way(own)
        if standing:
            raise Undecided(
                f"{self.kind}.{field} of {self.id} must not be prescribed from: conflict {standing[0]} is open. "
                f"Look at it (`conflicts show`), then resolve it, or acknowledge({standing[0]!r}, author=…) it."
            )
        if field in reading.unknown:
            raise Undecided(f"{self.kind}.{field} holds a value of a newer version of this program; update first")
        return getattr(self, field)

    def assign(self, field: str, value: Any) -> None:
        """Set a field; None clears it. The same as `record.field = value`.

        Entries: a list replaces what is shown (`append_only`: what is not there is added). Text: the text is made this
        one by the fewest changes. Versions: a version, or each of a list that is not there, is added. Counter: what is
        missing to this number is added. In a conflict the assignment decides it. Raises UnknownField, or BadValue with
        what is expected.
        """
        plan = self.plan().field(field)
        if plan.handle:
            self._assign_handle(plan, value)
            return
        if value is None:
            value = plan.default
        if value is not None:
            value = self._validated(plan, value)
        plain = None if value is None else plan.to_json(value)
        if self._stands(plan, plain):
            self._reading.assigned.discard(field)
        else:
            self._refuse_second(plan, plain)
            self._reading.assigned.add(field)
        self.__dict__[field] = value
        self.__pydantic_fields_set__.add(field)

    def _validated(self, plan: FieldPlan, value: Any) -> Any:
        """A value under the field's type and under the validators of the class."""
        before = self.__dict__.get(plan.name)
        checked = plan.check(value, lambda: self._known(plan))
        decorators = type(self).__pydantic_decorators__
        if not decorators.field_validators and not decorators.model_validators:
            return checked
        try:
            self.__pydantic_validator__.validate_assignment(self, plan.name, checked)
            return self.__dict__[plan.name]
        except ValidationError as error:
            raise bad_value(self.kind, plan.name, error) from None
        finally:
            self.__dict__[plan.name] = before

    def _known(self, plan: FieldPlan) -> Iterator[Any]:
        """JSON values of a field as read: the one shown, and those in conflict."""
        yield self._reading.shown.get(plan.name)
        for value in self._reading.conflicts.get(plan.name, ()):
            yield None if value is None else plan.to_json(value)

    def _stands(self, plan: FieldPlan, plain: Any) -> bool:
        """Whether the document says just this already, without a conflict."""
        reading = self._reading
        if plan.name in reading.conflicts or plan.name in reading.unknown:
            return False
        shown = reading.shown.get(plan.name)
        if plan.name not in reading.shown:
            shown = plan.default
        return bool(canonical(shown) == canonical(plain))

    def _refuse_second(self, plan: FieldPlan, plain: Any) -> None:
        if plan.rule.name != "once":
            return
        held = [canonical(value) for value in self._known(plan) if value is not None]
        if held and canonical(plain) not in held:
            raise BadValue(f"{self.kind}.{plan.name} is written once and set already; make a new record instead")

    def _assign_handle(self, plan: FieldPlan, value: Any) -> None:
        held = self.__dict__[plan.name]
        if value is held:
            return
        if isinstance(held, Text):
            held.replace("" if value is None else str(value) if isinstance(value, Text) else value)
        elif isinstance(held, Versions | Counter):
            self._assign_checked(plan, held, value)
        elif value is None or isinstance(value, list | tuple | Entries):
            held.replace(value or ())
        else:
            raise BadValue(f"{self.kind}.{plan.name}: expected a list of entries")

    def _assign_checked(self, plan: FieldPlan, held: Versions[Any] | Counter, value: Any) -> None:
        if isinstance(held, Versions) and value is not None and not isinstance(value, _VERSIONS):
            raise BadValue(f"{self.kind}.{plan.name}: expected a version, or a list of versions")
        held.assign(value)

    def _bind(self) -> None:
        for plan in self.plan().keyed:
            self.__dict__[plan.name].bind(plan.check, plan.to_json, plan.rule)

    if not TYPE_CHECKING:  # a type checker keeps to the declared fields

        def __setattr__(self, name: str, value: Any) -> None:
            if name in type(self).model_fields:
                self.assign(name, value)
            elif name.startswith("_") or name == "id":
                super().__setattr__(name, value)
            else:
                self.plan().field(name)
                raise UnknownField(f"{self.kind}.{name} cannot be set")

    def __eq__(self, other: object) -> bool:
        """Same kind, same id, same values."""
        if not isinstance(other, Record):
            return NotImplemented
        return type(self) is type(other) and self.id == other.id and self.__dict__ == other.__dict__

    __hash__ = None  # type: ignore[assignment]  # it changes in place, as a list does


class UnknownRecord:
    """A record of a kind that no model declares: everything in it is kept, shown as JSON, and cannot be edited here."""

    def __init__(self, kind: str, record: RecordId, fields: dict[str, Any], conflicts: dict[str, list[Any]]) -> None:
        self.kind = kind
        self.id = record
        self.fields = fields
        self.conflicts = conflicts
        self.unknown: dict[str, list[Any]] = {}
        self.damaged = ""

    def __repr__(self) -> str:
        return f"UnknownRecord(kind={self.kind!r}, id={self.id!r})"


def _keep(kind: str, model: type[Record]) -> None:
    """From now on this class is the kind's. Where there was one, it only adds to that. Raises UsageError."""
    other = _KINDS.get(kind)
    reason = "" if other is None else refusal(kind, declared(other.plan()), declared(model.plan()))
    if reason:
        raise UsageError(reason)
    _KINDS[kind] = model


def kinds() -> dict[str, type[Record]]:
    """All kinds that imported modules declare. The mapping itself, for reading."""
    return _KINDS


def model_of(kind: str) -> type[Record] | None:
    """The class that declares a kind, or None."""
    return _KINDS.get(kind)
