"""Carrying out what the core wants, as `crdtsync.driver` does: one function for each kind of effect.

Each returns False when the process of the site ended behind it: the effects that were to follow never happen then.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final

from crdtsync.errors import PeerError, RottenCommit
from crdtsync.ids import Head, LogId
from crdtsync.replication import effects, events, messages
from crdtsync.testing.ledger import OracleFailed, rightful

if TYPE_CHECKING:
    from crdtsync.testing.node import Node
    from crdtsync.testing.process import Process

_HAVE: Final = 4
_COMMITS: Final = 8
_ASKS: Final = (22, 23, 24)
_DATA: Final = (_COMMITS, 11, 21)
"""Commits, keys, and commits again."""


def _send(node: Process, effect: effects.Send) -> bool:
    kind = effect.message[1]
    if kind == _HAVE:
        have = messages.decode(effect.message)
        assert isinstance(have, messages.Have)
        node.world.ledger.told(node.account, node.disk, have.heads)
    elif kind == _COMMITS:
        node.world.ledger.told(node.account, node.disk, _heads_of(effect.message))
    elif kind in _ASKS:
        node.world.inquiries.sent(node, effect.link, effect.message)
    peer = node.replica.peers.get(effect.link)
    if kind in _DATA and peer is not None and node.replica.membership.state().active(peer.replica) is None:
        raise OracleFailed(f"{node.name} gives data to somebody of whom it knows that it belongs no longer")
    node.world.network.send(node, effect.link, effect.message, effect.urgent)
    return not node.blown("have" if kind == _HAVE else "send")


def _heads_of(message: bytes) -> list[tuple[LogId, Head]]:
    try:
        sent = messages.decode(message)
    except PeerError:
        return []  # rot that is served: whoever gets it finds the same
    assert isinstance(sent, messages.Commits)
    return [(commit.header.log, commit.head) for commit in sent.commits]


def _close(node: Process, effect: effects.Close) -> bool:
    node.step(f"closes link {effect.link}: {effect.reason}")
    node.world.lost_links(node, effect.link, effect.reason)
    node.world.network.close(node, effect.link)
    return True


def _store(node: Process, effect: effects.Store) -> bool:
    rightful(node.name, [commit for commit, _ in effect.commits], node.replica.membership.state())

    def job() -> None:
        node.append(effect)
        if node.blown("store"):
            return
        node.step(f"stored {len(effect.commits)}")
        node.derive_soon()
        node.handle(events.Stored())

    node.queue(node.machine.sync_s, job)
    return True


def _store_members(node: Process, effect: effects.StoreMembers) -> bool:
    node.coming.extend(effect.records)

    def job() -> None:
        node.publish(effect.records)

    node.queue(node.machine.sync_s, job)
    return True


def _store_keys(node: Process, effect: effects.StoreKeys) -> bool:
    def job() -> None:
        node.keeper.put_keys(effect.keys)
        if node.handle(events.KeysStored(effect.keys)):
            node.queue(node.machine.read_s, node.derive_waiting)

    node.queue(node.machine.sync_s, job)
    return True


def _read_feeds(node: Process, effect: effects.ReadFeeds) -> bool:
    def job() -> None:
        commits, keys = node.keeper.read_feeds(effect.cursors, effect.commits_max, effect.bytes_max)
        node.handle(events.FeedsRead(effect.link, commits, keys))

    node.queue(node.machine.read_s, job)
    return True


def _read_backlog(node: Process, effect: effects.ReadBacklog) -> bool:
    def job() -> None:
        node.handle(events.BacklogRead(effect.link, *node.keeper.read_backlog(effect.cursors)))

    node.queue(node.machine.read_s, job)
    return True


def _read_keys(node: Process, effect: effects.ReadKeys) -> bool:
    def job() -> None:
        node.handle(events.KeysRead(effect.link, node.keeper.read_keys(effect.ids)))

    node.queue(node.machine.read_s, job)
    return True


def _read_headers(node: Process, effect: effects.ReadHeaders) -> bool:
    def job() -> None:
        signed = node.keeper.read_headers(effect.log, effect.sequences)
        node.handle(events.HeadersRead(effect.link, effect.log, signed, effect.asked))

    node.queue(node.machine.read_s, job)
    return True


def _read_again(node: Process, effect: effects.ReadAgain) -> bool:
    def job() -> None:
        node.handle(events.AgainRead(effect.link, node.keeper.read_again(effect.log, effect.sequences)))

    node.queue(node.machine.read_s, job)
    return True


def _read_sums(node: Process, effect: effects.ReadSums) -> bool:
    def job() -> None:
        node.handle(events.SumsRead(effect.link, *node.keeper.sums(effect.paths), effect.asked))

    node.queue(node.machine.read_s, job)
    return True


def _mend(node: Node, effect: effects.Mend) -> bool:
    def job() -> None:
        mended = node.host.engine.upkeep.mend(effect.commits, node.keys_of)
        if mended and node.handle(events.Mended(mended)):
            node.mended()

    node.queue(node.machine.sync_s, job)
    return True


def _repair_records(node: Node, effect: effects.RepairRecords) -> bool:
    def job() -> None:
        with suppress(RottenCommit):
            node.derived(node.host.engine.repair(effect.records, node.wall_ms()))

    node.queue(node.machine.sync_s, job)
    return True


def _note_recovering(node: Node, effect: effects.NoteRecovering) -> bool:
    node.step(f"is recovering: {effect.recovering}")
    node.queue(node.machine.sync_s, lambda: _noted(node, effect))
    return True


def _noted(node: Node, effect: effects.NoteRecovering) -> None:
    node.host.note_recovering(effect.recovering)
    node.tend_if_ranges()
    node.duties_soon()


def _members_changed(node: Process, effect: effects.MembersChanged) -> bool:
    del effect

    def job() -> None:
        node.members_changed()
        node.world.network.station_started(node)

    node.queue(node.machine.read_s, job)
    return True


def _new_boot(node: Node, effect: effects.NewBoot) -> bool:
    node.step(f"opens a new boot: {effect.reason}")
    node.queue(node.machine.sync_s, lambda: _boot_opened(node))
    return True


def _boot_opened(node: Node) -> None:
    node.handle(events.BootOpened(node.host.new_boot()))


def _confirmed(node: Process, effect: effects.Confirmed) -> bool:
    del effect
    node.confirmed()
    return True


def _rederive(node: Node, effect: effects.Rederive) -> bool:
    del effect

    def job() -> None:
        with suppress(RottenCommit):
            node.host.engine.rebuild(node.wall_ms(), None)
        node.derive_soon()

    node.queue(node.machine.sync_s, job)
    return True


def _asked(node: Process, effect: effects.Asked) -> bool:
    node.mailbox.asked(effect)
    return True


def _withdrawn(node: Process, effect: effects.Withdrawn) -> bool:
    node.step("may leave a question")
    return True


def _answered(node: Process, effect: effects.Answered) -> bool:
    node.mailbox.answered(effect)
    return True


def _alarm(node: Process, effect: effects.Alarm) -> bool:
    node.step(f"alarm {effect.kind}: {effect.text}")
    node.world.alarmed(node, effect)
    return True


PERFORM: Final[Mapping[type, Callable[[Any, Any], bool]]] = {
    effects.Send: _send,
    effects.Close: _close,
    effects.Store: _store,
    effects.StoreMembers: _store_members,
    effects.StoreKeys: _store_keys,
    effects.ReadFeeds: _read_feeds,
    effects.ReadBacklog: _read_backlog,
    effects.ReadKeys: _read_keys,
    effects.ReadHeaders: _read_headers,
    effects.ReadAgain: _read_again,
    effects.ReadSums: _read_sums,
    effects.Mend: _mend,
    effects.RepairRecords: _repair_records,
    effects.NoteRecovering: _note_recovering,
    effects.MembersChanged: _members_changed,
    effects.NewBoot: _new_boot,
    effects.Confirmed: _confirmed,
    effects.Rederive: _rederive,
    effects.Asked: _asked,
    effects.Withdrawn: _withdrawn,
    effects.Answered: _answered,
    effects.Alarm: _alarm,
}
"""What carries out each kind of effect. False: the process ended over it, and what was to follow never happens."""
