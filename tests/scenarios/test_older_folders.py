"""Folders that were copied, moved, put back or set back: each begins a new boot before it writes, also offline (L4)."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from crdtsync.ids import CommitId, LogId
from crdtsync.practice import Patient
from crdtsync.replication.commit import Header
from crdtsync.storage import continuity
from crdtsync.storage.continuity import state_folder
from tests.sites import add, at_host, create, opened

pytestmark = pytest.mark.anyio


@pytest.fixture(autouse=True)
def session(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine that names its boot session, whatever this one is."""
    monkeypatch.setattr(continuity, "boot_session", lambda: "session 1")


async def written(folder: Path) -> tuple[Header, bool]:
    """Open the site, write one commit, close it: the commit's header, and whether an earlier log was continued."""
    async with opened(folder) as site:
        log, sequence = await add(site, Patient(family_name="Muster"))
        stored = await at_host(site, lambda host: host.store.commit(log, sequence))
        return stored.commit.header, await at_host(site, lambda host: host.continued)


async def began(folder: Path, last: Header) -> None:
    """What is written in `folder` now stands in a fresh log that continues `last`."""
    header, continued = await written(folder)
    assert not continued and header.log != last.log and header.sequence == 1
    assert header.continues is not None
    assert (header.continues[0], header.continues[1].sequence) == (last.log, last.sequence)


@pytest.fixture
async def jena(tmp_path: Path) -> Path:
    folder = tmp_path / "jena"
    async with create(folder) as site:
        await add(site, Patient(family_name="Schmidt"))
    return folder


def copy_of(folder: Path) -> Path:
    copy = folder.with_name("copy")
    shutil.copytree(folder, copy)
    return copy


def into_place(copy: Path, folder: Path) -> None:
    """Every file gets the older bytes and stays the file that it is, as `rsync --inplace` leaves it."""
    for file in [*folder.iterdir()]:
        if not (copy / file.name).exists():
            file.unlink()
    for file in copy.iterdir():
        with (folder / file.name).open("r+b" if (folder / file.name).exists() else "wb") as target:
            target.write(file.read_bytes())
            target.truncate()


def exchanged(copy: Path, folder: Path) -> None:
    """The folder is removed, and the copy put in its place."""
    shutil.rmtree(folder)
    shutil.copytree(copy, folder)


def renamed(copy: Path, folder: Path) -> None:
    """The copy takes the folder's name."""
    os.rename(folder, folder.with_name("gone"))
    os.rename(copy, folder)


async def test_the_same_folder_goes_on(jena: Path) -> None:
    first, _ = await written(jena)
    second, continued = await written(jena)
    assert continued and (second.log, second.sequence) == (first.log, first.sequence + 1)


async def test_a_copy_on_the_same_machine_begins_and_the_original_goes_on(jena: Path) -> None:
    last, _ = await written(jena)
    copy = copy_of(jena)
    await began(copy, last)
    mine, continued = await written(jena)
    assert continued and mine.log == last.log
    theirs, continued = await written(copy)
    assert continued and theirs.log != mine.log, "each goes on in its own"


async def test_a_copy_of_a_site_that_never_wrote_begins_a_log_of_its_own(tmp_path: Path) -> None:
    async with create(tmp_path / "jena"):
        pass
    copy = copy_of(tmp_path / "jena")
    logs = {(await written(folder))[0].log for folder in (tmp_path / "jena", copy)}
    assert len(logs) == 2


@pytest.mark.parametrize("put_back", [into_place, pytest.param(exchanged, marks=pytest.mark.slow), renamed])
async def test_an_older_copy_that_was_put_back_begins(jena: Path, put_back: Callable[[Path, Path], None]) -> None:
    last, _ = await written(jena)
    copy = copy_of(jena)
    await written(jena)
    put_back(copy, jena)
    await began(jena, last)


@pytest.mark.parametrize("put_back", [into_place, pytest.param(exchanged, marks=pytest.mark.slow)])
async def test_a_copy_made_while_the_site_ran_begins(jena: Path, put_back: Callable[[Path, Path], None]) -> None:
    """It has the newest nonce; but the proof knows of more commits than it has."""
    async with opened(jena) as site:
        commit = await add(site, Patient(family_name="Weber"))
        copy = copy_of(jena)
        await add(site, Patient(family_name="Vogel"))
    put_back(copy, jena)
    header, continued = await written(jena)
    assert not continued and header.continues is not None
    assert CommitId(header.continues[0], header.continues[1].sequence) == commit


async def test_a_copy_in_its_place_begins_though_nothing_was_written_since(jena: Path) -> None:
    """The original may write on elsewhere: only the very files that were written last prove anything."""
    last, _ = await written(jena)
    renamed(copy_of(jena), jena)
    await began(jena, last)


async def test_a_folder_that_was_moved_begins(jena: Path) -> None:
    last, _ = await written(jena)
    os.rename(jena, jena.with_name("moved"))
    await began(jena.with_name("moved"), last)


async def test_after_a_restart_of_the_machine_it_begins(jena: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Or on another one: neither has the boot session that the proof names."""
    last, _ = await written(jena)
    monkeypatch.setattr(continuity, "boot_session", lambda: "session 2")
    await began(jena, last)


@pytest.mark.slow
async def test_where_the_machine_names_no_session_every_start_begins(
    jena: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(continuity, "boot_session", lambda: None)
    last, _ = await written(jena)
    await began(jena, last)


async def test_a_machine_that_was_set_back_as_a_whole_begins(jena: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Folder and proof are of one moment, and even the files are the same ones; but it had to start."""
    last, _ = await written(jena)
    copy = copy_of(jena)
    proofs = shutil.copytree(state_folder(), jena.with_name("proofs"))
    await written(jena)
    into_place(copy, jena)
    into_place(proofs, state_folder())
    monkeypatch.setattr(continuity, "boot_session", lambda: "session 2")
    await began(jena, last)


async def test_without_its_proof_it_begins(jena: Path) -> None:
    last, _ = await written(jena)
    for proof in state_folder().iterdir():
        proof.unlink()
    await began(jena, last)


async def test_a_proof_that_was_copied_along_proves_nothing_of_the_copy(jena: Path) -> None:
    """Not even under the name that the proof of the copy would have."""
    last, _ = await written(jena)
    [proof] = state_folder().iterdir()
    copy = copy_of(jena)
    async with opened(copy):
        pass
    [other] = [file for file in state_folder().iterdir() if file != proof]
    shutil.rmtree(copy)
    copy_of(jena)
    shutil.copyfile(proof, other)
    await began(copy, last)


@pytest.mark.slow
async def test_copies_of_copies_have_logs_of_their_own(jena: Path) -> None:
    await written(jena)
    logs: set[LogId] = set()
    folder = jena
    for number in range(4):
        shutil.copytree(folder, jena.with_name(f"copy-{number}"))
        folder = jena.with_name(f"copy-{number}")
        logs.add((await written(folder))[0].log)
    assert len(logs) == 4
