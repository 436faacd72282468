"""S7: a medication is stopped at A, its dose changed at B: a conflict, and neither wins silently."""

from __future__ import annotations

from pathlib import Path

import pytest

from crdtsync.errors import Undecided
from crdtsync.practice import Dosage, Drug, MedicationStatement
from tests.sites import add, agree, change, mesh, practice

from .front_desk import cut_off, edit, everywhere, named, praxis, read, reunite, write


@pytest.mark.anyio
async def test_a_person_says_what_both_are(tmp_path: Path) -> None:
    async with practice(tmp_path, "Jena", "Weimar") as (jena, weimar):
        statement = MedicationStatement(drug=Drug(name="Metformin"), dosage=Dosage(morning=1), status="active")
        async with mesh(jena, weimar):
            await add(jena, statement)
            await agree(jena, weimar)
        await change(jena, statement, status="stopped")
        await change(weimar, statement, dosage=Dosage(morning=2))
        async with mesh(jena, weimar):
            await agree(jena, weimar)
        for site in (jena, weimar):
            [conflict] = await site.conflicts()
            assert (conflict["field"], conflict["severity"]) == ("dosage+status", "high")
            record = await site.get(MedicationStatement, statement.id)
            assert (record.status, record.dosage) == ("stopped", Dosage(morning=2)), "both are there to be seen"
            for field in ("dosage", "status"):
                with pytest.raises(Undecided, match=conflict["id"]):
                    record.for_prescribing(field)
        [conflict] = await weimar.conflicts()
        decided = {"status": "active", "dosage": {"morning": 2}}
        await weimar.conflicts.resolve(conflict["id"], value=decided, author="dr.jung", reason="the stop was a slip")
        async with mesh(jena, weimar):
            await agree(jena, weimar)
        for site in (jena, weimar):
            assert await site.conflicts() == []
            record = await site.get(MedicationStatement, statement.id)
            assert (record.for_prescribing("status"), record.for_prescribing("dosage")) == ("active", Dosage(morning=2))


@pytest.mark.parametrize("seed", range(3))
def test_in_the_simulator(seed: int) -> None:
    world = praxis(seed)
    statement = named(1, MedicationStatement(drug=Drug(name="Metformin"), dosage=Dosage(morning=1), status="active"))
    write(world, "Gera", statement)
    world.settle()
    cut_off(world)
    edit(world, "Jena", statement, lambda found: found.assign("status", "stopped"))
    edit(world, "Weimar", statement, lambda found: found.assign("dosage", Dosage(morning=2)))
    reunite(world)
    [conflict] = everywhere(world)
    assert conflict["field"] == "dosage+status"
    found = read(world, "Gera", statement)
    assert (found.status, found.dosage) == ("stopped", Dosage(morning=2))
