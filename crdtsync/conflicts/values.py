"""A conflict as people see it: what stands against each other, who wrote it, and what was said about it since."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Literal

from crdtsync.clock import wall_ms
from crdtsync.documents import Document, read
from crdtsync.engine import Account
from crdtsync.engine.between import ISSUE
from crdtsync.errors import NotFound
from crdtsync.ids import RecordId
from crdtsync.practice import DetectedIssue, Remark, Resolution
from crdtsync.storage.base import StoredConflict, StoredDocument
from crdtsync.storage.reader import Reader

State = Literal["open", "acknowledged", "dismissed", "resolved"]
_READING_CLIENT = 1
_LAST_MS = 253_402_300_799_000
_WRITTEN = ("commit", "stamp", "field", "record")


@dataclass(frozen=True, slots=True)
class ConflictValue:
    """One of the values that stand against each other, and where it comes from.

    `value` is JSON; None stands for cleared or removed. `at` is the hybrid time of the commit that wrote it (of the
    newest one, where several wrote the same), `written_at` what its author's wall clock showed. Author, workstation and
    reason are empty, and `written_at` is None, while the commit cannot be read here.
    """

    value: Any
    record: RecordId
    field: str
    commit: str
    site: str
    author: str
    workstation: str
    reason: str
    stamp: int
    at: datetime
    written_at: datetime | None


@dataclass(frozen=True, slots=True)
class Conflict:
    """Something that a person must decide, under an id that every site computes alike.

    `kind` is `field` for values within one record, else the sort of what is between records, such as `double_booking`.
    `field` names what is at odds: `dosage`, `phones/key` for an entry, `dosage+status` for fields that belong together.
    `detected_at` is when this site saw it first; None for one that is resolved. `record_kinds` are the kinds of
    `records`.
    """

    id: str
    kind: str
    severity: str
    records: tuple[RecordId, ...]
    record_kinds: tuple[str, ...]
    field: str
    values: tuple[ConflictValue, ...]
    detected_at: datetime | None
    state: State
    assignee: str | None
    comments: tuple[Remark, ...]
    acknowledged: tuple[Remark, ...]
    dismissed: Remark | None
    resolved: Resolution | None


@dataclass(frozen=True, slots=True)
class Stated:
    """A conflict as the view keeps it and the record that people keep about it; one of them may be missing."""

    id: str
    conflict: StoredConflict | None
    issue: DetectedIssue | None
    within: str | None = None

    @property
    def state(self) -> State:
        """How far people are with it."""
        issue = self.issue
        if self.conflict is None:
            return "resolved"
        if issue is not None and issue.dismissed is not None and self.conflict.kind != "field":
            return "dismissed"
        return "acknowledged" if issue is not None and len(issue.acknowledged) else "open"

    @property
    def body(self) -> dict[str, Any]:
        """Severity, records, field and values."""
        if self.conflict is not None:
            return dict(json.loads(self.conflict.body))
        assert self.issue is not None, "one of both is there"
        return _remembered(self.issue)

    @property
    def kind(self) -> str:
        """The sort of conflict."""
        return self.conflict.kind if self.conflict is not None else "field"

    def summary(self) -> dict[str, Any]:
        """In the shape of `crdtsync conflicts --json`, with `written`, `state` and `assignee` besides."""
        body = self.body
        values = body["values"]
        detected = None if self.conflict is None else time_of(self.conflict.detected_ms)
        return {
            "id": self.id,
            "kind": self.kind,
            "severity": body["severity"],
            "records": body["records"],
            "field": body["field"],
            "values": [value["value"] for value in values],
            "written": [
                {name: v[name] for name in ("commit", "stamp", "field", "record") if name in v} for v in values
            ],
            "detected_at": None if detected is None else detected.isoformat(timespec="milliseconds"),
            "state": self.state,
            "assignee": None if self.issue is None else self.issue.assignee,
        }


def _remembered(issue: DetectedIssue) -> dict[str, Any]:
    """What a resolved conflict was, as its resolution tells."""
    resolved = issue.resolved
    values = resolved.values if resolved is not None and isinstance(resolved.values, list) else []
    return {
        "severity": issue.severity or "medium",
        "records": sorted(issue.implicated),
        "field": issue.field or "",
        "values": [value for value in values if _is_value(value)],
    }


def _is_value(value: Any) -> bool:
    """Whether this has the form of a value: a resolution holds what a member wrote, whatever it is (L6)."""
    named = isinstance(value, dict) and isinstance(value.get("commit"), str) and isinstance(value.get("field", ""), str)
    return named and "value" in value and isinstance(value.get("stamp"), int)


def issue_in(document: StoredDocument | None) -> DetectedIssue | None:
    """What people keep about a conflict."""
    if document is None:
        return None
    found = read(ISSUE, document.record, Document(_READING_CLIENT, document.state).content())
    return found if isinstance(found, DetectedIssue) else None


def look(reader: Reader, conflict: str) -> Stated:
    """One conflict, open or resolved. Raises NotFound."""
    found = reader.stated_conflict(ISSUE, conflict)
    if found is not None:
        return Stated(conflict, found[0], issue_in(found[2]), found[1])
    issue = issue_in(reader.document(ISSUE, RecordId(conflict)))
    if issue is None or issue.resolved is None:
        raise NotFound(f"there is no conflict {conflict} here: it was decided, or what was at odds has changed")
    return Stated(conflict, None, issue)


def look_at_all(reader: Reader) -> list[Stated]:
    """All that are there, oldest first, those that were dismissed included."""
    return [Stated(c.id, c, issue_in(document), kind) for c, kind, document in reader.stated_conflicts(ISSUE)]


def resolved_ones(reader: Reader) -> list[Stated]:
    """Conflicts that were decided, and are not there any more."""
    there = {conflict.id for conflict in reader.conflicts()}
    issues = [issue_in(document) for document in reader.documents(ISSUE)]
    return [Stated(i.id, None, i) for i in issues if i is not None and i.resolved is not None and i.id not in there]


def in_full(stated: Stated, kinds: Sequence[str], accounts: Mapping[str, tuple[str, str, Account]]) -> Conflict:
    """All that is known of a conflict. `accounts` has per commit, as documents name it, its full name, its site, and
    what it says."""
    body, issue, conflict = stated.body, stated.issue, stated.conflict
    return Conflict(
        id=stated.id,
        kind=stated.kind,
        severity=body["severity"],
        records=tuple(body["records"]),
        record_kinds=tuple(kinds),
        field=body["field"],
        values=tuple(_value(body, each, accounts) for each in body["values"]),
        detected_at=None if conflict is None else time_of(conflict.detected_ms),
        state=stated.state,
        assignee=None if issue is None else issue.assignee,
        comments=() if issue is None else tuple(issue.comments),
        acknowledged=() if issue is None else tuple(issue.acknowledged),
        dismissed=issue.dismissed if issue is not None and stated.state == "dismissed" else None,
        resolved=issue.resolved if issue is not None and stated.state == "resolved" else None,
    )


def _value(
    body: Mapping[str, Any], each: Mapping[str, Any], accounts: Mapping[str, tuple[str, str, Account]]
) -> ConflictValue:
    commit, site, account = accounts.get(each["commit"], (each["commit"], "", None))
    records = body["records"]
    return ConflictValue(
        value=each["value"],
        record=RecordId(each.get("record", records[0] if records else "")),
        field=each.get("field", body["field"]),
        commit=commit,
        site=site,
        author="" if account is None else account.author,
        workstation="" if account is None else account.workstation,
        reason="" if account is None else account.reason,
        stamp=each["stamp"],
        at=time_of(wall_ms(each["stamp"])),
        written_at=None if account is None or account.wall_ms is None else time_of(account.wall_ms),
    )


def time_of(ms: int) -> datetime:
    """A time from milliseconds since 1970; what no calendar has becomes its nearest end: members may claim any."""
    return datetime.fromtimestamp(max(0, min(ms, _LAST_MS)) / 1000, UTC)
