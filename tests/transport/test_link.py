"""The link: how it fits its writes to the line, and what it does when the line ends badly."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import anyio
import anyio.lowlevel
import pytest
import trio.testing

from crdtsync import limits
from crdtsync.errors import InvitationRefused, Malformed, Unreachable
from crdtsync.testing.transport_world import Inbox, Side, until
from crdtsync.transport.base import ByteStream
from crdtsync.transport.framing import FrameReader
from crdtsync.transport.link import StreamLink, attend, attend_join
from crdtsync.transport.memory_pipe import stream_pair


class Line(ByteStream):
    """A line of a given speed that keeps what was sent, and hears what the test says."""

    def __init__(self, bytes_per_second: float) -> None:
        self.address = "somewhere:1"
        self.peer_certificate = b"somebody"
        self.writes: list[bytes] = []
        self.paces: list[int] = []
        self.closed = 0
        self._pause = 1 / bytes_per_second
        self._heard, self._hears = anyio.create_memory_object_stream[bytes](100)

    def say(self, data: bytes) -> None:
        self._heard.send_nowait(data)

    def pace(self, write_bytes: int) -> None:
        self.paces.append(write_bytes)

    async def receive(self) -> bytes | None:
        try:
            data = await self._hears.receive()
        except anyio.EndOfStream:
            return None
        self.bytes_received += len(data)
        return data

    async def send(self, data: bytes) -> None:
        for start in range(0, len(data), 1024):
            await anyio.sleep(len(data[start : start + 1024]) * self._pause)
            self.bytes_sent += len(data[start : start + 1024])
        self.writes.append(data)

    async def aclose(self) -> None:
        self.closed += 1
        self._heard.close()
        self._hears.close()


def in_virtual_time(work: Callable[[], Awaitable[None]]) -> None:
    clock = trio.testing.MockClock(autojump_threshold=0)
    anyio.run(work, backend="trio", backend_options={"clock": clock})


def test_writes_become_small_on_a_slow_line_and_something_urgent_overtakes() -> None:
    async def work() -> None:
        line = Line(bytes_per_second=8_000)
        side = Side(StreamLink(line, dialled=True))
        line.say(b"\0\0\0\x01\x01")
        async with anyio.create_task_group() as group:
            group.start_soon(side.run)
            for _ in range(5):
                side.link.post(bytes(limits.frame_bytes_max))
            await anyio.sleep(10)
            side.link.post(b"now", urgent=True)
            await anyio.sleep(1.1)
            reader = FrameReader()
            messages = [message for write in line.writes for message in reader.feed(write)]
            assert b"now" in messages
            assert len(line.writes[-1]) <= limits.write_bytes_min
            assert line.paces[-1] == limits.write_bytes_min
            side.link.close("enough")

    in_virtual_time(work)


def test_writes_become_large_on_a_fast_line() -> None:
    async def work() -> None:
        line = Line(bytes_per_second=1e9)
        side = Side(StreamLink(line, dialled=True))
        async with anyio.create_task_group() as group:
            group.start_soon(side.run)
            for _ in range(10_000):
                side.link.post(bytes(600))
            side.link.close("done", flush=True)
        sizes = [len(write) for write in line.writes]
        assert sizes[0] <= limits.write_bytes_first
        assert limits.write_bytes_max - 700 <= max(sizes) <= limits.write_bytes_max
        assert line.paces == [32 * 1024, 64 * 1024, 128 * 1024, 256 * 1024]

    in_virtual_time(work)


def test_a_very_slow_line_is_not_taken_for_a_dead_one() -> None:
    """Half a KiB a second: a write takes long, but something moves all the time, and something is heard."""

    async def work() -> None:
        line = Line(bytes_per_second=512)
        side = Side(StreamLink(line, dialled=True))
        async with anyio.create_task_group() as group:
            group.start_soon(side.run)
            side.link.post(bytes(100_000))
            for _ in range(20):
                line.say(b"\0\0\0\x01\x01")
                await anyio.sleep(limits.ping_interval_s)
            assert not side.reason
            side.link.close("enough")

    in_virtual_time(work)


def test_last_words_are_not_waited_for_longer_than_a_second() -> None:
    async def work() -> None:
        line = Line(bytes_per_second=1_000)
        side = Side(StreamLink(line, dialled=True))
        side.link.post(bytes(1_000_000))
        async with anyio.create_task_group() as group:
            group.start_soon(side.run)
            await anyio.sleep(5)
            began = anyio.current_time()
            side.link.close("going", flush=True)
            side.link.post(b"not any more")
            assert await side.over() == "going"
            assert anyio.current_time() - began <= limits.closing_seconds_max + 0.1
        assert line.closed == 1

    in_virtual_time(work)


@pytest.mark.anyio
async def test_all_messages_of_one_read_are_delivered_in_one_go() -> None:
    line = Line(1e9)
    side = Side(StreamLink(line, dialled=True))
    turns: list[int] = []
    line.say(b"\0\0\0\x02\x01x" * 1_000)
    async with anyio.create_task_group() as group:
        group.start_soon(side.run)
        while not side.inbox.messages:
            await anyio.lowlevel.checkpoint()
            turns.append(len(side.inbox.messages))
        side.link.close("enough")
    assert turns[-1] == 1_000 and set(turns[:-1]) <= {0}


@pytest.mark.anyio
async def test_nothing_is_delivered_after_close_not_even_of_the_same_read() -> None:
    line = Line(1e9)
    link = StreamLink(line, dialled=True)
    heard: list[bytes] = []

    def deliver(message: bytes) -> None:
        heard.append(message)
        link.close("one is enough")

    line.say(b"\0\0\0\x02\x01x" * 10)
    assert await link.run(deliver) == "one is enough"
    assert heard == [b"x"]


@pytest.mark.anyio
async def test_an_end_inside_a_message_is_told_apart() -> None:
    near, far = stream_pair("ada", b"ada", "ben:1", b"ben", join=False)
    await far.send(b"\0\0\0\x05\x00half")
    await far.aclose()
    link = StreamLink(near, dialled=True)
    assert await link.run(Inbox().deliver) == "the connection ended inside a message"


@pytest.mark.anyio
async def test_a_broken_line_gives_its_reason() -> None:
    near, _ = stream_pair("ada", b"ada", "ben:1", b"ben", join=False)
    near.break_off()
    assert await StreamLink(near, dialled=True).run(Inbox().deliver) == "the connection broke"


@pytest.mark.anyio
@pytest.mark.parametrize("error", [Malformed("bytes"), Unreachable("gone"), InvitationRefused("void")])
async def test_what_a_peer_does_wrong_ends_only_its_connection(error: Exception) -> None:
    async def fail(_: object) -> None:
        raise error

    line, other = Line(1e9), Line(1e9)
    await attend(StreamLink(line, dialled=False), fail)
    await attend_join(other, fail)
    assert line.closed == other.closed == 1


@pytest.mark.anyio
async def test_a_fault_of_ours_is_raised_after_closing() -> None:
    async def fail(_: object) -> None:
        raise KeyError("a fault")

    line, other = Line(1e9), Line(1e9)
    with pytest.raises(KeyError):
        await attend(StreamLink(line, dialled=False), fail)
    with pytest.raises(KeyError):
        await attend_join(other, fail)
    assert line.closed == other.closed == 1


@pytest.mark.anyio
async def test_posting_before_running_and_waiting_for_more() -> None:
    near, far = stream_pair("ada", b"ada", "ben:1", b"ben", join=False)
    one, other = Side(StreamLink(near, dialled=True)), Side(StreamLink(far, dialled=False))
    one.link.post(b"early")
    assert one.link.queued_bytes == 5
    async with anyio.create_task_group() as group:
        group.start_soon(one.run)
        group.start_soon(other.run)
        await other.inbox.wait_for(1)
        one.link.post(b"later")
        assert await other.inbox.wait_for(2) == [b"early", b"later"]
        await until(lambda: one.link.queued_bytes == 0)
        one.link.close("done")
