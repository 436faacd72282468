"""The socket to a serving process: answers, errors, progress, callers who leave, and what a killed process leaves."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import anyio
import pytest

from crdtsync.cli import control
from crdtsync.cli.actions import ACTIONS, Action, Arguments, Report
from crdtsync.errors import EnvironmentFailure, NotFound, UsageError

if TYPE_CHECKING:
    from crdtsync.site import Site

pytestmark = pytest.mark.anyio
NO_SITE = cast("Site", None)  # the verbs of these tests do not touch it


class Verbs:
    """Verbs that this test declares: each shows one thing that the socket must carry."""

    def __init__(self) -> None:
        self.entered = anyio.Event()
        self.cancelled = anyio.Event()

    async def echo(self, site: Site, arguments: Arguments, report: Report) -> Any:
        return arguments["value"]

    async def count(self, site: Site, arguments: Arguments, report: Report) -> Any:
        for done in range(1, 4):
            report(done, 3)
            await anyio.lowlevel.checkpoint()
            await anyio.wait_all_tasks_blocked()
        return {"counted": 3}

    async def refuse(self, site: Site, arguments: Arguments, report: Report) -> Any:
        raise NotFound("no such record here")

    async def stumble(self, site: Site, arguments: Arguments, report: Report) -> Any:
        raise RuntimeError(arguments["content"])

    async def hang(self, site: Site, arguments: Arguments, report: Report) -> Any:
        self.entered.set()
        try:
            await anyio.sleep_forever()
        finally:
            self.cancelled.set()


@pytest.fixture
def verbs(monkeypatch: pytest.MonkeyPatch) -> Iterator[Verbs]:
    made = Verbs()
    for name in ("echo", "count", "refuse", "stumble", "hang"):
        monkeypatch.setitem(ACTIONS, name, Action(name, getattr(made, name), only_serving=False))
    yield made


@pytest.fixture
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("d")


def ignore(done: int, total: int | None = None) -> None:
    return None


@pytest.mark.parametrize("value", [None, 7, "grün", {"a": [1, 2]}, [], list(range(2_500))], ids=str)
async def test_an_answer_crosses_as_it_is(verbs: Verbs, folder: Path, value: Any) -> None:
    async with control.answering(NO_SITE, folder):
        assert await control.ask(folder, "echo", {"value": value}, ignore) == value


async def test_progress_is_told_on_the_way(verbs: Verbs, folder: Path) -> None:
    told: list[tuple[int, int | None]] = []
    async with control.answering(NO_SITE, folder):
        answer = await control.ask(folder, "count", {}, lambda done, total=None: told.append((done, total)))
    assert answer == {"counted": 3}
    assert told and told == sorted(told) and all(total == 3 for _, total in told)


async def test_an_error_arrives_as_what_it_is_and_the_site_goes_on(verbs: Verbs, folder: Path) -> None:
    async with control.answering(NO_SITE, folder):
        with pytest.raises(NotFound, match="no such record here"):
            await control.ask(folder, "refuse", {}, ignore)
        assert await control.ask(folder, "echo", {"value": 1}, ignore) == 1


async def test_an_unexpected_error_keeps_its_text_to_itself(
    verbs: Verbs, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    async with control.answering(NO_SITE, folder):
        with pytest.raises(EnvironmentFailure, match="RuntimeError") as raised:
            await control.ask(folder, "stumble", {"content": "Muster"}, ignore)
        assert await control.ask(folder, "echo", {"value": 1}, ignore) == 1
    said = capsys.readouterr().err
    assert "in stumble" in said
    assert "Muster" not in said + str(raised.value)


async def test_an_unknown_verb_is_refused(verbs: Verbs, folder: Path) -> None:
    async with control.answering(NO_SITE, folder):
        with pytest.raises(UsageError, match="does not know this verb"):
            await control.ask(folder, "fly", {}, ignore)


async def test_noise_on_the_socket_ends_that_conversation_only(verbs: Verbs, folder: Path) -> None:
    async with control.answering(NO_SITE, folder):
        for noise in (b"\n", b"[]\n", b'{"verb": "echo"}\n', b'{"verb": "echo", "arguments": 3}\n', b"half a li"):
            async with await control.connect(folder) as stream:
                await stream.send(noise)
        assert await control.ask(folder, "echo", {"value": 1}, ignore) == 1


async def test_a_caller_who_leaves_cancels_the_verb(verbs: Verbs, folder: Path) -> None:
    async with control.answering(NO_SITE, folder):
        async with anyio.create_task_group() as group:
            group.start_soon(control.ask, folder, "hang", {}, ignore)
            await verbs.entered.wait()
            await anyio.wait_all_tasks_blocked()  # the caller has heard that it was begun
            group.cancel_scope.cancel()
        with anyio.fail_after(5):
            await verbs.cancelled.wait()
        assert await control.ask(folder, "echo", {"value": 1}, ignore) == 1


async def test_nobody_serves_before_and_after(verbs: Verbs, folder: Path) -> None:
    with pytest.raises(control.NobodyServes):
        await control.ask(folder, "echo", {"value": 1}, ignore)
    async with control.answering(NO_SITE, folder):
        mode = stat.S_IMODE(os.stat(control.socket_path(folder)).st_mode)
        assert mode == 0o600
    with pytest.raises(control.NobodyServes):
        await control.ask(folder, "echo", {"value": 1}, ignore)
    assert list(folder.iterdir()) == []


async def test_a_long_path_leads_through_the_temporary_folder(verbs: Verbs, folder: Path) -> None:
    deep = folder / ("a" * 60) / ("b" * 60)
    deep.mkdir(parents=True)
    async with control.answering(NO_SITE, deep):
        path = control.socket_path(deep)
        assert len(os.fsencode(path)) <= control.socket_path_bytes_max
        assert path.parent != deep and stat.S_IMODE(os.stat(path.parent).st_mode) == 0o700
        assert await control.ask(deep, "echo", {"value": 1}, ignore) == 1
    assert not path.parent.exists() and list(deep.iterdir()) == []


@pytest.mark.parametrize("depth", [0, 60])
async def test_what_a_killed_process_left_is_replaced(verbs: Verbs, folder: Path, depth: int) -> None:
    place = folder / "d" if not depth else folder / ("a" * depth) / ("b" * depth)
    place.mkdir(parents=True)
    left, _ = control.place(place)
    left.touch()
    with pytest.raises(control.NobodyServes):
        await control.ask(place, "echo", {"value": 1}, ignore)
    async with control.answering(NO_SITE, place):
        assert await control.ask(place, "echo", {"value": 1}, ignore) == 1
    assert not left.exists()


@pytest.mark.parametrize("begun", [False, True])
async def test_a_site_that_dies_in_the_middle_is_told_apart(folder: Path, begun: bool) -> None:
    """Before it began the verb nothing was done, so that it can be asked of the next one."""

    async def die(stream: anyio.abc.SocketStream) -> None:
        async with stream:
            await stream.receive()
            if begun:
                await control.send(stream, {"begun": True})

    listener = await anyio.create_unix_listener(control.socket_path(folder))
    async with listener, anyio.create_task_group() as group:
        group.start_soon(listener.serve, die)
        if begun:
            with pytest.raises(EnvironmentFailure, match="ended in the middle"):
                await control.ask(folder, "echo", {}, ignore)
        else:
            with pytest.raises(control.NobodyServes):
                await control.ask(folder, "echo", {}, ignore)
        group.cancel_scope.cancel()
