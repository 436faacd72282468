"""Virtual time: what is to happen, in its order. Nothing sleeps; an hour passes as fast as its events can be worked off."""

from __future__ import annotations

import heapq
from collections.abc import Callable

Action = Callable[[], None]


class Timeline:
    """A heap of actions. Of two for one moment the one that was planned first comes first."""

    def __init__(self) -> None:
        self.now = 0.0
        """Seconds since the world began."""
        self.events = 0
        """Actions that were carried out."""
        self._heap: list[tuple[float, int, Action]] = []
        self._planned = 0

    def after(self, delay: float, action: Action) -> None:
        """Plan `action` for `delay` seconds from now."""
        self.at(self.now + delay, action)

    def at(self, when: float, action: Action) -> None:
        """Plan `action` for `when`; a moment that has passed means now."""
        self._planned += 1
        heapq.heappush(self._heap, (max(when, self.now), self._planned, action))

    def run(self, until: float) -> None:
        """Carry out everything up to the moment `until`, which then is now."""
        heap = self._heap
        while heap and heap[0][0] <= until:
            self.now, _, action = heapq.heappop(heap)
            self.events += 1
            action()
        self.now = until
