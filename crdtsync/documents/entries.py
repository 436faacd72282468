"""The value of an `entries` field: a keyed set of small entries, edited in place."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Generic, TypeVar, get_args

from pydantic import GetCoreSchemaHandler
from pydantic_core import core_schema

from crdtsync import limits
from crdtsync.documents.slots import canonical
from crdtsync.documents.text import checked
from crdtsync.errors import BadValue
from crdtsync.ids import base32

T = TypeVar("T")
_PENDING = "\x00"


class Entries(Generic[T]):
    """Entries of one field, in the order in which they were added.

    Adding survives whatever others do unseen; removing takes away what was seen here. Edits are kept until the
    transaction commits. A new entry's key is drawn then, unless it was given or follows from the value.
    """

    __slots__ = ("_by_value", "_check", "_edits", "_shown", "_to_json")

    def __init__(self, values: Iterable[T] = ()) -> None:
        """New entries. Their values are checked when the field of a record takes them."""
        self._shown: dict[str, T] = {}
        self._edits: dict[str, T | None] = {}
        self._check: Callable[[Any], T] | None = None
        self._to_json: Callable[[T], Any] | None = None
        self._by_value = False
        for value in values:
            self.add(value)

    def bind(self, check: Callable[[Any], T], to_json: Callable[[T], Any], by_value: bool) -> None:
        """Tie the entries to a record's field: from now on values are checked. Raises BadValue for what it refuses."""
        if self._check is not None:
            return
        given, edited, self._shown = self._shown, self._edits, {}
        self._edits, self._check, self._to_json, self._by_value = {}, check, to_json, by_value
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
        """Add an entry. By value: nothing happens when it is there. Raises BadValue for a value or key refused."""
        value = self._checked(value)
        if self._by_value and self._to_json is not None:
            key = value_key(self._to_json(value))
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
        if self._by_value or key not in self._shown:
            raise BadValue("entries: there is no entry under this key that could be changed; remove and add instead")
        value = self._checked(value)
        if self._text(value) != self._text(self._shown[key]):
            self._shown[key] = self._edits[key] = value

    def remove(self, entry: str | T) -> None:
        """Remove the entry under this key, or else all entries of this value. Raises BadValue when there is none."""
        if isinstance(entry, str) and entry in self._shown:
            found = [entry]
        else:
            found = [key for key, value in self._shown.items() if value == entry]
        if not found:
            raise BadValue("entries: there is no such entry to remove; look at items() for those that are there")
        for key in found:
            del self._shown[key]
            self._edits[key] = None

    def replace(self, values: Iterable[T]) -> None:
        """Make these the entries: those of equal value stay as they are, the rest is removed and added."""
        wanted = [self._checked(value) for value in values]
        texts = [self._text(value) for value in wanted]
        for key, value in list(self._shown.items()):
            text = self._text(value)
            if text in texts:
                del wanted[texts.index(text)]
                texts.remove(text)
            else:
                self.remove(key)
        for value in wanted:
            self.add(value)

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
        return self._check(value)

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


def value_key(value: Any) -> str:
    """The key of an entry that is its value."""
    return base32(hashlib.sha256(canonical(value).encode()).digest()[:10])


def entry_type(annotation: Any) -> Any:
    """`T` of `Entries[T]`."""
    arguments = get_args(annotation)
    return arguments[0] if arguments else Any


def entry_rank(key: str) -> tuple[int, str]:
    """Entries with keys of their own stand in the order in which they were added: by ordinal, then by key."""
    ordinal, dash, _ = key.partition("-")
    return (int(ordinal), key) if dash and ordinal.isdecimal() and len(ordinal) < 10 else (2**31, key)
