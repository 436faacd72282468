"""The end of the own log: what commits name, in order, once each (L2, L3, L4)."""

from __future__ import annotations

import pytest

from crdtsync import limits
from crdtsync.clock import HybridClock
from crdtsync.ids import BootId, CommitHash, Head, LogId, MemberHash, PracticeId, ReplicaId, log_id
from crdtsync.replication.commit import NO_HASH, Commit, Header, decode_header, encode_header, header_hash
from crdtsync.replication.writer import Draft, LogWriter

PRACTICE = PracticeId(b"p" * 16)
OWN = log_id(ReplicaId(b"o" * 16), BootId(b"1" * 8))
NOW = 1_700_000_000_000


def log_of(number: int) -> LogId:
    return log_id(ReplicaId(number.to_bytes(16, "big")), BootId(bytes(8)))


def head_of(sequence: int) -> Head:
    return Head(sequence, CommitHash(sequence.to_bytes(32, "big")))


def writer_of(moved: dict[LogId, Head], **more: object) -> LogWriter:
    return LogWriter(PRACTICE, OWN, HybridClock(), **({"head": None, "moved": moved} | more))  # type: ignore[arg-type]


def signed(header: Header) -> Commit:
    data = encode_header(header)
    return Commit(header, data, (), bytes(64), header_hash(data))


def write(draft: Draft, ahead: int = 0) -> Commit:
    commit = signed(draft.build(draft.place(ahead, NOW), (MemberHash(b"m" * 32),), ()))
    draft.add(commit)
    return commit


def test_the_first_commit_of_a_boot_names_the_whole_frontier_and_what_it_continues() -> None:
    moved = {log_of(2): head_of(5), log_of(1): head_of(3), OWN: head_of(9)}
    continues = (log_of(7), head_of(4))
    header = write(writer_of(moved, continues=continues).draft()).header
    assert header.dependencies == ((log_of(1), head_of(3)), (log_of(2), head_of(5))), "sorted, and not the own log"
    assert header.continues == continues
    assert (header.sequence, header.previous) == (1, NO_HASH)
    assert decode_header(encode_header(header)) == header


def test_the_next_commit_names_only_what_moved_and_follows_in_the_chain() -> None:
    writer = writer_of({log_of(1): head_of(3), log_of(2): head_of(5)}, continues=(log_of(7), head_of(4)))
    draft = writer.draft()
    first = write(draft)
    second = write(draft)
    writer.accept(draft)
    writer.saw(log_of(2), head_of(6))
    writer.saw(OWN, head_of(99))
    third = write(writer.draft())
    assert second.header.dependencies == ()
    assert second.header.previous == first.hash
    assert second.header.continues is None
    assert third.header.dependencies == ((log_of(2), head_of(6)),)
    assert (third.header.sequence, third.header.previous) == (3, second.hash)
    stamps = [commit.header.stamp for commit in (first, second, third)]
    assert stamps == sorted(set(stamps))


def test_a_draft_that_is_dropped_never_was() -> None:
    writer = writer_of({log_of(1): head_of(3)})
    write(writer.draft())
    assert writer.head.sequence == 0
    again = write(writer.draft())
    assert again.header.sequence == 1
    assert again.header.dependencies == ((log_of(1), head_of(3)),)


def test_accepting_an_empty_draft_forgets_nothing() -> None:
    writer = writer_of({log_of(1): head_of(3)}, continues=(log_of(7), head_of(4)))
    writer.accept(writer.draft())
    header = write(writer.draft()).header
    assert header.dependencies and header.continues


def test_going_back_frees_the_places_and_names_again() -> None:
    writer = writer_of({log_of(1): head_of(3)})
    draft = writer.draft()
    mark = draft.mark()
    write(draft)
    draft.back_to(mark)
    commit = write(draft)
    assert commit.header.sequence == 1
    assert commit.header.dependencies == ((log_of(1), head_of(3)),)


def test_a_frontier_that_is_too_wide_takes_commits_in_front(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "dependencies_written_max", 10)
    writer = writer_of({log_of(number): head_of(1) for number in range(25)})
    draft = writer.draft()
    assert draft.prefaces == 2
    commits = [write(draft) for _ in range(3)]
    assert draft.prefaces == 0
    named = [log for commit in commits for log, _ in commit.header.dependencies]
    assert named == [log_of(number) for number in range(25)]
    assert max(len(commit.header.dependencies) for commit in commits) == 10


def test_the_widest_header_of_ours_is_one_that_readers_take() -> None:
    writer = writer_of({log_of(number): head_of(2**50) for number in range(limits.dependencies_written_max)})
    header = write(writer.draft()).header
    part_bytes = 16 + 16 + 32 + 20
    assert len(encode_header(header)) + limits.parts_written_max * part_bytes < limits.header_bytes_max


def test_a_place_is_used_where_it_was_meant() -> None:
    draft = writer_of({}).draft()
    with pytest.raises(ValueError, match="commit 1 is next"):
        draft.build(draft.place(1, NOW), (), ())


def test_a_log_that_is_continued_names_nothing_that_it_continues() -> None:
    writer = writer_of({}, head=head_of(8), continues=(log_of(7), head_of(4)))
    header = write(writer.draft()).header
    assert (header.sequence, header.previous, header.continues) == (9, head_of(8).hash, None)
