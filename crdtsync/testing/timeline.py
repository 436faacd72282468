"""Virtual time: what is to happen, in its order. Nothing sleeps; an hour passes as fast as its events are done."""

from __future__ import annotations

import heapq
from collections.abc import Callable
from typing import Final

Action = Callable[[], None]

EVENTS_PER_MINUTE_MAX: Final = 60_000
"""A world of a few sites in which more happens in a virtual minute has sites that keep each other busy for nothing."""


class Restless(AssertionError):
    """More happens in a minute than any honest world gives cause for (L7)."""


class Timeline:
    """A heap of actions. Of two for one moment the one that was planned first comes first."""

    def __init__(self) -> None:
        self.now = 0.0
        """Seconds since the world began."""
        self.events = 0
        """Actions that were carried out."""
        self._heap: list[tuple[float, int, Action]] = []
        self._planned = 0
        self._minute = 0
        self._in_minute = 0

    def after(self, delay: float, action: Action) -> None:
        """Plan `action` for `delay` seconds from now."""
        self.at(self.now + delay, action)

    def at(self, when: float, action: Action) -> None:
        """Plan `action` for `when`; a moment that has passed means now."""
        self._planned += 1
        heapq.heappush(self._heap, (max(when, self.now), self._planned, action))

    def run(self, until: float) -> None:
        """Carry out everything up to the moment `until`, which then is now. Raises Restless."""
        heap = self._heap
        while heap and heap[0][0] <= until:
            self.now, _, action = heapq.heappop(heap)
            self.events += 1
            self._count()
            action()
        self.now = until

    def _count(self) -> None:
        minute = int(self.now // 60)
        if minute != self._minute:
            self._minute, self._in_minute = minute, 0
        self._in_minute += 1
        if self._in_minute > EVENTS_PER_MINUTE_MAX:
            raise Restless(f"L7: {self._in_minute} events within a virtual minute; sites keep each other busy")
