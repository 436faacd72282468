"""Visits: when a patient was here."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import AwareDatetime

from crdtsync.documents import Link, Record, latest, once, register, status

VisitStatus = Literal["planned", "arrived", "in_progress", "finished", "cancelled"]


class Visit(Record, kind="visit"):
    """One attendance (FHIR Encounter). A cancellation beside an arrival is for a person to decide."""

    indexes: ClassVar[tuple[str, ...]] = ("started",)

    patient: Link | None = once()
    status: VisitStatus | None = status("planned<arrived<in_progress<finished", "cancelled")
    started: AwareDatetime | None = once()
    ended: AwareDatetime | None = register()
    site: str | None = once()
    practitioner: str | None = register()
    room: str | None = latest()
    reason: str | None = register()
    appointment: Link | None = register()
