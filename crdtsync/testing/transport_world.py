"""Places that can reach each other, and links between them that run: what checks of a transport are written with."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass

import anyio
import anyio.lowlevel

from crdtsync.errors import CrdtSyncError
from crdtsync.transport.base import Link, Listener, OnJoin, Transport

PATIENCE_S = 10.0
"""How long a check waits for what is promised."""


class TransportWorld(ABC):
    """Places by name, each with a transport and a certificate, that can reach each other."""

    @abstractmethod
    def transport(self, name: str) -> Transport:
        """The transport of a place; the same one for the same name. Trusts nobody at first."""

    @abstractmethod
    def certificate(self, name: str) -> bytes:
        """The certificate of a place, in DER or whatever stands for it."""

    @abstractmethod
    def free_address(self, name: str) -> str:
        """An address to listen on there, with port 0."""


class Inbox:
    """Collects what a link delivers, and lets a check wait for it."""

    def __init__(self) -> None:
        self.messages: list[bytes] = []
        self._came = anyio.Event()

    def deliver(self, message: bytes) -> None:
        """For `Link.run`."""
        self.messages.append(message)
        self._came.set()

    async def wait_for(self, count: int) -> list[bytes]:
        """The first `count` messages, when they are there."""
        with anyio.fail_after(PATIENCE_S):
            while len(self.messages) < count:
                self._came = anyio.Event()
                await self._came.wait()
        return self.messages[:count]


class Side:
    """One end of a running link: what came in, and, in the end, why it ended."""

    def __init__(self, link: Link) -> None:
        self.link = link
        self.inbox = Inbox()
        self.reason = ""
        self._over = anyio.Event()

    async def run(self) -> None:
        """Run the link to its end."""
        try:
            self.reason = await self.link.run(self.inbox.deliver)
        finally:
            self._over.set()

    async def over(self, patience_s: float = PATIENCE_S) -> str:
        """Wait for the end; returns the reason."""
        with anyio.fail_after(patience_s):
            await self._over.wait()
        return self.reason


@dataclass
class Pair:
    """Two members and the running link between them."""

    dialler: Side
    listener: Side
    port: Listener
    accepted: list[Side]


@asynccontextmanager
async def serving(
    world: TransportWorld,
    name: str,
    on_join: OnJoin | None = None,
    joining: Callable[[], bool] | None = None,
) -> AsyncIterator[tuple[Listener, list[Side]]]:
    """A place that accepts links, runs them, and keeps them in the list."""
    port = await world.transport(name).listen(world.free_address(name))
    sides: list[Side] = []

    async def on_link(link: Link) -> None:
        side = Side(link)
        sides.append(side)
        await side.run()

    async with anyio.create_task_group() as group:
        group.start_soon(port.serve, on_link, on_join, joining)
        try:
            yield port, sides
        finally:
            group.cancel_scope.cancel()


@asynccontextmanager
async def linked(world: TransportWorld) -> AsyncIterator[Pair]:
    """Ada has dialled Ben; both run, and each has heard the other's first message."""
    introduce(world, "ada", "ben")
    async with serving(world, "ben") as (port, accepted), anyio.create_task_group() as group:
        dialler = Side(await world.transport("ada").dial(port.address))
        group.start_soon(dialler.run)
        dialler.link.post(b"hello from ada")
        listener = await first(accepted)
        listener.link.post(b"hello from ben")
        await dialler.inbox.wait_for(1)
        await listener.inbox.wait_for(1)
        dialler.inbox.messages.clear()
        listener.inbox.messages.clear()
        yield Pair(dialler, listener, port, accepted)
        dialler.link.close("the check is over")


async def first(sides: list[Side]) -> Side:
    """The first accepted side, when it is there."""
    await until(lambda: bool(sides))
    return sides[0]


async def until(condition: Callable[[], bool]) -> None:
    """Wait until `condition` holds."""
    with anyio.fail_after(PATIENCE_S):
        while not condition():
            await anyio.lowlevel.checkpoint()


def introduce(world: TransportWorld, *names: str) -> None:
    """Let all of them trust each other, and nobody else."""
    for name in names:
        world.transport(name).trust([world.certificate(other) for other in names if other != name])


async def expect(
    kinds: type[CrdtSyncError] | tuple[type[CrdtSyncError], ...], work: Awaitable[object]
) -> CrdtSyncError:
    """The error of one of these kinds that `work` raises."""
    try:
        await work
    except CrdtSyncError as error:
        assert isinstance(error, kinds), f"{type(error).__name__}: {error}"
        assert str(error)
        return error
    raise AssertionError(f"nothing was raised, where {kinds} was due")
