"""People at named sites of a simulated world who write what a scenario says, and look at conflicts."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from crdtsync.documents import Record, edits_of, subject_of
from crdtsync.engine import RecordEdits, WriteOutcome, WriteRequest
from crdtsync.engine.between import is_open
from crdtsync.ids import RecordId, record_id_from
from crdtsync.testing.world import World

SITES = ("Jena", "Weimar", "Gera")
LINES = (("Jena", "Weimar"), ("Weimar", "Gera"), ("Jena", "Gera"))


def praxis(seed: int) -> World:
    """Praxis am Markt: Jena, Weimar and Gera, all linked."""
    world = World(seed)
    world.found(*SITES)
    world.connect(LINES)
    world.run(1.0)
    return world


def cut_off(world: World) -> None:
    """Nobody hears anybody."""
    for line in LINES:
        world.cut(*line)
    world.run(2.0)


def reunite(world: World) -> None:
    """All lines are mended, and all has crossed."""
    for line in LINES:
        world.mend(*line)
    world.settle()
    world.check()


def named(number: int, record: Record) -> Any:
    """A record under an id that is easy to tell apart."""
    record.id = record_id_from("scenario", str(number))
    return record


def write(world: World, site: str, *records: Record) -> None:
    """One transaction at a site; it is acknowledged when this returns."""
    keys = world.streams("scenario")
    changes = [
        RecordEdits(each.kind, each.id, subject_of(each), edits_of(each, lambda: keys.randbytes(8).hex()))
        for each in records
    ]
    outcomes: list[WriteOutcome | None] = []
    world.node(site).write(WriteRequest("dr.weber", "a scenario", "desk-1", "care", changes), outcomes.append)
    world.run(1.0)
    [outcome] = outcomes
    assert outcome is not None and outcome.error is None, outcome


def edit(world: World, site: str, record: Record, change: Callable[[Any], None]) -> None:
    """Read a record at a site, change it, and write it there."""
    found = read(world, site, record)
    change(found)
    write(world, site, found)


def read(world: World, site: str, record: Record) -> Any:
    """A record as a site has it."""
    found = world.desk.read(world.node(site), record.kind, record.id)
    assert found is not None, f"{site} does not have it"
    return found


def conflicts(world: World, site: str) -> list[dict[str, Any]]:
    """The open conflicts of a site: id, kind and what their body says."""
    disk = world.node(site).disk
    found = [each for each in disk.conflicts() if is_open(disk, each)]
    return [{"id": each.id, "kind": each.kind, **json.loads(each.body)} for each in found]


def everywhere(world: World) -> list[dict[str, Any]]:
    """The open conflicts, which every site shows alike."""
    lists = [sorted(conflicts(world, site), key=lambda each: each["id"]) for site in SITES]
    assert lists[0] == lists[1] == lists[2]
    return lists[0]


def ids(*records: Record) -> list[RecordId]:
    """The ids of records in their order."""
    return sorted(record.id for record in records)
