"""From the graph of membership records to the state that a set of them amounts to."""

from __future__ import annotations

from collections.abc import Iterable

from crdtsync.ids import CommitHash, CommitId, EpochId, Head, LogId, MemberHash, PracticeId, ReplicaId, replica_of
from crdtsync.replication.member_graph import Grant, Grants, Graph, Node, granted
from crdtsync.replication.member_indices import site_indices
from crdtsync.replication.member_records import (
    Add,
    Address,
    Attest,
    Close,
    Entry,
    EpochBody,
    Fork,
    Found,
    Hold,
    NewEpoch,
    Remove,
    Share,
    Succeed,
)
from crdtsync.replication.member_state import Epoch, Member, State, Succession, reads


def outcome(graph: Graph, known: int, practice: PracticeId) -> State:
    """The state of a causally closed set of records."""
    grants = graph.grants(known)
    members = _members(graph, known, grants)
    epochs = _epochs(graph, known, grants)
    return State(
        practice=practice,
        members=members,
        epochs=epochs,
        shares=_shares(graph, known, grants, epochs),
        cuts=_cuts(graph, known, grants, members),
        frozen=_frozen(graph, known),
        successions=_successions(graph, known, grants),
        holds=_holds(graph, known),
        held_by=HeldBy(graph, known),
        indices=site_indices(graph, known),
    )


def _members(graph: Graph, known: int, grants: Grants) -> dict[ReplicaId, Member]:
    added: dict[ReplicaId, Grant] = {}
    for node in graph.adds:
        if node.bit & known:
            added.update((entry.replica, Grant(node, entry)) for entry in granted(node))
    addresses = {
        node.record.author: node for node in graph.addresses if node.bit & known and not graph.void(node, known, grants)
    }
    members = {}
    for replica, last in added.items():
        standing = graph.standing(replica, known, grants)
        closed_at = None if standing else graph.closed_at(replica, known, grants)
        members[replica] = _member(standing or last, standing is not None, closed_at, addresses.get(replica))
    return members


def _member(grant: Grant, active: bool, closed_at: int | None, address: Node | None) -> Member:
    entry: Entry = grant.entry
    addresses = entry.addresses
    if address is not None and not address.bit & grant.node.past and isinstance(address.record.body, Address):
        addresses = address.record.body.addresses
    return Member(
        replica=entry.replica,
        sig=entry.sig,
        tls=entry.tls,
        kem=entry.kem,
        role=entry.role,
        admin=entry.admin,
        name=entry.name,
        addresses=addresses,
        active=active,
        record=grant.node.record.hash,
        closed_at=closed_at,
    )


def _epochs(graph: Graph, known: int, grants: Grants) -> dict[EpochId, Epoch]:
    """Oldest first. Of two records with one epoch the first that is not void holds."""
    epochs: dict[EpochId, Epoch] = {}
    for node in graph.epochs:
        if node.bit & known:
            body, void = _epoch_of(node), graph.void(node, known, grants)
            before = epochs.get(body.id)
            if before is None or (before.void and not void):
                record = node.record
                epochs[body.id] = Epoch(body.id, body.parents, body.sealed, record.hash, record.author, void)
    return epochs


def _epoch_of(node: Node) -> EpochBody:
    body = node.record.body
    assert isinstance(body, Found | Remove | NewEpoch | Close)
    return body.epoch


def _shares(
    graph: Graph, known: int, grants: Grants, epochs: dict[EpochId, Epoch]
) -> dict[EpochId, dict[ReplicaId, bytes]]:
    shares = {epoch.id: dict(epoch.sealed) for epoch in epochs.values()}
    for node in graph.shares:
        if node.bit & known and not graph.void(node, known, grants):
            for epoch, replica, sealed in _shared(node):
                if epoch in shares:
                    shares[epoch].setdefault(replica, sealed)
    return shares


def _shared(node: Node) -> list[tuple[EpochId, ReplicaId, bytes]]:
    body = node.record.body
    if isinstance(body, Add):
        return [(epoch, body.entry.replica, sealed) for epoch, sealed in body.shares.items()]
    assert isinstance(body, Share)
    return list(body.shares)


def _cuts(graph: Graph, known: int, grants: Grants, members: dict[ReplicaId, Member]) -> dict[LogId, Head]:
    cuts: dict[LogId, Head] = {}
    for node in graph.attests:
        if node.bit & known and not graph.void(node, known, grants):
            author = graph.standing(node.record.author, node.past, grants)
            body = node.record.body
            assert isinstance(body, Attest | Remove | Close)
            if author is not None and reads(author.entry.role):
                for log, head in body.heads:
                    member = members.get(replica_of(log))
                    if member is not None and not member.active:
                        cuts[log] = _higher(cuts.get(log), head)
    return cuts


def _frozen(graph: Graph, known: int) -> dict[LogId, Head]:
    """Where forked logs end: at the first place where any two branches part, whoever showed it."""
    ends: dict[LogId, Head] = {}
    for node in graph.forks:
        body = node.record.body
        assert isinstance(body, Fork)
        if node.bit & known:
            log, end = body.proof.log, body.proof.end
            ends[log] = min(ends.get(log, end), end)
    return ends


def _successions(graph: Graph, known: int, grants: Grants) -> dict[ReplicaId, Succession]:
    """Of several for one replica the last names the log that goes on; where the others end is joined."""
    successions: dict[ReplicaId, Succession] = {}
    for node in graph.successions:
        if node.bit & known and not graph.void(node, known, grants):
            body = node.record.body
            assert isinstance(body, Succeed)
            before = successions.get(body.replica)
            heads = dict(before.heads) if before is not None else {}
            for log, head in body.heads:
                heads[log] = _higher(heads.get(log), head)
            successions[body.replica] = Succession(body.log, heads)
    return successions


def _holds(graph: Graph, known: int) -> dict[CommitId, dict[CommitHash, str]]:
    """Every hold that its author had the right to sign when it did: nothing makes it void, whoever is removed later.

    Of several for one commit the first one's word counts.
    """
    holds: dict[CommitId, dict[CommitHash, str]] = {}
    for node in graph.holds:
        if node.bit & known:
            body = node.record.body
            assert isinstance(body, Hold)
            holds.setdefault(body.commit, {}).setdefault(body.hash, body.reason)
    return holds


class HeldBy:
    """Tells who knew of a hold. It reads records that never change and may be asked in another thread."""

    def __init__(self, graph: Graph, known: int) -> None:
        self._by_hash = graph.by_hash
        self._bits: dict[CommitId, int] = {}
        for node in graph.holds:
            if node.bit & known:
                assert isinstance(node.record.body, Hold)
                commit = node.record.body.commit
                self._bits[commit] = self._bits.get(commit, 0) | node.bit

    def __call__(self, members: Iterable[MemberHash], commit: CommitId) -> bool:
        """Whether somebody who knew these membership records knew one by which `commit` is held."""
        bits = self._bits.get(commit, 0)
        for member in members if bits else ():
            node = self._by_hash.get(member)
            if node is not None and (node.past | node.bit) & bits:
                return True
        return False


def _higher(one: Head | None, other: Head) -> Head:
    """The longer one; of two that differ at one sequence (a fork), the same one everywhere."""
    if one is None or (other.sequence, one.hash) > (one.sequence, other.hash):
        return other
    return one
