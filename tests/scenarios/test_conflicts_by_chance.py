"""Random schedules: whoever writes what where while lines come and go, in the end all sites list the same conflicts
under the same ids, and these are the ones that follow from the records alone (the oracles of `World.check`)."""

from __future__ import annotations

import datetime
import random
from collections.abc import Callable
from typing import Any

import pytest

from crdtsync.documents import Record
from crdtsync.practice import (
    Allergy,
    Appointment,
    DetectedIssue,
    Dosage,
    Drug,
    Immunization,
    Invoice,
    MedicationStatement,
    Patient,
    Slot,
)
from crdtsync.testing.world import World

from .front_desk import LINES, SITES, conflicts, everywhere, named, praxis, read, reunite, write

START = datetime.datetime(2026, 1, 5, 8, tzinfo=datetime.UTC)
SUBSTANCES = ("none known", "Nuss")
NUMBERS = ("A123456780", "B234567895", None)


def patient(chance: random.Random) -> Record:
    return Patient(
        number=chance.randint(1, 9),
        family_name=chance.choice(("Muster", "MUSTER", "Müster", "Beispiel")),
        given_name="Erika",
        birth_date=chance.choice(("1964-08-12", "1970-01-01")),
        insurance_number=chance.choice(NUMBERS),
    )


def slot(chance: random.Random) -> Slot:
    start = START + datetime.timedelta(minutes=chance.randrange(0, 150, 10))
    return Slot(start=start, end=start + datetime.timedelta(minutes=chance.choice((15, 90))), resources=("Zimmer 1",))


def of_patient(chance: random.Random) -> str:
    return str(named(chance.choice((1, 2)), Patient()).id)


NEW: tuple[Callable[[random.Random], Record], ...] = (
    patient,
    lambda chance: Appointment(slot=slot(chance), status=chance.choice(("booked", "pending", "proposed"))),
    lambda chance: Allergy(patient=of_patient(chance), substance=chance.choice(SUBSTANCES), status="active"),
    lambda chance: Immunization(
        patient=of_patient(chance), vaccine="FSME", minimum_interval_days=28,
        given_on=datetime.date(2026, 1, 1) + datetime.timedelta(days=chance.randint(0, 40)),
    ),
    lambda chance: Invoice(number=f"R1-{chance.randint(1, 5)}", series="R1"),
    lambda chance: MedicationStatement(drug=Drug(name="Ramipril"), dosage=Dosage(morning=1), status="active"),
)  # fmt: skip


def turn(record: Any, chance: random.Random, others: list[Record]) -> None:
    """Change something that conflicts depend on."""
    if isinstance(record, Patient):
        links = [other.id for other in others if isinstance(other, Patient) and other.id != record.id]
        if links and chance.random() < 0.6:
            record.same_as.replace([] if len(record.same_as) else [chance.choice(links)])
        else:
            record.insurance_number = chance.choice(NUMBERS)
    elif isinstance(record, Appointment):
        if chance.random() < 0.5:
            record.slot = slot(chance)
        else:
            record.status = chance.choice(("booked", "cancelled", "arrived"))
    elif isinstance(record, Allergy):
        record.verification = chance.choice(("confirmed", "refuted", "entered_in_error"))
    elif isinstance(record, Immunization):
        record.entered_in_error = chance.random() < 0.5
    elif isinstance(record, MedicationStatement):
        if chance.random() < 0.6:
            record.dosage = Dosage(morning=chance.randint(1, 4))
        else:
            record.status = chance.choice(("active", "on_hold", "stopped"))


def dismiss(world: World, site: str, chance: random.Random) -> None:
    """Somebody says that one of the conflicts between records is none; its record is made at several sites alike."""
    between = [each for each in conflicts(world, site) if each["kind"] != "field"]
    if between:
        found = chance.choice(between)
        issue = DetectedIssue(code=found["kind"], dismissed={"author": site, "at": START, "text": "none"})
        issue.id = found["id"]
        write(world, site, issue)


def live(seed: int, acts: int) -> World:
    world, chance, known = praxis(seed), random.Random(seed), list[Record]()
    for number in range(acts):
        site, act = chance.choice(SITES), chance.random()
        if act < 0.3 or number < len(NEW):
            record = named(100 + number, (chance.choice(NEW) if number >= len(NEW) else NEW[-1 - number])(chance))
            write(world, site, record)
            known.append(record)
        elif act < 0.7:
            record = chance.choice(known[: len(NEW)] if chance.random() < 0.5 else known)
            if world.desk.read(world.node(site), record.kind, record.id) is not None:
                found = read(world, site, record)
                turn(found, chance, known)
                write(world, site, found)
        elif act < 0.75:
            dismiss(world, site, chance)
        elif act < 0.9:
            (world.cut if chance.random() < 0.6 else world.mend)(*chance.choice(LINES))
        elif act < 0.95:
            world.node(site).rebuilds = True
            world.node(site).stop("a person asks for a new view")
            world.node(site).start()
            world.run(2.0)
        else:
            world.run(chance.uniform(1.0, 60.0))
    return world


def settled(seed: int, acts: int = 80) -> int:
    world = live(seed, acts)
    reunite(world)
    return len(everywhere(world))


def test_all_sites_list_the_same() -> None:
    assert sum(settled(seed) for seed in range(5)) > 50, "these schedules do make conflicts"


@pytest.mark.slow
@pytest.mark.parametrize("tens", range(1, 8))
def test_all_sites_list_the_same_over_many_schedules(tens: int) -> None:
    assert sum(settled(seed, 120) for seed in range(20 * tens, 20 * tens + 20)) > 300
