"""S17: the series holder is away; 20 invoices are ready at B: they wait, or use R1-B; no number twice, order and gaps
explained."""

from __future__ import annotations

from pathlib import Path

import pytest

from crdtsync import AuthorityUnreachable, RefusedError
from crdtsync.practice import Invoice
from tests.billing import PATTERN, explained, in_year, invoice, made_ready, number_of, numbered
from tests.sites import agree, change, mesh, practice

pytestmark = pytest.mark.anyio
NOW = "2026-03-02T10:00:00+00:00"


async def test_twenty_invoices_wait_and_are_issued_on_contact_in_their_order(tmp_path: Path) -> None:
    async with practice(tmp_path, "Jena", "Weimar", "Gera") as [jena, weimar, gera]:
        await jena.add_series("R1", PATTERN)
        async with mesh(jena, weimar, gera):
            await agree(jena, weimar, gera)
        for site in (jena, weimar, gera):
            await in_year(site, NOW)
        ready = await made_ready(weimar, count=20)
        assert [await number_of(weimar, record) for record in ready] == [None] * 20
        waiting = (await weimar.status())["invoices_waiting"]
        assert {each["invoice"] for each in waiting} == set(ready)
        with pytest.raises(AuthorityUnreachable, match="Jena"):
            await weimar.issue(ready[0], wait=0.0)
        withdrawn = ready.pop(7)
        async with weimar.transaction(author="empfang") as tx:
            (await tx.get(Invoice, withdrawn)).status = "draft"
        # The way to the holder leads through a third site.
        async with mesh(weimar, gera):
            await agree(weimar, gera)
        async with mesh(gera, jena):
            given = await numbered(gera, *ready)
        async with mesh(weimar, gera):
            assert await numbered(weimar, *ready) == given
        assert given == [f"R1-2026-{n:05}" for n in range(1, 20)]
        assert await number_of(weimar, withdrawn) is None
        assert [line["invoice"] for line in await explained(weimar)] == ready


async def test_or_they_take_the_series_that_stands_in(tmp_path: Path) -> None:
    async with practice(tmp_path, "Jena", "Weimar") as [jena, weimar]:
        await jena.add_series("R1", PATTERN)
        await jena.add_series("R1-B", "R1-B-{year}-{n:05}", holder="Weimar", stands_in_for="R1")
        async with mesh(jena, weimar):
            await agree(jena, weimar)
        for site in (jena, weimar):
            await in_year(site, NOW)
        waiting, fresh, patient = await made_ready(weimar), await invoice(weimar), await made_ready(weimar)
        told = await weimar.issue(fresh, "R1", stand_in=True)
        assert told == {"number": "R1-B-2026-00001", "series": "R1-B", "term": 1}
        assert (await weimar.issue(waiting[0], stand_in=True))["number"] == "R1-B-2026-00002"
        with pytest.raises(RefusedError, match="waits for a number of the series R1"):
            await weimar.issue(patient[0], "R1-B")
        await weimar.add_series("R9", "R9-{n}", holder="Jena")
        with pytest.raises(RefusedError, match="no series that stands in for R9"):
            await weimar.issue(await invoice(weimar), "R9", stand_in=True)
        async with mesh(jena, weimar):
            assert await numbered(weimar, *patient) == ["R1-2026-00001"]
            await agree(jena, weimar)
        assert (await weimar.issue(waiting[0]))["number"] == "R1-B-2026-00002"
        for site in (jena, weimar):
            assert len(await explained(site, "R1")) == 1 and len(await explained(site, "R1-B")) == 2
            assert not await site.conflicts()


async def test_what_is_set_back_before_the_holder_hears_of_it_gets_no_number(tmp_path: Path) -> None:
    async with practice(tmp_path, "Jena", "Weimar") as [jena, weimar]:
        await jena.add_series("R1", PATTERN)
        async with mesh(jena, weimar):
            await agree(jena, weimar)
        [record] = await made_ready(weimar)
        await change(weimar, await weimar.get(Invoice, record), status="draft")
        async with mesh(jena, weimar):
            await agree(jena, weimar)
            other = await made_ready(weimar)
            await numbered(weimar, *other)
        assert await number_of(jena, record) is None
