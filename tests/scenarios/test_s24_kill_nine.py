"""S24: kill -9 of a serving site in the middle of an import, of receiving, and of writing.

What a site acknowledged is there after the kill, it starts again without a repair step, and in the end the sites agree
and verify. Where exactly a kill hits is drawn from a seed, by counting writes to one of the site's files.
"""

from __future__ import annotations

import json
import random
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from crdtsync.cli.control import NobodyServes
from crdtsync.errors import CrdtSyncError
from crdtsync.limits import import_batch_records_max
from tests.interop.fhir.bundles import CONCEPT
from tests.scenarios.processes import Practice, Server, converged, crdtsync, until

records_per_bundle = 1_000
writes_max = {"log.db-wal": 5, "keys.db-wal": 1, "view.db-wal": 5}
"""Writes that are awaited before a kill, at most; an import of a bundle makes some more of them."""
looks_max = 20
"""Looks at the file (some milliseconds each) between the last awaited write and the kill, at most."""
writers = 4


def write_bundle(path: Path, number: int) -> Path:
    """A bundle with one patient and observations, all of its own."""
    patient = f"patient-{number}"
    resources: list[dict[str, Any]] = [{"resourceType": "Patient", "id": patient, "name": [{"family": f"N{number}"}]}]
    resources += [
        {
            "resourceType": "Observation",
            "id": f"observation-{number}-{n}",
            "status": "final",
            "code": CONCEPT,
            "subject": {"reference": f"urn:uuid:{patient}"},
            "valueString": f"value {n}",
        }
        for n in range(records_per_bundle - 1)
    ]
    entries = [{"fullUrl": f"urn:uuid:{each['id']}", "resource": each} for each in resources]
    path.write_text(json.dumps({"resourceType": "Bundle", "type": "transaction", "entry": entries}), encoding="utf-8")
    return path


class Blade:
    """Finds the moment to kill: a drawn number of writes to a drawn file of the site, and then some looks more."""

    def __init__(self, chance: random.Random) -> None:
        self._chance = chance

    def wait(self, server: Server, over: Callable[[], bool]) -> None:
        """Wait until the drawn moment, or until `over`."""
        name = self._chance.choice(sorted(writes_max))
        file = server.folder / name
        writes = self._chance.randint(1, writes_max[name])
        looks = self._chance.randint(0, looks_max)
        last = touched(file)

        def due() -> bool:
            nonlocal writes, looks, last
            now = touched(file)
            writes, last = writes - (now != last), now
            looks -= writes <= 0
            return looks < 0 or over()

        until(due, f"writes to {name} of {server.name}")


def touched(file: Path) -> tuple[int, int]:
    try:
        found = file.stat()
    except FileNotFoundError:
        return 0, 0
    return found.st_mtime_ns, found.st_size


class Trial:
    """Two sites, the ledger of what was acknowledged, and the three ways of dying."""

    def __init__(self, practice: Practice, seed: int) -> None:
        self.jena, self.weimar = practice.found("Jena", "Weimar")
        self.chance = random.Random(seed)
        self.blade = Blade(self.chance)
        self.ledger: dict[str, str] = {}
        self.bundles = 0
        self.kills = 0
        self.cut_short = 0
        self._folder = practice.folder
        self.jena.serve()

    def in_the_middle_of_an_import(self) -> None:
        """Jena dies while it imports; importing again brings exactly what was missing."""
        told: list[int] = []
        bundle = self._new_bundle()
        self._while([lambda: self._import(bundle, told)], self.jena)
        present = self._imported(self.jena)
        assert max(told, default=0) <= present <= records_per_bundle
        assert present in (records_per_bundle, *range(0, records_per_bundle, import_batch_records_max))
        self.cut_short += present < records_per_bundle
        again = crdtsync("import", self.jena.folder, bundle, "--json").json
        assert (again["created"], again["unchanged"]) == (records_per_bundle - present, present)
        assert self._imported(self.jena) == records_per_bundle

    def in_the_middle_of_receiving(self) -> None:
        """Weimar dies while it receives what Jena imports; Jena notices nothing but that it is gone."""
        self.weimar.serve(self.jena)
        converged(self.jena, self.weimar)
        told: list[int] = []
        bundle = self._new_bundle()
        before = self.weimar.digest()["records"]
        self._while([lambda: self._import(bundle, told)], self.weimar)
        assert max(told) == records_per_bundle == self._imported(self.jena)
        found = self.weimar.digest()
        assert before <= found["records"] <= self.jena.digest()["records"]
        self.cut_short += found["records"] < self.jena.digest()["records"]
        self.weimar.stop()

    def in_the_middle_of_writing(self) -> None:
        """Jena dies while several people write; what was acknowledged to one of them is there."""

        def writing(number: int) -> None:
            try:
                while True:
                    name = f"writer {number} kill {self.kills}"
                    self.ledger[self.jena.write("patient", family_name=name)] = name
            except (CrdtSyncError, NobodyServes):
                return

        self._while([partial(writing, number) for number in range(writers)], self.jena)
        self.cut_short += 1
        self.check(self.jena)

    def _new_bundle(self) -> Path:
        self.bundles += 1
        return write_bundle(self._folder / f"{self.bundles}.json", self.bundles)

    def _import(self, bundle: Path, told: list[int]) -> None:
        """Import at Jena until it is done or Jena is dead; `told` gets how many records were durable."""

        def report(done: int, total: int | None) -> None:
            told.append(done)

        with suppress(CrdtSyncError):
            told.append(self.jena.ask("import", report, files=[str(bundle)], author="")["created"])

    def _imported(self, server: Server) -> int:
        """How many records of the last bundle a site has."""
        link = f"SELECT id FROM patient WHERE family_name = 'N{self.bundles}'"
        (rest,) = server.column(f"SELECT count(*) FROM observation WHERE patient IN ({link})")
        return len(server.column(link)) + int(rest)

    def _while(self, work: Sequence[Callable[[], None]], victim: Server) -> None:
        """Kill `victim` in the middle of this work of other threads, let that end, and start the victim again."""
        threads = [threading.Thread(target=each) for each in work]
        for thread in threads:
            thread.start()
        self.blade.wait(victim, lambda: not any(thread.is_alive() for thread in threads))
        victim.kill()
        for thread in threads:
            thread.join()
        self.kills += 1
        victim.serve()

    def check(self, server: Server) -> None:
        """Every write that was acknowledged is there, as it was written."""
        rows = server.ask("query", sql="SELECT id, family_name FROM patient")
        found = {row["id"]: row["family_name"] for row in rows}
        assert {each: found.get(each) for each in self.ledger} == self.ledger

    def finish(self) -> None:
        """The sites meet once more, agree and verify."""
        self.weimar.serve(self.jena)
        converged(self.jena, self.weimar)
        assert len(self.ledger) > 0
        for server in (self.jena, self.weimar):
            self.check(server)
            assert server.verb("verify")["ok"] is True
            assert server.ask("conflicts") == []
        again = crdtsync("import", self.weimar.folder, self._folder / f"{self.bundles}.json", "--json").json
        assert (again["created"], again["unchanged"]) == (0, records_per_bundle)
        assert self.weimar.digest()["records"] == self.bundles * records_per_bundle + self.extra()

    def extra(self) -> int:
        """Records that the writers made: those acknowledged, and those whose answer the kill took."""
        (count,) = self.weimar.column("SELECT count(*) FROM patient WHERE family_name LIKE 'writer%'")
        assert len(self.ledger) <= count <= len(self.ledger) + writers * self.kills
        return int(count)


def die(practice: Practice, cycles: int, seed: int) -> Trial:
    trial = Trial(practice, seed)
    for _ in range(cycles):
        trial.in_the_middle_of_an_import()
        trial.in_the_middle_of_receiving()
        trial.in_the_middle_of_writing()
    trial.finish()
    return trial


@pytest.mark.slow
def test_six_kills(practice: Practice) -> None:
    assert die(practice, cycles=2, seed=1).kills == 6


@pytest.mark.slow
def test_fifty_kills(practice: Practice) -> None:
    trial = die(practice, cycles=17, seed=2)
    assert trial.kills >= 50
    assert trial.cut_short >= 25, "the kills came too late to interrupt anything"
