import datetime
from typing import Any

import pytest

from crdtsync.documents import table_of
from crdtsync.errors import BadValue
from crdtsync.practice import Appointment, Slot

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
