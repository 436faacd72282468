"""SqliteStore: the contract of every store, who may open it, damage, kills, and what lies on the disk."""

from __future__ import annotations

import os
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from crdtsync.errors import AlreadyOpen, DamagedFile, RefusedError, RottenCommit, StorageFailure, UsageError
from crdtsync.replication.stored import EMPTY_LOG, KeyObject, next_head
from crdtsync.storage.database import LOG_FILE, connect_cipher, open_plain
from crdtsync.storage.lock import FolderLock
from crdtsync.storage.sqlite import SqliteStore
from crdtsync.testing import stores
from crdtsync.testing.stores import (
    KIND,
    TABLE,
    SampleLog,
    sample_change,
    sample_key,
    sample_record,
    write_log,
    write_records,
)
from tests.storage import writing_process

VIEW_KEY = bytes(range(32))
CANARY = "Kanarienvogel"


class FolderDisk:
    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def open(self) -> SqliteStore:
        return SqliteStore(self.folder, VIEW_KEY)

    def rot(self, arrival: int) -> None:
        with closing(sqlite3.connect(self.folder / "log.db")) as db:
            [(parts,)] = db.execute("SELECT parts FROM entry WHERE arrival = ?", (arrival,)).fetchall()
            changed = parts[:-1] + bytes([parts[-1] ^ 1])
            db.execute("UPDATE entry SET parts = ? WHERE arrival = ?", (changed, arrival))
            db.commit()


@pytest.mark.parametrize("case", stores.CASES, ids=stores.name_of)
def test_contract(case: Callable[[stores.Disk], None], tmp_path: Path) -> None:
    case(FolderDisk(tmp_path))


@pytest.fixture
def store(tmp_path: Path) -> Iterator[SqliteStore]:
    made = SqliteStore(tmp_path, VIEW_KEY)
    made.declare_tables([TABLE])
    yield made
    made.close()


def _fill(folder: Path, records: int = 200) -> SampleLog:
    log = SampleLog("a")
    with closing(SqliteStore(folder, VIEW_KEY)) as store:
        store.declare_tables([TABLE])
        write_log(store, log, 5)
        store.put_keys([sample_key(1)])
        write_records(store, [sample_change(n) for n in range(records)])
    return log


# -- opening -----------------------------------------------------------------------------------------------------------


def test_modes_are_as_promised(store: SqliteStore, tmp_path: Path) -> None:
    def modes(db: sqlite3.Connection) -> list[object]:
        names = ("journal_mode", "synchronous", "secure_delete", "temp_store")
        return [db.execute(f"PRAGMA {name}").fetchone()[0] for name in names]

    assert modes(store._log_db) == ["wal", 2, 0, 2]
    assert modes(store._keys_db) == ["wal", 2, 1, 2]
    assert modes(store._view) == ["wal", 1, 0, 2]
    if os.name == "posix":
        assert {path.stat().st_mode & 0o777 for path in tmp_path.iterdir()} == {0o600}


def test_a_folder_has_one_writer(store: SqliteStore, tmp_path: Path) -> None:
    with pytest.raises(AlreadyOpen, match="another process"):
        SqliteStore(tmp_path, VIEW_KEY)
    store.close()
    SqliteStore(tmp_path, VIEW_KEY).close()


def test_a_lock_that_the_caller_holds_is_used_and_left(tmp_path: Path) -> None:
    lock = FolderLock(tmp_path)
    SqliteStore(tmp_path, VIEW_KEY, lock=lock).close()
    assert lock.held
    with pytest.raises(AlreadyOpen):
        SqliteStore(tmp_path, VIEW_KEY)
    lock.release()


def test_a_missing_log_is_noticed(tmp_path: Path) -> None:
    with pytest.raises(DamagedFile, match=r"log\.db is missing"):
        SqliteStore(tmp_path, VIEW_KEY, create=False)
    _fill(tmp_path)
    SqliteStore(tmp_path, VIEW_KEY, create=False).close()


def test_a_missing_folder_is_said(tmp_path: Path) -> None:
    with pytest.raises(StorageFailure, match="folder exists"):
        SqliteStore(tmp_path / "nowhere", VIEW_KEY)


def test_a_short_key_is_refused_and_the_lock_given_back(tmp_path: Path) -> None:
    for _ in range(2):
        with pytest.raises(UsageError, match="32 bytes"):
            SqliteStore(tmp_path, b"short")


def test_a_closed_store_says_so(store: SqliteStore) -> None:
    store.close()
    for call in (store.log_head, store.view_state, store.members):
        with pytest.raises(UsageError, match="closed"):
            call()


# -- a view is never a reason to fail (L8) -----------------------------------------------------------------------------


def _garbage(view: Path) -> None:
    view.write_bytes(b"garbage " * 4000)


def _cut(view: Path) -> None:
    os.truncate(view, view.stat().st_size // 2)


def _emptied(view: Path) -> None:
    view.write_bytes(b"")


def _first_page(view: Path) -> None:
    data = bytearray(view.read_bytes())
    data[100] ^= 1
    view.write_bytes(data)


def _plain(view: Path) -> None:
    view.unlink()
    with closing(sqlite3.connect(view)) as db:
        db.execute("CREATE TABLE other (a)")


def _other_key(view: Path) -> None:
    with closing(connect_cipher(str(view), VIEW_KEY)) as db:
        db.execute(f"PRAGMA rekey = \"x'{bytes(32).hex()}'\"")


def _newer(view: Path) -> None:
    with closing(connect_cipher(str(view), VIEW_KEY)) as db:
        db.execute("PRAGMA user_version = 999")


def _no_state(view: Path) -> None:
    with closing(connect_cipher(str(view), VIEW_KEY)) as db:
        db.execute("DROP TABLE _state")


def _of_another_log(view: Path) -> None:
    with closing(connect_cipher(str(view), VIEW_KEY)) as db:
        db.execute("UPDATE _state SET chain = zeroblob(32)")


def _ahead(view: Path) -> None:
    with closing(connect_cipher(str(view), VIEW_KEY)) as db:
        db.execute("UPDATE _state SET arrival = arrival + 1")


SPOILINGS = [
    _garbage, _cut, _emptied, _first_page, _plain, _other_key, _newer, _no_state, _of_another_log, _ahead, Path.unlink,
]  # fmt: skip


@pytest.mark.parametrize("spoil", SPOILINGS, ids=lambda spoil: spoil.__name__.strip("_"))
def test_a_view_that_cannot_be_used_is_emptied(
    spoil: Callable[[Path], None], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    log = _fill(tmp_path)
    spoil(tmp_path / "view.db")
    with closing(SqliteStore(tmp_path, VIEW_KEY)) as store:
        assert store.view_state().head == EMPTY_LOG
        assert store.counts() == {}
        assert store.frontier() == {log.log: log.head}
        assert store.keys([sample_key(1).id])
        store.declare_tables([TABLE])
        write_records(store, [sample_change(1)])
    with closing(SqliteStore(tmp_path, VIEW_KEY)) as store:
        assert store.counts() == {KIND: 1}
    assert capfd.readouterr() == ("", "")


def test_damage_that_shows_late_empties_the_view_at_the_next_opening(tmp_path: Path) -> None:
    _fill(tmp_path, 500)
    view = tmp_path / "view.db"
    data = bytearray(view.read_bytes())
    for place in range(60 * 4096 + 50, len(data), 4096):  # behind what opening reads
        data[place] ^= 1
    view.write_bytes(data)
    with closing(SqliteStore(tmp_path, VIEW_KEY)) as store:
        with pytest.raises(StorageFailure, match=r"view\.db: .*open the replica again"):
            store.documents(None, ("", ""), 1000)
        with pytest.raises(StorageFailure):  # it is not tried again
            store.log_head()
    with closing(SqliteStore(tmp_path, VIEW_KEY)) as store:
        assert store.view_state().head == EMPTY_LOG
        assert store.log_head().arrival == 5
    with closing(SqliteStore(tmp_path, VIEW_KEY)) as store:
        assert store._tables == {}


def test_reset_replaces_a_view_that_cannot_even_be_emptied(tmp_path: Path) -> None:
    _fill(tmp_path, 500)
    view = tmp_path / "view.db"
    data = bytearray(view.read_bytes())
    for place in range(60 * 4096 + 50, len(data), 4096):  # behind what opening reads
        data[place] ^= 1
    view.write_bytes(data)
    with closing(SqliteStore(tmp_path, VIEW_KEY)) as store:
        store.declare_tables([TABLE])
        store.reset_view()
        assert store.counts() == {}
        write_records(store, [sample_change(1)])
        assert store.counts() == {KIND: 1}


def test_a_view_ahead_of_an_older_log_is_emptied(tmp_path: Path) -> None:
    log = _fill(tmp_path)
    older = tmp_path / "older"
    shutil.copy(tmp_path / "log.db", older)
    with closing(SqliteStore(tmp_path, VIEW_KEY)) as store:
        write_log(store, log, 1)
        write_records(store, [sample_change(1, 2)])
    os.replace(older, tmp_path / "log.db")
    with closing(SqliteStore(tmp_path, VIEW_KEY)) as store:
        assert store.log_head().arrival == 5
        assert store.view_state().head == EMPTY_LOG and store.counts() == {}


# -- a log or keys that are not what was written -----------------------------------------------------------------------


@pytest.mark.parametrize("name", ["log.db", "keys.db"])
def test_damage_of_what_cannot_be_derived_is_said(name: str, tmp_path: Path) -> None:
    _fill(tmp_path)
    whole = (tmp_path / name).read_bytes()
    for spoilt in (b"garbage " * 4000, whole[: len(whole) // 2], whole[:50] + bytes(50) + whole[100:]):
        (tmp_path / name).write_bytes(spoilt)
        with pytest.raises(DamagedFile, match=f"{name} .*(backup|another folder)"):
            SqliteStore(tmp_path, VIEW_KEY)
    (tmp_path / name).write_bytes(whole)
    SqliteStore(tmp_path, VIEW_KEY).close()


def test_a_foreign_file_is_left_alone(tmp_path: Path) -> None:
    with closing(sqlite3.connect(tmp_path / "log.db")) as db:
        db.execute("CREATE TABLE theirs (a)")
    before = (tmp_path / "log.db").read_bytes()
    with pytest.raises(DamagedFile, match="another program"):
        SqliteStore(tmp_path, VIEW_KEY)
    assert (tmp_path / "log.db").read_bytes() == before


def test_files_of_a_newer_version_are_refused(tmp_path: Path) -> None:
    _fill(tmp_path)
    with closing(sqlite3.connect(tmp_path / "log.db")) as db:
        db.execute("PRAGMA user_version = 999")
    with pytest.raises(RefusedError, match="newer version") as raised:
        SqliteStore(tmp_path, VIEW_KEY)
    assert not isinstance(raised.value, DamagedFile)


def test_a_row_whose_document_vanished_is_written_over(tmp_path: Path) -> None:
    """Somebody deletes documents behind the program's back, just when it derives one of them anew."""
    with closing(SqliteStore(tmp_path, VIEW_KEY)) as store:
        store.declare_tables([TABLE])
        write_records(store, [sample_change(number) for number in range(3)])
        store._view.execute("DELETE FROM _document WHERE record = ?", (sample_record(1),))
    with closing(SqliteStore(tmp_path, VIEW_KEY)) as store:
        store.declare_tables([TABLE])
        write_records(store, [sample_change(1)])
        assert store.shows(sample_change(1))
        assert store._view.execute(f"SELECT count(*) FROM {KIND}").fetchone() == (3,)


def test_a_view_without_histories_is_derived_anew(tmp_path: Path) -> None:
    """One of schema 1 that holds records is thrown away (L8); an empty one goes on."""
    for count in (3, 0):
        folder = tmp_path / str(count)
        folder.mkdir()
        _fill(folder)
        with closing(SqliteStore(folder, VIEW_KEY)) as store:
            if count:
                store.declare_tables([TABLE])
                write_records(store, [sample_change(number) for number in range(count)])
        with closing(connect_cipher(str(folder / "view.db"), VIEW_KEY)) as db:
            for name in ("_conflict_came", "_conflict_went"):
                db.execute(f"DROP TRIGGER {name}")
            db.execute("DROP VIEW person")
            for name in ("_conflict_by_id", "_conflict_of_record"):
                db.execute(f"DROP INDEX {name}")
            for name in ("_touch", "_between", "_claim", "_conflict_changes", "_kind", "_same", "_person"):
                db.execute(f"DROP TABLE {name}")
            db.execute("PRAGMA user_version = 1")
        with closing(SqliteStore(folder, VIEW_KEY)) as store:
            assert store.view_state().head == EMPTY_LOG and store.documents(None, ("", ""), 9) == []
            store.declare_tables([TABLE])
            write_records(store, [replace(sample_change(1), touches=[1])])
            assert store.touches(KIND, sample_record(1)) == [1]


def test_a_changed_commit_is_found_when_it_is_read(tmp_path: Path) -> None:
    log = _fill(tmp_path)
    with closing(sqlite3.connect(tmp_path / "log.db")) as db:
        db.execute("UPDATE entry SET header = X'00' WHERE arrival = 2")
        db.commit()
    with closing(SqliteStore(tmp_path, VIEW_KEY)) as store:
        assert len(store.arrivals(2, 10, 10**6)) == 3
        with pytest.raises(RottenCommit, match="arrival 2 is not what was written"):
            store.commit(log.log, 2)


@pytest.mark.parametrize("column", ["header", "parts", "chain"])
def test_every_changed_byte_of_a_commit_is_found(tmp_path: Path, column: str) -> None:
    _fill(tmp_path)
    with closing(SqliteStore(tmp_path, VIEW_KEY)) as store:
        assert store.check_log(0, 100)[1] == []
    with closing(sqlite3.connect(tmp_path / "log.db")) as db:
        [(data,)] = db.execute(f"SELECT {column} FROM entry WHERE arrival = 2").fetchall()
        for at in range(len(data)):
            changed = data[:at] + bytes([data[at] ^ 0x10]) + data[at + 1 :]
            db.execute(f"UPDATE entry SET {column} = ? WHERE arrival = 2", (changed,))
            db.commit()
            with closing(SqliteStore(tmp_path, VIEW_KEY)) as store:
                assert [error.arrival for error in store.check_log(0, 100)[1]][:1] == [2], (column, at)


def test_a_rotten_newest_commit_is_refused_at_opening(tmp_path: Path) -> None:
    _fill(tmp_path)
    with closing(sqlite3.connect(tmp_path / "log.db")) as db:
        db.execute("UPDATE entry SET header = X'00' WHERE arrival = (SELECT max(arrival) FROM entry)")
        db.commit()
    with pytest.raises(DamagedFile, match="newest commit of a log"):
        SqliteStore(tmp_path, VIEW_KEY)


def test_lost_commits_are_noticed(tmp_path: Path) -> None:
    _fill(tmp_path)
    with closing(sqlite3.connect(tmp_path / "log.db")) as db:
        db.execute("DELETE FROM entry")
        db.commit()
    with pytest.raises(DamagedFile, match="lost commits"):
        SqliteStore(tmp_path, VIEW_KEY)


# -- a disk that refuses -----------------------------------------------------------------------------------------------


def test_a_full_disk_ends_the_store_and_loses_nothing(store: SqliteStore, tmp_path: Path) -> None:
    log = SampleLog("a")
    write_log(store, log, 3)
    head = log.head
    pages = store._log_db.execute("PRAGMA page_count").fetchone()[0]
    store._log_db.execute(f"PRAGMA max_page_count = {pages}")
    with pytest.raises(StorageFailure, match=r"log\.db: .*full"):
        write_log(store, log, 500)
    for call in (store.log_head, store.view_state, store.members, lambda: store.put_keys([sample_key(1)])):
        with pytest.raises(StorageFailure, match="full"):
            call()
    store.close()
    with closing(SqliteStore(tmp_path, VIEW_KEY)) as again:
        assert again.frontier() == {log.log: head}


def test_a_full_disk_does_not_cost_the_view(store: SqliteStore, tmp_path: Path) -> None:
    write_log(store, SampleLog("a"), 1)
    write_records(store, [sample_change(1)])
    pages = store._view.execute("PRAGMA page_count").fetchone()[0]
    store._view.execute(f"PRAGMA max_page_count = {pages}")
    store.begin_view()
    with pytest.raises(StorageFailure, match=r"view\.db: .*full"):
        store.write_view([sample_change(n) for n in range(500)])
    store.close()
    with closing(SqliteStore(tmp_path, VIEW_KEY)) as again:
        assert again.counts() == {KIND: 1}


def test_a_write_ahead_log_that_was_left_is_written_anew(
    store: SqliteStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """L1: who wrote it may have died of a failed sync; then it is read, and not on the disk."""
    log = SampleLog("a")
    write_log(store, log, 3)
    store.put_keys([sample_key(1)])
    died = tmp_path / "died"
    shutil.copytree(tmp_path, died)
    left = {path: path.read_bytes() for path in died.glob("*.db-wal")}
    synced: dict[Path, bytes] = {}
    before = {path: path.stat().st_mtime_ns for path in left}

    def syncs(path: Path) -> None:
        synced[path] = path.read_bytes()
        assert path.stat().st_mtime_ns > before[path], "it was written, not synced alone"

    monkeypatch.setattr("crdtsync.storage.database.sync_file", syncs)
    with closing(SqliteStore(died, VIEW_KEY)) as again:
        assert again.frontier() == {log.log: log.head} and again.keys([sample_key(1).id])
    assert synced == left and len(left) == 3, "whole, before SQLite began anything new in it"

    def refuses(path: Path) -> None:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr("crdtsync.storage.database.sync_file", refuses)
    shutil.copytree(tmp_path, tmp_path / "other", ignore=shutil.ignore_patterns("died"))
    with pytest.raises(StorageFailure, match="Input/output error"):
        SqliteStore(tmp_path / "other", VIEW_KEY)


def test_the_names_of_all_files_are_synced_at_every_opening(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """SQLite syncs the folder for its write-ahead logs, and says nothing when that fails."""
    seen: list[set[str]] = []
    monkeypatch.setattr("crdtsync.storage.sqlite.sync_folder", lambda path: seen.append(set(os.listdir(path))))
    for _ in range(2):
        SqliteStore(tmp_path, VIEW_KEY).close()
    logs = {"log.db-wal", "keys.db-wal", "view.db-wal"}
    assert len(seen) == 2 and all(logs <= names for names in seen)

    def refuses(path: Path) -> None:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr("crdtsync.storage.sqlite.sync_folder", refuses)
    with pytest.raises(StorageFailure, match="Input/output error"):
        SqliteStore(tmp_path, VIEW_KEY)


def test_write_ahead_logs_are_copied_when_they_are_large(
    store: SqliteStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(SqliteStore, "_wal_bytes", lambda self, file: 40_000)
    log = SampleLog("a")
    for number in range(60):
        write_log(store, log, 5)
        store.put_keys([sample_key(number)])
        write_records(store, [sample_change(number)])
        for name in ("log.db", "keys.db", "view.db"):
            assert (tmp_path / f"{name}-wal").stat().st_size < 40_000 + 40 * 4096, "it is cut when it begins anew"
    assert all((tmp_path / name).stat().st_size > 20_000 for name in ("log.db", "keys.db", "view.db"))


@pytest.mark.parametrize("work", ["log", "keys", "view"])
def test_a_checkpoint_that_fails_stops_the_store(
    work: str, store: SqliteStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The checkpoints that SQLite makes by itself fail in silence, and sync again behind the next transaction."""

    def refuses(db: sqlite3.Connection) -> None:
        raise sqlite3.OperationalError("disk I/O error")

    log = SampleLog("a")
    write_log(store, log, 1)
    monkeypatch.setattr(SqliteStore, "_wal_bytes", lambda self, file: 0)
    monkeypatch.setattr("crdtsync.storage.part.checkpoint", refuses)
    works: dict[str, Callable[[], object]] = {
        "log": lambda: write_log(store, log, 1),
        "keys": lambda: store.put_keys([sample_key(1)]),
        "view": lambda: write_records(store, [sample_change(1)]),
    }
    with pytest.raises(StorageFailure, match=rf"{work}\.db: disk I/O error"):
        works[work]()
    with pytest.raises(StorageFailure, match=rf"{work}\.db: disk I/O error"):
        store.log_head()


@pytest.mark.parametrize("driver", ["sqlite3.connect", "sqlcipher3.connect"])
def test_a_file_that_cannot_be_opened_is_a_failure_of_the_disk(
    driver: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuses(*args: object, **kwargs: object) -> sqlite3.Connection:
        raise sqlite3.OperationalError("unable to open database file")

    SqliteStore(tmp_path, VIEW_KEY).close()
    monkeypatch.setattr(driver, refuses)
    with pytest.raises(StorageFailure, match="unable to open database file; mend the disk"):
        SqliteStore(tmp_path, VIEW_KEY)


def test_a_value_that_no_column_holds_is_the_callers_fault(store: SqliteStore) -> None:
    write_log(store, SampleLog("a"), 1)
    for value in ([CANARY], 2**64):
        store.begin_view()
        with pytest.raises(UsageError) as raised:
            store.write_view([replace(sample_change(1), row={"number": value})])
        assert CANARY not in str(raised.value)
        store.abort_view()
    write_records(store, [sample_change(1)])
    assert store.counts() == {KIND: 1}


# -- what lies on the disk ---------------------------------------------------------------------------------------------


def test_no_content_is_readable_in_any_file(store: SqliteStore, tmp_path: Path) -> None:
    write_log(store, SampleLog("a"), 1)
    change = sample_change(1, conflicts=1)
    spoken = replace(
        change,
        document=replace(change.document, state=CANARY.encode(), damaged=CANARY),
        row={"family_name": CANARY},
        words=CANARY,
        conflicts=[replace(change.conflicts[0], body=CANARY)],
    )
    write_records(store, [spoken])
    while_open = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    assert store.document(KIND, sample_record(1)) == spoken.document
    store.close()
    after = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    assert {"log.db", "keys.db", "view.db", "view.db-wal"} <= set(while_open)
    for name, data in [*while_open.items(), *after.items()]:
        for form in (CANARY.encode(), CANARY.lower().encode(), CANARY.encode("utf-16-le")):
            assert form not in data, f"{name} holds content in clear"


def test_the_log_opens_with_plain_sqlite(store: SqliteStore, tmp_path: Path) -> None:
    write_log(store, SampleLog("a"), 3)
    with closing(sqlite3.connect(f"{(tmp_path / 'log.db').as_uri()}?mode=ro", uri=True)) as db:
        assert db.execute("SELECT count(*) FROM entry").fetchone() == (3,)


def test_erased_keys_leave_no_byte(store: SqliteStore, tmp_path: Path) -> None:
    alive: list[KeyObject] = []
    gone: list[KeyObject] = []
    for n in range(60):
        new = [sample_key(n * 100 + index, f"subject {index * n % 97}") for index in range(1 + n * 7 % 60)]
        store.put_keys(new)
        alive += new
        erased = alive[n % 3 :: 2 + n % 5]
        store.erase_keys(key.id for key in erased)
        alive = [key for key in alive if key not in erased]
        gone += erased
    assert len(gone) > 800 and len(alive) > 50
    for path in tmp_path.glob("keys.db*"):
        data = path.read_bytes()
        assert sum(key.wrapped in data for key in gone) == 0, f"{path.name} still holds erased keys"
    assert all(key.wrapped in (tmp_path / "keys.db").read_bytes() for key in alive)
    assert len(store.keys(key.id for key in alive + gone)) == len(alive)


def test_erasing_syncs_the_emptied_write_ahead_log(
    store: SqliteStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """SQLite cuts it without a sync: after a power cut the erased keys would be in it again."""
    synced: list[int] = []
    monkeypatch.setattr("crdtsync.storage.sqlite_keys.sync_file", lambda path: synced.append(path.stat().st_size))
    store.put_keys([sample_key(1)])
    assert (tmp_path / "keys.db-wal").stat().st_size and not synced
    store.erase_keys([sample_key(1).id])
    assert synced == [0]

    def refuses(path: Path) -> None:
        raise OSError(5, "input or output error")

    monkeypatch.setattr("crdtsync.storage.sqlite_keys.sync_file", refuses)
    with pytest.raises(StorageFailure, match=r"keys\.db: erased keys may still be in it"):
        store.erase_keys([sample_key(1).id])


def test_erasing_says_when_somebody_still_reads_the_old_keys(store: SqliteStore, tmp_path: Path) -> None:
    store.put_keys([sample_key(1)])
    store._keys_db.execute("PRAGMA busy_timeout = 0")
    with closing(sqlite3.connect(tmp_path / "keys.db", isolation_level=None)) as reading:
        reading.execute("BEGIN")
        reading.execute("SELECT * FROM data_key").fetchall()
        with pytest.raises(StorageFailure, match=r"keys\.db"):
            store.erase_keys([sample_key(1).id])


# -- kill -9 -----------------------------------------------------------------------------------------------------------


def test_a_kill_loses_nothing_that_was_acknowledged(tmp_path: Path) -> None:
    """L1 and S24 in small: acknowledged commits and keys are there, the view is derived from a prefix of the log."""
    log = SampleLog("killed")
    for kill_after in (1, 40, 7, 90, 23):
        with subprocess.Popen(
            [sys.executable, writing_process.__file__, str(tmp_path)],
            stdout=subprocess.PIPE,
            cwd=Path(__file__).parents[2],
        ) as process:
            assert process.stdout is not None
            lines = [process.stdout.readline() for _ in range(kill_after)]
            process.kill()
            lines += process.stdout.readlines()
        acknowledged = max(int(line) for line in lines if line.endswith(b"\n"))
        with closing(SqliteStore(tmp_path, VIEW_KEY)) as store:
            _check_after_kill(store, log, acknowledged)


def _check_after_kill(store: SqliteStore, log: SampleLog, acknowledged: int) -> None:
    commits = store.arrivals(0, 10**6, 10**9)
    assert store.frontier()[log.log].sequence == len(commits) >= acknowledged
    heads = [EMPTY_LOG]
    for stored in commits:
        heads.append(next_head(heads[-1], stored.commit))
    assert store.log_head() == heads[-1]
    derived = store.view_state().head
    assert derived == heads[derived.arrival]
    assert store.counts() == ({KIND: derived.arrival} if derived.arrival else {})
    for number in range(1, derived.arrival + 1):
        assert store.document(KIND, sample_record(number)) == sample_change(number).document
    keys = store.keys(sample_key(number).id for number in range(1, len(commits) + 1))
    assert len(keys) == len(commits), "a key must be on disk before the commit that uses it"


def test_a_mode_that_the_disk_does_not_offer_is_noticed(tmp_path: Path) -> None:
    """SQLite ignores what it cannot do, so every mode is read back: a log without its sync would be no log (L1)."""
    SqliteStore(tmp_path, VIEW_KEY).close()
    impossible = replace(LOG_FILE, modes={"page_size": 512})
    with pytest.raises(StorageFailure, match="does not offer page_size=512"):
        open_plain(tmp_path, impossible)
