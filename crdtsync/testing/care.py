"""What a running site does for the membership, as `crdtsync.serve` does it; and adding and removing sites."""

from __future__ import annotations

from typing import TYPE_CHECKING

from crdtsync import members
from crdtsync.clock import COUNTER_BITS
from crdtsync.ids import MemberHash, replica_of
from crdtsync.replication.member_codec import decode_record

if TYPE_CHECKING:
    from crdtsync.testing.node import Node
    from crdtsync.testing.process import Process


def care(node: Node) -> None:
    """From within a job: share epochs with readers that lack them, attest what was accepted of removed replicas, open
    an epoch where every other one has a removed reader."""
    membership = node.replica.membership
    host = node.host
    if membership.state().active(node.replica_id) is None:
        return
    if membership.state().missing_shares():
        data = members.sharing(host, membership.place(host.replica), membership.state())
        if data is not None and not _publish(node, data):
            return
    due = node.replica.attests_due()
    if due and not _publish(node, members.attesting(host, membership.place(host.replica), due)):
        return
    for proof in node.replica.forks_due():
        if not _publish(node, members.forking(host, membership.place(host.replica), proof)):
            return
    if membership.state().sealing_epoch() is None:
        _publish(node, members.opening_epoch(host, membership.place(host.replica), membership.state()))


def sign_holds(node: Node) -> None:
    """From within a job: sign what is held here and by nobody yet, as the driver does."""
    membership = node.replica.membership
    state = membership.state()
    due = [hold for hold in node.holds_due if hold.hash not in state.holds.get(hold.commit, ())]
    node.holds_due = ()
    if due and state.active(node.replica_id) is not None:
        records = members.holding(node.host, membership.place(node.replica_id), due)
        node.publish([(decode_record(data).hash, data) for data in records])


def _publish(node: Node, data: bytes) -> bool:
    return node.publish([(decode_record(data).hash, data)])


def admit(node: Node, newcomer: Process, role: str = "site") -> list[tuple[MemberHash, bytes]]:
    """At `node`, an admin: let `newcomer` in. Returns the records that it starts with."""
    membership = node.replica.membership
    entry = members.entry_of(newcomer.sealer.public, name=newcomer.name, role=role, admin=role == "site")
    data = members.adding(node.host, membership.place(node.replica_id), membership.state(), entry)
    _publish(node, data)
    return membership.records()


def shut_out(node: Node, gone: Node) -> None:
    """At `node`, an admin: remove `gone`, whose commits count as far as they were accepted here."""
    membership = node.replica.membership
    state = membership.state()
    heads = {log: head for log, head in node.replica.stored.items() if replica_of(log) == gone.replica_id}
    member = state.members[gone.replica_id]
    data = members.removing(node.host, membership.place(node.replica_id), state, member, "stolen", heads)
    _publish(node, data)


def close_down(node: Node, gone: Node) -> None:
    """At `node`, an admin: take leave of `gone`; what it had written by now counts, by the clock of `node`."""
    membership = node.replica.membership
    state = membership.state()
    heads = {log: head for log, head in node.replica.stored.items() if replica_of(log) == gone.replica_id}
    member, stamp = state.members[gone.replica_id], node.wall_ms() << COUNTER_BITS
    data = members.closing(node.host, membership.place(node.replica_id), state, member, stamp, heads)
    _publish(node, data)


def rotate(node: Node) -> None:
    """From within a job: begin a new epoch, although none has to begin."""
    membership = node.replica.membership
    if membership.state().active(node.replica_id) is not None:
        _publish(node, members.opening_epoch(node.host, membership.place(node.replica_id), membership.state()))
