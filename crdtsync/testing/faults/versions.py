"""Two versions of the program side by side: one site is newer and says more than the others know.

Its messages carry items behind the known ones, some are of a number that nobody knows, its commits' headers are longer,
it writes a membership op that means nothing here, and records of a kind that no model declares. The others keep what
they must keep, pass it on, and come to the same view.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import msgpack

from crdtsync.documents import SetField
from crdtsync.engine import RecordEdits, WriteRequest
from crdtsync.ids import record_id
from crdtsync.replication import membership as member_log
from crdtsync.replication.codec import pack
from crdtsync.replication.member_codec import decode_record

if TYPE_CHECKING:
    from crdtsync.testing.network import Station
    from crdtsync.testing.node import Node
    from crdtsync.testing.story import Story

_UNKNOWN_MESSAGE: Final = 201
_ACTS: Final = 6


def plan(story: Story) -> None:
    """Plan it."""
    if not story.options.versions:
        return
    chance = story.streams("faults/versions")
    node = chance.choice(story.members())
    story.faults["newer_versions"] += 1
    story.network.twist[node.name] = lambda station, message: _newer(story, station, message)
    for _ in range(_ACTS):
        story.timeline.at(chance.uniform(1.0, story.options.duration_s * 0.95), lambda: _unknown_kind(story, node))
    story.timeline.at(chance.uniform(1.0, story.options.duration_s * 0.95), lambda: _unknown_op(node))


def _newer(story: Story, station: Station, message: bytes) -> list[tuple[float, bytes]]:
    """What a later version would say in place of this message."""
    del station
    chance = story.streams("faults/newer")
    items: list[Any] = [*msgpack.unpackb(message), "a later version knows what this is", [1, [2, b"3"]]]
    said = [(0.0, pack(items))]
    if chance.random() < 0.1:
        said.insert(0, (0.0, pack([_UNKNOWN_MESSAGE, b"something", [1, 2, 3]])))
    return said


def _unknown_kind(story: Story, node: Node) -> None:
    """A record of a kind that no model here declares, with a field that nobody knows."""
    if not node.awake:
        return
    ids = story.streams("faults/newer ids")
    record = record_id(ids.randbytes(16))
    edits = [SetField("colour", f"blue {ids.randrange(1000)}", {})]
    request = WriteRequest("dr.weber", "work", "desk-1", "care", [RecordEdits("hologram", record, record, edits)])

    def done(outcome: Any) -> None:
        if outcome is not None and outcome.error is not None:
            raise outcome.error

    node.write(request, done)


def _unknown_op(node: Node) -> None:
    """A membership record with an op of a later version."""
    if not node.awake or node.removed:
        return

    def job() -> None:
        place = node.replica.membership.place(node.replica_id)
        data = member_log.record(node.sealer.sign, place, "delegate", [b"later", 1, ["more"]])
        node.publish([(decode_record(data).hash, data)])

    node.queue(node.machine.sync_s, job)
