"""One message after the other over a byte stream: what joining needs, before anybody is trusted.

Frames stay as small as those of a stranger throughout. Everything has a time limit.
"""

from __future__ import annotations

from collections import deque

import anyio

from crdtsync import limits
from crdtsync.errors import Unreachable
from crdtsync.transport.base import ByteStream
from crdtsync.transport.framing import FrameReader, FrameWriter


class Conversation:
    """Sends and receives whole messages over `stream`, for two sides that speak in turn.

    A PeerError or Unreachable means that the conversation is over; the caller closes the stream.
    """

    def __init__(self, stream: ByteStream, *, message_bytes_max: int = limits.message_bytes_max) -> None:
        """`message_bytes_max` bounds what is sent; what is received is bounded by each `receive`."""
        self.stream = stream
        self._writer = FrameWriter(
            frame_bytes_max=limits.frame_bytes_unauthenticated_max, message_bytes_max=message_bytes_max
        )
        self._reader = FrameReader(frame_bytes_max=limits.frame_bytes_unauthenticated_max)
        self._messages: deque[bytes] = deque()

    async def send(self, message: bytes) -> None:
        """Send one message. Raises Unreachable when the connection broke or takes nothing for too long."""
        self._writer.add(message)
        while frames := self._writer.next_frames(limits.write_bytes_first):
            with anyio.move_on_after(limits.idle_seconds_max) as scope:
                await self.stream.send(frames)
            if scope.cancelled_caught:
                raise Unreachable(f"{self.stream.address} takes nothing any more")

    async def receive(
        self,
        *,
        bytes_max: int = limits.frame_bytes_unauthenticated_max,
        seconds: float = limits.handshake_seconds_max,
    ) -> bytes:
        """Wait at most `seconds` for the next message of at most `bytes_max` bytes.

        Raises TooLarge or Malformed for what the other side may not send, Unreachable when it ended or says nothing.
        """
        self._reader.message_bytes_max = bytes_max
        with anyio.move_on_after(seconds) as scope:
            while not self._messages:
                data = await self.stream.receive()
                if data is None:
                    raise Unreachable(f"{self.stream.address} ended the connection")
                self._messages.extend(self._reader.feed(data))
        if scope.cancelled_caught:
            raise Unreachable(f"{self.stream.address} has not answered for {seconds:.0f} seconds")
        return self._messages.popleft()
