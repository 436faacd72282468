"""A change may kill once, never twice: what an earlier process died over is tried elsewhere first (L6).

The gate is open in these tests, so whatever deadly is applied here, by mistake, ends the test run.
"""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import pytest

from crdtsync import limits
from crdtsync.documents import Document, Reach
from crdtsync.engine import Engine
from crdtsync.engine.trying import Trial, Verdict
from crdtsync.engine.watch import Watch
from crdtsync.errors import EnvironmentFailure, Poisoned
from crdtsync.ids import base32, commit_text
from crdtsync.replication.commit import Change, Commit
from crdtsync.storage.base import StoredDocument, ViewChange
from crdtsync.storage.marker import Marker
from tests.deadly import DEADLY, OVERFLOWS, TOO_DEEP_TO_READ, weaken_children, weaken_here
from tests.weakened.sitecustomize import HANG

from .conftest import MakeStore
from .sites import PRACTICE, SiteRig, forge, patient_of, record_of


@pytest.fixture(autouse=True)
def open_gate(monkeypatch: pytest.MonkeyPatch) -> None:
    weaken_here(monkeypatch)
    weaken_children(monkeypatch)


def reopen(site: SiteRig, folder: Path) -> Watch:
    """A new engine over the store, as after a death, with the note that lies in `folder`."""
    site.engine.watch.close()
    watch = Watch(site.store, Marker(folder))
    site.engine = Engine(site.store, site.sealer, site.keyring, practice=PRACTICE, replica=site.replica, watch=watch)
    site.engine.open_boot()
    return watch


def died(folder: Path, first: int, last: int) -> None:
    """Leave the note that a process leaves which dies while it derives these arrivals."""
    marker = Marker(folder)
    marker.note(first, last)
    marker.close()


def poisoned_site(jena: SiteRig, delta: bytes) -> tuple[SiteRig, Commit]:
    """Jena's log: a patient, then a commit that applies `delta` to that patient, then another patient."""
    jena.write(patient_of(1))
    deadly = forge(jena, record_of(1), Change("patient", record_of(1), delta))
    jena.engine.open_boot()
    forge_patient(jena, 2)
    return jena, deadly


def forge_patient(jena: SiteRig, number: int) -> None:
    """A harmless commit that is not derived yet."""
    twin = SiteRig("twin")
    forge(jena, record_of(number), change_of(twin, twin.write(patient_of(number))))


def change_of(site: SiteRig, commit: Commit) -> Change:
    """The one change of a commit by this site."""
    header = commit.header
    key = site.engine.read_keys([header.parts[0].key])[0]
    return site.engine._parts.open(header.log, header.sequence, 0, header.parts[0], key, commit.parts[0]).changes[0]


@pytest.mark.parametrize("name", sorted(DEADLY))
def test_what_killed_is_held_and_the_rest_goes_on(tmp_path: Path, name: str) -> None:
    jena, deadly = poisoned_site(SiteRig("jena"), DEADLY[name])
    died(tmp_path, 2, 3)
    watch = reopen(jena, tmp_path)
    result = jena.derive()
    [alarm] = result.alarms
    assert commit_text(deadly.id) in alarm and base32(jena.replica) in alarm and record_of(1) in alarm
    assert jena.patient(1).family_name == "Muster1" and jena.patient(2).family_name == "Muster2"
    document = jena.store.document("patient", record_of(1))
    assert document is not None and commit_text(deadly.id) in document.damaged
    assert [held.commit for held in jena.engine.status().held] == [deadly.id]
    assert not watch.suspects and not watch.busy and not watch.trying
    # It is known now: nothing that derives it again dies, with or without suspicion.
    watch = reopen(jena, tmp_path)
    assert not watch.suspects
    assert jena.engine.rebuild(jena.now()) == (result.digest.hex(), 2)
    assert jena.verify() == []
    assert [(due.commit, due.reason) for due in jena.derive().holds] == [(deadly.id, "process")], "to be signed"
    watch.close()


def test_what_killed_once_is_refused_untried(tmp_path: Path) -> None:
    """Also where nobody suspects it, and before the view knows that it is held."""
    jena, deadly = poisoned_site(SiteRig("jena"), OVERFLOWS)
    died(tmp_path, 2, 3)
    watch = reopen(jena, tmp_path)
    jena.derive()
    watch.close()
    next_one = Watch(jena.store)
    assert next_one.wary and not next_one.suspects
    [stored] = jena.store.arrivals(1, 1, 10**9)
    assert stored.commit.id == deadly.id
    found = jena.engine._deriving.shelf.take("patient", record_of(1), record_of(1))
    with pytest.raises(Poisoned, match="ends the process"):
        next_one.examine(stored, found, 1, OVERFLOWS)


def test_innocent_suspects_are_derived_as_ever(tmp_path: Path, make_store: MakeStore) -> None:
    """Processes die for other reasons, too: then trying costs time and changes nothing."""
    jena, gera = SiteRig("jena"), SiteRig("gera", make_store())
    for number in range(30):
        jena.write(patient_of(number % 7, title=str(number)))
    gera.pull(jena)
    died(tmp_path, 1, 30)
    watch = reopen(gera, tmp_path)
    result = gera.derive()
    assert (result.alarms, result.digest.hex()) == ([], jena.engine.digest()[0])
    assert gera.verify(jena) == [] and gera.engine.status().held == ()
    assert not watch.suspects
    watch.close()
    assert Marker(tmp_path).found is None


def test_what_is_still_suspected_stays_noted_between_two_steps(tmp_path: Path) -> None:
    jena, gera = SiteRig("jena"), SiteRig("gera")
    for number in range(30):
        jena.write(patient_of(number))
    gera.pull(jena)
    died(tmp_path, 1, 30)
    watch = reopen(gera, tmp_path)
    few = limits.live_commits_max
    assert gera.engine.derive(gera.now()).arrival == few, "what is tried comes in small batches"
    watch.close()
    assert Watch(gera.store, Marker(tmp_path)).suspects == range(few + 1, 31)


def test_a_step_is_noted_while_it_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    jena, gera = SiteRig("jena"), SiteRig("gera")
    for number in range(3):
        jena.write(patient_of(number))
    gera.pull(jena)
    watch = reopen(gera, tmp_path)
    noted: list[tuple[int, int] | None] = []

    def begin() -> None:
        marker = Marker(tmp_path)
        noted.append(marker.found)
        marker.close()

    monkeypatch.setattr(watch, "begin", begin)
    gera.derive()
    assert set(noted) == {(1, 3)} and len(noted) == 6
    watch.close()
    assert Marker(tmp_path).found is None


@pytest.mark.parametrize("poison", ["base0_apply", "base0_get_update", "too deep to read"])
def test_a_panic_costs_one_document_and_no_process(make_store: MakeStore, test_data: Path, poison: str) -> None:
    """The library's panics are no Exception. The first is at applying; the others come when the document is read or
    kept, with others in one batch."""
    files = {
        "base0_apply": "21_0_apply_PanicException_base0.bin",
        "base0_get_update": "21_5_get_update_PanicException_base0.bin",
    }
    delta = (test_data / "poison" / files[poison]).read_bytes() if poison in files else TOO_DEEP_TO_READ
    jena, deadly = poisoned_site(SiteRig("jena", make_store()), delta)
    [alarm] = jena.derive().alarms
    assert commit_text(deadly.id) in alarm and "is held for patient" in alarm and "documents cannot take it" in alarm
    assert jena.patient(1).family_name == "Muster1" and jena.patient(2).family_name == "Muster2"
    digest = jena.engine.digest()
    jena.open()
    assert jena.engine.digest() == digest == jena.engine.rebuild(jena.now())


def test_a_document_that_does_not_load_is_derived_anew(make_store: MakeStore) -> None:
    """What cannot be loaded is thrown away and derived from the log, for reading, writing and deriving alike."""
    jena, gera = SiteRig("jena"), SiteRig("gera", make_store())
    jena.write(patient_of(1))
    gera.sync(jena)
    gera.write(patient_of(2))
    whole = gera.engine.digest()

    def spoil(number: int) -> None:
        stored = gera.store.document("patient", record_of(number))
        assert stored is not None
        broken = StoredDocument("patient", stored.record, stored.subject, b"\xff" * 9, stored.fingerprint)
        gera.store.begin_view()
        gera.store.write_view([ViewChange(broken, None, "", (), 1)])
        gera.store.commit_view(gera.store.view_state())
        gera.open()

    spoil(1)
    assert gera.patient(1).family_name == "Muster1"
    assert gera.engine.digest() == whole
    spoil(2)
    gera.write(patient_of(2, title="Dr."))
    spoil(1)
    jena.pull(gera)
    jena.derive()
    jena.write(patient_of(1, title="Prof."))
    gera.pull(jena)
    assert gera.derive().alarms == []
    assert gera.patient(1).title == "Prof." and gera.patient(2).title == "Dr."
    assert gera.engine.digest() == jena.engine.digest() and gera.verify(jena) == []


def test_a_death_of_the_trying_process_alone_proves_nothing() -> None:
    """It is tried again in a fresh process: one that somebody killed is no verdict."""
    jena = SiteRig("jena")
    harmless = change_of(jena, jena.write(patient_of(1))).delta
    found = jena.engine._deriving.shelf.take("patient", record_of(9), record_of(9))
    trial = Trial()
    assert trial.of(found, 1, harmless) is Verdict.PASSES
    assert trial._process is not None
    trial._process.kill()
    assert trial.of(found, 1, harmless) is Verdict.PASSES
    assert trial.of(found, 1, OVERFLOWS) is Verdict.KILLS
    trial.end()


def test_memory_that_runs_out_says_nothing_yet(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The machine may have had none left for anybody: the next process tries what this one could not take."""
    jena, gera = SiteRig("jena"), SiteRig("gera")
    jena.write(patient_of(1))
    gera.pull(jena)
    watch = reopen(gera, tmp_path)
    apply = Document.apply

    def exhausted(self: Document, delta: bytes, reach: Reach | None = None) -> None:
        apply(self, delta, reach)
        self._guarded(lambda doc: bytes(2**62))

    monkeypatch.setattr(Document, "apply", exhausted)
    with pytest.raises(MemoryError):
        gera.derive()
    monkeypatch.setattr(Document, "apply", apply)
    watch.close()
    watch = reopen(gera, tmp_path)
    assert watch.suspects == range(1, 2)
    assert gera.derive().alarms == []
    assert gera.engine.digest() == jena.engine.digest() and not watch.suspects
    watch.close()


def test_where_nothing_can_be_tried_nothing_is_derived(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    jena, _ = poisoned_site(SiteRig("jena"), OVERFLOWS)
    died(tmp_path, 2, 3)
    watch = reopen(jena, tmp_path)
    monkeypatch.setattr(sys, "executable", "/nowhere/python")
    with pytest.raises(EnvironmentFailure, match="none to try it in can be started"):
        jena.derive()
    watch.close()
    assert Marker(tmp_path).found == (2, 3), "the next one will have to try, too"


def test_a_hang_outlives_neither_its_time_nor_the_process_that_asked(tmp_path: Path) -> None:
    """Whoever asks may be killed meanwhile; the trying process ends all the same."""
    head = b'{"client": 1, "kind": "patient", "record": "r", "subject": "r", "state": 0, "delta": 4}\n'
    began = time.monotonic()
    process = subprocess.Popen(
        [sys.executable, "-m", "crdtsync.engine.trial"], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    out, _ = process.communicate(head + HANG, timeout=limits.trial_patience_s)
    assert (out, process.returncode < 0) == (b"ready\nsound\n", True)
    assert time.monotonic() - began < limits.trial_patience_s / 2
