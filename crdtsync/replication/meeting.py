"""How two replicas come to know the same membership: each tells what it has and is sent what it lacks.

A record counts as soon as it is verified here; others hear of it when it is on disk (L1).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from crdtsync import limits
from crdtsync.errors import TooLarge
from crdtsync.ids import MemberHash
from crdtsync.replication.effects import Close, MembersChanged, StoreMembers
from crdtsync.replication.membership import MissingParents
from crdtsync.replication.messages import Members, Records
from crdtsync.replication.session import Peer, Phase
from crdtsync.replication.state import Core


def tell(core: Core, peer: Peer) -> None:
    """Say which membership records are here."""
    hashes = [member for member, _ in _on_disk(core)]
    step = limits.member_hashes_per_message_max
    for start in range(0, len(hashes), step):
        core.send(peer, Members(tuple(hashes[start : start + step]), last=start + step >= len(hashes)))


def _on_disk(core: Core) -> list[tuple[MemberHash, bytes]]:
    """The records that others may hear of (L1), parents before children."""
    return [record for record in core.membership.records() if record[0] not in core.unstored]


def told(core: Core, peer: Peer, message: Members) -> None:
    """The peer said what it has: once it has said all, send what it lacks.

    What it does not name it does not have, also where we sent it: that was lost on the way. Raises TooLarge for a list
    that is longer than any practice's (L7).
    """
    peer.member_told.update(message.hashes)
    if len(peer.member_told) > limits.membership_records_max:
        raise TooLarge("the peer names more membership records than a practice can have")
    if message.last:
        peer.member_hashes, peer.member_told = peer.member_told, set()
        _send_lacking(core, peer, _on_disk(core))


def _send_lacking(core: Core, peer: Peer, records: Iterable[tuple[MemberHash, bytes]]) -> None:
    batch: list[bytes] = []
    size = 0
    for member, data in records:
        if member in peer.member_hashes:
            continue
        full = size + len(data) > limits.membership_bytes_target or len(batch) >= limits.member_hashes_per_message_max
        if batch and full:
            core.send(peer, Records(tuple(batch)))
            batch, size = [], 0
        peer.member_hashes.add(member)
        batch.append(data)
        size += len(data)
    if batch:
        core.send(peer, Records(tuple(batch)))


def received(core: Core, peer: Peer, message: Records) -> bool:
    """Verify and keep what the peer sent. True when something was new. Raises PeerError for a forged record (L6)."""
    fresh: list[tuple[MemberHash, bytes]] = []
    try:
        for data in message.records:
            try:
                member = core.membership.add(data)
            except MissingParents:
                tell(core, peer)  # something before it was lost on the way: ask by saying what is here
                continue
            if member is not None:
                peer.member_hashes.add(member)
                core.unstored.add(member)
                fresh.append((member, data))
    finally:
        if fresh:  # also when a later one is refused: what counts here must be on disk, others may build on it
            core.out.append(StoreMembers(fresh))
    return bool(fresh)


def stored(core: Core, records: Sequence[tuple[MemberHash, bytes]]) -> None:
    """Records, of a peer or our own, are on disk: pass them on, end the links of those who were removed, and give
    nothing more to those who were closed."""
    for member, data in records:
        core.unstored.discard(member)
        if not core.membership.has(member):
            core.membership.add(data)
    for peer in core.peers.values():
        if not core.welcomes(peer.replica):
            core.out.append(Close(peer.link, "the practice has removed this replica"))
            continue
        if not core.serves(peer):
            peer.feeds.clear()
        if peer.phase is not Phase.OPENING:
            _send_lacking(core, peer, records)
    core.out.append(MembersChanged())
