"""Membership records: their form, and a graph that takes in any of them under signatures that all verify."""

from __future__ import annotations

from contextlib import suppress
from functools import cache

from crdtsync import limits
from crdtsync.errors import PeerError
from crdtsync.replication.codec import pack, unpack
from crdtsync.replication.fork_proof import Branch, fork_proof
from crdtsync.replication.member_codec import decode_record
from crdtsync.replication.membership import Membership, fork
from tests.fuzz.dice import Dice, patched, twisted
from tests.fuzz.registry import target
from tests.replication import people
from tests.replication.cores import Author

_RECORDS_PER_INPUT = 12


@cache
def records() -> tuple[bytes, ...]:
    """A practice in which everything happens that a record can say."""
    book = people.practice("b", "c")
    book.adds("b", "d", admin=False)
    book.begins("b", "2", "abcs", ["1"])
    book.shares("a", "1", "c")
    book.attests("c", "b", 4)
    book.addresses("c", "c.example:7443")
    book.succeeds("a", "c", 2, boot_3=5)
    book.holds("c", "b", 3)
    one, other = (Author("d", book.practice, book.heads) for _ in range(2))
    first, second = one.commit(size=40), other.commit(size=41)
    sides = [Branch((commit.header_bytes,), commit.signature) for commit in (first, second)]
    book.put(fork(people.signer("c"), book.at("c"), fork_proof(people.sig_of("d"), *sides)))
    other = book.copy()
    book.removes("a", "b", cut=3)
    other.removes("b", "a")
    book.meet(other)
    return tuple(data for _, data in book.records())


@target("member_record", records)
def member_record(data: bytes) -> None:
    """A record is refused, or read as what its bytes say."""
    with suppress(PeerError):
        found = decode_record(data)
        assert found.data == data


def _always(_sig: bytes, _message: bytes, _signature: bytes) -> bool:
    return True


def _some_record(dice: Dice) -> bytes:
    how = dice.below(4)
    real = dice.pick(records())
    if how == 0:
        return real
    if how == 1:
        return patched(dice, real)
    if how == 2:
        return dice.piece()
    items = unpack(real, bytes_max=limits.membership_record_bytes_max, what="a real record")
    with suppress(OverflowError):
        return pack(twisted(dice, items))
    return real


@target(
    "membership",
    lambda: [bytes([0, n] * 10) for n in range(14)] + [bytes(range(n, n + 100)) for n in range(0, 150, 15)],
    bytes_max=1_024,
)
def membership(data: bytes) -> None:
    """A graph of any records stays whole: what is refused changes nothing, and its state can always be told."""
    dice = Dice(data)
    graph = Membership(_always)
    for record in records()[: dice.below(len(records()) + 1)]:
        graph.add(record)
    for _ in range(_RECORDS_PER_INPUT):
        before = (len(graph), graph.heads)
        try:
            added = graph.add(_some_record(dice))
        except PeerError:
            assert (len(graph), graph.heads) == before
            continue
        assert len(graph) == before[0] + (added is not None)
        if not dice.left:
            break
    _tell(graph)


def _tell(graph: Membership) -> None:
    if not len(graph):
        return
    state = graph.state()
    assert state.sealing_epochs is not None
    state.missing_shares()
    for replica in state.members:
        state.deliveries(replica)
    copy = Membership(_always)
    for _, data in graph.records():
        copy.add(data)
    assert copy.state() == state
