"""Both stores against a model of the contract in dictionaries and lists, over random calls (L1, L3, L8).

The machine calls a store in any order, closes, opens and crashes it at any step, and after every step asks it for
everything it has. What was refused must have left no trace.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from crdtsync.errors import CrdtSyncError, StorageFailure, UnknownField, UnknownKind, UsageError
from crdtsync.ids import CommitHash, DataKeyId, MemberHash
from crdtsync.replication.commit import Commit, encode_header, header_hash
from crdtsync.replication.stored import EMPTY_LOG, KeyObject, LogHead, StoredCommit, next_head
from crdtsync.storage.base import KindState, Store, TableSpec, ViewChange, ViewState
from crdtsync.storage.checks import EMPTY_VIEW
from crdtsync.storage.memory import MemoryStore
from crdtsync.storage.sqlite import SqliteStore
from crdtsync.testing.stores import (
    KIND,
    OTHER,
    TABLE,
    SampleLog,
    sample_change,
    sample_conflict,
    sample_key,
    sample_record,
)
from tests.examples import examples

Key = tuple[str, str]
RECORDS = 5
VERSIONS = 3
KEYS = [sample_key(number, f"subject {number % 2}") for number in range(4)]
NAMES = ("a", "b", "c")
UNKNOWN = SampleLog("x").log
EVERYTHING = 10**9
VIEWS_VOLATILE = 4
"""How many transactions of the view a power cut may take in the modelled disk of this test."""

Written = tuple[int, int, int, str, int]
BATCH = st.lists(st.tuples(st.sampled_from(NAMES), st.integers(0, 900), st.booleans()), max_size=6)
CHANGES = st.lists(
    st.tuples(
        st.integers(0, RECORDS - 1),
        st.integers(1, VERSIONS),
        st.integers(0, 2),
        st.sampled_from(["row", "row", "some columns", "no row", "other kind"]),
        st.integers(0, 9_000),
    ),
    min_size=1,
    max_size=4,
    unique_by=lambda change: (change[0], change[3] == "other kind"),
)
"""What `made_change` takes, once per record: a batch changes a record once."""
WAITS = st.lists(st.integers(1, 9), max_size=3)
MARKS = st.binary(min_size=1, max_size=1)


@dataclass
class View:
    """What the view should hold; a committed one is never changed again."""

    entries: dict[Key, ViewChange] = field(default_factory=dict)
    waiting: dict[DataKeyId, list[int]] = field(default_factory=dict)
    state: ViewState = EMPTY_VIEW
    kinds: dict[str, KindState] = field(default_factory=dict)

    def copy(self) -> View:
        return View(dict(self.entries), dict(self.waiting), self.state, dict(self.kinds))

    def write(self, change: ViewChange) -> None:
        key = (change.document.kind, change.document.record)
        before = self.entries.get(key)
        known = {conflict.id: conflict.detected_ms for conflict in before.conflicts} if before else {}
        first = [replace(c, detected_ms=min(c.detected_ms, known.get(c.id, c.detected_ms))) for c in change.conflicts]
        self.entries[key] = replace(change, conflicts=first)

    def write_row(self, change: ViewChange) -> None:
        before = self.entries[change.document.kind, change.document.record]
        document = replace(before.document, damaged=change.document.damaged)
        self.write(replace(change, document=document, arrival=before.arrival))


class StoreMachine(RuleBasedStateMachine):
    """Any calls of a store, beside the model of what it must answer."""

    def __init__(self) -> None:
        super().__init__()
        self.meta: dict[str, bytes] = {}
        self.members: list[bytes] = []
        self.keys: dict[DataKeyId, KeyObject] = {}
        self.arrivals: list[StoredCommit] = []
        self.heads = [EMPTY_LOG]
        self.logs = {name: SampleLog(name) for name in NAMES}
        self.views = [View()]
        self.open: View | None = None
        self.columns = list(TABLE.columns)
        self.store: Store = self.opened()
        self.store.declare_tables([TABLE])

    def opened(self) -> Store:
        raise NotImplementedError

    def rows(self) -> dict[Key, dict[str, Any]]:
        """The rows of the kind's table, as the store has them."""
        raise NotImplementedError

    def found(self, word: str) -> set[Key]:
        """The records whose words have this one in them."""
        raise NotImplementedError

    @property
    def view(self) -> View:
        """What reads must show: also what an open transaction wrote."""
        return self.open or self.views[-1]

    def refused(self, error: type[CrdtSyncError], act: Callable[[], object]) -> None:
        with pytest.raises(error):
            act()

    # -- small values, members, keys --------------------------------------------------------------------------------

    @rule(values=st.dictionaries(st.sampled_from("mnop"), st.none() | st.binary(max_size=3), max_size=3))
    def set_meta(self, values: dict[str, bytes | None]) -> None:
        self.store.set_meta(values)
        for name, value in values.items():
            if value is None:
                self.meta.pop(name, None)
            else:
                self.meta[name] = value

    @rule(numbers=st.lists(st.integers(0, 9), max_size=4))
    def add_members(self, numbers: list[int]) -> None:
        records = [(MemberHash(bytes([number]) * 32), f"record {number}".encode()) for number in numbers]
        self.store.add_members(records)
        self.members.extend(data for data in dict.fromkeys(data for _, data in records) if data not in self.members)

    @rule(numbers=st.lists(st.integers(0, 3), max_size=4))
    def put_keys(self, numbers: list[int]) -> None:
        keys = [KEYS[number] for number in numbers]
        self.store.put_keys(keys)
        self.keys.update({key.id: key for key in keys})

    @rule(numbers=st.lists(st.integers(0, 3), max_size=3))
    def erase_keys(self, numbers: list[int]) -> None:
        self.store.erase_keys([KEYS[number].id for number in numbers])
        for number in numbers:
            self.keys.pop(KEYS[number].id, None)

    # -- the log ----------------------------------------------------------------------------------------------------

    @rule(batch=BATCH)
    def append(self, batch: list[tuple[str, int, bool]]) -> None:
        now = len(self.arrivals) * 10
        commits = [(self.logs[name].next(size), checked) for name, size, checked in batch]
        head = self.store.append(commits, now)
        for commit, checked in commits:
            self.heads.append(next_head(self.heads[-1], commit))
            self.arrivals.append(StoredCommit(len(self.arrivals) + 1, now, commit, checked))
        assert head == self.heads[-1]

    @rule(
        good=st.lists(st.sampled_from(NAMES), max_size=2),
        name=st.sampled_from(NAMES),
        wrong=st.sampled_from(["gap", "again", "fork"]),
    )
    def append_is_refused(self, good: list[str], name: str, wrong: str) -> None:
        """L3: a place that is skipped, taken or forked refuses the whole batch, also what stands before it."""
        before = {log: self.logs[log].head for log in NAMES}
        commits = [self.logs[log].next() for log in good]
        commit = self.logs[name].next()
        if wrong == "gap":
            commits.append(self.logs[name].next())
        elif wrong == "again":
            commits += [commit, commit]
        else:
            header = replace(commit.header, previous=CommitHash(b"elsewhere".ljust(32)))
            data = encode_header(header)
            commits.append(Commit(header, data, commit.parts, commit.signature, header_hash(data)))
        self.refused(UsageError, lambda: self.store.append([(each, True) for each in commits], 1))
        for log, head in before.items():
            self.logs[log].head = head

    @rule(after=st.integers(-1, 40), commits_max=st.integers(0, 9), bytes_max=st.integers(0, 4_000))
    def read_arrivals(self, after: int, commits_max: int, bytes_max: int) -> None:
        wanted = self.arrivals[max(after, 0) :]
        assert self.store.arrivals(after, commits_max, bytes_max) == within(wanted, commits_max, bytes_max)

    @rule(at=st.integers(0, 9), beside=st.integers(0, 9))
    def read_backlog(self, at: int, beside: int) -> None:
        for first, second in ((at, beside), (beside, at)):
            self.read_feeds({"a": first, "b": second, "x": 1}, 1, 0)

    @rule(
        cursors=st.dictionaries(st.sampled_from((*NAMES, "x")), st.integers(0, 12)),
        commits_max=st.integers(0, 9),
        bytes_max=st.integers(0, 4_000),
    )
    def read_feeds(self, cursors: dict[str, int], commits_max: int, bytes_max: int) -> None:
        asked = {self.logs[name].log if name in self.logs else UNKNOWN: at for name, at in cursors.items()}
        wanted = [
            item
            for item in self.arrivals
            if item.commit.header.log in asked and item.commit.header.sequence >= asked[item.commit.header.log]
        ]
        assert self.store.feeds(asked, commits_max, bytes_max) == within(wanted, commits_max, bytes_max)
        assert self.store.backlog(asked) == (len(wanted), sum(item.commit.size for item in wanted))

    # -- the view ---------------------------------------------------------------------------------------------------

    @precondition(lambda self: self.open is None)
    @rule()
    def begin(self) -> None:
        self.store.begin_view()
        self.open = self.views[-1].copy()

    @precondition(lambda self: self.open is not None)
    @rule(changes=CHANGES)
    def write(self, changes: list[Written]) -> None:
        made = [made_change(*change) for change in changes]
        self.store.write_view(made)
        for change in made:
            self.view.write(change)

    @initialize(commits=BATCH, records=st.lists(CHANGES, max_size=2), waits=WAITS)
    def some_of_everything(
        self, commits: list[tuple[str, int, bool]], records: list[list[Written]], waits: list[int]
    ) -> None:
        self.append(commits)
        self.put_keys([0, 1])
        self.derive(records, waits, b"0")

    @precondition(lambda self: self.open is None)
    @rule(batches=st.lists(CHANGES, min_size=1, max_size=4), waits=WAITS, mark=MARKS)
    def derive(self, batches: list[list[Written]], waits: list[int], mark: bytes) -> None:
        """A whole transaction in one step."""
        self.begin()
        for changes in batches:
            self.write(changes)
        self.write_waiting(0, waits)
        self.commit(0, mark)

    @precondition(lambda self: self.open is None)
    @rule(changes=CHANGES, again=CHANGES)
    def change_abort_and_change(self, changes: list[Written], again: list[Written]) -> None:
        """What was dropped must not be remembered by what comes next."""
        self.begin()
        self.write(changes)
        self.abort()
        self.derive([changes, again], [], b"1")

    @precondition(lambda self: self.open is not None)
    @rule(changes=CHANGES)
    def write_rows(self, changes: list[Written]) -> None:
        assert self.open is not None
        made = [made_change(*change) for change in changes]
        there = [each for each in made if (each.document.kind, each.document.record) in self.open.entries]
        self.store.write_rows(there)
        for change in there:
            self.open.write_row(change)

    @precondition(lambda self: self.open is not None)
    @rule(kind=st.sampled_from([KIND, OTHER]), after=st.sampled_from([None, "", "m"]), done=st.integers(0, 3))
    def write_kind_state(self, kind: str, after: str | None, done: int) -> None:
        assert self.open is not None
        self.open.kinds[kind] = KindState("{}", "[]", after, None if done == 1 else ("a",) * done, done)
        self.store.write_kind_state(kind, self.open.kinds[kind])

    @precondition(lambda self: self.open is not None)
    @rule(number=st.integers(0, 2), arrivals=WAITS)
    def write_waiting(self, number: int, arrivals: list[int]) -> None:
        assert self.open is not None
        self.store.write_waiting(KEYS[number].id, arrivals)
        self.open.waiting.pop(KEYS[number].id, None)
        if arrivals:
            self.open.waiting[KEYS[number].id] = arrivals

    @precondition(lambda self: self.open is not None)
    @rule(behind=st.integers(0, 3), mark=MARKS)
    def commit(self, behind: int, mark: bytes) -> None:
        assert self.open is not None
        head = self.heads[max(0, len(self.heads) - 1 - behind)]
        state = ViewState(head, mark * 32, len(self.open.entries))
        self.store.commit_view(state)
        self.ended(replace(self.open, state=state))

    @precondition(lambda self: self.open is not None)
    @rule()
    def abort(self) -> None:
        self.store.abort_view()
        self.open = None

    @rule()
    def reset(self) -> None:
        self.store.reset_view()
        self.ended(View(kinds=self.view.kinds if self.open is None else self.views[-1].kinds))

    def ended(self, view: View) -> None:
        """A transaction of the view has ended."""
        self.open = None
        self.views.append(view)
        if len(self.views) > VIEWS_VOLATILE + 1:
            self.views = [view]  # the modelled disk has made a checkpoint: all of it is durable

    @precondition(lambda self: self.open is None)
    @rule(column=st.sampled_from(["family_name", "order", 'quo"ted']), index=st.booleans())
    def declare(self, column: str, index: bool) -> None:
        spec = TableSpec(KIND, {column: "TEXT"}, [column] if index else [])
        grew = column not in self.columns
        assert self.store.declare_tables([spec]) is (grew and bool(self.views[-1].entries))
        if grew:
            self.columns.append(column)

    # -- what is refused --------------------------------------------------------------------------------------------

    @precondition(lambda self: self.open is not None)
    @rule()
    def what_an_open_transaction_refuses(self) -> None:
        self.refused(UsageError, self.store.begin_view)
        self.refused(UsageError, lambda: self.store.declare_tables([TABLE]))
        ahead = LogHead(len(self.arrivals) + 1, bytes(32))
        beside = LogHead(len(self.arrivals), b"beside".ljust(32))
        for head in (ahead, beside):
            self.refused(UsageError, lambda head=head: self.store.commit_view(ViewState(head, bytes(32), 0)))

    @precondition(lambda self: self.open is None)
    @rule()
    def what_no_transaction_refuses(self) -> None:
        self.refused(UsageError, lambda: self.store.write_view([sample_change(1)]))
        self.refused(UsageError, lambda: self.store.write_waiting(KEYS[0].id, [1]))
        self.refused(UsageError, lambda: self.store.write_rows([sample_change(1)]))
        self.refused(UsageError, lambda: self.store.write_kind_state(KIND, KindState("", "")))
        self.refused(UsageError, lambda: self.store.commit_view(EMPTY_VIEW))
        self.store.abort_view()

    @precondition(lambda self: self.open is not None)
    @rule(good=st.lists(st.integers(0, RECORDS - 1), max_size=2, unique=True), column=st.booleans())
    def a_row_that_fits_no_table(self, good: list[int], column: bool) -> None:
        """Whoever wrote it must abort; then nothing of the transaction was."""
        wrong = sample_change(RECORDS)
        if column:
            wrong = replace(wrong, row={"surplus": 1})
        else:
            wrong = replace(wrong, document=replace(wrong.document, kind=OTHER))
        batch = [*map(sample_change, good), wrong]
        self.refused(UnknownField if column else UnknownKind, lambda: self.store.write_view(batch))
        self.abort()

    # -- the end of a process ---------------------------------------------------------------------------------------

    @rule()
    def close_and_reopen(self) -> None:
        self.store.close()
        self.store = self.opened()
        self.open = None
        self.views = self.views[-1:]
        assert self.store.declare_tables([TABLE]) is False

    # -- everything that it has -------------------------------------------------------------------------------------

    @invariant()
    def log_and_keys_are_those_of_the_model(self) -> None:
        store = self.store
        assert [store.meta(name) for name in "mnop"] == [self.meta.get(name) for name in "mnop"]
        assert store.members() == self.members
        assert store.keys([key.id for key in KEYS]) == self.keys
        for subject in ("subject 0", "subject 1"):
            here = [key for key in self.keys.values() if key.subject == subject]
            assert store.key_of_subject(subject) == sorted(here, key=lambda key: key.id)
        assert store.log_head() == self.heads[-1]
        frontier = {log.log: log.head for log in self.logs.values() if log.head.sequence}
        assert store.frontier() == frontier
        assert store.arrivals(0, EVERYTHING, EVERYTHING) == self.arrivals
        for log, head in frontier.items():
            places = [stored for stored in self.arrivals if stored.commit.header.log == log]
            assert [store.commit(log, number) for number in range(head.sequence + 2)] == [None, *places, None]

    @invariant()
    def view_is_that_of_the_model(self) -> None:
        store, view = self.store, self.view
        assert store.view_state() == self.views[-1].state
        documents = [view.entries[key].document for key in sorted(view.entries)]
        assert store.documents(None, ("", ""), EVERYTHING) == documents
        for kind in (KIND, OTHER, "nobody's"):
            mine = [document for document in documents if document.kind == kind]
            assert store.documents(kind, ("", ""), EVERYTHING) == mine
            for at, document in enumerate(mine):
                assert store.documents(kind, (kind, document.record), 2) == mine[at + 1 : at + 3]
                assert store.document(kind, document.record) == document
        for number in range(RECORDS + 1):
            record = sample_record(number)
            assert store.documents_of(record) == [document for document in documents if document.record == record]
        counted = {kind: sum(document.kind == kind for document in documents) for kind in (OTHER, KIND)}
        assert store.counts() == {kind: number for kind, number in counted.items() if number}
        conflicts = [conflict for change in view.entries.values() for conflict in change.conflicts]
        assert store.conflicts() == sorted(conflicts, key=lambda conflict: (conflict.detected_ms, conflict.id))
        assert store.waiting() == view.waiting
        assert store.kind_states() == view.kinds

    @invariant()
    def tables_and_words_are_those_of_the_model(self) -> None:
        rows = {key: change.row for key, change in self.view.entries.items() if change.row is not None}
        assert self.rows() == {
            key: {column: row[column] for column in row if row[column] is not None} for key, row in rows.items()
        }
        for version in range(1, VERSIONS + 1):
            expected = {key for key, change in self.view.entries.items() if f"version{version}" in change.words}
            assert self.found(f"version{version}") == expected


def made_change(number: int, version: int, conflicts: int, form: str, detected: int) -> ViewChange:
    """A change of a record; in some forms it has less than a whole row."""
    change = sample_change(number, version, arrival=number + version)
    found = [replace(sample_conflict(number, index), detected_ms=detected) for index in range(conflicts)]
    change = replace(change, conflicts=found, words=f"version{version} Müller" if version < VERSIONS else "")
    if form == "some columns":
        return replace(change, row={"number": version})
    if form == "no row":
        return replace(change, row=None)
    if form == "other kind":
        document = replace(change.document, kind=OTHER, damaged="held" * (version % 2))
        mine = [replace(c, id=c.id[::-1], kind="other") for c in found]
        return replace(change, document=document, row=None, conflicts=mine)
    return change


def within(wanted: Sequence[StoredCommit], commits_max: int, bytes_max: int) -> list[StoredCommit]:
    """The longest beginning within both limits; one at least."""
    most = 0
    while most < min(len(wanted), max(commits_max, 1)):
        if sum(item.commit.size for item in wanted[: most + 1]) > bytes_max:
            break
        most += 1
    return list(wanted[: max(most, 1)])


class MemoryMachine(StoreMachine):
    """A store in memory: here the power may fail, the disk may refuse, and images of the disk may be taken."""

    store: MemoryStore

    def opened(self) -> Store:
        if not hasattr(self, "store"):
            store = MemoryStore()
            store.view_checkpoint_every = VIEWS_VOLATILE
            return store
        return self.store

    def rows(self) -> dict[Key, dict[str, Any]]:
        found = {}
        for kind, record in self.view.entries:
            row = self.store.row(kind, sample_record_of(record))
            if row is not None:
                found[kind, record] = {column: row[column] for column in row if row[column] is not None}
        return found

    def found(self, word: str) -> set[Key]:
        return {key for key in self.view.entries if word in self.store.words(key[0], sample_record_of(key[1]))}

    @rule(survive=st.integers(0, VIEWS_VOLATILE))
    def power_cut(self, survive: int) -> None:
        """L1: log, keys and members stand; of the view's transactions a beginning survives, never one without those
        before it."""
        volatile = len(self.views) - 1
        asked: list[int] = []

        def keep(number: int) -> int:
            asked.append(number)
            return min(survive, number)

        self.store.crash(keep)
        assert asked in ([], [volatile]), "what was synced is not for the power to take"
        self.views = [self.views[min(survive, volatile)]]
        self.open = None

    @rule(call=st.integers(0, 5))
    def the_disk_refuses(self, call: int) -> None:
        """Until the store is opened again; what was there stays."""
        store = self.store
        store.failure = "the disk is gone"
        calls: list[Callable[[], object]] = [
            lambda: store.append([(self.logs["a"].next(), True)], 1),
            lambda: store.put_keys(KEYS),
            lambda: store.set_meta({"m": b"lost"}),
            lambda: store.add_members([(MemberHash(b"z" * 32), b"lost")]),
            store.begin_view,
            store.reset_view,
        ]
        head = self.logs["a"].head
        self.refused(StorageFailure, calls[call])
        self.refused(StorageFailure, store.log_head)
        self.logs["a"].head = head
        store.crash(lambda number: number)
        self.views, self.open = self.views[-1:], None

    @precondition(lambda self: self.open is None)
    @rule()
    def go_on_with_an_image_of_the_disk(self) -> None:
        """Two stores that share nothing: what the first writes from now on is not in the second."""
        first, self.store = self.store, self.store.copy()
        first.put_keys(KEYS)
        first.set_meta({"m": b"of the first"})
        first.append([(SampleLog(UNKNOWN.hex()).next(), True)], 1)
        first.begin_view()
        first.write_view([sample_change(number, 1, 1) for number in range(RECORDS)])
        first.commit_view(ViewState(first.log_head(), bytes(32), 1))
        first.power_cut()
        self.views = self.views[-1:]


def sample_record_of(record: str) -> Any:
    """The same text as a record id."""
    return record


class SqliteMachine(StoreMachine):
    """A store on disk, closed and opened in one folder."""

    store: SqliteStore

    def opened(self) -> Store:
        if not hasattr(self, "folder"):
            self.folder = Path(tempfile.mkdtemp(prefix="crdtsync-machine-"))
        store = SqliteStore(self.folder, b"v" * 32)
        for db in (store._log_db, store._keys_db, store._view):
            db.execute("PRAGMA synchronous = OFF")  # no power fails in this test, and disks are slow
        return store

    def rows(self) -> dict[Key, dict[str, Any]]:
        cursor = self.store._view.execute(f'SELECT * FROM "{KIND}"')
        names = [column[0] for column in cursor.description]
        rows = [dict(zip(names, row, strict=True)) for row in cursor]
        return {(KIND, row.pop("id")): {name: row[name] for name in row if row[name] is not None} for row in rows}

    def found(self, word: str) -> set[Key]:
        sql = "SELECT kind, record FROM _search JOIN _document ON number = _search.rowid WHERE _search MATCH ?"
        return {(kind, record) for kind, record in self.store._view.execute(sql, (word,))}

    def teardown(self) -> None:
        self.store.close()
        shutil.rmtree(self.folder)


@pytest.mark.parametrize(("machine", "number"), [(MemoryMachine, 120), (SqliteMachine, 50)], ids=["memory", "sqlite"])
def test_a_store_is_what_the_model_says(machine: type[StoreMachine], number: int) -> None:
    run_state_machine_as_test(machine, settings=examples(number, steps=30))
