"""What is on whose disk: told by each replica of itself, and passed on, so that every site knows what is on which site.

A replica's own `have` is what counts; what others tell of it only ever adds. Passing on ends by itself, since only what
is news is passed on, at most once every `holdings_interval_s` and link.
"""

from __future__ import annotations

import math
from collections.abc import Collection

from crdtsync import limits
from crdtsync.errors import TooLarge
from crdtsync.ids import Head, LogId, ReplicaId
from crdtsync.replication.frontier import Frontier
from crdtsync.replication.messages import Holding
from crdtsync.replication.session import Peer, Phase
from crdtsync.replication.state import Core


class Holdings:
    """The frontiers of the other replicas, as far as they are known here."""

    def __init__(self, core: Core) -> None:
        self._core = core
        self._known: dict[ReplicaId, Frontier] = {}
        self._next = 0.0

    @property
    def due(self) -> float:
        """When `pass_on` has something to do next; infinite while nothing is to be told."""
        for peer in self._core.peers.values():
            if peer.hearsay:
                return self._next
        return math.inf

    def of(self, replica: ReplicaId) -> Frontier:
        """What `replica` is known to have on disk. Not to be changed."""
        return self._known.get(replica) or Frontier()

    def heads(self, replica: ReplicaId, heads: Collection[tuple[LogId, Head]], source: Peer) -> None:
        """`source` says that `replica`, mostly itself, has these heads on disk.

        Raises TooLarge for more logs than a practice can have (L7).
        """
        if replica == self._core.replica or self._core.membership.state().members.get(replica) is None:
            return
        known = self._known.setdefault(replica, Frontier())
        if len(known) + len(heads) > 2 * limits.frontier_entries_max:
            raise TooLarge("a frontier that names more logs than a practice can have")
        news = [log for log, head in heads if known.sequence(log) < head.sequence]
        for log, head in heads:
            known.advance(log, head)
        for peer in self._core.peers.values():
            if news and peer is not source and peer.replica != replica:
                peer.hearsay.setdefault(replica, {}).update(dict.fromkeys(news))

    def begin(self, peer: Peer) -> None:
        """A link stands: the peer is told everything that is known of third ones."""
        for replica, known in self._known.items():
            if replica != peer.replica:
                peer.hearsay[replica] = dict.fromkeys(known)

    def pass_on(self) -> None:
        """Tell each peer what is news of third ones."""
        if self._core.now < self._next:
            return
        self._next = self._core.now + limits.holdings_interval_s
        for peer in self._core.peers.values():
            if peer.phase is Phase.OPENING:
                continue
            if not self._core.serves(peer):
                peer.hearsay.clear()
            for replica, logs in list(peer.hearsay.items()):
                known = self._known[replica]
                told = list(logs)[: limits.frontier_entries_per_message_max]
                for log in told:
                    del logs[log]
                if not logs:
                    del peer.hearsay[replica]
                self._core.send(peer, Holding(replica, tuple((log, known.head(log)) for log in told)), urgent=False)
