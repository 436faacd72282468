"""Making backups: exactly a moment, only what is new, nothing broken by whatever ends one."""

from __future__ import annotations

import errno
import itertools
import shutil
from contextlib import closing
from pathlib import Path

import anyio
import pytest

from crdtsync import RefusedError, RottenCommit, Site, StorageFailure
from crdtsync.backup import file_vault, folder_vault
from crdtsync.backup.checking import check
from crdtsync.backup.folder_vault import FolderVault
from crdtsync.backup.opening import vault_at
from crdtsync.backup.restoring import restore
from crdtsync.backup.retention import Retention
from crdtsync.backup.vault import INDEX, KEYS, PIECE
from crdtsync.practice import Patient
from crdtsync.storage.database import KEYS_FILE, LOG_FILE, open_plain
from tests.backup.conftest import flipped, patients
from tests.sites import PASSPHRASE, add, at_host, change, create, opened

pytestmark = pytest.mark.anyio
BOTH = pytest.mark.parametrize("folder", [True, False], ids=["folder", "file"])


def healthy(place: Path, backups: int) -> None:
    told = check(place, passphrase=PASSPHRASE)
    assert (told["problems"], len(told["backups"])) == ([], backups)


@BOTH
async def test_the_next_one_writes_what_is_new(tmp_path: Path, folder: bool) -> None:
    place = tmp_path / "b"
    async with create(tmp_path / "jena") as jena:
        await patients(jena, 1_500, at_once=50)
        first = await jena.backup(place, folder=folder)
        for patient in await jena.find(Patient, limit=40):
            await change(jena, patient, note="angerufen")
        edits = await at_host(jena, lambda host: host.store.arrivals(30, 40, 1 << 30))
        new = sum(stored.commit.size for stored in edits)
        second = await jena.backup(place, folder=folder)
        again = await jena.backup(place, folder=folder)
    assert second["written_bytes"] < 1.15 * new + 6_000, "the commits, and a description"
    assert second["bytes"] - first["bytes"] < 1.15 * new + 9_000
    assert again["written_bytes"] < 6_000, "a description and nothing else"
    healthy(place, 3)
    assert restore(place, tmp_path / "r", PASSPHRASE)["commits"] == 70


@BOTH
async def test_it_holds_one_moment_while_others_write(tmp_path: Path, folder: bool) -> None:
    """Writers go on all the time; what is restored is the state after one of their commits, and none is cut in two."""
    place = tmp_path / "b"
    async with create(tmp_path / "jena") as jena:
        await patients(jena, 600, at_once=50)
        states = {(await jena.status())["commits"]: await jena.digest()}
        over = anyio.Event()

        async def write() -> None:
            for number in itertools.count():
                await add(jena, Patient(family_name=f"während {number}"), Patient(family_name=f"auch {number}"))
                states[(await jena.status())["commits"]] = await jena.digest()
                if over.is_set():
                    return

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(write)
            told = [await jena.backup(place, folder=folder) for _ in range(3)]
            over.set()
    assert len({each["commits"] for each in told}) == 3, "nobody wrote meanwhile"
    healthy(place, 3)
    for number, each in enumerate(told):
        into = tmp_path / f"r{number}"
        taken = each["taken_ms"]
        restore(place, into, PASSPHRASE, at_ms=taken)
        async with opened(into) as again:
            assert (await again.status())["frontier"] == each["frontier"]
            assert await again.digest() == states[each["commits"]], "a state that never was"
            counts = "SELECT sum(family_name LIKE 'w%') AS one, sum(family_name LIKE 'auch%') AS other FROM patient"
            [row] = await again.sql(counts)
            assert row["one"] == row["other"]


@BOTH
async def test_a_cancelled_one_leaves_nothing(jena: Site, tmp_path: Path, folder: bool) -> None:
    """Cancelled at each place where it tells how far it is; what was cancelled too late is whole."""
    place = tmp_path / "b"
    await jena.backup(place, folder=folder)
    await patients(jena, 5, first=50)
    size = _size(place)
    for stop in itertools.count(1):
        with anyio.CancelScope() as scope:
            seen = 0

            def told(done: int, total: int | None, scope: anyio.CancelScope = scope, stop: int = stop) -> None:
                nonlocal seen
                seen += 1
                if seen == stop:
                    scope.cancel()

            jena_told = await jena.backup(place, folder=folder, progress=told)
        if not scope.cancelled_caught:
            break
        assert _size(place) == size
        healthy(place, 1)
    assert stop > 2 and jena_told["backups"] == 2
    healthy(place, 2)


def _size(place: Path) -> int:
    return sum(each.stat().st_size for each in (place.rglob("*") if place.is_dir() else [place]) if each.is_file())


@BOTH
async def test_what_rots_in_a_place_is_written_anew(jena: Site, tmp_path: Path, folder: bool) -> None:
    place = tmp_path / "b"
    await jena.backup(place, folder=folder)
    with closing(vault_at(place)) as vault:
        names = {kind: vault.names(kind) for kind in (PIECE, KEYS)}
        spots = [_spot(place, kind, name) for kind, found in names.items() for name in found]
    for path, at in spots:
        flipped(path, at)
        assert check(place)["ok"] is False
        told = await jena.backup(place, folder=folder, keep=Retention(0, 0, 0))
        assert told["backups"] == 1
        healthy(place, 1)


def _spot(place: Path, kind: str, name: bytes) -> tuple[Path, int]:
    """A byte in the middle of a part."""
    if place.is_dir():
        path = next(place.rglob(f"*{name.hex()}"))
        return path, path.stat().st_size // 2
    with closing(vault_at(place)) as vault:
        entry = vault._places[kind, name]  # type: ignore[attr-defined]
        return place, entry.place + entry.size // 2


async def test_other_backups_are_not_mixed_with_these(jena: Site, tmp_path: Path) -> None:
    place = tmp_path / "b"
    await jena.backup(place)
    async with create(tmp_path / "gera", "Gera") as gera:
        with pytest.raises(RefusedError, match="holds the backups of another site"):
            await gera.backup(place)
    healthy(place, 1)


@BOTH
async def test_retention_removes_and_the_rest_still_restores(jena: Site, tmp_path: Path, folder: bool) -> None:
    place = tmp_path / "b"
    digests = {}
    for number in range(6):
        await patients(jena, 4, first=100 * number)
        told = await jena.backup(place, folder=folder, keep=Retention(daily=0, weekly=0, monthly=1))
        digests[told["taken_ms"]] = (await jena.digest())["digest"]
        assert told["backups"] == 1 and told["removed"] == min(number, 1)
    healthy(place, 1)
    restore(place, tmp_path / "r", PASSPHRASE)
    async with opened(tmp_path / "r") as again:
        assert (await again.digest())["digest"] == digests[max(digests)]
    with closing(vault_at(place)) as vault:
        assert len(vault.names(PIECE)) <= 8, "pieces that nobody needs are gone"


@BOTH
async def test_destroyed_keys_leave_with_the_next_backup(jena: Site, tmp_path: Path, folder: bool) -> None:
    """Also from the earlier backups there: all of them read the one part that each run replaces."""
    place = tmp_path / "b"
    first = await jena.backup(place, folder=folder)
    [victim] = await jena.find(Patient, family_name="N7")
    gone = await at_host(jena, lambda host: host.store.key_of_subject(victim.id))
    await at_host(jena, lambda host: host.store.erase_keys([key.id for key in gone]))
    await jena.backup(place, folder=folder)
    for at_ms in (None, first["taken_ms"]):
        into = tmp_path / f"r{at_ms}"
        restore(place, into, PASSPHRASE, at_ms=at_ms)
        db = open_plain(into, KEYS_FILE)
        kept = {row[0] for row in db.execute("SELECT wrapped FROM data_key")}
        db.close()
        assert len(kept) == 19 and gone[0].wrapped not in kept
    assert check(place, passphrase=PASSPHRASE)["backups"][-1]["keys_missing"] == 1


async def test_a_site_that_was_set_back_goes_on_in_its_place(jena: Site, tmp_path: Path) -> None:
    """The later backup stays as it is; what follows shares with it only what both have."""
    place = tmp_path / "b"
    old = await jena.backup(place, folder=True)
    await patients(jena, 30, first=200)
    ahead = await jena.backup(place, folder=True)
    digest = await jena.digest()
    restore(place, tmp_path / "back", PASSPHRASE, at_ms=old["taken_ms"])
    async with opened(tmp_path / "back") as back:
        await patients(back, 10, first=300)
        told = await back.backup(place, folder=True)
        assert (told["commits"], told["backups"]) == (30, 3)
        set_back = await back.digest()
    healthy(place, 3)
    for number, (each, expected) in enumerate(((ahead, digest), (told, set_back))):
        restore(place, tmp_path / f"r{number}", PASSPHRASE, at_ms=each["taken_ms"])
        async with opened(tmp_path / f"r{number}") as again:
            assert await again.digest() == expected


async def test_a_rotten_log_is_no_backup(jena: Site, tmp_path: Path) -> None:
    place = tmp_path / "b"
    await jena.backup(place)
    await patients(jena, 3, first=50)

    db = open_plain(jena.path, LOG_FILE)
    db.execute("UPDATE entry SET parts = zeroblob(length(parts)) WHERE arrival = 22")
    db.close()
    with pytest.raises(RottenCommit, match="at arrival 22 is not what was written"):
        await jena.backup(place)
    healthy(place, 1)


class Refusing:
    """A disk that refuses the so-many-th call."""

    def __init__(self, at: int, number: int) -> None:
        self.left, self.number = at, number

    def __call__(self, path: Path) -> None:
        self.left -= 1
        if self.left == 0:
            raise OSError(self.number, "refused")


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EIO], ids=["full", "broken"])
@BOTH
async def test_a_disk_that_refuses(
    jena: Site, tmp_path: Path, folder: bool, number: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every sync in turn: a sentence, nothing left behind, and the earlier backup as it was."""
    place = tmp_path / "b"
    await jena.backup(place, folder=folder)
    await patients(jena, 5, first=50)
    size, module = _size(place), folder_vault if folder else file_vault
    sync = module.sync_file
    for at in itertools.count(1):
        refusing = Refusing(at, number)
        with monkeypatch.context() as patch:
            patch.setattr(module, "sync_file", lambda path, r=refusing: (r(path), sync(path)))
            try:
                told = await jena.backup(place, folder=folder)
            except StorageFailure as error:
                assert ("its disk is full; free some space" in str(error)) is (number == errno.ENOSPC)
                assert "no backup can be written to" in str(error) and str(place) in str(error)
                found = check(place, passphrase=PASSPHRASE)
                assert found["problems"] == []
                if len(found["backups"]) == 1:
                    assert _size(place) == size
                else:  # the last sync of all: whole, though the disk did not say so
                    break
                continue
        assert told["backups"] == 2
        break
    assert at > 2
    healthy(place, 2)


async def test_two_at_a_time_take_turns(jena: Site, tmp_path: Path) -> None:
    told: list[int] = []

    async def one() -> None:
        told.append((await jena.backup(tmp_path / "b", folder=True))["backups"])

    async with anyio.create_task_group() as tasks:
        for _ in range(3):
            tasks.start_soon(one)
    assert sorted(told) == [1, 2, 3]


async def test_progress_goes_up_to_all_commits(jena: Site, tmp_path: Path) -> None:
    seen: list[tuple[int, int | None]] = []
    await jena.backup(tmp_path / "b", progress=lambda done, total: seen.append((done, total)))
    assert seen[-1] == (20, 20) and seen == sorted(seen)


async def test_a_place_with_a_damaged_description_keeps_its_pieces(jena: Site, tmp_path: Path) -> None:
    """They might belong to the backup that cannot be read: put back, it is whole again."""
    place = tmp_path / "b"
    first = await jena.backup(place, folder=True)
    [index] = (place / "index").iterdir()
    put_back = flipped(index, index.stat().st_size // 2)
    await patients(jena, 5, first=50)
    told = await jena.backup(place, folder=True, keep=Retention(0, 0, 0))
    assert len(told["damaged"]) == 1 and index.name in told["damaged"][0]
    assert check(place, passphrase=PASSPHRASE)["ok"] is False
    put_back()
    restore(place, tmp_path / "r", PASSPHRASE, at_ms=first["taken_ms"])
    shutil.rmtree(tmp_path / "r")


async def test_half_a_backup_is_never_taken_for_a_whole_one(jena: Site, tmp_path: Path) -> None:
    """What a killed process leaves is no backup, and the next one clears it away."""
    place = tmp_path / "b"
    with closing(FolderVault(place, writing=True)) as vault:
        vault.add(PIECE, b"half")
        (place / "index" / "2026-01-01T00-00-00Z_half.part").write_bytes(b"x")
    assert check(place)["problems"] == [f"{place} holds no whole backup"]
    told = await jena.backup(place)
    assert told["backups"] == 1 and place.is_dir()
    healthy(place, 1)
    with closing(vault_at(place)) as vault:
        assert len(vault.names(INDEX)) == 1
    assert not list(place.rglob("*.part"))
