"""Appointments: who comes when, and what it takes."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import AwareDatetime

from crdtsync.documents import Link, Record, Text, Value, once, register, status, text

AppointmentStatus = Literal["proposed", "pending", "booked", "arrived", "fulfilled", "cancelled", "noshow"]


class Slot(Value):
    """When, and with which people, rooms and devices; it moves as one."""

    start: AwareDatetime
    end: AwareDatetime
    resources: tuple[str, ...] = ()


class Appointment(Record, kind="appointment"):
    """A booked time (FHIR Appointment). `calendar` is the name of a calendar."""

    indexes: ClassVar[tuple[str, ...]] = ("calendar", "slot_start")

    calendar: str | None = once()
    slot: Slot | None = register()
    patient: Link | None = register()
    title: str | None = register()
    status: AppointmentStatus | None = status("proposed<pending<booked<arrived<fulfilled", "cancelled", "noshow")
    note: Text = text()
