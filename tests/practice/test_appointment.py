import datetime
from typing import Any

import pytest

from crdtsync.documents import table_of
from crdtsync.errors import BadValue
from crdtsync.practice import Appointment, Reminder, Slot

NINE = datetime.datetime(2026, 3, 2, 9, tzinfo=datetime.UTC)


def slot(hour: int, *resources: str) -> Slot:
    return Slot(start=NINE.replace(hour=hour), end=NINE.replace(hour=hour, minute=30), resources=resources)


def test_a_slot_moves_as_one(apart: Any) -> None:
    found = apart(Appointment(slot=slot(9, "room 1")), {"slot": slot(10, "room 1")}, {"slot": slot(9, "room 2")})
    assert found.conflicts["slot"] == [slot(9, "room 2"), slot(10, "room 1")]


def test_a_cancellation_beside_an_arrival_is_for_a_person(apart: Any) -> None:
    found = apart(Appointment(status="booked"), {"status": "arrived"}, {"status": "cancelled"})
    assert sorted(found.conflicts["status"]) == ["arrived", "cancelled"]
    assert apart(Appointment(status="booked"), {"status": "arrived"}, {"status": "fulfilled"}).status == "fulfilled"


def test_times_need_a_zone_and_an_end() -> None:
    with pytest.raises(BadValue, match="timezone"):
        Appointment().assign("slot", {"start": "2026-03-02T09:00:00", "end": "2026-03-02T09:30:00"})
    with pytest.raises(BadValue, match="end"):
        Appointment().assign("slot", {"start": "2026-03-02T09:00:00Z"})


def test_calendars_can_be_asked_by_time() -> None:
    columns, indexes = table_of("appointment")
    assert {"slot_start", "slot_end", "calendar", "patient"} <= set(columns)
    assert {"calendar", "slot_start", "patient"} <= set(indexes)


def test_a_reminder_that_two_sites_sent_is_one_and_of_another_time_another(apart: Any) -> None:
    def reminder(hour: int, minute: int) -> Reminder:
        return Reminder(channel="sms", start=NINE.replace(hour=hour), sent_at=NINE.replace(hour=1, minute=minute))

    found = apart(
        Appointment(slot=slot(9)), {"reminders": [reminder(9, 1)]}, {"reminders": [reminder(9, 2), reminder(10, 3)]}
    )
    assert sorted(each["start"] for each in found.reminders) == ["2026-03-02T09:00:00Z", "2026-03-02T10:00:00Z"]
    assert found.conflicts == {}
    assert next(each for each in found.reminders if "T09" in each["start"])["sent_at"] == "2026-03-02T01:01:00Z"
    with pytest.raises(BadValue, match="JSON"):
        found.reminders.add(object())
