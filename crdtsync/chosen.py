"""What a revert is asked to take back: one way of naming it, and the times between which it was done."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from crdtsync.errors import BadValue, UsageError
from crdtsync.history.moment import milliseconds
from crdtsync.history.told import time_text
from crdtsync.ids import CommitId, commit_from_text, commit_text


@dataclass(frozen=True, slots=True)
class Choice:
    """What is to be taken back: one way of naming it, and the times between which it was done (by hybrid time)."""

    commits: tuple[CommitId, ...] = ()
    record: str | None = None
    by: str | None = None
    at_site: str | None = None
    since_ms: int = 0
    until_ms: int | None = None

    def words(self) -> str:
        """The choice as people say it."""
        if self.commits:
            parts = ["commit " + ", ".join(map(commit_text, self.commits))]
        elif self.record is not None:
            parts = [f"record {self.record}"]
        else:
            parts = [f"by {self.by}"] * (self.by is not None) + [f"at {self.at_site}"] * (self.at_site is not None)
        parts += [f"since {time_text(self.since_ms)}"] if self.since_ms else []
        parts += [f"until {time_text(self.until_ms)}"] if self.until_ms is not None else []
        return " ".join(parts)


def choice(
    commit: CommitId | str | Sequence[CommitId | str] | None,
    record: str | None,
    by: str | None,
    at_site: str | None,
    since: datetime | str | None,
    until: datetime | str | None,
) -> Choice:
    """What a caller names, checked. Raises UsageError, or BadValue for a commit that is none."""
    ways = [commit is not None, record is not None, by is not None or at_site is not None]
    if sum(ways) != 1:
        raise UsageError("name what to revert in one way: commit, record, or by whom and at which site")
    since_ms = 0 if since is None else milliseconds(since)
    until_ms = None if until is None else milliseconds(until)
    if commit is not None:
        if since is not None or until is not None:
            raise UsageError("a commit is reverted as it is; times go with record, by and at_site")
        named = [commit] if isinstance(commit, str | CommitId) else commit
        return Choice(commits=tuple(_commit(each) for each in named))
    if record is not None and since is None:
        if until_ms is None:
            raise UsageError("say to which time the record is to go back (since)")
        since_ms, until_ms = until_ms, None  # back to a time: what came later is taken back
    if until_ms is not None and until_ms <= since_ms:
        raise UsageError("nothing lies between these times: `until` must be later than `since`")
    return Choice((), record, by, at_site, since_ms, until_ms)


def _commit(named: CommitId | str) -> CommitId:
    if isinstance(named, CommitId):
        return named
    try:
        return commit_from_text(named)
    except ValueError as error:
        raise BadValue(f"{error}; history lists commits by their names") from None
