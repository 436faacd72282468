"""What a laboratory reports."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

from pydantic import AwareDatetime

from crdtsync.documents import Entries, Link, Record, append_only, entries, once, status

ReportStatus = Literal["preliminary", "final", "amended"]


class DiagnosticReport(Record, kind="diagnostic_report"):
    """A report (FHIR DiagnosticReport) and the observations in it.

    `files` names files by their ids, or by objects with the id in `file`.
    """

    clinical: ClassVar[bool] = True
    indexes: ClassVar[tuple[str, ...]] = ("issued_at", "order_number")

    patient: Link | None = once()
    laboratory: str | None = once()
    order_number: str | None = once()
    status: ReportStatus | None = status("preliminary<final<amended")
    observations: Entries[Link] = entries(by_value=True)
    files: Entries[Any] = append_only(by=("file",))
    issued_at: AwareDatetime | None = once()
    source_id: str | None = once()
