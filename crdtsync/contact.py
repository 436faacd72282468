"""What this site knows of each other member's data: gathered from core, links and log for `freshness`, and told."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import Any

from crdtsync.clock import wall_ms
from crdtsync.driver import Driver
from crdtsync.errors import StorageFailure
from crdtsync.freshness import Here, Missing, Seen, as_of_ms, missing_here, missing_there
from crdtsync.host import Host
from crdtsync.ids import LogId, ReplicaId, base32
from crdtsync.replication.frontier import Frontier
from crdtsync.replication.membership import Member
from crdtsync.replication.replica import Replica
from crdtsync.replication.session import Peer


@dataclass(frozen=True, slots=True)
class Contact:
    """One other member: whether a link to it stands, when it was last heard, and how fresh its data are here. Times are
    texts in ISO 8601, None for never."""

    member: Member
    connected: bool
    as_of: str | None
    missing_here: Missing
    missing_there: Missing
    last_heard: str | None

    def shown(self) -> dict[str, Any]:
        """As `Site.as_of` gives it."""
        return {
            "site": self.member.name,
            "replica": base32(self.member.replica),
            "role": self.member.role,
            "connected": self.connected,
            "as_of": self.as_of,
            "missing_here": {"commits": self.missing_here.commits, "bytes": self.missing_here.bytes},
            "missing_there": {"commits": self.missing_there.commits, "bytes": self.missing_there.bytes},
            "last_heard": self.last_heard,
        }


def others(replica: Replica) -> list[Member]:
    """All machines that belong, but for this one, by name."""
    found = [m for m in replica.membership.state().members.values() if m.active and m.role != "recovery"]
    return sorted((m for m in found if m.replica != replica.id), key=lambda member: (member.name, member.replica))


async def contacts(driver: Driver, *, derived: bool) -> list[Contact]:
    """Every other member, by name. `derived` tells that reads see all that is stored; where a disk has refused it is
    not known what they see, and nothing is said of how fresh that is."""
    replica = driver.replica
    members = others(replica)
    here = Here(replica.stored.copy() if derived else Frontier(), dict(replica.frozen), int(time.time() * 1000))
    tips = {member.replica: replica.tips(member.replica) for member in members} if derived else {}
    peers = {peer.replica: peer for peer in replica.peers.values()}
    seen = {m.replica: _seen(driver, m.replica, peers.get(m.replica), derived=derived) for m in members}
    lacking = {who: missing_there(each, here) for who, each in seen.items()} if derived else {}
    written: Mapping[ReplicaId, Sequence[int]] = {}
    sizes: Mapping[ReplicaId, tuple[int, int]] = {}
    with suppress(StorageFailure):  # a disk that refuses has its own word in `status`
        written, sizes = await driver.thread.run(partial(_read, tips, lacking))
    found = []
    for member in members:
        who = member.replica
        known = Seen(who, seen[who].has, seen[who].told_ms, written.get(who, ()), seen[who].announced)
        peer = peers.get(who)
        found.append(
            Contact(
                member,
                peer is not None and peer.live,
                _iso(as_of_ms(known, here)) if derived else None,
                missing_here(known, here) if derived else Missing(None, None),
                Missing(*sizes.get(who, (None, None))),
                _iso(_ms(driver.last_heard.get(who))),
            )
        )
    return found


def _seen(driver: Driver, who: ReplicaId, peer: Peer | None, *, derived: bool) -> Seen:
    told = _ms(driver.last_told.get(who)) if derived else None
    return Seen(who, driver.replica.holding(who).copy(), told, (), (0, 0) if peer is None else peer.to_come)


def _read(
    tips: Mapping[ReplicaId, Sequence[LogId]], lacking: Mapping[ReplicaId, Mapping[LogId, int] | None], host: Host
) -> tuple[dict[ReplicaId, list[int]], dict[ReplicaId, tuple[int, int]]]:
    """When the newest commits of each were written, and number and bytes of what each lacks."""
    heads = host.store.frontier()
    written: dict[ReplicaId, list[int]] = {}
    for who, logs in tips.items():
        stored = [host.store.commit(log, heads[log].sequence) for log in logs if log in heads]
        written[who] = [wall_ms(each.commit.header.stamp) for each in stored if each is not None]
    sizes = {who: host.store.backlog(logs) for who, logs in lacking.items() if logs is not None}
    return written, sizes


def _ms(seconds: float | None) -> int | None:
    return None if seconds is None else int(seconds * 1000)


def _iso(ms: int | None) -> str | None:
    return None if ms is None else time.strftime("%Y-%m-%dT%H:%M:%S+00:00", time.gmtime(ms // 1000))
