"""A disk, or a hand, that changes what a serving site keeps: found in the background, mended, told (L5).

The view is changed in its own file by somebody who has its key, the log by anybody. What the view shows comes right
from the own log, a rotten commit from another site; nothing has to be called for it.
"""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import anyio
import pytest

from crdtsync import Site, limits
from crdtsync.folder import read_key_file
from crdtsync.practice import Allergy, Patient
from crdtsync.sealing.keyfile import open_keyfile
from crdtsync.storage.database import connect_cipher
from tests.sites import PASSPHRASE, add, agree, at_host, mesh, opened, patience_s, practice

pytestmark = pytest.mark.anyio


@pytest.fixture(autouse=True)
def eager(monkeypatch: pytest.MonkeyPatch) -> None:
    """Look over, and ask each other, more often than a real site does."""
    monkeypatch.setattr(limits, "inspect_interval_s", 0.01)
    monkeypatch.setattr(limits, "inspect_idle_s", 0.005)
    monkeypatch.setattr(limits, "repair_interval_s", 0.1)
    monkeypatch.setattr(limits, "narrowing_interval_s", 0.2)


def in_view(folder: Path, sql: str, *parameters: object) -> None:
    """Change the view's file, as a program does that has its key."""
    keys = open_keyfile(read_key_file(folder), PASSPHRASE)
    with closing(connect_cipher(str(folder / "view.db"), keys.view_key)) as db:
        db.execute("PRAGMA busy_timeout = 5000")
        assert db.execute(sql, parameters).rowcount > 0


async def told(site: Site, words: str) -> str:
    """The first alarm with these words."""
    while True:
        for notice in site.driver.alarms:
            if words in notice.text:
                return notice.text
        await site.driver.changed.wait()


async def test_a_dosage_changed_in_the_file_comes_right(tmp_path: Path) -> None:
    with anyio.fail_after(2 * patience_s):
        async with practice(tmp_path, "Jena", "Weimar") as [jena, weimar]:
            patient = Patient(family_name="Muster")
            await add(jena, patient)
            allergy = Allergy(patient=patient.id, substance="Penicillin", status="active")
            await add(jena, allergy)
            async with mesh(jena, weimar):
                await agree(jena, weimar)
                digest = await weimar.digest()
                in_view(tmp_path / "weimar", "UPDATE allergy SET substance = 'none known' WHERE id = ?", allergy.id)
                in_view(tmp_path / "weimar", "UPDATE _document SET state = ? WHERE record = ?", b"\xff", patient.id)
                assert allergy.id in await told(weimar, f"allergy {allergy.id} was not kept as the log says")
                await told(weimar, f"patient {patient.id} was not kept as the log says")
                [shown] = await weimar.sql("SELECT substance FROM allergy WHERE id = ?", [allergy.id])
                assert shown == {"substance": "Penicillin"}
                assert (await weimar.get(Patient, patient.id)).family_name == "Muster"
                assert await weimar.digest() == digest == await jena.digest()
                assert (await weimar.verify())["ok"]
            assert not [n for n in jena.driver.alarms if "not kept" in n.text], "the other site is none the wiser"


async def test_a_record_that_vanished_from_the_file_comes_back(tmp_path: Path) -> None:
    with anyio.fail_after(2 * patience_s):
        async with practice(tmp_path, "Jena") as [jena]:
            patients = [Patient(family_name=f"Muster {n}") for n in range(8)]
            await add(jena, *patients)
            digest = await jena.digest()
            in_view(tmp_path / "jena", "DELETE FROM _document WHERE record = ?", patients[3].id)
            await told(jena, "The view held other records than its log says")
            assert (await jena.get(Patient, patients[3].id)).family_name == "Muster 3"
            assert await jena.digest() == digest
            assert (await jena.verify())["ok"]


async def test_a_wrong_digest_is_found_by_the_other_site(tmp_path: Path) -> None:
    """As after an error of the program: one site's view is whole in itself, and not what follows from the log."""
    with anyio.fail_after(2 * patience_s):
        async with practice(tmp_path, "Jena", "Weimar") as [jena, weimar]:
            patients = [Patient(family_name=f"Muster {n}") for n in range(20)]
            await add(jena, *patients)
            async with mesh(jena, weimar):
                await agree(jena, weimar)
            digest = await jena.digest()
            await at_host(weimar, lambda host: derive_wrongly(host, patients[4].id))
            assert await weimar.digest() != digest
            async with mesh(jena, weimar):
                await told(weimar, f"patient {patients[4].id} was not kept as the log says; it was derived anew")
                assert await weimar.digest() == digest
                await told(jena, "differ from those of Weimar")
            assert await jena.digest() == digest
            assert not [n for n in jena.driver.alarms if "not kept" in n.text]


def derive_wrongly(host: Any, record: str) -> None:
    """Take a record as it would be had its site forgotten all of it but the name: a view that agrees with itself."""
    deriving = host.engine._deriving
    deriving.shelf.clear()
    found = deriving.shelf.take("patient", record, record)
    other = deriving.shelf._open("patient", record, b"")
    found.document, found.dirty = other, True
    deriving._transaction(lambda: None, deriving.view.head, keep=False)
    host.engine.derive(host.now_ms())


async def test_a_rotten_commit_comes_again_from_the_other_site(tmp_path: Path) -> None:
    with anyio.fail_after(2 * patience_s):
        async with practice(tmp_path, "Jena", "Weimar") as [jena, weimar]:
            for n in range(6):
                await add(jena, Patient(family_name=f"Muster {n}"))
            async with mesh(jena, weimar):
                await agree(jena, weimar)
        with closing(sqlite3.connect(tmp_path / "weimar" / "log.db")) as db:
            [(parts,)] = db.execute("SELECT parts FROM entry WHERE arrival = 3").fetchall()
            db.execute("UPDATE entry SET parts = ? WHERE arrival = 3", (parts[:-9] + bytes(9),))
            [(header,)] = db.execute("SELECT header FROM entry WHERE arrival = 4").fetchall()
            db.execute("UPDATE entry SET header = ? WHERE arrival = 4", (header[:60] + b"\x00" + header[61:],))
            db.commit()
        async with opened(tmp_path / "jena") as jena, opened(tmp_path / "weimar") as weimar:
            await told(weimar, "not what was written any more")
            found = await weimar.verify()
            assert not found["ok"] and any("not what was written" in problem for problem in found["problems"])
            async with mesh(jena, weimar):
                await told(weimar, "were fetched again and are whole")
            assert (await weimar.verify())["ok"]
            assert await weimar.digest() == await jena.digest()
