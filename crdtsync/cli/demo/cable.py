"""A cable between two sites: passes bytes on until it is unplugged."""

from __future__ import annotations

import contextlib
from types import TracebackType

import anyio
import anyio.abc

chunk_bytes = 64 * 1024


class Cable:
    """Listens on loopback and carries every connection to `far_end`, in both directions, while it is plugged in.

    What goes through it is what crosses between the two sites: `carried` counts those bytes. Use as `async with`.
    """

    def __init__(self, far_end: str) -> None:
        host, _, port = far_end.rpartition(":")
        self._far_end = (host, int(port))
        self._plugged = True
        self._calls: set[anyio.CancelScope] = set()
        self.carried = 0
        self.near_end = ""

    async def __aenter__(self) -> Cable:
        self._listener = await anyio.create_tcp_listener(local_host="127.0.0.1")
        self.near_end = f"127.0.0.1:{self._listener.extra(anyio.abc.SocketAttribute.local_port)}"
        self._group = anyio.create_task_group()
        await self._group.__aenter__()
        self._group.start_soon(self._listener.serve, self._carry)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, reason: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._group.cancel_scope.cancel()
        await self._group.__aexit__(kind, reason, trace)
        await self._listener.aclose()

    def unplug(self) -> None:
        """End what flows now and carry nothing more."""
        self._plugged = False
        for scope in self._calls:
            scope.cancel()

    def plug(self) -> None:
        """Carry again."""
        self._plugged = True

    async def _carry(self, near: anyio.abc.SocketStream) -> None:
        with contextlib.suppress(OSError, anyio.BrokenResourceError, anyio.ClosedResourceError):
            async with near:
                if not self._plugged:
                    return
                with anyio.CancelScope() as scope:
                    self._calls.add(scope)
                    try:
                        async with await anyio.connect_tcp(*self._far_end) as far:
                            await self._both_ways(near, far)
                    finally:
                        self._calls.discard(scope)

    async def _both_ways(self, near: anyio.abc.SocketStream, far: anyio.abc.SocketStream) -> None:
        async with anyio.create_task_group() as group:

            async def pump(source: anyio.abc.SocketStream, sink: anyio.abc.SocketStream) -> None:
                with contextlib.suppress(anyio.BrokenResourceError, anyio.ClosedResourceError, anyio.EndOfStream):
                    while True:
                        data = await source.receive(chunk_bytes)
                        self.carried += len(data)
                        await sink.send(data)
                group.cancel_scope.cancel()

            group.start_soon(pump, near, far)
            group.start_soon(pump, far, near)
