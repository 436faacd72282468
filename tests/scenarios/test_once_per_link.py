"""Data crosses between sites only once: a full mesh of three, counted per link."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import anyio
import pytest

from crdtsync import Site
from crdtsync.practice import Patient, Task
from tests.sites import add, agree, linked, mesh, patience_s, practice

pytestmark = pytest.mark.anyio


@dataclass(frozen=True)
class Crossed:
    """What came in at a site, over all of its links."""

    commits: int
    duplicates: int


def crossed(site: Site) -> Crossed:
    counters = [peer.counters for peer in site.driver.replica.peers.values()]
    return Crossed(sum(c.commits_in for c in counters), sum(c.duplicates_in for c in counters))


def crossed_out(site: Site) -> int:
    return sum(peer.counters.commits_out for peer in site.driver.replica.peers.values())


async def write(site: Site, count: int) -> None:
    """So many commits, written by four desks at once."""
    patient = Patient(family_name=f"by {site.name}")
    await add(site, patient)

    async def desk(first: int) -> None:
        for number in range(first, count, 4):
            await add(site, Task(title=f"{site.name} {number}", patient=patient.id))

    async with anyio.create_task_group() as tasks:
        for first in range(1, 5):
            tasks.start_soon(desk, first)


async def test_while_linked_and_in_bulk(tmp_path: Path) -> None:
    """First in bulk, as a third site comes to two that have the same; then live, all three writing at once."""
    bulk, live = 150, 120
    with anyio.fail_after(3 * patience_s):
        async with practice(tmp_path, "Jena", "Weimar", "Gera") as [jena, weimar, gera], mesh(jena, weimar):
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(write, jena, bulk)
                tasks.start_soon(write, weimar, bulk)
            await agree(jena, weimar)
            for site in (jena, weimar):
                once(crossed(site), bulk)
            assert jena.serving is not None and weimar.serving is not None
            at = [jena.serving.address, weimar.serving.address]
            async with gera.serve(peers=at, only_peers=True):
                await linked(gera, 2)
                await agree(jena, weimar, gera)
                once(crossed(gera), 2 * bulk)
                for site in (jena, weimar):
                    once(crossed(site), bulk)
                before = [crossed(site).commits for site in (jena, weimar, gera)]
                async with anyio.create_task_group() as tasks:
                    for site in (jena, weimar, gera):
                        tasks.start_soon(write, site, live)
                await agree(jena, weimar, gera)
                for site, earlier in zip((jena, weimar, gera), before, strict=True):
                    found = crossed(site)
                    once(Crossed(found.commits - earlier, found.duplicates), 2 * live)
                needed = 2 * bulk + 2 * bulk + 3 * 2 * live
                assert needed <= sum(crossed_out(site) for site in (jena, weimar, gera)) < 1.05 * needed
                counts = [await site.record_count() for site in (jena, weimar, gera)]
                assert counts[0] == counts[1] == counts[2] == {"patient": 5, "task": 2 * bulk + 3 * live - 5}


def once(found: Crossed, needed: int) -> None:
    """Every commit came, and less than one in twenty came a second time."""
    assert found.commits - found.duplicates == needed, found
    assert found.duplicates < 0.05 * needed, found


async def test_counting_sees_what_comes_twice(tmp_path: Path) -> None:
    """The control: messages said a second time are counted as duplicates."""
    with anyio.fail_after(patience_s):
        async with practice(tmp_path, "Jena", "Gera") as [jena, gera], mesh(jena, gera):
            [link] = jena.driver._links.values()
            post = link.post

            def twice(message: bytes, urgent: bool = False) -> None:
                post(message, urgent)
                post(message, urgent)

            link.post = twice  # type: ignore[method-assign]  # the fault that is to be seen
            await write(jena, 40)
            await agree(jena, gera)
            with pytest.raises(AssertionError):
                once(crossed(gera), 40)
