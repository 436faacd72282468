"""S15: a site's patient numbers at 80 %, 95 %, 100 %, the spare, none: warnings, the spare is used, patients are
created all the same and get their numbers later; never one number twice."""

from __future__ import annotations

from pathlib import Path

import anyio
import pytest

from crdtsync.practice import Patient
from crdtsync.storage import continuity
from tests.scenarios.numbers import filled, new, number, numbers, told
from tests.sites import agree, create, mesh, opened, patience_s, practice

pytestmark = pytest.mark.anyio


async def test_numbers_run_out_and_come_again(tmp_path: Path) -> None:
    async with practice(tmp_path, "Jena", "Weimar") as (jena, weimar), mesh(jena, weimar):
        await jena.ranges.set("Jena", 1, 1000)
        await jena.ranges.set("Weimar", 2001, 2020, author="dr.weber", reason="the second site")
        await jena.ranges.set("Weimar", 3001, 3002, spare=True)
        await agree(jena, weimar)
        patients = await new(weimar, 15)
        assert await numbers(weimar, patients) == list(range(2001, 2016))
        assert (await weimar.status())["numbers"]["warnings"] == []
        patients += await new(weimar)
        assert "80 % of the patient numbers of Weimar are given, 4 are left" in await told(weimar, "80 %")
        patients += await new(weimar, 3)
        assert "1 are left" in await told(weimar, "95 %")
        patients += await new(weimar)
        assert "2 are left" in await told(weimar, "spare")
        patients += await new(weimar, 2)
        await told(weimar, "no patient number left")
        waiting = await new(weimar, 3)
        assert await numbers(weimar, waiting) == [None, None, None]
        status = await weimar.status()
        assert status["numbers"]["following"] == 3 and status["numbers"]["left"] == 0
        assert [each["state"] for each in status["ranges"]] == ["exhausted", "exhausted"]
        assert await weimar.ranges.number(waiting[0]) == {"number": None, "follows": True}
        ours = await new(jena, 5)
        await jena.ranges.set("Weimar", 5001, 5099)
        assert await filled(weimar, waiting) == [5001, 5002, 5003], "in the order in which they were created"
        await agree(jena, weimar)
        everybody = [*patients, *waiting, *ours]
        assert await numbers(jena, everybody) == await numbers(weimar, everybody)
        assert len(set(await numbers(jena, everybody))) == len(everybody)
        assert await jena.conflicts() == [] and (await weimar.status())["numbers"]["following"] == 0
        listed = {each["from"]: each for each in await jena.ranges.listed()}
        assert {first: each["used"] for first, each in listed.items()} == {1: 5, 2001: 20, 3001: 2, 5001: 3}
        assert listed[5001]["site"] == "Weimar" and listed[5001]["left"] == 96


async def test_a_number_is_there_when_the_transaction_is(tmp_path: Path) -> None:
    """Several patients in one transaction; bulk work brings its own numbers; what is taken back is not given again."""
    async with create(tmp_path / "jena") as jena:
        await jena.ranges.set("Jena", 10, 99)
        async with jena.transaction(author="dr.weber", mass=True) as tx:
            imported = [tx.add(Patient(family_name="Alt", number=n)).id for n in (11, 12)]
            imported.append(tx.add(Patient(family_name="Ohne")).id)
        assert await numbers(jena, imported) == [11, 12, None]
        async with jena.transaction(author="dr.weber") as tx:
            both = [tx.add(Patient(family_name=name)).id for name in "AB"]
        commit = tx.commit
        assert commit is not None and await numbers(jena, both) == [10, 13]
        assert await jena.ranges.number(imported[2], author="dr.weber") == {"number": 14}
        reverted = await jena.revert(commit=commit, author="dr.weber")
        assert [each["kind"] for each in reverted["left_out"]] == ["number_range"]
        assert await numbers(jena, both) == [None, None]
        assert await numbers(jena, await new(jena)) == [15]


async def test_after_the_machine_was_started_anew_numbers_wait_for_somebody(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with practice(tmp_path, "Jena", "Weimar") as (jena, weimar), mesh(jena, weimar):
        await jena.ranges.set("Weimar", 1, 99)
        await agree(jena, weimar)
        assert await numbers(weimar, await new(weimar)) == [1]
        await agree(jena, weimar)
    monkeypatch.setattr(continuity, "boot_session", lambda: "another start of the machine")
    async with opened(tmp_path / "jena") as jena, opened(tmp_path / "weimar") as weimar:
        waiting = await new(weimar, 2)
        assert await numbers(weimar, waiting) == [None, None]
        [warning] = (await weimar.status())["numbers"]["warnings"]
        assert "recover DIR --alone" in warning
        async with mesh(jena, weimar):
            assert await filled(weimar, waiting) == [2, 3]
            assert await numbers(weimar, await new(weimar)) == [4]
            await agree(jena, weimar)
            assert (await weimar.status())["numbers"]["warnings"] == []


async def test_the_only_site_of_a_practice_has_nobody_to_wait_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with create(tmp_path / "jena") as jena:
        await jena.ranges.set("Jena", 1, 99)
        assert await numbers(jena, await new(jena)) == [1]
    monkeypatch.setattr(continuity, "boot_session", lambda: "another start of the machine")
    async with opened(tmp_path / "jena") as jena:
        assert await filled(jena, await new(jena)) == [2]
        assert await numbers(jena, await new(jena)) == [3]


async def test_alone_a_persons_word_does(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with practice(tmp_path, "Jena", "Weimar") as (jena, _):
        await jena.ranges.set("Jena", 1, 99)
        assert await numbers(jena, await new(jena)) == [1]
    monkeypatch.setattr(continuity, "boot_session", lambda: "another start of the machine")
    async with opened(tmp_path / "jena") as jena:
        waiting = await new(jena)
        assert await number(jena, waiting[0]) is None
        await jena.recover(alone=True)
        assert await filled(jena, waiting) == [2]
    async with opened(tmp_path / "jena") as jena:
        assert await numbers(jena, await new(jena)) == [3]


async def test_many_desks_at_once_get_different_numbers(tmp_path: Path) -> None:
    async with create(tmp_path / "jena") as jena:
        await jena.ranges.set("Jena", 1, 99)
        found: list[str] = []

        async def desk() -> None:
            found.extend(await new(jena, 5))

        with anyio.fail_after(patience_s):
            async with anyio.create_task_group() as tasks:
                for _ in range(6):
                    tasks.start_soon(desk)
        assert sorted([await number(jena, each) or 0 for each in found]) == list(range(1, 31))
