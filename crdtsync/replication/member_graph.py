"""The graph of membership records and the rules by which they count; `membership` states them, by the same numbers.

A set of records is one int: bit n stands for the record that came n-th. All sets here are causally closed.
"""

from __future__ import annotations

from bisect import insort
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from heapq import merge
from typing import Final

from crdtsync.ids import MemberHash, ReplicaId
from crdtsync.replication.member_records import (
    Add,
    Address,
    Attest,
    Close,
    Entry,
    Fork,
    Found,
    Hold,
    MemberRecord,
    NewEpoch,
    Remove,
    Share,
    Succeed,
)
from crdtsync.replication.member_state import administers, reads

_STANDINGS_CACHED: Final = 64


@dataclass(slots=True, eq=False)
class Node:
    """A record in the graph. `bit` is its own bit, `past` the set of all records before it.

    `counts` tells whether its author had the right in the record's own past (rule 1): it never changes.
    """

    record: MemberRecord
    order: tuple[int, MemberHash]
    bit: int
    past: int
    counts: bool

    def __lt__(self, other: Node) -> bool:
        return self.order < other.order


@dataclass(frozen=True, slots=True)
class Grant:
    """An add of a replica that is not void."""

    node: Node
    entry: Entry


@dataclass(frozen=True, slots=True)
class Grants:
    """What stands of a set of records: per replica the adds that are not void, the first one first, and the closings
    that are not void. Removals are not yet considered."""

    adds: dict[ReplicaId, list[Grant]] = field(default_factory=dict)
    closings: dict[ReplicaId, int] = field(default_factory=dict)


def granted(node: Node) -> tuple[Entry, ...]:
    """The members that a record lets in."""
    body = node.record.body
    if isinstance(body, Found):
        return (body.founder, body.recovery)
    return (body.entry,) if isinstance(body, Add) else ()


@dataclass(slots=True)
class Graph:
    """All records; those that count also by what they do, in the order that everybody computes alike."""

    nodes: list[Node] = field(default_factory=list)
    by_hash: dict[MemberHash, Node] = field(default_factory=dict)
    adds: list[Node] = field(default_factory=list)
    epochs: list[Node] = field(default_factory=list)
    shares: list[Node] = field(default_factory=list)
    attests: list[Node] = field(default_factory=list)
    addresses: list[Node] = field(default_factory=list)
    forks: list[Node] = field(default_factory=list)
    successions: list[Node] = field(default_factory=list)
    holds: list[Node] = field(default_factory=list)
    closings: list[Node] = field(default_factory=list)
    removals: dict[ReplicaId, int] = field(default_factory=dict)
    _grants: dict[int, Grants] = field(default_factory=dict)
    _weighty: int = 0

    def node(self, record: MemberRecord) -> Node:
        """A node for `record`, whose parents are all here; it is not inserted yet and its right is judged here."""
        parents = [self.by_hash[parent] for parent in record.parents]
        past = 0
        for parent in parents:
            past |= parent.past | parent.bit
        depth = 1 + max((parent.order[0] for parent in parents), default=-1)
        node = Node(record, (depth, record.hash), 1 << len(self.nodes), past, False)
        node.counts = self._had_right(node)
        return node

    def insert(self, node: Node) -> None:
        """Take in a node that `node` has just made."""
        self.nodes.append(node)
        self.by_hash[node.record.hash] = node
        body = node.record.body
        if not node.counts:
            return
        for kinds, nodes in (
            (Found | Add, self.adds),
            (Found | Remove | NewEpoch | Close, self.epochs),
            (Add | Share, self.shares),
            (Attest | Remove | Close, self.attests),
            (Address, self.addresses),
            (Fork, self.forks),
            (Succeed, self.successions),
            (Hold, self.holds),
            (Close, self.closings),
        ):
            if isinstance(body, kinds):
                insort(nodes, node)
        if isinstance(body, Found | Add | Remove | Close):
            self._weighty |= node.bit
        if isinstance(body, Remove):
            self.removals[body.replica] = self.removals.get(body.replica, 0) | node.bit

    def closure(self, heads: Iterable[MemberHash]) -> int:
        """The heads and all that is before them. Raises KeyError for a head that is not here."""
        known = 0
        for head in heads:
            node = self.by_hash[head]
            known |= node.past | node.bit
        return known

    def grants(self, known: int) -> Grants:
        """The adds and closings in `known` that are not void in `known`."""
        key = known & self._weighty
        cached = self._grants.pop(key, None)
        if cached is None:
            cached = self._compute_grants(key)
            while len(self._grants) >= _STANDINGS_CACHED:
                del self._grants[next(iter(self._grants))]
        self._grants[key] = cached
        return cached

    def _compute_grants(self, known: int) -> Grants:
        grants = Grants()
        for node in merge(self.adds, self.closings):
            if node.bit & known and not self.void(node, known, grants):
                for entry in granted(node):
                    grants.adds.setdefault(entry.replica, []).append(Grant(node, entry))
                if isinstance(node.record.body, Close):
                    closed = node.record.body.replica
                    grants.closings[closed] = grants.closings.get(closed, 0) | node.bit
        return grants

    def void(self, node: Node, known: int, grants: Grants) -> bool:
        """Whether a record that counts is void because of others in `known` (rule 2).

        `grants` must hold at least the adds and closings before the record that are not void in `known`.
        """
        author = node.record.author
        unseen = self.removals.get(author, 0) & known & ~node.past & ~node.bit
        if any(not removal.past & node.bit for removal in self._at(unseen)):
            return True
        standing = self.standing(author, node.past, grants)
        return not (isinstance(node.record.body, Found) or (standing is not None and _may(standing.entry, node)))

    def standing(self, replica: ReplicaId, known: int, grants: Grants) -> Grant | None:
        """The add by which `replica` belongs in `known`: the first that has seen every removal and every closing of it
        (rules 5 and 7)."""
        gone = self.removals.get(replica, 0) | grants.closings.get(replica, 0)
        return self._first(grants.adds.get(replica, ()), known, gone)

    def closed_at(self, replica: ReplicaId, known: int, grants: Grants) -> int | None:
        """Up to which stamp the commits of a replica count that was closed, and belongs but for that; None for all
        others (rule 7)."""
        closings = grants.closings.get(replica, 0) & known
        if not closings or self._first(grants.adds.get(replica, ()), known, self.removals.get(replica, 0)) is None:
            return None
        bodies = (node.record.body for node in self._at(closings))
        return max(body.stamp for body in bodies if isinstance(body, Close))

    def _first(self, adds: Sequence[Grant], known: int, gone: int) -> Grant | None:
        """The first add in `known` that has seen all of `gone` that is in `known`."""
        for grant in adds:
            if grant.node.bit & known and not gone & known & ~grant.node.past:
                return grant
        return None

    def _had_right(self, node: Node) -> bool:
        body = node.record.body
        if isinstance(body, Found):
            return True
        standing = self.standing(node.record.author, node.past, self.grants(node.past))
        if standing is None or not _may(standing.entry, node):
            return False
        return not isinstance(body, Remove | Close) or self._was_added(body.replica, node.past)

    def _was_added(self, replica: ReplicaId, known: int) -> bool:
        return any(node.bit & known and any(entry.replica == replica for entry in granted(node)) for node in self.adds)

    def _at(self, known: int) -> Iterator[Node]:
        while known:
            bit = known & -known
            yield self.nodes[bit.bit_length() - 1]
            known ^= bit


def _may(author: Entry, node: Node) -> bool:
    """Whether a member with this entry may write what the record says (rule 1)."""
    body = node.record.body
    if isinstance(body, Add | Remove | Succeed | Close):
        return administers(author.role, author.admin)
    if isinstance(body, NewEpoch | Share | Hold):
        return reads(author.role)
    return isinstance(body, Attest | Address | Fork)
