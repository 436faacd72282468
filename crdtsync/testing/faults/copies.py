"""Copies of disks: one that is put back later, and one that is started on a second machine beside the first."""

from __future__ import annotations

from typing import TYPE_CHECKING

from crdtsync.testing.faults.lines import contacts
from crdtsync.testing.options import weather

if TYPE_CHECKING:
    from crdtsync.testing.disk import Disk
    from crdtsync.testing.node import Node
    from crdtsync.testing.story import Story


def plan(story: Story) -> None:
    """Plan them."""
    options = story.options
    if options.restore:
        when = story.streams("faults/image").uniform(60.0, options.duration_s * 0.7)
        story.timeline.at(when, lambda: _take_image(story))
    if options.clone:
        when = story.streams("faults/twin").uniform(60.0, options.duration_s * 0.7)
        story.timeline.at(when, lambda: _clone(story))


def _take_image(story: Story) -> None:
    """Copy a disk; some time later it is put back in place of what was written since."""
    chance = story.streams("faults/restore")
    running = [node for node in story.members() if node.up]
    if not running:
        return
    node = chance.choice(running)
    image = node.disk.image()
    story.timeline.after(10 ** chance.uniform(1.0, 3.0), lambda: _restore(story, node, image))


def _restore(story: Story, node: Node, image: Disk) -> None:
    if story.over:
        return
    if node.up:
        node.stop("its disk failed")
    node.proof.lose()
    story.faults["restores"] += 1
    _expect(story)
    story.numbers.restored.add(node.identity)
    node.replace_disk(image, [other.disk for other in story.everybody() if other is not node])
    story.forget_strangers()


def _clone(story: Story) -> None:
    """A copied disk is started as a second machine: two processes with the keys of one site, both of which write."""
    chance = story.streams("faults/clone")
    running = [node for node in story.members() if node.up]
    if not running or story.over:
        return
    node = chance.choice(running)
    others = [p for p in story.everybody() if not p.hostile and p is not node and node.trusts(p.replica_id)]
    image = node.disk.image()
    name = f"{node.name} II"

    def begin() -> None:
        if story.over:
            return
        story.faults["clones"] += 1
        _expect(story)
        story.clone(node, name, image, story.machine(name))
        for other in chance.sample(others, min(len(others), chance.randint(1, 2))):
            story.connect([(other.name, name)], weather(story.options, f"{other.name}-{name}", story.streams))
            if story.options.days:
                contacts(story, story.line(other.name, name))
        for _ in range(12):
            for who in (node.name, name):
                story.act_at(chance.uniform(story.timeline.now, story.options.duration_s), who)

    story.timeline.after(10 ** chance.uniform(0.0, 2.5), begin)


def _expect(story: Story) -> None:
    story.expected_alarms |= {"restored", "clone"}
    if story.options.rough:
        story.expected_alarms.add("claim")  # a bad line may bring nothing for as long as anybody waits
