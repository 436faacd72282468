"""Looking over view and log: a planted difference is found, mended from the own log, and told (L5)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import cast

import pytest

from crdtsync import limits
from crdtsync.errors import RottenCommit
from crdtsync.ids import RecordId
from crdtsync.replication.commit import Change, Commit
from crdtsync.replication.stored import StoredCommit
from crdtsync.storage.base import Store, StoredDocument, ViewChange
from crdtsync.storage.memory import MemoryStore
from crdtsync.storage.sqlite import SqliteStore
from tests.engine.sites import EPOCH_KEY, SiteRig, forge, keys_of, patient_of, record_of

VIEW_KEY = b"v" * 32
Tamper = Callable[[SiteRig], None]


def filled(store: Store | None = None, records: int = 5) -> SiteRig:
    site = SiteRig("jena", store)
    for number in range(records):
        site.write(patient_of(number, phones=["03641 1"]))
    return site


def look_over(site: SiteRig) -> list[str]:
    """One whole round over view and log; the alarms."""
    alarms: list[str] = []
    passes, turns = site.engine.upkeep.passes, 0
    while site.engine.upkeep.passes < passes + 2 or turns < 20:
        alarms += site.engine.inspect(site.now(), keys_of(site)).alarms
        turns += 1
        assert turns < 10_000
    return alarms


def entry(site: SiteRig, number: int) -> ViewChange:
    return memory(site)._entries["patient", record_of(number)]


def memory(site: SiteRig) -> MemoryStore:
    return cast("MemoryStore", site.store)


def put(site: SiteRig, change: ViewChange) -> None:
    memory(site)._put((change.document.kind, change.document.record), change)


def changed(site: SiteRig, number: int, **parts: object) -> None:
    """Change parts of what the view keeps of a patient, behind the engine's back."""
    found = entry(site, number)
    document = {name: value for name, value in parts.items() if name in StoredDocument.__dataclass_fields__}
    rest = {name: value for name, value in parts.items() if name not in document}
    put(site, replace(found, document=replace(found.document, **document), **rest))  # type: ignore[arg-type]


def state_of_another(site: SiteRig) -> None:
    changed(site, 2, state=entry(site, 3).document.state)


def garbage_state(site: SiteRig) -> None:
    changed(site, 2, state=b"\xff\xff\xff")


def fingerprint(site: SiteRig) -> None:
    changed(site, 2, fingerprint=bytes(32))


def row(site: SiteRig) -> None:
    changed(site, 2, row={**(entry(site, 2).row or {}), "family_name": "Someone else"})


def words(site: SiteRig) -> None:
    changed(site, 2, words="other words")


def older_version(site: SiteRig) -> None:
    """All of an older state of the record, whole in itself."""
    before = entry(site, 2)
    patient = site.patient(2)
    patient.family_name = "Newer"
    site.write(patient)
    put(site, before)


def missing(site: SiteRig) -> None:
    memory(site)._put(("patient", record_of(2)), None)


def invented(site: SiteRig) -> None:
    found = entry(site, 2)
    other = record_of(99)
    put(site, replace(found, document=replace(found.document, record=RecordId(other)), conflicts=()))


@pytest.mark.parametrize(
    "tamper",
    [state_of_another, garbage_state, fingerprint, row, words, older_version, missing, invented],
    ids=lambda tamper: tamper.__name__,
)
def test_whatever_is_changed_from_outside_is_found_and_mended(tamper: Tamper) -> None:
    site = filled()
    assert look_over(site) == []
    tamper(site)
    expected = SiteRig("witness")
    expected.pull(site)
    expected.derive()
    assert any("from outside" in alarm for alarm in look_over(site))
    assert site.engine.digest() == expected.engine.digest()
    assert site.verify(site) == []
    assert look_over(site) == [], "and told once"


def test_a_sound_site_is_never_touched() -> None:
    site = filled(records=130)
    digest = site.engine.digest()
    site.derive()
    for _ in range(40):
        result = site.engine.inspect(site.now(), keys_of(site))
        assert (result.alarms, list(result.changed)) == ([], [])
    assert site.engine.upkeep.passes >= 3
    assert site.engine.digest() == digest
    assert site.engine.upkeep.rotten == []


def test_writing_meanwhile_is_no_difference(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "inspected_documents_step", 2)
    site = filled(records=9)
    alarms: list[str] = []
    for number in range(60):
        alarms += site.engine.inspect(site.now(), keys_of(site)).alarms
        patient = site.patient(number % 9)
        patient.family_name = f"Name {number}"
        site.write(patient, patient_of(100 + number))
    assert alarms == []
    assert site.engine.upkeep.passes == 0, "records come as fast as they are looked over"
    assert look_over(site) == []


def test_a_row_in_the_file_is_mended(tmp_path: Path) -> None:
    site = filled(SqliteStore(tmp_path, VIEW_KEY))
    store = cast("SqliteStore", site.store)
    store._view.execute("UPDATE patient SET family_name = 'Someone else' WHERE id = ?", (record_of(2),))
    store._view.execute("DELETE FROM _document WHERE record = ?", (record_of(3),))
    alarms = look_over(site)
    assert f"patient {record_of(2)} was not kept as the log says" in "\n".join(alarms)
    assert site.verify(site) == []
    [(name,)] = store._view.execute("SELECT family_name FROM patient WHERE id = ?", (record_of(2),)).fetchall()
    assert name == "Muster2"
    store.close()


# -- rot in the log ---------------------------------------------------------------------------------------------------


def rotten(site: SiteRig, *arrivals: int) -> SiteRig:
    """The site after these commits have rotted, opened again: nothing of the log is in memory any more."""
    for arrival in arrivals:
        memory(site).rot(arrival)
    site.reopen()
    return site


def commits(site: SiteRig) -> list[StoredCommit]:
    return memory(site)._arrivals


def test_rot_is_found_and_mended_by_a_peers_copy_alone() -> None:
    site = filled()
    right = [stored.commit for stored in commits(site)]
    rotten(site, 2, 4)
    look_over(site)
    ids = [right[1].id, right[3].id]
    assert site.engine.upkeep.rotten == ids
    forged = replace(right[1], signature=bytes(64))
    assert site.engine.upkeep.mend([forged, right[0], right[2]], keys_of(site)) == []
    assert site.engine.upkeep.mend(right, keys_of(site)) == ids
    assert site.engine.upkeep.rotten == []
    assert site.verify(site) == []


def spoil_signature(site: SiteRig, arrival: int) -> Commit:
    """Change the signature of the commit that arrived then; returns the right one."""
    right = commits(site)[arrival - 1]
    spoiled = replace(right, commit=replace(right.commit, signature=bytes(64)))
    header = right.commit.header
    memory(site)._arrivals[arrival - 1] = memory(site)._logs[header.log][header.sequence - 1] = spoiled
    return right.commit


def test_a_changed_signature_is_vouched_for_by_what_follows() -> None:
    site = filled()
    spoil_signature(site, 2)
    look_over(site)
    assert site.engine.upkeep.rotten == []
    assert not commits(site)[1].checked, "so that nobody is sent a run that ends there"
    assert site.verify(site) == []


def test_the_newest_signature_of_a_log_is_fetched_again() -> None:
    site = filled()
    right = spoil_signature(site, 5)
    look_over(site)
    assert site.engine.upkeep.rotten == [right.id]
    assert site.engine.upkeep.mend([right], keys_of(site)) == [right.id]
    assert site.verify(site) == []


def test_peers_are_served_what_is_sound() -> None:
    site = filled()
    log = commits(site)[0].commit.header.log
    rotten(site, 3)
    served, _ = site.engine.read_feeds({log: 1}, 10, 10**9)
    assert [stored.arrival for stored in served] == [1, 2]
    assert site.engine.read_feeds({log: 3}, 10, 10**9) == ([], [])
    assert [commit.header.sequence for commit in site.engine.read_again(log, [2, 3, 4])] == [2, 4]
    assert len(site.engine.upkeep.rotten) == 1


def test_the_view_is_not_emptied_for_a_log_with_a_hole() -> None:
    site = filled()
    digest = site.engine.digest()
    rotten(site, 3)
    with pytest.raises(RottenCommit, match="fetched again"):
        site.engine.rebuild(site.now())
    assert site.engine.digest() == digest
    right = [stored.commit for stored in commits(site)]
    changed(site, 2, fingerprint=bytes(32))
    look_over(site)
    assert entry(site, 2).document.fingerprint == bytes(32), "nothing is derived from half a log"
    assert site.engine.upkeep.mend(right, keys_of(site)) == [right[2].id]
    look_over(site)
    assert site.engine.digest() == digest
    assert site.verify(site) == []


def test_a_view_behind_a_hole_waits_says_so_and_goes_on() -> None:
    site, other = filled(), SiteRig("weimar")
    other.pull(site)
    right = [stored.commit for stored in commits(other)]
    rotten(other, 3)
    result = other.engine.derive(other.now(), 2)
    result = other.engine.derive(other.now(), 2)
    assert result.done and result.arrival == 2 and "arrival 3" in result.stuck
    with pytest.raises(RottenCommit):
        other.write(patient_of(50))
    assert other.engine.upkeep.mend(right, keys_of(site, other)) == [right[2].id]
    result = other.derive()
    assert result.done and result.stuck == "" and result.arrival == 5
    assert other.engine.digest() == site.engine.digest()


def test_what_waited_for_a_key_waits_for_a_rotten_commit_too() -> None:
    """Seed 2**63-1 of the simulator: the key came, and the log behind it could not be read."""
    site, other = filled(), SiteRig("weimar", epochs=[])
    other.pull(site)
    other.derive()
    right = [stored.commit for stored in commits(other)]
    rotten(other, 3)
    other.learn(EPOCH_KEY)
    result = other.engine.derive_waiting(other.now())
    assert result.done and "arrival 3" in result.stuck and len(result.waiting) == 5
    assert other.engine.derive(other.now()).stuck == result.stuck, "it is tried again, and does not try for ever"
    assert other.engine.upkeep.mend(right, keys_of(site, other)) == [right[2].id]
    result = other.derive()
    assert result.waiting == [] and result.stuck == ""
    assert other.engine.digest() == site.engine.digest()
    assert other.verify(site) == []


def test_a_commit_is_not_held_for_rot_in_another() -> None:
    """Seed 30149 of the simulator: what is derived for it has to be read again, and cannot be."""
    site, other = filled(), SiteRig("weimar")
    other.pull(site)
    other.derive()
    right = [stored.commit for stored in commits(other)]
    changed(other, 2, state=b"no document")
    rotten(other, 3)
    patient = site.patient(2)
    patient.family_name = "Muster-Klein"
    site.write(patient)
    other.pull(site)
    assert "arrival 3" in other.engine.derive(other.now()).stuck
    assert other.engine.status().held == ()
    assert other.engine.upkeep.mend(right, keys_of(site, other)) == [right[2].id]
    assert other.engine.derive(other.now()).stuck == ""
    assert other.engine.digest() == site.engine.digest()
    assert other.verify(site) == []


def test_a_held_commit_that_has_rotted_is_named_and_the_site_opens() -> None:
    """Seeds 30199 and 30494 of the simulator: `status` raised, and such a site could not be opened."""
    site, other = filled(), SiteRig("weimar")
    bad = forge(site, record_of(2), Change("patient", record_of(2), b"?"))
    site.derive()
    site.engine.open_boot()
    site.write(patient_of(7))
    other.pull(site)
    other.derive()
    right = [stored.commit for stored in commits(other)]
    before = [held.commit for held in other.engine.status().held]
    assert before[0] == bad.id
    rotten(other, 6)
    [held] = other.engine.status().held
    assert held.commit == bad.id and "rotted" in held.reason
    signed = {bad.id: {bad.hash: "form"}}
    with pytest.raises(RottenCommit):  # `Host` tries again once it is whole
        other.engine.honour(signed, {}, None)
    look_over(other)
    assert other.engine.upkeep.mend(right, keys_of(site, other)) == [bad.id]
    other.engine.honour(signed, {}, None)
    assert "rotted" not in other.engine.status().held[0].reason
    assert other.verify(site) == []
