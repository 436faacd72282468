"""What the world knows beyond any replica: what was written, promised and stored. Checks it the moment it happens.

It is independent of the code under test: it does not ask what a commit says it depends on alone, but remembers what its
author's disk held when it was written.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Final

from crdtsync.clock import wall_ms
from crdtsync.ids import CommitHash, Head, LogId, ReplicaId, replica_of
from crdtsync.replication.commit import NO_HASH, Commit
from crdtsync.replication.membership import State
from crdtsync.testing.disk import Disk
from crdtsync.testing.verdict import OracleFailed

__all__ = ["Account", "Ledger", "OracleFailed", "Place", "rightful", "short", "whole"]

Place = tuple[LogId, int]
_AHEAD_MS: Final = 5 * 60 * 1000
_COMMIT: Final = b"crdtsync/commit/1"
_PART: Final = b"crdtsync/part/1"


def short(log: LogId) -> str:
    """A log as traces show it."""
    return f"{log[:3].hex()}.{log[16:19].hex()}"


def whole(commit: Commit) -> str:
    """What is wrong with a commit taken by itself: its hash, and the bytes of its parts. Empty when nothing is."""
    if hashlib.sha256(_COMMIT + commit.header_bytes).digest() != commit.hash:
        return "is kept under a hash that is not its own"
    for ref, sealed in zip(commit.header.parts, commit.parts, strict=True):
        if sealed and hashlib.sha256(_PART + sealed).digest() != ref.hash:
            return "has a part whose bytes are not those that its header names"
    return ""


class Account:
    """What one replica's disk was seen to take, what it told others that it has, and what its clock has shown.

    `wall` reads that clock; `wall_max` is the latest time that it ever showed, `stepped_back_ms` how far it was ever
    set back, in all.
    """

    def __init__(self, name: str, replica: ReplicaId, wall: Callable[[], int] = lambda: 0) -> None:
        self.name = name
        self.replica = replica
        self.wall = wall
        self.wall_max = 0
        self.stepped_back_ms = 0
        self.arrived: dict[LogId, tuple[int, int]] = {}
        """Per log the stamp of its last commit here, and what the clock showed when that came."""
        self.frontier: dict[LogId, Head] = {}
        self.told: dict[LogId, Head] = {}
        self.written: dict[Place, CommitHash] = {}
        """What its applications were told is written."""


def rightful(name: str, commits: Iterable[Commit], state: State) -> None:
    """What a site is about to store was written by members, or attested. Raises OracleFailed when it was not."""
    for commit in commits:
        header = commit.header
        cut = state.cuts.get(header.log)
        member = state.members.get(replica_of(header.log))
        closed_at = None if member is None else member.closed_at
        if closed_at is not None and header.stamp <= closed_at:
            continue
        if state.active(replica_of(header.log)) is None and (cut is None or header.sequence > cut.sequence):
            raise OracleFailed(
                f"{name} stores {short(header.log)}:{header.sequence} of a removed replica, which nobody has attested"
            )


class Ledger:
    """The books of a world.

    `hashes` has every commit that any disk took, `pasts` what the first disk that took it (its author's) held before,
    `acknowledged` what an application was told is written.
    """

    def __init__(self) -> None:
        self.hashes: dict[Place, CommitHash] = {}
        self.stamps: dict[ReplicaId, int] = {}
        """Per replica the latest stamp that it gave."""
        self.pasts: dict[Place, Mapping[LogId, int]] = {}
        self.acknowledged: dict[Place, CommitHash] = {}
        self.removed: set[ReplicaId] = set()
        self.closed: set[ReplicaId] = set()
        self.stamp_of: dict[Place, int] = {}
        """When each commit was written, as it says itself."""
        self.forked: set[ReplicaId] = set()
        """Replicas that sign one sequence twice: of their logs two hashes are no failure of those who are told."""

    def appended(self, account: Account, commits: Sequence[tuple[Commit, bool]]) -> None:
        """A disk took commits. Raises OracleFailed where L2 or L3 does not hold, or a stamp is not what it must be."""
        now_ms = account.wall()
        account.wall_max = max(account.wall_max, now_ms)
        for commit, _ in commits:
            header = commit.header
            place = (header.log, header.sequence)
            wrong = whole(commit)
            if wrong:
                raise OracleFailed(f"L3: {short(header.log)}:{header.sequence}, as {account.name} takes it, {wrong}")
            if place not in self.pasts:
                self.stamp_of[place] = header.stamp
                self.pasts[place] = {log: head.sequence for log, head in account.frontier.items()}
                if replica_of(header.log) == account.replica and now_ms:
                    self._stamped(account, commit, now_ms)
            self._one_hash(account, place, commit.hash)
            self._gapless(account, commit)
            self._causal(account, commit)
            account.frontier[header.log] = commit.head
            account.arrived[header.log] = (header.stamp, now_ms)

    def _stamped(self, account: Account, commit: Commit, now_ms: int) -> None:
        """A fresh commit is stamped behind all that its author had seen, whatever clocks say, but for what lies so far
        ahead that it is not adopted; and nothing that lies so far ahead drags it along."""
        header = commit.header
        where = f"{short(header.log)}:{header.sequence} of {account.name}"
        for log, (seen, came_ms) in account.arrived.items():
            adopted = min(came_ms, now_ms) + _AHEAD_MS - account.stepped_back_ms
            if header.stamp <= seen and wall_ms(seen) <= adopted:
                raise OracleFailed(f"the stamp of {where} does not lie behind one of {short(log)}, which it had seen")
        own = self.stamps.get(account.replica, 0)
        latest = max(account.wall_max + _AHEAD_MS, wall_ms(own) + 1)
        if wall_ms(header.stamp) > latest:
            raise OracleFailed(f"the stamp of {where} was dragged {wall_ms(header.stamp) - latest} ms ahead")
        self.stamps[account.replica] = max(own, header.stamp)

    def _one_hash(self, account: Account, place: Place, commit: CommitHash) -> None:
        known = self.hashes.setdefault(place, commit)
        if known != commit and replica_of(place[0]) not in self.forked:
            raise OracleFailed(f"L3: {short(place[0])}:{place[1]} has a second hash at {account.name}")

    def _gapless(self, account: Account, commit: Commit) -> None:
        header = commit.header
        last = account.frontier.get(header.log, Head(0, NO_HASH))
        if header.sequence != last.sequence + 1 or header.previous != last.hash:
            raise OracleFailed(
                f"L2: {short(header.log)}:{header.sequence} follows on {last.sequence} in the log of {account.name}"
            )

    def _causal(self, account: Account, commit: Commit) -> None:
        header = commit.header
        # A commit without content, in front of one that has more to name than fits a header, names what it can.
        past = dict(self.pasts[header.log, header.sequence]) if header.parts else {}
        for log, head in header.dependencies:
            past[log] = max(past.get(log, 0), head.sequence)
        for log, sequence in past.items():
            here = account.frontier.get(log)
            # A forked log ends before what its author's peers had seen of it, at some more than at others.
            if replica_of(log) in self.forked:
                continue
            if sequence > (0 if here is None else here.sequence) and log != header.log:
                raise OracleFailed(
                    f"L2: {short(header.log)}:{header.sequence} is stored at {account.name} before "
                    f"{short(log)}:{sequence}, which its author had"
                )

    def wrote(self, account: Account, commits: Iterable[Commit]) -> None:
        """An application was told that these commits stand."""
        for commit in commits:
            place = (commit.header.log, commit.header.sequence)
            self.acknowledged[place] = account.written[place] = commit.hash

    def told(self, account: Account, disk: Disk, heads: Iterable[tuple[LogId, Head]]) -> None:
        """A site says to a peer that this is on its disk. Raises OracleFailed when it is not (L1)."""
        for log, head in heads:
            if head.sequence == 0:
                continue
            stored = disk.kept(log, head.sequence)
            if stored is None or stored.commit.hash != head.hash:
                raise OracleFailed(
                    f"L1: {account.name} tells of {short(log)}:{head.sequence}, which is not on its disk"
                )
            if head.sequence > account.told.get(log, Head(0, NO_HASH)).sequence:
                account.told[log] = head

    def restarted(self, account: Account, disk: Disk) -> None:
        """A site comes back. Raises OracleFailed when its disk lacks what it had told others (L1)."""
        account.frontier = disk.frontier()
        self._heard(account, disk)
        for log, head in account.told.items():
            stored = disk.kept(log, head.sequence)
            if stored is None or stored.commit.hash != head.hash:
                raise OracleFailed(
                    f"L1: {account.name} had told of {short(log)}:{head.sequence}, and lacks it after a crash"
                )
        for (log, sequence), commit in account.written.items():
            stored = disk.kept(log, sequence)
            if stored is None or stored.commit.hash != commit:
                raise OracleFailed(
                    f"L1: {account.name} had acknowledged {short(log)}:{sequence}, and lacks it after a crash"
                )

    def _heard(self, account: Account, disk: Disk) -> None:
        """What a process hears when it starts: the last commit of every log, and the time of its clock."""
        now_ms = account.wall()
        account.wall_max = max(account.wall_max, now_ms)
        account.arrived = {}
        for log, head in account.frontier.items():
            stored = disk.kept(log, head.sequence)
            if stored is not None:
                account.arrived[log] = (stored.commit.header.stamp, now_ms)

    def rolled_back(self, account: Account, disk: Disk, elsewhere: Iterable[Disk]) -> None:
        """An older copy of the disk is put in its place: what nobody else holds is lost, and nobody's fault."""
        account.frontier = disk.frontier()
        account.told = {}
        others = list(elsewhere)
        for log, sequence in list(account.written):
            if disk.kept(log, sequence) is None:
                del account.written[log, sequence]
                if not any(other.kept(log, sequence) for other in others):
                    del self.acknowledged[log, sequence]
