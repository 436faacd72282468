"""A record's history as people and scripts get it: one object per commit, oldest first."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, datetime
from typing import Any

from crdtsync.clock import wall_ms
from crdtsync.documents import changes
from crdtsync.engine.past import APPLIED, Retelling, Step, Told
from crdtsync.ids import RecordId, ReplicaId, commit_text, replica_of


def history(
    kind: str, record: RecordId, told: Iterable[Told], name_of: Callable[[ReplicaId], str]
) -> Iterator[dict[str, Any]]:
    """What became of a record: who, when, where, why, and each field before and after.

    Three times: `at` is the commit's hybrid time, `written_at` the author's wall clock, `arrived_at` this site's when
    the commit came. Only the last differs from site to site. A change that is not in the record says so in `state`,
    and in `why` with a sentence.
    """
    for step in Retelling(record, told).steps():
        yield entry(kind, record, step, name_of)


def entry(kind: str, record: RecordId, step: Step, name_of: Callable[[ReplicaId], str]) -> dict[str, Any]:
    """One step of a history."""
    account = step.account
    known = step.before is not None and step.after is not None
    found: dict[str, Any] = {
        "record": record,
        "commit": commit_text(step.commit),
        "site": name_of(replica_of(step.commit.log)),
        "author": "" if account is None else account.author,
        "reason": "" if account is None else account.reason,
        "workstation": "" if account is None else account.workstation,
        "purpose": "" if account is None else account.purpose,
        "at": None if account is None else time_text(wall_ms(account.stamp)),
        "written_at": None if account is None or account.wall_ms is None else time_text(account.wall_ms),
        "arrived_at": None if account is None else time_text(account.arrived_ms),
        "state": step.state,
        "changes": [],
    }
    if step.before is not None and step.after is not None:
        found["changes"] = changes(kind, record, step.before, step.after, step.fields)
    if step.state != APPLIED:
        found["why"] = step.why
    assert known or step.state != APPLIED, "a change that was applied has a before and an after"
    return found


def time_text(ms: int) -> str:
    """ISO 8601 with a zone; a time beyond the years 1 to 9999, as no honest clock shows, in milliseconds since 1970."""
    try:
        return datetime.fromtimestamp(ms / 1000, UTC).isoformat(timespec="milliseconds")
    except (OverflowError, ValueError, OSError):
        return f"{ms} ms since 1970"
