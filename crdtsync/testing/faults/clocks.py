"""Clocks that somebody sets while a site runs: an hour forth, some seconds back, to and fro. Drift is the machine's."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from crdtsync.testing.story import Story


def plan(story: Story) -> None:
    """Plan them."""
    options = story.options
    chance = story.streams("faults/clock")
    for _ in range(options.clock_jumps):
        story.timeline.at(chance.uniform(0.0, options.duration_s), lambda: _jump(story))


def _jump(story: Story) -> None:
    chance = story.streams("faults/clocks")
    process = chance.choice(list(story.nodes.values()))
    by_ms = int(10 ** chance.uniform(0.0, 6.56)) * chance.choice((1, -1))
    story.faults["clock_jumps"] += 1
    process.set_clock(by_ms)
