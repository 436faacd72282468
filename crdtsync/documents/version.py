"""The value of a `versions` field: frozen versions, each of which builds on those that its writer had seen.

A version's id is the hash of its content and of its parents' ids, so it cannot be changed, only be followed: what a
slot holds under another id than its own is no version, and is passed over at every site alike (L6). Two sites that
add the same version on the same parents have added one. The versions on which none builds are the *heads*; several of
them were added unseen by each other, and stay beside each other until a version builds on all.
"""

from __future__ import annotations

import hashlib
import heapq
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Generic, NamedTuple, TypeVar

from pydantic import GetCoreSchemaHandler
from pydantic_core import core_schema

from crdtsync.documents.merge import Rule, Survivor, survivors
from crdtsync.documents.slots import Item, canonical
from crdtsync.errors import BadValue, Undecided
from crdtsync.ids import base32

T = TypeVar("T")
RESERVED: Final = frozenset({"id", "parents"})
"""Names that the JSON of a version has beside the parts of its content."""
_DOMAIN: Final = b"crdtsync/version/1\n"


@dataclass(frozen=True, slots=True)
class Version(Generic[T]):
    """One frozen version: its id (26 characters), the ids of the versions it builds on, and what it says."""

    id: str
    parents: tuple[str, ...]
    value: T


class Versions(Generic[T]):
    """All versions of one field, each behind those that it builds on; `add` is the only edit.

    Iterating gives `Version` objects, oldest first. Edits are kept until the transaction commits.
    """

    __slots__ = ("_check", "_given", "_heads", "_new", "_shown", "_to_json")

    def __init__(self, values: Iterable[Any] = ()) -> None:
        """New versions, each building on the one before. They are checked when the field of a record takes them."""
        self._shown: dict[str, Version[T]] = {}
        self._heads: list[str] = []
        self._new: dict[str, Any] = {}
        self._given: list[Any] = list(values)
        self._check: Callable[[Any, Callable[[], Iterator[Any]]], T] | None = None
        self._to_json: Callable[[Any], Any] | None = None

    def bind(
        self, check: Callable[[Any, Callable[[], Iterator[Any]]], T], to_json: Callable[[Any], Any], rule: Rule
    ) -> None:
        """Tie the versions to a record's field, as `FieldPlan.check` checks it. Raises BadValue for what it refuses."""
        if self._check is None:
            self._check, self._to_json = check, to_json
            given, self._given = self._given, []
            self.assign(given)

    @classmethod
    def as_read(cls, shown: dict[str, Version[T]], heads: Sequence[str]) -> Versions[T]:
        """The versions as a document holds them, by id. `heads` may name some that this program cannot hold."""
        made = cls()
        made._shown = shown
        made._heads = list(heads)
        return made

    @property
    def heads(self) -> list[Version[T]]:
        """The versions on which no other builds, the newest first: one, unless several were added unseen."""
        return [self._shown[key] for key in self._heads if key in self._shown]

    @property
    def head(self) -> Version[T] | None:
        """The one version that stands now, None when there is none. Raises Undecided when several do."""
        if len(self._heads) > 1:
            raise Undecided("several versions were added unseen by each other; add one that builds on both of them")
        heads = self.heads
        if self._heads and not heads:
            raise Undecided("this version was written by a newer version of this program; update first")
        return heads[0] if heads else None

    def add(self, value: Any, *, parents: Iterable[str] | None = None) -> Version[T] | None:
        """Add a version that builds on `parents`, or on all heads. Nothing happens when the one head says just this.

        Returns the version; None as long as no record has taken these versions. Raises BadValue for a content that the
        field refuses, and for unknown parents.
        """
        if self._check is None or self._to_json is None:
            if parents is not None:
                raise BadValue("versions: give parents when the record exists")
            self._given.append(value)
            return None
        content = self._to_json(self._checked(value))
        if parents is None and len(self._heads) == 1 and self._heads[0] in self._shown:
            standing = self._shown[self._heads[0]]
            if canonical(self._to_json(standing.value)) == canonical(content):
                return standing
        return self._append(content, self._heads if parents is None else parents)

    def _append(self, content: Mapping[str, Any], parents: Iterable[str]) -> Version[T]:
        chosen = sorted(set(parents))
        if any(parent not in self._shown and parent not in self._heads for parent in chosen):
            raise BadValue("versions: there is no version with the id of this parent; look at those that are there")
        stored = {**content, "parents": chosen}
        key = version_id(stored)
        if key not in self._shown:
            self._new[key] = stored
            self._shown[key] = Version(key, tuple(chosen), self._checked(content))
            self._heads = [key, *(head for head in self._heads if head not in chosen)]
        return self._shown[key]

    def assign(self, value: Any) -> None:
        """Add one version, or each of a list that is not there yet; as JSON they may carry `id` and `parents`.

        One of several heads, given alone, is decided for: the same content is added again, on all heads. Raises
        BadValue for None, since versions stay, and for an id with another content.
        """
        if value is None:
            raise BadValue("versions: what was written stays; add a version that corrects it")
        if isinstance(value, Versions):
            value = [*value._given, *value]
        if isinstance(value, list | tuple):
            for each in value:
                self._take(each)
        elif not self._take(value) and len(self._heads) > 1:
            key = value.id if isinstance(value, Version) else value["id"]
            if key in self._heads:
                self.add(self._shown[key].value)

    def _take(self, value: Any) -> bool:
        """Add what is not there yet; False for a version that is."""
        if isinstance(value, Version):
            value = {"id": value.id, "parents": list(value.parents), **self._json(value.value)}
        if not isinstance(value, dict) or not RESERVED & value.keys() or self._check is None:
            self.add(value)
            return True
        content = {name: part for name, part in value.items() if name not in RESERVED}
        known = self._shown.get(value["id"]) if isinstance(value.get("id"), str) else None
        if known is not None:
            if content and canonical(self._json(self._checked(content))) != canonical(self._json(known.value)):
                raise BadValue("versions: a version is frozen; leave its id out to add another one")
            return False
        if "id" in value:
            raise BadValue("versions: there is no version with this id; leave it out to add one")
        parents = value["parents"]
        if not isinstance(parents, list) or not all(isinstance(parent, str) for parent in parents):
            raise BadValue("versions: parents is a list of the ids of versions")
        self.add(content, parents=parents)
        return True

    def edits(self) -> list[tuple[str, Any]]:
        """What was added since reading: ids, with what the slot is to hold."""
        return list(self._new.items())

    def json(self) -> list[dict[str, Any]]:
        """All versions as JSON: `{"id", "parents", …}` with the parts of the content beside."""
        return [self.flat(version) for version in self._shown.values()]

    def flat(self, version: Version[Any]) -> dict[str, Any]:
        """One version as JSON."""
        return {"id": version.id, "parents": list(version.parents), **self._json(version.value)}

    def _checked(self, value: Any) -> T:
        assert self._check is not None
        return self._check(value, self._known)

    def _known(self) -> Iterator[Any]:
        """What is shown, as JSON: parts that a newer version of the program wrote may be taken over from it."""
        yield from (self._json(version.value) for version in self._shown.values())

    def _json(self, value: Any) -> dict[str, Any]:
        plain = value if self._to_json is None else self._to_json(value)
        return dict(plain)

    def __iter__(self) -> Iterator[Version[T]]:
        return iter(list(self._shown.values()))

    def __len__(self) -> int:
        return len(self._shown) + len(self._given)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Versions):
            return NotImplemented
        return list(self) == list(other) and self._given == other._given

    __hash__ = None  # type: ignore[assignment]  # it changes in place, as a list does

    def __repr__(self) -> str:
        return f"Versions({[version.value for version in self]!r})"

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: GetCoreSchemaHandler) -> core_schema.CoreSchema:
        return core_schema.no_info_plain_validator_function(
            cls._accept, serialization=core_schema.plain_serializer_function_ser_schema(list)
        )

    @classmethod
    def _accept(cls, value: Any) -> Versions[Any]:
        if isinstance(value, Versions):
            return value
        if value is None or isinstance(value, list | tuple):
            return Versions(value or ())
        return Versions([value])


class Found(NamedTuple):
    """The versions that a document holds: as JSON with `id`, by id, each behind its parents, and the heads, the newest
    first."""

    shown: dict[str, dict[str, Any]]
    heads: tuple[Survivor, ...]


def version_id(stored: Mapping[str, Any]) -> str:
    """The id that a version has by what its slot holds: content and parents."""
    return base32(hashlib.sha256(_DOMAIN + canonical(stored).encode()).digest()[:16])


def find_versions(keyed: Mapping[str, Sequence[Item]]) -> Found:
    """The versions among the surviving writes of a field, by key. Total, and the same in any order (L5, L6)."""
    held: dict[str, Survivor] = {}
    since: dict[str, int] = {}
    for key, items in keyed.items():
        genuine = [item for item in items if _is_version(key, item.value)]
        if genuine:
            held[key] = survivors(genuine)[0]
            since[key] = min(item.stamp for item in genuine)
    parents = {key: [parent for parent in each.value["parents"] if parent in held] for key, each in held.items()}
    followed = {parent for each in parents.values() for parent in each}
    order = _parents_first(parents, since)
    shown = {key: {"id": key, **held[key].value} for key in order}
    heads = [held[key]._replace(value=shown[key]) for key in order if key not in followed]
    heads.sort(key=lambda head: (-head.stamp, head.value["id"]))
    return Found(shown, tuple(heads))


def _is_version(key: str, value: Any) -> bool:
    if type(value) is not dict or "id" in value:
        return False
    parents = value.get("parents")
    if type(parents) is not list or not all(type(parent) is str for parent in parents):
        return False
    return version_id(value) == key


def _parents_first(parents: Mapping[str, Sequence[str]], since: Mapping[str, int]) -> list[str]:
    """Versions behind their parents, else by age. An id is a hash over those of the parents, so there is no circle."""
    missing = {key: len(set(above)) for key, above in parents.items()}
    below: dict[str, list[str]] = {}
    for key, above in parents.items():
        for parent in set(above):
            below.setdefault(parent, []).append(key)
    ready = [(since[key], key) for key, count in missing.items() if not count]
    heapq.heapify(ready)
    found = []
    while ready:
        _, key = heapq.heappop(ready)
        found.append(key)
        for child in below.get(key, ()):
            missing[child] -= 1
            if not missing[child]:
                heapq.heappush(ready, (since[child], child))
    return found
