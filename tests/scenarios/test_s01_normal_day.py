"""S1: a normal day. Three connected sites write all sorts of things; all of it is soon everywhere, and they agree.

`make soak` runs the whole day: ten minutes at 20 writes a second; CRDTSYNC_SOAK_MINUTES makes it longer or shorter.
"""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Iterable, Sequence
from contextlib import AsyncExitStack
from pathlib import Path

import anyio
import pytest

from crdtsync import Site
from tests.scenarios.daily_work import Ledger, Person, agreed, eventually, register, three_sites

pytestmark = pytest.mark.anyio
visible_s = 2.0


class Watch:
    """When which record was first seen at which site, by its feed of changes."""

    def __init__(self) -> None:
        self.seen: dict[tuple[str, str], float] = {}
        self.written: dict[str, float] = {}

    async def follow(self, site: Site) -> None:
        async for change in site.changes():
            self.seen.setdefault((site.name, change.id), time.monotonic())

    async def saw(self, records: Iterable[str], sites: Sequence[Site]) -> bool:
        return all((site.name, each) in self.seen for each in records for site in sites)

    def delays(self, sites: Sequence[Site]) -> list[float]:
        """Seconds from a record's acknowledgement until each site had it in its view."""
        return [max(0.0, self.seen[site.name, each] - at) for each, at in self.written.items() for site in sites]


async def live(folder: Path, writes: int, per_second: float | None) -> list[float]:
    """So many writes at each site; the delays until they were visible at the others."""
    ledger, watch = Ledger(), Watch()
    async with three_sites(folder) as sites, AsyncExitStack() as stack:
        addresses: list[str] = []
        for site in sites:
            serving = await stack.enter_async_context(site.serve(peers=addresses, only_peers=True))
            addresses.append(serving.address)
        shared = await register(sites[0], 20, seed=1)
        await agreed(sites)
        async with anyio.create_task_group() as watching:
            for site in sites:
                watching.start_soon(watch.follow, site)
            async with anyio.create_task_group() as working:
                for site in sites:
                    working.start_soon(work, Person(site, shared, ledger, seed=1), watch, ledger, writes, per_second)
            digest = await agreed(sites)
            await eventually(lambda: watch.saw(ledger.records, sites), "all changes told")
            watching.cancel_scope.cancel()
        for site in sites:
            await ledger.check(site)
            assert await site.conflicts() == []
            assert (await site.verify())["ok"]
            assert (await site.rebuild())["digest"] == digest
        assert len(ledger.records) > writes
        return watch.delays(sites)


async def work(person: Person, watch: Watch, ledger: Ledger, writes: int, per_second: float | None) -> None:
    """One person's day, at a pace or as fast as it goes."""
    began = time.monotonic()
    for number in range(writes):
        if per_second is not None:
            await anyio.sleep(max(0.0, began + number / per_second - time.monotonic()))
        before = len(ledger.records)
        await person.work()
        if len(ledger.records) > before:
            now = time.monotonic()
            for each in [each for each in ledger.records if each not in watch.written]:
                watch.written[each] = now


async def test_a_short_day(tmp_path: Path) -> None:
    await live(tmp_path, writes=100, per_second=None)


@pytest.mark.soak
async def test_a_whole_day(tmp_path: Path) -> None:
    seconds = 60 * float(os.environ.get("CRDTSYNC_SOAK_MINUTES", "10"))
    per_second = 20 / 3
    delays = await live(tmp_path, writes=int(seconds * per_second), per_second=per_second)
    assert statistics.quantiles(delays, n=20)[-1] < visible_s
