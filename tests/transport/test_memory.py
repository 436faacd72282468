"""The memory transport passes the suite of all transports, on both event loops, and its cable can be cut."""

from __future__ import annotations

import hashlib
from collections.abc import Awaitable, Callable

import anyio
import pytest
import trio.testing

from crdtsync import limits
from crdtsync.errors import EnvironmentFailure, Unreachable
from crdtsync.testing.transport_world import Inbox, TransportWorld, expect, introduce, linked, serving
from crdtsync.testing.transports import CHECKS
from crdtsync.transport.base import Transport
from crdtsync.transport.memory import MemoryNetwork, MemoryTransport


class MemoryWorld(TransportWorld):
    def __init__(self) -> None:
        self.network = MemoryNetwork()
        self._transports: dict[str, MemoryTransport] = {}

    def transport(self, name: str) -> Transport:
        if name not in self._transports:
            self._transports[name] = MemoryTransport(self.network, name, self.certificate(name))
        return self._transports[name]

    def certificate(self, name: str) -> bytes:
        return b"certificate of " + name.encode()

    def free_address(self, name: str) -> str:
        return f"{name}:0"


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
def test_conformance(check: Callable[[TransportWorld], Awaitable[None]], backend: str) -> None:
    anyio.run(check, MemoryWorld(), backend=backend)


def in_virtual_time(work: Callable[[], Awaitable[None]]) -> None:
    """Run with a clock that jumps ahead whenever everybody waits."""
    clock = trio.testing.MockClock(autojump_threshold=0)
    anyio.run(work, backend="trio", backend_options={"clock": clock})


@pytest.mark.anyio
async def test_a_cut_breaks_links_and_refuses_new_ones_until_it_is_healed() -> None:
    world = MemoryWorld()
    async with linked(world) as pair:
        world.network.partition(["ada"], ["ben", "cid"])
        assert await pair.dialler.over() == "the connection broke"
        assert await pair.listener.over() == "the connection broke"
        await expect(Unreachable, world.transport("ada").dial(pair.port.address))
        world.network.heal()
        link = await world.transport("ada").dial(pair.port.address)
        await link.aclose()


@pytest.mark.anyio
async def test_a_cut_elsewhere_is_not_noticed() -> None:
    world = MemoryWorld()
    async with linked(world) as pair:
        world.network.cut("ada", "cid")
        pair.dialler.link.post(b"still here")
        assert await pair.listener.inbox.wait_for(1) == [b"still here"]


def test_what_was_sent_into_silence_arrives_when_it_ends() -> None:
    async def work() -> None:
        world = MemoryWorld()
        async with linked(world) as pair:
            world.network.silence("ada", "ben")
            pair.dialler.link.post(b"later")
            await anyio.sleep(limits.idle_seconds_max / 2)
            assert not pair.listener.inbox.messages
            world.network.heal()
            assert await pair.listener.inbox.wait_for(1) == [b"later"]

    in_virtual_time(work)


def test_a_silent_line_is_given_up_in_time() -> None:
    async def work() -> None:
        world = MemoryWorld()
        async with linked(world) as pair:
            world.network.silence("ada", "ben")
            began = anyio.current_time()
            assert await pair.dialler.over(1_000) == "nothing was heard for 60 seconds"
            waited = anyio.current_time() - began
            assert limits.idle_seconds_max <= waited <= limits.idle_seconds_max + 2 * limits.watch_interval_s
            await expect(Unreachable, world.transport("ada").dial(pair.port.address))
            assert anyio.current_time() - began >= waited + limits.dial_timeout_s

    in_virtual_time(work)


def test_a_link_that_is_spoken_to_lives_on() -> None:
    async def work() -> None:
        world = MemoryWorld()
        async with linked(world) as pair:
            for _ in range(20):
                pair.dialler.link.post(b"ping", urgent=True)
                pair.listener.link.post(b"pong", urgent=True)
                await anyio.sleep(limits.ping_interval_s)
            assert not pair.dialler.reason and not pair.listener.reason

    in_virtual_time(work)


def test_who_says_nothing_after_connecting_is_given_up_sooner() -> None:
    async def work() -> None:
        world = MemoryWorld()
        introduce(world, "ada", "ben")
        async with serving(world, "ben") as (port, _):
            link = await world.transport("ada").dial(port.address)
            began = anyio.current_time()
            reason = await link.run(Inbox().deliver)
            assert reason == "the other side connected and said nothing for 30 seconds"
            assert anyio.current_time() - began <= limits.handshake_seconds_max + 2 * limits.watch_interval_s

    in_virtual_time(work)


def test_somebody_who_takes_nothing_is_given_up() -> None:
    async def work() -> None:
        world = MemoryWorld()
        introduce(world, "ada", "ben")
        port = await world.transport("ben").listen("ben:0")
        async with anyio.create_task_group() as group:

            async def hear_nothing(link: object) -> None:
                stream = link._stream  # type: ignore[attr-defined]  # talks past the link, as a hung program would
                while True:
                    await stream.send(b"\x00\x00\x00\x01\x01")
                    await anyio.sleep(10)

            group.start_soon(port.serve, hear_nothing)
            link = await world.transport("ada").dial(port.address)
            for _ in range(4):
                link.post(bytes(limits.message_bytes_max))
            assert await link.run(Inbox().deliver) == "nothing that was sent was taken for 60 seconds"
            group.cancel_scope.cancel()

    in_virtual_time(work)


def test_a_joiner_who_proves_nothing_in_time_is_dropped() -> None:
    async def work() -> None:
        world = MemoryWorld()
        port = await world.transport("ben").listen("ben:0")
        async with anyio.create_task_group() as group:
            group.start_soon(port.serve, lambda link: link.aclose(), lambda stream: anyio.sleep_forever())
            pinned = hashlib.sha256(world.certificate("ben")).digest()
            stream = await world.transport("zoe").dial_join(port.address, pinned)
            began = anyio.current_time()
            assert await stream.receive() is None
            assert anyio.current_time() - began == pytest.approx(limits.handshake_seconds_max)
            group.cancel_scope.cancel()

    in_virtual_time(work)


@pytest.mark.anyio
async def test_a_place_listens_only_under_its_own_name() -> None:
    error = await expect(EnvironmentFailure, MemoryWorld().transport("ben").listen("ada:1"))
    assert "ben" in str(error)
