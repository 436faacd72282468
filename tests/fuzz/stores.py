"""A store whose files are not what was written, and the proof of continuity beside it."""

from __future__ import annotations

import os
import shutil
import sqlite3
import tempfile
from contextlib import closing, suppress
from functools import cache
from pathlib import Path

from crdtsync.errors import CrdtSyncError
from crdtsync.ids import ReplicaId
from crdtsync.storage.continuity import Continuity
from crdtsync.storage.sqlite import SqliteStore
from crdtsync.testing.stores import KIND, TABLE, SampleLog, sample_change, sample_key, write_log, write_records
from tests.fuzz.dice import Dice
from tests.fuzz.registry import target

_KEY = bytes(range(32))
_FILES = ("log.db", "keys.db", "view.db")
_HEADER_BYTES = 100
_COLUMNS = {
    "log.db": (
        ("meta", ("name", "value")),
        ("member", ("number", "hash", "record")),
        ("log", ("number", "id")),
        ("entry", ("log", "sequence", "log_bytes", "arrived_ms", "checked", "chain", "header", "parts", "signature")),
    ),
    "keys.db": (("data_key", ("id", "epoch", "subject", "wrapped")),),
}
_VALUES = ("text", 7, -1, 2**62, 1.5, b"", b"x" * 24, b"x" * 32, b"\x90", b"\x91\xc0")


@cache
def _folder() -> Path:
    """A small store, closed; removed with the process's temporary files."""
    folder = Path(tempfile.mkdtemp(prefix="crdtsync-fuzz-"))
    store = SqliteStore(folder, _KEY)
    store.declare_tables([TABLE])
    store.set_meta({"name": b"value"})
    store.add_members([(b"h" * 32, b"a record")])  # type: ignore[list-item]  # a hash of the right form
    store.put_keys([sample_key(number) for number in range(3)])
    for name in ("a", "b"):
        write_log(store, SampleLog(name), 3)
    write_records(store, [sample_change(number, conflicts=1) for number in range(4)])
    store.close()
    return folder


def _damaged(dice: Dice, file: Path) -> None:
    """Change a file: bytes anywhere or in its header, a page of zeros, cut off, doubled, or something else."""
    how = dice.below(8)
    if how > 5 and file.name in _COLUMNS:
        _other_value(dice, file)
        return
    data = bytearray(file.read_bytes())
    if how == 0:
        del data[dice.below(len(data)) :]
    elif how == 1:
        start = dice.below(len(data)) & ~4095
        data[start : start + 4096] = bytes(4096)
    elif how == 2:
        data[:] = dice.piece() or data + data
    else:
        for _ in range(1 + dice.below(16)):
            at = dice.below(_HEADER_BYTES if how == 3 else len(data))
            data[at] = dice.byte()
    file.write_bytes(bytes(data))


def _other_value(dice: Dice, file: Path) -> None:
    """Another value, of any type, in one column: what a damaged page or a stranger's program leaves."""
    table, columns = dice.pick(_COLUMNS[file.name])
    with closing(sqlite3.connect(file)) as db, db, suppress(sqlite3.Error):
        db.execute(f"UPDATE {table} SET {dice.pick(columns)} = ?", (dice.pick(_VALUES),))


def _read(store: SqliteStore) -> None:
    """Ask a store for everything; each answer may be that the disk is not what it was."""
    log = SampleLog("a").log
    asks = (
        lambda: store.meta("name"),
        store.members,
        lambda: store.keys([sample_key(1).id]),
        lambda: store.key_of_subject("subject"),
        store.log_head,
        store.frontier,
        lambda: store.arrivals(0, 100, 10**6),
        lambda: store.feeds(dict.fromkeys(store.frontier(), 1), 100, 10**6),
        lambda: store.commit(log, 2),
        lambda: store.backlog({log: 2}),
        lambda: store.declare_tables([TABLE]),
        store.view_state,
        lambda: store.documents(None, ("", ""), 100),
        lambda: store.document(KIND, sample_change(1).document.record),
        store.waiting,
        store.conflicts,
        store.counts,
        lambda: store.append([(SampleLog("c").next(), True)], 1),
        lambda: store.put_keys([sample_key(7)]),
    )
    for ask in asks:
        try:
            ask()
        except CrdtSyncError:
            continue


@target(
    "store",
    lambda: [bytes((n * 17 + k * 3 * (n + 1)) % 256 for k in range(40)) for n in range(18)],
    bytes_max=256,
    mutations=24,
)
def store(data: bytes) -> None:
    """A store with damaged files is refused with a sentence, or answers; a damaged view is never a reason to refuse."""
    dice = Dice(data)
    with tempfile.TemporaryDirectory(prefix="crdtsync-fuzz-") as temporary:
        folder = Path(temporary)
        for name in _FILES:
            shutil.copyfile(_folder() / name, folder / name)
        hit = {dice.pick(_FILES) for _ in range(1 + dice.below(2))}
        for name in sorted(hit):
            _damaged(dice, folder / name)
        try:
            opened = SqliteStore(folder, _KEY, create=False)
        except CrdtSyncError:
            assert hit != {"view.db"}, "a view is derived: it is thrown away, never a reason to refuse"
            return
        try:
            _read(opened)
        finally:
            opened.close()


@target("continuity", lambda: [b"", _proof(), _proof()[:-1], b"0" * 20 + b"\n{}"], mutations=100)
def continuity(data: bytes) -> None:
    """Whatever stands in the file: it proves only what it says exactly, and nothing is raised."""
    folder = _folder()
    kept = os.environ.get("CRDTSYNC_STATE_DIR")
    with tempfile.TemporaryDirectory(prefix="crdtsync-fuzz-") as state:
        os.environ["CRDTSYNC_STATE_DIR"] = state
        try:
            proof = Continuity(folder, _REPLICA, folder / "log.db")
            proof.path.write_bytes(data)
            assert proof.proves("log", b"other nonce", 5) is False
            if proof.proves("log", b"nonce", 5):
                assert b"log" in data and b"nonce".hex().encode() in data
        finally:
            if kept is None:
                del os.environ["CRDTSYNC_STATE_DIR"]
            else:
                os.environ["CRDTSYNC_STATE_DIR"] = kept


_REPLICA = ReplicaId(b"r" * 16)


def _proof() -> bytes:
    """A proof as it would stand for the folder above (whose name and place change with every process)."""
    return b'00000000000000000005\n{"log": "log", "nonce": "6e6f6e6365", "session": "x", "folder": "y", "file": [1, 2]}'
