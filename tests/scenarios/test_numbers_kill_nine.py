"""kill -9 while numbers are given: what was shown stays, and no number is given twice, whenever the process dies."""

from __future__ import annotations

import random
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from crdtsync.cli.control import NobodyServes
from crdtsync.errors import CrdtSyncError
from tests.scenarios.processes import Practice, Server
from tests.scenarios.test_s24_kill_nine import Blade

desks = 3


@pytest.fixture
def practice(tmp_path: Path) -> Iterator[Practice]:
    made = Practice(tmp_path)
    yield made
    made.close()


def writing(server: Server, seen: dict[str, int | None]) -> None:
    """Create patients until the server dies; what was shown of each."""
    with suppress(CrdtSyncError, NobodyServes):
        while True:
            patient = server.write("patient", family_name="Muster")
            seen[patient] = None
            seen[patient] = server.show(patient)["fields"].get("number")


def play(practice: Practice, kills: int, seed: int) -> int:
    """Kill as often; how many numbers were given."""
    [jena] = practice.found("Jena")
    blade = Blade(random.Random(seed))
    jena.serve()
    about = {"author": "", "reason": ""}
    jena.ask("range set", name="Jena", first=1, last=99_999, spare=False, **about)
    seen: dict[str, int | None] = {}
    for _ in range(kills):
        threads = [threading.Thread(target=writing, args=(jena, seen)) for _ in range(desks)]
        for thread in threads:
            thread.start()
        blade.wait(jena, lambda: False)
        jena.kill()
        for thread in threads:
            thread.join()
        jena.serve()
        rows = jena.ask("query", sql="SELECT id, number FROM patient")
        found = {row["id"]: row["number"] for row in rows}
        assert all(found[patient] == number for patient, number in seen.items() if number is not None)
        assert None not in found.values(), "the machine was not started anew, so no number had to follow"
        assert not [number for number, count in Counter(found.values()).items() if count > 1]
        [source] = jena.ask("status")["ranges"]
        assert source["used"] >= max(found.values())
    return len(found)


def test_numbers_survive_kills(practice: Practice) -> None:
    assert play(practice, 2, seed=3) > 0


@pytest.mark.slow
def test_numbers_survive_many_kills(practice: Practice) -> None:
    assert play(practice, 15, seed=4) > 15
