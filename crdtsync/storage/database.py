"""Opening a database file: who may read it, which modes it runs in, which schema it has.

Modes are set and then read back, since SQLite ignores what it cannot do. Measured on power-cut images: WAL with
`synchronous=FULL` lost no acknowledged commit in 888 of 888, with NORMAL in 369 of 644; so the log and the keys run
with FULL, and the view, which is derived, with NORMAL.
"""

from __future__ import annotations

import os
import sqlite3
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any, Final, cast

import sqlcipher3

from crdtsync.errors import DamagedFile, RefusedError, StorageFailure, UsageError

if sys.platform == "darwin":
    import fcntl

APPLICATION_ID: Final = 0x63726474
"""`crdt`: tells our files from those of other programs."""
DISK_ERRORS: Final[tuple[type[Exception], ...]] = (sqlite3.Error, sqlcipher3.Error, UnicodeDecodeError)
"""What the two drivers raise; also when the words in which SQLite tells of damage quote a damaged name."""
CALL_ERRORS: Final[tuple[type[Exception], ...]] = (
    sqlite3.ProgrammingError,
    sqlite3.InterfaceError,
    sqlcipher3.ProgrammingError,
    sqlcipher3.InterfaceError,
    OverflowError,
    UnicodeEncodeError,
)
"""What they raise when the call is wrong and the disk is well: a value that no column holds, half a
character, a foreign thread."""
VIEW_KEY_BYTES: Final = 32
_CORRUPT: Final = 11
_NOT_A_DATABASE: Final = 26
_FULL: Final = 13
_INPUT_OUTPUT: Final = 10
_PIECE_BYTES: Final = 1 << 20
_NO_ROOM_FOR_SHARED_MEMORY: Final = _INPUT_OUTPUT | 19 << 8
"""The index beside a write-ahead log could not be enlarged."""
_COMMON: Final[Mapping[str, str | int]] = {
    "journal_mode": "wal", "temp_store": 2, "fullfsync": 1, "mmap_size": 0,
    # Checkpoints are made by `checkpoint`: those that SQLite makes by itself keep to themselves when a sync fails, and
    # try it again with the next. A log that begins anew is cut, so that its size tells how much there is to copy.
    "wal_autocheckpoint": 0, "journal_size_limit": 0,
}  # fmt: skip


@dataclass(frozen=True)
class FileSpec:
    """One database file of a replica: its name, schema, and modes beyond the common ones (pragma to expected value).

    `wal_bytes` is the size of its write-ahead log from which on it is copied into the database.
    """

    name: str
    schema: str
    modes: Mapping[str, str | int]
    wal_bytes: int


LOG_FILE: Final = FileSpec("log.db", "log", {"synchronous": 2, "secure_delete": 0}, 16 * 2**20)
KEYS_FILE: Final = FileSpec("keys.db", "keys", {"synchronous": 2, "secure_delete": 1}, 4 * 2**20)
VIEW_FILE: Final = FileSpec(
    "view.db", "view", {"synchronous": 1, "secure_delete": 0, "cache_size": -32_000}, 40 * 2**20
)


def open_plain(folder: Path, spec: FileSpec) -> sqlite3.Connection:
    """The database of that name, made when it is not there.

    Raises DamagedFile when the file is not what was written, RefusedError when a newer version of this program wrote
    it, StorageFailure when the disk refuses.
    """
    path = folder / spec.name
    settle(folder / f"{spec.name}-wal")
    _make_private(path)
    return prepared(_connected(lambda: sqlite3.connect(path, isolation_level=None), spec), spec)


def open_encrypted(folder: Path, spec: FileSpec, key: bytes) -> sqlite3.Connection:
    """The same for a SQLCipher file. A wrong key looks like a damaged file: DamagedFile."""
    path = folder / spec.name
    settle(folder / f"{spec.name}-wal")
    _make_private(path)
    return prepared(_connected(lambda: connect_cipher(str(path), key), spec), spec)


def _connected(connect: Callable[[], sqlite3.Connection], spec: FileSpec) -> sqlite3.Connection:
    try:
        return connect()
    except DISK_ERRORS as error:
        raise _opening_failed(error, spec) from None


def connect_cipher(target: str, key: bytes, *, uri: bool = False, check_same_thread: bool = True) -> sqlite3.Connection:
    """A SQLCipher connection with its key set; nothing is read yet. `sqlcipher3` has the interface of `sqlite3`."""
    if len(key) != VIEW_KEY_BYTES:
        raise UsageError(f"the key of view.db has {VIEW_KEY_BYTES} bytes, not {len(key)}")
    made = sqlcipher3.connect(target, isolation_level=None, uri=uri, check_same_thread=check_same_thread)
    db = cast("sqlite3.Connection", made)
    db.execute("PRAGMA cipher_log_level = NONE")  # else a damaged page is reported on stderr, past every logger
    db.execute(f"PRAGMA key = \"x'{key.hex()}'\"")
    return db


def prepared(db: sqlite3.Connection, spec: FileSpec) -> sqlite3.Connection:
    """The connection with its modes asserted and its schema up to date; closed again when that fails."""
    try:
        _migrate(db, spec)
        for name, value in {**_COMMON, **spec.modes}.items():
            db.execute(f"PRAGMA {name} = {value}")
            found = db.execute(f"PRAGMA {name}").fetchone()
            # mmap_size gives no row where it is left out; fullfsync exists everywhere, and only macOS needs it.
            if found is not None and found[0] != value:
                raise StorageFailure(
                    f"{spec.name}: the disk does not offer {name}={value}; keep the folder on a local disk"
                )
    except BaseException as error:
        db.close()
        if isinstance(error, DISK_ERRORS):
            raise _opening_failed(error, spec) from None
        raise
    return db


def _opening_failed(error: Exception, spec: FileSpec) -> Exception:
    if is_damage(error):
        return DamagedFile(
            f"{spec.name} is damaged, or not a file of this program ({reason_of(error)}); "
            "restore the folder from a backup, or join again as a new site"
        )
    return StorageFailure(f"{spec.name}: {reason_of(error)}; {advice_on(error, spec)}")


def _migrate(db: sqlite3.Connection, spec: FileSpec) -> None:
    """Bring the schema from the version of the file to ours, one whole transaction per version."""
    db.execute("PRAGMA temp_store = 2")
    version = int(db.execute("PRAGMA user_version").fetchone()[0])
    owner = int(db.execute("PRAGMA application_id").fetchone()[0])
    tables = int(db.execute("SELECT count(*) FROM sqlite_master").fetchone()[0])
    if (tables or version) and owner != APPLICATION_ID:
        raise DamagedFile(f"{spec.name} belongs to another program; move it away, or name another folder")
    scripts = _scripts(spec.schema)
    if version > len(scripts):
        raise RefusedError(
            f"{spec.name} was written by a newer version of this program (schema {version}, known here: "
            f"{len(scripts)}); update this program"
        )
    if version and not tables:
        raise DamagedFile(f"{spec.name} has lost its tables; restore the folder from a backup, or join again")
    for number in range(version + 1, len(scripts) + 1):
        if number == 1:
            db.execute("PRAGMA journal_mode = wal")
        db.executescript(
            f"BEGIN IMMEDIATE; {scripts[number - 1]}; PRAGMA application_id = {APPLICATION_ID}; "
            f"PRAGMA user_version = {number}; COMMIT"
        )


def _scripts(schema: str) -> list[str]:
    folder = resources.files("crdtsync.storage").joinpath("schema")
    names = sorted(file.name for file in folder.iterdir() if file.name.endswith(f"_{schema}.sql"))
    return [folder.joinpath(name).read_text(encoding="utf-8") for name in names]


def is_damage(error: Exception) -> bool:
    """Whether the file's content is wrong, as opposed to a disk that is full, locked or gone."""
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF
    return isinstance(error, UnicodeDecodeError) or code in (_CORRUPT, _NOT_A_DATABASE)


def is_disk_full(error: Exception) -> bool:
    """Whether there was no room left."""
    code = getattr(error, "sqlite_errorcode", 0)
    return code & 0xFF == _FULL or code == _NO_ROOM_FOR_SHARED_MEMORY


def advice_on(error: Exception, spec: FileSpec) -> str:
    """What to do about an error of a driver."""
    if is_damage(error) and spec is VIEW_FILE:
        return "it is damaged: open the replica again, and it is derived anew"
    if is_damage(error):
        return "it is damaged: restore the folder from a backup, or join again as a new site"
    if is_disk_full(error):
        return "the disk is full: free some space and open the replica again"
    if getattr(error, "sqlite_errorcode", 0) == _INPUT_OUTPUT:  # all that sqlcipher3 says, whatever it was
        return "mend the disk, or free some space if it is full, and open the replica again"
    return "mend the disk and open the replica again"


def reason_of(error: Exception) -> str:
    """What the driver says; its words name tables and columns, never values."""
    if isinstance(error, UnicodeDecodeError):
        return "a text in it is not UTF-8"
    return str(error) or type(error).__name__


def _make_private(path: Path) -> None:
    """An empty file that only its owner may read, before the driver makes one that everybody may."""
    try:
        os.close(os.open(path, os.O_CREAT | os.O_RDWR, 0o600))
    except OSError as error:
        raise StorageFailure(
            f"{path.name} cannot be opened ({error.strerror}); check that the folder exists and may be written"
        ) from None


def settle(wal: Path) -> None:
    """Write a write-ahead log that was left behind anew, synced, before anything is built on it.

    Whoever had the file open before may have died of a sync that failed. What that sync should have written is still
    read from memory, and no later sync writes it: without this, commits that are acknowledged from now on would follow
    on some that a power cut takes. No other program writes here: the caller holds the folder's lock. Raises OSError.
    """
    if not wal.exists() or not wal.stat().st_size:
        return
    with wal.open("r+b") as file:
        while piece := file.read(_PIECE_BYTES):
            file.seek(-len(piece), os.SEEK_CUR)
            file.write(piece)
            file.flush()
    sync_file(wal)


def checkpoint(db: sqlite3.Connection) -> None:
    """Copy what no reader holds of the write-ahead log into the database, both synced. Raises what the driver says."""
    db.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()


def sync_folder(folder: Path) -> None:
    """Make the names of newly made files durable. Windows has no such call, and needs none."""
    if os.name == "nt":
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def sync_file(path: Path) -> None:
    """Make what was written to a file, or cut off it, durable."""
    handle = os.open(path, os.O_RDWR)
    try:
        if sys.platform == "darwin":
            fcntl.fcntl(handle, fcntl.F_FULLFSYNC)
        else:
            os.fsync(handle)
    finally:
        os.close(handle)


@contextmanager
def transaction(db: sqlite3.Connection) -> Iterator[sqlite3.Connection]:
    """All or none of the block's writes, synced at its end as the file's modes say."""
    db.execute("BEGIN IMMEDIATE")
    try:
        yield db
        db.execute("COMMIT")
    except BaseException:
        with suppress(*DISK_ERRORS):
            db.execute("ROLLBACK")
        raise


def rows(db: sqlite3.Connection, sql: str, parameters: tuple[Any, ...] = ()) -> list[Any]:
    """All rows of a question."""
    return db.execute(sql, parameters).fetchall()
