"""A record's past: every change of it, what it said before and after, and what is not known named as such (L8)."""

from __future__ import annotations

import random
from collections.abc import Iterable

import pytest

from crdtsync import limits
from crdtsync.documents import Content, SetField
from crdtsync.engine.past import APPLIED, HELD, ROTTEN, UNKNOWN, WAITING, Retelling, Step
from crdtsync.ids import CommitId, RecordId, client_id
from crdtsync.practice import Patient
from crdtsync.replication.commit import Change
from crdtsync.replication.stored import KeyObject
from crdtsync.storage.memory import MemoryStore

from .conftest import MakeStore
from .hostile import Member, Pen, Records, deletion, seal
from .sites import SiteRig, patient_of, record_of
from .test_histories import RECORDS, STEPS, step


def past(site: SiteRig, number: int = 1) -> list[Step]:
    return site.engine.past("patient", record_of(number))


def told(steps: Iterable[Step]) -> list[tuple[object, ...]]:
    """What every site tells alike."""
    return [(each.commit, each.state, each.before, each.after, each.slots, each.texts) for each in steps]


def title_of(content: Content | None) -> list[str]:
    assert content is not None
    return [raw for slot, raw in content.slots.items() if slot.startswith("title/")]


def retitle(site: SiteRig, number: int, title: str) -> None:
    site.derive()
    if site.engine.needs_boot:
        site.engine.open_boot()
    patient = site.patient(number)
    patient.title = title
    site.write(patient)


def agrees(site: SiteRig, number: int = 1) -> None:
    """The past ends with what the view shows now."""
    site.derive()
    state = site.engine.record("patient", record_of(number))
    arrivals = site.engine.arrivals_of("patient", record_of(number))
    retelling = Retelling(record_of(number), site.engine.told("patient", record_of(number), arrivals))
    steps = list(retelling.steps())
    if state is None:
        assert not [each for each in steps if each.state == APPLIED]
        return
    stored = site.store.document("patient", record_of(number))
    assert stored is not None
    assert retelling.document.content() == state.content
    assert retelling.document.fingerprint("patient", record_of(number)) == stored.fingerprint
    before = Content({}, {})
    for each in steps:
        if each.state == APPLIED:
            assert each.before == before and each.after is not None
            before = each.after


def test_each_change_with_what_stood_before_and_after(make_store: MakeStore) -> None:
    jena = SiteRig("jena", make_store())
    jena.write(patient_of(1), patient_of(2))
    retitle(jena, 1, "Dr.")
    retitle(jena, 2, "Prof.")
    patient = jena.patient(1)
    patient.note.insert(0, "hello")
    jena.write(patient, author="dr.klein")
    first, second, third = past(jena)
    assert first.before == Content({}, {}) and first.fields == ("family_name",)
    assert title_of(second.before) == [] and len(title_of(second.after)) == 1 and second.fields == ("title",)
    assert third.slots == () and third.texts == ("note",) and third.fields == ("note",)
    assert third.after is not None and third.after.texts == {"note": "hello"}
    assert third.account is not None and third.account.author == "dr.klein"
    assert [each.state for each in past(jena)] == [APPLIED] * 3
    assert [each.told.arrival for each in past(jena)] == [1, 2, 4]
    agrees(jena)


def test_nothing_is_told_of_what_is_not_here() -> None:
    jena = SiteRig("jena")
    jena.write(patient_of(1))
    assert past(jena, 2) == []
    assert jena.engine.past("task", record_of(1)) == []


def test_the_same_at_every_site_in_whatever_order_commits_came(make_store: MakeStore) -> None:
    jena, gera, suhl = SiteRig("jena", make_store()), SiteRig("gera", make_store()), SiteRig("suhl")
    jena.write(patient_of(1))
    gera.pull(jena)
    gera.now_ms -= 10_000_000  # its clock is hours behind; its stamps follow what it has seen
    retitle(jena, 1, "Dr.")
    retitle(gera, 1, "Prof.")
    suhl.pull(gera)
    retitle(suhl, 1, "decided")
    for _ in range(2):
        jena.sync(gera)
        gera.sync(suhl)
    assert told(past(jena)) == told(past(gera)) == told(past(suhl))
    assert len(past(jena)) == 4
    orders = [[each.told.arrival for each in past(site)] for site in (jena, gera, suhl)]
    assert len({tuple(order) for order in orders}) > 1, "they came in different orders"


def test_a_change_stands_behind_what_it_builds_on_also_when_clocks_say_otherwise() -> None:
    """A clock that is days ahead is not adopted: what followed it has earlier stamps."""
    jena, gera = SiteRig("jena"), SiteRig("gera")
    jena.now_ms += 10 * limits.clock_ahead_ms_max
    jena.write(patient_of(1))
    gera.pull(jena)
    gera.derive()
    retitle(gera, 1, "later, and overwritten by nothing")
    patient = gera.patient(1)
    patient.family_name = "Married"
    gera.write(patient)
    jena.pull(gera)
    stamps = [each.told.order[0] for each in past(gera)]
    assert stamps != sorted(stamps)
    assert [each.state for each in past(gera)] == [APPLIED] * 3
    assert told(past(jena)) == told(past(gera))
    agrees(gera)


@pytest.mark.parametrize("seed", range(12))
def test_random_histories_end_with_what_is_shown(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Edits, exchange, crashes, boots, keys that come late, rebuilt views; fragments in every other history."""
    rng = random.Random(seed)
    if seed % 2:
        monkeypatch.setattr(limits, "commit_bytes_target", 900)
    sites = [SiteRig(f"{name}-{seed}", MemoryStore()) for name in ("jena", "weimar", "gera")]
    missing: dict[str, list[KeyObject]] = {site.name: [] for site in sites}
    for number in range(STEPS):
        step(rng, sites, missing)
        if number % 10 == 9:
            for site in sites:
                for record in range(RECORDS):
                    agrees(site, record)
    for _ in range(3):
        for site in sites:
            for other in sites:
                if site is not other:
                    site.pull(other)
                    ids = [ref.key for s in other.store.arrivals(0, 10**6, 10**9) for ref in s.commit.header.parts]
                    site.engine.put_keys(other.engine.read_keys(ids))
            site.derive()
            site.engine.derive_waiting(site.now())
            site.derive()
    for record in range(RECORDS):
        first = told(past(sites[0], record))
        assert all(told(past(site, record)) == first for site in sites)
        assert all(each.state == APPLIED for each in past(sites[0], record))
        for site in sites:
            agrees(site, record)
    before = [told(past(site, record)) for site in sites for record in range(RECORDS)]
    for site in sites:
        site.engine.rebuild(site.now())
    assert [told(past(site, record)) for site in sites for record in range(RECORDS)] == before


def test_what_waits_for_a_key_is_named(make_store: MakeStore) -> None:
    jena, gera = SiteRig("jena"), SiteRig("gera", make_store())
    jena.write(patient_of(1))
    retitle(jena, 1, "Dr.")
    gera.pull(jena, keys=False)
    gera.derive()
    assert past(gera) == [], "nobody here can say whose they are"
    ids = [ref.key for stored in gera.store.arrivals(0, 9, 10**9) for ref in stored.commit.header.parts]
    gera.engine.put_keys(jena.engine.read_keys(ids))
    gera.engine.derive_waiting(gera.now())
    assert told(past(gera)) == told(past(jena))


def test_an_epoch_that_is_not_here_leaves_a_named_gap(make_store: MakeStore) -> None:
    later = b"f" * 32
    jena, gera = SiteRig("jena"), SiteRig("gera", make_store())
    jena.write(patient_of(1))
    jena.learn(later)
    jena.grant = type(jena.grant)((), jena.keyring.learn(later))
    retitle(jena, 1, "Dr.")
    gera.pull(jena)
    gera.derive()
    assert [(each.state, each.after is None) for each in past(gera)] == [(APPLIED, False), (WAITING, True)]
    account = past(gera)[1].account
    assert account is not None and account.wall_ms is None
    gera.learn(later)
    gera.engine.derive_waiting(gera.now())
    gera.derive()
    assert told(past(gera)) == told(past(jena))


def test_a_rotten_commit_is_named_and_what_follows_it_is_not_guessed() -> None:
    store = MemoryStore()
    jena = SiteRig("jena", store)
    first = jena.write(patient_of(1))
    retitle(jena, 1, "Dr.")
    retitle(jena, 1, "Prof.")
    whole = past(jena)
    store.rot(2)
    steps = past(jena)
    assert [each.commit for each in steps] == [each.commit for each in whole]
    assert [each.state for each in steps] == [APPLIED, ROTTEN, UNKNOWN]
    assert steps[1].account is None and steps[2].before is None and steps[2].after is None
    assert steps[2].account is not None and steps[2].account.author == "dr.weber"
    assert first.id == steps[0].commit
    assert whole[0].told.arrived_ms <= steps[1].told.arrived_ms <= whole[1].told.arrived_ms
    assert len(jena.engine.upkeep.rotten) == 1


def test_held_changes_and_what_goes_with_them_are_named() -> None:
    signed: Records = {}
    mallory, jena = Member("mallory", signed), Member("jena", signed)
    mallory.write(patient_of(1))
    jena.pull(mallory)
    assert mallory.engine.log is not None
    poison = Change("patient", record_of(1), deletion(client_id(mallory.engine.log, record_of(1)), 50, 1))
    good = Pen(mallory).delta(record_of(1), [SetField("title", "x", {})])
    bad, after = seal(
        mallory,
        (record_of(1), [poison]),
    ) + seal(mallory, (record_of(1), [Change("patient", record_of(1), good)]))
    jena.pull(mallory)
    jena.derive()
    retitle(jena, 1, "entered anew")
    mallory.pull(jena)
    mallory.derive()
    steps = past(jena)
    assert [(each.commit, each.state) for each in steps[1:3]] == [(bad.id, HELD), (after.id, HELD)]
    assert all(each.why and each.before is None for each in steps[1:3])
    assert steps[3].state == APPLIED
    assert told(past(mallory)) == told(steps)
    agrees(jena)


def test_what_is_held_only_later_is_left_out_of_the_past_too() -> None:
    signed: Records = {}
    mallory, jena = Member("mallory", signed), Member("jena", signed)
    mallory.write(patient_of(1))
    bad = mallory.write(_titled(mallory, "wrong"))
    jena.pull(mallory)
    jena.derive()
    assert [each.state for each in past(jena)] == [APPLIED, APPLIED]
    jena.hold(bad.id, bad.hash, "form")
    jena.derive()
    assert [each.state for each in past(jena)] == [APPLIED, HELD]
    agrees(jena)


def _titled(site: SiteRig, title: str) -> Patient:
    patient = site.patient(1)
    patient.title = title
    return patient


def test_a_log_that_ends_in_a_fork_is_told_up_to_there(make_store: MakeStore) -> None:
    jena = SiteRig("jena", make_store())
    first = jena.write(patient_of(1))
    retitle(jena, 1, "Dr.")
    assert jena.engine.log is not None
    jena.engine.honour({}, {jena.engine.log: first.head}, None)
    assert [each.state for each in past(jena)] == [APPLIED, HELD]
    assert "fork" in past(jena)[1].why
    agrees(jena)


def test_the_boots_of_one_site_are_one_past(make_store: MakeStore) -> None:
    jena = SiteRig("jena", make_store())
    jena.write(patient_of(1))
    jena.open()
    retitle(jena, 1, "Dr.")
    jena.reopen()
    retitle(jena, 1, "Prof.")
    assert len({each.commit.log for each in past(jena)}) == 2
    assert [each.fields for each in past(jena)] == [("family_name",), ("title",), ("title",)]
    agrees(jena)


# --- what somebody did between two times --------------------------------------------------------------------------


def did(rig: SiteRig, /, **what: object) -> list[tuple[str, list[RecordId]]]:
    found, after = [], None
    while True:
        page = rig.engine.commits_by(**what, after=after, looked_max=3)  # type: ignore[arg-type]
        found += page.found
        after = page.next
        if after is None:
            return [(each.account.author, [record for _, record in each.records]) for each in found]


def test_what_an_author_and_what_a_site_did_between_two_times(make_store: MakeStore) -> None:
    jena, gera = SiteRig("jena", make_store()), SiteRig("gera", make_store())
    times = []
    for number in range(1, 9):
        site = (jena, gera)[number % 2]
        site.now_ms = max(jena.now_ms, gera.now_ms)
        times.append(site.now_ms + 1)
        site.write(patient_of(number), author=("dr.klein", "dr.weber", "dr.gross")[number % 3])
        if number == 5:
            jena.open()
    jena.sync(gera)
    for site in (jena, gera):
        everything = did(site)
        assert [records for _, records in everything] == [[record_of(number)] for number in range(1, 9)]
        assert did(site, author="dr.weber") == [("dr.weber", [record_of(number)]) for number in (1, 4, 7)]
        assert did(site, site=jena.replica) == [entry for entry in everything if entry in everything[1::2]]
        assert did(site, since_ms=times[2], until_ms=times[5]) == everything[2:5]
        assert did(site, site=gera.replica, since_ms=times[1], until_ms=times[4]) == [everything[2]]
        assert did(site, author="dr.klein", site=gera.replica) == [everything[2]]
        assert did(site, since_ms=times[7] + 1) == [] == did(site, until_ms=times[0])


def test_only_commits_of_the_time_that_was_asked_for_are_read(monkeypatch: pytest.MonkeyPatch) -> None:
    store = MemoryStore()
    jena = SiteRig("jena", store)
    for number in range(200):
        jena.write(patient_of(number))
    read: list[int] = []
    commit = MemoryStore.commit
    monkeypatch.setattr(MemoryStore, "commit", lambda self, log, at: (read.append(at), commit(self, log, at))[1])
    start = jena.now_ms - 10
    assert len(did(jena, since_ms=start, until_ms=start + 5)) == 5
    assert len(read) < 60


def test_a_rotten_commit_among_them_is_passed_over_and_noted() -> None:
    store = MemoryStore()
    jena = SiteRig("jena", store)
    for number in range(1, 6):
        jena.write(patient_of(number))
    store.rot(3)
    assert [records for _, records in did(jena)] == [[record_of(number)] for number in (1, 2, 4, 5)]
    assert len(jena.engine.upkeep.rotten) == 1


def test_pasts_of_several_records_are_what_each_tells_alone(
    make_store: MakeStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also with fewer commits in hand than they were changed by."""
    jena, gera = SiteRig("jena", make_store()), SiteRig("gera", make_store())
    numbers = range(1, 9)
    jena.write(*(patient_of(number) for number in numbers))
    gera.sync(jena)
    for turn, number in enumerate((2, 5, 5, 7)):
        retitle(gera, number, f"Dr. {turn}")
        retitle(jena, number, f"Prof. {turn}")
    gera.sync(jena)
    places = [("patient", record_of(number)) for number in [*numbers, 77]]
    alone = [jena.engine.past(*place) for place in places]
    assert [len(steps) for steps in alone] == [1, 3, 1, 1, 5, 1, 3, 1, 0]
    assert list(jena.engine.pasts(places)) == alone
    monkeypatch.setattr(limits, "commits_opened_max", 1)
    assert list(jena.engine.pasts(places)) == alone


def test_a_transaction_is_found_by_any_of_its_fragments(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "parts_written_max", 2)
    jena = SiteRig("jena")
    last = jena.write(*(patient_of(number) for number in range(1, 6)))
    single = jena.write(patient_of(9))
    deeds = jena.engine.transaction_of(last.id)
    assert [len(deed.records) for deed in deeds] == [2, 2, 1] and deeds[2].commit == last.id
    assert jena.engine.transaction_of(deeds[0].commit) == deeds
    assert [deed.records for deed in jena.engine.transaction_of(single.id)] == [(("patient", record_of(9)),)]
    assert jena.engine.transaction_of(CommitId(last.header.log, 99)) == []
