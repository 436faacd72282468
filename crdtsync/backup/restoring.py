"""A site's folder from a backup: the same site again, as it was, that first fetches what it wrote since (L4).

The folder is filled beside its place and appears with one rename, as every new one; a process that is killed leaves
nothing that looks like a site. No proof of continuity comes along, so the next process opens a fresh boot: no commit id
is used twice. It is *recovering*: until one of the other sites has told what it holds, and that is here, nothing is
written; alone in the practice it writes at once. The view is derived from the log when the site is opened (L8).
"""

from __future__ import annotations

import secrets
import shutil
import time
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

from crdtsync.backup.opening import Backup, chosen, opened_by_passphrase, reading, shown_time
from crdtsync.backup.schedule import META_RESTORED
from crdtsync.backup.vault import Progress, disk
from crdtsync.errors import AlreadyOpen, DamagedFile, StorageFailure, UsageError
from crdtsync.folder import KEY_FILE, check_free, discard
from crdtsync.host import META_RECOVERING
from crdtsync.ids import MemberHash
from crdtsync.numbers import CLOSED
from crdtsync.replication.codec import pack
from crdtsync.storage.database import sync_file, sync_folder
from crdtsync.storage.lock import FolderLock
from crdtsync.storage.sqlite import SqliteStore

_BATCH: Final = 1_000


def restore(
    source: Path, into: Path, passphrase: str, *, at_ms: int | None = None, progress: Progress | None = None
) -> dict[str, Any]:
    """Make the folder `into`, new or empty, from the newest backup at `source`, or the newest not after `at_ms`.

    Blocking. Gives `site`, `practice`, `taken`, `commits`. Raises RefusedError for a folder that is not empty,
    WrongPassphrase, DamagedFile for a backup that is not what was written, NotFound, StorageFailure.
    """
    check_free(into)
    with reading(source) as vault:
        backup = opened_by_passphrase(vault, chosen(vault, at_ms), passphrase)
        assert backup.keys_file is not None, "a passphrase opens the key file"
        meta = {**backup.body.meta, META_RECOVERING: b"1", **CLOSED}
        records = backup.membership.records()
        fill(into, backup, backup.index.clear.key_file, backup.keys_file.view_key, records, meta, progress)
        return told(backup)


def told(backup: Backup) -> dict[str, Any]:
    """What was restored."""
    return {
        "practice": backup.body.practice_name,
        "site": backup.body.site_name,
        "taken": shown_time(backup.index.clear.taken_ms),
        "commits": backup.body.head.arrival,
    }


def fill(
    into: Path,
    backup: Backup,
    key_file: bytes,
    view_key: bytes,
    records: Iterable[tuple[MemberHash, bytes]],
    meta: Mapping[str, bytes],
    progress: Progress | None,
) -> None:
    """Make the folder with these keys, membership and small values, and with the backup's data keys and commits."""
    remove_drafts(into)
    draft = into.with_name(f".{into.name}.{secrets.token_hex(4)}.new")
    lock: FolderLock | None = None
    try:
        with disk(into, "cannot write"):
            draft.mkdir(mode=0o700)
            lock = FolderLock(draft)
            (draft / KEY_FILE).touch(mode=0o600)
            (draft / KEY_FILE).write_bytes(key_file)
            sync_file(draft / KEY_FILE)
        store = SqliteStore(draft, view_key, lock=lock)
        try:
            restored = pack([backup.index.clear.taken_ms, time.time_ns() // 1_000_000])
            store.add_members(list(records))
            store.set_meta({**meta, META_RESTORED: restored})
            _fill(store, backup, progress)
        finally:
            store.close()
        lock.release()
        with disk(into, "cannot write"):
            if into.exists():
                into.rmdir()
            draft.rename(into)
            try:
                sync_folder(into.parent)
            except OSError:
                discard(into)
                if into.exists():  # nor did the disk take its name away again
                    raise StorageFailure(
                        f"{into} is restored, but its disk does not say that it stays there: remove that folder, see "
                        "to the disk, and restore again"
                    ) from None
                raise
    finally:
        if lock is not None:
            lock.release()
        shutil.rmtree(draft, ignore_errors=True)


def _fill(store: SqliteStore, backup: Backup, progress: Progress | None) -> None:
    total = backup.body.head.arrival
    for keys in backup.data_keys():  # before the commits that need them (L1)
        store.put_keys(keys)
    try:
        for piece in backup.commits():
            for at in range(0, len(piece), _BATCH):
                head = store.append_again(piece[at : at + _BATCH])
                if progress is not None:
                    progress(head.arrival, total)
    except UsageError:
        raise DamagedFile("the backup holds commits that do not follow each other; use another backup") from None
    if store.log_head() != backup.body.head or store.frontier() != dict(backup.body.frontier):
        raise DamagedFile("the backup holds another state than it says; use another backup")


def remove_drafts(into: Path) -> None:
    """Remove what processes that were killed while they filled this folder left beside it."""
    for left in into.parent.glob(f".{into.name}.*.new"):
        with suppress(AlreadyOpen, StorageFailure):
            FolderLock(left).release()  # whoever still fills it holds this lock
            shutil.rmtree(left, ignore_errors=True)
