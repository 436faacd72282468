"""Invoices and series, for tests."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import anyio

from crdtsync import Site
from crdtsync.documents import Entries
from crdtsync.practice import Invoice, InvoiceLine, Patient
from tests.sites import add, at_host, patience_s

PATTERN = "R1-{year}-{n:05}"


async def invoice(site: Site, *amounts: int, **fields: Any) -> str:
    """A draft with lines of these amounts."""
    patient = Patient(family_name="Muster")
    await add(site, patient)
    lines = Entries([InvoiceLine(code=str(n), amount_cents=amount) for n, amount in enumerate(amounts or (1072,))])
    made = Invoice(patient=patient.id, recipient="Erika Muster", lines=lines, status="draft", **fields)
    await add(site, made)
    return made.id


async def made_ready(site: Site, series: str = "R1", count: int = 1) -> list[str]:
    """Invoices that somebody makes ready by hand."""
    found = []
    for _ in range(count):
        found.append(await invoice(site))
        async with site.transaction(author="empfang") as tx:
            record = await tx.get(Invoice, found[-1])
            record.series = series
            record.status = "ready"
    return found


async def number_of(site: Site, record: str) -> str | None:
    return (await site.get(Invoice, record)).number


async def numbered(site: Site, *records: str) -> list[str]:
    """Wait until all of these have a number here."""
    with anyio.fail_after(patience_s):
        while True:
            seen = site.driver.changed.count
            found = [await number_of(site, record) for record in records]
            if all(found):
                return [str(number) for number in found]
            await site.driver.changed.beyond(seen)


async def in_year(site: Site, iso: str) -> None:
    """Set the wall clock of a site."""
    at_ms = int(datetime.fromisoformat(iso).timestamp() * 1000)
    await at_host(site, lambda host: setattr(host, "now_ms", lambda: at_ms))


async def explained(site: Site, name: str = "R1") -> list[dict[str, Any]]:
    """The audit, in which no number lacks both an invoice and a reason."""
    lines = await site.series_audit(name)
    assert not [line for line in lines if line["gap"] is not None and line["gap"].startswith("nobody knows")]
    return lines
