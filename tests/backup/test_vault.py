"""Both vaults: what was published is there, what was not never counts, every byte is watched, keys are destroyed."""

from __future__ import annotations

import hashlib
import itertools
import os
import random
import shutil
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from crdtsync import AlreadyOpen, DamagedFile, NotFound, RefusedError
from crdtsync.backup import file_vault
from crdtsync.backup.file_vault import FileVault
from crdtsync.backup.folder_vault import FolderVault
from crdtsync.backup.opening import is_backup, vault_at
from crdtsync.backup.vault import INDEX, KEYS, KINDS, PIECE, Vault, sound
from tests.backup.conftest import flipped

Make = Callable[[Path], Vault]
KINDS_OF_VAULT = {
    "folder": lambda path, writing=True: FolderVault(path, writing=writing),
    "file": lambda path, writing=True: FileVault(path, writing=writing),
}
chance = random.Random(5)


@pytest.fixture(params=sorted(KINDS_OF_VAULT))
def make(request: pytest.FixtureRequest) -> Make:
    return KINDS_OF_VAULT[request.param]


def blob(number: int, size: int = 3_000) -> bytes:
    return random.Random(number).randbytes(size)


def content(vault: Vault) -> set[tuple[str, bytes]]:
    return {(kind, vault.read(kind, name)) for kind in KINDS for name in vault.names(kind)}


def files(path: Path) -> list[Path]:
    return sorted(each for each in path.rglob("*") if each.is_file()) if path.is_dir() else [path]


def published(path: Path, make: Make, first: int = 0) -> set[tuple[str, bytes]]:
    with closing(make(path)) as vault:
        vault.add(PIECE, blob(first))
        vault.add(KEYS, blob(first + 1))
        vault.publish(blob(first + 2), f"2026-01-01T00-00-{first:02}Z", {})
        return content(vault)


def test_what_was_published_is_there(make: Make, tmp_path: Path) -> None:
    path = tmp_path / "v"
    one = published(path, make)
    assert one == {(PIECE, blob(0)), (KEYS, blob(1)), (INDEX, blob(2))}
    with closing(make(path)) as vault:
        assert content(vault) == one
        [piece], [index] = vault.names(PIECE), vault.names(INDEX)
        new = vault.add(PIECE, blob(10))
        assert vault.read(PIECE, new) == blob(10) and not sound(vault, PIECE, bytes(32))
        vault.publish(blob(11), "2026-01-02T00-00-00Z", {PIECE: [piece], INDEX: [index], KEYS: vault.names(KEYS)})
    with closing(vault_at(path)) as vault:
        assert content(vault) == {(PIECE, blob(10)), (INDEX, blob(11))}
        assert list(vault.check(None)) == []
        assert vault.weigh() >= 6_000
    assert is_backup(path)


def test_what_was_not_published_does_not_count(make: Make, tmp_path: Path) -> None:
    path = tmp_path / "v"
    before = published(path, make)
    size = sum(each.stat().st_size for each in files(path))
    for discard in (True, False):  # refused, and killed
        with closing(make(path)) as vault:
            vault.add(PIECE, blob(10))
            vault.add(KEYS, blob(11))
            if discard:
                vault.discard()
                assert sum(each.stat().st_size for each in files(path)) == size
    with closing(make(path, False)) as vault:  # type: ignore[call-arg]
        assert set(vault.names(INDEX)) == {name for kind, name in _named(before) if kind == INDEX}
        assert list(vault.check(None)) == []
    with closing(make(path)) as vault:
        vault.publish(blob(20), "2026-01-03T00-00-00Z", {PIECE: set(vault.names(PIECE)) - {_name(blob(0))}})
        assert list(vault.check(None)) == []


def _name(data: bytes) -> bytes:
    return hashlib.sha256(data).digest()


def _named(found: set[tuple[str, bytes]]) -> set[tuple[str, bytes]]:
    return {(kind, _name(data)) for kind, data in found}


def test_every_flipped_bit_is_found(make: Make, tmp_path: Path) -> None:
    path = tmp_path / "v"
    published(path, make)
    published(path, make, first=10)
    with closing(make(path)) as vault:
        vault.publish(blob(30), "2026-01-04T00-00-00Z", {KEYS: vault.names(KEYS)[:1], PIECE: vault.names(PIECE)[:1]})
    for file in files(path):
        size = file.stat().st_size
        for at in chance.sample(range(size), min(size, 150 if path.is_file() else 25)):
            put_back = flipped(file, at)
            assert problems(path), f"byte {at} of {file.name}"
            put_back()
    assert problems(path) == []


def problems(path: Path) -> list[str]:
    """What is found wrong, also when the vault does not open at all."""
    try:
        with closing(vault_at(path)) as vault:
            return list(vault.check(None))
    except (DamagedFile, RefusedError) as error:
        return [str(error)]


def test_a_part_that_is_cut_off_or_gone_is_found(make: Make, tmp_path: Path) -> None:
    path = tmp_path / "v"
    published(path, make)
    [largest] = sorted(files(path), key=lambda file: file.stat().st_size)[-1:]
    data = largest.read_bytes()
    for length in (0, 1, len(data) // 2, len(data) - 1):
        largest.write_bytes(data[:length])
        assert problems(path)
    largest.write_bytes(data)
    assert problems(path) == []


def test_destroyed_keys_are_on_no_disk(make: Make, tmp_path: Path) -> None:
    path = tmp_path / "v"
    published(path, make)
    handle = [os.open(file, os.O_RDONLY) for file in files(path)]  # what is removed is read through these
    with closing(make(path)) as vault:
        vault.publish(blob(30), "2026-01-04T00-00-00Z", {KEYS: vault.names(KEYS)})
    there = b"".join(os.pread(each, 1 << 20, 0) for each in handle)
    for each in handle:
        os.close(each)
    assert blob(1)[:64] not in there and blob(1)[-64:] not in there
    assert blob(0) in there


def test_one_at_a_time(make: Make, tmp_path: Path) -> None:
    path = tmp_path / "v"
    with closing(make(path)):
        with pytest.raises(AlreadyOpen):
            make(path)
        with closing(vault_at(path)) as reader:
            assert list(reader.check(None)) == []
    make(path).close()


def test_what_is_no_backup_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "letters").mkdir()
    (tmp_path / "letters" / "a.txt").write_text("Liebe Oma")
    (tmp_path / "a.txt").write_text("Liebe Oma, wie geht es Dir?")
    with pytest.raises(RefusedError, match="something else than backups"):
        vault_at(tmp_path / "letters", writing=True)
    with pytest.raises(NotFound, match="holds no backups"):
        vault_at(tmp_path / "letters")
    for writing in (True, False):
        with pytest.raises(RefusedError, match="is no backup"):
            vault_at(tmp_path / "a.txt", writing=writing)
    with pytest.raises(RefusedError, match="is a file"):
        vault_at(tmp_path / "a.txt", writing=True, folder=True)
    with pytest.raises(NotFound, match="there is no backup"):
        vault_at(tmp_path / "none")
    with pytest.raises(NotFound, match="make it first"):
        vault_at(tmp_path / "none" / "b", writing=True)
    assert (tmp_path / "a.txt").read_text().startswith("Liebe Oma") and not is_backup(tmp_path / "a.txt")
    assert sorted(each.name for each in tmp_path.iterdir()) == ["a.txt", "letters"]


def test_a_file_grows_by_what_is_new_and_is_written_anew_when_most_of_it_is_gone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(file_vault, "_SHORT_BYTES", 20_000)
    path = tmp_path / "v"
    sizes = []
    for number in range(30):
        with closing(FileVault(path, writing=True)) as vault:
            old = vault.names(PIECE)
            vault.add(PIECE, blob(number))
            vault.publish(blob(100 + number, 200), str(number), {PIECE: old, INDEX: vault.names(INDEX)})
            assert content(vault) == {(PIECE, blob(number)), (INDEX, blob(100 + number, 200))}
        assert problems(path) == []
        sizes.append(path.stat().st_size)
    assert max(sizes) < 60_000 and any(after < before for before, after in itertools.pairwise(sizes))
    assert [each.name for each in tmp_path.iterdir()] == ["v"]


class Stopped(BaseException):
    """The process ends here."""


def test_a_file_is_whole_wherever_its_writer_is_stopped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A stop before every write, sync and rename of a backup that also removes: the old state, or the new one."""
    base = tmp_path / "base"
    before = published(base, KINDS_OF_VAULT["file"])
    monkeypatch.setattr(file_vault, "_SHORT_BYTES", 1_000)
    outcomes = set()
    for stop in itertools.count(1):
        path = tmp_path / f"v{stop}"
        shutil.copy(base, path)
        steps = itertools.count(1)

        def step(steps: itertools.count[int] = steps, stop: int = stop) -> None:
            if next(steps) >= stop:
                raise Stopped

        ended = True
        with monkeypatch.context() as patch:
            patch.setattr(FileVault, "_write", _before(FileVault._write, step))
            patch.setattr(FileVault, "_sync", _before(FileVault._sync, step))
            patch.setattr(os, "replace", _before(os.replace, step))
            vault = FileVault(path, writing=True)
            try:
                vault.add(PIECE, blob(40))
                doomed = {PIECE: [_name(blob(0))], KEYS: vault.names(KEYS), INDEX: vault.names(INDEX)}
                vault.publish(blob(41), "later", doomed)
            except Stopped:
                ended = False
            vault._file.close()  # type: ignore[union-attr]
            vault._lock.release()  # type: ignore[union-attr]
        with closing(FileVault(path, writing=False)) as again:
            found = content(again)
            assert found in (before, {(PIECE, blob(40)), (INDEX, blob(41))})
            assert list(again.check(None)) == []
        outcomes.add(found == before)
        if ended:
            break
    assert outcomes == {True, False} and stop > 8


def _before(function: Callable[..., object], step: Callable[[], None]) -> Callable[..., object]:
    def call(*args: object, **kwargs: object) -> object:
        step()
        return function(*args, **kwargs)

    return call
