"""S5: a dosage is changed at A and at B, apart: both shown, one high conflict; prescribing from it needs an
acknowledgement; a decision at C closes it everywhere. With real sites, and simulated in every order of rejoining."""

from __future__ import annotations

import itertools
from pathlib import Path

import pytest

from crdtsync.errors import Undecided
from crdtsync.practice import Dosage, Drug, MedicationStatement, Patient
from tests.sites import add, agree, change, mesh, practice

from . import front_desk
from .front_desk import LINES, cut_off, edit, everywhere, named, praxis, read, write


@pytest.mark.anyio
async def test_a_decision_at_the_third_site_closes_it_everywhere(tmp_path: Path) -> None:
    async with practice(tmp_path, "Jena", "Weimar", "Gera") as sites:
        jena, weimar, gera = sites
        patient = Patient(family_name="Muster")
        await add(jena, patient)
        statement = MedicationStatement(
            patient=patient.id, drug=Drug(name="Ramipril"), dosage=Dosage(morning=1), status="active"
        )
        async with mesh(*sites):
            await add(jena, statement)
            await agree(*sites)
        await change(jena, statement, dosage=Dosage(morning=2))
        await change(weimar, statement, dosage=Dosage(morning=0.5))
        async with mesh(*sites):
            await agree(*sites)
        names = set()
        for site in sites:
            [conflict] = await site.conflicts()
            names.add(conflict["id"])
            assert (conflict["severity"], conflict["field"]) == ("high", "dosage")
            record = await site.get(MedicationStatement, statement.id)
            assert sorted(value.morning for value in record.conflicts["dosage"]) == [0.5, 2.0]
            with pytest.raises(Undecided, match=conflict["id"]):
                record.for_prescribing("dosage")
        [name] = names
        await jena.conflicts.acknowledge(name, author="dr.weber", reason="either is safe until Monday")
        assert (await jena.get(MedicationStatement, statement.id)).for_prescribing("dosage") is not None
        values = (await gera.conflicts())[0]["values"]
        keep = [value["morning"] for value in values].index(0.5)
        await gera.conflicts.resolve(name, keep=keep, author="dr.jung", reason="asked the patient")
        async with mesh(*sites):
            await agree(*sites)
        for site in sites:
            assert await site.conflicts() == []
            record = await site.get(MedicationStatement, statement.id)
            assert record.for_prescribing("dosage") == Dosage(morning=0.5) and record.conflicts == {}
            told = await site.conflicts.get(name)
            assert told.resolved is not None and told.resolved.author == "dr.jung"
            assert [remark.author for remark in told.acknowledged] == ["dr.weber"]


@pytest.mark.parametrize("order", list(itertools.permutations(LINES, 2)), ids=str)
def test_in_every_order_of_rejoining(order: tuple[tuple[str, str], ...]) -> None:
    world = praxis(5)
    statement = named(1, MedicationStatement(drug=Drug(name="Ramipril"), dosage=Dosage(morning=1), status="active"))
    write(world, "Jena", statement)
    world.settle()
    cut_off(world)
    for site, morning in (("Jena", 2.0), ("Weimar", 0.5)):
        edit(world, site, statement, lambda found, to=morning: found.assign("dosage", Dosage(morning=to)))
    for line in order:
        world.mend(*line)
        world.run(20.0)
    world.settle()
    [conflict] = everywhere(world)
    assert (conflict["severity"], conflict["field"], len(conflict["values"])) == ("high", "dosage", 2)
    edit(world, "Gera", statement, lambda found: found.assign("dosage", Dosage(morning=2)))
    front_desk.reunite(world)
    assert everywhere(world) == [] and read(world, "Jena", statement).dosage == Dosage(morning=2)
