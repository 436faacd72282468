"""Verifying finds what was changed behind the engine's back, and says which commit or record (L3, L5, L8)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from crdtsync import limits
from crdtsync.ids import CommitHash, Head, base32, commit_text
from crdtsync.practice import Task
from crdtsync.replication.commit import Change, Commit, encode_header, header_hash, signed_bytes
from crdtsync.replication.stored import next_head
from crdtsync.storage.memory import MemoryStore

from .conftest import MakeStore
from .sites import SiteRig, forge, keys_of, patient_of, record_of


def practice() -> tuple[SiteRig, MemoryStore, SiteRig]:
    """Jena with its store, after some exchange with Gera."""
    store = MemoryStore()
    jena, gera = SiteRig("jena", store), SiteRig("gera")
    for number in range(4):
        jena.write(patient_of(number))
    gera.pull(jena)
    patient = gera_patient = gera.patient(1)
    gera_patient.title = "Dr."
    gera.write(patient)
    jena.sync(gera)
    jena.write(patient_of(5))
    return jena, store, gera


def tamper(store: MemoryStore, arrival: int, change: Callable[[Commit], Commit]) -> None:
    """Put another commit in the place of one, hash chain of arrivals included."""
    stored = store._arrivals[arrival - 1]
    changed = replace(stored, commit=change(stored.commit))
    store._arrivals[arrival - 1] = changed
    run = store._logs[stored.commit.header.log]
    run[stored.commit.header.sequence - 1] = changed
    for at in range(arrival, len(store._heads)):
        store._heads[at] = next_head(store._heads[at - 1], store._arrivals[at - 1].commit)


def headed(commit: Commit, **fields: object) -> Commit:
    header = replace(commit.header, **fields)  # type: ignore[arg-type]
    data = encode_header(header)
    return replace(commit, header=header, header_bytes=data, hash=header_hash(data))


def test_a_whole_replica_has_no_problems_and_reports_progress(make_store: MakeStore) -> None:
    jena, gera = SiteRig("jena", make_store()), SiteRig("gera", make_store())
    for number in range(5):
        jena.write(patient_of(number))
    gera.pull(jena, checked=False)
    gera.write(patient_of(9))
    steps: list[tuple[int, int]] = []
    result = gera.engine.verify(lambda done, total: steps.append((done, total)), keys_of(jena, gera))
    assert (result.commits, result.records, result.problems) == (6, 6, [])
    assert steps == sorted(steps) and steps[-1] == (12, 12)


def test_an_empty_replica_is_whole() -> None:
    assert SiteRig("jena").verify() == []


def test_signatures_are_checked_at_the_end_of_each_log_and_where_they_were_checked_before() -> None:
    jena, store, gera = practice()
    forged = bytes(64)
    tamper(store, 2, lambda commit: replace(commit, signature=forged))
    [problem] = jena.verify(gera)
    assert "signature" in problem and ":2 " in problem


def test_an_author_whom_the_practice_does_not_know() -> None:
    jena, _, gera = practice()
    [problem] = jena.verify()
    assert "does not know" in problem and base32(gera.replica) in problem


def test_an_unchecked_signature_in_the_middle_of_a_run_is_covered_by_the_last() -> None:
    jena, gera = SiteRig("jena"), SiteRig("gera", store := MemoryStore())
    for number in range(3):
        jena.write(patient_of(number))
    gera.pull(jena)
    gera.derive()
    tamper(store, 2, lambda commit: replace(commit, signature=bytes(64)))
    assert gera.verify(jena) == []
    tamper(store, 3, lambda commit: replace(commit, signature=bytes(64)))
    assert len(gera.verify(jena)) == 1


def test_a_chain_that_is_broken() -> None:
    jena, store, gera = practice()
    tamper(store, 3, lambda commit: headed(commit, previous=CommitHash(b"x" * 32)))
    problems = jena.verify(gera)
    assert any("not chained" in problem for problem in problems)


def test_a_hash_that_is_not_the_commits_own() -> None:
    jena, store, gera = practice()
    tamper(store, 3, lambda commit: replace(commit, hash=CommitHash(b"x" * 32)))
    assert any("a hash that is not its own" in problem for problem in jena.verify(gera))


def test_a_gap_in_a_log() -> None:
    jena, store, gera = practice()
    tamper(store, 3, lambda commit: headed(commit, sequence=7))
    assert any("a gap" in problem for problem in jena.verify(gera))


def test_a_commit_that_came_before_what_it_depends_on() -> None:
    jena, store, gera = practice()
    assert jena.engine.log is not None
    at = next(s.arrival for s in store._arrivals if s.commit.header.log == gera.engine.log)

    def ahead(commit: Commit) -> Commit:
        [(log, head)] = commit.header.dependencies
        return headed(commit, dependencies=((log, Head(head.sequence + 1, head.hash)),))

    tamper(store, at, ahead)
    assert any("before a commit that it depends on" in problem for problem in jena.verify(gera))


def test_a_dependency_on_another_commit_of_that_name() -> None:
    jena, store, gera = practice()
    at = next(s.arrival for s in store._arrivals if s.commit.header.log == gera.engine.log)

    def other(commit: Commit) -> Commit:
        [(log, head)] = commit.header.dependencies
        return headed(commit, dependencies=((log, Head(head.sequence, CommitHash(b"x" * 32))),))

    tamper(store, at, other)
    assert any("another commit" in problem for problem in jena.verify(gera))


def test_a_part_that_was_changed() -> None:
    jena, store, gera = practice()
    tamper(store, 1, lambda commit: replace(commit, parts=(commit.parts[0][:-1] + b"?",)))
    problems = jena.verify(gera)
    assert any("part whose bytes" in problem for problem in problems)
    assert any("does not open" in problem for problem in problems)


def test_a_key_object_under_an_id_that_is_not_its_own() -> None:
    jena, store, gera = practice()
    ref = store._arrivals[0].commit.header.parts[0]
    store._keys[ref.key] = replace(store._keys[ref.key], subject=record_of(77))
    jena.reopen()
    assert any("data key" in problem for problem in jena.verify(gera))


def test_a_key_that_is_gone_is_not_the_same_as_one_that_is_awaited() -> None:
    jena, store, gera = practice()
    store.erase_keys([store._arrivals[0].commit.header.parts[0].key])
    jena.reopen()
    problems = jena.verify(gera)
    assert any("key is not here" in problem for problem in problems)


@pytest.mark.parametrize("shares", [1, 3])
def test_a_view_that_does_not_follow_from_the_log(monkeypatch: pytest.MonkeyPatch, shares: int) -> None:
    monkeypatch.setattr(limits, "verified_documents_max", 6 if shares == 1 else 2)
    jena, store, gera = practice()
    assert jena.verify(gera) == []
    entry = store._entries["patient", record_of(1)]
    other = store._entries["patient", record_of(2)].document
    swapped = replace(entry.document, state=other.state)
    store._entries["patient", record_of(1)] = replace(entry, document=swapped)
    [problem] = jena.verify(gera)
    assert record_of(1) in problem and "document" in problem
    store._entries["patient", record_of(1)] = replace(entry, document=replace(entry.document, state=b"\xff" * 8))
    assert len(jena.verify(gera)) == 1
    forged = replace(entry.document, fingerprint=other.fingerprint)
    store._entries["patient", record_of(1)] = replace(entry, document=forged)
    [problem] = jena.verify(gera)
    assert record_of(1) in problem
    del store._entries["patient", record_of(1)]
    store._sorted = None
    problems = jena.verify(gera)
    assert len(problems) == 2 and record_of(1) in problems[0] and "4 documents" in problems[1]
    store._entries["patient", record_of(1)] = entry
    store._entries["patient", record_of(66)] = entry
    store._sorted = None
    assert len(jena.verify(gera)) == 1
    del store._entries["patient", record_of(66)]
    store._sorted = None
    store._state = replace(store._state, digest=bytes(32), records=9)
    assert len(jena.verify(gera)) == 3
    jena.engine.rebuild(jena.now())
    assert jena.verify(gera) == []


def test_an_index_of_histories_that_lacks_a_commit() -> None:
    jena, store, gera = practice()
    place, arrivals = next(iter(store._touches.items()))
    store._touches[place] = arrivals[:-1]
    [problem] = jena.verify(gera)
    assert "does not know all commits" in problem and place[1] in problem
    jena.engine.rebuild(jena.now())
    assert jena.verify(gera) == []


def test_what_is_held_is_no_problem_of_log_or_view() -> None:
    jena = SiteRig("jena")
    jena.write(patient_of(1))
    poison = forge(jena, record_of(1), Change("patient", record_of(1), b"poison"), Change("task", record_of(7), b"?"))
    jena.derive()
    jena.engine.open_boot()
    task = Task(title="x")
    task.id = record_of(2)
    jena.write(task)
    assert jena.verify() == []
    jena.engine._deriving.holds.found.clear()
    assert any(commit_text(poison.id) in problem and "is not held" in problem for problem in jena.verify())


def test_a_log_that_is_ahead_of_its_view_is_no_problem() -> None:
    jena, gera = SiteRig("jena"), SiteRig("gera")
    for number in range(4):
        jena.write(patient_of(number))
    gera.pull(jena)
    gera.engine.derive(gera.now(), 2)
    assert gera.verify(jena) == []


def test_signed_bytes_are_what_is_verified() -> None:
    """A signature over something else of the same author does not do."""
    jena, store, gera = practice()
    other = jena.sealer.sign(signed_bytes(CommitHash(b"o" * 32)))
    tamper(store, 1, lambda commit: replace(commit, signature=other))
    assert len(jena.verify(gera)) == 1
