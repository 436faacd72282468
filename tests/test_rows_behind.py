"""A site that has learnt new fields: what answers at once, what waits, and what a disk that refuses leaves of it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import anyio
import pytest

from crdtsync import EnvironmentFailure, RefusedError, RowsBehind, Site, StorageFailure
from crdtsync.documents import Record, kinds, register
from crdtsync.engine import Engine

from .sites import PASSPHRASE, add, create, opened, patience_s

pytestmark = pytest.mark.anyio
METACLASS: Any = type(Record)


@pytest.fixture(autouse=True)
def own_kinds() -> Iterator[None]:
    """Forget the kinds that a test declares."""
    before = dict(kinds())
    yield
    kinds().clear()
    kinds().update(before)


def program(*fields: str) -> Any:
    """From now on this process is a program that knows boats by these fields."""
    kinds().pop("boat", None)
    body: dict[str, Any] = {name: register() for name in fields}
    body |= {"__annotations__": dict.fromkeys(fields, str | None), "__module__": __name__}
    return METACLASS("Boat", (Record,), body, kind="boat")


@pytest.fixture
async def folder(tmp_path: Path) -> Path:
    """A site with a boat, written by a program that knew only its name."""
    boat = program("name")
    async with create(tmp_path / "jena") as site:
        await add(site, boat(name="Elbe"))
    return tmp_path / "jena"


async def asked(site: Site, answers: list[Any]) -> None:
    """Ask in both ways for what is new."""
    answers.append(await site.sql("SELECT name FROM boat WHERE length IS NULL"))
    answers.append([each.id for each in await site.find("boat", length=None)])


async def test_what_is_new_is_answered_whole_and_all_else_goes_on(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    held, real = True, Engine.derive_rows

    def slices(self: Engine, now_ms: int, wanted: Any = (), documents_max: int = 1) -> tuple[str, ...]:
        return ("boat",) if held else real(self, now_ms, wanted, documents_max)

    monkeypatch.setattr(Engine, "derive_rows", slices)
    boat = program("name", "length")
    answers: list[Any] = []
    async with opened(folder) as site, anyio.create_task_group() as asking:
        asking.start_soon(asked, site, answers)
        for number in range(20):
            [elbe] = await site.find("boat", name="Elbe")
            assert (await site.get("boat", elbe.id)).id == elbe.id and len(await site.search("Elbe")) == 1
            await add(site, boat(name=f"boat {number}", length="7 m"))
            assert (await site.sql("SELECT count(name) AS n FROM boat")) == [{"n": number + 2}]
            [left] = (await site.status())["rederiving"]
            assert (left["kind"], left["done"], left["total"]) == ("boat", 0, number + 2)
            await site.driver.changed.wait()
        assert answers == []
        held = False
        with anyio.fail_after(patience_s):
            while len(answers) < 2:
                await site.driver.changed.wait()
        assert answers == [[{"name": "Elbe"}], [elbe.id]]
        assert (await site.status())["rederiving"] == []


async def test_waiting_for_new_columns_ends_with_the_caller_or_with_the_disk(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    refuses = False

    def slices(self: Engine, now_ms: int, wanted: Any = (), documents_max: int = 1) -> tuple[str, ...]:
        if refuses:
            raise StorageFailure("the disk is gone")
        return ("boat",)

    monkeypatch.setattr(Engine, "derive_rows", slices)
    program("name", "length")
    async with opened(folder) as site:
        with anyio.move_on_after(0) as waiting:
            await site.sql("SELECT length FROM boat")
        assert waiting.cancelled_caught
        refuses = True
        with pytest.raises(EnvironmentFailure), anyio.fail_after(patience_s):
            await site.sql("SELECT length FROM boat")
        with pytest.raises(RowsBehind, match="`status` tells how far"):
            await site.find("boat", length="7 m")
        assert len(await site.find("boat", name="Elbe")) == 1, "what is whole is read on"


async def test_a_program_that_takes_something_away_does_not_open_the_site(folder: Path) -> None:
    program("colour")
    with pytest.raises(RefusedError, match=r"boat\.name was declared here before"):
        async with Site.open(folder, passphrase=PASSPHRASE):
            pass
    program("name")
    async with opened(folder) as site:
        assert len(await site.find("boat", name="Elbe")) == 1
