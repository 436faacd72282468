"""Appointments: who comes when, and what it takes."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

from pydantic import AwareDatetime

from crdtsync.documents import Entries, Link, Record, Text, Value, append_only, once, register, status, text

AppointmentStatus = Literal["proposed", "pending", "booked", "arrived", "fulfilled", "cancelled", "noshow"]


class Slot(Value):
    """When, and with which people, rooms and devices; it moves as one."""

    start: AwareDatetime
    end: AwareDatetime
    resources: tuple[str, ...] = ()


class Reminder(Value):
    """A reminder that was sent: by which channel (sms, mail, letter) and of which beginning of the slot.

    These two name it, so a reminder that two sites sent unseen by each other is one in the record.
    """

    channel: str
    start: AwareDatetime
    sent_at: AwareDatetime | None = None
    site: str | None = None
    text: str | None = None


class Appointment(Record, kind="appointment"):
    """A booked time (FHIR Appointment). `calendar` is the name of a calendar.

    `reminders` are of the form of `Reminder`, or whatever JSON a practice program keeps of them.
    """

    indexes: ClassVar[tuple[str, ...]] = ("calendar", "slot_start")

    calendar: str | None = once()
    slot: Slot | None = register()
    patient: Link | None = register()
    title: str | None = register()
    status: AppointmentStatus | None = status("proposed<pending<booked<arrived<fulfilled", "cancelled", "noshow")
    reminders: Entries[Any] = append_only(by=("channel", "start"))
    note: Text = text()
