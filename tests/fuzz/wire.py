"""What comes over the wire, before anybody looks at whose it is: frames, messages, commits, key objects."""

from __future__ import annotations

import json
from collections.abc import Iterable
from contextlib import suppress
from functools import cache
from pathlib import Path

from crdtsync import limits
from crdtsync.errors import PeerError
from crdtsync.ids import AskId, EpochId, LogId, RecordId, ReplicaId
from crdtsync.replication import messages
from crdtsync.replication.codec import pack, unpack
from crdtsync.replication.commit import (
    Change,
    Commit,
    Part,
    commit_items,
    decode_commit,
    decode_header,
    decode_part,
    encode_commit,
    encode_part,
)
from crdtsync.replication.stored import key_from_items, key_items, key_object
from crdtsync.transport.framing import FrameReader, FrameWriter
from tests.fuzz.dice import Dice, twisted
from tests.fuzz.registry import target

_CONVERSATION = Path(__file__).parents[1] / "fixtures" / "format_1" / "conversation.json"


@cache
def recorded() -> tuple[bytes, ...]:
    """Real messages: one of every kind, and a conversation of two sites."""
    talk = json.loads(_CONVERSATION.read_text(encoding="utf-8"))
    samples = [bytes.fromhex(data) for _, data in talk["samples"]]
    said = [bytes.fromhex(data) for _, data in talk["messages"]]
    return tuple(dict.fromkeys(samples + [data for data in said if len(data) < 16_384] + list(_rare())))


def _rare() -> Iterable[bytes]:
    """What is said when logs, records or commits differ: nothing that a conversation without trouble holds."""
    log = LogId(b"l" * 24)
    print_ = messages.Print("patient", RecordId("a" * 26), b"f" * 32)
    sums = messages.Sums(((3, b"s" * 32), (0, bytes(32))), ())
    few = messages.Sums((), (print_, print_))
    every: list[messages.Message] = [
        messages.WantHeads(log, (1, 5, 9)),
        messages.Heads(log, ((b"a header", b"g" * 64), (b"another one", b"h" * 64))),
        messages.WantSums(b"f" * 32, b"m" * 32, ((), (1, 15))),
        messages.SumsOf(b"f" * 32, b"m" * 32, (((), sums), ((1, 15), few))),
        messages.WantAgain(log, (1, 2, 7)),
        messages.Ask(AskId(b"q" * 16), ReplicaId(b"o" * 16), ReplicaId(b"t" * 16), 8, 9_000, b"sealed", b"s" * 64),
        messages.Answer(AskId(b"q" * 16), ReplicaId(b"t" * 16), ReplicaId(b"o" * 16), 8, 9_000, b"sealed", b"s" * 64),
        messages.Cancel(AskId(b"q" * 16), ReplicaId(b"o" * 16), ReplicaId(b"t" * 16), b"s" * 64),
    ]
    return map(messages.encode, every)


@cache
def commits() -> tuple[Commit, ...]:
    """Real commits, small ones."""
    found = [messages.decode(data) for data in recorded()]
    return tuple(c for message in found if isinstance(message, messages.Commits) for c in message.commits)[:6]


def _framed() -> Iterable[bytes]:
    for pieces in (b"\x00", b"\x01\x05", b"\xff"):
        writer = FrameWriter()
        writer.add(b"hello")
        writer.add(b"x" * 5_000)
        writer.add(b"now", urgent=True)
        frames = b""
        while piece := writer.next_frames(2_000):
            frames += piece
        yield pieces + frames


@target("frames", _framed, bytes_max=20_000)
def frames(data: bytes) -> None:
    """Frames in pieces of any size give the same messages as in one, and keep no more than a message takes."""
    size = 1 + data[0] if data else 1
    stream = data[1:]
    whole, pieces = FrameReader(), FrameReader()
    expected: list[bytes] | None = None
    with suppress(PeerError):
        expected = whole.feed(stream)
    found: list[bytes] = []
    try:
        for at in range(0, len(stream), size):
            found += pieces.feed(stream[at : at + size])
            kept = len(pieces._rest) + sum(map(len, pieces._partial))
            assert kept <= limits.frame_bytes_max + 2 * limits.message_bytes_max
    except PeerError:
        assert expected is None
    else:
        assert expected == found


@target("codec", lambda: [pack([1, b"x", "y", [None, True, [2**63]]]), *recorded()[:4]], bytes_max=65_536)
def codec(data: bytes) -> None:
    """What is unpacked holds plain values in arrays and says the same when it is packed again."""
    with suppress(PeerError):
        value = unpack(data, bytes_max=limits.message_bytes_max, what="input")
        again = unpack(pack(value), bytes_max=2 * limits.message_bytes_max, what="input")
        assert repr(again) == repr(value)


def check_message(data: bytes) -> None:
    """A message is refused, passed over, or means the same when it is said again."""
    with suppress(PeerError):
        message = messages.decode(data)
        if message is not None:
            assert messages.decode(messages.encode(message)) == message


def _messages() -> Iterable[bytes]:
    return (*recorded(), messages.encode(messages.Again(commits()[:2])))


@target("message", _messages, bytes_max=16_384)
def message(data: bytes) -> None:
    """Any bytes as a message."""
    check_message(data)


@target("message_twisted", lambda: [bytes(range(number, number + 40)) for number in range(20)], bytes_max=256)
def message_twisted(data: bytes) -> None:
    """Real messages whose items are changed for others of any type."""
    dice = Dice(data)
    with suppress(PeerError):
        items = unpack(dice.pick(recorded()), bytes_max=limits.message_bytes_max, what="a recorded message")
        with suppress(OverflowError):  # no msgpack at all
            check_message(pack(twisted(dice, items)))


@target("commit", lambda: [encode_commit(commit) for commit in commits()], bytes_max=16_384)
def commit(data: bytes) -> None:
    """A commit is refused, or is the same when it is encoded again."""
    with suppress(PeerError):
        found = decode_commit(data)
        assert decode_commit(encode_commit(found)) == found
        assert found.size <= len(data) + 100


@target("header", lambda: [commit.header_bytes for commit in commits()], bytes_max=8_192)
def header(data: bytes) -> None:
    """A header is refused or read; what it holds keeps to the limits."""
    with suppress(PeerError):
        found = decode_header(data)
        assert len(found.dependencies) <= limits.dependencies_max
        assert len(found.parts) <= limits.parts_per_commit_max


@target("header_twisted", lambda: [bytes(range(number, number + 40)) for number in range(12)], bytes_max=256)
def header_twisted(data: bytes) -> None:
    """Real commits whose headers say something else."""
    dice = Dice(data)
    real = dice.pick(commits())
    items = unpack(real.header_bytes, bytes_max=limits.header_bytes_max, what="a recorded header")
    with suppress(PeerError, OverflowError):
        changed = pack(twisted(dice, items))
        decode_header(changed)
        decode_commit(pack([changed, *commit_items(real)[1:]]))


def _parts() -> Iterable[bytes]:
    change = Change("patient", "a" * 26, b"\0\0")  # type: ignore[arg-type]  # an id of the right form
    yield encode_part(Part("dr.weber", 1_700_000_000_000, "visit", "desk", "care", (change, change)))
    yield encode_part(Part("", -1, "", "", "", ()))


@target("part", _parts)
def part(data: bytes) -> None:
    """A part's content is refused, or is the same when it is encoded again."""
    with suppress(PeerError):
        found = decode_part(data)
        assert decode_part(encode_part(found)) == found


def _keys() -> Iterable[bytes]:
    yield pack(key_items(key_object(EpochId(b"e" * 16), "a" * 26, b"w" * 40)))


@target("key_object", _keys)
def key(data: bytes) -> None:
    """A key object is refused, or its id is that of its content."""
    with suppress(PeerError):
        found = key_from_items(unpack(data, bytes_max=4_096, what="key"))
        assert key_object(found.epoch, found.subject, found.wrapped) == found
