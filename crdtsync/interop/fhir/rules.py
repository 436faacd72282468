"""The parts of which the mapping of a resource type is made."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from crdtsync.documents import Record
from crdtsync.interop.fhir.codecs import Codec
from crdtsync.interop.fhir.elements import Step

Resource = Mapping[str, Any]
Look = Callable[[Any, str], Resource | None]
"""The resource that a reference names, if the bundle holds it: `look(reference, expected type)`."""


@dataclass(frozen=True)
class Element:
    """An element that is a field (`status`) or a part of a field's value (`content.drug.name`).

    Where the resource has something at `unless`, the element does not mean what it says alone, and is no field.
    """

    path: tuple[Step, ...]
    field: str
    codec: Codec
    unless: tuple[Step, ...] = ()


@dataclass(frozen=True)
class Link:
    """A reference that is a link to the record which a resource of the type `expected` becomes."""

    path: tuple[Step, ...]
    field: str
    expected: str


@dataclass(frozen=True)
class Links:
    """A list of references that is a field of links to records; `source` keeps the list, with what it says besides."""

    path: tuple[Step, ...]
    field: str
    expected: str


@dataclass(frozen=True)
class Shown:
    """A value that several elements say together, or one of them in other words; `source` keeps the elements."""

    field: str
    read: Callable[[Resource, Look], Any]


@dataclass(frozen=True)
class TypeMap:
    """How a resource type becomes a kind of record. A field that one rule has set is left alone by those after it.

    `happened` is false for a resource which says that something was not so, or is not to be done, where the kind has no
    word for that: no record may claim the opposite.
    """

    resource_type: str
    model: type[Record]
    rules: tuple[Element | Link | Links | Shown, ...]
    happened: Callable[[Resource], bool] = lambda _: True
