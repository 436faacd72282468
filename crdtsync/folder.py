"""A replica's folder: how it is made whole or not at all, locked, opened and closed.

    replica.key   seeds and the view's key, under the passphrase
    log.db        sealed commits, membership records and small values, plain SQLite
    keys.db       wrapped data keys
    view.db       documents and tables, SQLCipher, derived from the log
    lock          held by the process that writes here
    deriving      what a process that died was about to take into the view

A new folder is filled beside its place and moved there with one rename, so a crash while founding or joining leaves
nothing behind that looks like a replica.
"""

from __future__ import annotations

import os
import secrets
import shutil
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import anyio.to_thread

from crdtsync.engine.watch import Watch
from crdtsync.errors import DamagedFile, NotFound, RefusedError, StorageFailure
from crdtsync.host import Host
from crdtsync.ids import MemberHash, PracticeId, ReplicaId
from crdtsync.replication.membership import Membership
from crdtsync.sealing.derivation import derive
from crdtsync.sealing.identity import Identity
from crdtsync.sealing.keyfile import KeyFile, is_fast, open_keyfile, seal_keyfile
from crdtsync.sealing.suite1 import Suite1
from crdtsync.storage.continuity import Continuity
from crdtsync.storage.database import sync_folder
from crdtsync.storage.lock import FolderLock
from crdtsync.storage.marker import Marker
from crdtsync.storage.sqlite import SqliteStore

KEY_FILE = "replica.key"
_DOMAIN_KEPT = b"crdtsync/kept-key/1"
_KEY_FILE_BYTES_MAX = 64 * 1024


def new_keys() -> KeyFile:
    """Fresh random keys for a replica."""
    return KeyFile(
        sig_seed=secrets.token_bytes(32),
        tls_seed=secrets.token_bytes(32),
        kem_seed=secrets.token_bytes(96),
        view_key=secrets.token_bytes(32),
    )


def check_free(path: Path) -> None:
    """Refuse a place where something is already."""
    if path.exists() and (not path.is_dir() or any(path.iterdir())):
        raise RefusedError(f"{path} exists already and is not empty; name a folder that does not exist yet")
    if not path.parent.is_dir():
        raise RefusedError(f"the folder {path.parent} does not exist; make it first")


def make(
    path: Path,
    keys: KeyFile,
    passphrase: str,
    records: Iterable[tuple[MemberHash, bytes]],
    meta: dict[str, bytes],
    *,
    fast: bool,
) -> None:
    """Make the folder of a new replica that knows these membership records. Blocking: Argon2id takes its time.

    Raises RefusedError when the place is taken, StorageFailure when the disk refuses.
    """
    check_free(path)
    sealed = seal_keyfile(keys, passphrase, salt=secrets.token_bytes(16), nonce=secrets.token_bytes(12), fast=fast)
    draft = path.with_name(f".{path.name}.{secrets.token_hex(4)}.new")
    try:
        draft.mkdir(mode=0o700)
        _write_synced(draft / KEY_FILE, sealed)
        store = SqliteStore(draft, keys.view_key)
        try:
            store.add_members(list(records))
            store.set_meta(meta)
        finally:
            store.close()
        if path.exists():
            path.rmdir()
        draft.rename(path)
        try:
            sync_folder(path.parent)
        except OSError:
            discard(path)
            raise
    except OSError as error:
        raise StorageFailure(f"cannot write {path}: {error.strerror}; check the disk and its rights") from error
    finally:
        shutil.rmtree(draft, ignore_errors=True)


def discard(path: Path) -> None:
    """Remove a folder that was made a moment ago and that nobody has used.

    First its name, on disk, then its files: a power cut in between leaves nothing that looks like a replica. Where the
    disk refuses that, the files stay under another name.
    """
    doomed = path.with_name(f".{path.name}.{secrets.token_hex(4)}.old")
    with suppress(OSError):
        path.rename(doomed)
        sync_folder(path.parent)
        shutil.rmtree(doomed, ignore_errors=True)


def _write_synced(path: Path, data: bytes) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def read_key_file(path: Path) -> bytes:
    """The bytes of a replica's key file. Raises NotFound when `path` is no replica's folder."""
    file = path / KEY_FILE
    try:
        if file.stat().st_size > _KEY_FILE_BYTES_MAX:
            raise DamagedFile(f"{file} is not a key file; restore it from a backup")
        return file.read_bytes()
    except FileNotFoundError:
        raise NotFound(
            f"{path} is not a crdtsync folder (it has no {KEY_FILE}); make one with `create` or `join`"
        ) from None
    except OSError as error:
        raise StorageFailure(f"cannot read {file}: {error.strerror}") from error


@dataclass(frozen=True, slots=True)
class Unlocked:
    """A folder that this process holds: its keys are open, its databases are not yet."""

    path: Path
    lock: FolderLock
    identity: Identity
    view_key: bytes
    fast: bool

    def host(self, membership: Membership, practice: PracticeId) -> Callable[[], Host]:
        """What makes the host, to be called in the store's thread."""
        identity = self.identity
        replica: ReplicaId = identity.public.replica

        def make_host() -> Host:
            store = SqliteStore(self.path, self.view_key, create=False, lock=self.lock)
            watch = None
            try:
                watch = Watch(store, Marker(self.path))
                return Host(
                    store,
                    Suite1(identity, secrets.token_bytes),
                    Continuity(self.path, replica, self.path / "log.db"),
                    practice=practice,
                    replica=replica,
                    membership=membership.state(),
                    now_ms=wall_ms,
                    watch=watch,
                    secret=derive(self.view_key, b"", _DOMAIN_KEPT),
                )
            except BaseException:
                if watch is not None:
                    watch.close()
                store.close()
                raise

        return make_host


def wall_ms() -> int:
    """The wall clock, in milliseconds since 1970."""
    return time.time_ns() // 1_000_000


async def unlock(path: Path, passphrase: str) -> Unlocked:
    """Take the folder's lock and open its keys.

    Raises NotFound, AlreadyOpen, WrongPassphrase, DamagedFile. Cancelling gives the lock back.
    """
    data = read_key_file(path)
    lock = FolderLock(path)
    try:
        keys = await anyio.to_thread.run_sync(open_keyfile, data, passphrase)
        return Unlocked(path, lock, keys.identity(), keys.view_key, is_fast(data))
    except BaseException:
        lock.release()
        raise
