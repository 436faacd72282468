"""S12, detection: the same new patient (same insurance number) is registered at A and at B: "possibly the same
patient". A link ends the conflict; taken back, both are there as before, and the conflict too."""

from __future__ import annotations

from pathlib import Path

import pytest

from crdtsync.practice import Patient
from tests.sites import add, agree, mesh, practice

from .front_desk import cut_off, edit, everywhere, ids, named, praxis, read, reunite, write

NUMBER = "A123456780"


def registered(name: str) -> Patient:
    return Patient(family_name=name, given_name="Erika", birth_date="1964-08-12", insurance_number=NUMBER)


@pytest.mark.anyio
async def test_the_conflict_goes_with_a_link_and_comes_back_without(tmp_path: Path) -> None:
    async with practice(tmp_path, "Jena", "Weimar") as (jena, weimar):
        ours, theirs = registered("Müller"), registered("Mueller")
        await add(jena, ours)
        await add(weimar, theirs)
        async with mesh(jena, weimar):
            await agree(jena, weimar)
        [here], [there] = await jena.conflicts(), await weimar.conflicts()
        assert here["id"] == there["id"]
        assert (here["kind"], here["severity"], here["records"]) == ("duplicate_patient", "high", ids(ours, theirs))
        assert here["values"] == [NUMBER, NUMBER] and here["field"] == "insurance_number"
        async with weimar.transaction(author="reception", reason="the same person") as tx:
            (await tx.get(Patient, theirs.id)).same_as.add(ours.id)
        async with mesh(jena, weimar):
            await agree(jena, weimar)
        assert await jena.conflicts() == [] == await weimar.conflicts()
        async with jena.transaction(author="reception", reason="sisters") as tx:
            (await tx.get(Patient, theirs.id)).same_as.remove(ours.id)
        async with mesh(jena, weimar):
            await agree(jena, weimar)
        for site in (jena, weimar):
            assert [each["id"] for each in await site.conflicts()] == [here["id"]]
            assert {found.family_name for found in await site.find(Patient)} == {"Müller", "Mueller"}


@pytest.mark.parametrize("seed", range(3))
def test_in_the_simulator(seed: int) -> None:
    world = praxis(seed)
    cut_off(world)
    ours, theirs = named(1, registered("Müller")), named(2, registered("MÜLLER"))
    write(world, "Jena", ours)
    write(world, "Weimar", theirs)
    reunite(world)
    [conflict] = everywhere(world)
    assert (conflict["kind"], conflict["severity"], conflict["records"]) == (
        "duplicate_patient",
        "high",
        ids(ours, theirs),
    )
    cut_off(world)
    edit(world, "Gera", ours, lambda found: found.same_as.add(theirs.id))
    edit(world, "Jena", theirs, lambda found: found.assign("family_name", "Müller-Lüdenscheidt"))
    reunite(world)
    assert everywhere(world) == []
    assert read(world, "Weimar", ours).family_name == "Müller", "linking moves nothing"
    edit(world, "Weimar", ours, lambda found: found.same_as.remove(theirs.id))
    reunite(world)
    assert [each["id"] for each in everywhere(world)] == [conflict["id"]]
