"""`log.db`: commits in order of arrival, membership records and small values; synced when a call returns (L1)."""

from __future__ import annotations

import heapq
import json
import sqlite3
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from crdtsync import limits
from crdtsync.errors import BadSignature, CrdtSyncError, DamagedFile, RottenCommit, StorageFailure, UsageError
from crdtsync.ids import Head, LogId, MemberHash
from crdtsync.replication.codec import pack, unpack
from crdtsync.replication.commit import Commit, commit_from_items
from crdtsync.replication.stored import EMPTY_LOG, LogHead, StoredCommit, next_head
from crdtsync.storage.base import NO_NOTES, Notes
from crdtsync.storage.checks import NOTHING_YET, check_again, check_sound, heads_after, until_rotten, within
from crdtsync.storage.database import DISK_ERRORS, LOG_FILE, open_plain, rows, transaction
from crdtsync.storage.part import StorePart, guarded

_COLUMNS: Final = (
    "entry.arrival, log, sequence, arrived_ms, checked, header, parts, signature, chain, "
    "(SELECT chain FROM entry AS earlier WHERE earlier.arrival = entry.arrival - 1)"
)
_INSERT: Final = (
    "INSERT INTO entry (arrival, log, sequence, log_bytes, arrived_ms, checked, chain, header, parts, signature) "
    "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
)
_LOST: Final = "log.db has lost commits; restore the folder from a backup, or join again as a new site"
_PARTS_BYTES_MAX: Final = limits.commit_bytes_max + 8 * limits.parts_per_commit_max


def _as_written(row: Sequence[Any] | None, *kinds: type) -> Sequence[Any]:
    """A row, unless a value in it is of another type than was written: a column of SQLite holds any."""
    if row is None or any(type(value) is not kind for value, kind in zip(row, kinds, strict=True)):
        raise StorageFailure(
            "log.db holds something else than was written there; restore the folder from a backup, or join again as a "
            "new site"
        )
    return row


class SqliteLog(StorePart):
    """The log of a `SqliteStore`. Heads of all logs are kept in memory: some hundred bytes per replica and boot.

    A disk that rots is noticed at reading: each commit is compared with the running hash on both sides of it, its parts
    with what its header says of them, and its place with the one that was asked for. Raises StorageFailure then, for
    that commit alone. Signatures are left to those who have the keys.
    """

    _log_db: sqlite3.Connection

    def _open_log(self, folder: Path) -> None:
        self._log_db = open_plain(folder, LOG_FILE)
        try:
            self._load_heads()
        except DISK_ERRORS as error:
            raise self._failed(error, LOG_FILE) from None

    def _load_heads(self) -> None:
        db = self._log_db
        last = db.execute("SELECT arrival, chain FROM entry ORDER BY arrival DESC LIMIT 1").fetchone()
        self._log_head = LogHead(*last) if last else EMPTY_LOG
        if type(self._log_head.chain) is not bytes:
            raise DamagedFile(_LOST)
        self._log_numbers: dict[LogId, int] = {}
        self._log_heads: dict[LogId, Head] = {}
        self._log_bytes: dict[LogId, int] = {}
        for number, id_ in rows(db, "SELECT number, id FROM log"):
            log = LogId(id_)
            newest = f"SELECT log_bytes, {_COLUMNS} FROM entry WHERE log = ? ORDER BY sequence DESC LIMIT 1"
            row = db.execute(newest, (number,)).fetchone()
            if row is None:  # a log is entered together with its first commit
                raise DamagedFile(_LOST)
            if type(row[0]) is not int:
                raise DamagedFile(_LOST)
            self._log_numbers[log] = number
            try:
                self._log_heads[log] = self._decoded(*row[1:]).commit.head
            except RottenCommit:
                raise DamagedFile(
                    "log.db: the newest commit of a log is not what was written; restore the folder from a backup, or "
                    "join again as a new site"
                ) from None
            self._log_bytes[log] = row[0]

    # -- small values, members ----------------------------------------------------------------------------------------

    @guarded(LOG_FILE)
    def meta(self, name: str) -> bytes | None:
        """A small value, or None."""
        row = self._log_db.execute("SELECT value FROM meta WHERE name = ?", (name,)).fetchone()
        if row and type(row[0]) is not bytes:
            raise _rotten("a small value is")
        return row[0] if row else None

    @guarded(LOG_FILE)
    def set_meta(self, values: Mapping[str, bytes | None]) -> None:
        """Write small values in one synced transaction; None removes."""
        with transaction(self._log_db) as db:
            _write_small(db, values)
        self._copy_when_due(LOG_FILE, self._log_db)

    @guarded(LOG_FILE)
    def add_members(self, records: Sequence[tuple[MemberHash, bytes]]) -> None:
        """Keep membership records in the order given; ones already kept are skipped."""
        with transaction(self._log_db) as db:
            db.executemany("INSERT OR IGNORE INTO member (hash, record) VALUES (?, ?)", records)
        self._copy_when_due(LOG_FILE, self._log_db)

    @guarded(LOG_FILE)
    def members(self) -> list[bytes]:
        """All membership records, in the order in which they were added."""
        found = [row[0] for row in rows(self._log_db, "SELECT record FROM member ORDER BY number")]
        if not all(type(record) is bytes for record in found):
            raise _rotten("a membership record is")
        return found

    # -- the log -------------------------------------------------------------------------------------------------------

    @guarded(LOG_FILE)
    def append(self, commits: Sequence[tuple[Commit, bool]], arrived_ms: int, notes: Notes = NO_NOTES) -> LogHead:
        """Append commits in a causal order and write `notes`, all or none, with one sync. Raises UsageError for a gap
        or a fork (L3)."""
        return self._append(commits, [arrived_ms] * len(commits), notes)

    @guarded(LOG_FILE)
    def append_again(self, stored: Sequence[StoredCommit]) -> LogHead:
        """Append commits with the times of arrival that an earlier store of this log had kept."""
        check_again(stored, self._log_head)
        return self._append([(one.commit, one.checked) for one in stored], [one.arrived_ms for one in stored], NO_NOTES)

    def _append(self, commits: Sequence[tuple[Commit, bool]], times: Sequence[int], notes: Notes) -> LogHead:
        heads = heads_after(commits, self._last)
        if not commits and not notes:
            return self._log_head
        new_logs = {log: number for number, log in enumerate(heads.keys() - self._log_numbers.keys(), self._next_log())}
        numbers, sizes = {**self._log_numbers, **new_logs}, {log: self._log_bytes.get(log, 0) for log in heads}
        head, entries = self._log_head, []
        for (commit, checked), arrived_ms in zip(commits, times, strict=True):
            header = commit.header
            log = header.log
            head = next_head(head, commit)
            sizes[log] += commit.size
            place = (head.arrival, numbers[log], header.sequence, sizes[log], arrived_ms, checked, head.chain)
            entries.append((*place, commit.header_bytes, pack(commit.parts), commit.signature))
        with transaction(self._log_db) as db:
            db.executemany("INSERT INTO log (number, id) VALUES (?, ?)", [(n, log) for log, n in new_logs.items()])
            db.executemany(_INSERT, entries)
            _write_small(db, notes)
        # Only now, on disk and synced, is it the head that others may learn (L1).
        self._log_head = head
        self._log_numbers.update(new_logs)
        self._log_heads.update(heads)
        self._log_bytes.update(sizes)
        self._copy_when_due(LOG_FILE, self._log_db)
        return head

    def _last(self, log: LogId) -> Head:
        return self._log_heads.get(log, NOTHING_YET)

    def _next_log(self) -> int:
        return max(self._log_numbers.values(), default=0) + 1

    @guarded(LOG_FILE)
    def log_head(self) -> LogHead:
        """How far the log goes."""
        return self._log_head

    @guarded(LOG_FILE)
    def frontier(self) -> dict[LogId, Head]:
        """Per log the last commit that is here."""
        return dict(self._log_heads)

    @guarded(LOG_FILE)
    def arrivals(self, after: int, commits_max: int, bytes_max: int) -> list[StoredCommit]:
        """Commits in order of arrival, beginning behind `after`."""
        sql = f"SELECT {_COLUMNS} FROM entry WHERE arrival > ? ORDER BY arrival LIMIT ?"
        found = self._take(self._log_db.execute(sql, (after, max(commits_max, 1))), bytes_max)
        whole = all(stored.arrival == number for number, stored in enumerate(found, max(after, 0) + 1))
        if not whole or (not found and after < self._log_head.arrival):
            raise _rotten(f"the commits behind arrival {after} are")
        return found

    @guarded(LOG_FILE)
    def feeds(self, cursors: Mapping[LogId, int], commits_max: int, bytes_max: int) -> list[StoredCommit]:
        """Commits of the named logs, each from its cursor's sequence on, merged in order of arrival."""
        db, limit = self._log_db, max(commits_max, 1)
        some = ((log, at) for log, at in cursors.items() if log in self._log_heads)
        active = [(self._log_numbers[log], at) for log, at in some if at <= self._last(log).sequence]
        if not active:
            return []
        if len(active) == 1:
            sql = f"SELECT {_COLUMNS} FROM entry WHERE log = ? AND sequence >= ? ORDER BY sequence LIMIT ?"
            return self._gapless(cursors, self._take(db.execute(sql, (*active[0], limit)), bytes_max))
        # Within one log sequences arrive in order, so the index alone gives each log's arrivals, sorted.
        sql = "SELECT arrival FROM entry WHERE log = ? AND sequence >= ? ORDER BY sequence LIMIT ?"
        runs = [db.execute(sql, (*one, limit)) for one in active]
        places = [row[0] for row, _ in zip(heapq.merge(*runs), range(limit), strict=False)]
        sql = (
            f"SELECT {_COLUMNS} FROM json_each(?) AS place JOIN entry ON entry.arrival = place.value ORDER BY place.id"
        )
        return self._gapless(cursors, self._take(db.execute(sql, (json.dumps(places),)), bytes_max))

    def _gapless(self, cursors: Mapping[LogId, int], found: list[StoredCommit]) -> list[StoredCommit]:
        """What a feed was asked for, or StorageFailure."""
        due: dict[LogId, int] = {}
        for stored in found:
            header = stored.commit.header
            expected = due.get(header.log) or max(cursors[header.log], 1)
            if header.sequence != expected:
                raise _rotten(f"commit {expected} of a log is")
            due[header.log] = expected + 1
        if not found:
            raise _rotten("commits of a log are")
        return found

    @guarded(LOG_FILE)
    def commit(self, log: LogId, sequence: int) -> StoredCommit | None:
        """One commit."""
        if log not in self._log_numbers:
            return None
        sql = f"SELECT {_COLUMNS} FROM entry WHERE log = ? AND sequence = ?"
        found = self._take(self._log_db.execute(sql, (self._log_numbers[log], sequence)), 0)
        if not found and 1 <= sequence <= self._last(log).sequence:
            raise _rotten(f"commit {sequence} of a log is")
        return found[0] if found else None

    @guarded(LOG_FILE)
    def backlog(self, cursors: Mapping[LogId, int]) -> tuple[int, int]:
        """Number and bytes of the commits that `feeds` would give without limits; a look-up per log."""
        commits = size = 0
        for log, at in cursors.items():
            last = self._last(log).sequence
            if at > last or not last:
                continue
            commits += last - max(at, 1) + 1
            size += self._log_bytes[log]
            if at > 1:
                sql = "SELECT log_bytes FROM entry WHERE log = ? AND sequence = ?"
                size -= _as_written(self._log_db.execute(sql, (self._log_numbers[log], at - 1)).fetchone(), int)[0]
        return commits, size

    @guarded(LOG_FILE)
    def goes_on_from(self, head: LogHead) -> bool:
        """Whether the log up to that arrival is the one that `head` sums up."""
        return self._is_prefix(head)

    def _is_prefix(self, head: LogHead) -> bool:
        """Whether the log, up to that arrival, is the one that `head` sums up (L1)."""
        if head.arrival == 0:
            return head == EMPTY_LOG
        row = self._log_db.execute("SELECT chain FROM entry WHERE arrival = ?", (head.arrival,)).fetchone()
        return row is not None and bool(row[0] == head.chain)

    @guarded(LOG_FILE)
    def check_log(self, after: int, commits_max: int) -> tuple[list[StoredCommit], list[RottenCommit]]:
        """Go over the stored commits behind arrival `after`: those that are sound, and those that are not."""
        sound: list[StoredCommit] = []
        rotten: list[RottenCommit] = []
        sql = f"SELECT {_COLUMNS} FROM entry WHERE arrival > ? ORDER BY arrival LIMIT ?"
        for row in rows(self._log_db, sql, (after, max(commits_max, 1))):
            try:
                sound.append(self._decoded(*row))
            except RottenCommit as error:
                rotten.append(error)
        return sound, rotten

    @guarded(LOG_FILE)
    def uncheck(self, arrival: int) -> None:
        """Note that the signature of this commit was not verified."""
        with transaction(self._log_db) as db:
            db.execute("UPDATE entry SET checked = 0 WHERE arrival = ?", (arrival,))

    @guarded(LOG_FILE)
    def mend(self, arrival: int, commit: Commit) -> None:
        """Put a commit's bytes in the place of rotten ones, synced. Raises BadSignature when it is another one."""
        db = self._log_db
        sql = (
            "SELECT entry.chain, (SELECT chain FROM entry AS before WHERE before.arrival = entry.arrival - 1) "
            "FROM entry WHERE arrival = ?"
        )
        row = db.execute(sql, (arrival,)).fetchone()
        if row is None:
            raise UsageError(f"there is no commit at arrival {arrival} to be mended")
        check_sound(_before(arrival, row[1]), commit, row[0])
        if not all(commit.parts):
            raise BadSignature("a commit without all of its content mends nothing")
        with transaction(db):
            sql = "UPDATE entry SET header = ?, parts = ?, signature = ? WHERE arrival = ?"
            db.execute(sql, (commit.header_bytes, pack(commit.parts), commit.signature, arrival))

    def _take(self, found: Iterable[Any], bytes_max: int) -> list[StoredCommit]:
        return within(until_rotten(self._decoded(*row) for row in found), bytes_max)

    def _decoded(
        self,
        arrival: int,
        number: int,
        sequence: int,
        arrived_ms: int,
        checked: int,
        header: bytes,
        parts: bytes,
        signature: bytes,
        chain: bytes,
        before: bytes | None,
    ) -> StoredCommit:
        try:
            _as_written((arrived_ms, checked, header, parts, signature), int, int, bytes, bytes, bytes)
            sealed = unpack(parts, bytes_max=_PARTS_BYTES_MAX, what="stored parts")
            commit = commit_from_items([header, sealed, signature])
            check_sound(_before(arrival, before), commit, chain)
            place = (self._log_numbers.get(commit.header.log), commit.header.sequence)
            whole = place == (number, sequence)
        except (CrdtSyncError, TypeError, ValueError):
            whole = False
        if not whole:
            log = next((log for log, known in self._log_numbers.items() if known == number), LogId(b""))
            raise RottenCommit(arrival, log, sequence if type(sequence) is int else 0)
        return StoredCommit(arrival, arrived_ms, commit, bool(checked))


def _before(arrival: int, chain: bytes | None) -> LogHead:
    """The head of the log before an arrival. Raises BadSignature when that commit is not here."""
    if arrival == 1:
        return EMPTY_LOG
    if chain is None:
        raise BadSignature("the commit before it is not here")
    return LogHead(arrival - 1, chain)


def _rotten(what: str) -> StorageFailure:
    return StorageFailure(
        f"log.db: {what} not what was written; restore the folder from a backup, or join again as a new site"
    )


def _write_small(db: sqlite3.Connection, values: Notes) -> None:
    """Write small values in the transaction that is open."""
    removed = [(name,) for name, value in values.items() if value is None]
    written = [(name, value) for name, value in values.items() if value is not None]
    if removed:
        db.executemany("DELETE FROM meta WHERE name = ?", removed)
    if written:
        db.executemany("INSERT OR REPLACE INTO meta (name, value) VALUES (?, ?)", written)
