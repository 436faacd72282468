"""Where two copies of one log part, and the proof of it (L3).

What a peer says of a log's head proves nothing. So a difference begins a search: both sides' headers are compared at a
few places at a time, until the first place is found where they differ. Their signatures make the proof, which becomes
a membership record that everybody checks and that freezes the log for all. A peer that said so and cannot show it is
given up.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from crdtsync import limits
from crdtsync.errors import BadSignature, Malformed, PeerError, TooLarge
from crdtsync.ids import LogId, replica_of
from crdtsync.replication.codec import pack
from crdtsync.replication.commit import decode_header, header_hash, signed_bytes
from crdtsync.replication.effects import MembersChanged, ReadHeaders
from crdtsync.replication.events import HeadersRead
from crdtsync.replication.fork_proof import Branch, ForkProof, fork_proof, proof_items
from crdtsync.replication.messages import Heads, WantHeads
from crdtsync.replication.session import Peer
from crdtsync.replication.state import Core

Signed = tuple[bytes, bytes]
"""A header's bytes and its signature."""
_RECORD_REST: Final = 8 * 1024
"""What a membership record holds besides a proof, generously."""


@dataclass(slots=True)
class Search:
    """One comparison with one peer: the log is equal up to `low` and differs at `high`."""

    log: LogId
    low: int
    high: int
    since: float
    asked_at: float
    asked: tuple[int, ...] = ()
    theirs: dict[int, Signed] | None = None
    ours: dict[int, Signed] | None = None
    chains: bool = False
    """Whether the place is found, and headers behind it are looked at until one is signed."""

    def between(self) -> tuple[int, ...]:
        """Places from behind `low` up to `high`, as many as one question names, `high` among them."""
        count = min(limits.fork_headers_max, self.high - self.low)
        return tuple(self.low + (self.high - self.low) * (at + 1) // count for at in range(count))

    def chain(self) -> tuple[int, ...]:
        """The place where the copies part, and what follows."""
        return tuple(range(self.high, self.high + limits.fork_chain_max))

    def placed(self, signed: Sequence[Signed]) -> dict[int, Signed]:
        """Headers by their sequence, those that were asked for. Raises Malformed."""
        found = {}
        for item in signed:
            header = decode_header(item[0])
            if header.log != self.log:
                raise Malformed("headers of another log than the one asked for")
            if header.sequence in self.asked:
                found[header.sequence] = item
        return found

    def narrow(self, theirs: Mapping[int, Signed], ours: Mapping[int, Signed]) -> bool:
        """Move `low` and `high` together. Never done by itself; raises PeerError when nothing differs after all."""
        both = sorted(theirs.keys() & ours.keys())
        equal = [at for at in both if theirs[at][0] == ours[at][0]]
        differing = [at for at in both if theirs[at][0] != ours[at][0]]
        if differing:
            self.high = differing[0]
        elif self.high in equal:
            raise PeerError("the peer claims other commits of a log than it shows")
        if equal and equal[-1] > self.high:
            raise Malformed("headers that differ and then agree: they are no chain")
        self.low = max([self.low, *equal])
        self.chains = self.high - self.low == 1
        return False


class Forks:
    """Searches under way, one per link; `proofs` are forks that are proved and not yet written down."""

    def __init__(self, core: Core) -> None:
        self._core = core
        self._searches: dict[int, Search] = {}
        self._proofs: dict[LogId, ForkProof] = {}

    @property
    def due(self) -> float:
        """When `run` wants to be called next; infinite while nothing is compared."""
        if not self._searches:
            return math.inf
        return min(s.asked_at + limits.repair_interval_s for s in self._searches.values())

    def proofs(self) -> list[ForkProof]:
        """Proofs to be written into the membership."""
        frozen = self._core.membership.state().frozen
        for log, proof in list(self._proofs.items()):
            if log in frozen and frozen[log] <= proof.end:
                del self._proofs[log]
        return list(self._proofs.values())

    # -- searching ----------------------------------------------------------------------------------------------------

    def suspect(self, peer: Peer, log: LogId, high: int) -> None:
        """The peer has another commit than ours at `high` of this log, so it says. One search per link at a time."""
        core = self._core
        if peer.link not in self._searches and not self._ends_before(log, high):
            self._searches[peer.link] = search = Search(log, 0, high, core.now, core.now)
            self._ask(peer, search)

    def _ends_before(self, log: LogId, sequence: int) -> bool:
        """Whether it is known already that this log counts nowhere at `sequence`."""
        known = self._core.frozen.get(log) or (self._proofs[log].end if log in self._proofs else None)
        return known is not None and known.sequence < sequence

    def _ask(self, peer: Peer, search: Search) -> None:
        core = self._core
        search.asked = search.chain() if search.chains else search.between()
        search.asked_at = core.now
        search.theirs = search.ours = None
        core.send(peer, WantHeads(search.log, search.asked))
        core.out.append(ReadHeaders(peer.link, search.log, search.asked, asked=False))

    def run(self) -> list[tuple[Peer, PeerError]]:
        """Ask again where no answer came. Returns the peers that did not show what they said."""
        core, silent = self._core, []
        for link, search in list(self._searches.items()):
            peer = core.peers.get(link)
            if peer is None or self._ends_before(search.log, search.high):  # who has cut it shows it no more
                del self._searches[link]
            elif core.now - search.since >= limits.fork_patience_s:
                del self._searches[link]
                if search.theirs is None:
                    silent.append((peer, PeerError("the peer claims other commits of a log and does not show them")))
            elif core.now - search.asked_at >= limits.repair_interval_s:
                self._ask(peer, search)
        return silent

    # -- answers ------------------------------------------------------------------------------------------------------

    def wanted(self, peer: Peer, message: WantHeads) -> None:
        """A peer wants to see headers of ours."""
        self._core.out.append(ReadHeaders(peer.link, message.log, message.sequences, asked=True))

    def read(self, event: HeadersRead) -> None:
        """Our own headers were looked up. Raises PeerError when the comparison shows that the peer's are false."""
        peer = self._core.peers.get(event.link)
        if peer is None:
            return
        if event.asked:
            self._core.send(peer, Heads(event.log, _within(event.signed)), urgent=False)
            return
        search = self._searches.get(event.link)
        if search is not None and search.log == event.log and event.signed:
            search.ours = search.placed(event.signed)
            self._compare(peer, search)

    def shown(self, peer: Peer, message: Heads) -> None:
        """The peer shows headers of its own. Raises PeerError when they are not what it claimed (L6)."""
        search = self._searches.get(peer.link)
        if search is not None and search.log == message.log:
            shown = search.placed(message.signed)
            if shown:
                search.theirs = shown
                self._compare(peer, search)

    def _compare(self, peer: Peer, search: Search) -> None:
        if search.theirs is None or search.ours is None:
            return
        try:
            done = self._prove(search) if search.chains else search.narrow(search.theirs, search.ours)
        except PeerError:
            del self._searches[peer.link]
            raise
        if done:
            del self._searches[peer.link]
        else:
            self._ask(peer, search)

    def _prove(self, search: Search) -> bool:
        """The place is known: make the proof of it."""
        core = self._core
        member = core.membership.state().members.get(replica_of(search.log))
        assert search.theirs is not None and search.ours is not None
        if member is None:
            return True
        theirs = self._branch(member.sig, search.theirs, search.high)
        if theirs is None:
            raise BadSignature("the peer holds commits of a log that its author has not signed")
        ours = self._branch(member.sig, search.ours, search.high)
        if ours is None:
            core.alarm(
                "fork",
                f"{core.name_of(member.replica)} wrote a log twice, and signed one of them nowhere near "
                "the place where they part: it cannot be shown to others; close that machine.",
            )
            return True
        proof = fork_proof(member.sig, ours, theirs)
        if len(pack(proof_items(proof))) > limits.membership_record_bytes_max - _RECORD_REST:
            raise TooLarge("a fork whose headers are larger than a membership record")
        self._proofs[search.log] = proof
        core.out.append(MembersChanged())
        return True

    def _branch(self, sig: bytes, signed: Mapping[int, Signed], first: int) -> Branch | None:
        """Headers from `first` on to one whose own signature verifies."""
        headers: list[bytes] = []
        for sequence in range(first, first + limits.fork_chain_max):
            if sequence not in signed:
                return None
            header, signature = signed[sequence]
            headers.append(header)
            if self._core.verify(sig, signed_bytes(header_hash(header)), signature):
                return Branch(tuple(headers), signature)
        return None


def _within(signed: Sequence[Signed]) -> tuple[Signed, ...]:
    """As many as fit one message, the first at least."""
    size = 0
    taken: list[Signed] = []
    for item in signed:
        size += len(item[0])
        if taken and size > limits.fork_headers_bytes_target:
            break
        taken.append(item)
    return tuple(taken)
