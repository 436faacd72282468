"""Invoices: what is asked of whom, and what was paid."""

from __future__ import annotations

import datetime
from typing import Any, ClassVar, Literal

from crdtsync.documents import Entries, Link, Record, Value, append_only, entries, once, register, status

InvoiceStatus = Literal["draft", "ready", "issued", "balanced", "cancelled"]


class InvoiceLine(Value):
    """One service. Money is whole cents."""

    billing: ClassVar[bool] = True
    code: str | None = None
    text: str | None = None
    count: int | None = None
    factor: float | None = None
    amount_cents: int | None = None
    reason: str | None = None
    date: datetime.date | None = None


class Payment(Value):
    """Money that came in, in whole cents. `reference` tells apart what came on one day in equal amounts."""

    billing: ClassVar[bool] = True
    amount_cents: int
    received_on: datetime.date | None = None
    reference: str | None = None


class Invoice(Record, kind="invoice"):
    """A bill (FHIR Invoice). Its number comes from the holder of its series, and its content freezes when issued."""

    billing: ClassVar[bool] = True
    indexes: ClassVar[tuple[str, ...]] = ("number", "series", "status")

    patient: Link | None = once()
    recipient: str | None = register()
    lines: Entries[InvoiceLine] = entries()
    status: InvoiceStatus | None = status("draft<ready<issued<balanced", "cancelled", severity="high")
    series: str | None = register()
    number: str | None = once()
    issued_content: Any = once()
    cancels: Link | None = once()
    payments: Entries[Payment] = append_only()
