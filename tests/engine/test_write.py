"""Making commits: parts by subject, data keys, large transactions, wide frontiers (L2, L6, L7)."""

from __future__ import annotations

import pytest

from crdtsync import limits
from crdtsync.engine import RecordEdits, WriteRequest
from crdtsync.ids import RecordId
from crdtsync.practice import Prescription, Task
from crdtsync.replication.commit import encode_commit
from crdtsync.replication.stored import key_object

from .conftest import MakeStore
from .sites import SiteRig, patient_of, record_of


def test_a_commit_has_one_part_per_subject_and_a_key_for_each_that_is_new() -> None:
    jena = SiteRig("jena")
    jena.write(patient_of(1))
    linked = Prescription(patient=record_of(1))
    linked.id = record_of(2)
    task = Task(title="x")
    task.id = record_of(3)
    [outcome] = jena.write_all([jena.request(linked, task, patient_of(4))])
    assert outcome.commit is not None
    parts = outcome.commit.header.parts
    assert [part.introduces for part in parts] == [False, True, True]
    subjects = [key.subject for key in jena.engine.read_keys([part.key for part in parts])]
    assert subjects == [record_of(1), record_of(3), record_of(4)]
    assert [key.subject for key in outcome.keys] == [record_of(3), record_of(4)]
    document = jena.store.document("prescription", record_of(2))
    assert document is not None and document.subject == record_of(1)


def test_the_subject_of_a_record_is_fixed_when_it_is_made() -> None:
    jena = SiteRig("jena")
    jena.write(patient_of(1))
    patient = jena.patient(1)
    patient.title = "Dr."
    edits = jena.edits(patient)
    [outcome] = jena.write_all(
        [WriteRequest("a", "", "", "", [RecordEdits("patient", record_of(1), record_of(7), edits.edits)])]
    )
    assert outcome.keys == () and outcome.commit is not None
    [key] = jena.engine.read_keys([part.key for part in outcome.commit.header.parts])
    assert key.subject == record_of(1)


def test_requests_of_one_call_share_a_new_key() -> None:
    jena = SiteRig("jena")
    first, second = patient_of(1), patient_of(1, given_name="Erika")
    outcomes = jena.write_all([jena.request(first), jena.request(second)])
    assert [len(outcome.keys) for outcome in outcomes] == [1, 0]
    introduces = [part.introduces for o in outcomes if o.commit for part in o.commit.header.parts]
    assert introduces == [True, False]


def test_a_key_that_opens_to_nothing_is_not_sealed_with(make_store: MakeStore) -> None:
    """Any member can put an object there; it must not keep others from writing what they can read."""
    jena, gera = SiteRig("jena", make_store()), SiteRig("gera")
    jena.engine.put_keys([key_object(jena.grant.epoch, record_of(1), bytes([number]) * 40) for number in range(5)])
    jena.write(patient_of(1))
    gera.pull(jena)
    assert gera.derive().records == 1


@pytest.mark.parametrize(
    ("limit", "value"), [("parts_written_max", 4), ("changes_per_part_max", 4), ("commit_bytes_target", 2_400)]
)
def test_each_limit_splits_a_transaction(monkeypatch: pytest.MonkeyPatch, limit: str, value: int) -> None:
    monkeypatch.setattr(limits, limit, value)
    jena, gera = SiteRig("jena"), SiteRig("gera")
    subject = record_of(1) if limit == "changes_per_part_max" else ""
    edits = [jena.edits(patient_of(number)) for number in range(10)]
    records = [RecordEdits(e.kind, e.record, subject or e.record, e.edits) for e in edits]
    [outcome] = jena.write_all([WriteRequest("a" * 100, "", "", "", records)])
    count = len(outcome.commits)
    assert count == 3
    assert [commit.header.fragment for commit in outcome.commits] == [(index, count) for index in range(count)]
    assert outcome.commit is outcome.commits[-1]
    gera.pull(jena)
    gera.derive()
    assert gera.engine.digest() == jena.engine.digest() and jena.engine.digest()[1] == 10
    assert gera.verify(jena) == []


def test_the_largest_commits_are_ones_that_readers_take() -> None:
    jena = SiteRig("jena")
    records = [
        jena.edits(patient_of(number, family_name=chr(97 + number % 26) * (limits.delta_bytes_max - 300)))
        for number in range(8)
    ]
    one_subject = [RecordEdits(e.kind, e.record, record_of(1), e.edits) for e in records]
    outcomes = jena.write_all(
        [
            WriteRequest("a" * 200, "r" * 2000, "w" * 200, "p" * 200, one_subject),
            jena.request(*[patient_of(number, family_name="y") for number in range(100, 2_300)]),
        ]
    )
    for outcome in outcomes:
        assert outcome.error is None and len(outcome.commits) > 1
        for commit in outcome.commits:
            assert len(encode_commit(commit)) <= limits.commit_bytes_max
            assert len(commit.header_bytes) <= limits.header_bytes_max
            assert max(part.size for part in commit.header.parts) <= limits.part_bytes_max


def test_a_frontier_too_wide_for_one_header_is_named_by_commits_in_front(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "dependencies_written_max", 2)
    jena, gera = SiteRig("jena"), SiteRig("gera")
    others = [SiteRig(f"site{number}") for number in range(5)]
    for number, other in enumerate(others):
        other.write(patient_of(number))
        jena.pull(other)
    empty = WriteRequest("a", "", "", "", [])
    failing = jena.request(patient_of(11, family_name="x" * 300_000))
    outcomes = jena.write_all([empty, failing, jena.request(patient_of(10)), jena.request(patient_of(12))])
    assert [len(outcome.commits) for outcome in outcomes] == [0, 0, 3, 1]
    commits = outcomes[2].commits
    assert [len(commit.header.dependencies) for commit in commits] == [2, 2, 1]
    assert [len(commit.parts) for commit in commits] == [0, 0, 1]
    assert {log for commit in commits for log, _ in commit.header.dependencies} == {o.engine.log for o in others}
    gera.pull(jena)
    gera.derive()
    assert gera.engine.digest() == jena.engine.digest()
    assert jena.verify(*others) == gera.verify(jena, *others) == []


def test_a_request_that_fails_late_gives_its_places_back() -> None:
    """The second record fails after the first was edited: places, keys and documents are as before."""
    jena, gera = SiteRig("jena"), SiteRig("gera")
    bad = jena.request(patient_of(1), patient_of(2, family_name="x" * 300_000))
    good = jena.request(patient_of(1, given_name="Erika"))
    outcomes = jena.write_all([bad, good])
    assert outcomes[0].error is not None
    assert outcomes[1].commit is not None and outcomes[1].commit.header.sequence == 1
    assert [key.subject for key in outcomes[1].keys] == [record_of(1)]
    assert jena.patient(1).given_name == "Erika" and jena.patient(1).conflicts == {}
    assert jena.store.key_of_subject(record_of(2)) == []
    gera.pull(jena)
    gera.derive()
    assert gera.engine.digest() == jena.engine.digest()


def test_a_sealing_that_fails_gives_its_places_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "parts_written_max", 1)
    jena, gera = SiteRig("jena"), SiteRig("gera")
    sign, calls = jena.sealer.sign, iter([False, True, False, False])
    requests = [jena.request(patient_of(1), patient_of(2)), jena.request(patient_of(3), patient_of(2))]

    def fails_once(message: bytes) -> bytes:
        if next(calls):
            raise ZeroDivisionError
        return sign(message)

    monkeypatch.setattr(jena.sealer, "sign", fails_once)
    outcomes = jena.write_all(requests)
    assert isinstance(outcomes[0].error, ZeroDivisionError)
    assert [commit.header.sequence for commit in outcomes[1].commits] == [1, 2]
    assert jena.engine.record("patient", record_of(1)) is None
    gera.pull(jena)
    gera.derive()
    assert gera.engine.digest() == jena.engine.digest() and jena.verify() == []


def test_another_transaction_of_the_same_site_is_not_overwritten_unseen() -> None:
    """Two desks of one site read the same dosage and both change it: a conflict, not a loss."""
    jena = SiteRig("jena")
    jena.write(patient_of(1, title="a"))
    first, second = jena.patient(1), jena.patient(1)
    first.title, second.title = "b", "c"
    outcomes = jena.write_all([jena.request(first), jena.request(second)])
    assert all(outcome.error is None for outcome in outcomes)
    assert sorted(jena.patient(1).conflicts["title"]) == ["b", "c"]
    [conflict] = jena.store.conflicts()
    assert conflict.record == RecordId(record_of(1))
