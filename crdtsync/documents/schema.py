"""What a kind's class declares, worked out once: its fields, their rules, and how values turn into JSON and columns."""

from __future__ import annotations

import datetime
import types
from collections.abc import Callable, Iterator, Mapping
from functools import cached_property
from typing import Annotated, Any, ClassVar, Final, Literal, NewType, Union, cast, get_args, get_origin

from pydantic import AfterValidator, AwareDatetime, BaseModel, ConfigDict, TypeAdapter, ValidationError
from pydantic.fields import FieldInfo

from crdtsync.documents.count import Counter
from crdtsync.documents.entries import Entries, entry_type
from crdtsync.documents.merge import ENTRY_RULES, Rule
from crdtsync.documents.slots import canonical, too_deep
from crdtsync.documents.text import Text
from crdtsync.documents.version import RESERVED, Version, Versions
from crdtsync.errors import BadValue, UnknownField, UsageError
from crdtsync.ids import RecordId

LINK_CHARACTERS_MAX: Final = 64
REGISTER: Final = Rule("register")


def _link(value: RecordId) -> RecordId:
    if not 0 < len(value) <= LINK_CHARACTERS_MAX:
        raise ValueError(f"expected a record's id of at most {LINK_CHARACTERS_MAX} characters")
    return value


Link = Annotated[RecordId, AfterValidator(_link)]
"""The type of a field that names another record."""


class Value(BaseModel):
    """The base of small values that move as one: an address, a dosage, a slot in a calendar.

    Frozen: change one with `record.address = record.address.model_copy(update={"city": "Gera"})`. Parts that a newer
    version of the program added are kept when a value is read, changed and written back.

    A class that sets `clinical` or `billing` is refused as the type of a field under `latest`, in every kind.
    """

    clinical: ClassVar[bool] = False
    billing: ClassVar[bool] = False
    model_config: ClassVar[ConfigDict] = ConfigDict(frozen=True, extra="allow", defer_build=True)


class FieldPlan:
    """One field of a kind: its rule, its type, and the ways of its values."""

    def __init__(self, kind: str, name: str, info: FieldInfo) -> None:
        self.kind: Final = kind
        self.name: Final = name
        self.rule: Final = next((item for item in info.metadata if isinstance(item, Rule)), REGISTER)
        self.annotation: Final = info.annotation
        self.constraints: Final = tuple(item for item in info.metadata if not isinstance(item, Rule))
        self.entries: Final = self.rule.name in ENTRY_RULES
        self.versions: Final = self.rule.name == "versions"
        self.handle: Final = self.rule.keyed or self.rule.name in ("text", "counter")
        self.inner: Final = self._inner_type()
        self.base: Final = base_type(self.inner)
        self.is_any: Final = self.base is Any or self.base is object
        self.model: Final = self.base if isinstance(self.base, type) and issubclass(self.base, BaseModel) else None
        self.as_written: Final = self.rule.name == "text" or is_written(self.base)
        self._exact: Final = self._exact_type()
        self._check_declaration()

    def _inner_type(self) -> Any:
        """What one value is: of an entry, of a version, of a counter's sum, else of the field."""
        if self.rule.keyed:
            return entry_type(self.annotation)
        return int if self.rule.name == "counter" else self.annotation

    def _exact_type(self) -> Any:
        """The plain type whose values need no checking and are JSON as they stand; None when there is none."""
        plain = self.base if self.base in (str, int, bool) else None
        constrained = self.constraints and not self.rule.keyed
        return None if plain is None or constrained or self.inner not in (plain, plain | None) else plain

    def _check_declaration(self) -> None:
        where = f"{self.kind}.{self.name}"
        held = get_origin(self.annotation) or self.annotation
        if self.entries and held is not Entries:
            raise UsageError(f"{where}: declare a field of entries as Entries[T]")
        if self.versions and (held is not Versions or self.model is None or RESERVED & self.model.model_fields.keys()):
            raise UsageError(f"{where}: declare versions as Versions[T], T being a Value without parts id and parents")
        if self.rule.name == "counter" and held is not Counter:
            raise UsageError(f"{where}: declare a counter as Counter")
        if self.rule.name == "text" and held is not Text:
            raise UsageError(f"{where}: declare a field of text as Text")
        if self.rule.name.startswith("flag") and held is not bool:
            raise UsageError(f"{where}: declare a flag as bool")
        if self.rule.mark and not self._takes_marks():
            raise UsageError(
                f"{where}: entries that are never removed are a Value with a part {self.rule.mark!r} that may be None "
                f"or {' or '.join(self.rule.marks)}; name another part with never_removed(mark=...)"
            )
        if self.rule.has_cautious and not self._takes(self.adapter, self.rule.cautious):
            raise UsageError(f"{where}: the cautious value is none that the field takes; it is compared as JSON")

    def _takes_marks(self) -> bool:
        part = None if self.model is None else self.model.model_fields.get(self.rule.mark)
        if part is None or not self.rule.marks:
            return False
        adapter: TypeAdapter[Any] = TypeAdapter(cast(Any, part.annotation))
        return all(self._takes(adapter, word) for word in (None, *self.rule.marks))

    @staticmethod
    def _takes(adapter: TypeAdapter[Any], value: Any) -> bool:
        try:
            adapter.validate_python(value)
        except ValidationError:
            return False
        return True

    @cached_property
    def adapter(self) -> TypeAdapter[Any]:
        """Checks values of the field (of one entry, where the field has entries) and turns them into JSON."""
        annotation: Any = self.inner
        if self.constraints and not self.rule.keyed:
            annotation = Annotated[(annotation, *self.constraints)]
        return TypeAdapter(annotation)

    @property
    def careful(self) -> str:
        """`clinical` or `billing` where the type of the field says so, else empty."""
        for word in ("clinical", "billing"):
            if self.model is not None and getattr(self.model, word, False):
                return word
        return ""

    @property
    def default(self) -> Any:
        """What the field shows when nothing is set; handles (entries, texts) are made anew."""
        return False if self.rule.name in ("flag_on_wins", "flag_off_wins") else None

    def to_json(self, value: Any) -> Any:
        """A checked value as JSON. A whole `Version` has `id` and `parents` beside its parts."""
        if self.is_any or type(value) is self._exact:
            return value
        if type(value) is Version:
            plain = self.adapter.dump_python(value.value, mode="json", exclude_none=True)
            return {"id": value.id, "parents": list(value.parents), **plain}
        return self.adapter.dump_python(value, mode="json", exclude_none=True)

    def version_from_json(self, value: Mapping[str, Any]) -> Version[Any]:
        """A version as `find_versions` gives it. Raises ValidationError like `from_json`."""
        content = {name: part for name, part in value.items() if name not in RESERVED}
        return Version(value["id"], tuple(value["parents"]), self.adapter.validate_python(content))

    def from_json(self, value: Any) -> Any:
        """A value as a document holds it. Raises ValidationError for what this version of the program cannot hold."""
        if self.is_any or type(value) is self._exact:
            return value
        return self.adapter.validate_python(value)

    def check(self, value: Any, known: Callable[[], Iterator[Any]] | None = None) -> Any:
        """A value that somebody assigns, or one entry. Raises BadValue with a sentence that never carries content.

        `known` are JSON values of the field as read: parts that this version does not know may be taken over from
        them, and are refused otherwise.
        """
        try:
            if self.is_any and isinstance(value, BaseModel):
                value = value.model_dump(mode="json", exclude_none=True)
            checked = self.from_json(value)
            unfit = self._unfit(checked, known)
        except ValidationError as error:
            raise bad_value(self.kind, self.name, error) from None
        if unfit:
            raise BadValue(f"{self.kind}.{self.name}: {unfit}")
        return checked

    def _unfit(self, checked: Any, known: Callable[[], Iterator[Any]] | None) -> str | None:
        try:
            plain = self.to_json(checked)
            canonical(plain).encode()
        except UnicodeEncodeError:
            return "half of a surrogate pair is no character; mend the encoding at its origin"
        except (TypeError, ValueError, RecursionError):
            return "expected a JSON value: text, numbers, true, false, null, lists, and objects with text as names"
        if too_deep(plain):
            return "nested too deeply; keep such content as text or as a file"
        if self.model is not None:
            allowed = {name for value in known() if isinstance(value, dict) for name in value} if known else set()
            extra = sorted(set(checked.model_extra or ()) - allowed) if isinstance(checked, BaseModel) else []
            if extra:
                return f"has no part named {extra[0]}; its parts are {', '.join(self.model.model_fields)}"
        return None


class KindPlan:
    """All fields of a kind."""

    def __init__(self, kind: str, model: type[BaseModel]) -> None:
        self.kind: Final = kind
        self.model: Final = model
        self.fields: Final = {name: FieldPlan(kind, name, info) for name, info in model.model_fields.items()}
        self.rules: Final[Mapping[str, Rule]] = {name: plan.rule for name, plan in self.fields.items()}
        self.severities: Final = {name: plan.rule.severity for name, plan in self.fields.items()}
        self.keyed: Final = tuple(plan for plan in self.fields.values() if plan.rule.keyed)
        groups: dict[str, list[str]] = {}
        for name, plan in self.fields.items():
            if plan.rule.group is not None:
                groups.setdefault(plan.rule.group, []).append(name)
        self.groups: Final = {name: tuple(members) for name, members in groups.items()}

    def field(self, name: str) -> FieldPlan:
        """A field by name. Raises UnknownField with the names that there are."""
        plan = self.fields.get(name)
        if plan is None:
            raise UnknownField(f"{self.kind} has no field {name!r}; its fields are {', '.join(self.fields)}")
        return plan


def base_type(annotation: Any) -> Any:
    """A type without `| None`, `Annotated` and NewType around it; RecordId stays itself; unions of several are Any."""
    origin = get_origin(annotation)
    if origin is Annotated:
        return base_type(get_args(annotation)[0])
    if origin in (Union, types.UnionType):
        inner = [arm for arm in get_args(annotation) if arm is not type(None)]
        return base_type(inner[0]) if len(inner) == 1 else Any
    if annotation is AwareDatetime:  # at run time a class of its own
        return datetime.datetime
    if isinstance(annotation, NewType) and annotation is not RecordId:
        return base_type(annotation.__supertype__)
    return annotation


def is_written(base: Any) -> bool:
    """Whether a command line takes values of this type as they are written, not as JSON."""
    if base is RecordId or base in (str, datetime.date, datetime.datetime, datetime.time):
        return True
    return get_origin(base) is Literal and all(isinstance(value, str) for value in get_args(base))


def bad_value(kind: str, field: str, error: ValidationError) -> BadValue:
    """A sentence of what was expected. It names places and rules, never what was given."""
    first = error.errors(include_input=False, include_url=False, include_context=False)[0]
    place = ".".join(str(part) for part in first["loc"] if isinstance(part, int | str))
    where = f"{kind}.{field}" + (f" ({place})" if place and place != field else "")
    sentence = first["msg"].removeprefix("Value error, ")
    return BadValue(f"{where}: {sentence[:1].lower()}{sentence[1:]}")
