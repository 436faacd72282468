"""What `status` tells: where a site stands, for people and scripts."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any, Final

from crdtsync.engine import EngineStatus
from crdtsync.ids import base32, commit_text, log_text, replica_of
from crdtsync.opened import Opened
from crdtsync.replication.frontier import Frontier
from crdtsync.replication.membership import Member
from crdtsync.replication.replica import Replica

_NOT_HERE_YET: Final = {"files": {"here": 0, "missing": 0, "missing_bytes": 0}}
"""This version has no files, so there are none; scripts find the keys that later versions fill."""


def describe(site: Opened, engine: EngineStatus, suspended: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The shape of `crdtsync status --json`; more keys may come, none goes."""
    replica = site.driver.replica
    return {
        "practice": site.practice,
        "site": site.name,
        "replica": site.replica,
        "frontier": {log_text(log): head.sequence for log, head in sorted(replica.stored.items())},
        "records": engine.kinds,
        "conflicts": engine.conflicts,
        "peers": [_peer(site, member) for member in _others(replica)],
        "digest": engine.digest,
        "commits": engine.arrival,
        "derived": engine.derived,
        "rederiving": [dict(each) for each in engine.rederiving],
        "waiting_keys": engine.waiting,
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


def _others(replica: Replica) -> list[Member]:
    members = replica.membership.state().members.values()
    own = replica.id
    others = [m for m in members if m.active and m.role != "recovery" and m.replica != own]
    return sorted(others, key=lambda member: (member.name, member.replica))


def _peer(site: Opened, member: Member) -> dict[str, Any]:
    driver = site.driver
    linked = {peer.replica: peer for peer in driver.replica.peers.values()}
    peer = linked.get(member.replica)
    known = driver.replica.holding(member.replica)
    heard = driver.last_heard.get(member.replica)
    stored = driver.replica.stored
    return {
        "site": member.name,
        "replica": base32(member.replica),
        "connected": peer is not None and peer.live,
        "missing_here": _lacking(known, stored),
        "missing_there": _lacking(stored, known),
        "last_heard": None if heard is None else time.strftime("%Y-%m-%dT%H:%M:%S+00:00", time.gmtime(heard)),
        "announced": None if peer is None else {"commits": peer.announced[0], "bytes": peer.announced[1]},
        "commits_in": 0 if peer is None else peer.counters.commits_in,
        "duplicates_in": 0 if peer is None else peer.counters.duplicates_in,
        "commits_out": 0 if peer is None else peer.counters.commits_out,
    }


def _lacking(there: Frontier, here: Frontier) -> int:
    """How many commits of `there` are not `here`."""
    return sum(max(0, head.sequence - here.sequence(log)) for log, head in there.items())
