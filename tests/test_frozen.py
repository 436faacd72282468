"""What people cannot set by hand: numbers of series, what stands on an issued invoice, and the series themselves."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from crdtsync import RefusedError, Site
from crdtsync.ids import RecordId
from crdtsync.practice import Invoice, InvoiceLine, Payment, Series
from crdtsync.practice.series import SeriesCount
from tests.billing import PATTERN, explained, in_year, invoice
from tests.sites import add, agree, change, create, mesh, practice

pytestmark = pytest.mark.anyio


@pytest.fixture
async def jena(tmp_path: Path) -> AsyncIterator[Site]:
    async with create(tmp_path / "jena") as site:
        await site.add_series("R1", PATTERN)
        await in_year(site, "2026-03-02T10:00:00+00:00")
        yield site


async def refused(site: Site, record: str, said: str, **fields: Any) -> None:
    before = await site.get(Invoice, record)
    with pytest.raises(RefusedError, match=said):
        await change(site, before, **fields)
    assert await site.get(Invoice, record) == before


async def test_a_number_is_never_set_by_hand(jena: Site) -> None:
    record = await invoice(jena, series="R1")
    await refused(jena, record, "gets its number from its series", number="R1-2026-00007")
    await refused(jena, record, "gets its number from its series", issued_content={"n": 7})
    await refused(jena, record, "is issued by its series", status="issued")
    await refused(jena, record, "is issued by its series", status="balanced")
    for fields in ({"number": "R1-2026-00007"}, {"status": "issued"}, {"issued_content": {}}):
        with pytest.raises(RefusedError, match="invoice issue"):
            await add(jena, Invoice(series="R1", **fields))
    free = await invoice(jena)
    await refused(jena, free, "gets its number", number="R1-2026-00007", series="r1")
    await change(jena, await jena.get(Invoice, record), status="cancelled")
    assert await explained(jena) == []


async def test_an_issued_invoice_stays_as_it_was_issued(jena: Site) -> None:
    record = await invoice(jena)
    await jena.issue(record)
    await refused(jena, record, "recipient cannot be changed: cancel it", recipient="Somebody else")
    await refused(jena, record, "lines cannot be changed", lines=[])
    await refused(jena, record, "series cannot be changed", series="R2")
    await refused(jena, record, "it can be balanced, and it is cancelled by", status="cancelled")
    await refused(jena, record, "it can be balanced, and it is cancelled by", status="draft")
    await change(
        jena,
        await jena.get(Invoice, record),
        status="balanced",
        payments=[Payment(amount_cents=1072, reference="bank 17")],
    )
    told = await jena.cancel_invoice(record)
    await refused(jena, record, "it is cancelled by a cancellation", status="issued")
    assert (await jena.get(Invoice, told["invoice"])).status == "issued"


async def test_ready_elsewhere_is_frozen_here(tmp_path: Path) -> None:
    async with practice(tmp_path, "Jena", "Weimar") as [jena, weimar]:
        await jena.add_series("R1", PATTERN)
        async with mesh(jena, weimar):
            await agree(jena, weimar)
        record = await invoice(weimar, series="R1")
        await change(weimar, await weimar.get(Invoice, record), status="ready")
        await refused(weimar, record, "set its status back to draft first", recipient="Somebody else")
        await refused(weimar, record, "set its status back to draft first", series="R2")
        await change(weimar, await weimar.get(Invoice, record), status="draft", recipient="Somebody else")
        await change(weimar, await weimar.get(Invoice, record), recipient="Erika Muster")


async def test_invoices_of_no_series_are_free(jena: Site) -> None:
    record = await invoice(jena, series="Altsystem")
    await change(jena, await jena.get(Invoice, record), number="4711", status="issued", issued_content={"total": 1072})
    await change(jena, await jena.get(Invoice, record), recipient="Somebody else", status="cancelled")


async def test_an_import_brings_invoices_that_were_issued_elsewhere(jena: Site) -> None:
    async with jena.transaction(mass=True) as tx:
        made = tx.add(Invoice(series="R1", number="R1-2025-00017", status="issued", recipient="Erika Muster"))
    await refused(jena, made.id, "recipient cannot be changed", recipient="Somebody else")
    await refused(jena, made.id, "cannot be changed: cancel it", lines=[InvoiceLine(code="1", amount_cents=1072)])
    await change(jena, await jena.get(Invoice, made.id), status="balanced")
    assert (await jena.issue(made.id))["number"] == "R1-2025-00017"


async def test_a_series_is_changed_by_nobodys_hand(jena: Site) -> None:
    [shown] = await jena.series()
    with pytest.raises(RefusedError, match="nobody's hand"):
        await change(jena, await jena.get(Series, shown["id"]), stands_in_for="R2")
    with pytest.raises(RefusedError, match="nobody's hand"):
        async with jena.transaction(mass=True) as tx:
            (await tx.get(Series, shown["id"])).counts.add(SeriesCount(last=4711), key="1/2026")
    assert (await jena.issue(await invoice(jena)))["number"] == "R1-2026-00001"


async def test_reverting_takes_no_number_back(jena: Site) -> None:
    record = await invoice(jena)
    await jena.issue(record, author="doomed")
    other = await invoice(jena)
    told = await jena.revert(by="doomed")
    assert told["records"] == 0 and {each["kind"] for each in told["left_out"]} == {"invoice", "series"}
    assert all("invoice cancel" in each["why"] or "stay" in each["why"] for each in told["left_out"])
    assert (await jena.get(Invoice, record)).number == "R1-2026-00001"
    assert (await jena.issue(other))["number"] == "R1-2026-00002"


async def test_whoever_keeps_one_of_two_numbers_leaves_a_gap_with_its_reason(tmp_path: Path) -> None:
    async with practice(tmp_path, "Jena", "Weimar") as [jena, weimar]:
        await jena.add_series("R1", PATTERN)
        for site in (jena, weimar):
            await in_year(site, "2026-03-02T10:00:00+00:00")
        record = await invoice(jena)
        async with mesh(jena, weimar):
            await agree(jena, weimar)
        await weimar.take_over("R1", reason="Jena is lost")
        for site in (jena, weimar):
            await site.issue(record, "R1")
        async with mesh(jena, weimar):
            await agree(jena, weimar)
        conflicts = {each["field"]: each for each in await jena.conflicts() if record in each["records"]}
        assert conflicts["number"]["severity"] == "high"
        assert len(await explained(jena)) >= 2
        await change(jena, await jena.get(Invoice, record), number="R1.2-2026-00001")
        lines = {line["number"]: line for line in await explained(jena)}
        assert lines["R1.2-2026-00001"]["invoice"] == RecordId(record)
        assert "was given two numbers, and R1.2-2026-00001 was kept" in lines["R1-2026-00001"]["gap"]
