"""The engine as its driver sees it: boots, durable writes, group commit, restarts (L1, L2, L3, L4)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pytest

from crdtsync.engine import Engine, RecordEdits, WriteGrant, WriteRequest
from crdtsync.errors import BadValue, RefusedError, StorageFailure
from crdtsync.ids import BootId, EpochId, RecordId, log_id, log_tag, replica_of
from crdtsync.practice import Patient, Task
from crdtsync.replication.commit import Commit
from crdtsync.replication.stored import KeyObject, LogHead
from crdtsync.storage.base import NO_NOTES, Notes, ViewState
from crdtsync.storage.memory import MemoryStore

from .conftest import MakeStore
from .sites import PRACTICE, SiteRig, patient_of, record_of


class DiaryStore(MemoryStore):
    """A store that notes the order of what is made durable, and that may refuse."""

    def __init__(self) -> None:
        super().__init__()
        self.diary: list[str] = []
        self.refuse_append = False

    def put_keys(self, keys: Sequence[KeyObject]) -> None:
        self.diary.append("keys")
        super().put_keys(keys)

    def append(self, commits: Sequence[tuple[Commit, bool]], arrived_ms: int, notes: Notes = NO_NOTES) -> LogHead:
        self.diary.append(f"log {len(commits)}")
        if self.refuse_append:
            raise StorageFailure("no space left on the disk")
        return super().append(commits, arrived_ms, notes)

    def commit_view(self, state: ViewState) -> None:
        self.diary.append("view")
        super().commit_view(state)


def test_what_one_site_writes_the_other_shows(make_store: MakeStore) -> None:
    jena, gera = SiteRig("jena", make_store()), SiteRig("gera", make_store())
    jena.write(patient_of(1, given_name="Erika"))
    gera.write(patient_of(2))
    jena.sync(gera)
    assert gera.patient(1).given_name == "Erika"
    assert jena.engine.digest() == gera.engine.digest()
    assert jena.engine.digest()[1] == 2
    assert jena.verify(gera) == gera.verify(jena) == []


def test_keys_come_before_log_and_log_before_view() -> None:
    store = DiaryStore()
    jena = SiteRig("jena", store)
    assert store.diary == ["view"], "what the program declares is noted when the site opens"
    jena.write(patient_of(1))
    assert store.diary[1:] == ["keys", "log 1", "view"]
    gera = SiteRig("gera", received := DiaryStore())
    gera.pull(jena)
    gera.derive()
    assert received.diary[1:] == ["keys", "log 1", "view"]


def test_one_call_costs_one_sync_of_the_log() -> None:
    store = DiaryStore()
    jena = SiteRig("jena", store)
    outcomes = jena.write_all([jena.request(patient_of(number)) for number in range(10)])
    assert store.diary == ["view", "keys", "log 10", "view"]
    sequences = [outcome.commit.header.sequence for outcome in outcomes if outcome.commit]
    assert sequences == list(range(1, 11))


def test_a_disk_that_refuses_leaves_nothing_behind() -> None:
    store = DiaryStore()
    jena = SiteRig("jena", store)
    jena.write(patient_of(1))
    before = jena.engine.digest()
    store.refuse_append = True
    patient = jena.patient(1)
    patient.given_name = "Erika"
    with pytest.raises(StorageFailure):
        jena.write(patient)
    store.refuse_append = False
    assert jena.engine.digest() == before
    assert jena.patient(1).given_name is None
    assert jena.engine.last_sequence == 1
    jena.write(patient)
    assert jena.patient(1).given_name == "Erika"
    assert jena.verify() == []


def test_a_request_that_fails_leaves_the_others_whole(make_store: MakeStore) -> None:
    jena, gera = SiteRig("jena", make_store()), SiteRig("gera", make_store())
    jena.write(patient_of(1))
    edited = jena.patient(1)
    edited.given_name = "Erika"
    spoilt = jena.patient(1)
    spoilt.title = "Dr."
    huge = patient_of(3, family_name="x" * 300_000)
    later = jena.patient(1)
    later.home_site = "Jena"
    outcomes = jena.write_all(
        [
            jena.request(edited),
            jena.request(spoilt, patient_of(2), huge),
            jena.request(later),
            jena.request(patient_of(4)),
        ]
    )
    assert [type(outcome.error) for outcome in outcomes] == [type(None), BadValue, type(None), type(None)]
    assert outcomes[1].commits == () and outcomes[1].commit is None and outcomes[1].keys == ()
    shown = jena.patient(1)
    assert (shown.given_name, shown.title, shown.home_site) == ("Erika", None, "Jena")
    assert jena.engine.record("patient", record_of(2)) is None
    gera.sync(jena)
    assert gera.engine.digest() == jena.engine.digest()
    assert jena.verify() == gera.verify(jena) == []


def test_words_that_no_reader_would_take_are_refused() -> None:
    jena = SiteRig("jena")
    long = WriteRequest("a" * 201, "", "", "", [jena.edits(patient_of(1))])
    nameless = WriteRequest("a", "", "", "", [RecordEdits("", record_of(1), "", ())])
    half = WriteRequest("a\ud800", "", "", "", [jena.edits(patient_of(1))])
    outcomes = jena.write_all([long, nameless, half, jena.request(patient_of(2))])
    assert [outcome.error is None for outcome in outcomes] == [False, False, False, True]
    assert jena.engine.digest()[1] == 1


def test_nothing_changed_is_no_commit() -> None:
    jena = SiteRig("jena")
    jena.write(patient_of(1))
    [outcome] = jena.write_all([WriteRequest("a", "", "", "", [])])
    assert (outcome.commit, outcome.commits, outcome.error) == (None, (), None)
    [outcome] = jena.write_all([WriteRequest("a", "", "", "", [RecordEdits("patient", record_of(9), "", ())])])
    assert outcome.commit is None and outcome.error is None
    assert jena.engine.record("patient", record_of(9)) is None
    assert jena.engine.last_sequence == 1


def test_two_edits_of_one_record_in_one_transaction_are_one_change() -> None:
    jena = SiteRig("jena")
    first, second = patient_of(1), Patient(given_name="Erika")
    second.id = record_of(1)
    jena.write(first, second)
    shown = jena.patient(1)
    assert (shown.family_name, shown.given_name, shown.conflicts) == ("Muster1", "Erika", {})


def test_a_write_depends_on_all_that_is_here(make_store: MakeStore) -> None:
    jena, gera = SiteRig("jena", make_store()), SiteRig("gera", make_store())
    heads = [jena.write(patient_of(number)) for number in range(3)]
    gera.pull(jena)
    commit = gera.write(patient_of(7))
    assert commit.header.dependencies == ((jena.engine.log, heads[-1].head),)
    assert gera.write(patient_of(8)).header.dependencies == ()
    assert gera.engine.digest()[1] == 5, "what was pending is derived before writing"


def test_a_restart_goes_on_and_names_what_moved_since(make_store: MakeStore) -> None:
    jena, gera, weimar = (SiteRig(name, make_store()) for name in ("jena", "gera", "weimar"))
    jena.write(patient_of(1))
    gera.write(patient_of(2))
    weimar.pull(jena)
    last = weimar.write(patient_of(3))
    weimar.pull(gera)
    weimar.reopen()
    assert weimar.engine.last_sequence == 1
    weimar.derive()
    patient = weimar.patient(3)
    patient.given_name = "Erika"
    commit = weimar.write(patient)
    assert commit.header.previous == last.hash
    assert [log for log, _ in commit.header.dependencies] == [gera.engine.log]
    assert commit.header.stamp > last.header.stamp
    jena.pull(weimar)
    jena.derive()
    assert jena.patient(3).given_name == "Erika"
    assert jena.engine.digest() == weimar.engine.digest()


def test_a_fresh_boot_continues_the_newest_log_and_names_everything(make_store: MakeStore) -> None:
    jena, gera = SiteRig("jena", make_store()), SiteRig("gera", make_store())
    first_log = jena.engine.log
    head = jena.write(patient_of(1)).head
    gera.write(patient_of(2))
    jena.sync(gera)
    jena.open()
    assert jena.engine.log != first_log and jena.engine.last_sequence == 0
    patient = jena.patient(1)
    patient.given_name = "Erika"
    commit = jena.write(patient)
    assert commit.header.continues == (first_log, head)
    assert {log for log, _ in commit.header.dependencies} == {first_log, gera.engine.log}
    assert jena.write(patient_of(5)).header.continues is None
    jena.open()
    jena.open()  # a boot that wrote nothing is continued by nobody
    assert jena.write(patient_of(6)).header.continues == (commit.header.log, jena.store.frontier()[commit.header.log])
    gera.sync(jena)
    assert gera.engine.digest() == jena.engine.digest()


def test_a_boot_is_drawn_again_while_its_tag_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    jena = SiteRig("jena")
    jena.write(patient_of(1))
    draws = iter([b"1" * 8, b"2" * 8])
    monkeypatch.setattr(jena.sealer, "random", lambda n: next(draws))
    taken = log_tag(log_id(jena.replica, BootId(b"1" * 8)))
    monkeypatch.setattr(
        "crdtsync.engine.own_log.log_tag",
        lambda log: taken if replica_of(log) == jena.replica and b"2" not in log else "",
    )
    log = jena.engine.open_boot()
    assert log == log_id(jena.replica, BootId(b"2" * 8))


def test_a_boot_that_was_written_is_refused() -> None:
    jena = SiteRig("jena", boot=BootId(b"1" * 8))
    jena.write(patient_of(1))
    with pytest.raises(RefusedError):
        jena.engine.open_boot(BootId(b"1" * 8))


def test_a_log_that_somebody_else_continued_is_not_written_on() -> None:
    """A clone wrote under our name: what it wrote comes back to us (L3, L4)."""
    jena = SiteRig("jena", boot=BootId(b"1" * 8))
    jena.write(patient_of(1))
    gera = SiteRig("gera")
    gera.pull(jena)
    clone = SiteRig("jena", boot=BootId(b"2" * 8))
    clone.pull(gera)
    clone.derive()
    log = jena.engine.log
    assert log is not None
    clone.engine.continue_log(log)
    clone.write(patient_of(2))
    jena.pull(clone)
    with pytest.raises(RefusedError, match="new boot"):
        jena.write(patient_of(3))
    jena.engine.open_boot()
    jena.write(patient_of(3))
    assert jena.engine.digest()[1] == 3


def test_writing_needs_a_boot_and_an_epoch() -> None:
    jena = SiteRig("jena")
    request = jena.request(patient_of(1))
    bare = Engine(MemoryStore(), jena.sealer, jena.keyring, practice=PRACTICE, replica=jena.replica)
    assert bare.log is None and bare.last_sequence == 0
    with pytest.raises(RefusedError, match="boot"):
        bare.write([request], jena.grant, 1)
    with pytest.raises(RefusedError, match="epoch"):
        jena.engine.write([request], WriteGrant((), EpochId(b"?" * 16)), 1)


def test_an_engine_without_a_boot_derives_and_reads(make_store: MakeStore) -> None:
    jena = SiteRig("jena")
    jena.write(patient_of(1))
    gera = SiteRig("gera")
    engine = Engine(make_store(), gera.sealer, gera.keyring, practice=PRACTICE, replica=gera.replica)
    gera.engine = engine
    gera.pull(jena)
    state = engine.record("patient", record_of(1))
    assert state is not None and state.subject == record_of(1)
    assert engine.digest() == jena.engine.digest()


def test_peers_are_served_with_the_keys_that_commits_introduce(make_store: MakeStore) -> None:
    jena = SiteRig("jena", make_store())
    log = jena.engine.log
    assert log is not None
    jena.write(patient_of(1))
    patient = jena.patient(1)
    patient.given_name = "Erika"
    jena.write(patient)
    jena.write(patient_of(2))
    commits, keys = jena.engine.read_feeds({log: 1}, 100, 10**6)
    assert [stored.commit.header.sequence for stored in commits] == [1, 2, 3]
    assert [key.subject for key in keys] == [record_of(1), record_of(2)]
    commits, keys = jena.engine.read_feeds({log: 2}, 1, 10**6)
    assert len(commits) == 1 and keys == [], "an edit needs no key that was not there before"
    assert jena.engine.read_backlog({log: 2})[0] == 2
    ids = [ref.key for ref in jena.write(patient_of(3)).header.parts]
    assert [key.subject for key in jena.engine.read_keys([*ids, ids[0][::-1]])] == [record_of(3)]  # type: ignore[list-item]


def test_a_record_is_found_under_any_kind(make_store: MakeStore) -> None:
    jena = SiteRig("jena", make_store())
    task = Task(title="call back")
    task.id = record_of(1)
    jena.write(task)
    state = jena.engine.record(None, record_of(1))
    assert state is not None and (state.kind, state.damaged) == ("task", "")
    assert jena.engine.record(None, record_of(2)) is None
    assert jena.engine.record("patient", record_of(1)) is None


def test_numbers_for_people(make_store: MakeStore) -> None:
    jena = SiteRig("jena", make_store())
    jena.write(patient_of(1), patient_of(2))
    status = jena.engine.status()
    assert (status.arrival, status.derived, status.records, status.conflicts, status.waiting) == (1, 1, 2, 0, 0)
    assert status.kinds == {"patient": 2}
    assert status.digest == jena.engine.digest()[0]


def test_a_clock_that_is_far_ahead_is_told_of_once_and_drags_nobody_along() -> None:
    jena, gera = SiteRig("jena"), SiteRig("gera")
    gera.now_ms += 3 * 3_600_000
    gera.write(patient_of(1))
    gera.write(patient_of(2))
    jena.pull(gera)
    alarms = jena.derive().alarms
    assert len(alarms) == 1 and "minutes ahead" in alarms[0]
    patient = jena.patient(1)
    patient.family_name = "Later"
    commit = jena.write(patient)
    assert commit.header.stamp < gera.now_ms << 16
    gera.sync(jena)
    assert gera.patient(1).family_name == "Later", "a write beats what it has seen, whatever the clocks say"


def test_stamps_go_on_behind_what_was_heard_before_a_restart() -> None:
    jena, gera = SiteRig("jena"), SiteRig("gera")
    gera.now_ms += 60_000
    heard = gera.write(patient_of(1)).header.stamp
    jena.pull(gera)
    jena.derive()
    jena.reopen()
    assert jena.write(patient_of(2)).header.stamp > heard


def test_keys_of_a_subject_are_used_again(make_store: MakeStore) -> None:
    """One data key per patient, also across restarts and for records that link to it."""
    jena = SiteRig("jena", make_store())
    jena.write(patient_of(1))
    jena.reopen()
    patient = jena.patient(1)
    patient.given_name = "Erika"
    task = Task(title="x")
    task.id = RecordId(record_of(9))
    request = jena.request(patient, task)
    request = WriteRequest(
        "a", "", "", "", [RecordEdits(e.kind, e.record, record_of(1), e.edits) for e in request.records]
    )
    [outcome] = jena.write_all([request])
    [key] = jena.store.key_of_subject(record_of(1))
    assert outcome.keys == (key,), "the first commit of a process introduces it again"
    assert outcome.commit is not None and len(outcome.commit.header.parts) == 1
    patient.title = "Dr."
    [outcome] = jena.write_all([jena.request(patient)])
    assert outcome.commit is not None and outcome.keys == () and not outcome.commit.header.parts[0].introduces


def test_a_key_whose_first_commit_never_came_is_introduced_by_the_next(
    make_store: MakeStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Found by seed 745: the process ends between the key and the commit; nobody else ever got the key by itself."""
    jena = SiteRig("jena", make_store())

    def cut(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(jena.store, "append", cut)
        with pytest.raises(KeyboardInterrupt):
            jena.write(patient_of(1))
    jena.reopen()
    [outcome] = jena.write_all([jena.request(patient_of(1))])
    [key] = jena.store.key_of_subject(record_of(1))
    assert outcome.keys == (key,)
    assert outcome.commit is not None and outcome.commit.header.parts[0].introduces


def test_what_a_request_notes_is_there_exactly_when_its_commit_is(make_store: MakeStore) -> None:
    store = make_store()
    jena = SiteRig("jena", store)
    good = replace(jena.request(patient_of(1)), notes={"one": b"1", "both": b"first"})
    bad = replace(jena.request(patient_of(2)), author="a" * 201, notes={"two": b"2", "both": b"never"})
    outcomes = jena.write_all([good, bad])
    assert [outcome.error is None for outcome in outcomes] == [True, False]
    assert (store.meta("one"), store.meta("two"), store.meta("both")) == (b"1", None, b"first")
    [outcome] = jena.write_all([WriteRequest("a", "", "", "", [], {"one": None, "three": b"3"})])
    assert outcome.commit is None and outcome.error is None
    assert (store.meta("one"), store.meta("three")) == (None, b"3")
