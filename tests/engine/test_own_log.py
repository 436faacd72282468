"""What a boot continues: decided at its first commit, and always of this folder's own line (L4)."""

from __future__ import annotations

from dataclasses import replace

from crdtsync.ids import Head, LogId
from crdtsync.replication.boots import Boots
from crdtsync.replication.commit import Commit
from crdtsync.storage.memory import MemoryStore

from .sites import SiteRig, patient_of


def twin_of(rig: SiteRig) -> SiteRig:
    """The same replica over a copy of its disk, as a further process opens it: with a fresh boot."""
    assert isinstance(rig.store, MemoryStore)
    return SiteRig(rig.name, rig.store.copy(), sealer=rig.sealer)


def ends(rig: SiteRig) -> list[LogId]:
    heights = {log: head.sequence for log, head in rig.engine.frontier().items()}
    return Boots(rig.engine.boots(), lambda log: heights.get(log, 0)).tips(rig.replica)


def of(commit: Commit) -> tuple[LogId, Head]:
    return commit.header.log, commit.head


def test_a_disk_that_fetches_its_own_newer_commits_goes_on_from_them() -> None:
    jena = SiteRig("jena")
    jena.write(patient_of(1))
    older = twin_of(jena)
    jena.write(patient_of(2))
    jena.open()
    newest = jena.write(patient_of(3))
    older.pull(jena)
    older.derive()
    assert older.write(patient_of(4)).header.continues == of(newest)
    assert ends(older) == [older.engine.log]


def test_one_that_writes_first_continues_what_it_has_and_branches() -> None:
    jena = SiteRig("jena")
    first = jena.write(patient_of(1))
    older = twin_of(jena)
    jena.write(patient_of(2))
    assert older.write(patient_of(3)).header.continues == of(first)
    older.sync(jena)
    assert ends(older) == ends(jena) == sorted([first.header.log, older.engine.log])
    assert older.engine.digest() == jena.engine.digest()


def test_a_log_that_came_after_opening_is_seen_at_the_first_commit_also_when_it_is_the_first_of_all() -> None:
    """A folder set back to before its first commit: it remembers no log that it wrote."""
    jena = SiteRig("jena")
    empty = twin_of(jena)
    newest = jena.write(patient_of(1))
    empty.pull(jena)
    empty.derive()
    assert empty.engine.line == newest.header.log
    assert empty.write(patient_of(2)).header.continues == of(newest)


def test_each_branch_goes_on_from_its_own_end_however_often_it_starts() -> None:
    jena = SiteRig("jena")
    jena.write(patient_of(1))
    clone = twin_of(jena)
    jena.open()
    ours, theirs = jena.write(patient_of(2)), clone.write(patient_of(3))
    for _ in range(3):
        jena.sync(clone)
        jena.open()
        clone.open()
        jena.open()
        before = ours, theirs
        ours, theirs = jena.write(patient_of(2, given_name="Erika")), clone.write(patient_of(3, given_name="Max"))
        assert (ours.header.continues, theirs.header.continues) == (of(before[0]), of(before[1]))
    jena.sync(clone)
    assert ends(jena) == ends(clone) == sorted([ours.header.log, theirs.header.log])


def test_what_an_admin_has_closed_is_not_continued() -> None:
    """Both branches begin at what this folder wrote last: it goes on from the one that succeeds."""
    jena = SiteRig("jena")
    jena.write(patient_of(1))
    one, two = twin_of(jena), twin_of(jena)
    wins, loses = one.write(patient_of(2)), two.write(patient_of(3))
    jena.pull(one)
    jena.pull(two)
    jena.open()
    jena.derive()
    jena.grant = replace(jena.grant, closed={loses.header.log: loses.head})
    assert jena.write(patient_of(4)).header.continues == of(wins)


def test_the_log_that_is_written_goes_on_after_a_proof_and_its_line_is_known() -> None:
    jena = SiteRig("jena")
    assert jena.engine.line is None
    first = jena.write(patient_of(1))
    jena.reopen()
    assert jena.engine.line == first.header.log
    second = jena.write(patient_of(2))
    assert (second.header.log, second.header.sequence) == (first.header.log, 2) and second.header.continues is None
    jena.open()
    assert jena.engine.line == first.header.log != jena.engine.log, "a boot that wrote nothing is no line"


def test_what_continues_what_is_told_of_every_log() -> None:
    jena, gera = SiteRig("jena"), SiteRig("gera")
    first, other = jena.write(patient_of(1)), gera.write(patient_of(2))
    jena.open()
    second = jena.write(patient_of(3))
    jena.pull(gera)
    assert jena.engine.boots() == {
        first.header.log: None,
        other.header.log: None,
        second.header.log: of(first),
    }
