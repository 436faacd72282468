"""Clocks thirty years ahead and behind: they order nothing, stop nothing, and are not caught by others."""

from __future__ import annotations

import time
from pathlib import Path

import anyio
import pytest

from crdtsync import Site, limits
from crdtsync.clock import wall_ms
from crdtsync.practice import Patient, Task
from tests.sites import add, agree, at_host, change, mesh, opened, patience_s, practice

pytestmark = pytest.mark.anyio
THIRTY_YEARS_MS = 30 * 365 * 86_400_000


async def set_clock(site: Site, off_ms: int) -> None:
    await at_host(site, lambda host: setattr(host, "now_ms", lambda: time.time_ns() // 1_000_000 + off_ms))


async def test_thirty_years_ahead_and_behind(tmp_path: Path) -> None:
    with anyio.fail_after(2 * patience_s):
        async with practice(tmp_path, "Jena", "Weimar", "Gera") as [jena, weimar, gera]:
            patient = Patient(family_name="Muster", title="Dr.", home_site="nowhere")
            await add(weimar, patient)
            async with mesh(jena, weimar, gera):
                await agree(jena, weimar, gera)
            await set_clock(jena, THIRTY_YEARS_MS)
            await set_clock(gera, -THIRTY_YEARS_MS)
            sites = (jena, weimar, gera)
            for site in sites:  # apart
                await change(site, patient, title=site.name, home_site=site.name)
                await add(site, Task(title=f"at {site.name}"))
            async with mesh(*sites):
                await agree(*sites)
                for site in sites:
                    found = await site.get(Patient, patient.id)
                    assert sorted(found.conflicts["title"]) == ["Gera", "Jena", "Weimar"], "no clock decides"
                    assert found.home_site == (await jena.get(Patient, patient.id)).home_site
                    assert {task.title for task in await site.find(Task)} == {"at Gera", "at Jena", "at Weimar"}
                # Who saw all of it decides, whatever its clock says.
                await change(gera, patient, title="decided at Gera")
                await agree(*sites)
                for site in sites:
                    assert (await site.get(Patient, patient.id)).title == "decided at Gera"
                    assert await site.conflicts() == [] and (await site.verify())["ok"]
                commit = await add(weimar, Task(title="afterwards"))
                await agree(*sites)
            stored = await at_host(weimar, lambda host: host.store.commit(commit.log, commit.sequence))
            ahead = wall_ms(stored.commit.header.stamp) - time.time_ns() // 1_000_000
            assert ahead <= limits.clock_ahead_ms_max, "the clock ahead was not caught"
            assert any("ahead; set it right" in notice.text for notice in weimar.driver.alarms)
        async with opened(tmp_path / "weimar") as weimar:  # nor after a restart
            commit = await add(weimar, Task(title="later"))
            stored = await at_host(weimar, lambda host: host.store.commit(commit.log, commit.sequence))
            assert wall_ms(stored.commit.header.stamp) - time.time_ns() // 1_000_000 <= limits.clock_ahead_ms_max
