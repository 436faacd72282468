"""Who is who in a bundle: the ids that records get, and the references between resources.

A resource that is imported twice, or at two sites apart, becomes the same record because its record id is derived from
its source: resource type, the server that its full URL names ("" for `urn:uuid:`), and its id there. Only what has no
id of its own is named by its content; a second copy with equal content in one bundle is counted on, so that two equal
readings stay two.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from crdtsync.ids import RecordId, record_id_from
from crdtsync.interop.fhir.elements import plain

_REST_URL = re.compile(
    r"(?:(?P<base>https?://.+)/)?(?P<type>[A-Z][A-Za-z]+)/(?P<id>[A-Za-z0-9.\-]{1,64})(?:/_history/.+)?"
)
_URN = re.compile(r"urn:(?:uuid|oid):(?P<id>.+)")


@dataclass(frozen=True)
class SourceKey:
    """What names a resource at its source."""

    resource_type: str
    system: str
    id: str

    @property
    def record(self) -> RecordId:
        """The record id that every site derives for this resource."""
        return record_id_from("fhir", self.resource_type, self.system, self.id)


class References:
    """The resources of one bundle by their names.

    `add` takes the entries in the bundle's order; afterwards `target`, `record` and `resource` answer for references
    which stand in an entry with the full URL `url`.
    """

    def __init__(self) -> None:
        self._by_url: dict[str, tuple[SourceKey, Mapping[str, Any]]] = {}
        self._by_key: dict[SourceKey, Mapping[str, Any]] = {}
        self._copies: Counter[tuple[str, str]] = Counter()

    def add(self, url: str, resource: Mapping[str, Any]) -> SourceKey:
        """Learn a resource, and name it."""
        key = self._key(url, resource)
        if url:
            self._by_url.setdefault(url, (key, resource))
        self._by_key.setdefault(key, resource)
        return key

    def _key(self, url: str, resource: Mapping[str, Any]) -> SourceKey:
        kind, own = str(resource["resourceType"]), resource.get("id")
        if isinstance(own, str) and own:
            return SourceKey(kind, _system_of(url), own)
        if urn := _URN.fullmatch(url):
            return SourceKey(kind, "", urn["id"])
        if (rest := _REST_URL.fullmatch(url)) and rest["base"]:
            return SourceKey(kind, rest["base"], rest["id"])
        content = hashlib.sha256(json.dumps(plain(dict(resource)), sort_keys=True).encode()).hexdigest()
        self._copies[kind, content] += 1
        return SourceKey(kind, "content", f"{content}.{self._copies[kind, content]}")

    def target(self, reference: Any, *, url: str, expected: str) -> SourceKey | None:
        """The key of what `reference` names; None for what it cannot name.

        What the bundle does not hold is named all the same, as a resource of the type `expected`: it may come with
        another file.
        """
        if not isinstance(reference, str) or not reference or reference.startswith("#"):
            return None
        if reference in self._by_url:
            return self._by_url[reference][0]
        if urn := _URN.fullmatch(reference):
            return SourceKey(expected, "", urn["id"])
        if rest := _REST_URL.fullmatch(reference):
            return SourceKey(rest["type"], rest["base"] or _system_of(url), rest["id"])
        return None

    def resource(self, key: SourceKey | None) -> Mapping[str, Any] | None:
        """The resource that the bundle holds under `key`."""
        return None if key is None else self._by_key.get(key)


def _system_of(url: str) -> str:
    match = _REST_URL.fullmatch(url)
    return match["base"] or "" if match else ""
