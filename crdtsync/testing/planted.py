"""Bugs planted on purpose: patches to the objects of one world, never switches in the code that ships.

A simulator that finds nothing proves little. Each bug here is one that replication code has had somewhere; the
simulator must find each of them, or it would not have found the real one either.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from crdtsync.ids import Head, LogId, RecordId
from crdtsync.replication import effects, events
from crdtsync.replication.commit import Commit
from crdtsync.replication.frontier import Frontier
from crdtsync.replication.stored import KeyObject, LogHead
from crdtsync.storage.memory import MemoryStore
from crdtsync.testing.node import Node

Plant = Callable[[Node], None]


@dataclass(frozen=True, slots=True)
class Planted:
    """A bug: its name, what is wrong, and how a site is broken. `plant` is called each time a site has been opened."""

    name: str
    what: str
    plant: Plant


def _patch(target: object, name: str, value: Any) -> None:
    """Replace a method of one object."""
    setattr(target, name, value)


def _acknowledge_early(node: Node) -> None:
    def store(node: Node, effect: effects.Store) -> bool:
        node.queue(
            node.machine.sync_s,
            lambda: node.host.engine.append(effect.commits, effect.keys, node.wall_ms()),
        )
        node.queue(node.machine.read_s, node.derive_soon)
        return node.handle(events.Stored())

    node.perform[effects.Store] = store


def _skip_sync(node: Node) -> None:
    disk, append = node.disk, node.disk.append

    def unsynced(commits: Sequence[tuple[Commit, bool]], arrived_ms: int) -> LogHead:
        disk.sync_log = False
        try:
            return append(commits, arrived_ms)
        finally:
            disk.sync_log = True

    if "append" not in vars(disk):
        _patch(disk, "append", unsynced)


def _skip_key_sync(node: Node) -> None:
    node.disk.sync_keys = False


def _skip_causal_check(node: Node) -> None:
    _patch(node.replica.inbox, "_ready", lambda log, commit: True)


def _forget_dependency(node: Node) -> None:
    """One in five heads that moved is not named by the next commit."""
    engine: Any = node.host.engine
    writer = engine._writer
    saw, count = writer.saw, 0

    def forgetful(log: LogId, head: Head) -> None:
        nonlocal count
        count += 1
        if count % 5:
            saw(log, head)

    _patch(writer, "saw", forgetful)


def _frontier_ahead(node: Node) -> None:
    """What is told of a log is one commit too many, now and then."""
    core: Any = node.replica
    stored: Frontier = core._core.stored
    count = 0

    class Ahead(Frontier):
        __slots__ = ()

        def head(self, log: LogId) -> Head:
            nonlocal count
            count += 1
            head = super().head(log)
            return head if count % 50 or not head.sequence else Head(head.sequence + 1, head.hash)

    ahead = Ahead(dict(stored.items()))
    core._core.stored = ahead


def _continue_without_proof(node: Node) -> None:
    _patch(node.proof, "proves", lambda log, nonce, sequence: True)


def _drop_delta(node: Node) -> None:
    """One in forty changes that come from others is passed over."""
    engine: Any = node.host.engine
    deriver = engine._deriving._deriver
    change, count = deriver._change, 0

    def skipping(*args: Any) -> None:
        nonlocal count
        count += 1
        if count % 40:
            change(*args)

    _patch(deriver, "_change", skipping)


def _view_claims_more(node: Node) -> None:
    """A power cut takes documents, and leaves the note of how far they go."""
    disk = node.disk

    def crash(keep: Callable[[int], int]) -> None:
        claimed = disk._state
        MemoryStore.crash(disk, keep)
        if disk._is_prefix(claimed.head):
            disk._state = claimed

    _patch(disk, "crash", crash)


def _credit_leak(node: Node) -> None:
    """Room that was taken in the inbox is given back for nine in ten commits."""
    receiving: Any = node.replica
    receiving = receiving._receiving
    settle, count = receiving._settle, 0

    def leaking(item: Any) -> None:
        nonlocal count
        count += 1
        if count % 10:
            settle(item)

    _patch(receiving, "_settle", leaking)


def _ignore_removal(node: Node) -> None:
    receiving: Any = node.replica
    _patch(receiving._receiving, "admit", lambda commit: True)


def _wrong_cursor(node: Node) -> None:
    """What a peer asks for from a place on is read from one place behind it."""
    read = node.host.engine.read_feeds

    def late(cursors: Mapping[LogId, int], commits_max: int, bytes_max: int) -> Any:
        return read({log: at + 1 for log, at in cursors.items()}, commits_max, bytes_max)

    _patch(node.host.engine, "read_feeds", late)


def _no_relay(node: Node) -> None:
    """Commits of others are offered to nobody."""
    core: Any = node.replica
    handle = core.handle

    def selfish(now: float, event: events.Event) -> list[effects.Effect]:
        found: list[effects.Effect] = handle(now, event)
        return [each for each in found if not isinstance(each, effects.ReadFeeds) or node.host.log in each.cursors]

    _patch(core, "handle", selfish)


def _forget_keys(node: Node) -> None:
    """One in ten data keys that come with commits is not kept."""
    engine = node.host.engine
    append, count = engine.append, 0

    def careless(commits: Sequence[tuple[Commit, bool]], keys: Sequence[KeyObject], now_ms: int) -> None:
        nonlocal count
        kept = []
        for key in keys:
            count += 1
            if count % 10:
                kept.append(key)
        append(commits, kept, now_ms)

    _patch(engine, "append", careless)
    _patch(engine, "put_keys", lambda keys: node.disk.put_keys(()))


def _stale_read(node: Node) -> None:
    """A record that was read before is read from memory, whatever was written since."""
    disk = node.disk
    seen: dict[tuple[str, RecordId], Any] = {}

    def document(kind: str, record: RecordId) -> Any:
        found = MemoryStore.document(disk, kind, record)
        if found is None:
            return None
        return seen.setdefault((kind, record), found)

    _patch(disk, "document", document)


PLANTED: Final[dict[str, Planted]] = {
    bug.name: bug
    for bug in (
        Planted("acknowledge-early", "commits count as stored before they are on disk (L1)", _acknowledge_early),
        Planted(
            "continue-without-proof",
            "a log is continued after an older disk was put back (L4)",
            _continue_without_proof,
        ),
        Planted("credit-leak", "room in the inbox is not always given back (L7)", _credit_leak),
        Planted("drop-delta", "a change is now and then not applied (L2)", _drop_delta),
        Planted("forget-dependency", "a commit does not name all that its author had (L2)", _forget_dependency),
        Planted("forget-keys", "data keys that come with commits are not always kept (L1)", _forget_keys),
        Planted("frontier-ahead", "a frontier tells of one commit more than there is (L1)", _frontier_ahead),
        Planted("ignore-removal", "what a removed site wrote is taken without an attest", _ignore_removal),
        Planted("no-relay", "commits of third sites are not passed on (M1)", _no_relay),
        Planted("skip-causal-check", "commits are stored before what they depend on (L2)", _skip_causal_check),
        Planted("skip-key-sync", "data keys are not synced before the log (L1)", _skip_key_sync),
        Planted("skip-sync", "the log is not synced before it is acknowledged (L1)", _skip_sync),
        Planted("stale-read", "an old state of a record is read after a write", _stale_read),
        Planted("view-claims-more", "the view says it goes further than its documents do (L8)", _view_claims_more),
        Planted("wrong-cursor", "a feed begins one commit too late", _wrong_cursor),
    )
}
"""All planted bugs by name."""
