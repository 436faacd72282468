"""What people do about conflicts: who looks after one, what was said, who has acknowledged or dismissed it."""

from __future__ import annotations

from typing import Any

from pydantic import AwareDatetime

from crdtsync.documents import Entries, Link, Record, Value, entries, latest, once


class Remark(Value):
    """What somebody said, and when by the clock there."""

    author: str
    at: AwareDatetime
    text: str = ""


class Resolution(Value):
    """How a conflict within a record was decided: the values that stood against each other, by field, and those that
    hold since."""

    author: str
    at: AwareDatetime
    text: str = ""
    values: Any = None
    decided: Any = None


class DetectedIssue(Record, kind="detected_issue"):
    """The state of a conflict (FHIR DetectedIssue). Its id is the conflict's, so that all sites write one record.

    Whether a conflict is there follows from records alone; this is what people made of it. Of two who assign, dismiss
    or take up again at once, the later one counts. `patient` is set when all that is implicated is one patient's.
    """

    patient: Link | None = once()
    code: str | None = once()
    severity: str | None = once()
    field: str | None = once()
    implicated: Entries[Link] = entries(by_value=True)
    assignee: str | None = latest()
    comments: Entries[Remark] = entries()
    acknowledged: Entries[Remark] = entries()
    dismissed: Remark | None = latest()
    resolved: Resolution | None = latest()
