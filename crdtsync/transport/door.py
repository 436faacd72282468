"""Who may knock: the bounds on callers that have not proved who they are (SECURITY "Limits" in docs/PROTOCOL.md).

There are `limits.handshakes_at_once_max` places. An address with too many failed handshakes in the last minute has one
place. When there is none left, a newcomer takes the place of somebody who has said nothing yet: of the address that
holds the most places, the oldest first; then of somebody who spoke but has not come to an end for
`limits.handshake_grace_s`. Else the newcomer is turned away. So a thousand silent connections cost 32 places, and an
honest caller, who speaks at once, still gets in.

A crowd that does speak, and comes again at once, would still turn most honest callers away. So an address from which
somebody was let in before is familiar: up to `limits.handshakes_familiar_max` callers from there take a stranger's
place without waiting, keep theirs against strangers, and are so many even when other callers there fail all the time.
"""

from __future__ import annotations

import ipaddress
from collections import Counter, OrderedDict, deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from crdtsync import limits

_MINUTE_S = 60.0
_IPV6_SITE_BITS = 64


@dataclass(eq=False, slots=True)
class Place:
    """One caller inside the door. `drop` ends it."""

    caller: str
    since: float
    drop: Callable[[], None]
    familiar: bool = False
    spoke: bool = False
    dropped: bool = False


class Door:
    """Hands out places to callers. Times are seconds of any clock that only goes forward. Holds L7."""

    def __init__(self, places_max: int = limits.handshakes_at_once_max) -> None:
        self._places_max = places_max
        self._places: dict[Place, None] = {}
        self._failures: OrderedDict[str, deque[float]] = OrderedDict()
        self._familiar: OrderedDict[str, None] = OrderedDict()

    @property
    def taken(self) -> int:
        """Places that are taken."""
        return len(self._places)

    def enter(self, host: str, now: float, drop: Callable[[], None]) -> Place | None:
        """A place for a caller from `host`, or None when it has to be turned away. Somebody else may be dropped."""
        caller = caller_of(host)
        own = [place for place in self._places if place.caller == caller]
        room = limits.handshakes_familiar_max if caller in self._familiar else 1
        familiar = caller in self._familiar and len(own) < room
        rivals: list[Place] = []
        if self._is_failing(caller, now) and len(own) >= room:
            rivals = own
        if not rivals and len(self._places) >= self._places_max:
            rivals = [place for place in self._places if not place.familiar]
            if not rivals and caller in self._familiar:
                rivals = own
            if not rivals:
                return None
        if rivals:
            victim = self._weakest(rivals, now, at_once=familiar)
            if victim is None:
                return None
            del self._places[victim]
            victim.dropped = True
            victim.drop()
        place = Place(caller, now, drop, familiar)
        self._places[place] = None
        return place

    def leave(self, place: Place, now: float, *, failed: bool) -> None:
        """Give a place back; a failure is held against its address for a minute."""
        self._places.pop(place, None)
        if not failed:
            self._familiar.pop(place.caller, None)
            self._familiar[place.caller] = None
            if len(self._familiar) > limits.callers_remembered_max:
                self._familiar.popitem(last=False)
            return
        times = self._failures.pop(place.caller, None)
        if times is None:
            times = deque(maxlen=limits.handshake_failures_per_minute_max)
        times.append(now)
        self._failures[place.caller] = times
        if len(self._failures) > limits.callers_remembered_max:
            self._failures.popitem(last=False)

    def _is_failing(self, caller: str, now: float) -> bool:
        times = self._failures.get(caller)
        return times is not None and len(times) == times.maxlen and now - times[0] < _MINUTE_S

    def _weakest(self, rivals: Iterable[Place], now: float, *, at_once: bool) -> Place | None:
        """Who has to make room: the silent before those who spoke, a crowd before a single caller, the old before the
        young. None when all spoke just now, unless it must be `at_once`."""
        crowd = Counter(place.caller for place in self._places)
        grace = 0.0 if at_once else limits.handshake_grace_s
        candidates = [place for place in rivals if not place.spoke or now - place.since >= grace]
        return max(
            candidates, key=lambda place: (not place.spoke, crowd[place.caller], now - place.since), default=None
        )


def caller_of(host: str) -> str:
    """What counts as one address: IPv6 hosts choose the lower half of theirs freely, so the upper half counts."""
    try:
        number = ipaddress.ip_address(host)
    except ValueError:
        return host
    if isinstance(number, ipaddress.IPv4Address):
        return host
    if number.ipv4_mapped is not None:
        return str(number.ipv4_mapped)
    return str(ipaddress.ip_network((int(number), _IPV6_SITE_BITS), strict=False))
