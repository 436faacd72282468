"""What an author or a site did between two times: their commits, found by hybrid time without going over the log.

Stamps ascend within a log, so where the time begins is found by halving; only commits of that time are opened. A writer
who lies about its stamps is looked for where these would stand.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass

from crdtsync.clock import COUNTER_BITS
from crdtsync.engine.accounts import Account, Accounts
from crdtsync.engine.derive import Deriver, group_of
from crdtsync.engine.past import Order
from crdtsync.errors import RottenCommit
from crdtsync.ids import CommitId, Head, LogId, RecordId
from crdtsync.replication.stored import StoredCommit
from crdtsync.storage.base import Store

Rotten = Callable[[RottenCommit], None]


@dataclass(frozen=True, slots=True)
class Deed:
    """One commit, and the records that it changed, as far as its parts can be read. `order` is its place among all."""

    commit: CommitId
    order: Order
    account: Account
    records: tuple[tuple[str, RecordId], ...]


@dataclass(frozen=True, slots=True)
class Deeds:
    """Some of what was asked for, in the order of all sites; `next` tells where to go on, None that this is all."""

    found: list[Deed]
    next: Order | None


class Commits:
    """Looks commits up by time. `rotten` hears of those whose bytes are not what was written: they are passed over."""

    def __init__(self, store: Store, accounts: Accounts, deriver: Deriver, rotten: Rotten) -> None:
        self._store = store
        self._accounts = accounts
        self._deriver = deriver
        self._rotten = rotten

    def between(
        self,
        heads: dict[LogId, Head],
        logs: Collection[LogId],
        author: str | None,
        since: Order,
        until_ms: int | None,
        looked_max: int,
    ) -> Deeds:
        """The commits of these logs from `since` on, before `until_ms`, that `author` made (None: anybody)."""
        until = None if until_ms is None else until_ms << COUNTER_BITS
        runs = [self._run(log, heads[log].sequence, since, until) for log in sorted(logs)]
        found: list[Deed] = []
        for looked, (order, stored) in enumerate(heapq.merge(*runs, key=lambda pair: pair[0])):
            if looked == looked_max:
                return Deeds(found, order)
            account = self._accounts.of([stored.commit.id]).get(stored.commit.id)
            if account is not None and author in (None, account.author):
                records = tuple(dict.fromkeys(self._deriver.touched(stored)))
                found.append(Deed(stored.commit.id, order, account, records))
        return Deeds(found, None)

    def transaction(self, commit: CommitId) -> list[Deed]:
        """The transaction that a commit belongs to: itself, or all its fragments. Empty when it is not here whole."""
        stored = self._commit(*commit)
        group = None if stored is None else group_of(self._store, stored)
        if group is None:
            return []
        try:
            return [self._deed(each) for each in group]
        except RottenCommit as error:
            self._rotten(error)
            return []

    def _deed(self, stored: StoredCommit) -> Deed:
        header, commit = stored.commit.header, stored.commit.id
        account = self._accounts.of([commit])[commit]
        records = tuple(dict.fromkeys(self._deriver.touched(stored)))
        return Deed(commit, (header.stamp, header.log, header.sequence), account, records)

    def _run(self, log: LogId, last: int, since: Order, until: int | None) -> Iterator[tuple[Order, StoredCommit]]:
        for sequence in range(self._first(log, last, since), last + 1):
            stored = self._commit(log, sequence)
            if stored is None:
                continue
            stamp = stored.commit.header.stamp
            if until is not None and stamp >= until:
                return
            if (stamp, log, sequence) >= since:
                yield (stamp, log, sequence), stored

    def _first(self, log: LogId, last: int, since: Order) -> int:
        """The first sequence of a log that stands at or behind `since`."""
        low, high = 1, last + 1
        while low < high:
            middle = probe = (low + high) // 2
            stored = self._commit(log, probe)
            while stored is None and probe + 1 < high:
                probe += 1
                stored = self._commit(log, probe)
            if stored is not None and (stored.commit.header.stamp, log, probe) < since:
                low = probe + 1
            else:
                high = middle
        return low

    def _commit(self, log: LogId, sequence: int) -> StoredCommit | None:
        try:
            return self._store.commit(log, sequence)
        except RottenCommit as error:
            self._rotten(error)
            return None
