"""S26, killed: what the brake holds is there after a kill -9, and neither confirming nor reverting does anything twice
or leaves half a record, whenever the process dies."""

from __future__ import annotations

import random
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from crdtsync.cli.control import NobodyServes
from crdtsync.errors import CrdtSyncError, RefusedError
from crdtsync.limits import revert_records_step
from tests.scenarios.processes import Practice, Server, until
from tests.scenarios.test_s24_kill_nine import Blade, touched


@pytest.fixture
def practice(tmp_path: Path) -> Iterator[Practice]:
    made = Practice(tmp_path)
    yield made
    made.close()


class Victim:
    """A site that dies in the middle of what it is asked, and is started again."""

    def __init__(self, practice: Practice, seed: int) -> None:
        [self.jena] = practice.found("Jena")
        self.blade = Blade(random.Random(seed))
        self.cut_short = 0
        self.jena.serve()

    def ask(self, verb: str, **arguments: Any) -> Any:
        return self.jena.ask(verb, **arguments)

    def kill_while(self, work: Callable[[Server], Any], *, soon: bool = False) -> list[Any]:
        """What `work` gave, if it came to its end. `soon`: it dies right behind the first thing that it writes."""
        given: list[Any] = []

        def run() -> None:
            with suppress(CrdtSyncError, NobodyServes):
                given.append(work(self.jena))

        thread = threading.Thread(target=run)
        log = self.jena.folder / "log.db-wal"
        before = touched(log)
        thread.start()
        if soon:
            until(lambda: touched(log) != before or not thread.is_alive(), "something to be written")
        else:
            self.blade.wait(self.jena, lambda: not thread.is_alive())
        self.jena.kill()
        thread.join()
        self.cut_short += not given
        self.jena.serve()
        return given


def play_proposals(practice: Practice, kills: int, seed: int) -> Victim:
    victim = Victim(practice, seed)
    jena = victim.jena
    victim.ask("brake", retractions=1, seconds=None, records=None, author="", reason="")
    for kill in range(kills):
        fields = {"title": "T", "note": "Anfang"}
        records = victim.ask("record new many", records=[{"kind": "task", "fields": fields}] * 8, author="", reason="")[
            "ids"
        ]
        author = f"eve{kill}"

        held = 0
        for record in records:
            fields = {"title": "", "note": "Anfang Ende"}
            try:
                victim.ask("record set", id=record, fields=fields, author=author, reason="")
            except RefusedError as error:
                assert "approve" in str(error)
                held += 1
        assert held == 7
        jena.kill()  # right behind the last acknowledgement
        jena.serve()
        told = victim.ask("proposals", proposal=None)
        assert [(each["author"], each["records"]) for each in told] == [(author, 7)]
        proposal = told[0]["id"]
        while any(each["id"] == proposal for each in victim.ask("proposals", proposal=None)):
            victim.kill_while(
                lambda server, proposal=proposal: server.ask("approve", proposal=proposal, author="anna"), soon=True
            )
        for record in records:
            shown = victim.ask("record show", id=record)["fields"]
            assert "title" not in shown and shown["note"] == "Anfang Ende", shown
    jena.stop()
    assert jena.verb("verify")["ok"] is True
    return victim


def play_reverts(practice: Practice, kills: int, seed: int, pieces: int) -> Victim:
    victim = Victim(practice, seed)
    count = pieces * revert_records_step
    died = finished = 0
    while died < kills:
        new = {"kind": "task", "fields": {"title": "T", "note": "Anfang"}}
        made = victim.ask("record new many", records=[new] * count, author="eve", reason="")
        chosen = {"commit": [made["commit"]], "record": None, "by": None, "at_site": None, "since": None, "until": None}
        about = {"author": "anna", "reason": "", "confirm": None, "preview": True}
        preview = victim.ask("revert", **chosen, **about)
        assert preview["records"] == count
        confirm = {**dict.fromkeys(chosen), **about, "preview": False, "confirm": preview["id"]}
        done: list[Any] = []
        while not done:
            done = victim.kill_while(lambda server, confirm=confirm: server.ask("revert", **confirm))
            died += 1
            (cleared,) = victim.jena.column("SELECT count(*) FROM task WHERE title IS NULL AND note IS NULL")
            (half,) = victim.jena.column("SELECT count(*) FROM task WHERE (title IS NULL) != (note IS NULL)")
            left = victim.ask("reverts", drop=None)
            assert half == 0, "each record is whole"
            assert cleared % revert_records_step == 0
            if not done and not left:
                break  # it ended, and only its answer was lost
            if not done:
                assert left[0]["done"] == cleared - finished
        if done:
            assert len(done[0]["commits"]) == pieces, "each piece became one commit, however often it was tried"
        (kept,) = victim.jena.column("SELECT count(*) FROM task WHERE title IS NOT NULL")
        assert kept == 0
        finished += count
    victim.jena.stop()
    assert victim.jena.verb("verify")["ok"] is True
    return victim


@pytest.mark.slow
def test_killed_while_confirming(practice: Practice) -> None:
    play_proposals(practice, 1, seed=1)


@pytest.mark.slow
def test_killed_while_reverting(practice: Practice) -> None:
    play_reverts(practice, 1, seed=1, pieces=4)


@pytest.mark.slow
def test_killed_often_while_confirming(practice: Practice) -> None:
    assert play_proposals(practice, 8, seed=2).cut_short >= 1, "the kills came too late to interrupt anything"


@pytest.mark.slow
def test_killed_often_while_reverting(practice: Practice) -> None:
    assert play_reverts(practice, 10, seed=2, pieces=12).cut_short >= 3, "the kills came too late to interrupt anything"
