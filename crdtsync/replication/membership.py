"""The members of a practice: a graph of signed records that everybody keeps for ever, and what follows from it.

Each record names the records that its author had seen. Who belongs follows from a causally closed set of records alone,
without a clock and without a coordinator, so it is the same everywhere, in whatever order the records came:

1. A record counts only if its author had the right in the record's own causal past.

       found      makes the practice
       add        an admin site, or the recovery identity
       remove     the same; names a replica that was added in its past
       epoch      a reader: a site, or the recovery identity (a site that lacks a fit epoch makes one, also alone)
       share      a reader
       attest     any active member; moves cuts when it is a reader
       address    any active member, for itself
       fork       any active member; its bytes are the proof, so it counts for ever
       succeed    an admin site, or the recovery identity
       hold       a reader
       close      an admin site, or the recovery identity; names a replica that was added in its past

2. Removal wins: what a replica wrote without having seen its own removal is void, and so is what rests on that, such as
   the records of a member that only a void add let in. Such a member counts as removed.
3. Removals themselves are never made void, so mutual and cyclic removals remove everybody named in them. What else they
   carry (the next epoch, heads attested) is void like the rest when others were removing their author.
4. A hold that counts is never made void: documents were derived without that commit, so the set of holds only grows.
5. An add lets a removed replica in again only if it has seen every removal of it. Of several standing adds the first
   counts, so a replica that two admins added apart from each other is one member.
6. Of several standing successions of one replica the last names the log that goes on. What each of them closes is
   closed, up to the furthest head named, but for that log: a branch that grows beyond its head is open again, and
   another succession is needed.
7. A closing ends membership like a removal, and an add must have seen it likewise; but it is of somebody honest. It
   makes nothing void, is void itself like any other record, and the commits that the closed one had written by then
   count without an attest. A removal beside it wins: then only what was attested counts. Of several closings the latest
   stamp counts, so that learning of one more never takes anything back.

"First" and "last" mean the order by length of the longest chain of records down to the founding one, then by hash: an
order that follows cause and that everybody computes alike.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Final

from crdtsync import limits
from crdtsync.errors import BadSignature, Malformed, NotAMember, NotFound, PeerError, TooLarge
from crdtsync.ids import PRACTICE_ID_BYTES, MemberHash, PracticeId, ReplicaId
from crdtsync.replication.fork_proof import ForkProof
from crdtsync.replication.member_builders import (
    Place,
    Sign,
    add,
    address,
    attest,
    close,
    epoch,
    fork,
    found,
    hold,
    record,
    remove,
    share,
    succeed,
)
from crdtsync.replication.member_codec import decode_record
from crdtsync.replication.member_graph import Graph, Node
from crdtsync.replication.member_outcome import outcome
from crdtsync.replication.member_records import (
    NO_PRACTICE,
    Entry,
    EpochBody,
    Fork,
    Found,
    MemberRecord,
    epoch_info,
    signed_bytes,
)
from crdtsync.replication.member_state import Delivery, Epoch, Member, State, Succession

__all__ = [
    "NO_PRACTICE",
    "Delivery",
    "Entry",
    "Epoch",
    "EpochBody",
    "Member",
    "Membership",
    "MemberRecord",
    "MissingParents",
    "Place",
    "Sign",
    "State",
    "Succession",
    "Verify",
    "add",
    "address",
    "attest",
    "close",
    "epoch",
    "epoch_info",
    "fork",
    "found",
    "hold",
    "practice_of",
    "record",
    "remove",
    "share",
    "succeed",
]

Verify = Callable[[bytes, bytes, bytes], bool]
"""(signing key, message, signature) -> whether the signature holds."""
_STATES_CACHED: Final = 256


class MissingParents(PeerError):
    """A record came before the records that it names; `parents` are those that are not here. Ask for them first."""

    def __init__(self, parents: tuple[MemberHash, ...]) -> None:
        super().__init__(f"membership record: {len(parents)} records that it builds on are not here; send them first")
        self.parents = parents


class Membership:
    """The membership records that are here. `practice` may be given before the first record comes.

    Pure and single-threaded; a record that raises changes nothing (L6).
    """

    def __init__(self, verify: Verify, practice: PracticeId | None = None) -> None:
        self._verify = verify
        self._practice = practice
        self._graph = Graph()
        self._heads: set[MemberHash] = set()
        self._states: dict[tuple[MemberHash, ...], State] = {}
        self._current: State | None = None

    @property
    def practice(self) -> PracticeId:
        """The practice's id. Raises NotFound while neither it nor a founding record is here."""
        if self._practice is None:
            raise NotFound("no founding record is here yet; add it first")
        return self._practice

    @property
    def practice_name(self) -> str:
        """What the founder called the practice. Raises NotFound while no founding record is here."""
        for node in self._graph.nodes[:1]:
            if isinstance(node.record.body, Found):
                return node.record.body.name
        raise NotFound("no founding record is here yet; add it first")

    @property
    def heads(self) -> tuple[MemberHash, ...]:
        """The newest records: those that no other one names, in ascending order."""
        return tuple(sorted(self._heads))

    def __len__(self) -> int:
        return len(self._graph.nodes)

    def has(self, record: MemberHash) -> bool:
        """Whether the record is here."""
        return record in self._graph.by_hash

    def knows(self, heads: Iterable[MemberHash]) -> bool:
        """Whether all these records are here."""
        return all(head in self._graph.by_hash for head in heads)

    def covers(self, newer: Iterable[MemberHash], older: Iterable[MemberHash]) -> bool:
        """Whether all of `older` is among or before `newer`. Raises KeyError for a record that is not here."""
        return not self._graph.closure(older) & ~self._graph.closure(newer)

    def get(self, record: MemberHash) -> MemberRecord:
        """One record. Raises KeyError."""
        return self._graph.by_hash[record].record

    def records(self) -> list[tuple[MemberHash, bytes]]:
        """All records as received, parents before children."""
        return [(node.record.hash, node.record.data) for node in self._graph.nodes]

    def place(self, author: ReplicaId) -> Place:
        """Where the next record of `author` stands: behind everything that is here."""
        return Place(self.practice, author, self.heads)

    def add(self, data: bytes) -> MemberHash | None:
        """Take in a record; its hash, or None when it is here already.

        A record of an active member that had no right to write it, or of an op that is not known here, is kept without
        effect. Raises MissingParents; Malformed for bytes of another form or practice; NotAMember when the author was
        no active member in the record's own past; BadSignature; TooLarge for a record or a graph beyond its limit.
        """
        record = decode_record(data)
        if record.hash in self._graph.by_hash:
            return None
        if len(self) >= limits.membership_records_max:
            raise TooLarge(f"membership: more than {limits.membership_records_max} records")
        self._check_practice(record)
        node = self._graph.node(record)
        if not self._verify(self._author_key(node), signed_bytes(record.hash), record.signature):
            raise BadSignature("membership record: its signature is not its author's")
        if isinstance(record.body, Fork):
            self._check_fork(record.body.proof)
        self._practice = self._practice or practice_of(record.hash)
        self._graph.insert(node)
        if not record.parents:
            self._states.clear()
        self._heads.difference_update(record.parents)
        self._heads.add(record.hash)
        self._current = None
        return record.hash

    def _check_practice(self, record: MemberRecord) -> None:
        practice = record.practice or practice_of(record.hash)
        if self._practice not in (None, practice) or (len(self) and isinstance(record.body, Found)):
            raise Malformed("membership record: it belongs to another practice")
        missing = tuple(parent for parent in record.parents if parent not in self._graph.by_hash)
        if missing:
            raise MissingParents(missing)

    def _check_fork(self, proof: ForkProof) -> None:
        if proof.practice != self._practice:
            raise Malformed("fork: its commits are of another practice")
        if not all(self._verify(*signed) for signed in proof.signed()):
            raise BadSignature("fork: its branches are not signed by the log's author")

    def _author_key(self, node: Node) -> bytes:
        record = node.record
        if isinstance(record.body, Found):
            if record.body.founder.replica != record.author:
                raise NotAMember("founding record: its author is not the founder")
            return record.body.founder.sig
        author = self._graph.standing(record.author, node.past, self._graph.grants(node.past))
        if author is None:
            raise NotAMember("membership record: its author was no active member when it was written")
        return author.entry.sig

    def state(self, heads: Iterable[MemberHash] | None = None) -> State:
        """What the records up to `heads` (by default: all) amount to. Raises KeyError for a head that is not here."""
        if heads is None:
            if self._current is None:
                self._current = self._state(self.heads)
            return self._current
        return self._state(tuple(heads))

    def _state(self, heads: tuple[MemberHash, ...]) -> State:
        state = self._states.get(heads)
        if state is None:
            known = self._graph.closure(heads)
            state = outcome(self._graph, known, self._practice or NO_PRACTICE)
            while len(self._states) >= _STATES_CACHED:
                del self._states[next(iter(self._states))]
            self._states[heads] = state
        return state


def practice_of(founding: MemberHash) -> PracticeId:
    """The id of the practice that a founding record makes."""
    return PracticeId(founding[:PRACTICE_ID_BYTES])
