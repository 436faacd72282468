"""S2: Jena is cut off for hours, and all three sites write on. When the line is back, they agree; the conflicts are
those that were planned, and no others.

`make soak` runs it with 20,000 changes; CRDTSYNC_SOAK_CHANGES sets another number.
"""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from contextlib import AsyncExitStack
from datetime import date
from pathlib import Path
from typing import Any

import anyio
import pytest

from crdtsync import Site
from crdtsync.cli.demo.cable import Cable
from crdtsync.practice import Patient
from tests.scenarios.daily_work import Ledger, Person, agreed, eventually, register, three_sites

pytestmark = pytest.mark.anyio
settle_within_s = 60.0
planned_each = 4


async def assign(site: Site, each: str, **fields: Any) -> None:
    """Somebody at a site decides these fields of a patient."""
    async with site.transaction(author=f"dr.weber at {site.name}") as tx:
        record = await tx.get(Patient, each)
        for field, value in fields.items():
            record.assign(field, value)


async def plan(sites: Sequence[Site], patients: Sequence[str]) -> set[tuple[str, str, frozenset[str]]]:
    """Write fields of the same patients at two sites; the conflicts to come of it: patient, field, values."""
    jena, weimar, gera = sites
    groups = [patients[start : start + planned_each] for start in range(0, 5 * planned_each, planned_each)]
    expected = set()
    for each in groups[0]:
        await assign(jena, each, given_name="at Jena")
        await assign(weimar, each, given_name="at Weimar")
        expected.add((each, "given_name", frozenset({"at Jena", "at Weimar"})))
    for each in groups[1]:
        await assign(jena, each, birth_date=date(1964, 8, 12))
        await assign(gera, each, birth_date=date(1964, 8, 21))
        expected.add((each, "birth_date", frozenset({"1964-08-12", "1964-08-21"})))
    for each in groups[2]:  # the same value at both: nothing to decide
        await assign(jena, each, family_name="Schmidt")
        await assign(gera, each, family_name="Schmidt")
    for each in groups[3]:  # different fields
        await assign(jena, each, family_name="Schmidt", home_site="Jena")
        await assign(weimar, each, given_name="Eva", home_site="Weimar")
    for each in groups[4]:  # the end of a life is not undone by somebody who has not heard of it
        await assign(jena, each, deceased=True)
        await assign(weimar, each, title="Dr.")
    return expected


async def live(folder: Path, writes: int) -> float:
    """So many writes at each site, while Jena is cut off; the seconds from plugging in until all agree."""
    ledger = Ledger()
    async with three_sites(folder) as sites, AsyncExitStack() as stack:
        jena, weimar, gera = sites
        at_jena = await stack.enter_async_context(jena.serve(only_peers=True))
        cables = [await stack.enter_async_context(Cable(at_jena.address)) for _ in range(2)]
        at_weimar = await stack.enter_async_context(weimar.serve(peers=[cables[0].near_end], only_peers=True))
        await stack.enter_async_context(gera.serve(peers=[cables[1].near_end, at_weimar.address], only_peers=True))
        patients = await register(jena, 5 * planned_each, seed=2)
        before = await agreed(sites)

        for cable in cables:
            cable.unplug()
        await eventually(lambda: alone(jena), "Jena knows that it is alone")
        expected = await plan(sites, patients)
        async with anyio.create_task_group() as working:
            for site in sites:
                working.start_soon(work, Person(site, patients, ledger, seed=2), writes)
        await agreed([weimar, gera])
        assert (await jena.digest())["digest"] not in {before, (await weimar.digest())["digest"]}
        assert await jena.conflicts() == [] == await weimar.conflicts()

        for cable in cables:
            cable.plug()
        plugged_in = time.monotonic()
        digest = await agreed(sites)
        settled_s = time.monotonic() - plugged_in
        lists = [await site.conflicts() for site in sites]
        for found in lists:
            assert {(c["records"][0], c["field"], frozenset(map(str, c["values"]))) for c in found} == expected
            assert len(found) == len(expected) and all(c["kind"] == "field" for c in found)
        assert len({frozenset(c["id"] for c in found) for found in lists}) == 1
        for site in sites:
            await ledger.check(site)
            assert (await site.verify())["ok"]
            assert (await site.rebuild())["digest"] == digest
        await decide(sites)
    return settled_s


async def decide(sites: Sequence[Site]) -> None:
    """A person at Gera decides everything, and nothing is left to decide anywhere."""
    for conflict in await sites[2].conflicts():
        await assign(sites[2], conflict["records"][0], **{conflict["field"]: conflict["values"][0]})
    await agreed(sites)
    for site in sites:
        assert await site.conflicts() == []


async def alone(site: Site) -> bool:
    return not any(peer["connected"] for peer in (await site.status())["peers"])


async def work(person: Person, writes: int) -> None:
    for _ in range(writes):
        await person.work()


async def test_a_short_cut(tmp_path: Path) -> None:
    await live(tmp_path, writes=120)


@pytest.mark.soak
async def test_a_long_cut(tmp_path: Path) -> None:
    changes = int(os.environ.get("CRDTSYNC_SOAK_CHANGES", "20000"))
    assert await live(tmp_path, writes=changes // 3) < settle_within_s
