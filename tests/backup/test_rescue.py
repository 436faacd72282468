"""A practice from one backup and its recovery sheet: a new site that reads all, and what the sheet does not open."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import closing
from pathlib import Path

import pytest

from crdtsync import BadValue, DamagedFile, RefusedError, Site
from crdtsync.backup import index
from crdtsync.backup.checking import check
from crdtsync.backup.folder_vault import FolderVault
from crdtsync.backup.opening import opened_by_passphrase
from crdtsync.backup.rescue import rescue
from crdtsync.backup.vault import INDEX
from crdtsync.folder import new_keys
from crdtsync.practice import Patient
from crdtsync.sealing.recovery import sheet_text
from crdtsync.sealing.suite1 import Suite1
from tests.backup.conftest import patients
from tests.sites import PASSPHRASE, add, agree, create, join, mesh, opened

pytestmark = pytest.mark.anyio


@pytest.fixture
async def left(tmp_path: Path) -> AsyncIterator[tuple[Path, str, str]]:
    """A backup of Gera, the sheet, and the digest: all that is left of two sites, the second of which rotated keys."""
    async with create(tmp_path / "jena") as jena:
        sheet = jena.recovery_sheet
        assert sheet is not None
        await patients(jena, 5)
        await join(jena, tmp_path / "gera", "Gera")
        async with opened(tmp_path / "gera") as gera, mesh(jena, gera):
            await patients(gera, 5, first=50)
            digest = await agree(jena, gera)
            await gera.backup(tmp_path / "b", folder=True)
    yield tmp_path / "b", sheet, digest


async def test_a_new_site_reads_everything_and_belongs_alone(left: tuple[Path, str, str], tmp_path: Path) -> None:
    place, sheet, digest = left
    told = rescue(place, tmp_path / "new", sheet, "neues Wort", name="Neubau")
    assert (told["removed"], told["commits"], told["practice"]) == (["Gera", "Jena"], 10, "Praxis am Markt")
    async with Site.open(tmp_path / "new", passphrase="neues Wort") as new:
        assert (await new.digest())["digest"] == digest
        status = await new.status()
        assert status["recovering"] is False and status["waiting_keys"] == 0 and status["peers"] == []
        assert [(m["name"], m["state"], m["admin"]) for m in new.members()] == [
            ("Gera", "revoked", True), ("Jena", "revoked", True), ("Neubau", "active", True),
        ]  # fmt: skip
        commit = await add(new, Patient(family_name="Danach"))
        assert commit.sequence == 1
        assert (await new.verify())["problems"] == []
        # What is written now is sealed under an epoch that no lost site can open.
        state = new.driver.replica.membership.state()
        sealing = state.sealing_epoch()
        assert sealing is not None
        names = {state.members[replica].name for replica in state.epochs[sealing].sealed}
        assert names == {"Neubau", "recovery"}


async def test_it_can_be_done_again_with_the_same_sheet(left: tuple[Path, str, str], tmp_path: Path) -> None:
    """The rescued site's own backup opens with the old sheet, too."""
    place, sheet, digest = left
    rescue(place, tmp_path / "new", sheet, PASSPHRASE, name="Neubau")
    async with opened(tmp_path / "new") as new:
        await new.backup(tmp_path / "b2")
    told = rescue(tmp_path / "b2", tmp_path / "newer", sheet, PASSPHRASE)
    assert (told["site"], told["removed"]) == ("Neubau", ["Neubau"])
    async with opened(tmp_path / "newer") as newer:
        assert (await newer.digest())["digest"] == digest


async def test_sheets_that_do_not_open_it(left: tuple[Path, str, str], tmp_path: Path) -> None:
    place, sheet, _ = left
    new = tmp_path / "new"
    with pytest.raises(RefusedError, match="not that of the practice whose backup this is"):
        rescue(place, new, sheet_text("Praxis am Markt", bytes(32)), PASSPHRASE)
    with pytest.raises(BadValue, match="recovery sheet"):
        rescue(place, new, "", PASSPHRASE)
    with pytest.raises(BadValue):
        rescue(place, new, sheet, "")
    with pytest.raises(BadValue):
        rescue(place, new, sheet, PASSPHRASE, name="  ")
    with pytest.raises(RefusedError, match="is not empty"):
        rescue(place, tmp_path / "jena", sheet, PASSPHRASE)
    assert sorted(each.name for each in tmp_path.iterdir()) == ["b", "gera", "jena"]
    assert check(place, sheet=sheet)["problems"] == []


async def test_a_backup_that_no_site_made_is_refused(left: tuple[Path, str, str], tmp_path: Path) -> None:
    """Sealed to the sheet, which anybody can who knows its public half; but signed by nobody who belongs."""
    place, sheet, _ = left
    with closing(FolderVault(place, writing=True)) as vault:
        [name] = vault.names(INDEX)
        real = opened_by_passphrase(vault, index.decode(vault.read(INDEX, name), name), PASSPHRASE)
        stranger = Suite1(new_keys().identity(), bytes)
        data = index.encode(stranger, real.key, real.index.clear, real.body)
        vault.publish(data, "2030-01-01T00-00-00Z", {INDEX: [name]})
    with pytest.raises(DamagedFile, match="signature of a site of the practice"):
        rescue(place, tmp_path / "new", sheet, PASSPHRASE)
    assert not (tmp_path / "new").exists()
