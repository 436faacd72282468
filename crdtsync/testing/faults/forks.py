"""A site that signs one sequence twice: some peers are sent another commit than others.

From some moment on, whoever stands on the other side of the fork is sent the site's own commits with later stamps,
signed as they should be and chained to each other.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from crdtsync.errors import PeerError
from crdtsync.ids import CommitHash, Head, LogId, ReplicaId
from crdtsync.replication import messages
from crdtsync.replication.commit import Commit, encode_header, header_hash, signed_bytes

if TYPE_CHECKING:
    from crdtsync.testing.network import Station
    from crdtsync.testing.node import Node
    from crdtsync.testing.story import Story


def plan(story: Story) -> None:
    """Plan it."""
    chance = story.streams("faults/forks")
    sites = story.members()
    if story.options.calm or len(sites) < 3 or chance.random() >= 0.1:
        return
    node = chance.choice(sites)
    if node.name in story.network.twist:
        return
    others = [other.replica_id for other in sites if other is not node]
    deceived = frozenset(chance.sample(others, len(others) // 2))
    story.expected_alarms |= {"fork", "clone"}  # what it opens behind logs that count nowhere continues nothing
    story.faults["forks"] += 1
    story.ledger.forked.add(node.replica_id)
    twist = Fork(node, deceived)
    story.timeline.at(
        chance.uniform(60.0, story.options.duration_s * 0.8),
        lambda: story.network.twist.update({node.name: twist}),
    )


class Fork:
    """Tells some peers another story about its own log, from the next commit on."""

    def __init__(self, node: Node, deceived: frozenset[ReplicaId]) -> None:
        self._node = node
        self._deceived = deceived
        self._from: dict[LogId, int] = {}
        self._other: dict[tuple[LogId, int], Commit] = {}

    def __call__(self, to: Station, message: bytes) -> list[tuple[float, bytes]]:
        """What is sent in place of `message`."""
        if to.replica_id not in self._deceived:
            return [(0.0, message)]
        try:
            said = messages.decode(message)
        except PeerError:
            return [(0.0, message)]
        if isinstance(said, messages.Commits):
            commits = tuple(self._retold(commit) for commit in said.commits)
            return [(0.0, messages.encode(messages.Commits(said.sent, said.keys, commits)))]
        if isinstance(said, messages.Have):
            heads = tuple((log, self._head(log, head)) for log, head in said.heads)
            return [(0.0, messages.encode(messages.Have(heads, said.whole)))]
        return [(0.0, message)]

    def _head(self, log: LogId, head: Head) -> Head:
        other = self._other.get((log, head.sequence))
        return head if other is None else other.head

    def _retold(self, commit: Commit) -> Commit:
        header = commit.header
        if header.log[:16] != self._node.replica_id or header.sequence < self._from.setdefault(
            header.log, header.sequence
        ):
            return commit
        place = (header.log, header.sequence)
        if place not in self._other:
            before = self._other.get((header.log, header.sequence - 1))
            previous: CommitHash = header.previous if before is None else before.hash
            changed = replace(header, stamp=header.stamp + 1, previous=previous)
            data = encode_header(changed)
            hash_ = header_hash(data)
            signature = self._node.sealer.sign(signed_bytes(hash_))
            self._other[place] = Commit(changed, data, commit.parts, signature, hash_)
        return self._other[place]
