"""Restoring: the same site again, recovering, under a fresh boot; and what is refused."""

from __future__ import annotations

import errno
from pathlib import Path

import anyio
import pytest

from crdtsync import DamagedFile, NotFound, RefusedError, Site, StorageFailure, WrongPassphrase
from crdtsync.backup import restoring
from crdtsync.backup.checking import check
from crdtsync.backup.restoring import restore
from crdtsync.practice import Patient
from crdtsync.storage.lock import FolderLock
from tests.backup.conftest import flipped, patients
from tests.sites import PASSPHRASE, add, agree, at_host, mesh, opened, patience_s, practice

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize("folder", [True, False], ids=["folder", "file"])
async def test_a_backup_restores_to_what_was_there(jena: Site, tmp_path: Path, folder: bool) -> None:
    place = tmp_path / "backups"
    before = await jena.digest()
    frontier = (await jena.status())["frontier"]
    told = await jena.backup(place, folder=folder)
    assert place.is_dir() is folder
    assert told["frontier"] == frontier and told["commits"] == 20
    await patients(jena, 3, first=100)
    assert check(place, passphrase=PASSPHRASE)["problems"] == []
    back = restore(place, tmp_path / "again", PASSPHRASE)
    assert (back["site"], back["practice"], back["commits"]) == ("Jena", "Praxis am Markt", 20)
    async with opened(tmp_path / "again") as again:
        assert await again.digest() == before
        assert (await again.status())["frontier"] == frontier
        assert again.replica == jena.replica
        assert (await again.verify())["problems"] == []
        times = await at_host(again, lambda host: [one.arrived_ms for one in host.store.arrivals(0, 99, 1 << 30)])
        assert times == await at_host(jena, lambda host: [o.arrived_ms for o in host.store.arrivals(0, 20, 1 << 30)])
        commit = await add(again, Patient(family_name="Nachher"))
        assert commit.log not in await at_host(jena, lambda host: host.store.frontier())


async def test_what_a_restore_refuses_leaves_nothing(jena: Site, tmp_path: Path) -> None:
    place = tmp_path / "b"
    await jena.backup(place)
    into = tmp_path / "r"
    with pytest.raises(WrongPassphrase, match="does not open with this passphrase"):
        restore(place, into, "wrong")
    with pytest.raises(NotFound, match="there is no backup"):
        restore(tmp_path / "none", into, PASSPHRASE)
    with pytest.raises(NotFound, match="no whole backup that old"):
        restore(place, into, PASSPHRASE, at_ms=1)
    with pytest.raises(RefusedError, match="is no backup"):
        restore(jena.path / "replica.key", into, PASSPHRASE)
    with pytest.raises(NotFound, match="holds no backups"):
        restore(jena.path, into, PASSPHRASE)
    assert not into.exists()
    with pytest.raises(RefusedError, match="is not empty"):
        restore(place, jena.path, PASSPHRASE)
    with pytest.raises(RefusedError, match="make it first"):
        restore(place, tmp_path / "none" / "r", PASSPHRASE)
    into.mkdir()
    assert restore(place, into, PASSPHRASE)["site"] == "Jena", "an empty folder will do"
    assert sorted(each.name for each in tmp_path.iterdir()) == ["b", "jena", "r"]


async def test_an_older_one_by_its_time_and_never_by_itself(jena: Site, tmp_path: Path) -> None:
    place = tmp_path / "b"
    first = await jena.backup(place, folder=True)
    await patients(jena, 5, first=50)
    await jena.backup(place, folder=True)
    assert restore(place, tmp_path / "r1", PASSPHRASE, at_ms=first["taken_ms"])["commits"] == 20
    newest = sorted((place / "index").iterdir())[-1]
    flipped(newest, 100)
    with pytest.raises(DamagedFile, match=r"is not what was written there; to take an older backup .* --at: 20"):
        restore(place, tmp_path / "r2", PASSPHRASE)
    assert restore(place, tmp_path / "r2", PASSPHRASE, at_ms=first["taken_ms"])["commits"] == 20


async def test_a_full_disk_is_told(jena: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place = tmp_path / "b"
    await jena.backup(place)

    def full(path: Path) -> None:
        raise OSError(errno.ENOSPC, "full")

    monkeypatch.setattr(restoring, "sync_file", full)
    with pytest.raises(StorageFailure, match="its disk is full; free some space"):
        restore(place, tmp_path / "r", PASSPHRASE)
    assert sorted(each.name for each in tmp_path.iterdir()) == ["b", "jena"]


async def test_what_a_killed_restore_left_is_removed_and_what_another_fills_is_not(jena: Site, tmp_path: Path) -> None:
    place = tmp_path / "b"
    await jena.backup(place)
    left, busy = tmp_path / ".r.0000.new", tmp_path / ".r.1111.new"
    for draft in (left, busy):
        draft.mkdir()
        (draft / "log.db").write_bytes(b"half")
    lock = FolderLock(busy)
    restore(place, tmp_path / "r", PASSPHRASE)
    lock.release()
    assert not left.exists() and (busy / "log.db").exists()


async def test_it_waits_for_what_the_others_hold(tmp_path: Path) -> None:
    """Restored: nothing is written before a peer has been heard; then the new boot continues the true end."""
    async with practice(tmp_path, "Jena", "Gera") as [jena, gera]:
        async with mesh(jena, gera):
            await add(gera, Patient(family_name="Vorher"))
            await agree(jena, gera)
            told = await gera.backup(tmp_path / "b")
            kept = Patient(family_name="Nachher")
            last = await add(gera, kept)
            await agree(jena, gera)
        assert told["commits"] == 1
        restore(tmp_path / "b", tmp_path / "again", PASSPHRASE)
        async with opened(tmp_path / "again") as again:
            assert (await again.status())["recovering"] is True
            assert (await again.status())["restored"]["taken"] == told["taken"]
            with pytest.raises(RefusedError, match="fetched first"):
                await add(again, Patient(family_name="Zu früh"))
            async with mesh(jena, again):
                with anyio.fail_after(patience_s):
                    await again.recover()
                assert (await again.get(Patient, kept.id)).family_name == "Nachher"
                commit = await add(again, Patient(family_name="Danach"))
                await agree(jena, again)
            assert commit.log != last.log
            stored = await at_host(again, lambda host: host.store.commit(commit.log, 1))
            assert stored.commit.header.continues[0] == last.log, "a line, and no branch"


async def test_it_is_known_until_when_nothing_was_restored(jena: Site) -> None:
    status = await jena.status()
    assert status["restored"] is None and status["backup"]["last"] is None and status["backup"]["overdue"] is True
