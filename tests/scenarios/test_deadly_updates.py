"""Updates that kill whoever applies them, and kills of the process that serves: the site lives, and knows whom to ask.

The gate in front of documents refuses everything that is known to kill, so the processes here have none.
"""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import anyio
import pytest

from crdtsync import Site
from crdtsync.cli.control import NobodyServes
from crdtsync.engine import WriteRequest
from crdtsync.engine.write import Sealing
from crdtsync.errors import CrdtSyncError, EnvironmentFailure
from crdtsync.host import Host
from crdtsync.ids import RecordId
from crdtsync.replication.commit import Change
from crdtsync.replication.stored import KeyObject
from tests.deadly import DEADLY, OVERFLOWS, weaken_children
from tests.scenarios.processes import PASSPHRASE, Practice, Server, converged, until

REQUEST = WriteRequest("dr.evil", "", "", "", ())
writers = 3
kills = 2


async def forge(server: Server, record: str, delta: bytes) -> None:
    """Append a commit to the log of a site that nobody serves: a change to a patient, past every gate, not derived."""
    async with Site.open(server.folder, passphrase=PASSPHRASE) as site:
        await site.digest()
        grant = site.driver.grant()

        def append(host: Host) -> None:
            engine = host.engine
            writer = engine._own.writer
            assert writer is not None
            draft = writer.draft()
            place = draft.place(0, host.now_ms())
            sealing = Sealing(host.sealer, engine._parts, writer.log, grant, host.now_ms())
            introduced: dict[str, KeyObject] = {}
            ref, data = sealing.part(
                REQUEST, place, 0, record, [Change("patient", RecordId(record), delta)], introduced
            )
            commit = sealing.commit(draft, place, [(ref, data)], None)
            engine.append([(commit, True)], list(introduced.values()), host.now_ms())

        await site.driver.thread.run(append)


def status_of(server: Server) -> dict[str, Any]:
    """The status of a served site, from the next worker when there is none now."""

    def asked() -> dict[str, Any] | None:
        with suppress(NobodyServes, EnvironmentFailure):
            return dict(server.ask("status"))
        return None

    return until(asked, f"{server.name} answers")


def worker(server: Server) -> dict[str, Any]:
    """What the status of a served site says of the process that serves."""
    return dict(status_of(server)["worker"])


def held_by_all(name: str, patient: str, *servers: Server) -> None:
    """Each site lives, holds one commit of this author, shows what the patient was, and says what is missing."""
    for server in servers:
        status = until(lambda server=server: held(server), f"{server.name} holds the commit")  # type: ignore[misc]
        assert [(each["site"], each["records"]) for each in status["held"]] == [(name, [patient])]
        assert any("is held" in alarm["text"] and patient in alarm["text"] for alarm in status["alarms"])
        assert server.show(patient)["fields"]["family_name"] == "Muster"


def held(server: Server) -> dict[str, Any] | None:
    status = status_of(server)
    return status if status["held"] else None


def survive(jena: Server, patient: str, delta: bytes, reason: str) -> None:
    """Jena meets `delta` in its log: its worker dies once, and never again over that."""
    anyio.run(forge, jena, patient, delta)
    jena.serve()
    held_by_all("Jena", patient, jena)
    told = worker(jena)
    assert (told["started"], told["reason"]) == (2, reason)
    new = jena.write("patient", family_name="Neu")
    jena.change(patient, given_name="Erika")
    assert jena.show(patient)["fields"]["given_name"] == "Erika"
    whole = jena.digest()
    jena.stop()
    jena.serve()
    assert worker(jena)["started"] == 1
    assert (jena.show(new)["fields"]["family_name"], jena.digest()) == ("Neu", whole)
    assert jena.verb("rebuild") == whole
    assert worker(jena)["started"] == 1


@pytest.fixture
def patient(jena: Server) -> str:
    """The id of Jena's one patient."""
    (found,) = jena.verb("record list", "patient")
    return str(found["id"])


def test_an_update_that_overflows_the_stack(jena: Server, patient: str, monkeypatch: pytest.MonkeyPatch) -> None:
    weaken_children(monkeypatch)
    survive(jena, patient, OVERFLOWS, "ended by SIGSEGV")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "reason"), [("hangs", "silent for 4 s"), ("hoards", "ended by SIGKILL")], ids=["hangs", "hoards"]
)
def test_an_update_that_hangs_or_hoards(
    jena: Server, patient: str, monkeypatch: pytest.MonkeyPatch, name: str, reason: str
) -> None:
    weaken_children(monkeypatch, worker_silence_s=4.0, worker_beat_s=0.2)
    survive(jena, patient, DEADLY[name], reason)


def test_a_verb_that_opens_the_folder_dies_once(jena: Server, patient: str, monkeypatch: pytest.MonkeyPatch) -> None:
    weaken_children(monkeypatch)
    anyio.run(forge, jena, patient, OVERFLOWS)
    assert jena.call("digest").code == -signal.SIGSEGV
    assert jena.call("digest").code == 0
    assert jena.verb("record show", patient)["fields"]["family_name"] == "Muster"
    assert [each["records"] for each in jena.verb("status")["held"]] == [[patient]]


@pytest.mark.slow
def test_two_sites_meet_a_deadly_update_of_one(practice: Practice, monkeypatch: pytest.MonkeyPatch) -> None:
    """Weimar wrote it, Jena receives it: both live, agree on everything, and name Weimar."""
    jena, weimar = practice.found("Jena", "Weimar")
    patient = weimar.verb("record new", "patient", "family_name=Muster")["id"]
    weaken_children(monkeypatch)
    anyio.run(forge, weimar, patient, OVERFLOWS)
    weimar.serve()
    jena.serve(weimar)
    until(lambda: status_of(jena)["records"], "Jena has the patient")
    held_by_all("Weimar", patient, jena, weimar)
    assert worker(weimar)["started"] == 2
    assert worker(jena)["started"] <= 2, "Weimar's word may have come before Jena tried it"
    new = weimar.write("patient", family_name="Neu")
    converged(jena, weimar, records=2)
    assert jena.show(new)["fields"]["family_name"] == "Neu"


def test_the_worker_is_killed_under_load(jena: Server) -> None:
    """Nothing that was acknowledged is lost, and who asks again is answered."""
    jena.serve()
    ledger: list[str] = []
    over = threading.Event()

    def writing() -> None:
        while not over.is_set():
            try:
                ledger.append(jena.write("patient", family_name=f"N{len(ledger)}"))
            except (CrdtSyncError, NobodyServes):
                over.wait(0.01)  # the worker died; whether this one was written nobody knows

    threads = [threading.Thread(target=writing) for _ in range(writers)]
    for thread in threads:
        thread.start()
    for _ in range(kills):
        goal = len(ledger) + 20
        until(grown(ledger, goal), "writing goes on")
        os.kill(worker(jena)["pid"], signal.SIGKILL)
        assert jena.event("worker-replaced")["reason"] == "ended by SIGKILL"
        assert jena.event("ready")["listen"] == jena.address
    over.set()
    for thread in threads:
        thread.join()
    assert set(ledger) <= set(jena.column("SELECT id FROM patient"))
    assert worker(jena)["started"] == kills + 1
    assert status_of(jena)["held"] == [], "an innocent change is not held because somebody killed the process"
    assert jena.verb("verify")["ok"] is True


def grown(ledger: list[str], goal: int) -> Callable[[], bool]:
    return lambda: len(ledger) >= goal
