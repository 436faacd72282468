"""The store of a replica on disk: `log.db`, `keys.db`, `view.db` and `lock` in one folder.

    log.db    plain SQLite, WAL, FULL: sealed commits as received, membership records, small values
    keys.db   plain SQLite, WAL, FULL, secure_delete: wrapped data keys
    view.db   SQLCipher, WAL, NORMAL: documents, tables, words, conflicts; derived from the log

A kill at any place loses nothing that was acknowledged (L1). A power cut loses nothing of the log and the keys, and at
most the newest transactions of the view, which says up to which arrival it was derived (L8).
"""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

from crdtsync.errors import DamagedFile, StorageFailure
from crdtsync.storage.database import DISK_ERRORS, KEYS_FILE, LOG_FILE, sync_folder
from crdtsync.storage.lock import FolderLock
from crdtsync.storage.sqlite_keys import SqliteKeys
from crdtsync.storage.sqlite_persons import SqlitePersons


class SqliteStore(SqlitePersons, SqliteKeys):
    """A `Store` in `folder`, which must exist. One thread makes it, uses it and closes it.

    `view_key`: 32 bytes that encrypt `view.db`. `create`: False refuses a folder without `log.db` or `keys.db`, so that
    one that went missing is noticed. `lock`: the folder's lock when the caller holds it already and gives it back
    itself; without it the store takes the lock and gives it back in `close`.

    Raises AlreadyOpen when another process has the folder, DamagedFile when the log or the keys are not what was
    written, RefusedError when a newer version of this program wrote them, StorageFailure when the disk refuses. A view
    is never a reason to fail: one that cannot be used is replaced by an empty one.
    """

    def __init__(
        self, folder: str | Path, view_key: bytes, *, create: bool = True, lock: FolderLock | None = None
    ) -> None:
        self.folder = Path(folder)
        self._own_lock = None if lock is not None and lock.held else FolderLock(self.folder)
        try:
            if not create:
                self._refuse_missing()
            self._open_keys(self.folder)
            self._open_log(self.folder)
            self._open_view(self.folder, view_key)
            # Databases and their write-ahead logs all exist now. SQLite syncs the folder itself, but does not tell when
            # that fails.
            sync_folder(self.folder)
        except BaseException as error:
            self.close()
            if isinstance(error, OSError):
                raise StorageFailure(f"the folder cannot be used ({error.strerror})") from None
            raise

    def _refuse_missing(self) -> None:
        """An empty file is one whose content is gone: it would be taken for a new one. Keys cannot be derived either:
        nobody would miss them until a commit is read again."""
        for name in (LOG_FILE.name, KEYS_FILE.name):
            file = self.folder / name
            if not file.exists() or not file.stat().st_size:
                raise DamagedFile(
                    f"{name} is missing from this folder, or empty; restore it from a backup, or join again as a new "
                    "site"
                )

    def close(self) -> None:
        """Give files and lock back. Idempotent. A transaction of the view that is open is dropped."""
        self._closed = True
        self._close_view()
        for name in ("_log_db", "_keys_db"):
            db = vars(self).get(name)  # not there when opening failed
            if db is not None:
                with suppress(*DISK_ERRORS):
                    db.close()
        if self._own_lock is not None:
            self._own_lock.release()
