"""Messages: what is encoded is read back, and no bytes do more than end a link (L6)."""

from __future__ import annotations

import random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crdtsync import limits
from crdtsync.errors import BadSignature, Malformed, PeerError, TooLarge
from crdtsync.ids import AskId, CommitHash, DataKeyId, EpochId, Head, LogId, MemberHash, PracticeId, RecordId, ReplicaId
from crdtsync.replication import messages as m
from crdtsync.replication.codec import pack
from crdtsync.replication.stored import key_from_items, key_items, key_object
from tests.replication.cores import Author, data_key

AUTHOR = Author("a", PracticeId(bytes(16)), ())
KEYS = tuple(data_key(name) for name in ("one", "two"))
COMMITS = (AUTHOR.commit(key=KEYS[0]), AUTHOR.commit(), AUTHOR.commit(size=0))

counts = st.integers(0, 2**53)
replicas = st.binary(min_size=16, max_size=16).map(ReplicaId)
practices = st.binary(min_size=16, max_size=16).map(PracticeId)
log_ids = st.binary(min_size=24, max_size=24).map(LogId)
hashes = st.binary(min_size=32, max_size=32)
ask_ids = st.binary(min_size=16, max_size=16).map(AskId)
signatures = st.binary(min_size=64, max_size=64)
key_ids = st.binary(min_size=16, max_size=16).map(DataKeyId)
heads = st.tuples(log_ids, st.builds(Head, counts, hashes.map(CommitHash)))


def tuples(of: st.SearchStrategy[Any]) -> st.SearchStrategy[tuple[Any, ...]]:
    return st.lists(of, max_size=4).map(tuple)


paths = tuples(st.integers(0, m.PARTS - 1))
prints = st.builds(m.Print, st.text(max_size=64), st.text(max_size=64).map(RecordId), hashes)
sums = st.builds(m.Sums, tuples(st.tuples(counts, hashes)), tuples(prints))

said = st.one_of(
    st.builds(m.Hello, st.integers(1, 2**16), practices, replicas, st.one_of(st.just(b""), log_ids), st.booleans()),
    st.builds(m.Members, tuples(hashes.map(MemberHash)), st.booleans()),
    st.builds(m.Records, tuples(st.binary(max_size=30))),
    st.builds(m.Have, tuples(heads), st.booleans()),
    st.builds(m.Feed, tuples(st.tuples(log_ids, st.integers(1, 2**53)))),
    st.builds(m.Unfeed, tuples(log_ids)),
    st.builds(m.Backlog, counts, st.integers(0, 2**60)),
    st.builds(m.Commits, counts, st.just(KEYS), st.sampled_from([(), COMMITS, COMMITS[1:]])),
    st.builds(m.Credit, counts),
    st.builds(m.WantKeys, tuples(key_ids)),
    st.builds(m.Keys, st.sampled_from([(), KEYS])),
    st.builds(m.Digest, hashes, hashes, hashes, counts),
    st.builds(m.Ping, counts, counts),
    st.builds(m.Pong, counts),
    st.builds(m.Holding, replicas, tuples(heads)),
    st.builds(m.WantHeads, log_ids, tuples(st.integers(1, 2**53))),
    st.builds(m.Heads, log_ids, tuples(st.tuples(st.binary(max_size=30), st.binary(min_size=64, max_size=64)))),
    st.builds(m.WantSums, hashes, hashes, tuples(paths)),
    st.builds(m.SumsOf, hashes, hashes, tuples(st.tuples(paths, sums))),
    st.builds(m.WantAgain, log_ids, tuples(st.integers(1, 2**53))),
    st.builds(m.Again, st.sampled_from([(), COMMITS, COMMITS[1:]])),
    st.builds(m.Ask, ask_ids, replicas, replicas, counts, counts, st.binary(max_size=90), signatures),
    st.builds(m.Answer, ask_ids, replicas, replicas, counts, counts, st.binary(max_size=90), signatures),
    st.builds(m.Cancel, ask_ids, replicas, replicas, signatures),
)


@given(said)
def test_what_is_said_is_heard(message: m.Message) -> None:
    assert m.decode(m.encode(message)) == message


@given(said, st.integers(0, 2**32), st.integers(1, 4))
def test_changed_bytes_are_read_or_refused_and_nothing_else(message: m.Message, seed: int, changes: int) -> None:
    chance = random.Random(seed)
    data = bytearray(m.encode(message))
    for _ in range(changes):
        act, at = chance.randrange(3), chance.randrange(len(data))
        if act == 0:
            data[at] ^= 1 << chance.randrange(8)
        elif act == 1:
            del data[at:]
        else:
            data[at:at] = chance.randbytes(3)
        if not data:
            break
    read_or_refused(bytes(data))


@given(st.binary(max_size=200))
def test_any_bytes_are_read_or_refused(data: bytes) -> None:
    read_or_refused(data)


@given(
    st.integers(1, 26),
    st.recursive(
        st.one_of(st.none(), st.booleans(), st.integers(0, 9), st.binary(max_size=40), st.text(max_size=3)),
        lambda inner: st.lists(inner, max_size=4),
        max_leaves=12,
    ),
)
def test_well_formed_nonsense_is_read_or_refused(number: int, items: Any) -> None:
    read_or_refused(pack([number, *(items if isinstance(items, list) else [items])]))


def read_or_refused(data: bytes) -> None:
    try:
        m.decode(data)
    except PeerError as error:
        assert str(error)


def test_a_kind_that_is_not_known_is_passed_over() -> None:
    assert m.decode(pack([200, "of a later version"])) is None


def test_items_behind_the_known_ones_are_passed_over() -> None:
    assert m.decode(pack([14, 7, "of a later version"])) == m.Pong(7)


@pytest.mark.parametrize(
    ("items", "reason"),
    [
        ([], "does not begin with a number"),
        (["14", 7], "does not begin with a number"),
        ([True, 7], "does not begin with a number"),
        ([14], "message 14: too short"),
        ([1, 1, bytes(16), bytes(16), b"log", True], "hello log"),
        ([1, 1, bytes(16), bytes(15), b"", True], "hello replica"),
        ([1, 0, bytes(16), bytes(16), b"", True], "hello version"),
        ([1, 1, bytes(16), bytes(16), b"", 1], "hello: not a flag"),
        ([2, [bytes(31)], True], "member hash"),
        ([3, ["text"]], "records: not bytes"),
        ([4, [[bytes(24), 1]], True], "log head: not three items"),
        ([5, [[bytes(24), 0]]], "feed sequence"),
        ([5, [bytes(24)]], "feed: not a log and a sequence"),
        ([6, [bytes(23)]], "unfeed log"),
        ([7, -1, 0], "backlog"),
        ([8, 0, [], [[b"header"]]], "commit: not three items"),
        ([9, 2**53 + 1], "credit"),
        ([10, [bytes(15)]], "key id"),
        ([11, [[bytes(16), bytes(16), "subject", bytes(39)]]], "data key"),
        ([12, bytes(32), bytes(32), b""], "digest"),
        ([13, 1, -1], "ping time"),
        ([15, bytes(16), [[bytes(24), -1, bytes(32)]]], "log head"),
        ([16, bytes(23), [1]], "wanted headers"),
        ([16, bytes(24), [0]], "wanted header"),
        ([17, bytes(23), []], "headers: not 24 bytes"),
        ([17, bytes(24), [[b"header"]]], "not a header and a signature"),
        ([17, bytes(24), [["header", bytes(64)]]], "not a header and a signature"),
        ([17, bytes(24), [[b"header", bytes(63)]]], "header signature"),
        ([18, bytes(31), bytes(32), []], "sums frontier"),
        ([18, bytes(32), bytes(31), []], "sums members"),
        ([18, bytes(32), bytes(32), [[16]]], "step"),
        ([18, bytes(32), bytes(32), [[-1]]], "step"),
        ([19, bytes(31), bytes(32), []], "sums frontier"),
        ([19, bytes(32), bytes(31), []], "sums members"),
        ([19, bytes(32), bytes(32), [[[0], []]]], "sums: not 3 items"),
        ([19, bytes(32), bytes(32), [[[0], [[1]], []]]], "part: not 2 items"),
        ([19, bytes(32), bytes(32), [[[0], [[-1, bytes(32)]], []]]], "part: not a number"),
        ([19, bytes(32), bytes(32), [[[0], [[1, bytes(31)]], []]]], "part: not 32 bytes"),
        ([19, bytes(32), bytes(32), [[[0], [], [["kind", "record"]]]]], "fingerprint: not 3 items"),
        ([19, bytes(32), bytes(32), [[[0], [], [["k" * 65, "record", bytes(32)]]]]], "fingerprint kind"),
        ([19, bytes(32), bytes(32), [[[0], [], [["kind", "r" * 65, bytes(32)]]]]], "fingerprint record"),
        ([19, bytes(32), bytes(32), [[[0], [], [["kind", "record", bytes(31)]]]]], "fingerprint: not 32 bytes"),
        ([20, bytes(23), [1]], "commits again"),
        ([20, bytes(24), [0]], "commit again"),
        ([21, [[b"header"]]], "commit: not three items"),
        ([22, bytes(15), bytes(16), bytes(16), 1, 1, b"", bytes(64)], "ask id"),
        ([22, bytes(16), bytes(15), bytes(16), 1, 1, b"", bytes(64)], "ask origin"),
        ([22, bytes(16), bytes(16), bytes(15), 1, 1, b"", bytes(64)], "ask target"),
        ([22, bytes(16), bytes(16), bytes(16), -1, 1, b"", bytes(64)], "ask hops"),
        ([22, bytes(16), bytes(16), bytes(16), 1, True, b"", bytes(64)], "ask life"),
        ([22, bytes(16), bytes(16), bytes(16), 1, 1, "", bytes(64)], "ask body"),
        ([22, bytes(16), bytes(16), bytes(16), 1, 1, bytes(limits.ask_body_bytes_max + 1), bytes(64)], "ask body"),
        ([22, bytes(16), bytes(16), bytes(16), 1, 1, b"", bytes(63)], "ask signature"),
        ([23, bytes(16), bytes(16), bytes(16), 1, 1, b"", bytes(63)], "answer signature"),
        ([23, bytes(16), bytes(16), bytes(16), 1, 1, None, bytes(64)], "answer body"),
        ([24, bytes(16), bytes(16), bytes(16), bytes(63)], "cancel signature"),
        ([24, bytes(16), bytes(15), bytes(16), bytes(64)], "cancel origin"),
    ],
)
def test_what_is_malformed_is_refused_for_its_reason(items: list[Any], reason: str) -> None:
    with pytest.raises(Malformed, match=reason):
        m.decode(pack(items))


def test_more_items_than_a_list_may_have() -> None:
    most = limits.frontier_entries_per_message_max
    entry = [bytes(24), 1, bytes(32)]
    assert m.decode(pack([4, [entry] * most, True])) is not None
    with pytest.raises(Malformed, match=f"at most {most}"):
        m.decode(pack([4, [entry] * (most + 1), True]))


def test_a_message_beyond_all_bounds() -> None:
    with pytest.raises(TooLarge, match="message"):
        m.decode(pack([3, [bytes(limits.message_bytes_max)]]))


def test_a_key_under_an_id_that_is_not_its_own() -> None:
    key = KEYS[0]
    with pytest.raises(BadSignature, match="its id is not that of its content"):
        m.decode(pack([11, [[KEYS[1].id, key.epoch, key.subject, key.wrapped]]]))


def test_a_part_with_another_byte() -> None:
    data = bytearray(m.encode(m.Commits(1, (), COMMITS[1:2])))
    at = data.index(COMMITS[1].parts[0])
    data[at] ^= 1
    with pytest.raises(BadSignature, match="not those that the header names"):
        m.decode(bytes(data))


def test_the_digest_of_members_does_not_depend_on_their_order() -> None:
    one, other = MemberHash(bytes(32)), MemberHash(bytes([1]) * 32)
    assert m.members_digest([one, other]) == m.members_digest([other, one]) != m.members_digest([one])


def test_the_size_of_commits() -> None:
    assert m.Commits(0, (), COMMITS).size == sum(commit.size for commit in COMMITS)


@pytest.mark.parametrize(
    ("items", "reason"),
    [
        ([8, 0, [], [None] * (limits.run_commits_max + 1)], "commits: not a list of at most 512 items"),
        ([11, [None] * (limits.keys_per_message_max + 1)], "keys: not a list of at most 1000 items"),
        ([4, [None] * (limits.frontier_entries_per_message_max + 1), True], "have: not a list of at most 500 items"),
        ([13, 5], "message 13: too short"),
        ([16, bytes(24), [None] * (limits.fork_headers_max + 1)], "wanted headers: not a list of at most 64 items"),
        ([17, bytes(24), [None] * (limits.fork_headers_max + 1)], "headers: not a list of at most 64 items"),
        ([18, bytes(32), bytes(32), [None] * (limits.narrowing_parts_max + 1)], "wanted sums: not a list of at most 8"),
        ([18, bytes(32), bytes(32), [[None] * (limits.narrowing_depth_max + 1)]], "way to a part: not a list of at"),
        ([19, bytes(32), bytes(32), [None] * (limits.narrowing_parts_max + 1)], "sums: not a list of at most 8 items"),
        ([19, bytes(32), bytes(32), [[[], [None] * (m.PARTS + 1), []]]], "parts: not a list of at most 16 items"),
        ([19, bytes(32), bytes(32), [[[], [], [None] * (limits.sums_records_max + 1)]]], "fingerprints: not a list"),
        ([20, bytes(24), [None] * (limits.commits_again_max + 1)], "commits again: not a list of at most 64 items"),
        ([21, [None] * (limits.commits_again_max + 1)], "again: not a list of at most 64 items"),
    ],
    ids=[
        *("commits", "keys", "heads", "too short", "wanted headers", "headers", "wanted sums", "way", "sums", "parts"),
        *("fingerprints", "wanted again", "again"),
    ],
)
def test_the_length_of_a_message_is_looked_at_before_its_items(items: list[Any], reason: str) -> None:
    with pytest.raises(Malformed, match=reason):
        m.decode(pack(items))


def test_a_key_has_four_items() -> None:
    items = key_items(key_object(EpochId(b"e" * 16), "a" * 26, b"w" * 40))
    assert key_items(key_from_items(items)) == items
    for other in (items[:3], [*items, 1], tuple(items), None):
        with pytest.raises(Malformed, match="not four items"):
            key_from_items(other)
