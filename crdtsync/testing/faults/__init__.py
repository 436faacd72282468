"""What goes wrong in a world: one module per kind, each with its own streams of chance.

`plan(story)` puts the faults of one kind into the timeline, as often as the options say. A kind that is added here
draws from its own streams, and leaves all others as they were.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from crdtsync.testing.faults import (
    clocks,
    copies,
    disks,
    duties,
    forks,
    hostile,
    lines,
    membership,
    numbers,
    poison,
    processes,
    versions,
)

if TYPE_CHECKING:
    from crdtsync.testing.story import Story

FAULTS: Final[tuple[Callable[[Story], None], ...]] = (
    lines.plan,
    processes.plan,
    membership.plan,
    copies.plan,
    clocks.plan,
    disks.plan,
    versions.plan,
    hostile.plan,
    poison.plan,
    forks.plan,
    numbers.plan,
    duties.plan,
)
"""All kinds, in the order in which they are planned."""
