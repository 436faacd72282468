"""What `status` tells: where a site stands, for people and scripts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from crdtsync.contact import Contact
from crdtsync.engine import EngineStatus
from crdtsync.ids import commit_text, log_text, replica_of
from crdtsync.opened import Opened
from crdtsync.replication.frontier import Frontier

_NOT_HERE_YET: Final = {"files": {"here": 0, "missing": 0, "missing_bytes": 0}}
"""This version has no files, so there are none; scripts find the keys that later versions fill."""


def describe(
    site: Opened, engine: EngineStatus, suspended: Sequence[Mapping[str, Any]], known: Sequence[Contact]
) -> dict[str, Any]:
    """The shape of `crdtsync status --json`; more keys may come, none goes."""
    replica = site.driver.replica
    return {
        "practice": site.practice,
        "site": site.name,
        "replica": site.replica,
        "frontier": {log_text(log): head.sequence for log, head in sorted(replica.stored.items())},
        "records": engine.kinds,
        "conflicts": engine.conflicts,
        "peers": [_peer(site, contact) for contact in known],
        "digest": engine.digest,
        "commits": engine.arrival,
        "derived": engine.derived,
        "rederiving": [dict(each) for each in engine.rederiving],
        "waiting_keys": engine.waiting,
        "belongs": site.member() is not None,
        "recovering": replica.recovering,
        "suspended": list(suspended),
        "superseded": replica.superseded,
        "worker": None if site.worker is None else dict(site.worker),
        "failure": None if site.driver.failure is None else str(site.driver.failure),
        "kdf": "fast" if site.kdf_fast else "argon2id",
        "held": [
            {
                "commit": commit_text(held.commit),
                "site": replica.describe(replica_of(held.commit.log)),
                "records": list(held.records),
                "reason": held.reason,
            }
            for held in engine.held
        ],
        "frozen": [
            {
                "log": log_text(log),
                "site": replica.describe(replica_of(log)),
                "commits": end.sequence,
                "reason": "it was written twice under one name; what follows counts nowhere",
            }
            for log, end in sorted(replica.frozen.items())
        ],
        "late": [
            {"log": log_text(log), "site": replica.describe(replica_of(log)), "commits": commits}
            for log, commits in sorted(replica.late.items())
        ],
        **_NOT_HERE_YET,
        "alarms": [{"kind": notice.kind, "text": notice.text} for notice in site.driver.alarms],
    }


def _peer(site: Opened, contact: Contact) -> dict[str, Any]:
    replica = site.driver.replica
    linked = {peer.replica: peer for peer in replica.peers.values()}
    peer = linked.get(contact.member.replica)
    known, stored = replica.holding(contact.member.replica), replica.stored
    return {
        **contact.shown(),
        "missing_here": _lacking(known, stored),
        "missing_here_bytes": contact.missing_here.bytes,
        "missing_there": _lacking(stored, known),
        "missing_there_bytes": contact.missing_there.bytes,
        "announced": None if peer is None else {"commits": peer.announced[0], "bytes": peer.announced[1]},
        "commits_in": 0 if peer is None else peer.counters.commits_in,
        "duplicates_in": 0 if peer is None else peer.counters.duplicates_in,
        "commits_out": 0 if peer is None else peer.counters.commits_out,
    }


def _lacking(there: Frontier, here: Frontier) -> int:
    """How many commits of `there` are not `here`."""
    return sum(max(0, head.sequence - here.sequence(log)) for log, head in there.items())
