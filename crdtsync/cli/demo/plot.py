"""What happens in the demo, in order."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import anyio

from crdtsync.cli.demo.screen import Screen
from crdtsync.cli.demo.stage import Stage
from crdtsync.errors import EnvironmentFailure

look_interval_s = 0.25
patience_s = 60.0
records_per_transaction = 50
Look = Callable[[], bool]


class Plot:
    """Plays the demo on a stage and shows it on a screen."""

    def __init__(self, stage: Stage, screen: Screen, patients: int) -> None:
        self.stage = stage
        self.screen = screen
        self.patients = patients
        self.cut = False

    async def play(self) -> bool:
        """Play it all. True when the three sites ended with equal digests and the conflict was there to see."""
        began = time.monotonic()
        await self.build()
        medication = await self.fill()
        await self.cut_off()
        await self.write_apart(medication)
        await self.heal()
        seen = await self.show_conflict(medication)
        digests = {actor.name: actor.digest for actor in self.stage.actors}
        equal = len(set(digests.values())) == 1
        facts = {"equal": equal, "digests": digests, "records": self.stage.jena.records, "conflicts": seen}
        self.screen.end({**facts, "wire_bytes": self.stage.carried, "seconds": round(time.monotonic() - began, 1)})
        return equal and seen > 0

    async def build(self) -> None:
        """Three sites in a chain."""
        stage = self.stage
        await self.tell("Jena founds the practice.")
        await stage.found()
        await self.tell("Weimar joins at Jena, with a one-time code; a cable runs from Weimar to Jena.")
        await stage.join(stage.weimar, stage.jena)
        await self.tell("Gera joins at Weimar; a cable runs from Gera to Weimar, and none to Jena.")
        await stage.join(stage.gera, stage.weimar)
        await self.until("all three are connected", lambda: all(actor.connected for actor in stage.actors))

    async def fill(self) -> str:
        """A generated practice arrives at Jena, and from there everywhere. The id of the dosage to argue about."""
        from crdtsync.documents import fields_json
        from crdtsync.practice import MedicationStatement
        from crdtsync.testing.practice_data import generate

        await self.tell(f"A practice with {self.patients} invented patients is written at Jena.")
        made = list(generate(self.patients, seed=1))
        for start in range(0, len(made), records_per_transaction):
            batch = [
                {"id": each.id, "kind": each.kind, "fields": as_written(fields_json(each))}
                for each in made[start : start + records_per_transaction]
            ]
            await self.stage.jena.ask("record new many", records=batch, author="demo", reason="first import")
            await self.look()
        await self.until("the records are everywhere", self.alike)
        return next(str(each.id) for each in made if isinstance(each, MedicationStatement) and each.dosage)

    async def cut_off(self) -> None:
        """Weimar's cables are pulled, so each of the three is alone."""
        await self.tell("The cables at Weimar are pulled: every site is on its own now, and people work on.")
        self.cut = True
        for cable in self.stage.cables:
            cable.unplug()
        await self.until("the links are down", lambda: not any(actor.connected for actor in self.stage.actors))

    async def write_apart(self, medication: str) -> None:
        """All write while nobody sees the others; Jena and Gera change the same dosage."""
        stage = self.stage
        dosage = (await stage.jena.ask("record show", id=medication))["fields"]["dosage"]
        more = {**dosage, "morning": (dosage.get("morning") or 0) + 1}
        less = {**dosage, "evening": 0, "text": "nicht abends"}
        writes = [
            (stage.jena, "Jena raises the dosage of a medication in the morning.", more),
            (stage.gera, "Gera, not seeing that, takes the evening out of the same dosage.", less),
        ]
        for actor, words, value in writes:
            await self.tell(words)
            fields = {"dosage": json.dumps(value)}
            await actor.ask("record set", id=medication, fields=fields, author=f"dr.{actor.name}", reason="visit")
            await self.look()
        await self.tell("All three enter a new patient.")
        for actor in stage.actors:
            new = {"family_name": "Neu", "given_name": actor.name}
            await actor.ask("record new", kind="patient", fields=new, author="reception", reason="")
        await self.look()

    async def heal(self) -> None:
        """The cables are plugged in again."""
        await self.tell("The cables are plugged in again.")
        self.cut = False
        for cable in self.stage.cables:
            cable.plug()
        await self.until("the sites agree again", self.alike)

    async def show_conflict(self, medication: str) -> int:
        """Both dosages are kept, at every site alike. The number of conflicts."""
        lists = [await actor.ask("conflicts") for actor in self.stage.actors]
        if any(found != lists[0] for found in apart_from_times(lists)):
            return 0
        about = [conflict for conflict in lists[0] if medication in conflict["records"]]
        await self.tell("No dosage was lost: both are kept, and a person decides.")
        for conflict in about:
            self.screen.conflict(conflict)
        return len(about)

    # --- pacing ------------------------------------------------------------------------------------------------------

    async def tell(self, words: str) -> None:
        self.screen.step(words)
        await anyio.sleep(self.screen.pace_s)

    async def look(self) -> None:
        for actor in self.stage.actors:
            if actor.address:
                await actor.look()
        self.screen.sites(self.stage.actors, self.cut)

    async def until(self, what: str, reached: Look) -> None:
        """Look again and again until it is so. Raises EnvironmentFailure when it takes too long."""
        deadline = time.monotonic() + patience_s
        await self.look()
        while not reached():
            if time.monotonic() > deadline:
                raise EnvironmentFailure(f"{patience_s:.0f} s were not enough until {what}: is this machine busy?")
            await anyio.sleep(look_interval_s)
            await self.look()

    def alike(self) -> bool:
        actors = self.stage.actors
        return len({(actor.digest, actor.records) for actor in actors}) == 1 and all(a.connected for a in actors)


def as_written(fields: dict[str, Any]) -> dict[str, str]:
    """Fields as the command line takes them: text as written, else JSON."""
    return {name: value if isinstance(value, str) else json.dumps(value) for name, value in fields.items()}


def apart_from_times(lists: list[list[dict[str, Any]]]) -> list[list[dict[str, Any]]]:
    """Lists of conflicts without when each site noticed them, which is its own."""
    for conflicts in lists:
        for conflict in conflicts:
            conflict.pop("detected_at", None)
    return lists


async def play(folder: Path, screen: Screen, patients: int) -> bool:
    """Play the demo in an empty folder. True when it went as promised."""
    async with Stage(folder) as stage:
        return await Plot(stage, screen, patients).play()
