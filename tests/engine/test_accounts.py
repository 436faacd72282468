"""Who wrote a commit, when, where and why."""

from __future__ import annotations

from crdtsync.ids import CommitId
from crdtsync.storage.memory import MemoryStore

from .conftest import MakeStore
from .sites import START_MS, SiteRig, forge, patient_of, record_of


def test_a_commit_is_accounted_for_at_every_site(make_store: MakeStore) -> None:
    jena, gera = SiteRig("jena", make_store()), SiteRig("gera", make_store())
    gera.now_ms += 60_000
    first, second = jena.write(patient_of(1)), jena.write(patient_of(2), author="dr.klein")
    jena.sync(gera)
    here, there = (site.engine.accounts([first.id, second.id, first.id]) for site in (jena, gera))
    assert list(here) == list(there) == [first.id, second.id]
    account = here[first.id]
    assert (account.author, account.reason, account.workstation, account.purpose) == (
        "dr.weber",
        "visit",
        "desk-1",
        "care",
    )
    assert account.wall_ms == START_MS + 1
    assert account.stamp == first.header.stamp
    assert here[second.id].author == "dr.klein"
    assert (account.arrival, account.arrived_ms) == (1, START_MS + 1)
    assert there[first.id].wall_ms == START_MS + 1
    assert there[first.id].arrived_ms == START_MS + 60_001


def test_one_that_is_not_here_is_left_out() -> None:
    jena = SiteRig("jena")
    commit = jena.write(patient_of(1))
    assert jena.engine.accounts([CommitId(commit.header.log, 2)]) == {}


def test_one_that_cannot_be_read_has_times_and_no_words() -> None:
    jena, gera = SiteRig("jena"), SiteRig("gera")
    commit = jena.write(patient_of(1))
    gera.pull(jena, keys=False)
    gera.derive()
    account = gera.engine.accounts([commit.id])[commit.id]
    assert (account.author, account.wall_ms, account.stamp) == ("", None, commit.header.stamp)
    broken = forge(jena, record_of(2), sealed=b"no seal at all")
    assert jena.engine.accounts([broken.id])[broken.id].wall_ms is None


def test_a_rotten_one_is_left_out_and_noted() -> None:
    store = MemoryStore()
    jena = SiteRig("jena", store)
    first, second = jena.write(patient_of(1)), jena.write(patient_of(2))
    store.rot(1)
    assert list(jena.engine.accounts([first.id, second.id])) == [second.id]
    assert jena.engine.upkeep.rotten == [first.id]
