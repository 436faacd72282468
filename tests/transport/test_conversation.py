"""Conversations for joining: whole messages, small frames, and no endless waiting."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import anyio
import pytest
import trio.testing

from crdtsync import limits
from crdtsync.errors import Malformed, TooLarge, Unreachable, UsageError
from crdtsync.testing.transport_world import expect
from crdtsync.transport.conversation import Conversation
from crdtsync.transport.memory_pipe import MemoryStream, stream_pair


def streams() -> tuple[MemoryStream, MemoryStream]:
    return stream_pair("zoe", b"", "ben:1", b"certificate of ben", join=True)


def in_virtual_time(work: Callable[[], Awaitable[None]]) -> None:
    clock = trio.testing.MockClock(autojump_threshold=0)
    anyio.run(work, backend="trio", backend_options={"clock": clock})


@pytest.mark.anyio
async def test_messages_come_one_by_one_however_they_were_sent() -> None:
    near, far = streams()
    zoe, ben = Conversation(near), Conversation(far)
    for message in (b"one", b"two", b""):
        await zoe.send(message)
    assert [await ben.receive() for _ in range(3)] == [b"one", b"two", b""]


@pytest.mark.anyio
async def test_a_long_message_goes_in_small_frames_and_only_where_it_is_expected() -> None:
    near, far = streams()
    zoe, ben = Conversation(near), Conversation(far)
    async with anyio.create_task_group() as group:
        group.start_soon(zoe.send, bytes(500_000))
        assert await ben.receive(bytes_max=500_000) == bytes(500_000)
    async with anyio.create_task_group() as group:
        group.start_soon(zoe.send, bytes(5_000))
        await expect(TooLarge, ben.receive())


@pytest.mark.anyio
async def test_a_frame_like_those_of_members_is_refused() -> None:
    near, far = streams()
    await near.send(b"\0\0\0\x01\x01")
    await near.send((5_000).to_bytes(4, "big") + b"\x01")
    ben = Conversation(far)
    await expect(TooLarge, ben.receive())


@pytest.mark.anyio
async def test_nonsense_and_the_end_are_told_apart() -> None:
    near, far = streams()
    await near.send(b"\0\0\0\0")
    await expect(Malformed, Conversation(far).receive())
    near, far = streams()
    await near.aclose()
    error = await expect(Unreachable, Conversation(far).receive())
    assert "ended" in str(error)


@pytest.mark.anyio
async def test_a_message_beyond_the_limit_is_not_sent() -> None:
    near, _ = streams()
    await expect(UsageError, Conversation(near, message_bytes_max=10).send(bytes(11)))


def test_silence_has_an_end() -> None:
    async def work() -> None:
        _, far = streams()
        error = await expect(Unreachable, Conversation(far).receive(seconds=7))
        assert "for 7 seconds" in str(error)
        assert anyio.current_time() >= 7

    in_virtual_time(work)


def test_somebody_who_takes_nothing_is_given_up() -> None:
    async def work() -> None:
        near, _ = streams()
        began = anyio.current_time()
        error = await expect(Unreachable, Conversation(near).send(bytes(limits.message_bytes_max)))
        assert "takes nothing" in str(error)
        assert anyio.current_time() - began == pytest.approx(limits.idle_seconds_max)

    in_virtual_time(work)
