from typing import Any

from crdtsync.practice import Visit


def test_a_visit_goes_forward_and_the_later_room_counts(apart: Any) -> None:
    found = apart(Visit(status="planned"), {"status": "arrived", "room": "1"}, {"status": "in_progress", "room": "2"})
    assert (found.status, found.room, found.conflicts) == ("in_progress", "2", {})


def test_a_cancelled_visit_that_took_place_is_for_a_person(apart: Any) -> None:
    found = apart(Visit(status="planned"), {"status": "finished"}, {"status": "cancelled"})
    assert sorted(found.conflicts["status"]) == ["cancelled", "finished"]
