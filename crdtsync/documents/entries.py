"""The value of an `entries` field: a keyed set of small entries, edited in place.

Fields under `never_removed` and `append_only` hold entries too, which take fewer edits.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, Generic, TypeVar, cast, get_args

from pydantic import GetCoreSchemaHandler
from pydantic_core import core_schema

from crdtsync import limits
from crdtsync.documents.merge import Rule, is_marked
from crdtsync.documents.slots import canonical
from crdtsync.documents.text import checked
from crdtsync.errors import BadValue
from crdtsync.ids import base32

T = TypeVar("T")
Known = Callable[[], Iterator[Any]]
_PENDING = "\x00"
_PLAIN = Rule("entries")


class Entries(Generic[T]):
    """Entries of one field, in the order in which they were added.

    Adding survives whatever others do unseen; removing takes away what was seen here. Edits are kept until the
    transaction commits. A new entry's key is drawn then, unless it was given or follows from the value.

    Under `append_only` entries are only added; under `never_removed` they are added, changed and marked.
    """

    __slots__ = ("_check", "_edits", "_rule", "_shown", "_to_json")

    def __init__(self, values: Iterable[T] = ()) -> None:
        """New entries. Their values are checked when the field of a record takes them."""
        self._shown: dict[str, T] = {}
        self._edits: dict[str, T | None] = {}
        self._check: Callable[[Any, Known], T] | None = None
        self._to_json: Callable[[T], Any] | None = None
        self._rule = _PLAIN
        for value in values:
            self.add(value)

    def bind(self, check: Callable[[Any, Known], T], to_json: Callable[[T], Any], rule: Rule) -> None:
        """Tie the entries to a record's field: from now on values are checked. Raises BadValue for what it refuses.

        `check` is given a value, and whom to ask for the JSON of all that is shown (`FieldPlan.check`).
        """
        if self._check is not None:
            return
        given, edited, self._shown = self._shown, self._edits, {}
        self._edits, self._check, self._to_json, self._rule = {}, check, to_json, rule
        for key, value in given.items():
            if key in edited:
                self.add(value, key=None if key.startswith(_PENDING) else key)
            else:
                self._shown[key] = value

    @classmethod
    def as_read(cls, shown: dict[str, T]) -> Entries[T]:
        """The entries as a document holds them, by key."""
        made = cls()
        made._shown = shown
        return made

    def add(self, value: T, *, key: str | None = None) -> None:
        """Add an entry. By value, and under `append_only`: nothing happens when it is there. Raises BadValue for a
        value or key that is refused."""
        value = self._checked(value)
        if self._rule.by_value and self._to_json is not None:
            key = value_key(self._to_json(value), self._rule.by)
            if key in self._shown:
                return
        if key is None:
            key = f"{_PENDING}{len(self._edits)}"
        elif not 0 < len(checked(key)) <= limits.entry_key_characters_max or key.startswith(_PENDING):
            raise BadValue(f"entries: a key has 1 to {limits.entry_key_characters_max} characters")
        self._shown[key] = value
        self._edits[key] = value

    def change(self, key: str, value: T) -> None:
        """Put another value in the place of an entry. Raises BadValue for an unknown key, or for entries by value."""
        if self._rule.name == "append_only":
            raise BadValue("append_only: what was added stays as it is; add an entry that corrects it")
        if self._rule.by_value or key not in self._shown:
            raise BadValue("entries: there is no entry under this key that could be changed; remove and add instead")
        value = self._checked(value)
        if self._text(value) != self._text(self._shown[key]):
            self._shown[key] = self._edits[key] = value

    def remove(self, entry: str | T) -> None:
        """Remove the entry under this key, or else all entries of this value.

        Raises BadValue when there is none, and under rules by which entries stay.
        """
        if self._rule.name == "append_only":
            raise BadValue("append_only: what was added stays; add an entry that corrects it")
        if self._rule.name == "never_removed":
            raise BadValue(f"never_removed: an entry stays; mark it instead, as in {self._marking()}")
        for key in self._found(entry):
            del self._shown[key]
            self._edits[key] = None

    def mark(self, entry: str | T, word: str) -> None:
        """Say of the entry under this key, or else of all entries of this value, that it does not hold: `refuted` or
        `entered_in_error`, or as the field declares. Raises BadValue when there is none, or for another word.
        """
        rule = self._rule
        if word not in rule.marks:
            marks = " or ".join(rule.marks) or "none, since only entries under never_removed are marked"
            raise BadValue(f"entries: this is no mark of this field; expected {marks}")
        for key in self._found(entry):
            self.change(key, cast(Any, self._shown[key]).model_copy(update={rule.mark: word}))

    def _found(self, entry: str | T) -> list[str]:
        if isinstance(entry, str) and entry in self._shown:
            return [entry]
        found = [key for key, value in self._shown.items() if value == entry]
        if not found:
            raise BadValue("entries: there is no such entry; look at items() for those that are there")
        return found

    def _marking(self) -> str:
        return f"mark(key, {self._rule.marks[0]!r})" if self._rule.marks else "mark(key, word)"

    def replace(self, values: Iterable[T]) -> None:
        """Make these the entries: those of equal value stay as they are, the rest is removed and added.

        Under `append_only` what is not there yet is added. Under `never_removed` an entry that differs by its mark
        alone is marked, and BadValue is raised where one is left out.
        """
        if self._rule.name == "append_only":
            for value in values:
                self.add(value)
            return
        wanted = [self._checked(value) for value in values]
        texts = [self._text(value) for value in wanted]
        left = []
        for key, value in list(self._shown.items()):
            text = self._text(value)
            if text in texts:
                del wanted[texts.index(text)]
                texts.remove(text)
            else:
                left.append(key)
        if left and self._rule.name == "never_removed":
            wanted = self._mark_all(left, wanted)
        else:
            for key in left:
                self.remove(key)
        for value in wanted:
            self.add(value)

    def _mark_all(self, left: list[str], wanted: list[T]) -> list[T]:
        """Find each entry that is left among those that are wanted with another mark; what remains is new."""
        wanted = list(wanted)
        changes = []
        for key in left:
            bare = self._unmarked(self._shown[key])
            found = next((value for value in wanted if self._unmarked(value) == bare), None)
            if found is None:
                raise BadValue(f"never_removed: an entry stays; name it too, or mark it as in {self._marking()}")
            wanted.remove(found)
            changes.append((key, found))
        for key, found in changes:
            self.change(key, found)
        return wanted

    def _unmarked(self, value: T) -> str:
        """The text of an entry but for its mark: an entry that holds may also say something in that part."""
        plain = self._json(value)
        return canonical({name: part for name, part in plain.items() if name != self._rule.mark})

    @property
    def holding(self) -> list[T]:
        """The entries that are not marked as refuted or entered in error."""
        return [value for value in self._shown.values() if not is_marked(self._rule, self._json(value))]

    def items(self) -> list[tuple[str, T]]:
        """Keys and values. The key of an entry that was just added may be a passing one until the commit."""
        return list(self._shown.items())

    def edits(self, new_key: Callable[[], str], ordinal: int) -> list[tuple[str, Any]]:
        """What changed since reading: keys with their value as JSON, None for removed.

        New entries get keys that sort behind all others: `ordinal` counted up, and what `new_key` draws.
        """
        found: list[tuple[str, Any]] = []
        for key, value in self._edits.items():
            pending = key.startswith(_PENDING)
            if pending and value is None:
                continue
            if pending:
                key, ordinal = f"{ordinal:04}-{new_key()}", ordinal + 1
            found.append((key, None if value is None else self._json(value)))
        return found

    def json(self) -> list[Any]:
        """All values as JSON."""
        return [self._json(value) for value in self._shown.values()]

    def _checked(self, value: Any) -> T:
        if self._check is None:
            return value  # type: ignore[no-any-return]  # checked when a record takes the entries
        if value is None:
            raise BadValue("entries: an entry has a value; remove it to clear it")
        return self._check(value, self._known)

    def _known(self) -> Iterator[Any]:
        """What is shown, as JSON: parts that a newer version of the program wrote may be taken over from it."""
        yield from (self._json(value) for value in self._shown.values())

    def _json(self, value: T) -> Any:
        return value if self._to_json is None else self._to_json(value)

    def _text(self, value: T) -> str:
        return canonical(self._json(value))

    def __iter__(self) -> Iterator[T]:
        return iter(list(self._shown.values()))

    def __len__(self) -> int:
        return len(self._shown)

    def __contains__(self, value: object) -> bool:
        return any(value == held for held in self._shown.values())

    def __eq__(self, other: object) -> bool:
        return list(self) == list(other) if isinstance(other, Entries | list) else NotImplemented

    __hash__ = None  # type: ignore[assignment]  # it changes in place, as a list does

    def __repr__(self) -> str:
        return f"Entries({list(self)!r})"

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: GetCoreSchemaHandler) -> core_schema.CoreSchema:
        return core_schema.no_info_plain_validator_function(
            cls._accept, serialization=core_schema.plain_serializer_function_ser_schema(list)
        )

    @classmethod
    def _accept(cls, value: Any) -> Entries[Any]:
        if isinstance(value, Entries):
            return value
        if value is None or isinstance(value, list | tuple):
            return Entries(value or ())
        raise ValueError("expected a list of entries")


def value_key(value: Any, by: Sequence[str] = ()) -> str:
    """The key of an entry that is its value; one that has all parts in `by` is named by these."""
    if by and isinstance(value, dict) and all(value.get(part) is not None for part in by):
        value = {part: value[part] for part in by}
    return base32(hashlib.sha256(canonical(value).encode()).digest()[:10])


def entry_type(annotation: Any) -> Any:
    """`T` of `Entries[T]`."""
    arguments = get_args(annotation)
    return arguments[0] if arguments else Any


def entry_rank(key: str) -> tuple[int, str]:
    """Entries with keys of their own stand in the order in which they were added: by ordinal, then by key."""
    ordinal, dash, _ = key.partition("-")
    return (int(ordinal), key) if dash and ordinal.isdecimal() and len(ordinal) < 10 else (2**31, key)
