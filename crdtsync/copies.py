"""A site whose folder runs twice, or is older than what it wrote: what is told of it, and what people decide (L4)."""

from __future__ import annotations

import time
from contextlib import suppress
from functools import partial
from typing import Any

from crdtsync import members
from crdtsync.clock import wall_ms
from crdtsync.driver import Driver
from crdtsync.errors import NotFound, RefusedError, StorageFailure
from crdtsync.host import Host
from crdtsync.ids import Head, LogId, base32, boot_of
from crdtsync.opened import Opened
from crdtsync.replication import events
from crdtsync.replication.membership import Member


async def suspended(site: Opened) -> list[dict[str, Any]]:
    """The sites that have branched: name, replica, and per branch its boot, how many commits that wrote, and when the
    last one was, by the clock of its machine."""
    replica = site.driver.replica
    found = []
    for who, logs in sorted(replica.suspended.items()):
        heads = {log: replica.stored.head(log) for log in logs}
        stamps: dict[LogId, str] = {}
        with suppress(StorageFailure):  # a disk that refuses has its own word in `status`
            stamps = await site.driver.thread.run(partial(_stamps, heads))
        found.append(
            {
                "site": replica.describe(who),
                "replica": base32(who),
                "boots": [
                    {"boot": base32(boot_of(log)), "commits": head.sequence, "last_stamp": stamps.get(log)}
                    for log, head in heads.items()
                ],
            }
        )
    return found


def _stamps(heads: dict[LogId, Head], host: Host) -> dict[LogId, str]:
    stamps = {}
    for log, head in heads.items():
        stored = host.store.commit(log, head.sequence)
        seconds = 0 if stored is None else wall_ms(stored.commit.header.stamp) // 1000
        stamps[log] = time.strftime("%Y-%m-%dT%H:%M:%S+00:00", time.gmtime(seconds))
    return stamps


async def succeed(site: Opened, name: str, boot: str) -> dict[str, Any]:
    """Sign that of the branches of the site `name` the one that ends in `boot` goes on; `closed` are the others."""
    replica = site.driver.replica
    signer = site.member()
    if signer is None or not signer.administers:
        raise RefusedError(f"{site.name} is no admin of the practice; decide this at a site that is one")
    member = _named(site, name)
    logs = replica.suspended.get(member.replica)
    if logs is None:
        raise RefusedError(f"{name} writes in one line, so there is nothing to decide; `status` lists who does not")
    chosen = [log for log in logs if base32(boot_of(log)) == boot.strip().lower()]
    if not chosen:
        known = ", ".join(base32(boot_of(log)) for log in logs)
        raise NotFound(f"{name} has no branch that ends in boot {boot}; it is one of {known}")
    ends = {log: replica.stored.head(log) for log in logs if log != chosen[0]}
    await site.sign(lambda host, place: members.succeeding(host, place, chosen[0], ends))
    return {"site": name, "boot": boot.strip().lower(), "closed": [base32(boot_of(log)) for log in ends]}


def _named(site: Opened, name: str) -> Member:
    found = [m for m in site.driver.replica.membership.state().members.values() if m.active and m.name == name]
    if not found:
        raise NotFound(f"the practice has no site named {name}; `members` lists them")
    return found[0]


async def recovered(driver: Driver, *, alone: bool, serving: bool) -> None:
    """Wait until nothing of this replica's own is missing, or end the waiting. Raises RefusedError when nobody can be
    heard, since the site does not serve. Afterwards it holds over a restart."""
    driver.check()
    driver.handle(events.GoOnAlone() if alone else events.Tick())
    while driver.replica.recovering:
        if not serving:
            raise RefusedError(
                "newer commits of this site come from the others, and nobody is heard while it is not served: run "
                "`crdtsync serve`, or, where nobody has them, end the waiting with --alone"
            )
        await driver.heard.wait()
        driver.check()
    await driver.in_order(lambda host: None)
