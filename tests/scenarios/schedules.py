"""Random schedules of S5 to S12: whoever writes what where while lines come and go, in the end all sites list the same
conflicts under the same ids, these are the ones that follow from the records alone (the oracles of `World.check`), and
nothing got lost that must stay.

    python -m tests.scenarios.schedules --schedules 10000
"""

from __future__ import annotations

import argparse
import datetime
import json
import multiprocessing
import os
import random
import sys
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from typing import Any

from pydantic import BaseModel

from crdtsync.documents import Record, Version
from crdtsync.practice import (
    Address,
    Allergy,
    Appointment,
    ChartEntry,
    DetectedIssue,
    Dosage,
    Drug,
    Immunization,
    Invoice,
    MedicationStatement,
    Patient,
    Slot,
    Visit,
)
from crdtsync.testing.world import World
from tests.scenarios.front_desk import LINES, SITES, conflicts, everywhere, named, praxis, read, reunite, write

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


def entry(chance: random.Random) -> Record:
    return ChartEntry(patient=of_patient(chance), type="note", draft="Husten ")


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
    entry,
    lambda chance: Visit(patient=of_patient(chance), status="planned"),
)  # fmt: skip


class Books:
    """What was said and must be there in the end, whoever wrote what else: (record, field) to values as JSON."""

    def __init__(self) -> None:
        self.stays: dict[tuple[str, str], set[str]] = {}
        self.said: dict[tuple[str, str], set[str]] = {}

    def keep(self, record: Record, field: str, value: Any) -> None:
        """This may never go."""
        self.stays.setdefault((record.id, field), set()).add(plain(value))

    def say(self, record: Record, field: str, value: Any) -> Any:
        """This was once the value: no other may ever be shown."""
        self.said.setdefault((record.id, field), set()).add(plain(value))
        return value

    def audit(self, world: World, known: list[Record]) -> None:
        """Compare with what every site shows."""
        for site in SITES:
            for record in known:
                found = read(world, site, record)
                for (name, field), values in self.stays.items():
                    if name == record.id:
                        missing = values - {plain(value) for value in getattr(found, field)}
                        assert not missing, f"{site} has lost {missing} of {field}"
                for (name, field), values in self.said.items():
                    if name == record.id:
                        shown = plain(getattr(found, field, None))
                        assert shown in values | {"null"}, f"{site} shows {shown} as {field}, which nobody wrote"


def plain(value: Any) -> str:
    """A value as text that is equal for equal values."""
    if isinstance(value, Version):
        return f"version {value.id}"
    return value.model_dump_json() if isinstance(value, BaseModel) else json.dumps(value, sort_keys=True, default=str)


def turn(record: Any, chance: random.Random, others: list[Record], books: Books) -> None:
    """Change something that conflicts depend on, or that must not get lost."""
    if isinstance(record, Patient) and chance.random() < 0.5:
        if chance.random() < 0.5:
            number = f"03641 {chance.randint(1, 999)}"
            record.phones.add(number)
            books.keep(record, "phones", number)
        else:
            city = chance.choice(("Jena", "Weimar", "Gera"))
            house = str(chance.randint(1, 99))
            address = Address(street=f"Markt {house}", postal_code=f"077{house:>02}", city=city)
            record.address = books.say(record, "address", address)
    elif isinstance(record, ChartEntry):
        record.draft.insert(len(str(record.draft)), chance.choice(("Fieber ", "Schnupfen ")))
        if chance.random() < 0.4:
            signed = record.sign("dr.weber", START)
            books.keep(record, "versions", signed)
    elif isinstance(record, Visit):
        record.status = chance.choice(("arrived", "in_progress", "finished"))
        if record.status == "finished":
            record.ended = START + datetime.timedelta(minutes=chance.randint(1, 99))
    elif isinstance(record, Patient):
        links = [other.id for other in others if isinstance(other, Patient) and other.id != record.id]
        if links and chance.random() < 0.6:
            record.same_as.replace([] if len(record.same_as) else [chance.choice(links)])
        else:
            record.insurance_number = chance.choice(NUMBERS)
    elif isinstance(record, Appointment):
        if chance.random() < 0.3:
            sent = {"channel": "sms", "start": f"2026-01-{chance.randint(1, 9):02}"}
            record.reminders.add(sent)
            books.keep(record, "reminders", sent)
        elif chance.random() < 0.5:
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


def live(seed: int, acts: int) -> tuple[World, Books, list[Record]]:
    """Some days of a practice whose sites are often apart."""
    world, chance, known, books = praxis(seed), random.Random(seed), list[Record](), Books()
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
                turn(found, chance, known, books)
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
    return world, books, known


def settled(seed: int, acts: int = 80) -> int:
    """Play one schedule and bring all together; how many conflicts every site then lists alike. Fails for a difference,
    for what got lost, and for what nobody wrote."""
    world, books, known = live(seed, acts)
    reunite(world)
    books.audit(world, known)
    return len(everywhere(world))


def outcome(seed: int, acts: int) -> tuple[int, int, str]:
    """A schedule as a process of a pool plays it."""
    try:
        return seed, settled(seed, acts), ""
    except Exception as error:  # whatever it is, this seed shows it
        return seed, 0, f"{type(error).__name__}: {error}"


def main(words: Sequence[str] | None = None) -> int:
    """The command; returns its exit code."""
    parser = argparse.ArgumentParser(prog="python -m tests.scenarios.schedules", description=__doc__.split("\n")[0])
    parser.add_argument("--schedules", type=int, default=1_000, metavar="N", help="how many (default 1,000)")
    parser.add_argument("--first", type=int, default=0, metavar="SEED", help="the first of them (default 0)")
    parser.add_argument("--acts", type=int, default=25, metavar="N", help="acts in each (default 25)")
    arguments = parser.parse_args(words)
    began, conflicts_seen, failed = time.monotonic(), 0, 0
    seeds = range(arguments.first, arguments.first + arguments.schedules)
    with ProcessPoolExecutor(os.cpu_count(), multiprocessing.get_context("spawn")) as pool:
        for seed, count, failure in pool.map(outcome, seeds, [arguments.acts] * len(seeds), chunksize=10):
            conflicts_seen += count
            if failure:
                failed += 1
                sys.stderr.write(f"schedule {seed}: {failure}\n")
    figures = {"schedules": len(seeds), "acts": arguments.acts, "failures": failed, "conflicts": conflicts_seen}
    sys.stdout.write(json.dumps({**figures, "seconds": round(time.monotonic() - began, 1)}) + "\n")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
