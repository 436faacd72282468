"""S10: the same slot is booked at A and B, apart: one identical conflict at all sites; both appointments are kept."""

from __future__ import annotations

import datetime
from pathlib import Path

import pytest

from crdtsync.practice import Appointment, Slot
from tests.sites import add, agree, change, mesh, practice

from .front_desk import cut_off, edit, everywhere, ids, named, praxis, read, reunite, write

START = datetime.datetime(2026, 1, 5, 8, tzinfo=datetime.UTC)


def booked(minute: int = 0) -> Appointment:
    start = START + datetime.timedelta(minutes=minute)
    slot = Slot(start=start, end=start + datetime.timedelta(minutes=15), resources=("Zimmer 1", "Dr. Weber"))
    return Appointment(calendar="Dr. Weber", slot=slot, status="booked")


@pytest.mark.anyio
async def test_one_conflict_is_shown_at_both_and_gone_when_one_is_moved(tmp_path: Path) -> None:
    async with practice(tmp_path, "Jena", "Weimar") as (jena, weimar):
        ours, theirs = booked(), booked()
        await add(jena, ours)
        await add(weimar, theirs)
        async with mesh(jena, weimar):
            await agree(jena, weimar)
        lists = [await site.conflicts() for site in (jena, weimar)]
        assert lists[0][0]["id"] == lists[1][0]["id"] and len(lists[0]) == len(lists[1]) == 1
        assert lists[0][0]["kind"] == "double_booking" and lists[0][0]["records"] == ids(ours, theirs)
        told = await jena.conflicts.get(lists[0][0]["id"])
        assert {value.site for value in told.values} == {"Jena", "Weimar"}
        for site in (jena, weimar):
            assert [found.status for found in await site.find(Appointment)] == ["booked", "booked"]
        await change(weimar, theirs, slot=booked(15).slot)
        async with mesh(jena, weimar):
            await agree(jena, weimar)
        assert await jena.conflicts() == [] == await weimar.conflicts()


@pytest.mark.parametrize("seed", range(3))
def test_in_the_simulator(seed: int) -> None:
    world = praxis(seed)
    cut_off(world)
    appointments = [named(number, booked()) for number in (1, 2, 3)]
    for site, appointment in zip(("Jena", "Weimar", "Gera"), appointments, strict=True):
        write(world, site, appointment)
        assert everywhere_nothing(world)
    reunite(world)
    found = everywhere(world)
    assert sorted(each["records"] for each in found) == sorted(
        ids(*pair)
        for pair in ((appointments[0], appointments[1]), (appointments[0], appointments[2]), appointments[1:])
    )
    assert all(read(world, "Jena", each).status == "booked" for each in appointments), "a machine cancels nothing"
    edit(world, "Weimar", appointments[0], lambda found: found.assign("status", "cancelled"))
    reunite(world)
    assert [each["records"] for each in everywhere(world)] == [ids(*appointments[1:])]


def everywhere_nothing(world: object) -> bool:
    return everywhere(world) == []  # type: ignore[arg-type]
