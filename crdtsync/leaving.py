"""Who leaves the practice: `revoke` a member that is not to be trusted any more, `close` one that is merely dead.

Both are one signed record that also begins the next key epoch. Revoked: only what others had accepted counts. Closed:
all that it had written by then counts, also what it still has to hand over when its machine turns up again.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from crdtsync import limits, members
from crdtsync.clock import COUNTER_BITS
from crdtsync.errors import BadValue, NotFound, RefusedError
from crdtsync.host import Host
from crdtsync.ids import Head, LogId, base32, replica_of
from crdtsync.opened import Opened
from crdtsync.replication.membership import Member, State

_REVOKE: Final = "revoke"
_CLOSE: Final = "close"


async def revoke(site: Opened, name: str, reason: str) -> dict[str, Any]:
    """Shut the member `name` out, for `reason`: see `Site.revoke`."""
    reason = reason.strip()
    if not reason or len(reason) > limits.reason_characters_max:
        raise BadValue(
            f"say why {name} is revoked, in at most {limits.reason_characters_max} characters: it is kept for ever"
        )
    state, heads, member = _leaving(site, name, _REVOKE)
    await site.sign(lambda host, place: members.removing(host, place, state, member, reason, heads))
    return _told(site, member, heads)


async def close(site: Opened, name: str) -> dict[str, Any]:
    """Take leave of the member `name`, whose machine is gone but was honest: see `Site.close_site`."""
    state, heads, member = _leaving(site, name, _CLOSE)
    await site.sign(lambda host, place: members.closing(host, place, state, member, _written(host, heads), heads))
    return _told(site, member, heads)


async def accept_late(site: Opened, name: str) -> dict[str, Any]:
    """Let count what the member `name` wrote late and is set aside here: see `Site.accept_late`."""
    replica = site.driver.replica
    signer = site.member()
    if signer is None or not signer.administers:
        raise RefusedError(f"{site.name} is no admin of the practice; decide this at a site that is one")
    everybody = replica.membership.state().members.values()
    gone = {m.replica for m in everybody if name.strip() in (m.name, base32(m.replica))}
    if not gone:
        raise NotFound(f"the practice has no member named {name}; `members` lists them")
    heads = {log: head for log, head in replica.late_heads.items() if replica_of(log) in gone}
    if not heads:
        raise RefusedError(f"nothing of {name} is set aside here; `late` in `status` tells of whom something is")
    commits = sum(head.sequence - replica.stored.sequence(log) for log, head in heads.items())
    await site.sign(lambda host, place: members.attesting(host, place, heads))
    return {"name": name.strip(), "commits": commits}


def _written(host: Host, heads: Mapping[LogId, Head]) -> int:
    """The hybrid time up to which it has written: now, or later where its clock was ahead of ours."""
    found = (host.store.commit(log, head.sequence) for log, head in heads.items())
    stamps = [stored.commit.header.stamp for stored in found if stored is not None]
    return max([host.now_ms() << COUNTER_BITS, *stamps])


def _leaving(site: Opened, name: str, verb: str) -> tuple[State, dict[LogId, Head], Member]:
    """Who is meant, and up to where its commits were accepted here. Raises RefusedError, NotFound."""
    replica = site.driver.replica
    state = replica.membership.state()
    signer = site.member()
    if signer is None or not signer.administers:
        raise RefusedError(f"{site.name} is no admin of the practice; decide this at a site that is one")
    member = _named(state, name.strip(), verb)
    if member.replica == replica.id:
        raise RefusedError(
            f"{site.name} does not {verb} itself: decide this at another admin site; `members` lists them"
        )
    heads = {log: head for log, head in replica.stored.items() if replica_of(log) == member.replica}
    return state, heads, member


def _named(state: State, name: str, verb: str) -> Member:
    """The member that is to leave, by its name or its replica's id."""
    found = [m for m in state.members.values() if m.role != "recovery" and name in (m.name, base32(m.replica))]
    if not found:
        raise NotFound(f"the practice has no member named {name}; `members` lists them")
    fit = [m for m in found if m.active]
    if not fit and verb == _REVOKE:
        fit = [m for m in found if m.closed_at is not None]  # what is still to come of it is not to count
    if len(fit) > 1:
        ids = ", ".join(base32(m.replica) for m in fit)
        raise RefusedError(f"{len(fit)} members are named {name}: say which one by its replica's id, one of {ids}")
    if not fit:
        how = members.shown(found[-1])["state"]
        raise RefusedError(f"{name} was {how} before, so there is nothing to {verb}; `members` tells who belongs")
    return fit[0]


def _told(site: Opened, member: Member, heads: Mapping[LogId, Head]) -> dict[str, Any]:
    state = site.driver.replica.membership.state()
    epoch = state.sealing_epoch()
    return {
        "name": member.name,
        "replica": base32(member.replica),
        "role": member.role,
        "state": members.shown(state.members[member.replica])["state"],
        "commits": sum(head.sequence for head in heads.values()),
        "epoch": None if epoch is None else base32(epoch),
        "admins": sorted(m.name for m in state.members.values() if m.administers and m.role == "site"),
    }
