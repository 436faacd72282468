"""Conflicts: what the rules leave to a person. They are functions of documents, nothing else.

Two sites that hold the same document compute the same conflict under the same id (L5), so it can be named, assigned
and resolved anywhere.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any, Final

from crdtsync.documents.merge import Severity, Survivor
from crdtsync.documents.slots import Item
from crdtsync.ids import RecordId, base32

_DOMAIN: Final = b"crdtsync/field-conflict/1"
_BETWEEN: Final = b"crdtsync/between-conflict/1"
_SEVERITIES: Final[tuple[Severity, ...]] = ("low", "medium", "high")


@dataclass(frozen=True)
class FieldConflict:
    """Values of one field between which a person must decide.

    `id` is 26 characters of base32. `field` is the field's name; `field/entry` for one entry of an `entries` field;
    `dosage+status` for two fields of one group that were changed unseen by each other. `values` are dictionaries with
    `value` (JSON; None: removed), `commit` (`tag.sequence`) and `stamp` (hybrid time), the one shown first in front; a
    group's values also have `field`.
    """

    id: str
    field: str
    severity: Severity
    values: list[dict[str, Any]]

    @property
    def fields(self) -> tuple[str, ...]:
        """The names of the fields that the conflict is about."""
        return tuple(self.field.partition("/")[0].split("+"))


def field_conflict(
    record: RecordId, field: str, severity: Severity, undecided: Sequence[Survivor], entry: str | None = None
) -> FieldConflict:
    """The conflict between the surviving values of one field or entry."""
    name = field if entry is None else f"{field}/{entry}"
    commits = (item.commit for survivor in undecided for item in survivor.items)
    values = [{"value": s.value, "commit": s.commit, "stamp": s.stamp} for s in undecided]
    return FieldConflict(conflict_id(record, name, commits), name, severity, values)


def conflict_id(record: RecordId, field: str, commits: Iterable[str]) -> str:
    """The id that everybody computes alike from the record, the field and the commits that take part."""
    return _hashed(_DOMAIN, (record, field, *sorted(set(commits))))


def between_id(kind: str, records: Sequence[RecordId], commits: Iterable[str]) -> str:
    """The id of a conflict between records, from what sort it is, the records, and the commits of what clashes."""
    return _hashed(_BETWEEN, (kind, *sorted(records), "", *sorted(set(commits))))


def _hashed(domain: bytes, words: Iterable[str]) -> str:
    digest = hashlib.sha256(domain)
    for word in words:
        data = word.encode()
        digest.update(len(data).to_bytes(4, "big") + data)
    return base32(digest.digest()[:16])


def group_conflicts(
    record: RecordId, group: Mapping[str, Sequence[Survivor]], severities: Mapping[str, Severity]
) -> list[FieldConflict]:
    """Conflicts between two fields of one group: values of which neither writer had seen the other.

    `group` has the surviving values of those of its fields that hold any.
    """
    found = []
    for first, second in combinations(sorted(group), 2):
        pairs = [(a, b) for a in group[first] for b in group[second] if not _related(a.items, b.items)]
        if not pairs:
            continue
        name = f"{first}+{second}"
        parties = {(first, a.text): a for a, _ in pairs} | {(second, b.text): b for _, b in pairs}
        values = [
            {"field": field, "value": party.value, "commit": party.commit, "stamp": party.stamp}
            for (field, _), party in sorted(parties.items())
        ]
        commits = [item.commit for party in parties.values() for item in party.items]
        severity = max(severities[first], severities[second], key=_SEVERITIES.index)
        found.append(FieldConflict(conflict_id(record, name, commits), name, severity, values))
    return found


def _related(first: Sequence[Item], second: Sequence[Item]) -> bool:
    """Whether some writer of one value knew the other value. Writers without an account are believed."""
    return any(_knew(a, b) or _knew(b, a) for a in first for b in second)


def _knew(writer: Item, other: Item) -> bool:
    commit = other.commit
    return writer.seen is None or writer.commit == commit or commit in writer.seen
