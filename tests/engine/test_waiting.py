"""Parts whose key or epoch comes later: nothing is lost, and a document takes its changes in their order (L2)."""

from __future__ import annotations

import pytest

from crdtsync import limits
from crdtsync.errors import RefusedError
from crdtsync.ids import BootId
from crdtsync.practice import MedicationStatement, Patient, Task
from crdtsync.practice.medication import Drug
from crdtsync.replication.stored import KeyObject

from .conftest import MakeStore
from .sites import EPOCH_KEY, SiteRig, patient_of, record_of

LATER_EPOCH = b"f" * 32


def keys_by(site: SiteRig, *others: SiteRig) -> None:
    """Bring `site` the key objects that `others` have."""
    for other in others:
        ids = [r.key for s in other.store.arrivals(0, 10**6, 10**9) for r in s.commit.header.parts]
        site.engine.put_keys(other.engine.read_keys(ids))


def retitle(site: SiteRig, number: int, title: str) -> None:
    patient = site.patient(number)
    patient.title = title
    site.write(patient)


def test_a_key_that_comes_late(make_store: MakeStore) -> None:
    jena, gera = SiteRig("jena"), SiteRig("gera", make_store())
    jena.write(patient_of(1))
    retitle(jena, 1, "Dr.")
    jena.write(patient_of(2))
    gera.pull(jena, keys=False)
    result = gera.derive()
    assert result.done and result.records == 0 and len(result.waiting) == 2
    assert gera.engine.status().waiting == 2
    assert gera.engine.derive_waiting(gera.now()).records == 0, "nothing came"
    assert gera.verify(jena) == []
    gera.reopen()
    keys_by(gera, jena)
    result = gera.engine.derive_waiting(gera.now())
    assert result.done and result.waiting == [] and result.records == 2
    assert {record for _, record in result.changed} == {record_of(1), record_of(2)}
    assert gera.store.waiting() == {}
    assert gera.engine.digest() == jena.engine.digest()
    retitle(jena, 1, "Prof.")
    gera.pull(jena)
    gera.derive()
    assert gera.patient(1).title == "Prof."


def test_an_epoch_that_comes_late(make_store: MakeStore) -> None:
    """A newcomer has commits and keys before its epochs; parts of known epochs wait behind those that are not."""
    jena = SiteRig("jena", epochs=[LATER_EPOCH, EPOCH_KEY])
    gera = SiteRig("gera", make_store(), epochs=[EPOCH_KEY])
    jena.write(patient_of(1))
    jena.grant = gera.grant
    retitle(jena, 1, "Dr.")
    jena.write(patient_of(2))
    gera.pull(jena)
    assert gera.derive().records == 1, "patient 2 is under the epoch that is known"
    assert [len(arrivals) for arrivals in gera.store.waiting().values()] == [2]
    gera.learn(LATER_EPOCH)
    result = gera.engine.derive_waiting(gera.now())
    assert result.records == 2 and result.waiting == []
    assert gera.patient(1).title == "Dr."
    assert gera.engine.digest() == jena.engine.digest()
    assert gera.verify(jena) == []


def test_waiting_parts_are_derived_in_bounded_steps() -> None:
    jena, gera = SiteRig("jena"), SiteRig("gera", epochs=[LATER_EPOCH])
    for number in range(10):
        jena.write(patient_of(number))
    gera.pull(jena)
    gera.derive()
    gera.learn(EPOCH_KEY)
    steps = 0
    while not gera.engine.derive_waiting(gera.now(), parts_max=3).done:
        steps += 1
        assert gera.engine.digest()[1] == 3 * steps
    assert steps == 3 and gera.engine.digest() == jena.engine.digest()


def test_a_subject_with_two_keys_of_which_the_first_comes_late(make_store: MakeStore) -> None:
    """The same patient was made at two sites apart; a later part under the other key was derived already."""
    jena, weimar, gera = SiteRig("jena"), SiteRig("weimar"), SiteRig("gera", make_store())
    jena.write(patient_of(1, title="from Jena"))
    weimar.write(patient_of(1, family_name="Muster1", given_name="Erika"))
    weimar.pull(jena)
    weimar.derive()
    retitle(weimar, 1, "seen and changed")
    assert len(weimar.store.key_of_subject(record_of(1))) == 2
    gera.pull(weimar, keys=False)
    late = jena.engine.read_keys([ref.key for ref in jena.store.arrivals(0, 1, 1)[0].commit.header.parts])
    keys_by(gera, weimar)
    gera.store.erase_keys([late[0].id])
    gera.open()
    gera.derive()
    assert gera.engine.record("patient", record_of(1)) is not None
    gera.engine.put_keys(late)
    result = gera.engine.derive_waiting(gera.now())
    assert result.waiting == [] and ("patient", record_of(1)) in result.changed
    assert gera.patient(1).title == "seen and changed"
    assert gera.engine.digest() == weimar.engine.digest()
    assert gera.verify(jena, weimar) == []


def test_what_comes_while_a_subject_waits_waits_behind_it(make_store: MakeStore) -> None:
    jena, gera = SiteRig("jena"), SiteRig("gera", make_store())
    jena.write(patient_of(1))
    gera.pull(jena, keys=False)
    gera.derive()
    keys_by(gera, jena)  # they are here, and not derived with yet
    retitle(jena, 1, "Dr.")
    gera.pull(jena)
    result = gera.derive()
    assert result.records == 1 and result.waiting == [], "deriving goes on with what waited, once all else is done"
    assert gera.patient(1).title == "Dr."
    assert gera.engine.digest() == jena.engine.digest()


def test_the_rest_of_a_commit_does_not_wait(make_store: MakeStore) -> None:
    """Parts follow per subject: one is readable, the other waits for its key."""
    jena, gera = SiteRig("jena"), SiteRig("gera", make_store())
    task = Task(title="call back")
    task.id = record_of(2)
    jena.write(patient_of(1), task)
    gera.pull(jena, keys=False)
    [first, second] = jena.engine.read_keys([ref.key for ref in jena.store.arrivals(0, 1, 1)[0].commit.header.parts])
    gera.engine.put_keys([second])
    assert gera.derive().records == 1
    assert gera.engine.record("task", record_of(2)) is not None
    gera.engine.put_keys([first])
    assert gera.engine.derive_waiting(gera.now()).records == 2
    assert gera.engine.digest() == jena.engine.digest()


def test_parts_of_a_large_transaction_wait_too(make_store: MakeStore) -> None:
    jena, gera = SiteRig("jena", boot=BootId(b"1" * 8)), SiteRig("gera", make_store(), epochs=[LATER_EPOCH])
    jena.write(*[patient_of(number, family_name="x" * 40_000) for number in range(20)])
    gera.pull(jena)
    gera.derive()
    assert len(gera.store.waiting()) == 20
    gera.learn(EPOCH_KEY)
    gera.engine.derive_waiting(gera.now())
    assert gera.engine.digest() == jena.engine.digest()


def test_rebuilding_derives_what_waited(make_store: MakeStore) -> None:
    jena, gera = SiteRig("jena"), SiteRig("gera", make_store())
    jena.write(patient_of(1))
    gera.pull(jena, keys=False)
    gera.derive()
    keys_by(gera, jena)
    assert gera.engine.rebuild(gera.now()) == jena.engine.digest()
    assert gera.store.waiting() == {}


def test_a_log_of_which_parts_wait_is_not_written_on(make_store: MakeStore) -> None:
    """Found by random histories: an own part that waits, after the view was lost, behind a part whose key is absent.

    The document then lacks own changes, and going on from it gave one CRDT clock to two changes.
    """
    jena, gera = SiteRig("jena"), SiteRig("gera", make_store())
    jena.write(patient_of(1))
    gera.pull(jena, keys=False)
    gera.derive()
    keys_by(gera, jena)
    gera.write(patient_of(1, title="own"))  # under Jena's key, which came, while Jena's part still waits
    assert not gera.engine.needs_boot
    gera.engine = gera.reopen()
    gera.store.reset_view()
    gera.engine = gera.reopen()
    gera.learn(LATER_EPOCH)
    patient = gera.patient(1)  # derived anew, with the key: nothing waits
    assert not gera.engine.needs_boot and patient.title == "own"

    gera.store.erase_keys([key.id for key in gera.store.key_of_subject(record_of(1))])
    gera.store.reset_view()
    gera.reopen()
    assert not gera.engine.needs_boot, "nothing is derived yet"
    with pytest.raises(RefusedError, match="new boot"):
        gera.write(patient_of(2))
    assert gera.engine.needs_boot
    gera.engine.open_boot()
    gera.write(patient_of(1, title="later"))
    keys_by(gera, jena)
    gera.engine.derive_waiting(gera.now())
    jena.sync(gera)
    assert gera.engine.digest() == jena.engine.digest()
    assert gera.verify(jena) == jena.verify(gera) == []


def test_an_epoch_of_which_parts_wait_asks_for_a_boot_after_a_restart(make_store: MakeStore) -> None:
    """The view was lost, and the epoch keys come later than the first transaction."""
    gera = SiteRig("gera", make_store(), epochs=[EPOCH_KEY, LATER_EPOCH])
    gera.write(patient_of(1))
    gera.store.reset_view()
    blind = SiteRig("gera", gera.store, epochs=[LATER_EPOCH], boot=BootId(b"2" * 8))
    assert gera.engine.log is not None
    blind.engine.continue_log(gera.engine.log)
    with pytest.raises(RefusedError, match="new boot"):
        blind.write(patient_of(2))
    blind.learn(EPOCH_KEY)
    assert blind.engine.derive_waiting(blind.now()).records == 1
    assert not blind.engine.needs_boot
    blind.write(patient_of(2))
    assert blind.verify() == []


def three_changes_under_two_keys(first_epoch: bytes) -> tuple[SiteRig, list[KeyObject]]:
    """A log that changed one record three times, first under one key of its subject, then under another.

    Delivered as second, third, first, these very changes leave a document stuck for good (a fact of the CRDT library).
    """
    jena = SiteRig("jena", epochs=[first_epoch, EPOCH_KEY])
    patient = Patient(title="a")
    patient.id = record_of(1)
    jena.write(patient)
    jena.grant = SiteRig("any").grant
    _, second = jena.keyring.new_data_key(jena.grant.epoch, record_of(1))
    jena.engine.put_keys([second])
    jena.engine._parts.adopt([second])
    retitle(jena, 1, "b")
    patient = jena.patient(1)
    patient.given_name = "Erika"
    last = jena.write(patient)
    assert [part.key for part in last.header.parts] == [second.id]
    [first] = [key for key in jena.store.key_of_subject(record_of(1)) if key.id != second.id]
    return jena, [first, second]


def test_a_subject_waits_as_a_whole(make_store: MakeStore) -> None:
    """What could be read waits behind what cannot: nobody sees a medication before its patient."""
    jena, keys = three_changes_under_two_keys(LATER_EPOCH)
    medication = MedicationStatement(patient=record_of(1), drug=Drug(name="Ramipril"))
    medication.id = record_of(2)
    jena.write(medication)
    gera = SiteRig("gera", make_store(), epochs=[EPOCH_KEY])
    gera.engine.put_keys(keys)
    gera.pull(jena, keys=False)
    assert gera.derive().records == 0
    assert sorted(arrival for waiting in gera.store.waiting().values() for arrival in waiting) == [1, 2, 3, 4]
    gera.learn(LATER_EPOCH)
    assert gera.engine.derive_waiting(gera.now()).records == 2
    assert gera.engine.digest() == jena.engine.digest()


def test_a_log_waits_in_its_order_also_when_its_later_parts_could_be_read(make_store: MakeStore) -> None:
    jena, keys = three_changes_under_two_keys(LATER_EPOCH)
    gera = SiteRig("gera", make_store(), epochs=[EPOCH_KEY])
    gera.engine.put_keys(keys)
    gera.pull(jena, keys=False)
    assert gera.derive(1).records == 0
    gera.learn(LATER_EPOCH)
    gera.engine.derive_waiting(gera.now())
    assert gera.engine.digest() == jena.engine.digest()
    assert (gera.patient(1).title, gera.patient(1).given_name) == ("b", "Erika")


@pytest.mark.parametrize("restart", [False, True])
def test_a_record_is_built_again_when_its_first_key_comes_last(make_store: MakeStore, restart: bool) -> None:
    jena, [first, second] = three_changes_under_two_keys(EPOCH_KEY)
    gera = SiteRig("gera", make_store())
    gera.engine.put_keys([second])
    gera.pull(jena, keys=False)
    gera.derive()
    if restart:
        gera.reopen()
    gera.engine.put_keys([first])
    if restart:
        gera.reopen()
    assert gera.engine.derive_waiting(gera.now()).waiting == []
    assert gera.engine.digest() == jena.engine.digest()
    assert (gera.patient(1).title, gera.patient(1).given_name) == ("b", "Erika")
    assert gera.verify(jena) == []


def test_more_subjects_than_are_built_again_in_one_go(make_store: MakeStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who stops at that limit says that there is more: once it said that nothing was left (found by a machine)."""
    monkeypatch.setattr(limits, "subjects_replayed_max", 1)
    jena, weimar, gera = SiteRig("jena"), SiteRig("weimar"), SiteRig("gera", make_store())
    for number in range(4):
        jena.write(patient_of(number))
        weimar.write(patient_of(number, title="Dr."))
    jena.sync(weimar)
    gera.pull(jena, keys=False)
    gera.derive()
    keys_by(gera, jena)
    assert not gera.engine.derive_waiting(gera.now()).done
    assert gera.derive().waiting == []
    assert gera.engine.digest() == jena.engine.digest() == weimar.engine.digest()
