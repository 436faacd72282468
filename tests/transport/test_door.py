"""The door: few places, fair to those who speak, hard on addresses that fail all the time."""

from __future__ import annotations

from crdtsync import limits
from crdtsync.transport.door import Door, Place, caller_of


class Guests:
    """A door and all who are inside, with times that the test chooses."""

    def __init__(self, places_max: int = limits.handshakes_at_once_max) -> None:
        self.door = Door(places_max)
        self.dropped: list[str] = []

    def knock(self, host: str, now: float, name: str = "", *, speaks: bool = False) -> Place | None:
        place = self.door.enter(host, now, lambda: self.dropped.append(name or host))
        if place is not None:
            place.spoke = speaks
        return place

    def fail(self, host: str, now: float) -> None:
        place = self.knock(host, now)
        assert place is not None
        self.door.leave(place, now, failed=True)


def test_a_thousand_silent_callers_take_32_places() -> None:
    guests = Guests()
    for index in range(1_000):
        assert guests.knock(f"10.0.{index // 250}.{index % 250}", index / 1_000) is not None
    assert guests.door.taken == limits.handshakes_at_once_max
    assert guests.dropped[0] == "10.0.0.0"


def test_an_honest_caller_who_speaks_is_not_dropped_for_silent_newcomers() -> None:
    guests = Guests()
    guests.knock("192.0.2.1", 0, "honest", speaks=True)
    for index in range(1_000):
        guests.knock("10.0.0.1", index / 1_000)
    assert "honest" not in guests.dropped


def test_the_crowd_from_one_address_makes_room_first() -> None:
    guests = Guests(4)
    guests.knock("192.0.2.1", 0, "single")
    for index in range(3):
        guests.knock("10.0.0.1", 1 + index, f"crowd {index}")
    guests.knock("192.0.2.2", 9)
    assert guests.dropped == ["crowd 0"]


def test_when_everybody_spoke_just_now_the_newcomer_is_turned_away() -> None:
    guests = Guests(2)
    guests.knock("10.0.0.1", 0, speaks=True)
    guests.knock("10.0.0.2", 1, speaks=True)
    assert guests.knock("10.0.0.3", 1.5) is None
    assert guests.knock("10.0.0.3", limits.handshake_grace_s) is not None
    assert guests.dropped == ["10.0.0.1"]


def test_an_address_that_fails_all_the_time_has_one_place() -> None:
    guests = Guests()
    for _ in range(limits.handshake_failures_per_minute_max):
        guests.fail("10.0.0.1", 5)
    guests.knock("10.0.0.1", 6, "first", speaks=True)
    assert guests.knock("10.0.0.1", 6.1) is None
    assert guests.knock("10.0.0.2", 6.1) is not None
    assert guests.knock("10.0.0.1", 6 + limits.handshake_grace_s, "second") is not None
    assert guests.dropped == ["first"]


def test_a_minute_later_all_is_forgiven() -> None:
    guests = Guests()
    for _ in range(limits.handshake_failures_per_minute_max):
        guests.fail("10.0.0.1", 5)
    guests.knock("10.0.0.1", 65, speaks=True)
    assert guests.knock("10.0.0.1", 65, speaks=True) is not None
    assert guests.dropped == []


def test_success_and_few_failures_are_not_held_against_anybody() -> None:
    guests = Guests()
    for _ in range(100):
        place = guests.knock("10.0.0.1", 1)
        assert place is not None
        guests.door.leave(place, 1, failed=False)
    for _ in range(limits.handshake_failures_per_minute_max - 1):
        guests.fail("10.0.0.1", 1)
    guests.knock("10.0.0.1", 2, speaks=True)
    assert guests.knock("10.0.0.1", 2, speaks=True) is not None


def test_only_so_many_addresses_are_remembered() -> None:
    guests = Guests()
    for index in range(limits.callers_remembered_max + 50):
        guests.fail(f"host-{index}", 1)
    assert len(guests.door._failures) == limits.callers_remembered_max


def test_leaving_twice_gives_back_one_place() -> None:
    guests = Guests()
    place = guests.knock("10.0.0.1", 0)
    assert place is not None
    guests.door.leave(place, 1, failed=False)
    guests.door.leave(place, 1, failed=False)
    assert guests.door.taken == 0


def test_what_counts_as_one_address() -> None:
    assert caller_of("2001:db8:1:2::1") == caller_of("2001:db8:1:2:ffff::9") != caller_of("2001:db8:1:3::1")
    assert caller_of("::ffff:10.0.0.1") == caller_of("10.0.0.1")
    assert caller_of("ada") == "ada"


def let_in(guests: Guests, host: str, now: float) -> None:
    place = guests.knock(host, now, speaks=True)
    assert place is not None
    guests.door.leave(place, now, failed=False)


def test_an_address_that_members_came_from_takes_a_strangers_place() -> None:
    """However many strangers speak and come again at once."""
    guests = Guests(3)
    let_in(guests, "192.0.2.1", 0)
    for number in range(3):
        assert guests.knock(f"10.0.0.{number}", 10, speaks=True) is not None
    assert guests.knock("10.0.0.9", 10.1, speaks=True) is None, "a stranger waits for its grace"
    assert guests.knock("192.0.2.1", 10.1, "member", speaks=True) is not None
    for number in range(1_000):
        guests.knock(f"10.1.{number // 250}.{number % 250}", 11 + number, speaks=True)
    assert "member" not in guests.dropped


def test_an_address_that_members_came_from_has_few_places_before_strangers() -> None:
    guests = Guests(limits.handshakes_familiar_max + 2)
    let_in(guests, "192.0.2.1", 0)
    for number in range(1_000):
        guests.knock("192.0.2.1", 1 + number / 1_000, f"crowd {number}", speaks=True)
    familiar = [place for place in guests.door._places if place.familiar]
    assert len(familiar) == limits.handshakes_familiar_max
    assert guests.knock("10.0.0.1", 2 + limits.handshake_grace_s) is not None, "a stranger finds one of the others"


def test_an_address_that_members_came_from_may_fail_beside_them() -> None:
    """Others at the address of a member (behind one router) fail all the time: it keeps more than the one place."""
    guests = Guests()
    let_in(guests, "192.0.2.1", 0)
    for _ in range(limits.handshake_failures_per_minute_max):
        guests.fail("192.0.2.1", 5)
    places = [guests.knock("192.0.2.1", 6, speaks=True) for _ in range(limits.handshakes_familiar_max + 3)]
    assert sum(place is not None for place in places) == limits.handshakes_familiar_max
    assert guests.knock("192.0.2.1", 6 + limits.handshake_grace_s, speaks=True) is not None


def test_places_that_are_all_familiar_turn_strangers_away() -> None:
    guests = Guests(2)
    for host in ("192.0.2.1", "192.0.2.2"):
        let_in(guests, host, 0)
        assert guests.knock(host, 1, speaks=True) is not None
    assert guests.knock("10.0.0.1", 9) is None and guests.dropped == []


def test_familiar_addresses_are_remembered_within_bounds() -> None:
    guests = Guests()
    for number in range(limits.callers_remembered_max + 100):
        let_in(guests, f"10.{number // 62_500}.{number // 250 % 250}.{number % 250}", number)
    assert len(guests.door._familiar) == limits.callers_remembered_max
