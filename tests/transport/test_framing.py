"""Frames: any messages in any pieces come out as they went in, and no bytes whatever do harm."""

from __future__ import annotations

import tracemalloc

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crdtsync import limits
from crdtsync.errors import Malformed, PeerError, TooLarge, UsageError
from crdtsync.transport.framing import LAST, URGENT, FrameReader, FrameWriter


def frame(payload: bytes, flags: int = LAST) -> bytes:
    return (len(payload) + 1).to_bytes(4, "big") + bytes([flags]) + payload


def all_frames(writer: FrameWriter, bytes_max: int = 1 << 20) -> bytes:
    out = b""
    while piece := writer.next_frames(bytes_max):
        assert len(piece) <= bytes_max
        out += piece
    return out


def frames_in(data: bytes) -> list[tuple[int, bytes]]:
    """An own, plain reading of the format: (flags, payload) of each frame."""
    found = []
    while data:
        end = 4 + int.from_bytes(data[:4], "big")
        found.append((data[4], data[5:end]))
        data = data[end:]
    return found


MESSAGES = st.lists(st.tuples(st.binary(max_size=300), st.booleans()), max_size=30)


@given(messages=MESSAGES, write_max=st.integers(6, 400), frame_max=st.integers(8, 200), cut=st.integers(1, 97))
@settings(max_examples=300)
def test_what_goes_in_comes_out(messages: list[tuple[bytes, bool]], write_max: int, frame_max: int, cut: int) -> None:
    writer = FrameWriter(frame_bytes_max=frame_max, first_frame_bytes_max=8, message_bytes_max=300)
    reader = FrameReader(frame_bytes_max=frame_max, first_frame_bytes_max=8, message_bytes_max=300)
    for message, urgent in messages:
        writer.add(message, urgent)
    line = all_frames(writer, write_max)
    assert writer.queued_bytes == 0
    out = [message for start in range(0, len(line), cut) for message in reader.feed(line[start : start + cut])]
    urgent_first = [m for m, urgent in messages if urgent] + [m for m, urgent in messages if not urgent]
    assert out == urgent_first
    assert reader.between_messages


@given(
    messages=MESSAGES,
    steps=st.lists(st.integers(6, 300), max_size=40),
    cuts=st.lists(st.integers(1, 50), min_size=1, max_size=20),
)
@settings(max_examples=200)
def test_each_channel_keeps_its_order_when_messages_come_in_between(
    messages: list[tuple[bytes, bool]], steps: list[int], cuts: list[int]
) -> None:
    writer, reader = FrameWriter(frame_bytes_max=64), FrameReader(frame_bytes_max=64)
    line, waiting = b"", list(messages)
    for step in steps:
        if waiting:
            writer.add(*waiting.pop(0))
        line += writer.next_frames(step)
    for message, urgent in waiting:
        writer.add(message, urgent)
    line += all_frames(writer)
    out: list[bytes] = []
    position = 0
    while position < len(line):
        for cut in cuts:
            out += reader.feed(line[position : position + cut])
            position += cut
    for channel in (True, False):
        expected = [message for message, urgent in messages if urgent is channel]
        remaining = iter(out)
        assert all(message in remaining for message in expected)
    assert sorted(out) == sorted(message for message, _ in messages)


@given(st.binary(max_size=400), st.integers(1, 50))
@settings(max_examples=500)
def test_any_bytes_give_messages_or_a_peer_error(data: bytes, cut: int) -> None:
    reader = FrameReader(frame_bytes_max=64, message_bytes_max=100)
    try:
        for start in range(0, len(data), cut):
            for message in reader.feed(data[start : start + cut]):
                assert len(message) <= 100
    except PeerError as error:
        assert str(error)


def test_something_urgent_waits_for_one_frame_only() -> None:
    writer = FrameWriter()
    writer.add(bytes(limits.message_bytes_max))
    first = writer.next_frames(limits.frame_bytes_max)
    writer.add(b"now", urgent=True)
    second = writer.next_frames(limits.frame_bytes_max)
    assert frames_in(second)[0] == (LAST | URGENT, b"now")
    assert FrameReader().feed(first + second) == [b"now"]


def test_the_first_frame_is_small_and_all_others_at_most_64_kib() -> None:
    writer = FrameWriter()
    writer.add(bytes(300_000))
    sizes = [len(payload) + 5 for _, payload in frames_in(all_frames(writer))]
    assert sizes[0] == limits.frame_bytes_unauthenticated_max
    assert max(sizes) == limits.frame_bytes_max


def test_a_message_is_not_split_for_a_little_room() -> None:
    writer = FrameWriter()
    writer.add(bytes(600))
    writer.add(bytes(600))
    assert frames_in(writer.next_frames(700)) == [(LAST, bytes(600))]
    assert frames_in(writer.next_frames(700)) == [(LAST, bytes(600))]


def test_the_format_byte_by_byte() -> None:
    writer = FrameWriter(frame_bytes_max=8)
    writer.add(b"abcd")
    writer.add(b"!", urgent=True)
    writer.add(b"")
    expected = b"\0\0\0\x02\x03!" + b"\0\0\0\x04\x00abc" + b"\0\0\0\x02\x01d" + b"\0\0\0\x01\x01"
    assert all_frames(writer) == expected
    assert FrameReader().feed(expected) == [b"!", b"abcd", b""]


def test_a_message_too_long_to_send() -> None:
    with pytest.raises(UsageError, match="301 bytes"):
        FrameWriter(message_bytes_max=300).add(bytes(301))
    with pytest.raises(UsageError, match="5 bytes"):
        FrameWriter().next_frames(5)


@pytest.mark.parametrize(
    ("data", "kind", "words"),
    [
        (b"\xff\xff\xff\xff", TooLarge, "4294967299 bytes"),
        (b"\xff\xff\xff\xff\x01abc", TooLarge, "4294967299 bytes"),
        ((4_093).to_bytes(4, "big"), TooLarge, "4097 bytes where at most 4096"),
        (bytes(4), Malformed, "no bytes"),
        (frame(b"x", 4), Malformed, "unknown flags 0x04"),
        (frame(b"x", 0x80 | LAST), Malformed, "unknown flags 0x81"),
        (frame(b"", 0), Malformed, "empty frame inside a message"),
        (frame(b"", URGENT), Malformed, "empty frame inside a message"),
    ],
)
def test_what_is_refused_and_why(data: bytes, kind: type[PeerError], words: str) -> None:
    with pytest.raises(kind, match=words):
        FrameReader().feed(data)


def test_a_length_is_refused_as_soon_as_it_is_read() -> None:
    reader = FrameReader()
    for byte in b"\xff\xff\xff":
        assert reader.feed(bytes([byte])) == []
    with pytest.raises(TooLarge):
        reader.feed(b"\xff")


def test_after_the_first_frame_larger_ones_are_taken_up_to_the_limit() -> None:
    reader = FrameReader()
    assert reader.feed(frame(b"hello")) == [b"hello"]
    large = bytes(limits.frame_bytes_max - 5)
    assert reader.feed(frame(large)) == [large]
    with pytest.raises(TooLarge, match="65537 bytes where at most 65536"):
        reader.feed(frame(large + b"x"))


@pytest.mark.parametrize("last", [0, LAST])
def test_a_message_that_grows_too_long_is_refused(last: int) -> None:
    reader = FrameReader(message_bytes_max=10)
    assert reader.feed(frame(bytes(6), 0)) == []
    with pytest.raises(TooLarge, match="more than 10 bytes"):
        reader.feed(frame(bytes(5), last))


def test_both_channels_together_hold_at_most_two_messages() -> None:
    """Endless pieces of a message that never ends cost no more than the longest message (L7)."""
    reader = FrameReader(message_bytes_max=100_000)
    tracemalloc.start()
    try:
        with pytest.raises(TooLarge):
            for _ in range(200_000):
                reader.feed(frame(b"x", 0))
        assert tracemalloc.get_traced_memory()[1] < 2_000_000
    finally:
        tracemalloc.stop()


def test_a_bomb_allocates_nothing() -> None:
    tracemalloc.start()
    try:
        for length in (2**32 - 1, 2**31, limits.frame_bytes_max + 1):
            with pytest.raises(TooLarge):
                FrameReader().feed(length.to_bytes(4, "big") + b"\x01")
        assert tracemalloc.get_traced_memory()[1] < 100_000
    finally:
        tracemalloc.stop()


def test_a_connection_may_end_only_between_messages() -> None:
    reader = FrameReader()
    assert reader.between_messages
    reader.feed(frame(b"abc", 0))
    assert not reader.between_messages
    reader.feed(frame(b"d"))
    assert reader.between_messages
    reader.feed(b"\0")
    assert not reader.between_messages


def test_a_large_frame_in_single_bytes() -> None:
    reader = FrameReader(first_frame_bytes_max=limits.frame_bytes_max)
    line = frame(bytes(limits.frame_bytes_max - 5))
    for index in range(len(line) - 1):
        assert reader.feed(line[index : index + 1]) == []
    assert reader.feed(line[-1:]) == [bytes(limits.frame_bytes_max - 5)]
