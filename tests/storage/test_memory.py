"""MemoryStore: the contract of every store, and what its modelled disk loses."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from crdtsync.errors import BadSignature, StorageFailure, UsageError
from crdtsync.replication.commit import Commit, encode_header, header_hash
from crdtsync.replication.stored import EMPTY_LOG
from crdtsync.storage.memory import MemoryStore
from crdtsync.testing import stores
from crdtsync.testing.stores import KIND, TABLE, SampleLog, sample_change, sample_key, sample_record, write_log


class MemoryDisk:
    def __init__(self) -> None:
        self.store = MemoryStore()

    def open(self) -> MemoryStore:
        return self.store

    def rot(self, arrival: int) -> None:
        self.store.rot(arrival)


@pytest.mark.parametrize("case", stores.CASES, ids=stores.name_of)
def test_contract(case: Callable[[stores.Disk], None]) -> None:
    case(MemoryDisk())


def test_a_mended_commit_has_the_parts_that_its_header_names() -> None:
    """The chain over the log names headers; these name the parts."""
    store = MemoryStore()
    commit = SampleLog("a").next(parts=2)
    store.append([(commit, True)], 7)
    store.rot(1)
    one, other = commit.parts
    for parts in ((one,), (one, other, b"x"), (one, other[:-1]), (other, one)):
        with pytest.raises(BadSignature):
            store.mend(1, replace(commit, parts=parts))
    store.mend(1, commit)
    assert store.check_log(0, 10)[1] == []


def _full(commits: int = 10) -> tuple[MemoryStore, SampleLog]:
    store, log = MemoryStore(), SampleLog("a")
    store.declare_tables([TABLE])
    for n in range(commits):
        head = write_log(store, log, 1)
        stores.write_records(store, [sample_change(n), sample_change(99, n)], head, n + 2)
    return store, log


def test_power_cut_takes_the_view_and_leaves_the_log() -> None:
    store, log = _full()
    store.power_cut()
    assert store.log_head().arrival == 10 and store.frontier() == {log.log: log.head}
    assert store.view_state().head == EMPTY_LOG
    assert store.counts() == {}


def test_crash_keeps_a_prefix_of_the_views_transactions() -> None:
    store, _ = _full()
    store.crash(lambda number: {10: 4}[number])
    assert store.view_state().head.arrival == 4
    assert store.counts() == {KIND: 5}
    assert store.document(KIND, sample_record(99)) == sample_change(99, 3).document
    assert len(store.documents(None, ("", ""), 100)) == 5


def test_kill_loses_only_the_open_transaction() -> None:
    store, _ = _full()
    store.begin_view()
    store.write_view([sample_change(50)])
    store.crash(lambda number: number)
    assert store.counts() == {KIND: 11}
    assert store.view_state().head.arrival == 10


def test_checkpoint_makes_the_view_durable() -> None:
    store, _ = _full(51)
    store.power_cut()
    assert store.view_state().head.arrival == 51


def test_reset_is_a_transaction_too() -> None:
    store, _ = _full()
    store.reset_view()
    store.crash(lambda number: number - 1)
    assert store.view_state().head.arrival == 10 and store.counts() == {KIND: 11}


def test_skipped_sync_loses_commits_and_then_the_view() -> None:
    store, log = _full(3)
    store.sync_log = False
    head = write_log(store, log, 2)
    store.set_meta({"a": b"1"})
    stores.write_records(store, [sample_change(3)], head, 5)
    store.crash(lambda number: {2: 1, 4: 4}[number])
    assert (store.log_head().arrival, store.meta("a")) == (5, None)
    store.crash(lambda number: 0)
    assert store.view_state().head.arrival == 5
    write_log(store, log, 1)
    store.power_cut()
    assert store.log_head().arrival == 5


def test_a_view_ahead_of_a_log_that_lost_commits_is_emptied() -> None:
    store, log = _full(2)
    store.sync_log = False
    head = write_log(store, log, 1)
    stores.write_records(store, [sample_change(7)], head, 4)
    lost = iter([0, 3])
    store.crash(lambda number: next(lost))
    assert store.log_head().arrival == 2
    assert store.view_state().head == EMPTY_LOG and store.counts() == {}


def test_the_next_synced_write_makes_earlier_ones_durable() -> None:
    store, log = _full(1)
    store.sync_log = False
    write_log(store, log, 1)
    store.sync_log = True
    store.set_meta({"a": b"1"})
    store.power_cut()
    assert store.log_head().arrival == 2


def test_skipped_sync_loses_keys() -> None:
    store = MemoryStore()
    store.put_keys([sample_key(1)])
    store.sync_keys = False
    store.put_keys([sample_key(1), sample_key(2)])
    store.power_cut()
    assert list(store.keys([sample_key(1).id, sample_key(2).id])) == [sample_key(1).id]
    assert store.key_of_subject("subject") == [sample_key(1)]


def test_a_failed_disk_refuses_everything() -> None:
    store, log = _full(1)
    store.failure = "the disk is full; free space and start again"
    with pytest.raises(StorageFailure, match="disk is full"):
        write_log(store, log, 1)
    with pytest.raises(StorageFailure, match="disk is full"):
        store.view_state()
    store.crash(lambda number: number)
    assert store.log_head().arrival == 1


def test_a_copy_goes_its_own_way() -> None:
    store, log = _full(2)
    twin = store.copy()
    write_log(store, log, 1)
    stores.write_records(store, [sample_change(8)])
    store.put_keys([sample_key(1)])
    assert twin.log_head().arrival == 2 and twin.counts() == {KIND: 3}
    assert twin.key_of_subject("subject") == []
    twin.power_cut()
    assert twin.counts() == {KIND: 3}
    store.begin_view()
    with pytest.raises(UsageError, match="before or after"):
        store.copy()


def test_a_log_is_appended_in_its_order_also_when_the_chain_fits() -> None:
    """L3, the store's half: a sequence left out is refused though the hash before it is the right one."""
    first = SampleLog("a").next()
    header = replace(first.header, sequence=3, previous=first.hash)
    data = encode_header(header)
    skipping = Commit(header, data, first.parts, first.signature, header_hash(data))
    store = MemoryStore()
    store.append([(first, True)], 1)
    with pytest.raises(UsageError, match="does not continue its log"):
        store.append([(skipping, True)], 1)
