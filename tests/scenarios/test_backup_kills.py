"""kill -9 in the middle of backups and of restores, by processes: the last whole backup stays good, a half one counts
for nothing, and a half restored folder is no site."""

from __future__ import annotations

import random
import threading
from contextlib import suppress
from pathlib import Path

import pytest

from crdtsync.backup.checking import check
from crdtsync.cli.control import NobodyServes
from crdtsync.errors import CrdtSyncError
from tests.scenarios.processes import PASSPHRASE, Practice, Running, until
from tests.scenarios.refusing import Call


class Trial:
    """A site that is backed up, killed, and served again; `whole` is how many commits the last whole backup had."""

    def __init__(self, practice: Practice, call: Call, place: Path, seed: int) -> None:
        (self.jena,) = practice.found("Jena")
        self.call, self.place, self.chance = call, place, random.Random(seed)
        self.whole = self.kills = self.cut_short = 0
        self.jena.serve()
        self.write(120)

    def write(self, many: int) -> None:
        for number in range(many):
            self.jena.write("patient", family_name=f"N{number}", note="x" * 2_000)

    def killed_while_backing_up(self) -> None:
        """The serving process dies after a drawn number of changes of the place's bytes."""
        self.write(10)
        told: list[int] = []

        def back_up() -> None:
            with suppress(CrdtSyncError, NobodyServes):
                told.append(self.jena.ask("backup", out=str(self.place), keep=None)["commits"])

        thread = threading.Thread(target=back_up)
        before, left = self.bytes(), self.chance.randint(0, 12)
        thread.start()

        def due() -> bool:
            nonlocal before, left
            now = self.bytes()
            left -= now != before
            before = now
            return left < 0 or not thread.is_alive()

        until(due, "so many writes")
        self.jena.kill()
        thread.join()
        self.kills += 1
        self.cut_short += not told
        self.whole = max([self.whole, *told])
        self.jena.serve()

    def bytes(self) -> tuple[int, int]:
        """Files and bytes in the place, as far as they hold still."""
        found = [self.place, *self.place.rglob("*")] if self.place.is_dir() else [self.place]
        sizes = []
        for each in found:
            with suppress(FileNotFoundError):
                sizes.append(each.stat().st_size)
        return len(sizes), sum(sizes)

    def check(self, into: Path) -> None:
        """What is there is whole, is no less than was told, and restores."""
        try:
            told = check(self.place, passphrase=PASSPHRASE)
        except CrdtSyncError:
            assert self.whole == 0, "there is not even a place"
            return
        if not told["backups"]:
            assert self.whole == 0 and "holds no whole backup" in told["problems"][0]
            return
        assert told["problems"] == []
        assert told["backups"][-1]["commits"] >= self.whole
        assert self.call("restore", self.place, into, "--json").json["commits"] >= self.whole
        assert self.call("verify", into, "--json").json["ok"] is True


def die(practice: Practice, call: Call, place: Path, kills: int, seed: int) -> Trial:
    trial = Trial(practice, call, place, seed)
    for number in range(kills):
        trial.killed_while_backing_up()
        trial.check(practice.folder / f"restored-{number}")
    last = trial.jena.ask("backup", out=str(place), keep="daily=0,weekly=0,monthly=0")
    assert last["backups"] == 1, "what was cut short is cleared away, and retention still works"
    assert check(place, passphrase=PASSPHRASE)["problems"] == []
    assert not list(practice.folder.rglob("*.part"))
    return trial


def test_a_backup_that_is_killed(practice: Practice, call: Call) -> None:
    place = practice.folder / "usb"
    place.mkdir()
    assert die(practice, call, place, kills=2, seed=1).kills == 2


@pytest.mark.slow
@pytest.mark.parametrize("folder", [True, False], ids=["folder", "file"])
def test_backups_that_are_killed_many_times(practice: Practice, call: Call, folder: bool) -> None:
    place = practice.folder / "usb"
    if folder:
        place.mkdir()
    trial = die(practice, call, place, kills=12, seed=2)
    assert trial.cut_short, "the kills came too late to interrupt anything"


def killed_while_restoring(backup: Path, into: Path, errors: Path, looks: int) -> bool:
    """Start a restore, kill it after so many changes beside its place; whether it had ended before."""
    running = Running(errors, "restore", backup, into, "--json")
    seen = -1

    def due() -> bool:
        nonlocal seen, looks
        now = sum(1 for _ in into.parent.glob(f".{into.name}.*.new/*")) + into.exists()
        looks -= now != seen
        seen = now
        return looks < 0 or running.process.poll() is not None

    until(due, "so many changes")
    running.process.kill()
    return running.process.wait() == 0


def restores(practice: Practice, call: Call, kills: int, seed: int) -> int:
    (jena,) = practice.found("Jena")
    jena.serve()
    for number in range(60):
        jena.write("patient", family_name=f"N{number}", note="x" * 2_000)
    digest = jena.digest()
    backup, chance, cut_short = practice.folder / "b", random.Random(seed), 0
    jena.ask("backup", out=str(backup), keep=None)
    for number in range(kills):
        into = practice.folder / f"r{number}"
        ended = killed_while_restoring(backup, into, practice.folder / "stderr", chance.randint(1, 6))
        cut_short += not ended
        if not into.exists():
            assert call("restore", backup, into, "--json").json["commits"] == 60
        assert not list(practice.folder.glob(f".{into.name}.*")), "what the kill left is cleared away"
        assert call("digest", into, "--json").json == digest
        assert call("status", into, "--json").json["recovering"] is False, "alone in the practice it writes at once"
    return cut_short


@pytest.mark.slow
def test_a_restore_that_is_killed(practice: Practice, call: Call) -> None:
    restores(practice, call, kills=2, seed=1)


@pytest.mark.slow
def test_restores_that_are_killed_many_times(practice: Practice, call: Call) -> None:
    assert restores(practice, call, kills=12, seed=2) >= 4


