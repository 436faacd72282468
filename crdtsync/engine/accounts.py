"""Who wrote a commit, when, where and why: what its header and its parts say of it."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from crdtsync.engine.parts import Parts
from crdtsync.errors import Malformed, RottenCommit, SealBroken, TooLarge
from crdtsync.ids import CommitId
from crdtsync.replication.commit import Part
from crdtsync.replication.stored import StoredCommit
from crdtsync.storage.base import Store


@dataclass(frozen=True, slots=True)
class Account:
    """What is known of a commit. Three times: `stamp` is its hybrid time, `wall_ms` what its author's wall clock
    showed, `arrived_ms` when it came to this site's disk, as number `arrival` (times but for `stamp`: ms since 1970).

    Who and why stand in the sealed parts: `wall_ms` is None, and the words are empty, while none of them can be read.
    """

    author: str
    reason: str
    workstation: str
    purpose: str
    wall_ms: int | None
    stamp: int
    arrival: int
    arrived_ms: int


def account_of(stored: StoredCommit, part: Part | None) -> Account:
    """What a stored commit tells, with the words of one of its parts, if one can be read."""
    times = stored.commit.header.stamp, stored.arrival, stored.arrived_ms
    if part is None:
        return Account("", "", "", "", None, *times)
    return Account(part.author, part.reason, part.workstation, part.purpose, part.wall_ms, *times)


class Accounts:
    """Looks commits up in the log. `rotten` is told of those whose bytes are not what was written."""

    def __init__(self, store: Store, parts: Parts, rotten: Callable[[RottenCommit], None]) -> None:
        self._store = store
        self._parts = parts
        self._rotten = rotten

    def of(self, commits: Iterable[CommitId]) -> dict[CommitId, Account]:
        """The accounts of those of the named commits that are here and sound."""
        found: dict[CommitId, Account] = {}
        for commit in commits:
            if commit in found:
                continue
            try:
                stored = self._store.commit(*commit)
            except RottenCommit as error:
                self._rotten(error)
                continue
            if stored is not None:
                found[commit] = account_of(stored, self._any_part(stored))
        return found

    def _any_part(self, stored: StoredCommit) -> Part | None:
        """The first part that can be read: authors put the same words into each."""
        header = stored.commit.header
        for index, ref in enumerate(header.parts):
            key = self._parts.key(ref.key)
            if key is not None and stored.commit.parts[index] and self._parts.readable(key, ref):
                try:
                    return self._parts.open(header.log, header.sequence, index, ref, key, stored.commit.parts[index])
                except (SealBroken, Malformed, TooLarge):  # a held commit; another part may open
                    continue
        return None
