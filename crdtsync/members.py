"""What a site signs into the membership log: made in the store's thread, where the keys are.

Each function returns the record's bytes; who calls publishes them (`Driver.publish`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from crdtsync.engine import DueHold
from crdtsync.host import Host
from crdtsync.ids import EpochId, Head, LogId, PracticeId, ReplicaId, base32
from crdtsync.replication import membership as log
from crdtsync.replication.fork_proof import ForkProof
from crdtsync.replication.member_codec import decode_record
from crdtsync.replication.membership import NO_PRACTICE, Entry, EpochBody, Member, Place, State
from crdtsync.sealing.base import Sealer
from crdtsync.sealing.identity import PublicIdentity
from crdtsync.sealing.keyring import Keyring


class Signer(Protocol):
    """Who signs, with which keys: the host of a site, or whoever holds the recovery sheet."""

    sealer: Sealer
    keyring: Keyring
    practice: PracticeId


def entry_of(
    public: PublicIdentity, *, name: str, role: str = "site", admin: bool = False, addresses: Sequence[str] = ()
) -> Entry:
    """How a replica stands in the membership log."""
    return Entry(public.sig, public.tls, public.kem, role, admin, name, tuple(addresses))


def new_epoch(
    sealer: Sealer,
    keyring: Keyring,
    practice: PracticeId,
    readers: Mapping[ReplicaId, bytes],
    parents: Sequence[EpochId],
) -> EpochBody:
    """A fresh epoch, sealed to `readers` (replica and sealing key), that wraps those `parents` whose keys are here."""
    epoch, key = keyring.new_epoch()
    sealed = {
        replica: sealer.seal_to(kem, log.epoch_info(practice, epoch, replica), key) for replica, kem in readers.items()
    }
    known = [parent for parent in parents if keyring.has(parent)]
    return EpochBody(epoch, keyring.wrap_parents(key, known), sealed)


def founding(sealer: Sealer, keyring: Keyring, *, practice: str, name: str, recovery: PublicIdentity) -> bytes:
    """The first record of a practice, and its first epoch."""
    founder = sealer.public
    readers = {founder.replica: founder.kem, recovery.replica: recovery.kem}
    return log.found(
        sealer.sign,
        name=practice,
        random=sealer.random(32),
        founder=entry_of(founder, name=name, admin=True),
        recovery=entry_of(recovery, name="recovery", role="recovery"),
        epoch=new_epoch(sealer, keyring, NO_PRACTICE, readers, ()),
    )


def adding(host: Signer, place: Place, state: State, entry: Entry) -> bytes:
    """Let `entry` in, with the keys of the epochs that are written under: they wrap the older ones."""
    shares: dict[EpochId, bytes] = {}
    if entry.role == "site":
        for epoch in _outermost(state):
            if host.keyring.has(epoch):
                shares[epoch] = _sealed(host, epoch, entry.replica, entry.kem)
    return log.add(host.sealer.sign, place, entry, shares)


def removing(
    host: Signer, place: Place, state: State, member: Member, reason: str, heads: Mapping[LogId, Head]
) -> bytes:
    """Shut `member` out and begin the next epoch, which it cannot open."""
    readers = {reader.replica: reader.kem for reader in state.readers() if reader.replica != member.replica}
    epoch = new_epoch(host.sealer, host.keyring, host.practice, readers, _outermost(state))
    return log.remove(host.sealer.sign, place, member.replica, reason=reason, heads=heads, epoch=epoch)


def closing(
    host: Signer, place: Place, state: State, member: Member, stamp: int, heads: Mapping[LogId, Head]
) -> bytes:
    """Take leave of an honest `member` and begin the next epoch, which it cannot open. What it wrote up to `stamp`
    counts, whoever brings it."""
    readers = {reader.replica: reader.kem for reader in state.readers() if reader.replica != member.replica}
    epoch = new_epoch(host.sealer, host.keyring, host.practice, readers, _outermost(state))
    return log.close(host.sealer.sign, place, member.replica, stamp=stamp, heads=heads, epoch=epoch)


def opening_epoch(host: Host, place: Place, state: State) -> bytes:
    """A new epoch for all readers, where every other one has a removed recipient."""
    readers = {reader.replica: reader.kem for reader in state.readers()}
    return log.epoch(
        host.sealer.sign, place, new_epoch(host.sealer, host.keyring, host.practice, readers, _outermost(state))
    )


def sharing(host: Host, place: Place, state: State) -> bytes | None:
    """The epochs that are here for readers that lack them; None when nobody does."""
    shares = [
        (epoch, reader, _sealed(host, epoch, reader, state.members[reader].kem))
        for epoch, reader in state.missing_shares()
        if host.keyring.has(epoch) and reader != host.replica
    ]
    return log.share(host.sealer.sign, place, shares) if shares else None


def forking(host: Host, place: Place, proof: ForkProof) -> bytes:
    """A record that shows a log to be written twice under one name."""
    return log.fork(host.sealer.sign, place, proof)


def attesting(host: Host, place: Place, heads: Mapping[LogId, Head]) -> bytes:
    """How far the logs of removed replicas were accepted here."""
    return log.attest(host.sealer.sign, place, heads)


def succeeding(host: Host, place: Place, log_: LogId, ends: Mapping[LogId, Head]) -> bytes:
    """Of the branches of a replica the one that ends in `log_` goes on; `ends` are where the others end."""
    return log.succeed(host.sealer.sign, place, log_, ends)


def holding(host: Host, place: Place, due: Sequence[DueHold]) -> list[bytes]:
    """That these commits are held: a record for each, every one behind the one before (L6)."""
    records = []
    for hold in due:
        data = log.hold(host.sealer.sign, place, hold.commit, hold.hash, hold.reason)
        place = Place(place.practice, place.author, (decode_record(data).hash,))
        records.append(data)
    return records


def moving(host: Host, place: Place, addresses: Sequence[str]) -> bytes:
    """Where this site can be reached from now on."""
    return log.address(host.sealer.sign, place, addresses)


def _sealed(host: Signer, epoch: EpochId, replica: ReplicaId, kem: bytes) -> bytes:
    return host.sealer.seal_to(kem, log.epoch_info(host.practice, epoch, replica), host.keyring.key(epoch))


def _outermost(state: State) -> list[EpochId]:
    """The epochs that no other one wraps: with their keys comes all that is older."""
    inner = {parent for epoch in state.epochs.values() for parent, _ in epoch.parents}
    return [epoch for epoch in state.epochs if epoch not in inner]


def shown(member: Member) -> dict[str, Any]:
    """A member as `members` lists it."""
    return {
        "name": member.name,
        "replica": base32(member.replica),
        "role": member.role,
        "admin": member.admin,
        "state": "active" if member.active else "revoked" if member.closed_at is None else "closed",
        "addresses": list(member.addresses),
    }
