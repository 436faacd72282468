"""Backups at intervals: due from the last one in their place, tried again when they fail, told, and shown by age."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import anyio
import pytest

from crdtsync import BadValue, Site, limits
from crdtsync.backup import schedule
from crdtsync.backup.checking import check
from crdtsync.backup.retention import Retention
from tests.backup.conftest import patients
from tests.sites import PASSPHRASE, create, opened, patience_s

pytestmark = pytest.mark.anyio
hour = 3600.0


class Told:
    """Events, and waiting for so many of them."""

    def __init__(self) -> None:
        self.events: list[Mapping[str, Any]] = []
        self._news = anyio.Event()

    def __call__(self, event: Mapping[str, Any]) -> None:
        self.events.append(event)
        self._news.set()

    async def count(self, many: int) -> None:
        with anyio.fail_after(patience_s):
            while len(self.events) < many:
                self._news = anyio.Event()
                await self._news.wait()

    def kinds(self) -> list[str]:
        return [str(event["event"]) for event in self.events]


class Clock:
    """The wall clock of a schedule, which is set by hand; it tells when somebody has looked at it."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.ahead_ms = 0
        self._looks = 0
        self._looked = anyio.Event()
        monkeypatch.setattr(schedule, "wall_ms", self.look)
        monkeypatch.setattr(limits, "backup_look_s", 0.01)
        monkeypatch.setattr(limits, "backup_retry_s", 0.01)

    def look(self) -> int:
        self._looks += 1
        self._looked.set()
        return time.time_ns() // 1_000_000 + self.ahead_ms

    async def looked_at(self, times: int) -> None:
        """Wait until it was looked at so many times more."""
        goal = self._looks + times
        with anyio.fail_after(patience_s):
            while self._looks < goal:
                self._looked = anyio.Event()
                await self._looked.wait()

    def go_on(self, seconds: float) -> None:
        self.ahead_ms += int(seconds * 1000)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    return Clock(monkeypatch)


async def scheduled(site: Site, place: Path, during: Callable[[Told], Any], every: float = hour) -> Told:
    told = Told()
    async with anyio.create_task_group() as tasks:

        async def run() -> None:
            await site.back_up_every(every, place, on_event=told)

        tasks.start_soon(run)
        await during(told)
        tasks.cancel_scope.cancel()
    return told


async def test_it_is_due_from_the_last_one_also_over_a_restart(jena: Site, tmp_path: Path, clock: Clock) -> None:
    place = tmp_path / "b"

    async def first(told: Told) -> None:
        await told.count(1)
        clock.go_on(hour / 2)
        await clock.looked_at(10)  # and nothing is due
        assert len(told.events) == 1
        status = (await jena.status())["backup"]
        assert status["overdue"] is False and status["every_s"] == hour and status["failure"] is None
        assert abs(status["age_s"] - hour / 2) < 60 and status["path"] == str(place)

    told = await scheduled(jena, place, first)
    assert told.kinds() == ["backup"] and "read back" in told.events[0]["text"]

    async def second(told: Told) -> None:
        await clock.looked_at(10)
        assert told.events == [], "a restart shifts nothing"
        clock.go_on(hour / 2 + 60)
        await told.count(1)

    await scheduled(jena, place, second)
    assert len(check(place, passphrase=PASSPHRASE)["backups"]) == 1, "the standard rule keeps one of a day"


async def test_one_that_fails_is_told_and_tried_again(jena: Site, tmp_path: Path, clock: Clock) -> None:
    """The disk is away, and comes back."""
    usb = tmp_path / "usb"

    async def away(told: Told) -> None:
        await told.count(2)
        status = (await jena.status())["backup"]
        assert "make it first" in status["failure"] and status["last"] is None and status["overdue"] is True
        usb.mkdir()
        while "backup" not in told.kinds():
            await told.count(len(told.events) + 1)
        assert (await jena.status())["backup"]["failure"] is None

    told = await scheduled(jena, usb / "b", away)
    assert told.kinds()[:2] == ["backup-failed", "backup-failed"]
    assert check(usb / "b", passphrase=PASSPHRASE)["ok"] is True


async def test_an_error_in_the_program_does_not_stop_the_site(
    jena: Site, tmp_path: Path, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def broken(*args: object, **kwargs: object) -> None:
        raise ZeroDivisionError("secret content")

    monkeypatch.setattr(Site, "backup", broken)
    told = await scheduled(jena, tmp_path / "b", lambda told: told.count(2))
    assert told.events[0]["text"] == "an error in the program (ZeroDivisionError)"
    await patients(jena, 1, first=900)


async def test_a_clock_that_was_set_back_makes_no_storm(jena: Site, tmp_path: Path, clock: Clock) -> None:
    """The last backup seems to be of tomorrow: one more is made, and then they are an interval apart again."""
    place = tmp_path / "b"
    await jena.backup(place, folder=True)
    clock.go_on(-30 * hour)

    async def during(told: Told) -> None:
        await told.count(1)
        assert jena.schedule is not None
        assert jena.schedule._wait() > hour - 60, "from now on by the clock that nobody sets"  # type: ignore[attr-defined]

    told = await scheduled(jena, place, during)
    assert told.kinds() == ["backup"]
    assert (await jena.status())["backup"]["age_s"] == 0


async def test_the_age_is_told_and_complained_of(jena: Site, tmp_path: Path, clock: Clock) -> None:
    await jena.backup(tmp_path / "b")
    assert (await jena.status())["backup"]["overdue"] is False
    clock.go_on(limits.backup_age_max_s + 60)
    assert (await jena.status())["backup"]["overdue"] is True
    shutil.rmtree(tmp_path / "b", ignore_errors=True)


async def test_it_is_remembered_over_a_restart(tmp_path: Path) -> None:
    async with create(tmp_path / "jena") as jena:
        told = await jena.backup(tmp_path / "b", keep=Retention())
    async with opened(tmp_path / "jena") as again:
        status = (await again.status())["backup"]
    assert (status["last"], status["path"]) == (told["taken"], str(tmp_path / "b"))


async def test_an_interval_of_nothing_is_refused(jena: Site, tmp_path: Path) -> None:
    for seconds in (0.0, -1.0, float("nan")):
        with pytest.raises(BadValue, match="every 1 seconds"):
            await jena.back_up_every(seconds, tmp_path / "b")
