"""Stores that are wrong on purpose: each breaks one promise, and each must be found.

A plant changes how the child opens its store, and where needed how the judge does.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from crdtsync import folder
from crdtsync.ids import DataKeyId
from crdtsync.replication.commit import Commit
from crdtsync.replication.stored import KeyObject, LogHead, next_head
from crdtsync.storage import database, sqlite
from crdtsync.storage.base import NO_NOTES, Notes, ViewState
from crdtsync.storage.database import sync_file
from crdtsync.storage.sqlite import SqliteStore
from crdtsync.testing.realdisk.work import OpenStore, open_store


@dataclass(frozen=True, slots=True)
class Plant:
    """What is wrong (`about`), and how it is brought in. `prepare` runs once in the child."""

    about: str
    child: OpenStore
    judge: OpenStore = open_store
    prepare: Callable[[], None] = lambda: None


def _synchronous(level: int) -> OpenStore:
    def opened(place: Path, view_key: bytes) -> SqliteStore:
        store = open_store(place, view_key)
        store._log_db.execute(f"PRAGMA synchronous = {level}")
        return store

    return opened


class _KeysLast(SqliteStore):
    """Keys reach the disk behind the commits that use them."""

    _held: Sequence[KeyObject] = ()

    def put_keys(self, keys: Sequence[KeyObject]) -> None:
        self._held = [*self._held, *keys]

    def append(self, commits: Sequence[tuple[Commit, bool]], arrived_ms: int, notes: Notes = NO_NOTES) -> LogHead:
        head = super().append(commits, arrived_ms, notes)
        held, self._held = self._held, ()
        super().put_keys(held)
        return head


class _ViewFirst(SqliteStore):
    """The view's transaction ends before the log has what it was derived from, and nobody looks at opening."""

    def append(self, commits: Sequence[tuple[Commit, bool]], arrived_ms: int, notes: Notes = NO_NOTES) -> LogHead:
        if self._in_view:
            head, before = self._log_head, self._view_state
            for commit, _ in commits:
                head = next_head(head, commit)
            self._log_head = head
            super().commit_view(ViewState(head, before.digest, before.records))
            self._log_head = LogHead(head.arrival - len(commits), before.head.chain)
            head = super().append(commits, arrived_ms, notes)
            self.begin_view()
            return head
        return super().append(commits, arrived_ms, notes)

    def _is_prefix(self, head: LogHead) -> bool:
        return True


class _Erases(SqliteStore):
    """Erased keys stay in the write-ahead log."""

    def erase_keys(self, ids: Iterable[DataKeyId]) -> None:
        for id_ in ids:
            self._keys_db.execute("DELETE FROM data_key WHERE id = ?", (id_,))


class _SyncsAgain(SqliteStore):
    """The log is synced by a call of its own; one that fails is made again, and the second answer believed."""

    def append(self, commits: Sequence[tuple[Commit, bool]], arrived_ms: int, notes: Notes = NO_NOTES) -> LogHead:
        self._log_db.execute("PRAGMA synchronous = 1")
        head = super().append(commits, arrived_ms, notes)
        wal = self.folder / "log.db-wal"
        try:
            sync_file(wal)
        except OSError:
            sync_file(wal)
        self._log_db.execute("PRAGMA synchronous = 2")
        return head


def _of(kind: type[SqliteStore]) -> OpenStore:
    return lambda place, view_key: kind(place, view_key, create=False)


def _no_folder_sync() -> None:
    def forgotten(path: Path) -> None: ...

    vars(folder)["sync_folder"] = forgotten
    vars(sqlite)["sync_folder"] = forgotten


def _no_settling() -> None:
    def believed(wal: Path) -> None: ...

    vars(database)["settle"] = believed


PLANTED: Final = {
    "log-off": Plant("log.db is never synced", _synchronous(0)),
    "log-normal": Plant("log.db is synced at checkpoints only", _synchronous(1)),
    "keys-last": Plant("keys are written behind the log", _of(_KeysLast)),
    "view-first": Plant("the view ends before its log", _of(_ViewFirst), _of(_ViewFirst)),
    "no-folder-sync": Plant("names of new files are not synced", open_store, prepare=_no_folder_sync),
    "erased-stay": Plant("erased keys stay in the write-ahead log", _of(_Erases)),
}
"""Found by power cuts alone."""
PLANTED_FAULTS: Final = {
    "syncs-again": Plant("a sync that failed is made again", _of(_SyncsAgain)),
    "no-settling": Plant("what a failed sync left is built on", open_store, prepare=_no_settling),
}
"""Found when calls fail."""
