"""What both stores do alike: refuse before they write, the store's own half of L1 and L3, and keep to limits (L7)."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Final

from crdtsync.errors import BadSignature, RottenCommit, UnknownField, UsageError
from crdtsync.ids import Head, LogId
from crdtsync.replication.commit import NO_HASH, Commit, part_hash
from crdtsync.replication.stored import EMPTY_LOG, LogHead, StoredCommit, next_head
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


def check_again(stored: Sequence[StoredCommit], head: LogHead) -> None:
    """Refuse commits of an earlier store that do not stand where that store had them."""
    for arrival, one in enumerate(stored, head.arrival + 1):
        if one.arrival != arrival:
            raise UsageError(f"the commit that had arrived as number {one.arrival} cannot be number {arrival} here")


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


def seen_alike(one: ViewChange, other: ViewChange) -> bool:
    """Whether two say the same of a record, but for when, and for the bytes of its document."""
    return _seen(one) == _seen(other)


def _seen(change: ViewChange) -> tuple[object, ...]:
    document = change.document
    conflicts = sorted((c.id, c.kind, c.record, c.severity, c.body) for c in change.conflicts)
    row = None if change.row is None else {name: value for name, value in change.row.items() if value is not None}
    return document.subject, document.fingerprint, document.damaged, row, change.words, conflicts


def check_sound(before: LogHead, commit: Commit, chain: bytes) -> None:
    """Refuse a commit that the chain over the log does not name behind `before`, or whose parts are not all its own.

    A part that is not here (b"") is no rot. The signature is not looked at. Raises BadSignature.
    """
    if next_head(before, commit).chain != chain or len(commit.parts) != len(commit.header.parts):
        raise BadSignature("a commit that the chain over the log does not name")
    for sealed, ref in zip(commit.parts, commit.header.parts, strict=True):
        if sealed and (len(sealed) != ref.size or part_hash(sealed) != ref.hash):
            raise BadSignature("a commit with a part that its header does not name")


def until_rotten(commits: Iterable[StoredCommit]) -> Iterator[StoredCommit]:
    """`commits` up to the first rotten one; when that is the very first, RottenCommit comes out."""
    any_sound = False
    found = iter(commits)
    while True:
        try:
            stored = next(found, None)
        except RottenCommit:
            if any_sound:
                return
            raise
        if stored is None:
            return
        any_sound = True
        yield stored


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
