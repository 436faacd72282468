"""The chain of proof from the first commit on: what an auditor could check at any replica, without trusting it.

Nothing here asks the code under test whether it is right: hashes, links and signatures are computed once more.
"""

from __future__ import annotations

from crdtsync.ids import Head, LogId, replica_of
from crdtsync.replication.commit import NO_HASH, Commit
from crdtsync.testing.ledger import Ledger, short, whole
from crdtsync.testing.process import Process
from crdtsync.testing.verdict import OracleFailed

_SIGNATURE = b"crdtsync/commit-signature/1"


def walk(process: Process, ledger: Ledger) -> None:
    """L3: every log from sequence 1: no gap, each commit names the one before it, hashes are right, authors are known,
    what the last commit signs covers the rest, stamps rise, and each hash is the one that all others hold."""
    known = process.replica.membership.state().members
    ends: dict[LogId, Commit] = {}
    last: dict[LogId, Head] = {}
    stamps: dict[LogId, int] = {}
    for stored in process.disk.arrivals(0, 1_000_000, 1 << 40):
        commit = stored.commit
        header = commit.header
        where = f"{short(header.log)}:{header.sequence} at {process.name}"
        before = last.get(header.log, Head(0, NO_HASH))
        if header.sequence != before.sequence + 1 or header.previous != before.hash:
            raise OracleFailed(f"L3: {where} does not continue its log")
        wrong = whole(commit)
        if wrong:
            raise OracleFailed(f"L3: {where} {wrong}")
        here = ledger.hashes.get((header.log, header.sequence))
        if here != commit.hash and replica_of(header.log) not in ledger.forked:
            raise OracleFailed(f"L3: {where} is not the commit that its author wrote")
        if header.stamp <= stamps.get(header.log, -1):
            raise OracleFailed(f"the stamp of {where} is not later than the one before it")
        if replica_of(header.log) not in known:
            raise OracleFailed(f"L3: {where} is by nobody whom the practice knows")
        if stored.checked:
            _signed(process, commit, where)
        last[header.log], ends[header.log], stamps[header.log] = commit.head, commit, header.stamp
    for log, commit in ends.items():
        _signed(process, commit, f"{short(log)}:{commit.header.sequence} at {process.name}")


def _signed(process: Process, commit: Commit, where: str) -> None:
    member = process.replica.membership.state().members[replica_of(commit.header.log)]
    if not process.sealer.verify(member.sig, _SIGNATURE + commit.hash, commit.signature):
        raise OracleFailed(f"L3: {where} does not bear its author's signature")
