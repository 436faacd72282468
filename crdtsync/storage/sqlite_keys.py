"""`keys.db`: wrapped data keys, synced when a call returns (L1), and destroyed so that no byte of them stays."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

from crdtsync.ids import DataKeyId
from crdtsync.replication.stored import KeyObject, key_object
from crdtsync.storage.database import KEYS_FILE, open_plain, rows, sync_file, transaction
from crdtsync.storage.part import StorePart, guarded

_INSERT: Final = (
    "INSERT INTO data_key (id, epoch, subject, wrapped) VALUES (?, ?, ?, ?) ON CONFLICT (id) DO UPDATE "
    "SET epoch = excluded.epoch, subject = excluded.subject, wrapped = excluded.wrapped "
    "WHERE epoch IS NOT excluded.epoch OR subject IS NOT excluded.subject OR wrapped IS NOT excluded.wrapped"
)


class SqliteKeys(StorePart):
    """The keys of a `SqliteStore`.

    A key whose bytes have rotted is not here: its id is a hash of them. What is sealed with it waits, and whoever has
    the key is asked for it, as for any that is missing.
    """

    _keys_db: sqlite3.Connection
    _keys_wal: Path

    def _open_keys(self, folder: Path) -> None:
        self._keys_db = open_plain(folder, KEYS_FILE)
        self._keys_wal = folder / f"{KEYS_FILE.name}-wal"

    @guarded(KEYS_FILE)
    def put_keys(self, keys: Sequence[KeyObject]) -> None:
        """Keep wrapped data keys, with one sync; ones already kept are skipped, and replaced where they have rotted."""
        if not keys:
            return
        with transaction(self._keys_db) as db:
            db.executemany(
                _INSERT,
                [(key.id, key.epoch, key.subject, key.wrapped) for key in keys],
            )
        self._copy_when_due(KEYS_FILE, self._keys_db)

    @guarded(KEYS_FILE)
    def keys(self, ids: Iterable[DataKeyId]) -> dict[DataKeyId, KeyObject]:
        """Those of the named keys that are here."""
        execute, sql = self._keys_db.execute, "SELECT id, epoch, subject, wrapped FROM data_key WHERE id = ?"
        found = (execute(sql, (id_,)).fetchone() for id_ in ids)
        return {key.id: key for key in _whole(row for row in found if row)}

    @guarded(KEYS_FILE)
    def key_of_subject(self, subject: str) -> list[KeyObject]:
        """All keys of a subject, by id."""
        sql = "SELECT id, epoch, subject, wrapped FROM data_key WHERE subject = ? ORDER BY id"
        return list(_whole(rows(self._keys_db, sql, (subject,))))

    @guarded(KEYS_FILE)
    def keys_behind(self, after: DataKeyId, limit: int) -> list[KeyObject]:
        """Keys in order of their ids, beginning behind `after`."""
        sql = "SELECT id, epoch, subject, wrapped FROM data_key WHERE id > ? ORDER BY id LIMIT ?"
        while page := rows(self._keys_db, sql, (after, max(limit, 1))):
            if whole := list(_whole(page)):
                return whole
            after = page[-1][0]  # a page of nothing but rot is not the end
        return []

    @guarded(KEYS_FILE)
    def erase_keys(self, ids: Iterable[DataKeyId]) -> None:
        """Destroy keys so that no byte of them stays in a file.

        `secure_delete` overwrites deleted rows in the database; the write-ahead log, which still has them, is emptied
        by a truncating checkpoint (measured: without both, 90 to 100 of 100 deleted keys were still on disk). That is
        synced as well, which SQLite does not do: after a power cut the keys would be in the file again. Raises
        StorageFailure when another program reads the file, since then the log cannot be emptied.
        """
        gone = [(id_,) for id_ in ids]
        if not gone:
            return
        with transaction(self._keys_db) as db:
            db.executemany("DELETE FROM data_key WHERE id = ?", gone)
        busy = db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0]
        if busy:
            raise sqlite3.OperationalError("another program reads this file, so erased keys are still in it")
        try:
            sync_file(self._keys_wal)
        except OSError as error:
            raise sqlite3.OperationalError(f"erased keys may still be in it ({error.strerror})") from None


def _whole(found: Iterable[tuple[Any, ...]]) -> Iterator[KeyObject]:
    for id_, epoch, subject, wrapped in found:
        with suppress(TypeError, ValueError):  # also of another type than was written
            key = key_object(epoch, subject, wrapped)
            if key.id == id_:
                yield key
