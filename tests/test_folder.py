"""A replica's folder is there whole, or not at all; one process has it."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from crdtsync import folder
from crdtsync.errors import AlreadyOpen, DamagedFile, NotFound, RefusedError, StorageFailure, WrongPassphrase
from crdtsync.storage.sqlite import SqliteStore

from .sites import PASSPHRASE, cancelled_at

pytestmark = pytest.mark.anyio


def make(path: Path) -> None:
    folder.make(path, folder.new_keys(), PASSPHRASE, [], {"hello": b"world"}, fast=True)


async def test_what_was_made_opens(tmp_path: Path) -> None:
    make(tmp_path / "jena")
    assert stat.S_IMODE((tmp_path / "jena").stat().st_mode) == 0o700
    assert stat.S_IMODE((tmp_path / "jena" / "replica.key").stat().st_mode) == 0o600
    unlocked = await folder.unlock(tmp_path / "jena", PASSPHRASE)
    assert unlocked.fast
    store = SqliteStore(unlocked.path, unlocked.view_key, create=False, lock=unlocked.lock)
    assert store.meta("hello") == b"world"
    store.close()
    with pytest.raises(AlreadyOpen):
        await folder.unlock(tmp_path / "jena", PASSPHRASE)
    unlocked.lock.release()
    assert [path.name for path in tmp_path.iterdir()] == ["jena"]


def test_every_replica_has_keys_of_its_own() -> None:
    one, other = folder.new_keys(), folder.new_keys()
    assert one.identity().public.replica != other.identity().public.replica
    assert one.view_key != other.view_key


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), KeyboardInterrupt()])
def test_a_failure_on_the_way_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: BaseException
) -> None:
    def refuse(self: SqliteStore, values: object) -> None:
        raise error

    monkeypatch.setattr(SqliteStore, "set_meta", refuse)
    with pytest.raises((StorageFailure, KeyboardInterrupt)) as raised:
        make(tmp_path / "jena")
    assert os.listdir(tmp_path) == []
    if isinstance(error, OSError):
        assert "No space left" in str(raised.value)


def test_a_folder_whose_name_is_not_on_disk_was_not_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """L1: a power cut would take a practice that somebody was told is founded."""
    synced: list[list[str]] = []

    def refuses(parent: Path) -> None:
        synced.append(os.listdir(parent))
        if len(synced) == 1:
            raise OSError(5, "Input/output error")

    monkeypatch.setattr(folder, "sync_folder", refuses)
    with pytest.raises(StorageFailure, match=r"cannot write .*jena: Input/output error"):
        make(tmp_path / "jena")
    assert os.listdir(tmp_path) == []
    [made], [doomed] = synced
    assert made == "jena" and doomed.startswith(".jena."), "first the name goes, then the files"


def test_places_that_are_taken_or_missing(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x", encoding="utf-8")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "x").write_text("x", encoding="utf-8")
    (tmp_path / "empty").mkdir()
    for name in ("file", "full"):
        with pytest.raises(RefusedError, match="not empty"):
            make(tmp_path / name)
    with pytest.raises(RefusedError, match="make it first"):
        make(tmp_path / "nowhere" / "jena")
    make(tmp_path / "empty")
    assert (tmp_path / "empty" / "replica.key").exists()
    assert sorted(os.listdir(tmp_path)) == ["empty", "file", "full"]


async def test_the_lock_is_given_back_when_the_keys_do_not_open(tmp_path: Path) -> None:
    make(tmp_path / "jena")
    with pytest.raises(WrongPassphrase):
        await folder.unlock(tmp_path / "jena", "battery staple")
    assert not await cancelled_at(1, folder.unlock(tmp_path / "jena", PASSPHRASE))
    unlocked = await folder.unlock(tmp_path / "jena", PASSPHRASE)
    unlocked.lock.release()


def test_what_is_no_key_file(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="make one with"):
        folder.read_key_file(tmp_path)
    (tmp_path / "replica.key").write_bytes(bytes(1_000_000))
    with pytest.raises(DamagedFile, match="not a key file"):
        folder.read_key_file(tmp_path)
    (tmp_path / "replica.key").unlink()
    (tmp_path / "replica.key").mkdir()
    with pytest.raises(StorageFailure, match="cannot read"):
        folder.read_key_file(tmp_path)


def test_discarding_what_is_not_there_is_no_error(tmp_path: Path) -> None:
    make(tmp_path / "jena")
    folder.discard(tmp_path / "jena")
    folder.discard(tmp_path / "jena")
    assert os.listdir(tmp_path) == []
