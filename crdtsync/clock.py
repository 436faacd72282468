"""The hybrid logical clock: order that follows cause, near wall time (Kulkarni et al., 2014).

A stamp is one integer: milliseconds since 1970 in the upper bits, a counter in the lower 16. Wall time is an argument.
"""

from __future__ import annotations

from crdtsync import limits

COUNTER_BITS = 16


class HybridClock:
    """Gives stamps that never go back and that lie after every stamp it has observed.

    A stamp more than `limits.clock_ahead_ms_max` ahead of the own wall clock is not adopted: a site whose clock is
    years ahead cannot drag the others along.
    """

    def __init__(self, last: int = 0) -> None:
        self.last = last

    def tick(self, now_ms: int) -> int:
        """The stamp of a new local event at wall time `now_ms`."""
        self.last = max(self.last + 1, now_ms << COUNTER_BITS)
        return self.last

    def observe(self, stamp: int, now_ms: int) -> bool:
        """Learn a stamp of somebody else. False when it lies too far ahead and was not adopted."""
        if wall_ms(stamp) > now_ms + limits.clock_ahead_ms_max:
            return False
        self.last = max(self.last, stamp)
        return True


def wall_ms(stamp: int) -> int:
    """The wall-clock part of a stamp, in milliseconds since 1970."""
    return stamp >> COUNTER_BITS
