"""Serving: a port for other sites and for those who join, and the care a running site takes of its membership."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

import anyio

from crdtsync import founding, limits, members
from crdtsync.errors import CrdtSyncError, InvitationRefused, PeerError, RefusedError
from crdtsync.history.since import note_since
from crdtsync.host import Host
from crdtsync.ids import MemberHash, base32
from crdtsync.joining import Arrival, Invitation, Reception
from crdtsync.network import Network
from crdtsync.opened import Opened
from crdtsync.replication.membership import Place
from crdtsync.sealing.identity import PublicIdentity
from crdtsync.transport.address import is_loopback, is_wildcard, parse_address
from crdtsync.transport.tls import TlsTransport

OnEvent = Callable[[Mapping[str, Any]], None]


class Serving:
    """A site that serves. `address` is where it listens."""

    def __init__(self, site: Opened, network: Network, address: str, on_event: OnEvent) -> None:
        self.site = site
        self.network = network
        self.address = address
        self._on_event = on_event
        self.reception = Reception(
            site.identity, find=self._find, settle=self._settle, admit=self._admit, announce=self._announce
        )

    # -- joining -----------------------------------------------------------------------------------------------------

    def expects(self) -> bool:
        """Whether anybody is invited."""
        return bool(self.site.invitations)

    def joining(self) -> list[dict[str, Any]]:
        """Who waits for six digits to be confirmed: the name it was invited under, and the digits."""
        return [{"name": a.invitation.name, "digits": a.digits} for a in self.reception.arrivals]

    async def confirm(self, digits: str) -> dict[str, Any]:
        """Let in whoever shows these digits. Raises RefusedError for digits that nobody shows."""
        typed = "".join(character for character in digits if character.isdigit())
        for arrival in self.reception.arrivals:
            if arrival.digits == typed:
                arrival.confirmed = True
                arrival.decided.set()
                await arrival.done.wait()
                if arrival.failure is not None:
                    raise arrival.failure
                return {"name": arrival.invitation.name, "replica": base32(arrival.public.replica)}
        if not self.reception.arrivals:
            raise RefusedError("nobody is joining at this moment; start `join` at the new site first")
        arrived = {arrival.invitation.code.invitation: arrival.invitation for arrival in self.reception.arrivals}
        for invitation in arrived.values():
            await self._settle(invitation, False)
        raise RefusedError(
            "these are not the digits of anybody who is joining; compare them again, three errors void the code"
        )

    def _find(self, invitation: bytes) -> Invitation:
        for found in self.site.invitations:
            if found.code.invitation == invitation:
                if found.expires <= time.monotonic():
                    break
                return found
        raise InvitationRefused("this code is not known here: it was used, is too old, or is void; ask for a new one")

    async def _settle(self, invitation: Invitation, success: bool) -> None:
        """One use, three failures. Raises InvitationRefused when somebody else has used the code in the meantime."""
        if success and not any(known is invitation for known in self.site.invitations):
            raise InvitationRefused("this code was used or became void in the meantime; ask for a new one")
        if not success:
            invitation.failures += 1
        if success or invitation.failures >= limits.invitation_failures_max:
            self.site.invitations = [i for i in self.site.invitations if i is not invitation]
            for arrival in self.reception.arrivals:
                if arrival.invitation is invitation:
                    arrival.decided.set()  # who is not confirmed by now never will be
        await founding.remember(self.site, self.site.invitations)

    def _announce(self, arrival: Arrival) -> None:
        self._on_event({"event": "join", "name": arrival.invitation.name, "digits": arrival.digits})

    async def _admit(self, invitation: Invitation, public: PublicIdentity) -> Sequence[bytes]:
        entry = members.entry_of(public, name=invitation.name, role=invitation.role, admin=invitation.admin)
        membership = self.site.driver.replica.membership
        state = membership.state()
        await self.sign(lambda host, place: members.adding(host, place, state, entry))
        self._on_event({"event": "joined", "name": invitation.name, "replica": base32(public.replica)})
        return [data for _, data in membership.records()]

    # -- membership --------------------------------------------------------------------------------------------------

    async def sign(self, make: Callable[[Host, Place], bytes | None]) -> MemberHash | None:
        """Make one membership record, put it on disk and tell everybody."""
        return await self.site.sign(make)

    async def care(self) -> None:
        """Keep the membership whole: share epochs with readers that lack them, attest what was accepted of removed
        replicas, open an epoch where every other one has a removed reader."""
        driver = self.site.driver
        while driver.failure is None:
            seen = driver.members_changed.count
            if self.site.member() is not None:
                try:
                    await self._tend()
                except (PeerError, RefusedError) as error:
                    # A member's unusable key stops this care until the membership changes, never the site (L6).
                    self._on_event({"event": "membership", "text": str(error)})
                except CrdtSyncError:
                    if driver.failure is None:
                        raise
                    return  # the driver has told what the disk says; reading goes on
            await driver.members_changed.beyond(seen)

    async def _tend(self) -> None:
        replica = self.site.driver.replica
        state, due = replica.membership.state(), replica.attests_due()
        if state.missing_shares():
            await self.sign(lambda host, place: members.sharing(host, place, state))
        if due:
            await self.sign(lambda host, place: members.attesting(host, place, due))
        for proof in replica.forks_due():
            await self.sign(partial(members.forking, proof=proof))
        if state.sealing_epoch() is None:
            await self.sign(lambda host, place: members.opening_epoch(host, place, state))

    async def publish_address(self, addresses: Sequence[str]) -> None:
        """Tell the practice where this site is, if it does not know."""
        membership = self.site.driver.replica.membership
        member = membership.state().active(self.site.identity.public.replica)
        if member is not None and tuple(addresses) != member.addresses:
            await self.sign(lambda host, place: members.moving(host, place, addresses))


def _published(address: str, *, chosen: bool) -> str | None:
    """What others are told of a port: nothing that leads to themselves, unless somebody chose it on purpose."""
    if is_wildcard(address) or (is_loopback(address) and not chosen):
        return None
    return address


@asynccontextmanager
async def serving(
    site: Opened,
    listen: str,
    *,
    advertise: str | None,
    peers: Sequence[str],
    only_peers: bool,
    on_event: Callable[[Mapping[str, Any]], None] | None,
    taken_up: str | None = None,
) -> AsyncIterator[Serving]:
    """Listen and dial while the block runs. `taken_up` is what an earlier process came to listen on, to be used again.

    Raises AddressInUse, BadValue for an address that is none.
    """
    port = parse_address(listen, listening=True).port
    for address in (*peers, *([] if advertise is None else [advertise])):
        parse_address(address)
    identity = site.identity
    transport = TlsTransport(identity.tls_certificate_pem, identity.tls_private_pem)
    listener = await transport.listen(taken_up or listen)
    tell = on_event or (lambda event: None)
    known = advertise or listener.address
    published = advertise or _published(listener.address, chosen=port != 0)
    failure: BaseException | None = None
    try:
        named = [*peers] if only_peers else [*peers, *await _hints(site, peers)]
        await site.driver.thread.run(lambda host: host.store.set_meta({founding.META_LISTEN: known.encode()}))
        network = Network(site.driver, transport, identity.public.replica, named=named, only_named=only_peers)
        running = Serving(site, network, listener.address, tell)
        site.driver.on_notice = lambda notice: tell({"event": notice.kind, "text": notice.text})
        site.reachable = () if advertise is None and is_wildcard(listener.address) else (known,)
        async with anyio.create_task_group() as tasks:
            try:
                network.trust()
                tasks.start_soon(network.run)
                tasks.start_soon(running.care)
                tasks.start_soon(note_since, site)
                tasks.start_soon(listener.serve, network.attend, running.reception.receive, running.expects)
                if published is not None:
                    await running.publish_address([published])
                yield running
            except anyio.get_cancelled_exc_class():
                raise
            except BaseException as error:
                failure = error
            finally:
                tasks.cancel_scope.cancel()
    finally:
        site.driver.on_notice = None
        site.reachable = None
        with anyio.CancelScope(shield=True):
            await listener.aclose()
    if failure is not None:
        raise failure


async def _hints(site: Opened, peers: Sequence[str]) -> list[str]:
    """Where this site was invited from, unless `peers` names it already."""
    data = await site.driver.thread.run(lambda host: host.store.meta(founding.META_HINTS))
    return [hint for hint in founding.hint_addresses(data) if hint not in peers]
