"""The two ends of a connection inside one process, with as little room in between as a real one has."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

import anyio
import anyio.lowlevel

from crdtsync import limits
from crdtsync.errors import Unreachable
from crdtsync.transport.base import ByteStream


class _Pipe:
    """One direction. Holds at most `limits.read_bytes_max` bytes, or one write if that is larger (L7)."""

    def __init__(self) -> None:
        self.chunks: deque[bytes] = deque()
        self.size = 0
        self.held = False
        self.ended = False
        self.broken = False
        self._changed = anyio.Event()

    def change(self) -> None:
        """Wake both sides to look again."""
        self._changed.set()
        self._changed = anyio.Event()

    async def put(self, data: bytes) -> None:
        await anyio.lowlevel.checkpoint()
        while self.size and self.size + len(data) > limits.read_bytes_max and not self.broken and not self.ended:
            await self._changed.wait()
        if self.broken or self.ended:
            raise Unreachable("the connection broke")
        self.chunks.append(data)
        self.size += len(data)
        self.change()

    async def get(self) -> bytes | None:
        await anyio.lowlevel.checkpoint()
        while not self.broken:
            if self.held:
                pass
            elif self.chunks:
                data = b"".join(self.chunks)
                self.chunks.clear()
                self.size = 0
                self.change()
                return data
            elif self.ended:
                return None
            await self._changed.wait()
        raise Unreachable("the connection broke")


class MemoryStream(ByteStream):
    """One end. `ends` are the names of both places."""

    def __init__(self, ends: frozenset[str], address: str, certificate: bytes, *, join: bool) -> None:
        self.ends = ends
        self.address = address
        self.peer_certificate = certificate
        self.join = join
        self.on_authenticated: Callable[[], None] | None = None
        self._in = _Pipe()
        self._out = _Pipe()

    def connect(self, other: MemoryStream) -> None:
        """Make `other` the far end."""
        self._out, other._out = other._in, self._in

    def break_off(self) -> None:
        """Break both directions at once, as a cut cable does."""
        for pipe in (self._in, self._out):
            pipe.broken = True
            pipe.change()

    def hold(self, held: bool) -> None:
        """Keep back what arrives here, or let it through again."""
        self._in.held = held
        self._in.change()

    async def receive(self) -> bytes | None:
        data = await self._in.get()
        self.bytes_received += len(data or b"")
        return data

    async def send(self, data: bytes) -> None:
        await self._out.put(data)
        self.bytes_sent += len(data)

    async def aclose(self) -> None:
        self._in.ended = self._out.ended = True
        self._in.change()
        self._out.change()
        await anyio.lowlevel.checkpoint()

    def authenticated(self) -> None:
        call, self.on_authenticated = self.on_authenticated, None
        if call is not None:
            call()


def stream_pair(
    caller: str, caller_certificate: bytes, address: str, certificate: bytes, *, join: bool
) -> tuple[MemoryStream, MemoryStream]:
    """The end of `caller`, and the end of whoever listens at `address`; for joining the caller proves nothing."""
    place = address.rpartition(":")[0]
    ends = frozenset((caller, place))
    near = MemoryStream(ends, address, certificate, join=join)
    far = MemoryStream(ends, f"{caller}:0", b"" if join else caller_certificate, join=join)
    near.connect(far)
    return near, far
