"""Membership records: what admins and members sign about who belongs, and how that looks in bytes.

    record    = [version, op, practice, author, [parent hash, …], body, signature]
    hash      = SHA-256(DOMAIN_HASH ‖ [version, op, practice, author, parents, body])
    signature = Ed25519 by the author over DOMAIN_SIGN ‖ hash

    op        body
    found     [practice name, random, founder entry, recovery entry, epoch]     practice is b"", there are no parents
    add       [entry, [[epoch, sealed key], …]]                                 shares: the newcomer reads at once
    remove    [replica, reason, [[log, sequence, hash], …], epoch]              what it attests, and the next epoch
    epoch     [epoch]
    share     [[[epoch, replica, sealed key], …]]
    attest    [[[log, sequence, hash], …]]
    address   [[address, …]]
    fork      [signing key, branch, branch]                                     `fork_proof` says what these are
    succeed   [replica, log, [[log, sequence, hash], …]]        the branch that goes on, and where others end
    hold      [log, sequence, hash, reason word]
    close     [replica, stamp, [[log, sequence, hash], …], epoch]  written by when, what it attests, the next epoch

    entry     = [sig, tls, kem, role, admin, name, [address, …]]
    epoch     = [id, [[parent epoch, wrapped key], …], [[replica, sealed key], …]]

The practice's id is the beginning of the founding record's hash. Hash and signature are taken over the bytes as they
were received. Items behind the known ones of a body, an entry or an epoch, and whole records of an unknown op, are kept
and passed on. What a record brings about is decided in `membership`, not here.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from crdtsync.ids import (
    PRACTICE_ID_BYTES,
    CommitHash,
    CommitId,
    EpochId,
    Head,
    LogId,
    MemberHash,
    PracticeId,
    ReplicaId,
    replica_id_of,
)
from crdtsync.replication.fork_proof import ForkProof

DOMAIN_SIGN: Final = b"crdtsync/member-signature/1"
DOMAIN_EPOCH: Final = b"crdtsync/epoch/1"
NO_PRACTICE: Final = PracticeId(bytes(PRACTICE_ID_BYTES))
"""Stands for the practice in `epoch_info` of the founding record, whose hash is not known while it is made."""


@dataclass(frozen=True, slots=True)
class Entry:
    """A member as it is added: its public keys (`tls` a certificate in DER), its role and what people call it."""

    sig: bytes
    tls: bytes
    kem: bytes
    role: str
    admin: bool
    name: str
    addresses: tuple[str, ...] = ()

    @property
    def replica(self) -> ReplicaId:
        """The id that follows from the signing key."""
        return replica_id_of(self.sig)


@dataclass(frozen=True, slots=True)
class EpochBody:
    """A key epoch in a record: all parent epochs' keys wrapped under it, its own key sealed to readers."""

    id: EpochId
    parents: tuple[tuple[EpochId, bytes], ...]
    sealed: Mapping[ReplicaId, bytes]


@dataclass(frozen=True, slots=True)
class Found:
    """The first record of a practice."""

    name: str
    random: bytes
    founder: Entry
    recovery: Entry
    epoch: EpochBody


@dataclass(frozen=True, slots=True)
class Add:
    """A member comes in, or comes in again. `shares` are epoch keys sealed to it, by epoch."""

    entry: Entry
    shares: Mapping[EpochId, bytes]


@dataclass(frozen=True, slots=True)
class Remove:
    """A member goes. `heads` are those of its logs that the author has accepted; `epoch` is the next one."""

    replica: ReplicaId
    reason: str
    heads: tuple[tuple[LogId, Head], ...]
    epoch: EpochBody


@dataclass(frozen=True, slots=True)
class NewEpoch:
    """A new key epoch without a removal."""

    epoch: EpochBody


@dataclass(frozen=True, slots=True)
class Share:
    """Epoch keys for readers that lack them."""

    shares: tuple[tuple[EpochId, ReplicaId, bytes], ...]


@dataclass(frozen=True, slots=True)
class Attest:
    """Heads of logs that the author has accepted."""

    heads: tuple[tuple[LogId, Head], ...]


@dataclass(frozen=True, slots=True)
class Address:
    """Where the author can be reached from now on."""

    addresses: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Fork:
    """A log was written twice under one name: it ends where its branches part."""

    proof: ForkProof


@dataclass(frozen=True, slots=True)
class Succeed:
    """Of the branches of a replica, `log` goes on. `heads` are the ends of the others as the author saw them (L4)."""

    replica: ReplicaId
    log: LogId
    heads: tuple[tuple[LogId, Head], ...]


@dataclass(frozen=True, slots=True)
class Hold:
    """A commit that nobody is to apply, for ever (L6): the one at this place of the log that has this hash."""

    commit: CommitId
    hash: CommitHash
    reason: str


@dataclass(frozen=True, slots=True)
class Close:
    """An honest member goes whose machine is dead or given up. What it wrote up to `stamp`, a hybrid time, counts also
    where nobody has seen it yet; `heads` and `epoch` are as in `Remove`."""

    replica: ReplicaId
    stamp: int
    heads: tuple[tuple[LogId, Head], ...]
    epoch: EpochBody


@dataclass(frozen=True, slots=True)
class Unknown:
    """A record of a later version: kept and passed on, without effect here."""


Body = Found | Add | Remove | NewEpoch | Share | Attest | Address | Succeed | Fork | Hold | Close | Unknown


@dataclass(frozen=True, slots=True)
class MemberRecord:
    """A record of the right form; signature and right are not checked yet. `data` are its bytes as received."""

    op: str
    practice: PracticeId | None
    author: ReplicaId
    parents: tuple[MemberHash, ...]
    body: Body
    signature: bytes
    hash: MemberHash
    data: bytes = field(repr=False)


def signed_bytes(record: MemberHash) -> bytes:
    """What the author of a membership record signs."""
    return DOMAIN_SIGN + record


def epoch_info(practice: PracticeId, epoch: EpochId, replica: ReplicaId) -> bytes:
    """The context under which an epoch key is sealed to `replica`; in a founding record `practice` is NO_PRACTICE."""
    return DOMAIN_EPOCH + practice + epoch + replica
