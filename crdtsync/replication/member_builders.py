"""Membership records as their authors make and sign them; `member_records` says what they look like.

Each function gives a signed record's bytes. Raises Malformed or TooLarge, before anything is signed, when others would
refuse the record.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from crdtsync.ids import (
    CommitHash,
    CommitId,
    EpochId,
    Head,
    LogId,
    MemberHash,
    PracticeId,
    ReplicaId,
    replica_of,
)
from crdtsync.replication.codec import check_bytes, pack
from crdtsync.replication.commit import SIGNATURE_BYTES
from crdtsync.replication.fork_proof import ForkProof, proof_items
from crdtsync.replication.member_codec import ARRAY_OF_ITEMS, FORMAT_VERSION, SIGNATURE_HEAD, decode_record
from crdtsync.replication.member_records import Entry, EpochBody, signed_bytes

Sign = Callable[[bytes], bytes]
"""Signs with the author's own key."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where a new record stands: who writes it, behind which records. `Membership.place` gives it."""

    practice: PracticeId
    author: ReplicaId
    parents: tuple[MemberHash, ...]


def found(sign: Sign, *, name: str, random: bytes, founder: Entry, recovery: Entry, epoch: EpochBody) -> bytes:
    """The founding record, signed by the founder. `random` is 32 bytes; epoch keys are sealed under NO_PRACTICE."""
    body = [name, random, _entry_items(founder), _entry_items(recovery), _epoch_items(epoch)]
    return _signed(sign, "found", b"", founder.replica, (), body)


def add(sign: Sign, place: Place, entry: Entry, shares: Mapping[EpochId, bytes] | None = None) -> bytes:
    """A record by an admin that lets `entry` in; `shares` are keys of epochs sealed to it."""
    return record(sign, place, "add", [_entry_items(entry), [list(item) for item in (shares or {}).items()]])


def remove(
    sign: Sign,
    place: Place,
    replica: ReplicaId,
    *,
    reason: str,
    heads: Mapping[LogId, Head],
    epoch: EpochBody,
) -> bytes:
    """A record by an admin that shuts `replica` out; `heads` are the ends of its logs that the author has accepted."""
    return record(sign, place, "remove", [replica, reason, _head_items(heads), _epoch_items(epoch)])


def epoch(sign: Sign, place: Place, epoch: EpochBody) -> bytes:
    """A record by a site that begins a new epoch."""
    return record(sign, place, "epoch", [_epoch_items(epoch)])


def share(sign: Sign, place: Place, shares: Sequence[tuple[EpochId, ReplicaId, bytes]]) -> bytes:
    """A record by a holder of epochs for readers that lack them."""
    return record(sign, place, "share", [[list(item) for item in shares]])


def attest(sign: Sign, place: Place, heads: Mapping[LogId, Head]) -> bytes:
    """A record by a reader that names how far it has accepted logs."""
    return record(sign, place, "attest", [_head_items(heads)])


def address(sign: Sign, place: Place, addresses: Sequence[str]) -> bytes:
    """A record by a member that says where it can be reached; it replaces what it said before."""
    return record(sign, place, "address", [list(addresses)])


def fork(sign: Sign, place: Place, proof: ForkProof) -> bytes:
    """A record by a member that has seen a log written twice under one name."""
    return record(sign, place, "fork", proof_items(proof))


def succeed(sign: Sign, place: Place, log: LogId, heads: Mapping[LogId, Head]) -> bytes:
    """A record by an admin: of the branches of its replica `log` goes on; `heads` are the ends of the others."""
    return record(sign, place, "succeed", [replica_of(log), log, _head_items(heads)])


def hold(sign: Sign, place: Place, commit: CommitId, commit_hash: CommitHash, reason: str) -> bytes:
    """A record by a reader that a commit is not to be applied by anybody; it stays for ever (L6)."""
    return record(sign, place, "hold", [commit.log, commit.sequence, commit_hash, reason])


def close(
    sign: Sign,
    place: Place,
    replica: ReplicaId,
    *,
    stamp: int,
    heads: Mapping[LogId, Head],
    epoch: EpochBody,
) -> bytes:
    """A record by an admin that takes leave of an honest `replica`: what it wrote up to `stamp` counts, whoever has it;
    `heads` are the ends of its logs that the author has accepted."""
    return record(sign, place, "close", [replica, stamp, _head_items(heads), _epoch_items(epoch)])


def record(sign: Sign, place: Place, op: str, body: list[Any]) -> bytes:
    """A signed record of any op: what the other functions end in."""
    return _signed(sign, op, place.practice, place.author, place.parents, body)


def _signed(
    sign: Sign, op: str, practice: bytes, author: ReplicaId, parents: Sequence[MemberHash], body: list[Any]
) -> bytes:
    unsigned = pack([FORMAT_VERSION, op, practice, author, sorted(parents), body])
    rest = ARRAY_OF_ITEMS + unsigned[1:] + SIGNATURE_HEAD
    checked = decode_record(rest + bytes(SIGNATURE_BYTES))
    return rest + check_bytes(sign(signed_bytes(checked.hash)), SIGNATURE_BYTES, "membership signature")


def _entry_items(entry: Entry) -> list[Any]:
    return [entry.sig, entry.tls, entry.kem, entry.role, entry.admin, entry.name, list(entry.addresses)]


def _epoch_items(body: EpochBody) -> list[Any]:
    return [body.id, [list(wrap) for wrap in body.parents], [list(key) for key in sorted(body.sealed.items())]]


def _head_items(heads: Mapping[LogId, Head]) -> list[Any]:
    return [[log, head.sequence, head.hash] for log, head in sorted(heads.items())]
