"""Messages to frames and back, without any input or output.

A frame is 4 bytes big-endian, the length of what follows; 1 byte of flags; and a piece of a message. Flag bit 0 says
that the message ends with this piece, bit 1 that it belongs to the urgent channel; all others are zero. A message is
sent as one or more frames of one channel. Frames of the urgent channel may stand between frames of the other, so
something urgent waits for one frame and not for one message.

Lengths are checked as soon as the four bytes are there, before anything is kept for what they announce (L7).
The first frame of a connection is small, so that a stranger cannot make us keep more than a few KiB.
"""

from __future__ import annotations

from collections import deque
from struct import Struct

from crdtsync import limits
from crdtsync.errors import Malformed, TooLarge, UsageError

LAST = 1
URGENT = 2

_HEADER = Struct(">IB")
_HEADER_BYTES = _HEADER.size
_LENGTH_BYTES = 4
_FLAG_BYTES = 1
_ROOM_WORTH_SPLITTING_FOR = 4 * 1024
"""A message is not split for the sake of less room than this at the end of a write."""


class FrameWriter:
    """Turns messages into bytes for the line. Holds L7: a message has a greatest length, and so has every frame."""

    def __init__(
        self,
        *,
        frame_bytes_max: int = limits.frame_bytes_max,
        first_frame_bytes_max: int = limits.frame_bytes_unauthenticated_max,
        message_bytes_max: int = limits.message_bytes_max,
    ) -> None:
        self._frame_bytes_max = frame_bytes_max
        self._next_frame_bytes_max = min(first_frame_bytes_max, frame_bytes_max)
        self._message_bytes_max = message_bytes_max
        self._queues: tuple[deque[bytes], deque[bytes]] = (deque(), deque())
        self._sent_of_first = [0, 0]
        self.queued_bytes = 0
        """Bytes of messages that were added and not yet handed out."""

    def add(self, message: bytes, urgent: bool = False) -> None:
        """Queue a message. Raises UsageError when it is longer than allowed."""
        size = len(message)
        if size > self._message_bytes_max:
            raise UsageError(f"a message of {size} bytes, where at most {self._message_bytes_max} may be sent")
        self._queues[urgent].append(message)
        self.queued_bytes += size

    def next_frames(self, bytes_max: int) -> bytes:
        """The next frames, together at most `bytes_max` bytes (at least 6): urgent ones first. b"" when idle."""
        if bytes_max <= _HEADER_BYTES:
            raise UsageError(f"frames in {bytes_max} bytes, where not even one of a single byte fits")
        out: list[bytes] = []
        room = bytes_max
        for urgent in (1, 0):
            room = self._take(urgent, room, out)
        return b"".join(out)

    def _take(self, urgent: int, room: int, out: list[bytes]) -> int:
        """Move frames of one channel to `out` until `room` is used up; returns the room left."""
        queue = self._queues[urgent]
        flag = urgent * URGENT
        while queue and room > _HEADER_BYTES:
            message = queue[0]
            start = self._sent_of_first[urgent]
            left = len(message) - start
            piece = min(left, room - _HEADER_BYTES, self._next_frame_bytes_max - _HEADER_BYTES)
            if piece < left and room < _ROOM_WORTH_SPLITTING_FOR and out:
                break
            self._next_frame_bytes_max = self._frame_bytes_max
            if piece == left:
                out.append(_HEADER.pack(left + _FLAG_BYTES, flag | LAST))
                out.append(message[start:] if start else message)
                queue.popleft()
                self._sent_of_first[urgent] = 0
            else:
                out.append(_HEADER.pack(piece + _FLAG_BYTES, flag))
                out.append(message[start : start + piece])
                self._sent_of_first[urgent] = start + piece
            self.queued_bytes -= piece
            room -= piece + _HEADER_BYTES
        else:
            return room
        return 0


class FrameReader:
    """Turns bytes from the line into messages. Total over input: it gives messages or raises a PeerError (L6, L7).

    After an error it must be thrown away, with its connection.
    """

    def __init__(
        self,
        *,
        frame_bytes_max: int = limits.frame_bytes_max,
        first_frame_bytes_max: int = limits.frame_bytes_unauthenticated_max,
        message_bytes_max: int = limits.message_bytes_max,
    ) -> None:
        self._frame_bytes_max = frame_bytes_max
        self._next_frame_bytes_max = min(first_frame_bytes_max, frame_bytes_max)
        self._rest = bytearray()
        self._needed = _LENGTH_BYTES
        self._partial = (bytearray(), bytearray())
        self.message_bytes_max = message_bytes_max
        """The longest message that is put together from here on."""
        self.frames = 0
        """Frames that were read whole."""

    @property
    def between_messages(self) -> bool:
        """Whether everything that was fed is delivered: the connection may end here without loss."""
        return not self._rest and not any(self._partial)

    def feed(self, data: bytes) -> list[bytes]:
        """The messages that `data` completes, in order.

        Raises TooLarge or Malformed; messages that stood before the fault in the same `data` are then lost.
        """
        if self._rest:
            self._rest += data
            if len(self._rest) < self._needed:
                return []
            data = bytes(self._rest)
            self._rest.clear()
        messages: list[bytes] = []
        position = self._read(data, messages)
        if position < len(data):
            self._rest += data[position:] if position else data
        return messages

    def _read(self, data: bytes, messages: list[bytes]) -> int:
        """Read all whole frames of `data`; returns where the first one begins that is not whole."""
        position = 0
        size = len(data)
        while size - position >= _LENGTH_BYTES:
            length = int.from_bytes(data[position : position + _LENGTH_BYTES], "big")
            end = position + _LENGTH_BYTES + length
            if length + _LENGTH_BYTES > self._next_frame_bytes_max or not length:
                raise self._bad_length(length)
            if end > size:
                self._needed = end - position
                return position
            flags = data[position + _LENGTH_BYTES]
            payload = data[position + _HEADER_BYTES : end]
            self.frames += 1
            self._next_frame_bytes_max = self._frame_bytes_max
            self._accept(flags, payload, messages)
            position = end
        self._needed = _LENGTH_BYTES
        return position

    def _accept(self, flags: int, payload: bytes, messages: list[bytes]) -> None:
        """Append the payload of one frame to its message."""
        if flags & ~(LAST | URGENT):
            raise Malformed(f"a frame with the unknown flags {flags:#04x}: the other side speaks another version")
        partial = self._partial[flags >> 1]
        if len(partial) + len(payload) > self.message_bytes_max:
            raise TooLarge(f"a message of more than {self.message_bytes_max} bytes")
        if not flags & LAST:
            if not payload:
                raise Malformed("an empty frame inside a message")
            partial += payload
        elif partial:
            partial += payload
            messages.append(bytes(partial))
            partial.clear()
        else:
            messages.append(payload)

    def _bad_length(self, length: int) -> Malformed | TooLarge:
        if not length:
            return Malformed("a frame of no bytes")
        return TooLarge(
            f"a frame of {length + _LENGTH_BYTES} bytes where at most {self._next_frame_bytes_max} are allowed"
        )
