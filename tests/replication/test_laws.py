"""Laws of frontiers, membership, feeds and codecs: order and batching of what comes in do not count (L2, L5)."""

from __future__ import annotations

import random
from collections.abc import Mapping
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from crdtsync.errors import PeerError
from crdtsync.ids import (
    CommitHash,
    DataKeyId,
    EpochId,
    Head,
    LogId,
    MemberHash,
    PracticeId,
    RecordId,
    ReplicaId,
)
from crdtsync.replication import member_builders, messages
from crdtsync.replication import membership as m
from crdtsync.replication.commit import (
    Change,
    Commit,
    Header,
    Part,
    PartRef,
    decode_commit,
    decode_header,
    decode_part,
    encode_commit,
    encode_header,
    encode_part,
    header_hash,
    part_hash,
)
from crdtsync.replication.frontier import Frontier
from crdtsync.replication.member_codec import decode_record
from crdtsync.replication.member_records import (
    Add,
    Address,
    Attest,
    Entry,
    EpochBody,
    Found,
    MemberRecord,
    NewEpoch,
    Remove,
    Share,
)
from crdtsync.replication.stored import EMPTY_LOG, KeyObject, key_from_items, key_items, key_object, next_head
from tests.examples import examples
from tests.replication import people
from tests.replication.cores import Author
from tests.replication.people import Book, head, log

# -- frontiers --------------------------------------------------------------------------------------------------------

LOGS = st.sampled_from([log("a"), log("b"), log("c"), log("a", 2)])
HEADS = st.dictionaries(LOGS, st.integers(1, 4).map(head), max_size=4)


def joined(*frontiers: Mapping[LogId, Head]) -> Frontier:
    found = Frontier()
    for frontier in frontiers:
        for name, at in frontier.items():
            found.advance(name, at)
    return found


@given(HEADS, HEADS, HEADS)
def test_frontiers_form_a_semilattice(a: dict[LogId, Head], b: dict[LogId, Head], c: dict[LogId, Head]) -> None:
    assert joined(a, b) == joined(b, a)
    assert joined(a, b, c) == joined(dict(joined(b, c).items()), a)
    assert joined(a, a) == joined(a) == Frontier(a)
    both = joined(a, b)
    assert both.covers(a.items()) and both.covers(b.items())
    if Frontier(c).covers(a.items()) and Frontier(c).covers(b.items()):
        assert Frontier(c).covers(both.items()), "the least that covers both"


@given(HEADS, HEADS, HEADS)
def test_covering_is_a_partial_order(a: dict[LogId, Head], b: dict[LogId, Head], c: dict[LogId, Head]) -> None:
    one, two, three = Frontier(a), Frontier(b), Frontier(c)
    assert one.covers(a.items())
    assert not (one.covers(b.items()) and two.covers(a.items())) or a == b
    assert not (one.covers(b.items()) and two.covers(c.items())) or one.covers(c.items())
    assert (one.digest() == two.digest()) == (one == two) == (a == b)
    assert three.commits() == sum(at.sequence for at in c.values())


@given(HEADS, st.lists(st.tuples(LOGS, st.integers(0, 5)), max_size=10))
def test_a_frontier_only_grows(a: dict[LogId, Head], steps: list[tuple[LogId, int]]) -> None:
    frontier = Frontier(a)
    for name, sequence in steps:
        before = frontier.copy()
        before.digest()
        frontier.advance(name, head(sequence, "another"))
        assert frontier.covers(before.items())
        assert (frontier.digest() == before.digest()) == (frontier == before) == (sequence <= before.sequence(name))


# -- membership -------------------------------------------------------------------------------------------------------

NAMES = "abcde"
ACTS = st.lists(
    st.tuples(
        st.sampled_from(NAMES),
        st.sampled_from(
            ["add", "add", "remove", "remove", "close", "attest", "address", "epoch", "share", "meet", "meet", "later"]
        ),
        st.sampled_from(NAMES),
        st.integers(1, 4),
    ),
    max_size=30,
)


def practice(acts: list[tuple[str, str, str, int]]) -> Book:
    """All records of a practice in which everybody has a copy of its own and writes what it has a right to, or not."""
    base = people.practice("b", "c")
    copies = {name: base.copy() for name in NAMES}
    for number, (author, act, other, at) in enumerate(acts):
        book = copies[author]
        try:
            if act == "add":
                role = ["site", "site", "archive", "workstation"][at - 1]
                book.adds(author, other, role, admin=role == "site" and number % 3 > 0)
            elif act == "remove":
                book.removes(author, other, f"{number}", author, cut=at)
            elif act == "close":
                book.closes(author, other, at, number=f"{number}", cut=at)
            elif act == "attest":
                book.attests(author, other, at, "fork" if number % 5 == 0 else "")
            elif act == "address":
                book.addresses(author, f"{author}:{number}")
            elif act == "epoch":
                book.begins(author, f"{number}", author + other, ["1"])
            elif act == "share":
                book.shares(author, "1", other)
            elif act == "later":
                book.put(m.record(people.signer(author), book.at(author), "of-a-later-version", [number]))
            else:
                book.meet(copies[other])
        except PeerError:
            continue  # the author was no member in its own copy
    together = base.copy()
    together.meet(*copies.values())
    return together


def in_any_order(book: Book, chance: random.Random) -> Book:
    """A copy that learned the records in another causal order, and asked for the state now and then."""
    waiting = [data for _, data in book.records()]
    found = Book()
    while waiting:
        chance.shuffle(waiting)
        left = []
        for data in waiting:
            if found.knows(decode_record(data).parents):
                found.add(data)
                if chance.random() < 0.2:
                    found.state()
            else:
                left.append(data)
        waiting = left
    return found


def closed(book: Book, chance: random.Random) -> Book:
    """A copy that knows a causally closed part."""
    found = Book()
    for record, data in book.records():
        if found.knows(book.get(record).parents) and (not len(found) or chance.random() < 0.8):
            found.add(data)
    return found


@given(ACTS, st.integers(0, 2**32))
@examples(50)
def test_who_belongs_does_not_depend_on_the_order_of_arrival(acts: list[tuple[str, str, str, int]], seed: int) -> None:
    book, chance = practice(acts), random.Random(seed)
    for _ in range(3):
        other = in_any_order(book, chance)
        assert other.heads == book.heads
        state, mine = other.state(), book.state()
        assert state == mine and state.sealing_epochs == mine.sealing_epochs
        assert list(state.epochs) == list(mine.epochs), "oldest first, the same everywhere"
        assert state.missing_shares() == mine.missing_shares()
        for record, _ in book.records():
            assert other.state([record]) == book.state([record]), "and so it was at any time"


@given(ACTS, st.integers(0, 2**32))
@examples(50)
def test_a_removal_that_counts_is_undone_by_a_new_add_alone(acts: list[tuple[str, str, str, int]], seed: int) -> None:
    """Removal is monotone: whatever else becomes known, only an add that has seen it lets the removed one in again."""
    book = practice(acts)
    part = closed(book, random.Random(seed))
    before, after = part.state(), book.state()
    for replica, member in before.members.items():
        removals = [
            record
            for record, data in part.records()
            if isinstance(body := decode_record(data).body, Remove) and body.replica == replica
        ]
        if member.active or not removals:
            continue
        again = [
            record
            for record, data in book.records()
            if not part.has(record)
            and isinstance(body := decode_record(data).body, Add)
            and body.entry.replica == replica
        ]
        if after.active(replica) is not None:
            assert again


@given(ACTS)
@examples(40)
def test_records_stand_in_one_total_order_that_follows_cause(acts: list[tuple[str, str, str, int]]) -> None:
    book = practice(acts)
    order = {record: book._graph.by_hash[record].order for record, _ in book.records()}
    assert len(set(order.values())) == len(order)
    for record in order:
        assert all(order[parent] < order[record] for parent in book.get(record).parents)


@given(ACTS, st.integers(0, 2**32))
@examples(40)
def test_cuts_only_grow_while_nobody_comes_or_goes(acts: list[tuple[str, str, str, int]], seed: int) -> None:
    """An attest more never shortens what counts of a removed replica."""
    book = practice(acts)
    before = book.state().cuts
    chance = random.Random(seed)
    for name in NAMES:
        if (member := book.state().active(people.replica(name))) is not None and member.reader:
            book.attests(name, chance.choice(NAMES), chance.randint(1, 9))
    after = book.state().cuts
    assert all(after[name].sequence >= at.sequence for name, at in before.items())


# -- what bytes say ---------------------------------------------------------------------------------------------------


def raw(size: int) -> st.SearchStrategy[bytes]:
    return st.binary(min_size=size, max_size=size)


LOG_HEADS = st.tuples(raw(24).map(LogId), st.builds(Head, st.integers(0, 2**53), raw(32).map(CommitHash)))
SEALED = st.lists(st.binary(max_size=30), max_size=3)


@st.composite
def commits(draw: st.DrawFn) -> Commit:
    """Any well-formed commit, also one of which parts are not here."""
    sealed = draw(SEALED)
    refs = tuple(
        PartRef(
            draw(raw(16).map(DataKeyId)), draw(raw(16).map(EpochId)), part_hash(part), len(part), draw(st.booleans())
        )
        for part in sealed
    )
    count = draw(st.integers(2, 2**31))
    header = Header(
        practice=draw(raw(16).map(PracticeId)),
        log=draw(raw(24).map(LogId)),
        sequence=draw(st.integers(1, 2**53)),
        previous=draw(raw(32).map(CommitHash)),
        stamp=draw(st.integers(0, 2**63 - 1)),
        dependencies=tuple(draw(st.lists(LOG_HEADS, max_size=3))),
        members=tuple(draw(st.lists(raw(32).map(MemberHash), max_size=3))),
        parts=refs,
        continues=draw(st.none() | LOG_HEADS),
        fragment=draw(st.none() | st.tuples(st.integers(0, count - 1), st.just(count))),
    )
    data = encode_header(header)
    here = tuple(part if draw(st.booleans()) else b"" for part in sealed)
    return Commit(header, data, here, draw(raw(64)), header_hash(data))


@given(commits())
@examples(40)
def test_commits_read_back(commit: Commit) -> None:
    data = encode_commit(commit)
    assert decode_commit(data) == commit
    assert encode_commit(decode_commit(data)) == data
    assert decode_header(commit.header_bytes) == commit.header
    assert encode_header(decode_header(commit.header_bytes)) == commit.header_bytes


@given(commits(), st.integers(0, 10_000), st.integers(1, 255))
@examples(40)
def test_a_changed_header_is_another_commit_or_none(commit: Commit, at: int, bit: int) -> None:
    """One hash, one meaning: no two byte strings pass for one header."""
    data = bytearray(commit.header_bytes)
    data[at % len(data)] ^= bit
    try:
        header = decode_header(bytes(data))
    except PeerError:
        return
    assert header_hash(bytes(data)) != commit.hash
    assert header != commit.header or encode_header(header) == commit.header_bytes


CHANGES = st.builds(Change, st.text(max_size=9), st.text(max_size=26).map(RecordId), st.binary(max_size=20))
PARTS = st.builds(
    Part,
    st.text(max_size=9),
    st.integers(-(2**53), 2**53),
    st.text(max_size=9),
    st.text(max_size=9),
    st.text(max_size=9),
    st.lists(CHANGES, max_size=3).map(tuple),
)


@given(PARTS)
@examples(40)
def test_parts_read_back(part: Part) -> None:
    data = encode_part(part)
    assert decode_part(data) == part
    assert encode_part(decode_part(data)) == data


KEYS = st.builds(key_object, raw(16).map(EpochId), st.text(max_size=26), raw(40))


@given(KEYS, KEYS)
@examples(40)
def test_keys_read_back_under_an_id_of_their_own(key: KeyObject, other: KeyObject) -> None:
    assert key_from_items(key_items(key)) == key
    assert (key.id == other.id) == (key == other)


@given(st.lists(commits(), max_size=4), KEYS, st.integers(0, 2**53))
@examples(40)
def test_commits_in_messages_read_back(run: list[Commit], key: KeyObject, sent: int) -> None:
    message = messages.Commits(sent, (key,), tuple(run))
    data = messages.encode(message)
    assert messages.decode(data) == message
    again = messages.decode(data)
    assert again is not None and messages.encode(again) == data


WORDS = st.text(max_size=9)
BLOBS = st.binary(min_size=1, max_size=20)
REPLICAS = raw(16).map(ReplicaId)
ENTRIES = st.builds(Entry, raw(32), BLOBS, BLOBS, WORDS, st.booleans(), WORDS, st.lists(WORDS, max_size=2).map(tuple))
EPOCHS = st.builds(
    EpochBody,
    raw(16).map(EpochId),
    st.lists(st.tuples(raw(16).map(EpochId), raw(40)), max_size=2).map(tuple),
    st.dictionaries(REPLICAS, BLOBS, max_size=3),
)
PLACES = st.builds(
    m.Place,
    raw(16).map(PracticeId),
    REPLICAS,
    st.sets(raw(32).map(MemberHash), min_size=1, max_size=3).map(lambda found: tuple(sorted(found))),
)
MEMBER_HEADS = st.dictionaries(
    raw(24).map(LogId), st.builds(Head, st.integers(0, 9), raw(32).map(CommitHash)), max_size=2
)
SIGN = people.signer("a")


@st.composite
def records(draw: st.DrawFn) -> bytes:
    """Any membership record as its author makes it."""
    place = draw(PLACES)
    act = draw(st.integers(0, 6))
    if act == 0:
        founder, recovery = draw(ENTRIES), draw(ENTRIES.filter(lambda entry: entry.sig != bytes(32)))
        founder = Entry(bytes(32), founder.tls, founder.kem, "site", True, founder.name, founder.addresses)
        recovery = Entry(recovery.sig, recovery.tls, recovery.kem, "recovery", True, recovery.name)
        name, chance = draw(WORDS), draw(raw(32))
        return m.found(SIGN, name=name, random=chance, founder=founder, recovery=recovery, epoch=draw(EPOCHS))
    if act == 1:
        return m.add(SIGN, place, draw(ENTRIES), draw(st.dictionaries(raw(16).map(EpochId), BLOBS, max_size=2)))
    if act == 2:
        gone = draw(REPLICAS)
        heads = {LogId(gone + name[16:]): at for name, at in draw(MEMBER_HEADS).items()}
        return m.remove(SIGN, place, gone, reason=draw(WORDS), heads=heads, epoch=draw(EPOCHS))
    if act == 3:
        return m.epoch(SIGN, place, draw(EPOCHS))
    if act == 4:
        return m.share(SIGN, place, draw(st.lists(st.tuples(raw(16).map(EpochId), REPLICAS, BLOBS), max_size=3)))
    if act == 5:
        return m.attest(SIGN, place, draw(MEMBER_HEADS))
    return m.address(SIGN, place, draw(st.lists(WORDS, max_size=3)))


@given(records())
@examples(40)
def test_membership_records_read_back(data: bytes) -> None:
    record = decode_record(data)
    assert record.data == data
    assert again(record) == data


def again(record: MemberRecord) -> bytes:
    """The record, made once more from what was read of it."""
    body: Any = record.body
    if isinstance(body, Found):
        return m.found(
            SIGN, name=body.name, random=body.random, founder=body.founder, recovery=body.recovery, epoch=body.epoch
        )
    assert record.practice is not None
    place = m.Place(record.practice, record.author, record.parents)
    if isinstance(body, Add):
        return m.add(SIGN, place, body.entry, body.shares)
    if isinstance(body, Remove):
        return m.remove(SIGN, place, body.replica, reason=body.reason, heads=dict(body.heads), epoch=body.epoch)
    if isinstance(body, NewEpoch):
        return m.epoch(SIGN, place, body.epoch)
    if isinstance(body, Share):
        return m.share(SIGN, place, body.shares)
    if isinstance(body, Attest):
        return m.attest(SIGN, place, dict(body.heads))
    assert isinstance(body, Address)
    return member_builders.address(SIGN, place, body.addresses)


# -- the chain of arrivals --------------------------------------------------------------------------------------------


@given(st.integers(1, 6), st.integers(0, 5), st.integers(0, 5))
def test_the_head_of_a_log_tells_every_other_order_apart(count: int, one: int, other: int) -> None:
    run = Author("a", PracticeId(bytes(16)), ()).run(count)
    swapped = list(run)
    one, other = one % count, other % count
    swapped[one], swapped[other] = swapped[other], swapped[one]
    heads = []
    for order in (run, swapped):
        at = EMPTY_LOG
        for commit in order:
            at = next_head(at, commit)
        heads.append(at)
    assert heads[0].arrival == heads[1].arrival == count
    assert (heads[0] == heads[1]) == (one == other)
