"""The demo's cable carries, is pulled, and carries again."""

from __future__ import annotations

import anyio
import anyio.abc
import pytest

from crdtsync.cli.demo.cable import Cable

pytestmark = pytest.mark.anyio


async def echo(stream: anyio.abc.SocketStream) -> None:
    async with stream:
        async for data in stream:
            await stream.send(data)


async def call(address: str, words: bytes) -> bytes:
    host, _, port = address.rpartition(":")
    async with await anyio.connect_tcp(host, int(port)) as stream:
        await stream.send(words)
        return await stream.receive()


async def test_a_cable_carries_until_it_is_unplugged_and_again_when_plugged() -> None:
    listener = await anyio.create_tcp_listener(local_host="127.0.0.1")
    port = listener.extra(anyio.abc.SocketAttribute.local_port)
    async with listener, anyio.create_task_group() as group:
        group.start_soon(listener.serve, echo)
        async with Cable(f"127.0.0.1:{port}") as cable:
            assert await call(cable.near_end, b"hello") == b"hello"
            assert cable.carried == 10
            host, _, near = cable.near_end.rpartition(":")
            async with await anyio.connect_tcp(host, int(near)) as held:
                await held.send(b"x")
                assert await held.receive() == b"x"
                cable.unplug()
                with pytest.raises((anyio.EndOfStream, anyio.BrokenResourceError)):
                    await held.receive()
            with pytest.raises((anyio.EndOfStream, anyio.BrokenResourceError, OSError)):
                await call(cable.near_end, b"nobody")
            cable.plug()
            assert await call(cable.near_end, b"again") == b"again"
        group.cancel_scope.cancel()


async def test_a_cable_to_nobody_ends_the_call() -> None:
    async with Cable("127.0.0.1:1") as cable:
        with pytest.raises((anyio.EndOfStream, anyio.BrokenResourceError, OSError)):
            await call(cable.near_end, b"hello")
