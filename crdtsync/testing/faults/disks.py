"""Disks: errors on write and sync, disks that are full for a while, bits that turn over in what was written.

Torn appends are among the aimed crashes ("torn").
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from crdtsync.testing.node import Node
    from crdtsync.testing.story import Story


def plan(story: Story) -> None:
    """Plan them."""
    options = story.options
    chance = story.streams("faults/io")
    for _ in range(options.io_errors):
        story.timeline.at(chance.uniform(0.0, options.duration_s), lambda: _io_error(story))
    chance = story.streams("faults/full")
    for _ in range(options.full_disks):
        story.timeline.at(chance.uniform(0.0, options.duration_s * 0.9), lambda: _full(story))
    chance = story.streams("faults/rot")
    for _ in range(options.rotten_commits):
        story.timeline.at(chance.uniform(60.0, options.duration_s), lambda: _rot_commit(story))
    chance = story.streams("faults/rot of views")
    for _ in range(options.rotten_documents):
        story.timeline.at(chance.uniform(60.0, options.duration_s), lambda: _rot_document(story))


def _io_error(story: Story) -> None:
    """One of the next writes of a site is refused, and everything after it."""
    chance = story.streams("faults/io errors")
    running = story.running()
    if running:
        story.refusing[chance.choice(running).name] = chance.randint(0, 8)


def _full(story: Story) -> None:
    """A disk is full until somebody has made room: a site that is started meanwhile ends again."""
    chance = story.streams("faults/full disks")
    process = chance.choice(story.everybody())
    story.full_until[process.name] = story.timeline.now + 10 ** chance.uniform(0.0, 3.3)


def _rot_commit(story: Story) -> None:
    """A bit of a stored commit turns over: rather of one that another site still lacks, since it will be served."""
    chance = story.streams("faults/rotten commits")
    nodes = [node for node in story.members() if node.up and node.disk.log_head().arrival]
    if not nodes or story.over:
        return
    wanted = [(node, arrival) for node in nodes for arrival in _lacked(story, node)]
    if wanted and chance.random() < 0.7:
        node, arrival = chance.choice(wanted)
    else:
        node = chance.choice(nodes)
        arrival = chance.randint(1, node.disk.log_head().arrival)
    commit = node.disk.at_arrival(arrival)
    if commit is None or any(rotten.node is node and rotten.arrival == arrival for rotten in story.rot.commits):
        return
    checked = node.disk.checked_at(arrival)
    story.expected_alarms |= {"held", "digest", "rot"}
    if commit.parts and (not checked or chance.random() < 0.7):
        part = chance.randrange(len(commit.parts))
        story.rot.commit(node, arrival, part=part, at=chance.randrange(1 << 20))
    elif checked:
        story.rot.commit(node, arrival, part=None, at=chance.randrange(512))
    else:
        return
    story.faults["rotten_commits"] += 1


def _lacked(story: Story, node: Node) -> list[int]:
    """Arrivals of the newest commits here that some other site does not have."""
    frontiers = [other.disk.frontier() for other in story.members() if other is not node and other.up]
    found = []
    head = node.disk.log_head().arrival
    for arrival in range(max(0, head - 10) + 1, head + 1):
        commit = node.disk.at_arrival(arrival)
        assert commit is not None, "the log has no gaps"
        header = commit.header
        if any(header.log not in seen or seen[header.log].sequence < header.sequence for seen in frontiers):
            found.append(arrival)
    return found


def _rot_document(story: Story) -> None:
    """A page of a view no longer bears its code."""
    chance = story.streams("faults/rotten documents")
    nodes = [node for node in story.members() if node.up]
    if not nodes or story.over:
        return
    node = chance.choice(nodes)
    documents = node.disk.listed()
    if documents:
        story.faults["rotten_documents"] += 1
        node.disk.rot_document(*chance.choice(documents))
        node.step("has a page of its view gone bad")
