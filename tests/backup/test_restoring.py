"""Restoring: the same site again, recovering, under a fresh boot; and what is refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from crdtsync import Site
from crdtsync.backup.checking import check
from crdtsync.backup.restoring import restore
from crdtsync.practice import Patient
from tests.backup.conftest import patients
from tests.sites import PASSPHRASE, add, at_host, opened

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
