"""What a set of membership records amounts to: who belongs, which key epochs there are, where removed logs end."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property

from crdtsync.ids import CommitHash, CommitId, EpochId, Head, LogId, MemberHash, PracticeId, ReplicaId
from crdtsync.replication.member_records import NO_PRACTICE, epoch_info


def reads(role: str) -> bool:
    """Whether epochs are sealed to members of this role."""
    return role in ("site", "recovery")


def administers(role: str, admin: bool) -> bool:
    """Whether a member with this role and flag may add and remove members; roles of later versions may nothing."""
    return role == "recovery" or (role == "site" and admin)


@dataclass(frozen=True, slots=True)
class Member:
    """A replica that belongs to the practice, or did (`active` is False). `record` is the record that added it.

    `closed_at` tells of one that was closed, and not removed, up to which stamp its commits count without an attest.
    """

    replica: ReplicaId
    sig: bytes
    tls: bytes
    kem: bytes
    role: str
    admin: bool
    name: str
    addresses: tuple[str, ...]
    active: bool
    record: MemberHash
    closed_at: int | None = None

    @property
    def reader(self) -> bool:
        """Whether epochs are sealed to it."""
        return self.active and reads(self.role)

    @property
    def links(self) -> bool:
        """Whether it may connect: it belongs, or was closed and hands over what it has."""
        return self.active or self.closed_at is not None

    @property
    def administers(self) -> bool:
        """Whether it may add and remove members: a site with the admin flag, or the recovery identity."""
        return self.active and administers(self.role, self.admin)


@dataclass(frozen=True, slots=True)
class Epoch:
    """A key epoch and the record that carries it.

    A `void` epoch was made by somebody whom others were removing: nobody seals under it any more, but what was sealed
    before that became known is still opened with it.
    """

    id: EpochId
    parents: tuple[tuple[EpochId, bytes], ...]
    sealed: Mapping[ReplicaId, bytes]
    record: MemberHash
    author: ReplicaId
    void: bool


@dataclass(frozen=True, slots=True)
class Delivery:
    """An epoch's key as it was sealed to one replica; `info` is the context that opens it."""

    epoch: EpochId
    info: bytes
    sealed: bytes


@dataclass(frozen=True, slots=True)
class Succession:
    """What admins have said of a replica that had branched: `log` goes on, the logs in `heads` end there (L4)."""

    log: LogId
    heads: Mapping[LogId, Head]


@dataclass(frozen=True)
class State:
    """The outcome of a causally closed set of records: equal at everybody who has that set, in whatever order it came.

    `members` holds active and removed members. `shares` holds per epoch the key as sealed to each reader, by the epoch
    itself or by a later share. `cuts` holds, for logs of members that are not active, up to where their commits count;
    a log of such a member that is missing there does not count at all. `frozen` says where forked logs end (L3),
    `successions` what admins decided about replicas that had branched (L4). `holds` are the commits that nobody
    applies, by place and hash, each with the word for why; they stay whoever is removed. `held_by` tells who knew of a
    hold (L6). `indices` numbers the sites, active or not (see `member_indices`).
    """

    practice: PracticeId
    members: Mapping[ReplicaId, Member]
    epochs: Mapping[EpochId, Epoch]
    shares: Mapping[EpochId, Mapping[ReplicaId, bytes]]
    cuts: Mapping[LogId, Head]
    frozen: Mapping[LogId, Head] = field(default_factory=dict)
    successions: Mapping[ReplicaId, Succession] = field(default_factory=dict)
    holds: Mapping[CommitId, Mapping[CommitHash, str]] = field(default_factory=dict)
    held_by: Callable[[Iterable[MemberHash], CommitId], bool] = field(
        default=lambda members, commit: False, repr=False, compare=False
    )
    indices: Mapping[ReplicaId, int] = field(default_factory=dict)

    @cached_property
    def held(self) -> int:
        """How many commits are held and logs forked: the sets only grow, so of one practice's sets the number tells
        which one it is."""
        return sum(map(len, self.holds.values())) + len(self.frozen)

    @cached_property
    def closed(self) -> Mapping[LogId, Head]:
        """Where branches end that another one has succeeded; one that has grown beyond that counts as open again."""
        return {
            log: head
            for succession in self.successions.values()
            for log, head in succession.heads.items()
            if log != succession.log
        }

    def active(self, replica: ReplicaId) -> Member | None:
        """The member, if it belongs now."""
        member = self.members.get(replica)
        return member if member is not None and member.active else None

    def readers(self) -> list[Member]:
        """Active members that epochs are sealed to (sites and recovery identities), by id."""
        return sorted((member for member in self.members.values() if member.reader), key=lambda m: m.replica)

    def sealing_epoch(self) -> EpochId | None:
        """The epoch to seal under, the same at everybody with this state; None when a new one must be made."""
        return next(iter(self.sealing_epochs), None)

    @cached_property
    def sealing_epochs(self) -> tuple[EpochId, ...]:
        """All epochs that are fit for sealing and that no other one wraps, the preferred one first.

        Fit is an epoch that is not void and whose key nobody but active readers can have: no recipient, no author, and
        no recipient of an epoch that wraps it. More than one is left when sites made epochs apart from each other.
        """
        unfit = self._below(epoch.id for epoch in self.epochs.values() if epoch.void or not self._closed(epoch))
        fit = [epoch for epoch in self.epochs.values() if epoch.id not in unfit]
        wrapped = self._below(parent for epoch in fit for parent, _ in epoch.parents)
        return tuple(epoch.id for epoch in reversed(fit) if epoch.id not in wrapped)

    def missing_shares(self) -> list[tuple[EpochId, ReplicaId]]:
        """What holders should share: epochs that a reader can open neither by a share nor by way of a wrapping epoch.

        Only the outermost ones are named, since they bring the epochs that they wrap.
        """
        missing = []
        for reader in self.readers():
            held = self._below(epoch for epoch in self.epochs if reader.replica in self.shares[epoch])
            lacking = [epoch for epoch in self.epochs if epoch not in held]
            inner = {parent for epoch in lacking for parent, _ in self.epochs[epoch].parents}
            outer = [epoch for epoch in lacking if epoch not in inner]
            missing += [(epoch, reader.replica) for epoch in outer]
        return missing

    def deliveries(self, replica: ReplicaId) -> list[Delivery]:
        """Every epoch key that was sealed to `replica`, oldest epoch first.

        One epoch may stand there twice (sealed in its own record and shared later): when one does not open, or opens
        to a key whose hash is not the epoch's id, the next one may.
        """
        found = []
        for epoch in self.epochs.values():
            own, shared = epoch.sealed.get(replica), self.shares[epoch.id].get(replica)
            if own is not None:
                found.append(Delivery(epoch.id, epoch_info(self._sealed_for(epoch), epoch.id, replica), own))
            if shared is not None and shared != own:
                found.append(Delivery(epoch.id, epoch_info(self.practice, epoch.id, replica), shared))
        return found

    def _sealed_for(self, epoch: Epoch) -> PracticeId:
        founding = epoch.record.startswith(self.practice)
        return NO_PRACTICE if founding else self.practice

    def _closed(self, epoch: Epoch) -> bool:
        """Whether the epoch's author and all recipients are active readers."""
        return all(
            (member := self.members.get(holder)) is not None and member.reader
            for holder in (epoch.author, *self.shares[epoch.id])
        )

    def _below(self, epochs: Iterable[EpochId]) -> set[EpochId]:
        """The epochs and all that they wrap."""
        reached: set[EpochId] = set()
        left = list(epochs)
        while left:
            epoch = left.pop()
            if epoch not in reached and epoch in self.epochs:
                reached.add(epoch)
                left += [parent for parent, _ in self.epochs[epoch].parents]
        return reached
