"""A site whose program is broken or hostile: it signs changes that no document can take.

Two kinds: bytes that are no delta, and a deletion of what nobody has ever written. Both are sealed, chained and signed
as they should be, so that only deriving can tell.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from crdtsync.engine.values import WriteGrant, WriteRequest
from crdtsync.engine.write import Sealing
from crdtsync.ids import RecordId, client_id
from crdtsync.replication import events
from crdtsync.replication.commit import Change
from crdtsync.replication.stored import KeyObject

if TYPE_CHECKING:
    from crdtsync.testing.node import Node
    from crdtsync.testing.story import Story

_DOSES: Final = 3


def plan(story: Story) -> None:
    """Plan it."""
    chance = story.streams("faults/poison")
    if story.options.calm or chance.random() >= 0.1:
        return
    story.expected_alarms |= {"held", "digest"}
    for _ in range(_DOSES):
        story.timeline.at(chance.uniform(60.0, story.options.duration_s), lambda: _dose(story))


def _dose(story: Story) -> None:
    chance = story.streams("faults/doses")
    nodes = [node for node in story.members() if node.awake]
    if not nodes or not story.desk.known or story.over:
        return
    node = chance.choice(nodes)
    kind, record = chance.choice(story.desk.known)
    story.faults["poison"] += 1
    bytes_ = chance.choice((chance.randbytes(20), _deletion(node, record, chance.randint(1_000, 9_000))))
    node.queue(node.machine.sync_s, lambda: _sign(node, Change(kind, record, bytes_)))


def _deletion(node: Node, record: RecordId, clock: int) -> bytes:
    """A delta without structs that deletes what its own writer never wrote."""
    return b"\0\1" + _number(client_id(node.host.log, record)) + b"\1" + _number(clock) + b"\1"


def _number(value: int) -> bytes:
    out = bytearray()
    while value > 127:
        out.append(value & 127 | 128)
        value >>= 7
    return bytes((*out, value))


def _sign(node: Node, change: Change) -> None:
    """Past the gate that honest authors go through, as the next commit of the site's own log."""
    engine: Any = node.host.engine
    state = node.replica.membership.state()
    epoch = state.sealing_epoch()
    stored = node.disk.document(change.kind, change.record)
    if epoch is None or stored is None or engine.needs_boot:
        return
    now_ms = node.wall_ms()
    grant = WriteGrant(tuple(node.replica.membership.heads), epoch)
    request = WriteRequest("nobody", "poison", "desk-0", "harm", [])
    draft, keys = engine._writer.draft(), dict[str, KeyObject]()
    sealing = Sealing(node.sealer, engine._parts, engine.log, grant, now_ms)
    for _ in range(draft.prefaces):
        sealing.commit(draft, draft.place(0, now_ms), [], None)
        return  # it has more to name than fits: another time
    place = draft.place(0, now_ms)
    part = sealing.part(request, place, 0, stored.subject, [change], keys)
    commit = sealing.commit(draft, place, [part], None)
    engine.put_keys(list(keys.values()))
    engine.append([(commit, True)], [], now_ms)
    engine._own.wrote(draft)
    node.handle(events.Wrote([commit], list(keys.values())))
    node.derive_soon()
