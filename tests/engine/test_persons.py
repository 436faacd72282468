"""Which patients are one person: what is kept link by link is what all links say at once, at every site (L5)."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import cast

import pytest

from crdtsync.documents import Document, EditEntry
from crdtsync.ids import RecordId, client_id, log_tag
from crdtsync.practice import Patient
from crdtsync.replication.commit import Change
from crdtsync.storage.base import Store
from crdtsync.storage.memory import MemoryStore
from crdtsync.storage.sqlite import SqliteStore

from .conftest import MakeStore
from .sites import SiteRig, forge, keys_of, patient_of, record_of

ALL = [record_of(number) for number in range(12)]


def link(site: SiteRig, one: int, *others: int) -> None:
    """The record of patient `one` says that it is the same as these."""
    patient = site.patient(one)
    for other in others:
        patient.same_as.add(record_of(other))
    site.write(patient)


def unlink(site: SiteRig, one: int, other: int) -> None:
    patient = site.patient(one)
    patient.same_as.remove(record_of(other))
    site.write(patient)


def persons(store: Store) -> dict[RecordId, RecordId]:
    """What the view keeps of linked patients, checked against the view that questions ask."""
    found = store.persons(ALL)
    if isinstance(store, SqliteStore):
        asked = dict(store._view.execute("SELECT patient, person FROM person"))
        assert {patient: found.get(patient, patient) for patient in asked} == asked
        assert set(asked) == {each.record for each in store.documents("patient", ("", ""), 99)}
    return found


def recomputed(site: SiteRig) -> dict[RecordId, RecordId]:
    """The same from all records at once: sets that are joined until nothing joins any more."""
    here = [stored.record for stored in site.store.documents("patient", ("", ""), 10**6)]
    sets = [{record} for record in ALL]
    for record in here:
        for other in cast("Patient", site.get("patient", record)).same_as:
            both = [each for each in sets if record in each or other in each]
            sets = [each for each in sets if each not in both] + [set().union(*both)]
    groups = [[record for record in sorted(each) if record in here] for each in sets]
    return {record: group[0] for group in groups if len(group) > 1 for record in group}


def one_person(*numbers: int) -> dict[RecordId, RecordId]:
    """These patients are one, and its id is the least of theirs."""
    ids = [record_of(number) for number in numbers]
    return dict.fromkeys(ids, min(ids))


@pytest.fixture
def site(make_store: MakeStore) -> SiteRig:
    """A site with six patients."""
    made = SiteRig("one", make_store())
    made.write(*(patient_of(number) for number in range(6)))
    return made


def test_a_link_makes_two_patients_one_person_and_taking_it_back_two(site: SiteRig) -> None:
    before = site.engine.digest()
    assert persons(site.store) == {} and not site.store.has_links()
    link(site, 3, 1)
    assert persons(site.store) == one_person(1, 3)
    patient = site.patient(1)
    patient.given_name = "Erika"
    site.write(patient)
    assert persons(site.store) == one_person(1, 3), "what else changes of them does not matter"
    unlink(site, 3, 1)
    assert persons(site.store) == {} and not site.store.has_links()
    patient.given_name = None
    assert before != site.engine.digest() and site.verify() == []


def test_links_hold_through_third_records_and_around_circles(site: SiteRig) -> None:
    link(site, 1, 2)
    link(site, 4, 5)
    assert persons(site.store) == one_person(1, 2) | one_person(4, 5)
    link(site, 5, 2)
    assert persons(site.store) == one_person(1, 2, 4, 5)
    link(site, 2, 4)
    unlink(site, 5, 2)
    assert persons(site.store) == one_person(1, 2, 4, 5), "there was another way around"
    unlink(site, 2, 4)
    assert persons(site.store) == one_person(1, 2) | one_person(4, 5)


def test_both_records_may_say_it_and_a_record_may_name_itself(site: SiteRig) -> None:
    link(site, 1, 1)
    assert persons(site.store) == {}
    link(site, 1, 2)
    link(site, 2, 1)
    unlink(site, 1, 2)
    assert persons(site.store) == one_person(1, 2), "the other one says it still"
    unlink(site, 2, 1)
    assert persons(site.store) == {}


def test_a_record_that_is_not_here_joins_those_that_name_it(site: SiteRig) -> None:
    """It may come any time, and the person's id is always that of a patient who is here."""
    link(site, 5, 9)
    assert persons(site.store) == {}
    link(site, 4, 9)
    assert persons(site.store) == one_person(4, 5)
    site.write(patient_of(9, family_name="late"))
    assert persons(site.store) == one_person(4, 5, 9)
    link(site, 3, 7)
    site.write(patient_of(7))
    assert persons(site.store) == one_person(4, 5, 9) | one_person(3, 7)


def test_one_transaction_may_link_and_unlink_many(site: SiteRig) -> None:
    patients = [site.patient(number) for number in range(6)]
    for patient in patients[1:]:
        patient.same_as.add(patients[0].id)
    site.write(*patients)
    assert persons(site.store) == one_person(0, 1, 2, 3, 4, 5)
    patients = [site.patient(number) for number in range(6)]
    for patient in patients[1:4]:
        patient.same_as.remove(patients[0].id)
    patients[1].same_as.add(patients[2].id)
    site.write(*patients)
    assert persons(site.store) == one_person(0, 4, 5) | one_person(1, 2)


def test_a_link_beside_its_removal_stays(make_store: MakeStore) -> None:
    """Taking back needs to have seen it: who linked unseen is not overruled (RECORDS: `entries`)."""
    jena, gera = SiteRig("jena"), SiteRig("gera", make_store())
    jena.write(patient_of(1), patient_of(2))
    gera.pull(jena)
    gera.derive()
    link(jena, 1, 2)
    link(gera, 1, 2)
    unlink(gera, 1, 2)
    jena.sync(gera)
    assert persons(jena.store) == persons(gera.store) == one_person(1, 2)
    unlink(gera, 1, 2)
    jena.sync(gera)
    assert persons(jena.store) == persons(gera.store) == {}


def test_links_that_two_sites_make_unseen_join(make_store: MakeStore) -> None:
    jena, gera = SiteRig("jena"), SiteRig("gera", make_store())
    jena.write(*(patient_of(number) for number in range(5)))
    gera.pull(jena)
    gera.derive()
    link(jena, 1, 2)
    link(jena, 3, 4)
    link(gera, 2, 3)
    jena.sync(gera)
    assert persons(jena.store) == persons(gera.store) == one_person(1, 2, 3, 4)


def test_what_no_honest_program_writes_counts_for_nothing(make_store: MakeStore) -> None:
    """Numbers, lists and texts that are no ids in `same_as` (L6)."""
    jena, gera = SiteRig("jena"), SiteRig("gera", make_store())
    jena.write(patient_of(2))
    assert jena.engine.log is not None
    entries = [EditEntry("same_as", str(n), value, {}) for n, value in enumerate([7, ["x"], "", "y" * 65, {"a": 1}])]
    entries.append(EditEntry("same_as", "good", record_of(2), {}))
    delta = Document(client_id(jena.engine.log, record_of(1))).write(
        tag=log_tag(jena.engine.log), sequence=2, stamp=1, edits=entries
    )
    forge(jena, record_of(1), Change("patient", record_of(1), delta))
    gera.pull(jena)
    gera.derive()
    assert persons(gera.store) == one_person(1, 2)
    assert gera.store.links([record_of(1)]) == [(record_of(1), record_of(2))]


def test_persons_are_derived_again_with_the_view(site: SiteRig) -> None:
    link(site, 1, 2)
    link(site, 4, 9)
    site.engine.rebuild(site.now())
    assert persons(site.store) == one_person(1, 2)
    site.store.reset_view()
    assert persons(site.store) == {}
    site.open()
    site.derive()
    assert persons(site.store) == one_person(1, 2)


def test_a_practice_whose_view_is_of_a_former_release_learns_its_links(site: SiteRig) -> None:
    link(site, 1, 2)
    store = site.store
    store.begin_view()
    store.write_links(record_of(1), [])
    store.write_persons(dict.fromkeys(ALL))
    store.commit_view(store.view_state())
    if isinstance(store, MemoryStore):
        store._kind_states.clear()
    else:
        assert isinstance(store, SqliteStore)
        store._view.execute("DELETE FROM _kind")
    site.open()
    while site.engine.derive_rows(site.now(), documents_max=2):
        pass
    assert persons(store) == one_person(1, 2)


@pytest.mark.parametrize("what", ["link", "person", "nobody"])
def test_what_was_changed_from_outside_is_found_and_derived_anew(site: SiteRig, what: str) -> None:
    link(site, 1, 2)
    right = persons(site.store)
    site.store.begin_view()
    if what == "link":
        site.store.write_links(record_of(1), [record_of(5)])
    elif what == "person":
        site.store.write_persons({record_of(2): record_of(2)})
    else:
        site.store.write_persons({record_of(4): record_of(3), record_of(3): record_of(3)})
    site.store.commit_view(site.store.view_state())
    alarms: list[str] = []
    for _ in range(2):
        passes = site.engine.upkeep.passes
        while site.engine.upkeep.passes == passes:
            alarms.extend(site.engine.inspect(site.now(), keys_of(site)).alarms)
    assert persons(site.store) == right and alarms and all("derived anew and is right now" in text for text in alarms)
    links = site.store.links(ALL)
    assert links == [(record_of(1), record_of(2))]


@pytest.mark.parametrize("seed", range(4))
def test_whatever_is_linked_wherever_all_sites_say_the_same(seed: int, make_store: MakeStore) -> None:
    """Patients that come late, links to some that never come, in random order at three sites: what each keeps link by
    link is what follows from all its records at once; and once all have all, they say the same."""
    chance = random.Random(seed)
    sites = [SiteRig("jena"), SiteRig("gera", make_store()), SiteRig("weimar")]
    for _ in range(60):
        site = chance.choice(sites)
        step(chance, site, sites)
        assert persons(site.store) == recomputed(site), "link by link it is the same as all at once"
    for _ in range(2):
        for site in sites:
            for other in sites:
                if other is not site:
                    site.pull(other)
                    site.derive(chance.choice([1, 3, 1000]))
            assert persons(site.store) == recomputed(site)
    [first, *others] = [persons(site.store) for site in sites]
    assert all(each == first for each in others) and len({site.engine.digest() for site in sites}) == 1


def step(chance: random.Random, site: SiteRig, sites: Sequence[SiteRig]) -> None:
    """Somebody writes, or a site hears of another."""
    here = [number for number in range(12) if site.store.document("patient", record_of(number))]
    what = chance.random()
    if what < 0.25 or not here:
        number = chance.randrange(10)  # two of the twelve never come
        if number not in here:
            patient = patient_of(number)
            if chance.random() < 0.3:
                patient.same_as.add(chance.choice(ALL))
            site.write(patient)
    elif what < 0.55:
        number = chance.choice(here)
        patient = site.patient(number)
        other = chance.choice(ALL)
        if other not in patient.same_as:
            link(site, number, ALL.index(other))
    elif what < 0.75:
        number = chance.choice(here)
        linked = list(site.patient(number).same_as)
        if linked:
            unlink(site, number, ALL.index(chance.choice(linked)))
    else:
        other_site = chance.choice([each for each in sites if each is not site])
        site.pull(other_site, upto=None if chance.random() < 0.7 else chance.randrange(40))
        site.derive(chance.choice([1, 2, 1000]))
