"""Members that come and go while everybody writes, and keys that change in between."""

from __future__ import annotations

from typing import TYPE_CHECKING

from crdtsync.testing.care import rotate
from crdtsync.testing.faults.lines import contacts, cut_for
from crdtsync.testing.options import weather

if TYPE_CHECKING:
    from crdtsync.testing.node import Node
    from crdtsync.testing.story import Story


def plan(story: Story) -> None:
    """Plan them."""
    options = story.options
    chance = story.streams("faults/joining")
    for _ in range(options.newcomers):
        story.timeline.at(chance.uniform(1.0, options.duration_s * 0.9), lambda: _newcomer(story))
    if options.removal:
        when = story.streams("faults/leaving").uniform(60.0, options.duration_s * 0.9)
        story.timeline.at(when, lambda: _removal(story))
    if options.closing:
        when = story.streams("faults/closing").uniform(60.0, options.duration_s * 0.9)
        story.timeline.at(when, lambda: _closing(story))
    chance = story.streams("faults/rotation")
    for _ in range(options.rotations):
        story.timeline.at(chance.uniform(1.0, options.duration_s), lambda: _rotation(story))


def _rotation(story: Story) -> None:
    """New epochs in flight, at one site or at two that do not hear of each other."""
    chance = story.streams("faults/rotations")
    running = [node for node in story.members() if node.awake]
    if not running or story.over:
        return
    for node in chance.sample(running, min(len(running), chance.choice((1, 1, 2)))):
        story.faults["rotations"] += 1
        _rotate(node)


def _rotate(node: Node) -> None:
    node.queue(node.machine.sync_s, lambda: rotate(node))


def _newcomer(story: Story) -> None:
    """Somebody lets a new site in."""
    chance = story.streams("faults/newcomer")
    running = [node for node in story.members() if node.awake]
    if not running or story.over:
        return
    by = chance.choice(running)
    name = story.next_name()

    def join() -> None:
        story.faults["newcomers"] += 1
        story.invite(by, name, story.machine(name))
        single = {process.identity: process.name for process in (*story.members(), *story.keepers())}
        others = [other for identity, other in single.items() if identity not in (name, by.identity)]
        more = chance.sample(others, chance.randint(0, min(3, len(others))))
        for one in (by.name, *more):
            story.connect([(one, name)], weather(story.options, f"{one}-{name}", story.streams))
            if story.options.days:
                contacts(story, story.line(one, name))
        for _ in range(10):
            story.act_at(chance.uniform(story.timeline.now, story.options.duration_s), name)

    by.queue(by.machine.sync_s, join)


def _removal(story: Story) -> None:
    """An admin removes a site that is writing, often while lines are cut."""
    chance = story.streams("faults/removal")
    running = [node for node in story.members() if node.awake]
    if len(running) < 3 or story.over:
        return
    by, gone = chance.sample(running, 2)
    if not _connected_without(story, {gone.name}):
        return
    if chance.random() < 0.7:
        for line in story.network.lines.values():
            if by in line.stations:
                cut_for(story, line, chance.uniform(5.0, 200.0))
    for _ in range(chance.randint(2, 12)):
        story.act_at(story.timeline.now + chance.uniform(0.0, 40.0), gone.name)
    story.timeline.after(chance.uniform(0.0, 30.0), lambda: _remove(story, by, gone))


def _remove(story: Story, by: Node, gone: Node) -> None:
    unseen = {node.name for node in story.members() if not by.trusts(node.replica_id)}
    if by.awake and by.trusts(gone.replica_id) and _connected_without(story, {gone.name, *unseen}):
        by.queue(by.machine.sync_s, lambda: story.remove(by, gone))
        story.faults["removals"] += 1


def _closing(story: Story) -> None:
    """An admin closes a site that is cut off and writes on: it comes back later, unaware."""
    chance = story.streams("faults/closings")
    running = [node for node in story.members() if node.awake]
    if len(running) < 3 or story.over:
        return
    by, gone = chance.sample(running, 2)
    if not _connected_without(story, {gone.name}) or not _may_hand_over(story, gone):
        return
    apart = gone if chance.random() < 0.7 else by
    for line in story.network.lines.values():
        if apart in line.stations:
            cut_for(story, line, chance.uniform(30.0, 300.0))
    for _ in range(chance.randint(2, 12)):
        story.act_at(story.timeline.now + chance.uniform(0.0, 60.0), gone.name)
    story.timeline.after(chance.uniform(0.0, 40.0), lambda: _close(story, by, gone))


def _close(story: Story, by: Node, gone: Node) -> None:
    unseen = {node.name for node in story.members() if not by.trusts(node.replica_id)}
    if by.awake and by.trusts(gone.replica_id) and _connected_without(story, {gone.name, *unseen}):
        by.queue(by.machine.sync_s, lambda: story.close(by, gone))
        story.faults["closings"] += 1


def _may_hand_over(story: Story, gone: Node) -> bool:
    """Whether it has a line to somebody who does what he should."""
    honest = [*story.members(), *story.keepers()]
    return any(
        gone in line.stations and all(station in honest for station in line.stations)
        for line in story.network.lines.values()
    )


def _connected_without(story: Story, gone: set[str]) -> bool:
    """Whether the others still have lines to each other, between members who know each other by now."""
    names = {process.name for process in (*story.members(), *story.keepers())} - gone
    reached, left = set(), [min(names)]
    while left:
        name = left.pop()
        reached.add(name)
        for line in story.network.lines.values():
            one, other = line.stations
            pair = {one.name, other.name}
            if name in pair and one.trusts(other.replica_id) and other.trusts(one.replica_id):
                left += sorted((pair & names) - reached)
    return reached == names
