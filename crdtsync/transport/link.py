"""The link: frames over any byte stream, both ways at once.

Three tasks run while it lives. The reader takes what is there and delivers all messages of a read in one go. The
writer takes all that is queued, up to the size that the line carried lately in about `limits.write_seconds_target`:
large writes on a fast line, small ones on a slow one, so that urgent messages overtake soon. The watch compares byte
counters from time to time, which costs nothing per message, and ends a link on which nothing moves.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import anyio
from anyio import CancelScope

from crdtsync import limits
from crdtsync.errors import PeerError, RefusedError, Unreachable, UsageError
from crdtsync.transport.base import ByteStream, Link, OnJoin, OnLink
from crdtsync.transport.framing import FrameReader, FrameWriter


class StreamLink(Link):
    """A `Link` over a `ByteStream` whose other side is proved. Both transports use it."""

    def __init__(self, stream: ByteStream, *, dialled: bool) -> None:
        self.peer_certificate = stream.peer_certificate
        self.dialled = dialled
        self.address = stream.address
        self._stream = stream
        self._writer = FrameWriter()
        self._reader = FrameReader()
        self._posted = anyio.Event()
        self._sending = False
        self._reason: str | None = None
        self._flushing = False
        self._failure: BaseException | None = None
        self._scope: CancelScope | None = None
        self._write_bytes = limits.write_bytes_first

    @property
    def bytes_sent(self) -> int:
        return self._stream.bytes_sent

    @property
    def bytes_received(self) -> int:
        return self._stream.bytes_received

    @property
    def queued_bytes(self) -> int:
        return self._writer.queued_bytes

    def post(self, message: bytes, urgent: bool = False) -> None:
        if self._reason is not None:
            return
        self._writer.add(message, urgent)
        if self._writer.queued_bytes > limits.link_queue_bytes_max:
            self.close("the other side takes less than it is sent, and too much has piled up")
        elif not self._sending:
            self._posted.set()

    def close(self, reason: str, flush: bool = False) -> None:
        if self._reason is not None:
            return
        self._reason = reason
        self._flushing = flush
        if self._scope is None:
            return
        if flush:
            self._scope.deadline = anyio.current_time() + limits.closing_seconds_max
            self._posted.set()
        else:
            self._scope.cancel()

    async def aclose(self) -> None:
        if self._scope is None:
            self.close("this side closed the connection")
            await self._stream.aclose()

    async def run(self, deliver: Callable[[bytes], None]) -> str:
        if self._scope is not None:
            raise UsageError("a link runs once; dial again for another one")
        try:
            async with anyio.create_task_group() as group:
                self._scope = group.cancel_scope
                if self._reason is not None and not self._flushing:
                    group.cancel_scope.cancel()
                group.start_soon(self._guard, self._write)
                group.start_soon(self._guard, self._watch)
                await self._guard(self._read, deliver)
        finally:
            self.close("this side closed the connection")
            with CancelScope(shield=True):
                await self._stream.aclose()
        if self._failure is not None:
            raise self._failure
        return self._reason or ""

    async def _guard(self, work: Callable[..., Awaitable[str]], *arguments: object) -> None:
        """Do one of the three works; when it ends, for whatever reason, the link does."""
        try:
            reason = await work(*arguments)
        except (PeerError, Unreachable) as error:
            reason = str(error)
        except Exception as error:
            self._failure = self._failure or error
            reason = "a fault on this side"
        self.close(reason)
        assert self._scope is not None
        self._scope.cancel()

    async def _read(self, deliver: Callable[[bytes], None]) -> str:
        receive, feed = self._stream.receive, self._reader.feed
        while (data := await receive()) is not None:
            for message in feed(data):
                if self._reason is None:
                    deliver(message)
        if self._reader.between_messages:
            return "the other side ended the connection"
        return "the connection ended inside a message"

    async def _write(self) -> str:
        while True:
            frames = self._writer.next_frames(self._write_bytes)
            if frames:
                await self._send(frames)
            elif self._flushing:
                return self._reason or ""
            else:
                self._posted = anyio.Event()
                await self._posted.wait()

    async def _send(self, frames: bytes) -> None:
        """Send, and learn from the time it takes how large the next write may be."""
        before = anyio.current_time()
        self._sending = True
        await self._stream.send(frames)
        self._sending = False
        took = anyio.current_time() - before
        size = self._write_bytes
        if took > limits.write_seconds_target:
            size = max(limits.write_bytes_min, size // 2)
        elif took < limits.write_seconds_target / 4 and len(frames) > size // 2:
            size = min(limits.write_bytes_max, size * 2)
        if size != self._write_bytes:
            self._write_bytes = size
            self._stream.pace(size)

    async def _watch(self) -> str:
        """Wait until nothing is heard, or nothing that we send is taken, for too long; says which."""
        began = heard_at = taken_at = anyio.current_time()
        heard, taken = self.bytes_received, self.bytes_sent
        while True:
            await anyio.sleep(limits.watch_interval_s)
            now = anyio.current_time()
            if self.bytes_received != heard:
                heard, heard_at = self.bytes_received, now
            if self.bytes_sent != taken or not self._sending:
                taken, taken_at = self.bytes_sent, now
            if now - heard_at >= limits.idle_seconds_max:
                return f"nothing was heard for {limits.idle_seconds_max:.0f} seconds"
            if now - taken_at >= limits.idle_seconds_max:
                return f"nothing that was sent was taken for {limits.idle_seconds_max:.0f} seconds"
            if not self._reader.frames and now - began >= limits.handshake_seconds_max:
                return f"the other side connected and said nothing for {limits.handshake_seconds_max:.0f} seconds"


async def attend(link: Link, on_link: OnLink) -> None:
    """Hand a link to its owner, and close it afterwards. What the peer does wrong ends nothing but that link (L6)."""
    try:
        await on_link(link)
    except (PeerError, RefusedError, Unreachable):
        pass
    finally:
        link.close("this side closed the connection")
        with CancelScope(shield=True):
            await link.aclose()


async def attend_join(stream: ByteStream, on_join: OnJoin) -> None:
    """The same for somebody who wants to join."""
    try:
        await on_join(stream)
    except (PeerError, RefusedError, Unreachable):
        pass
    finally:
        with CancelScope(shield=True):
            await stream.aclose()
