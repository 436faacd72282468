"""A site that stands still for longer than links wait: frozen by SIGSTOP, in the middle of writing, or as all machines
of a practice that sleep over night. The others go on; it catches up, under the same log."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from contextlib import suppress

import pytest

from crdtsync.cli.control import NobodyServes
from crdtsync.errors import CrdtSyncError
from tests.scenarios.changed import WallClock, change_limits
from tests.scenarios.processes import Practice, Server, converged, crdtsync, until

IMPATIENT = {"idle_seconds_max": 3.0, "ping_interval_s": 0.5, "watch_interval_s": 0.25, "repair_interval_s": 0.5}
"""A minute's patience in three seconds."""
NIGHT_MS = 8 * 3_600_000


def three(practice: Practice, limits: dict[str, float]) -> list[Server]:
    """Three sites, each linked to each, that agree on one patient."""
    servers = practice.found("Jena", "Weimar", "Gera")
    jena, weimar, gera = servers
    for server in servers:
        change_limits(server, **limits)
    jena.serve()
    gera.serve(jena)
    weimar.serve(jena, gera)
    jena.write("patient", family_name="Muster")
    for server in servers:
        server.write("task", title=f"opens the log of {server.name}")
    converged(*servers, records=4)
    return servers


def logs(server: Server) -> set[str]:
    return set(server.ask("status")["frontier"])


def gone(server: Server, other: Server) -> None:
    until(lambda: not server.peer(other)["connected"], f"{server.name} gives up the link to {other.name}", 120)


def frozen_while_others_write(practice: Practice, limits: dict[str, float], writes: int) -> None:
    servers = jena, weimar, gera = three(practice, limits)
    before = logs(jena)
    weimar.freeze()
    for number in range(writes):
        jena.write("task", title=f"Jena {number}")
        gera.write("task", title=f"Gera {number}")
    for other in (jena, gera):
        gone(other, weimar)
        assert other.peer(weimar)["missing_there"] > 0
    converged(jena, gera, records=4 + 2 * writes)
    weimar.thaw()
    converged(*servers, records=4 + 2 * writes)
    weimar.write("task", title="afterwards")
    converged(*servers, records=5 + 2 * writes)
    weimar.stop()  # in order, so that it can prove that it is the one continuation of its log
    weimar.serve(jena, gera)
    weimar.write("task", title="and later")
    converged(*servers, records=6 + 2 * writes)
    for server in servers:
        assert logs(server) == before, "the same process goes on with the same log"
        status = server.verb("status")
        assert (status["alarms"], status["frozen"], status["late"]) == ([], [], [])
        assert server.verb("verify")["ok"] is True


@pytest.mark.slow
def test_frozen_while_others_write(practice: Practice) -> None:
    frozen_while_others_write(practice, IMPATIENT, writes=100)


@pytest.mark.soak
def test_frozen_for_longer_than_links_wait(practice: Practice) -> None:
    """With the limits as they ship: links end after a minute."""
    frozen_while_others_write(practice, {}, writes=2_000)


def writing(server: Server, number: int, enough: threading.Event, written: dict[str, str]) -> None:
    """Write until it is enough, or nobody answers."""
    with suppress(CrdtSyncError, NobodyServes):
        while not enough.is_set():
            name = f"writer {number} at {server.name} {len(written)}"
            written[server.write("patient", family_name=name)] = name


@pytest.mark.slow
def test_frozen_in_the_middle_of_writing(practice: Practice) -> None:
    """Whoever waits for an answer gets it afterwards. Nobody else takes the folder meanwhile."""
    servers = jena, weimar, _ = three(practice, IMPATIENT)
    before, enough, written = logs(jena), threading.Event(), dict[str, str]()
    threads = [threading.Thread(target=writing, args=(weimar, n, enough, written)) for n in range(4)]
    for thread in threads:
        thread.start()
    for _ in range(3):
        known = len(written)
        until(lambda known=known: len(written) > known + 10, "people write")
        weimar.freeze()
        gone(jena, weimar)
        intruder = crdtsync("serve", weimar.folder)
        assert (intruder.code, intruder.err.count("\n")) == (1, 1) and "served already" in intruder.err, intruder
        weimar.thaw()
    enough.set()
    for thread in threads:
        thread.join()
    converged(*servers, records=4 + len(written))
    for server in servers:
        rows = server.ask("query", sql="SELECT id, family_name FROM patient WHERE family_name LIKE 'writer%'")
        assert {row["id"]: row["family_name"] for row in rows} == written
        assert logs(server) == before and server.verb("verify")["ok"] is True


@pytest.mark.slow
def test_machines_that_sleep_over_night(practice: Practice) -> None:
    """All stand still, and when they wake the wall clock is eight hours further, at one of them a minute more."""
    servers = practice.found("Jena", "Weimar", "Gera")
    jena, weimar, gera = servers
    clocks = [WallClock(server) for server in servers]
    jena.serve()
    gera.serve(jena)
    weimar.serve(jena, gera)
    patient = jena.write("patient", family_name="Muster")
    converged(*servers, records=1)
    for server in servers:
        server.freeze()
    for clock in clocks:
        clock.set(NIGHT_MS)
    clocks[1].set(NIGHT_MS + 60_000)
    for server in reversed(servers):
        server.thaw()
    wrote_and_agreed(servers, patient)


def wrote_and_agreed(servers: Sequence[Server], patient: str) -> None:
    """Each in turn sees what the one before wrote, and writes over it."""
    for server in servers:
        server.change(patient, home_site=server.name)
        converged(*servers, records=1)
    for server in servers:
        assert server.show(patient)["fields"]["home_site"] == servers[-1].name
        assert server.ask("conflicts") == [] and server.verb("status")["alarms"] == []
