"""Links to the other sites: listening, dialling with backoff, and handing messages to the driver."""

from __future__ import annotations

import random
import time
from collections.abc import Sequence
from itertools import count

import anyio
from anyio.abc import TaskGroup

from crdtsync import limits
from crdtsync.driver import Driver, Notice
from crdtsync.errors import CrdtSyncError, NotAMember
from crdtsync.ids import ReplicaId
from crdtsync.replication.membership import Member
from crdtsync.transport.base import Link, Transport


class Network:
    """Keeps links to the practice's sites while `run` runs.

    `named` are addresses given by people, dialled whatever the membership says; with `only_named` no others are.
    """

    def __init__(
        self,
        driver: Driver,
        transport: Transport,
        own: ReplicaId,
        *,
        named: Sequence[str] = (),
        only_named: bool = False,
    ) -> None:
        self._driver = driver
        self._transport = transport
        self._own = own
        self._named = list(dict.fromkeys(named))
        self._only_named = only_named
        self._numbers = count(1)
        self._dialling: dict[ReplicaId, anyio.CancelScope] = {}
        self._links: dict[int, Link] = {}
        self.unreachable: dict[str, str] = {}
        """Addresses that did not answer last time, and why."""

    async def run(self) -> None:
        """Dial until cancelled; the set of sites follows the membership log."""
        async with anyio.create_task_group() as tasks:
            for address in self._named:
                tasks.start_soon(self._keep_named, address)
            while True:
                self.trust()
                if not self._only_named:
                    self._dial_members(tasks)
                await self._driver.members_changed.wait()

    def trust(self) -> None:
        """Whoever belongs now may connect, and who was closed, to hand over what it has; nobody else."""
        members = self._driver.replica.membership.state().members.values()
        self._transport.trust([m.tls for m in members if m.links and m.role != "recovery" and m.replica != self._own])

    def _dial_members(self, tasks: TaskGroup) -> None:
        wanted = {m.replica for m in self._reachable_members()}
        for replica in list(self._dialling):
            if replica not in wanted:
                self._dialling.pop(replica).cancel()
        new = [replica for replica in wanted if replica not in self._dialling]
        room = limits.peers_dialled_max - len(self._dialling)
        if len(new) > room:
            new = random.sample(sorted(new), max(0, room))
        for replica in new:
            scope = anyio.CancelScope()
            self._dialling[replica] = scope
            tasks.start_soon(self._keep_member, replica, scope)

    def _reachable_members(self) -> list[Member]:
        members = self._driver.replica.membership.state().members.values()
        return [m for m in members if m.active and m.role == "site" and m.addresses and m.replica != self._own]

    async def _keep_member(self, replica: ReplicaId, scope: anyio.CancelScope) -> None:
        with scope:
            wait = limits.dial_backoff_min_s
            while self._driver.failure is None:
                member = self._driver.replica.membership.state().active(replica)
                addresses = () if member is None else member.addresses
                for address in addresses:
                    if not self._driver.linked(replica) and await self._dial(address) == (replica, True):
                        wait = limits.dial_backoff_min_s
                wait = await self._back_off(wait, replica)

    async def _keep_named(self, address: str) -> None:
        wait = limits.dial_backoff_min_s
        replica: ReplicaId | None = None
        while self._driver.failure is None:
            if replica is None or not self._driver.linked(replica):
                reached, heard = await self._dial(address)
                replica = reached or replica
                if heard:
                    wait = limits.dial_backoff_min_s
            wait = await self._back_off(wait, replica)

    async def _back_off(self, wait: float, replica: ReplicaId | None) -> float:
        """Wait, with jitter, and at least until the link that stands has ended. Returns the next wait."""
        if replica is not None and self._driver.linked(replica):
            while self._driver.linked(replica):
                await self._driver.links_changed.wait()
            wait = limits.dial_backoff_min_s
        deadline = time.monotonic() + wait * random.uniform(0.5, 1.0)
        while (left := deadline - time.monotonic()) > 0:
            with anyio.move_on_after(left):
                await self._driver.links_changed.wait()
            if replica is not None and self._driver.linked(replica):
                return limits.dial_backoff_min_s
        return min(wait * 2, limits.dial_backoff_max_s)

    async def _dial(self, address: str) -> tuple[ReplicaId | None, bool]:
        """Connect and converse until the link ends. The replica that was there, or None when nobody was; and whether it
        said anything: one whose disk has failed proves who it is and hangs up, and is not dialled twice a second."""
        try:
            with anyio.fail_after(limits.dial_timeout_s):
                link = await self._transport.dial(address)
        except (CrdtSyncError, TimeoutError) as error:
            text = str(error) or f"{address} did not answer within {limits.dial_timeout_s:.0f} s"
            if self.unreachable.get(address) != text:
                self.unreachable[address] = text
                self._notice("unreachable", text)
            return None, False
        self.unreachable.pop(address, None)
        return await self.converse(link)

    async def attend(self, link: Link) -> None:
        """Run one link that somebody else has dialled."""
        await self.converse(link)

    async def converse(self, link: Link) -> tuple[ReplicaId | None, bool]:
        """Run one link until it ends; who was there, and whether it said anything."""
        replica = self._member_behind(link)
        if replica is None:
            link.close("the practice does not know this certificate")
            await link.aclose()
            return None, False
        number = next(self._numbers)
        heard = False

        def deliver(message: bytes) -> None:
            nonlocal heard
            heard = True
            self._driver.received(number, message)

        self._links[number] = link
        self._driver.link_up(number, replica, link, dialled=link.dialled)
        reason = "the site stops"
        try:
            reason = await link.run(deliver)
        except NotAMember as error:
            reason = str(error)
        finally:
            del self._links[number]
            self._driver.link_down(number)
            name = self._driver.replica.describe(replica)
            self._notice("disconnected", f"{name}: {reason}")
        return replica, heard

    def _member_behind(self, link: Link) -> ReplicaId | None:
        for member in self._driver.replica.membership.state().members.values():
            if member.links and member.tls == link.peer_certificate:
                return member.replica
        return None

    def bytes_on_wire(self) -> tuple[int, int]:
        """Bytes sent and received by the links that stand."""
        links = self._links.values()
        return sum(link.bytes_sent for link in links), sum(link.bytes_received for link in links)

    def _notice(self, kind: str, text: str) -> None:
        if self._driver.on_notice is not None:
            self._driver.on_notice(Notice(kind, text))
