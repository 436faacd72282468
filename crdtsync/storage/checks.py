"""What both stores do alike: refuse before they write, the store's own half of L1 and L3, and keep to limits (L7)."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Final

from crdtsync.errors import UnknownField, UsageError
from crdtsync.ids import Head, LogId
from crdtsync.replication.commit import NO_HASH, Commit
from crdtsync.replication.stored import EMPTY_LOG, LogHead, StoredCommit
from crdtsync.storage.base import StoredConflict, ViewChange, ViewState

EMPTY_VIEW: Final = ViewState(EMPTY_LOG, bytes(32), 0)
"""What a view is derived from that holds nothing."""
NOTHING_YET: Final = Head(0, NO_HASH)
"""The head of a log of which nothing is here."""


def heads_after(commits: Sequence[tuple[Commit, bool]], head_of: Callable[[LogId], Head]) -> dict[LogId, Head]:
    """The heads of the logs that `commits` continue, after them.

    Raises UsageError when a commit is not the next of its log, or names another predecessor (L3): the core checks this
    before, so it only speaks when something in this process is wrong, and nothing is written then.
    """
    heads: dict[LogId, Head] = {}
    for commit, _ in commits:
        header = commit.header
        last = heads.get(header.log) or head_of(header.log)
        if header.sequence != last.sequence + 1 or header.previous != last.hash:
            raise UsageError(
                f"commit {header.sequence} does not continue its log, which ends here at {last.sequence}; "
                "append the commits of a log in their order, each once"
            )
        heads[header.log] = Head(header.sequence, commit.hash)
    return heads


def check_derived(state: ViewState, log: LogHead) -> None:
    """Refuse a view that would be ahead of the log, or beside it (L1)."""
    head = state.head
    if head.arrival > log.arrival or (head.arrival == log.arrival and head.chain != log.chain):
        raise UsageError(
            f"the view cannot be derived up to arrival {head.arrival} of a log that ends at {log.arrival}; "
            "append to the log first"
        )


def check_row(change: ViewChange, columns: Iterable[str]) -> None:
    """Refuse a row with a column that was not declared."""
    unknown = set(change.row or ()) - set(columns)
    if unknown:
        raise UnknownField(
            f"the table of {change.document.kind} has no column {sorted(unknown)[0]!r}; declare its tables first"
        )


def keep_detected(new: Sequence[StoredConflict], known: Mapping[str, int]) -> list[StoredConflict]:
    """`new`, where a conflict that was there already keeps the time at which it was first seen."""
    return [
        conflict
        if known.get(conflict.id, conflict.detected_ms) >= conflict.detected_ms
        else StoredConflict(
            conflict.id, conflict.kind, conflict.record, conflict.severity, conflict.body, known[conflict.id]
        )
        for conflict in new
    ]


def within(commits: Iterable[StoredCommit], bytes_max: int, commits_max: int | None = None) -> list[StoredCommit]:
    """The beginning of `commits` that keeps to both limits; one commit at least if there is one."""
    taken: list[StoredCommit] = []
    size = 0
    for stored in commits:
        size += stored.commit.size
        if taken and size > bytes_max:
            break
        taken.append(stored)
        if len(taken) == commits_max:
            break
    return taken
