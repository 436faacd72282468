"""S22, its part about numbers: a server is restored from an older backup. What it had given since, and others know of,
is not given again; the rest of its ranges is closed until somebody releases it, at an admin site or at the site itself.
"""

from __future__ import annotations

import shutil
from pathlib import Path

import anyio
import pytest

from crdtsync.backup.restoring import restore
from crdtsync.errors import RefusedError
from tests.scenarios.numbers import filled, heard, new, numbers, told
from tests.sites import PASSPHRASE, agree, create, join, mesh, opened, patience_s

pytestmark = pytest.mark.anyio


async def restored(folder: Path, backup: Path) -> None:
    await anyio.to_thread.run_sync(lambda: shutil.rmtree(folder))
    await anyio.to_thread.run_sync(lambda: restore(backup, folder, PASSPHRASE))


@pytest.mark.parametrize("at_the_site_itself", [False, True])
async def test_numbers_after_a_restore(tmp_path: Path, at_the_site_itself: bool) -> None:
    backup = tmp_path / "weimar.backup"
    async with create(tmp_path / "jena") as jena:
        await join(jena, tmp_path / "weimar", "Weimar")
        async with opened(tmp_path / "weimar") as weimar, mesh(jena, weimar):
            await jena.ranges.set("Weimar", 1, 99)
            await agree(jena, weimar)
            patients = await new(weimar, 2)
            await weimar.backup(backup)
            patients += await new(weimar, 3)
            assert await numbers(weimar, patients) == [1, 2, 3, 4, 5]
            await agree(jena, weimar)
        await restored(tmp_path / "weimar", backup)
        async with opened(tmp_path / "weimar") as weimar, mesh(jena, weimar):
            await heard(weimar, lambda: not weimar.driver.replica.recovering)
            await agree(jena, weimar)
            assert await numbers(weimar, patients) == [1, 2, 3, 4, 5]
            waiting = await new(weimar)
            assert await numbers(weimar, waiting) == [None]
            assert "range release DIR --name Weimar" in await told(weimar, "closed")
            assert "range release DIR --name Weimar" in (await weimar.status())["numbers"]["warnings"][0]
            with anyio.fail_after(patience_s):
                while [each["state"] for each in await jena.ranges.listed()] != ["closed"]:
                    await jena.driver.changed.wait()
            by = weimar if at_the_site_itself else jena
            released = await by.ranges.release("Weimar", author="dr.weber", reason="looked at the card file")
            assert [each["above"] for each in released["ranges"]] == [5]
            assert await filled(weimar, waiting) == [6]
            await agree(jena, weimar)
            for site in (jena, weimar):
                with pytest.raises(RefusedError, match="nothing of Weimar is closed"):
                    await site.ranges.release("Weimar")
            assert await jena.conflicts() == [] and (await weimar.status())["numbers"]["warnings"] == []
            history = await weimar.history(released["ranges"][0]["id"])
            assert "looked at the card file" in {each["reason"] for each in history}


async def test_a_restored_site_that_is_alone_is_released_by_its_own_people(tmp_path: Path) -> None:
    async with create(tmp_path / "jena") as jena:
        await jena.ranges.set("Jena", 1, 99)
        await new(jena, 2)
        await jena.backup(tmp_path / "jena.backup")
        await new(jena, 2)
    await restored(tmp_path / "jena", tmp_path / "jena.backup")
    async with opened(tmp_path / "jena") as jena:
        waiting = await new(jena)
        assert await numbers(jena, waiting) == [None]
        await jena.ranges.release("Jena", above=4)
        assert await filled(jena, waiting) == [5]
    async with opened(tmp_path / "jena") as jena:
        assert await numbers(jena, await new(jena)) == [6]
