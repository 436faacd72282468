"""A store in memory, with a modelled disk: what the simulator and fast tests run on.

It keeps the promises of `Store`, and lets a test take them away: `crash` loses what a power cut may lose, and the
switches `sync_log` and `sync_keys` plant a disk that says "synced" and lies. One conformance suite covers it and
`SqliteStore` (`crdtsync.testing.stores`).
"""

from __future__ import annotations

import copy
import heapq
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from crdtsync.errors import BadSignature, RottenCommit, StorageFailure, UsageError
from crdtsync.ids import DataKeyId, Head, LogId, MemberHash
from crdtsync.replication.commit import Commit
from crdtsync.replication.stored import EMPTY_LOG, KeyObject, LogHead, StoredCommit, next_head
from crdtsync.storage.base import NO_NOTES, Notes
from crdtsync.storage.checks import NOTHING_YET, check_again, check_sound, heads_after, until_rotten, within
from crdtsync.storage.memory_persons import MemoryPersons

Undo = Callable[[], None]


class MemoryStore(MemoryPersons):
    """A `Store` without files.

    `sync_log`, `sync_keys`: False makes what is written to the log (also members and small values) or to the keys
    volatile until the next write that is synced. `failure`: a sentence with which every call is refused from now on,
    as by a disk that is full or gone.
    """

    def __init__(self) -> None:
        super().__init__()
        self.sync_log = True
        self.sync_keys = True
        self.failure = ""
        self._meta: dict[str, bytes] = {}
        self._members: dict[MemberHash, bytes] = {}
        self._keys: dict[DataKeyId, KeyObject] = {}
        self._subjects: dict[str, dict[DataKeyId, KeyObject]] = {}
        self._arrivals: list[StoredCommit] = []
        self._heads: list[LogHead] = [EMPTY_LOG]
        self._logs: dict[LogId, list[StoredCommit]] = {}
        self._rotten: set[int] = set()
        self._log_undo: list[Undo] = []
        self._keys_undo: list[Undo] = []

    def close(self) -> None:
        """Nothing to give back: the object stays what a disk would hold, as after `crash(lambda n: n)`."""
        self.crash(lambda written: written)

    # -- faults -------------------------------------------------------------------------------------------------------

    def crash(self, keep: Callable[[int], int]) -> None:
        """Stop here and come back as a newly opened store.

        A transaction of the view that was begun is lost. Of each file's transactions that were ended and not yet
        synced, in their order, `keep(number)` says how many survive: all (a killed process) down to none (a power
        cut). What was synced survives.
        """
        self.abort_view()
        for undo in (self._log_undo, self._keys_undo, self._view_undo):
            survive = max(0, min(len(undo), keep(len(undo)))) if undo else 0
            while len(undo) > survive:
                undo.pop()()
            undo.clear()
        self.failure = ""

    def rot(self, arrival: int) -> None:
        """The bytes of the commit at `arrival` are not what was written any more."""
        if not 1 <= arrival <= len(self._arrivals):
            raise UsageError(f"there is no commit at arrival {arrival}")
        self._rotten.add(arrival)

    def power_cut(self) -> None:
        """A crash that loses all that a power cut may lose."""
        self.crash(lambda written: 0)

    def copy(self) -> MemoryStore:
        """A disk image: a second store with what this one holds, unsynced transactions included (they count as synced).

        Raises UsageError while a transaction of the view is open.
        """
        if self._begun is not None:
            raise UsageError("a transaction of the view is open; copy the store before or after it")
        twin = copy.copy(self)
        for name, value in vars(self).items():
            if isinstance(value, (dict, list, set)):
                setattr(twin, name, value.copy())
        twin._between = self._between.copy()
        twin._subjects = {subject: keys.copy() for subject, keys in self._subjects.items()}
        twin._logs = {log: commits.copy() for log, commits in self._logs.items()}
        # Steps of undo are bound to the first store's containers.
        twin._log_undo, twin._keys_undo, twin._view_undo = [], [], []
        return twin

    def _guard(self) -> None:
        if self.failure:
            raise StorageFailure(self.failure)

    def _wrote(self, journal: list[Undo], synced: bool, undo: Undo) -> None:
        if synced:
            journal.clear()
        else:
            journal.append(undo)

    # -- small values, members ----------------------------------------------------------------------------------------

    def meta(self, name: str) -> bytes | None:
        """A small value, or None."""
        self._guard()
        return self._meta.get(name)

    def set_meta(self, values: Mapping[str, bytes | None]) -> None:
        """Write small values; None removes."""
        self._guard()
        before = {name: self._meta.get(name) for name in values}
        _assign(self._meta, values)
        self._wrote(self._log_undo, self.sync_log, lambda: _assign(self._meta, before))

    def add_members(self, records: Sequence[tuple[MemberHash, bytes]]) -> None:
        """Keep membership records in the order given."""
        self._guard()
        new = {hash_: data for hash_, data in records if hash_ not in self._members}
        self._members.update(new)
        self._wrote(self._log_undo, self.sync_log, lambda: _assign(self._members, dict.fromkeys(new)))

    def members(self) -> list[bytes]:
        """All membership records, in the order in which they were added."""
        self._guard()
        return list(self._members.values())

    # -- keys ----------------------------------------------------------------------------------------------------------

    def put_keys(self, keys: Sequence[KeyObject]) -> None:
        """Keep wrapped data keys."""
        self._guard()
        new = [key for key in keys if key.id not in self._keys]
        for key in new:
            self._keys[key.id] = key
            self._subjects.setdefault(key.subject, {})[key.id] = key
        self._wrote(self._keys_undo, self.sync_keys, lambda: self._drop_keys([key.id for key in new]))

    def keys(self, ids: Iterable[DataKeyId]) -> dict[DataKeyId, KeyObject]:
        """Those of the named keys that are here."""
        self._guard()
        return {key: self._keys[key] for key in ids if key in self._keys}

    def key_of_subject(self, subject: str) -> list[KeyObject]:
        """All keys of a subject, by id."""
        self._guard()
        return sorted(self._subjects.get(subject, {}).values(), key=lambda key: key.id)

    def keys_behind(self, after: DataKeyId, limit: int) -> list[KeyObject]:
        """Keys in order of their ids, beginning behind `after`."""
        self._guard()
        return [self._keys[id_] for id_ in sorted(self._keys) if id_ > after][: max(limit, 1)]

    def erase_keys(self, ids: Iterable[DataKeyId]) -> None:
        """Destroy keys; never volatile, since an erasure that was reported must not come back."""
        self._guard()
        self._drop_keys(ids)
        self._keys_undo.clear()

    def _drop_keys(self, ids: Iterable[DataKeyId]) -> None:
        for id_ in ids:
            key = self._keys.pop(id_, None)
            if key is not None:
                del self._subjects[key.subject][id_]

    # -- the log -------------------------------------------------------------------------------------------------------

    def append(self, commits: Sequence[tuple[Commit, bool]], arrived_ms: int, notes: Notes = NO_NOTES) -> LogHead:
        """Append commits in a causal order and write `notes`, all or none."""
        return self._append(commits, [arrived_ms] * len(commits), notes)

    def append_again(self, stored: Sequence[StoredCommit]) -> LogHead:
        """Append commits with the times of arrival that an earlier store of this log had kept."""
        check_again(stored, self._heads[-1])
        return self._append([(one.commit, one.checked) for one in stored], [one.arrived_ms for one in stored], NO_NOTES)

    def _append(self, commits: Sequence[tuple[Commit, bool]], times: Sequence[int], notes: Notes) -> LogHead:
        self._guard()
        heads_after(commits, self._last)
        for (commit, checked), arrived_ms in zip(commits, times, strict=True):
            head = next_head(self._heads[-1], commit)
            stored = StoredCommit(head.arrival, arrived_ms, commit, checked)
            self._heads.append(head)
            self._arrivals.append(stored)
            self._logs.setdefault(commit.header.log, []).append(stored)
        before = {name: self._meta.get(name) for name in notes}
        _assign(self._meta, notes)

        def undo() -> None:
            self._cut(len(commits))
            _assign(self._meta, before)

        self._wrote(self._log_undo, self.sync_log, undo)
        return self._heads[-1]

    def _last(self, log: LogId) -> Head:
        commits = self._logs.get(log)
        return commits[-1].commit.head if commits else NOTHING_YET

    def _cut(self, number: int) -> None:
        for _ in range(number):
            stored = self._arrivals.pop()
            self._rotten.discard(stored.arrival)
            self._heads.pop()
            commits = self._logs[stored.commit.header.log]
            commits.pop()
            if not commits:
                del self._logs[stored.commit.header.log]

    def log_head(self) -> LogHead:
        """How far the log goes."""
        self._guard()
        return self._heads[-1]

    def goes_on_from(self, head: LogHead) -> bool:
        """Whether the log up to that arrival is the one that `head` sums up."""
        self._guard()
        return self._is_prefix(head)

    def _is_prefix(self, head: LogHead) -> bool:
        return head.arrival < len(self._heads) and self._heads[head.arrival] == head

    def frontier(self) -> dict[LogId, Head]:
        """Per log the last commit that is here."""
        self._guard()
        return {log: commits[-1].commit.head for log, commits in self._logs.items()}

    def arrivals(self, after: int, commits_max: int, bytes_max: int) -> list[StoredCommit]:
        """Commits in order of arrival, beginning behind `after`."""
        self._guard()
        return self._read(self._arrivals[max(after, 0) : max(after, 0) + max(commits_max, 1)], bytes_max)

    def _read(self, commits: Iterable[StoredCommit], bytes_max: int, most: int | None = None) -> list[StoredCommit]:
        if self._rotten:
            commits = until_rotten(map(self._sound, commits))
        return within(commits, bytes_max, most)

    def _sound(self, stored: StoredCommit) -> StoredCommit:
        if stored.arrival in self._rotten:
            raise RottenCommit(stored.arrival, *stored.commit.id)
        return stored

    def check_log(self, after: int, commits_max: int) -> tuple[list[StoredCommit], list[RottenCommit]]:
        """Go over the stored commits behind arrival `after`: those that are sound, and those that are not."""
        self._guard()
        page = self._arrivals[max(after, 0) : max(after, 0) + max(commits_max, 1)]
        sound = [stored for stored in page if stored.arrival not in self._rotten]
        return sound, [RottenCommit(item.arrival, *item.commit.id) for item in page if item.arrival in self._rotten]

    def uncheck(self, arrival: int) -> None:
        """Note that the signature of this commit was not verified."""
        self._guard()
        self._replace(replace(self._arrivals[arrival - 1], checked=False))

    def mend(self, arrival: int, commit: Commit) -> None:
        """Put a commit's bytes in the place of rotten ones. Raises BadSignature when it is another one."""
        self._guard()
        if not 1 <= arrival <= len(self._arrivals):
            raise UsageError(f"there is no commit at arrival {arrival} to be mended")
        check_sound(self._heads[arrival - 1], commit, self._heads[arrival].chain)
        if not all(commit.parts):
            raise BadSignature("a commit without all of its content mends nothing")
        self._rotten.discard(arrival)
        self._replace(replace(self._arrivals[arrival - 1], commit=commit))

    def _replace(self, stored: StoredCommit) -> None:
        header = stored.commit.header
        self._arrivals[stored.arrival - 1] = self._logs[header.log][header.sequence - 1] = stored

    def feeds(self, cursors: Mapping[LogId, int], commits_max: int, bytes_max: int) -> list[StoredCommit]:
        """Commits of the named logs, each from its cursor's sequence on, merged in order of arrival."""
        self._guard()
        wanted = max(commits_max, 1)
        runs = []
        for log, at in cursors.items():
            first = max(at, 1) - 1
            run = self._logs.get(log, [])[first : first + wanted]
            if run:
                runs.append(run)
        merged = runs[0] if len(runs) == 1 else heapq.merge(*runs, key=lambda stored: stored.arrival)
        return self._read(merged, bytes_max, wanted)

    def commit(self, log: LogId, sequence: int) -> StoredCommit | None:
        """One commit."""
        self._guard()
        commits = self._logs.get(log, [])
        return self._sound(commits[sequence - 1]) if 1 <= sequence <= len(commits) else None

    def backlog(self, cursors: Mapping[LogId, int]) -> tuple[int, int]:
        """Number and bytes of the commits that `feeds` would give without limits."""
        self._guard()
        commits = size = 0
        for log, at in cursors.items():
            run = self._logs.get(log, [])[max(at, 1) - 1 :]
            commits += len(run)
            size += sum(stored.commit.size for stored in run)
        return commits, size


def _assign(target: dict[Any, bytes], values: Mapping[Any, bytes | None]) -> None:
    for name, value in values.items():
        if value is None:
            target.pop(name, None)
        else:
            target[name] = value
