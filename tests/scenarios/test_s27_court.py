"""S27: one patient as of a date; an export for a court, which an independent checker verifies; one flipped byte is
found, and named.
"""

from __future__ import annotations

import json
import os
import random
import shutil
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from crdtsync import Site
from crdtsync.practice import Allergy, MedicationStatement, Patient
from crdtsync.practice.medication import Dosage, Drug
from tests.history.exports import spans
from tests.sites import add, agree, change, join, mesh, opened, practice

pytestmark = pytest.mark.anyio
FLIPS = 40


def checker(file: Path, *words: str) -> tuple[int, dict[str, Any]]:
    """The verdict of a process that has neither the practice's folders nor its passphrase, in a folder of its own."""
    court = file.parent
    source = Path(__file__).parent.parent.parent
    kept = {name: os.environ[name] for name in ("PATH", "SYSTEMROOT") if name in os.environ}
    environment = {**kept, "PYTHONPATH": str(source), "HOME": str(court)}
    command = [sys.executable, "-m", "crdtsync.verify", str(file), "--json", *words]
    ended = subprocess.run(command, capture_output=True, check=False, cwd=court, env=environment, timeout=60)
    assert not ended.stderr, ended
    return ended.returncode, json.loads(ended.stdout)


async def now(site: Site) -> datetime:
    """This site's time, behind all that has arrived there; its clock stands later when this returns."""
    start = await site.driver.thread.run(lambda host: host.now_ms())
    while await site.driver.thread.run(lambda host: host.now_ms()) <= start + 1:
        pass
    return datetime.fromtimestamp(start / 1000, UTC) + timedelta(milliseconds=1)


async def treated(jena: Site, gera: Site) -> tuple[Patient, MedicationStatement, datetime]:
    """A patient whose medication was changed at two sites apart after `datetime`, and then decided."""
    patient = Patient(family_name="Müller", given_name="Jürgen")
    async with jena.transaction(author="dr.weber", reason="first visit", workstation="desk-1", purpose="care") as tx:
        tx.add(patient)
        ramipril = Drug(name="Ramipril")
        statement = tx.add(MedicationStatement(patient=patient.id, drug=ramipril, dosage=Dosage(morning=1)))
        tx.add(Patient(family_name="Geheimrat"))
    async with mesh(jena, gera):
        await agree(jena, gera)
    date = max(await now(jena), await now(gera))
    await change(jena, statement, dosage=Dosage(morning=2))
    await change(gera, statement, dosage=Dosage(morning=1, evening=1))
    await add(gera, Allergy(patient=patient.id), author="dr.klein")
    async with mesh(jena, gera):
        await agree(jena, gera)
    async with gera.transaction(author="dr.klein", reason="asked dr.weber") as tx:
        (await tx.get(MedicationStatement, statement.id)).dosage = Dosage(morning=2)
    return patient, statement, date


async def test_one_patient_as_of_a_date_and_for_a_court(tmp_path: Path) -> None:
    court = tmp_path / "court"
    court.mkdir()
    async with practice(tmp_path, "Jena", "Gera") as (jena, gera):
        patient, statement, date = await treated(jena, gera)
        for site in (jena, gera):
            then = await site.at(date).get(MedicationStatement, statement.id)
            assert then.dosage == Dosage(morning=1) and not then.conflicts
            assert [found.id for found in await site.at(date).find(Patient, family_name="Müller")] == [patient.id]
            assert await site.at(date).find(Allergy) == []
        told = await gera.history.export(patient.id, court / "file", author="dr.klein", reason="Az. 12 O 34/26")
        assert told["missing"] == []
        practice_id = gera.practice_id
    for folder in ("jena", "gera"):
        shutil.rmtree(tmp_path / folder)

    code, verdict = checker(court / "file", "--practice", practice_id)
    assert (code, verdict["ok"], verdict["complete"], verdict["not_recomputed"]) == (0, True, True, [])
    assert (verdict["commits"], verdict["records"], verdict["reason"]) == (5, 3, "Az. 12 O 34/26")

    data = (court / "file").read_bytes()
    assert b"Geheimrat" not in data
    sections = [json.loads(line) for line in data.splitlines()]
    [held] = [each for each in sections if each.get("record") == statement.id and each["section"] == "record"]
    dosages = [change for entry in held["history"] for change in entry["changes"] if change["field"] == "dosage"]
    assert [change.get("values") is not None for change in dosages] == [False, False, True, False]
    assert held["fields"]["dosage"]["morning"] == 2
    assert [entry["site"] for entry in held["history"]][-1] == "Gera"
    assert held["history"][-1]["reason"] == "asked dr.weber"

    rng = random.Random(27)
    placed = spans(data)
    for at in [0, len(data) - 1, *rng.sample(range(len(data)), FLIPS // 10)]:
        flip_is_named(court, data, placed, at)


def flip_is_named(court: Path, data: bytes, placed: list[tuple[str, int, int]], at: int) -> None:
    """The checker names the section in which the byte at `at` was changed."""
    (court / "changed").write_bytes(data[:at] + bytes([data[at] ^ (1 << at % 8)]) + data[at + 1 :])
    code, verdict = checker(court / "changed")
    assert code == 1 and not verdict["ok"]
    [name] = [name for name, start, end in placed if start <= at < end]
    assert [problem["section"] for problem in verdict["problems"]] == [name]


@pytest.mark.slow
async def test_many_flips_each_in_a_process_of_its_own(tmp_path: Path) -> None:
    async with practice(tmp_path, "Jena", "Gera") as (jena, gera):
        patient, _, _ = await treated(jena, gera)
        await jena.history.export(patient.id, tmp_path / "file")
    data = (tmp_path / "file").read_bytes()
    placed = spans(data)
    for at in random.Random(1).sample(range(len(data)), FLIPS):
        flip_is_named(tmp_path, data, placed, at)


async def test_a_site_that_was_lost_and_joined_anew_tells_the_same_of_that_date(tmp_path: Path) -> None:
    """After a rebuild over the network all arrivals are of today; what had been written by then is told."""
    async with practice(tmp_path, "Jena", "Gera") as (jena, gera):
        _, statement, date = await treated(jena, gera)
        async with mesh(jena, gera):
            await agree(jena, gera)
        await join(jena, tmp_path / "suhl", "Suhl")
        async with opened(tmp_path / "suhl") as suhl, mesh(jena, suhl):
            await agree(jena, suhl)
            then = await suhl.at(date).get(MedicationStatement, statement.id)
            assert then.dosage == Dosage(morning=1)
            assert await suhl.at(date).find(Allergy) == []
            assert await suhl.at(date).rule() == "written"
            mine, theirs = await suhl.history(statement.id), await jena.history(statement.id)
            assert [{**entry, "arrived_at": ""} for entry in mine] == [{**entry, "arrived_at": ""} for entry in theirs]
            assert {entry["arrived_at"] for entry in mine}.isdisjoint(entry["arrived_at"] for entry in theirs)
