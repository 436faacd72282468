"""Lines: partitions, cuts of one direction, clogs; and in worlds of days, short hours of contact."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from crdtsync.testing.network import Line
    from crdtsync.testing.story import Story

CONTACT_S: Final = 1200.0
"""How long a contact lasts at most, in a world in which lines are down most of the time."""
CONTACTS_PER_DAY: Final = 2


def plan(story: Story) -> None:
    """Plan them."""
    options = story.options
    chance = story.streams("faults")
    for _ in range(options.partitions):
        story.timeline.at(chance.uniform(0.0, options.duration_s), lambda: _partition(story))
    chance = story.streams("faults/clog")
    for _ in range(options.clogs):
        story.timeline.at(chance.uniform(0.0, options.duration_s), lambda: _clog(story))
    if options.days:
        for line in story.network.lines.values():
            contacts(story, line)


def contacts(story: Story, line: Line) -> None:
    """A line that is up for some minutes now and then, over days."""
    chance = story.streams(f"faults/contacts/{line.name}")
    at = story.timeline.now + chance.uniform(60.0, CONTACT_S)
    story.timeline.at(at, lambda: story.network.set_cut(line, (True, True), reset=chance.random() < 0.5))
    days = story.options.duration_s / 86_400.0
    for _ in range(max(1, int(days * CONTACTS_PER_DAY))):
        begin = chance.uniform(at, story.options.duration_s)
        story.timeline.at(begin, lambda: _meet(story, line))
        end = begin + chance.uniform(60.0, CONTACT_S)
        story.timeline.at(end, lambda: _part(story, line))


def _meet(story: Story, line: Line) -> None:
    if story.timeline.now >= story.parted_until.get(line.name, 0.0):
        story.network.set_cut(line, (False, False), reset=False)


def _part(story: Story, line: Line) -> None:
    if not story.over:
        story.network.set_cut(line, (True, True), reset=story.streams("faults/part").random() < 0.5)


def _partition(story: Story) -> None:
    """Cut some lines: those between two halves, or a few, or one direction of one.

    For a second to an hour; in worlds of days to three days.
    """
    chance = story.streams("faults/partition")
    lines = list(story.network.lines.values())
    how = chance.random()
    towards = (True, True)
    if how < 0.5:
        names = [process.name for process in story.everybody()]
        half = set(chance.sample(names, chance.randint(1, max(1, len(names) // 2))))
        chosen = [line for line in lines if (line.stations[0].name in half) != (line.stations[1].name in half)]
    elif how < 0.8:
        chosen = chance.sample(lines, chance.randint(1, len(lines)))
    else:
        chosen = chance.sample(lines, 1)
        towards = chance.choice(((True, False), (False, True)))
    story.faults["partitions"] += 1
    reset = chance.random() < 0.5
    wait = 10 ** chance.uniform(0.0, 5.41 if story.options.days else 3.55)
    for line in chosen:
        story.network.set_cut(line, towards, reset=reset)

    if story.options.days:  # lines are cut as it is, but for contacts, which do not come about now
        for line in chosen:
            story.parted_until[line.name] = story.timeline.now + wait
        return

    def mend() -> None:
        for line in chosen:
            story.network.set_cut(line, (False, False), reset=False)

    story.timeline.after(wait, mend)


def cut_for(story: Story, line: Line, seconds: float) -> None:
    """Cut a line for a while."""
    if story.options.days:
        story.parted_until[line.name] = story.timeline.now + seconds
        return
    story.network.set_cut(line, (True, True), reset=True)
    story.timeline.after(seconds, lambda: story.network.set_cut(line, (False, False), reset=False))


def _clog(story: Story) -> None:
    """The rate of a line drops to almost nothing; then all comes at once."""
    chance = story.streams("faults/clogged")
    line = chance.choice(list(story.network.lines.values()))
    story.faults["clogs"] += 1
    story.network.clog(line, 10 ** chance.uniform(0.0, 2.5))
