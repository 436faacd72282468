"""Checking a backup: every byte region is watched, with and without a passphrase, and damage is named."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from crdtsync import CrdtSyncError, NotFound, RefusedError, Site, WrongPassphrase
from crdtsync.backup import index
from crdtsync.backup.checking import check
from crdtsync.backup.folder_vault import FolderVault
from crdtsync.backup.index import Body
from crdtsync.backup.opening import opened_by_passphrase, vault_at
from crdtsync.backup.restoring import restore
from crdtsync.backup.vault import INDEX, PIECE
from crdtsync.folder import new_keys
from crdtsync.sealing.suite1 import Suite1
from tests.backup.conftest import flipped, patients
from tests.sites import PASSPHRASE

pytestmark = pytest.mark.anyio


@pytest.fixture(params=[True, False], ids=["folder", "file"])
async def place(jena: Site, tmp_path: Path, request: pytest.FixtureRequest) -> Path:
    """Two backups in one place."""
    await jena.backup(tmp_path / "b", folder=request.param)
    await patients(jena, 5, first=50)
    await jena.backup(tmp_path / "b", folder=request.param)
    return tmp_path / "b"


def places(place: Path, each: int, seed: int) -> Iterator[tuple[Path, int]]:
    """Bytes of every file: the first and the last ones, and so many drawn ones."""
    chance = random.Random(seed)
    for path in sorted(place.rglob("*")) if place.is_dir() else [place]:
        size = path.stat().st_size if path.is_file() else 0
        drawn = chance.sample(range(size), min(size, each))
        for at in sorted({*range(min(size, 2)), *range(max(0, size - 2), size), *drawn}):
            yield path, at


def found(place: Path, passphrase: str | None = None) -> list[str]:
    """What is wrong, also where the backup does not open at all."""
    try:
        return list(check(place, passphrase=passphrase)["problems"])
    except (RefusedError, NotFound) as error:
        return [str(error)]


async def flips(place: Path, each: int, seed: int) -> int:
    tried = 0
    for path, at in places(place, each, seed):
        put_back = flipped(path, at)
        told = found(place)
        assert told, f"byte {at} of {path.name}"
        named = path.name if place.is_dir() else str(place)
        assert named in told[0], told
        put_back()
        tried += 1
    assert found(place, PASSPHRASE) == []
    return tried


async def test_a_flipped_bit_is_found_and_named(place: Path) -> None:
    assert await flips(place, 20 if place.is_dir() else 150, seed=1) > 100


@pytest.mark.slow
async def test_many_flipped_bits_are_found_and_named(place: Path) -> None:
    assert await flips(place, 400 if place.is_dir() else 4_000, seed=2) > 2_500


async def test_no_flipped_bit_is_restored(place: Path, tmp_path: Path) -> None:
    """Restoring a damaged backup is refused with a sentence, or the damage lies where this backup does not."""
    whole = check(place, passphrase=PASSPHRASE)["backups"][-1]["commits"]
    refused = 0
    for number, (path, at) in enumerate(places(place, 2 if place.is_dir() else 12, seed=3)):
        put_back, into = flipped(path, at), tmp_path / f"r{number}"
        try:
            assert restore(place, into, PASSPHRASE)["commits"] == whole
        except CrdtSyncError as error:
            refused += 1
            assert not into.exists() and len(str(error)) < 500
        put_back()
    assert refused > 3
    assert not [each for each in tmp_path.iterdir() if each.name.endswith(".new")]


async def test_what_is_gone_is_missed(place: Path) -> None:
    if place.is_file():
        data = place.read_bytes()
        place.write_bytes(data[:-1])
        assert any("cut off" in problem or "directory" in problem for problem in found(place))
        return
    for path in sorted(place.rglob("*")):
        if path.is_file() and path.parent.name != "index" and path.name != "lock":
            data = path.read_bytes()
            path.unlink()
            told = found(place, PASSPHRASE)
            assert any(path.name in problem and "missing" in problem for problem in told), path
            path.write_bytes(data)
    assert found(place, PASSPHRASE) == []


async def test_the_wrong_passphrase_is_no_damage(place: Path, tmp_path: Path) -> None:
    with pytest.raises(WrongPassphrase, match="check it and try again"):
        check(place, passphrase="wrong")
    assert check(place)["opened"] is False and check(place)["ok"] is True
    with pytest.raises(NotFound):
        check(tmp_path / "none", passphrase=PASSPHRASE)


async def test_a_backup_that_somebody_else_made_up_is_refused(jena: Site, tmp_path: Path) -> None:
    """Somebody can write where the backups lie, and even knows the backup key: the site's signature is missing."""
    place = tmp_path / "b"
    await jena.backup(place, folder=True)
    with closing(vault_at(place)) as vault:
        [name] = vault.names(INDEX)
        real = index.decode(vault.read(INDEX, name), name)
        backup = opened_by_passphrase(vault, real, PASSPHRASE)
    body = backup.body
    lie = Body(body.practice_name, "Evil", body.head, body.frontier, body.members, body.log, body.keys, body.meta)
    other = Suite1(new_keys().identity(), bytes)
    with closing(FolderVault(place, writing=True)) as vault:
        vault.publish(index.encode(other, backup.key, real.clear, lie), "2030-01-01T00-00-00Z", {INDEX: [name]})
    assert check(place)["ok"] is True, "every byte is as it was written"
    assert any("signature of its site" in problem for problem in found(place, PASSPHRASE))
    with pytest.raises(RefusedError, match="does not bear the signature of its site"):
        restore(place, tmp_path / "r", PASSPHRASE)


async def test_pieces_of_another_backup_are_noticed(jena: Site, tmp_path: Path) -> None:
    """Well sealed by the same site, and signed; but the log in it is not the one that the description sums up."""
    place = tmp_path / "b"
    await jena.backup(place, folder=True)
    await patients(jena, 5, first=50)
    await jena.backup(place, folder=True)
    with closing(FolderVault(place, writing=True)) as vault:
        newest = index.decode(vault.read(INDEX, vault.names(INDEX)[-1]), vault.names(INDEX)[-1])
        backup = opened_by_passphrase(vault, newest, PASSPHRASE)
        body = backup.body
        for mixed in (
            Body(body.practice_name, "Jena", body.head, body.frontier, body.members, body.log[:-1], body.keys, {}),
            Body(body.practice_name, "Jena", body.head, body.frontier, body.members, body.log[::-1], body.keys, {}),
            Body(body.practice_name, "Jena", body.head, {}, body.members, body.log, body.keys, {}),
            Body(body.practice_name, "Jena", body.head, body.frontier, (), body.log, body.keys, {}),
        ):
            assert len(body.log) > 1
            data = index.encode(backup.sealer, backup.key, newest.clear, mixed)
            vault.publish(data, "2030-01-01T00-00-00Z", {INDEX: vault.names(INDEX)})
            assert found(place, PASSPHRASE), mixed
            with pytest.raises(CrdtSyncError):
                restore(place, tmp_path / "r", PASSPHRASE)
            assert not (tmp_path / "r").exists() and vault.names(PIECE)
