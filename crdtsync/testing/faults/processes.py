"""Processes: crashes at any time (the aimed ones are in `Story.fuse`), outages, and processes that pause and go on."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from crdtsync.testing.process import Process
    from crdtsync.testing.story import Story


def plan(story: Story) -> None:
    """Plan them."""
    options = story.options
    chance = story.streams("faults/processes")
    if options.crash_points.get("time", 0.0) > 0.0:
        for _ in range(options.crashes):
            story.timeline.at(chance.uniform(0.0, options.duration_s), lambda: _crash(story))
    chance = story.streams("faults/outage")
    for _ in range(options.outages):
        story.timeline.at(chance.uniform(0.0, options.duration_s * 0.8), lambda: _outage(story))
    chance = story.streams("faults/freeze")
    for _ in range(options.freezes):
        story.timeline.at(chance.uniform(0.0, options.duration_s * 0.9), lambda: _freeze(story))


def _crash(story: Story) -> None:
    running = story.running()
    if running and story.crashes < story.options.crashes and not story.over:
        story.streams("faults/crash").choice(running).stop("a while")


def _outage(story: Story) -> None:
    """A machine is gone for hours, in worlds of days for days."""
    chance = story.streams("faults/outages")
    running = story.running()
    if running and not story.over:
        seconds = 10 ** chance.uniform(3.0, 5.2 if story.options.days else 3.6)
        process = chance.choice(running)
        story.faults["outages"] += 1
        story.down_for[process.name] = seconds
        process.stop("an outage began")


def _freeze(story: Story) -> None:
    """A process is stopped for seconds to hours; its links may be gone when it goes on, and it does not know."""
    chance = story.streams("faults/freezes")
    running = [process for process in story.running() if process.awake]
    if running and not story.over:
        process = chance.choice(running)
        seconds = 10 ** chance.uniform(0.0, 4.0)
        story.faults["freezes"] += 1
        process.freeze()
        story.timeline.after(seconds, lambda: _thaw(process, process.life))


def _thaw(process: Process, life: int) -> None:
    if process.life == life:
        process.thaw()
