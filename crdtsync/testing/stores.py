"""The conformance suite of `Store`: whatever passes it can stand under a replica.

Each case is a plain function that takes a `Disk` and raises AssertionError. A test runs them all:

    @pytest.mark.parametrize("case", stores.CASES, ids=stores.name_of)
    def test_contract(case, tmp_path):
        case(MyDisk(tmp_path))

`SampleLog` makes commits that are well formed and chained, with parts that nobody can open.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Final, Protocol

from crdtsync.errors import BadSignature, CrdtSyncError, RottenCommit, UnknownField, UnknownKind, UsageError
from crdtsync.ids import (
    BootId,
    CommitHash,
    DataKeyId,
    EpochId,
    Head,
    LogId,
    MemberHash,
    PracticeId,
    RecordId,
    ReplicaId,
    log_id,
    record_id_from,
)
from crdtsync.replication.commit import (
    NO_HASH,
    SIGNATURE_BYTES,
    Commit,
    Header,
    PartRef,
    encode_header,
    header_hash,
    part_hash,
)
from crdtsync.replication.stored import EMPTY_LOG, KeyObject, LogHead, StoredCommit, key_object, next_head
from crdtsync.storage.base import KindState, Store, StoredConflict, StoredDocument, TableSpec, ViewChange, ViewState


class Disk(Protocol):
    """A place that keeps what a store wrote. `open` gives the store that lives there; close the last one before."""

    def open(self) -> Store:
        """A newly opened store with all that was written here before."""

    def rot(self, arrival: int) -> None:
        """Change a byte of a part of the stored commit at `arrival`, behind the back of the store that is closed."""


# -- samples ---------------------------------------------------------------------------------------------------------

KIND: Final = "sample"
OTHER: Final = "another"
TABLE: Final = TableSpec(KIND, {"family_name": "TEXT", "number": "INTEGER", "born": "TEXT"}, ["family_name"])


class SampleLog:
    """A log of well-formed commits: numbered, chained, each with parts of `size` bytes."""

    def __init__(self, name: str, practice: str = "practice") -> None:
        self.practice = PracticeId(_bytes(practice, 16))
        self.log: LogId = log_id(ReplicaId(_bytes(name, 16)), BootId(_bytes(name + " boot", 8)))
        self.head = Head(0, NO_HASH)

    def next(self, size: int = 300, parts: int = 1, missing: Sequence[int] = ()) -> Commit:
        """The next commit; `missing` names parts whose bytes are not here."""
        number = self.head.sequence + 1
        sealed = [_bytes(f"{number}.{index}", size, self.log) for index in range(parts)]
        key, epoch = DataKeyId(_bytes("key", 16)), EpochId(_bytes("epoch", 16))
        refs = tuple(PartRef(key, epoch, part_hash(part), size) for part in sealed)
        header = Header(self.practice, self.log, number, self.head.hash, number << 16, (), (), refs)
        data = encode_header(header)
        here = tuple(b"" if index in missing else part for index, part in enumerate(sealed))
        commit = Commit(header, data, here, _bytes(f"signature {number}", SIGNATURE_BYTES), header_hash(data))
        self.head = commit.head
        return commit

    def run(self, number: int, size: int = 300) -> list[tuple[Commit, bool]]:
        """The next commits, as `Store.append` takes them; every other one is checked."""
        return [(self.next(size), index % 2 == 0) for index in range(number)]


def sample_record(number: int) -> RecordId:
    """One of many record ids."""
    return record_id_from("sample", str(number))


def sample_key(number: int, subject: str = "subject") -> KeyObject:
    """A wrapped data key that opens nothing."""
    return key_object(EpochId(_bytes("epoch", 16)), subject, _bytes(f"wrapped {number}", 40))


def sample_change(number: int, version: int = 1, conflicts: int = 0, arrival: int = 1) -> ViewChange:
    """The change that brings record `number` to `version`."""
    name = f"{number}.{version}"
    state, fingerprint = _bytes(f"state {name}", 350), _bytes(name, 32)
    document = StoredDocument(KIND, sample_record(number), f"subject {number % 3}", state, fingerprint)
    row = {"family_name": f"Müller {version}", "number": number, "born": None}
    return ViewChange(
        document, row, f"Müller {version} Nr{number}", [sample_conflict(number, n) for n in range(conflicts)], arrival
    )


def sample_conflict(number: int, index: int, detected_ms: int = 1000) -> StoredConflict:
    """A conflict of record `number`."""
    id_ = record_id_from("conflict", str(number), str(index))
    return StoredConflict(id_, "field", sample_record(number), "high", '{"values": []}', detected_ms + number)


def write_log(store: Store, log: SampleLog, commits: int) -> LogHead:
    """Append that many commits."""
    return store.append(log.run(commits), 7)


def write_records(store: Store, changes: Sequence[ViewChange], head: LogHead | None = None, records: int = 0) -> None:
    """One transaction of the view."""
    store.begin_view()
    store.write_view(changes)
    store.commit_view(ViewState(head or store.log_head(), _bytes("digest", 32), records or len(changes)))


def _bytes(name: str, length: int, salt: bytes = b"") -> bytes:
    return hashlib.shake_128(name.encode() + salt).digest(length)


@contextmanager
def refused(error: type[CrdtSyncError], words: str) -> Iterator[None]:
    """The block raises `error` with a sentence that contains `words`."""
    try:
        yield
    except error as raised:
        assert words in str(raised), f"the sentence does not say {words!r}: {raised}"
    else:
        raise AssertionError(f"nothing raised where {error.__name__} is due")


# -- the cases -------------------------------------------------------------------------------------------------------

CASES: list[Callable[[Disk], None]] = []
"""All cases, in the order of this file."""


def name_of(case: Callable[[Disk], None]) -> str:
    """How a case is called in a report."""
    return case.__name__


def _case(function: Callable[[Disk], None]) -> Callable[[Disk], None]:
    CASES.append(function)
    return function


@_case
def new_store_is_empty(disk: Disk) -> None:
    """Nothing is there, and nothing is made up."""
    store = disk.open()
    store.declare_tables([TABLE])
    assert store.log_head() == EMPTY_LOG
    assert (store.frontier(), store.members()) == ({}, [])
    assert (store.conflicts(), store.counts(), store.waiting()) == ([], {}, {})
    assert store.view_state() == ViewState(EMPTY_LOG, bytes(32), 0)
    assert store.meta("anything") is None
    assert store.arrivals(0, 10, 10_000) == []
    assert store.commit(SampleLog("a").log, 1) is None
    assert store.feeds({SampleLog("a").log: 1}, 10, 10_000) == []
    assert store.backlog({SampleLog("a").log: 1}) == (0, 0)
    assert store.document(KIND, sample_record(1)) is None
    assert store.documents(None, ("", ""), 10) == []
    store.close()
    store.close()


@_case
def small_values_last(disk: Disk) -> None:
    """Written, replaced, removed; also across a closing."""
    store = disk.open()
    store.set_meta({"a": b"1", "b": b"2", "empty": b""})
    store.set_meta({"a": b"3", "b": None, "never": None})
    store.close()
    store = disk.open()
    assert (store.meta("a"), store.meta("b"), store.meta("empty")) == (b"3", None, b"")
    store.close()


@_case
def notes_come_with_commits(disk: Disk) -> None:
    """What is noted beside commits is written with them, and not at all where they are refused."""
    store, log = disk.open(), SampleLog("a")
    store.set_meta({"a": b"1", "b": b"2"})
    first = log.next()
    store.append([(first, True)], 1, {"a": None, "c": b"3"})
    with refused(UsageError, "does not continue its log"):
        store.append([(first, True)], 1, {"b": None, "d": b"4"})
    store.append([], 1, {"e": b"5"})
    store.close()
    store = disk.open()
    assert [store.meta(name) for name in "abcde"] == [None, b"2", b"3", None, b"5"]
    assert store.log_head().arrival == 1
    store.close()


@_case
def members_keep_their_order(disk: Disk) -> None:
    """In the order of adding; a second adding changes nothing."""
    store = disk.open()
    records = [(MemberHash(_bytes(f"m{n}", 32)), f"record {n}".encode()) for n in (3, 1, 2)]
    store.add_members(records[:2])
    store.add_members([records[0], records[2], records[2]])
    store.close()
    store = disk.open()
    assert store.members() == [b"record 3", b"record 1", b"record 2"]
    store.close()


@_case
def keys_are_kept_and_erased(disk: Disk) -> None:
    """By id and by subject; erased ones are gone for good."""
    store = disk.open()
    keys = [sample_key(n, "eins" if n < 3 else "zwei") for n in range(5)]
    store.put_keys(keys[:4])
    store.put_keys(keys)
    assert store.keys([keys[0].id, keys[4].id, DataKeyId(bytes(16))]) == {keys[0].id: keys[0], keys[4].id: keys[4]}
    assert store.key_of_subject("eins") == sorted(keys[:3], key=lambda key: key.id)
    store.erase_keys([keys[1].id, DataKeyId(bytes(16))])
    store.close()
    store = disk.open()
    assert set(store.keys([key.id for key in keys])) == {keys[n].id for n in (0, 2, 3, 4)}
    assert keys[1] not in store.key_of_subject("eins")
    assert store.key_of_subject("drei") == []
    assert store.keys([]) == {}
    store.put_keys([])
    store.erase_keys([])
    store.close()


@_case
def many_keys_at_once(disk: Disk) -> None:
    """More ids in one question than a statement has places for."""
    store = disk.open()
    keys = [sample_key(n, f"s{n}") for n in range(1500)]
    store.put_keys(keys)
    assert len(store.keys(key.id for key in keys)) == 1500
    store.erase_keys(key.id for key in keys[:1400])
    assert len(store.keys(key.id for key in keys)) == 100
    store.close()


@_case
def keys_are_listed_in_pages(disk: Disk) -> None:
    """All of them, each once, by id; what was erased is not among them."""
    store = disk.open()
    assert store.keys_behind(DataKeyId(b""), 10) == []
    keys = sorted((sample_key(n, f"s{n}") for n in range(7)), key=lambda key: key.id)
    store.put_keys(keys)
    store.erase_keys([keys[3].id])
    found: list[KeyObject] = []
    while page := store.keys_behind(found[-1].id if found else DataKeyId(b""), 2):
        assert len(page) <= 2
        found += page
    assert found == keys[:3] + keys[4:]
    store.close()


@_case
def commits_come_back_with_their_times(disk: Disk) -> None:
    """What an earlier store had kept is appended with its times and flags, in its order and no other."""
    store, log = disk.open(), SampleLog("a")
    kept = [StoredCommit(number, 1000 + number, log.next(), number % 2 == 0) for number in range(1, 5)]
    store.append([(kept[0].commit, kept[0].checked)], 1001)
    with refused(UsageError, "cannot be number 2 here"):
        store.append_again(kept[2:])
    before = store.log_head()
    after = store.append_again(kept[1:])
    assert after.arrival == 4
    assert store.goes_on_from(EMPTY_LOG) and store.goes_on_from(before) and store.goes_on_from(after)
    assert not store.goes_on_from(LogHead(1, after.chain)) and not store.goes_on_from(LogHead(5, after.chain))
    store.close()
    store = disk.open()
    assert store.arrivals(0, 10, 1 << 20) == kept
    store.close()


@_case
def commits_come_back_as_they_were(disk: Disk) -> None:
    """All of a commit: bytes, missing parts, signature, hash, flags, time and place."""
    store, log = disk.open(), SampleLog("a")
    commits = [log.next(), log.next(parts=0), log.next(parts=3, missing=[1]), log.next(size=70_000)]
    store.append([(commit, index == 2) for index, commit in enumerate(commits)], 4711)
    store.close()
    store = disk.open()
    stored = store.arrivals(0, 10, 1_000_000)
    assert [item.commit for item in stored] == commits
    assert [item.arrival for item in stored] == [1, 2, 3, 4]
    assert [item.checked for item in stored] == [False, False, True, False]
    assert {item.arrived_ms for item in stored} == {4711}
    assert store.commit(log.log, 3) == stored[2]
    assert store.commit(log.log, 5) is None and store.commit(log.log, 0) is None
    store.close()


@_case
def head_is_the_chain_of_all(disk: Disk) -> None:
    """`log_head` is what `next_head` says; `frontier` is the last of each log; both survive closing."""
    store, a, b = disk.open(), SampleLog("a"), SampleLog("b")
    expected = EMPTY_LOG
    for batch in (a.run(3), b.run(2) + a.run(1), []):
        head = store.append(batch, 1)
        for commit, _ in batch:
            expected = next_head(expected, commit)
        assert head == expected == store.log_head()
    assert store.frontier() == {a.log: a.head, b.log: b.head}
    store.close()
    store = disk.open()
    assert store.log_head() == expected and expected.arrival == 6
    assert store.frontier() == {a.log: a.head, b.log: b.head}
    write_log(store, a, 1)
    assert store.log_head().arrival == 7
    store.close()


@_case
def arrivals_keep_to_limits(disk: Disk) -> None:
    """Behind `after`, at most so many, at most so large, but one at least."""
    store, log = disk.open(), SampleLog("a")
    write_log(store, log, 10)
    size = store.arrivals(0, 1, 1)[0].commit.size
    assert [item.arrival for item in store.arrivals(4, 3, 10**6)] == [5, 6, 7]
    assert [item.arrival for item in store.arrivals(0, 100, 3 * size + 10)] == [1, 2, 3]
    assert [item.arrival for item in store.arrivals(9, 100, 0)] == [10]
    assert store.arrivals(10, 100, 10**6) == []
    store.close()


@_case
def feeds_merge_in_order_of_arrival(disk: Disk) -> None:
    """From each cursor on, no gap within the named logs, limits kept, others left alone."""
    store, logs = disk.open(), [SampleLog(name) for name in "abc"]
    for n in range(30):
        store.append([(logs[n % 3].next(), True)] if n % 2 else logs[n % 3].run(2), n)
    everything = store.arrivals(0, 1000, 10**6)
    cursors = {logs[0].log: 4, logs[2].log: 0}
    wanted = [
        item
        for item in everything
        if item.commit.header.log in cursors and item.commit.header.sequence >= cursors[item.commit.header.log]
    ]
    assert store.feeds(cursors, 1000, 10**6) == wanted
    for limit in (1, 2, 7):
        assert store.feeds(cursors, limit, 10**6) == wanted[:limit]
    size = wanted[0].commit.size
    assert store.feeds(cursors, 1000, 5 * size + 10) == wanted[:5]
    assert store.feeds(cursors, 1000, 1) == wanted[:1]
    assert store.feeds({logs[1].log: logs[1].head.sequence + 1, SampleLog("x").log: 1}, 10, 10**6) == []
    assert store.feeds({}, 10, 10**6) == []
    assert store.feeds({logs[1].log: 1}, 1000, 10**6) == [i for i in everything if i.commit.header.log == logs[1].log]
    store.close()


@_case
def backlog_counts_what_feeds_gives(disk: Disk) -> None:
    """Number and bytes, from any cursor."""
    store, a, b = disk.open(), SampleLog("a"), SampleLog("b")
    store.append([(a.next(size), True) for size in (10, 2000, 300)] + b.run(4, 50), 1)
    store.append(a.run(2, 77), 2)
    for at_a in range(8):
        for at_b in range(7):
            cursors = {a.log: at_a, b.log: at_b, SampleLog("x").log: 1}
            expected = store.feeds(cursors, 1000, 10**6)
            assert store.backlog(cursors) == (len(expected), sum(item.commit.size for item in expected))
    store.close()


@_case
def one_writer_per_place(disk: Disk) -> None:
    """L3: a gap, a repetition and a second branch are refused, and nothing of that batch is kept."""
    store, log = disk.open(), SampleLog("a")
    first = log.next()
    store.append([(first, True)], 1)
    second, third = log.next(), log.next()
    fork = replace(second.header, previous=CommitHash(_bytes("elsewhere", 32)))
    beside = Commit(fork, encode_header(fork), second.parts, second.signature, header_hash(encode_header(fork)))
    for batch in ([first], [third], [second, second], [beside], [second, beside]):
        with refused(UsageError, "does not continue its log"):
            store.append([(commit, True) for commit in batch], 1)
        assert store.log_head().arrival == 1 and store.commit(log.log, 2) is None
    store.append([(second, True), (third, True)], 1)
    assert store.frontier() == {log.log: third.head}
    store.close()


@_case
def rot_is_never_given_out(disk: Disk) -> None:
    """Lists end before a commit that is not what was written, and whoever asks for it first is told."""
    store = disk.open()
    one, other = SampleLog("one"), SampleLog("other")
    store.append([*one.run(4), *other.run(3)], 7)
    store.close()
    disk.rot(3)
    store = disk.open()
    assert [stored.arrival for stored in store.arrivals(0, 10, 10**9)] == [1, 2]
    assert [stored.arrival for stored in store.feeds({one.log: 1}, 10, 10**9)] == [1, 2]
    assert [stored.arrival for stored in store.feeds({other.log: 1}, 10, 10**9)] == [5, 6, 7]
    for ask in (
        lambda: store.arrivals(2, 10, 10**9),
        lambda: store.feeds({one.log: 3, other.log: 1}, 10, 10**9),
        lambda: store.commit(one.log, 3),
    ):
        with refused(RottenCommit, "not what was written"):
            ask()
    sound, rotten = store.check_log(0, 10)
    assert [stored.arrival for stored in sound] == [1, 2, 4, 5, 6, 7]
    assert [(error.arrival, error.log, error.sequence) for error in rotten] == [(3, one.log, 3)]
    assert store.check_log(5, 1)[0][0].arrival == 6
    assert store.check_log(7, 10) == ([], [])
    assert store.log_head().arrival == 7, "what is behind it stays"
    store.close()


@_case
def rot_is_mended_by_what_was_written_alone(disk: Disk) -> None:
    """Only the commit that the chain names, whole, takes the place of a rotten one."""
    store = disk.open()
    one, twin = SampleLog("one"), SampleLog("one")
    run = one.run(4)
    store.append(run, 7)
    store.close()
    disk.rot(2)
    store = disk.open()
    twin.next()
    foreign, partless = twin.next(size=301), replace(run[1][0], parts=(b"",))
    for wrong in (foreign, run[2][0], partless):
        with refused(BadSignature, "commit"):
            store.mend(2, wrong)
    with refused(UsageError, "no commit at arrival 5"):
        store.mend(5, run[1][0])
    store.mend(2, run[1][0])
    store.close()
    store = disk.open()
    assert [(s.arrival, s.commit) for s in store.arrivals(0, 10, 10**9)] == [(n, c) for n, (c, _) in enumerate(run, 1)]
    assert store.check_log(0, 10)[1] == []
    store.close()


@_case
def a_signature_may_lose_its_check(disk: Disk) -> None:
    """`uncheck` lasts, and changes nothing else."""
    store = disk.open()
    run = SampleLog("one").run(3)
    store.append(run, 7)
    assert [stored.checked for stored in store.arrivals(0, 9, 10**9)] == [True, False, True]
    store.uncheck(1)
    store.close()
    store = disk.open()
    kept = store.arrivals(0, 9, 10**9)
    assert [stored.checked for stored in kept] == [False, False, True]
    assert [stored.commit for stored in kept] == [commit for commit, _ in run]
    store.close()


@_case
def view_tells_what_it_shows(disk: Disk) -> None:
    """`shows` compares document, row, words and conflicts with what is kept, not times and bytes."""
    store = disk.open()
    store.declare_tables([TABLE])
    log = SampleLog("one")
    head = write_log(store, log, 1)
    kept = sample_change(1, conflicts=2)
    write_records(store, [kept], head, 1)
    document = kept.document
    assert store.shows(kept)
    assert store.shows(replace(kept, arrival=9, document=replace(document, state=b"other bytes")))
    assert store.shows(replace(kept, conflicts=[replace(c, detected_ms=5) for c in reversed(kept.conflicts)]))
    for other in (
        sample_change(2),
        replace(kept, document=replace(document, fingerprint=bytes(32))),
        replace(kept, document=replace(document, damaged="Not whole.")),
        replace(kept, document=replace(document, subject="another")),
        replace(kept, row={**(kept.row or {}), "number": 7}),
        replace(kept, row=None),
        replace(kept, words="other words"),
        replace(kept, conflicts=kept.conflicts[:1]),
    ):
        assert not store.shows(other), other
    store.close()


@_case
def view_is_read_back(disk: Disk) -> None:
    """Documents, their order, their counts, and the state they were derived from."""
    store = disk.open()
    assert store.declare_tables([TABLE]) is False
    head = write_log(store, SampleLog("a"), 3)
    changes = [sample_change(n) for n in range(20)]
    write_records(store, changes, head)
    store.close()
    store = disk.open()
    assert store.declare_tables([TABLE]) is False
    assert store.view_state() == ViewState(head, _bytes("digest", 32), 20)
    assert store.document(KIND, sample_record(4)) == changes[4].document
    assert store.document(OTHER, sample_record(4)) is None
    by_id = sorted((change.document for change in changes), key=lambda document: document.record)
    assert store.documents(None, ("", ""), 100) == by_id
    assert store.documents(KIND, ("", ""), 7) == by_id[:7]
    assert store.documents(KIND, (KIND, by_id[6].record), 7) == by_id[7:14]
    assert store.documents(OTHER, ("", ""), 7) == []
    assert store.counts() == {KIND: 20}
    store.close()


@_case
def records_are_replaced_whole(disk: Disk) -> None:
    """A later change takes the place of the former, in a batch and in another."""
    store = disk.open()
    store.declare_tables([TABLE])
    write_log(store, SampleLog("a"), 1)
    write_records(store, [sample_change(n, 1, conflicts=2) for n in range(5)])
    write_records(store, [sample_change(1, 2), sample_change(1, 3, conflicts=1), sample_change(9)], records=6)
    assert store.document(KIND, sample_record(1)) == sample_change(1, 3).document
    assert store.counts() == {KIND: 6}
    assert sorted(c.id for c in store.conflicts() if c.record == sample_record(1)) == [sample_conflict(1, 0).id]
    assert len(store.conflicts()) == 9
    write_records(store, [sample_change(n, 4) for n in range(5)], records=6)
    assert store.conflicts() == []
    store.close()


@_case
def conflicts_are_listed_oldest_first(disk: Disk) -> None:
    """By the time they were first seen, which a later derivation does not change."""
    store = disk.open()
    store.declare_tables([TABLE])
    write_log(store, SampleLog("a"), 1)
    write_records(store, [sample_change(n, 1, conflicts=1) for n in (3, 1, 2)])
    again = replace(sample_change(1, 2), conflicts=[sample_conflict(1, 0, 99_000), sample_conflict(1, 1, 99_000)])
    write_records(store, [again], records=3)
    found = [(conflict.record, conflict.detected_ms) for conflict in store.conflicts()]
    assert found == [(sample_record(n), 1000 + n) for n in (1, 2, 3)] + [(sample_record(1), 99_001)]
    assert store.conflicts()[0] == sample_conflict(1, 0)
    store.close()


@_case
def what_records_share_is_found(disk: Disk) -> None:
    """Values that a named record has and another one too, also those that the open transaction has just written."""
    store = disk.open()
    store.declare_tables([TABLE])
    head = write_log(store, SampleLog("a"), 1)
    write_records(store, [sample_change(n, version=n // 2 + 1) for n in range(5)], head, 5)  # names 1 1 2 2 3
    ids = [sample_record(n) for n in range(6)]
    assert store.sharing(KIND, "family_name", [ids[0], ids[4]]) == [("Müller 1", None, None)]
    assert {found[0] for found in store.sharing(KIND, "family_name", ids)} == {"Müller 1", "Müller 2"}
    assert store.sharing(KIND, "family_name", ids[:1], "number") == [("Müller 1", 0, 1)]
    assert len(store.sharing(KIND, "family_name", ids, "number")) == 4, "each of the two beside the other"
    assert store.sharing(KIND, "number", ids) == [] == store.sharing(KIND, "born", ids)
    assert store.sharing(KIND, "surplus", ids) == [] == store.sharing(OTHER, "number", ids)
    assert store.sharing(KIND, "family_name", ids, "surplus") == []
    found = sorted([(ids[0], "Müller 1", 0), (ids[1], "Müller 1", 1)])
    assert store.holding(KIND, ["family_name", "number"], "Müller 1") == found
    assert store.holding(KIND, ["number"], 4) == [(ids[4], 4)]
    assert store.holding(KIND, ["number"], 9) == [] == store.holding(KIND, ["family_name", "surplus"], "Müller 1")
    assert store.columns_of(KIND, ids[4], ("number", "born")) == (4, None)
    assert store.between(KIND, "number", 1, 3, 9) == [1, 2, 3] == store.between(KIND, "number", 1, 9, 3)
    assert store.between(KIND, "number", 0, 9, 2, falling=True) == [4, 3]
    assert store.between(KIND, "number", 5, 9, 9) == []
    assert store.between(KIND, "surplus", 0, 9, 9) == [] == store.between(OTHER, "number", 0, 9, 9)
    assert store.columns_of(KIND, ids[5], ("number",)) is None is store.columns_of(KIND, ids[4], ("surplus",))
    store.begin_view()
    store.write_view([sample_change(5, version=3), sample_change(1, version=7)])
    assert store.sharing(KIND, "family_name", [ids[5], ids[1]]) == [("Müller 3", None, None)]
    assert store.holding(KIND, ["family_name"], "Müller 1") == [(ids[0], "Müller 1")]
    assert store.between(KIND, "number", 4, 9, 9) == [4, 5]
    assert store.columns_of(KIND, ids[1], ("family_name",)) == ("Müller 7",)
    store.abort_view()
    assert store.sharing(KIND, "family_name", [ids[1], ids[5]]) == [("Müller 1", None, None)]
    assert store.holding(KIND, ["family_name", "number"], "Müller 1") == found
    store.close()


@_case
def claims_are_replaced_and_dropped(disk: Disk) -> None:
    """A record's claims take the place of its former ones; an abort and a reset take them away."""
    store = disk.open()
    store.declare_tables([TABLE])
    head = write_log(store, SampleLog("a"), 1)
    one, two = sorted([sample_record(1), sample_record(2)])
    store.begin_view()
    store.write_claims({two: {"room@1": "b", "room@2": "b"}, one: {"room@1": "a"}})
    assert store.claimants("room@1") == [(one, "a"), (two, "b")]
    store.commit_view(ViewState(head, bytes(32), 0))
    store.begin_view()
    store.write_claims({two: {"room@2": "c"}, one: {}})
    assert (store.claimants("room@1"), store.claimants("room@2")) == ([], [(two, "c")])
    store.abort_view()
    store.close()
    store = disk.open()
    assert (store.claimants("room@1"), store.claimants("room@2")) == ([(one, "a"), (two, "b")], [(two, "b")])
    store.reset_view()
    assert store.claimants("room@1") == []
    store.close()


@_case
def conflicts_between_records_have_a_place(disk: Disk) -> None:
    """Found by place and by each of their records, listed with all others, replaced place by place."""
    store = disk.open()
    store.declare_tables([TABLE])
    head = write_log(store, SampleLog("a"), 1)
    write_records(store, [sample_change(n, conflicts=n == 1) for n in range(4)], head, 4)
    ids = [sample_record(n) for n in range(4)]

    def met(index: int, *records: RecordId) -> StoredConflict:
        id_ = record_id_from("between", str(index))
        return StoredConflict(id_, "double", records[0], "low", json.dumps({"records": records}), 2000 + index)

    first, second, third = met(0, ids[0], ids[1]), met(1, ids[1], ids[2]), met(2, ids[2], ids[3])
    assert store.between_places(ids) == [] == store.between_at("room 1")
    store.begin_view()
    store.write_between({"room 1": [first], "room 2": [third, second]})
    assert store.between_at("room 2") == sorted([second, third], key=lambda c: c.id)
    store.commit_view(ViewState(head, bytes(32), 4))
    assert sorted(store.between_places([ids[1]])) == ["room 1", "room 2"]
    assert store.between_places([ids[3], ids[2]]) == ["room 2"]
    assert store.conflicts() == [sample_conflict(1, 0), first, second, third]
    write_records(store, [sample_change(1, 2)], head, 4)
    assert store.conflicts() == [first, second, third], "they stay when a record of theirs is written"
    store.begin_view()
    store.write_between({"room 2": [second], "room 1": []})
    assert store.conflicts() == [second] and store.between_places([ids[0]]) == []
    store.abort_view()
    store.close()
    store = disk.open()
    assert store.conflicts() == [first, second, third]
    with refused(UsageError, "begin_view"):
        store.write_between({})
    with refused(UsageError, "begin_view"):
        store.write_claims({})
    store.reset_view()
    assert store.conflicts() == [] == store.between_places(ids)
    store.close()


@_case
def two_kinds_may_claim_one_id(disk: Disk) -> None:
    """Both are kept; a kind without a table has documents all the same."""
    store = disk.open()
    store.declare_tables([TABLE])
    write_log(store, SampleLog("a"), 1)
    known = sample_change(1)
    unknown = replace(known, document=replace(known.document, kind=OTHER, damaged="held"), row=None, words="")
    write_records(store, [known, unknown])
    assert store.documents_of(sample_record(1)) == [unknown.document, known.document]
    assert store.documents_of(sample_record(2)) == []
    assert store.documents(None, ("", ""), 9) == [unknown.document, known.document]
    assert store.documents(None, (OTHER, sample_record(1)), 9) == [known.document]
    assert store.counts() == {OTHER: 1, KIND: 1}
    store.close()


@_case
def own_writes_are_seen_and_dropped(disk: Disk) -> None:
    """Within a transaction its own writes are read; an abort leaves nothing of them."""
    store = disk.open()
    store.declare_tables([TABLE])
    head = write_log(store, SampleLog("a"), 1)
    write_records(store, [sample_change(1, conflicts=1)])
    key = sample_key(1).id
    before = store.view_state()
    store.begin_view()
    store.write_view([sample_change(1, 2), sample_change(2)])
    store.write_waiting(key, [1])
    assert store.document(KIND, sample_record(1)) == sample_change(1, 2).document
    assert store.document(KIND, sample_record(2)) is not None
    assert (store.conflicts(), store.counts(), store.waiting()) == ([], {KIND: 2}, {key: [1]})
    assert store.view_state() == before
    store.abort_view()
    assert store.document(KIND, sample_record(1)) == sample_change(1).document
    assert store.document(KIND, sample_record(2)) is None
    assert (len(store.conflicts()), store.counts(), store.waiting()) == (1, {KIND: 1}, {})
    assert store.view_state() == before
    store.abort_view()
    write_records(store, [sample_change(2), sample_change(1, 3)], head)
    assert store.counts() == {KIND: 2}
    assert store.document(KIND, sample_record(1)) == sample_change(1, 3).document
    store.begin_view()
    store.write_view([sample_change(3)])
    store.close()
    store = disk.open()
    assert store.document(KIND, sample_record(3)) is None and store.counts() == {KIND: 2}
    store.close()


@_case
def view_follows_the_log(disk: Disk) -> None:
    """L1: a view can be behind the log, never ahead of it; writing needs a transaction."""
    store = disk.open()
    store.declare_tables([TABLE])
    head = write_log(store, SampleLog("a"), 1)
    store.begin_view()
    with refused(UsageError, "append to the log first"):
        store.commit_view(ViewState(LogHead(2, bytes(32)), bytes(32), 0))
    with refused(UsageError, "append to the log first"):
        store.commit_view(ViewState(LogHead(1, bytes(32)), bytes(32), 0))
    with refused(UsageError, "is open"):
        store.begin_view()
    with refused(UsageError, "is open"):
        store.declare_tables([TABLE])
    store.commit_view(ViewState(head, bytes(32), 0))
    with refused(UsageError, "begin_view"):
        store.write_view([sample_change(1)])
    with refused(UsageError, "begin_view"):
        store.write_waiting(sample_key(1).id, [1])
    with refused(UsageError, "begin_view"):
        store.commit_view(ViewState(head, bytes(32), 0))
    store.close()


@_case
def rows_are_derived_anew(disk: Disk) -> None:
    """L8: row, words, conflicts and damage are replaced; document, arrival and detection stay; how far it is, too."""
    store = disk.open()
    store.declare_tables([TABLE])
    head = write_log(store, SampleLog("a"), 1)
    kept = sample_change(1, conflicts=1)
    write_records(store, [kept, sample_change(2, conflicts=1), replace(sample_change(3), row=None, words="")])
    other = replace(sample_change(1, 2, conflicts=2), words="other words", arrival=9)
    other = replace(other, conflicts=[replace(c, detected_ms=99_000) for c in other.conflicts])
    other = replace(other, document=replace(other.document, damaged="Not shown."))
    after = {KIND: KindState('"declared"', '"former"', sample_record(1), ("number",), 1), OTHER: KindState("", "")}
    store.begin_view()
    store.write_rows([other, replace(sample_change(2), row=None, words=""), sample_change(3)])
    for kind, state in after.items():
        store.write_kind_state(kind, state)
    with refused(UsageError, "write_view comes first"):
        store.write_rows([sample_change(7)])
    store.commit_view(ViewState(head, _bytes("digest", 32), 3))
    store.close()
    store = disk.open()
    document = replace(kept.document, damaged="Not shown.")
    assert store.document(KIND, sample_record(1)) == document
    assert store.shows(replace(other, document=document)) and store.shows(sample_change(3))
    assert store.shows(replace(sample_change(2), row=None, words=""))
    assert [conflict.detected_ms for conflict in store.conflicts()] == [1001, 99_000]
    assert store.kind_states() == after
    store.begin_view()
    store.write_kind_state(OTHER, KindState('"dropped"', "", "", None, 7))
    store.abort_view()
    store.reset_view()
    assert store.kind_states() == after, "what was noted of declarations outlives the rows"
    with refused(UsageError, "begin_view"):
        store.write_kind_state(KIND, after[KIND])
    with refused(UsageError, "begin_view"):
        store.write_rows([other])
    store.close()


@_case
def linked_patients_are_kept(disk: Disk) -> None:
    """Links in both directions, and persons with all their patients; emptied with the view."""
    store = disk.open()
    head = write_log(store, SampleLog("a"), 1)
    one, two, three, four = (sample_record(number) for number in range(4))
    assert not store.has_links() and store.links([one]) == [] and store.persons([one]) == {}
    store.begin_view()
    store.write_links(one, [two, four])
    store.write_links(three, [two])
    store.write_links(one, [two])
    store.write_persons({one: one, two: one, three: one, four: four})
    store.write_persons({four: None})
    assert store.links([two]) == sorted([(one, two), (three, two)]) and store.links([four]) == []
    store.commit_view(ViewState(head, _bytes("digest", 32), 0))
    store.begin_view()
    store.write_links(one, [])
    store.write_links(four, [one])
    store.write_persons({one: four, two: None, four: four})
    assert store.persons([one]) == {one: four, four: four} and store.links([one]) == [(four, one)]
    store.abort_view()
    store.close()
    store = disk.open()
    assert store.has_links()
    assert store.links([one, three]) == sorted([(one, two), (three, two)]) and store.links([four]) == []
    assert store.persons([two]) == store.persons([one, three, four]) == {one: one, two: one, three: one}
    assert store.persons([four]) == store.persons([]) == {}
    with refused(UsageError, "begin_view"):
        store.write_links(one, [])
    with refused(UsageError, "begin_view"):
        store.write_persons({one: None})
    store.reset_view()
    assert not store.has_links() and store.persons([one]) == {}
    store.close()


@_case
def waiting_is_remembered(disk: Disk) -> None:
    """Per key the arrivals that wait, replaced and forgotten with their transaction."""
    store = disk.open()
    write_log(store, SampleLog("a"), 1)
    one, two = sample_key(1).id, sample_key(2).id
    store.begin_view()
    store.write_waiting(one, [5, 3])
    store.write_waiting(two, [1])
    store.write_waiting(two, [1, 9])
    store.commit_view(ViewState(store.log_head(), bytes(32), 0))
    assert {key: sorted(arrivals) for key, arrivals in store.waiting().items()} == {one: [3, 5], two: [1, 9]}
    store.begin_view()
    store.write_waiting(one, [])
    store.commit_view(ViewState(store.log_head(), bytes(32), 0))
    store.close()
    store = disk.open()
    assert {key: sorted(arrivals) for key, arrivals in store.waiting().items()} == {two: [1, 9]}
    store.close()


@_case
def histories_are_indexed(disk: Disk) -> None:
    """Which commits touch a record is added to, never replaced, and goes with its transaction and with the view."""
    store = disk.open()
    store.declare_tables([TABLE])
    log = SampleLog("a")
    head = write_log(store, log, 9)
    assert store.touches(KIND, sample_record(1)) == []
    write_records(store, [replace(sample_change(1), touches=[2, 1]), replace(sample_change(4), touches=[3])], head)
    write_records(store, [replace(sample_change(1, 2), touches=[2, 7]), sample_change(4, 2), sample_change(2)], head)
    assert store.touches(KIND, sample_record(1)) == [1, 2, 7]
    assert store.touches(KIND, sample_record(4)) == [3] and store.touches(KIND, sample_record(2)) == []
    assert store.touches(OTHER, sample_record(1)) == []
    store.begin_view()
    store.write_view([replace(sample_change(1, 3), touches=[8]), replace(sample_change(2, 2), touches=[9])])
    assert store.touches(KIND, sample_record(1)) == [1, 2, 7, 8]
    store.abort_view()
    assert store.touches(KIND, sample_record(1)) == [1, 2, 7] and store.touches(KIND, sample_record(2)) == []
    store.close()
    store = disk.open()
    assert store.touches(KIND, sample_record(1)) == [1, 2, 7]
    store.reset_view()
    assert store.touches(KIND, sample_record(1)) == []
    write_records(store, [replace(sample_change(1), touches=[5])], head)
    assert store.touches(KIND, sample_record(1)) == [5]
    store.close()


@_case
def reset_leaves_log_and_keys(disk: Disk) -> None:
    """L8: the view is emptied, and derived again; the truth stays."""
    store = disk.open()
    store.declare_tables([TABLE])
    log = SampleLog("a")
    head = write_log(store, log, 2)
    store.put_keys([sample_key(1)])
    write_records(store, [sample_change(n, conflicts=1) for n in range(3)])
    store.begin_view()
    store.write_waiting(sample_key(1).id, [1])
    store.commit_view(ViewState(head, bytes(32), 3))
    store.begin_view()
    store.write_view([sample_change(9)])
    store.reset_view()
    assert store.view_state() == ViewState(EMPTY_LOG, bytes(32), 0)
    assert (store.counts(), store.conflicts(), store.waiting(), store.documents(None, ("", ""), 9)) == ({}, [], {}, [])
    assert store.document(KIND, sample_record(1)) is None
    assert store.log_head() == head and store.frontier() == {log.log: log.head}
    assert store.keys([sample_key(1).id])
    write_records(store, [sample_change(1)], head)
    store.close()
    store = disk.open()
    assert store.view_state().head == head and store.counts() == {KIND: 1}
    store.close()


@_case
def tables_grow(disk: Disk) -> None:
    """Columns are added to a table that is there; that a full view needs deriving anew is said."""
    store = disk.open()
    store.declare_tables([TABLE])
    write_log(store, SampleLog("a"), 1)
    write_records(store, [sample_change(1)])
    store.close()
    store = disk.open()
    assert store.declare_tables([TABLE]) is False
    wider = TableSpec(KIND, {**TABLE.columns, "order": "TEXT", 'quo"ted': "REAL"}, ["order", "family_name"])
    assert store.declare_tables([wider]) is True
    assert store.declare_tables([wider, TABLE]) is False
    assert store.declare_tables([TableSpec("group", {"select": "TEXT"}, ["select"])]) is True
    change = sample_change(1, 2)
    group = replace(change, document=replace(change.document, kind="group"), row={"select": "x"})
    wide = replace(change, row={**(change.row or {}), "order": "first", 'quo"ted': 1.5})
    write_records(store, [wide, group])
    assert store.counts() == {"group": 1, KIND: 1}
    store.close()


@_case
def rows_fit_their_tables(disk: Disk) -> None:
    """A row without a table, or with a column that was not declared, is refused."""
    store = disk.open()
    store.declare_tables([TABLE])
    write_log(store, SampleLog("a"), 1)
    change = sample_change(1)
    store.begin_view()
    with refused(UnknownKind, "declare_tables"):
        store.write_view([replace(change, document=replace(change.document, kind=OTHER))])
    with refused(UnknownField, "surplus"):
        store.write_view([replace(change, row={"surplus": 1})])
    store.abort_view()
    write_records(store, [replace(change, row={"number": 3}), replace(sample_change(2), row=None)])
    assert store.counts() == {KIND: 2}
    store.close()
