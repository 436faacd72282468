"""Applying commits: batches, large transactions, unknown kinds, and what no document can take (L2, L6)."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from crdtsync import limits
from crdtsync.documents import Document, Edit, EditText, Hunk, SetField
from crdtsync.engine.shelf import OpenRecord
from crdtsync.errors import RefusedError
from crdtsync.ids import RecordId, base32, client_id, commit_text, log_tag
from crdtsync.practice import Patient, Task
from crdtsync.replication.commit import Change, Commit
from crdtsync.replication.stored import key_object
from crdtsync.storage.base import StoredDocument

from .conftest import MakeStore
from .sites import SiteRig, forge, patient_of, record_of


def stored(site: SiteRig, kind: str, number: int) -> StoredDocument:
    document = site.store.document(kind, record_of(number))
    assert document is not None
    return document


def slots(site: SiteRig, kind: str, number: int) -> Mapping[str, str]:
    """What a record's document says."""
    return Document(1, stored(site, kind, number).state).content().slots


def write_large(site: SiteRig, numbers: range) -> list[Commit]:
    """One transaction that needs several commits."""
    [outcome] = site.write_all([site.request(*[patient_of(n, family_name="x" * 40_000) for n in numbers])])
    assert len(outcome.commits) > 1
    return list(outcome.commits)


@pytest.mark.parametrize("commits_max", [1, 3, 1_000])
def test_batches_of_any_size_give_one_view(make_store: MakeStore, commits_max: int) -> None:
    jena, gera = SiteRig("jena"), SiteRig("gera", make_store())
    for number in range(5):
        jena.write(patient_of(number))
    for word in ("a", "b", "c"):
        patient = jena.patient(2)
        patient.title = word
        jena.write(patient)
    gera.pull(jena)
    first = gera.engine.derive(gera.now(), commits_max)
    assert first.done == (commits_max == 1_000)
    assert first.arrival == min(commits_max, 8)
    result = gera.derive(commits_max)
    assert result.digest.hex() == jena.engine.digest()[0] and result.records == 5
    assert {*first.changed, *result.changed} == {("patient", record_of(number)) for number in range(5)}
    assert gera.engine.derive(gera.now()).changed == []


def test_what_is_not_in_memory_any_more_is_read_from_the_log(
    monkeypatch: pytest.MonkeyPatch, make_store: MakeStore
) -> None:
    monkeypatch.setattr(limits, "tail_bytes_max", 2_000)
    jena, gera = SiteRig("jena"), SiteRig("gera", make_store())
    for number in range(12):
        jena.write(patient_of(number))
        gera.pull(jena)
        if number == 5:
            gera.engine.derive(gera.now(), 2)
    gera.derive(5)
    assert gera.engine.digest() == jena.engine.digest()


def test_more_documents_than_are_kept_open(monkeypatch: pytest.MonkeyPatch, make_store: MakeStore) -> None:
    monkeypatch.setattr(limits, "documents_cached_max", 4)
    jena, gera = SiteRig("jena"), SiteRig("gera", make_store())
    shelf, most = gera.engine._deriving.shelf, 0
    take = shelf.take

    def counted(kind: str, record: RecordId, subject: str) -> OpenRecord:
        nonlocal most
        found = take(kind, record, subject)
        most = max(most, len(shelf.taken))
        return found

    monkeypatch.setattr(shelf, "take", counted)
    jena.write(*[patient_of(number) for number in range(30)])
    for number in (3, 3, 7):
        patient = jena.patient(number)
        patient.title = f"{patient.title}+"
        jena.write(patient)
    gera.pull(jena)
    gera.derive()
    assert most == 5
    assert gera.engine.digest() == jena.engine.digest()
    assert gera.verify(jena) == []


def test_a_large_transaction_is_seen_whole_or_not_at_all(make_store: MakeStore) -> None:
    jena, gera, weimar = SiteRig("jena", make_store()), SiteRig("gera", make_store()), SiteRig("weimar")
    fragments = write_large(jena, range(40))
    count = len(fragments)
    assert [commit.header.fragment for commit in fragments] == [(index, count) for index in range(count)]
    jena.write(patient_of(99))
    gera.pull(jena, upto=count - 1)
    assert gera.derive().records == 0
    weimar.write(patient_of(50))
    gera.pull(weimar)
    assert gera.derive().records == 1, "others do not wait for the rest of it"
    own = gera.write(patient_of(51))
    assert (jena.engine.log, fragments[count - 2].head) in own.header.dependencies
    gera.pull(jena, upto=count)
    result = gera.derive()
    assert result.records == 42
    changed = {record for kind, record in result.changed}
    assert {record_of(number) for number in range(40)} <= changed
    assert stored(gera, "patient", 0).subject == record_of(0)
    for site in (jena, weimar, jena):
        site.sync(gera)
    assert jena.engine.digest() == gera.engine.digest() == weimar.engine.digest()
    assert gera.verify(jena, weimar) == weimar.verify(jena, gera) == []


def test_a_large_transaction_survives_a_restart_in_its_middle(make_store: MakeStore) -> None:
    jena, gera = SiteRig("jena"), SiteRig("gera", make_store())
    count = len(write_large(jena, range(40)))
    gera.pull(jena, upto=count - 1)
    gera.derive()
    gera.open()
    gera.pull(jena)
    assert gera.derive(1).records == 40
    assert gera.engine.digest() == jena.engine.digest()


def test_an_item_names_the_commit_that_it_stands_in() -> None:
    """A delta names its commit before the commit is made, also in a fragment."""
    jena = SiteRig("jena")
    fragments = write_large(jena, range(40))
    assert jena.engine.log is not None
    tag = log_tag(jena.engine.log)
    for number in (0, 39):
        state = jena.engine.record("patient", record_of(number))
        assert state is not None
        [raw] = [raw for slot, raw in state.content.slots.items() if slot == f"family_name/{tag}"]
        part = fragments[-1 if number == 39 else 0]
        assert raw.startswith(f"[[{part.header.sequence},{part.header.stamp},")


def test_kinds_that_nobody_declares_pass_through(make_store: MakeStore) -> None:
    """S34 in small: kept, passed on, counted in the digest, and shown by nobody."""
    jena, gera, weimar = SiteRig("jena", make_store()), SiteRig("gera", make_store()), SiteRig("weimar", make_store())
    assert jena.engine.log is not None
    document = Document(client_id(jena.engine.log, record_of(1)))
    delta = document.write(tag=log_tag(jena.engine.log), sequence=1, stamp=1, edits=[SetField("wing_span", 7, {})])
    forge(jena, record_of(1), Change("pterosaur", record_of(1), delta))
    gera.pull(jena)
    gera.derive()
    weimar.pull(gera)
    weimar.derive()
    assert stored(weimar, "pterosaur", 1).damaged == ""
    state = weimar.engine.record("pterosaur", record_of(1))
    assert state is not None and "wing_span" in next(iter(state.content.slots))
    assert weimar.store.counts() == {"pterosaur": 1}
    jena.derive()
    assert jena.engine.digest() == weimar.engine.digest()


@pytest.mark.parametrize("delta", [b"", b"\xff" * 9, b"\x01\x01\x01\x00"], ids=["empty", "noise", "other client"])
def test_a_poisoned_delta_is_held_and_the_rest_goes_on(make_store: MakeStore, delta: bytes) -> None:
    jena, gera = SiteRig("jena", make_store()), SiteRig("gera", make_store())
    jena.write(patient_of(1))
    patient = jena.patient(1)
    patient.title = "Dr."
    jena.write(patient)
    poison = forge(jena, record_of(1), Change("patient", record_of(1), delta), Change("patient", record_of(2), b"x"))
    jena.derive()
    jena.engine.open_boot()
    jena.write(patient_of(3))
    gera.pull(jena)
    result = gera.derive()
    [alarm] = result.alarms
    assert commit_text(poison.id) in alarm and base32(jena.replica) in alarm
    assert record_of(1) in alarm and record_of(2) in alarm
    assert [(due.commit, due.hash, due.reason) for due in result.holds] == [(poison.id, poison.hash, "form")]
    assert gera.patient(1).title == "Dr." and gera.patient(3).family_name == "Muster3"
    assert commit_text(poison.id) in stored(gera, "patient", 1).damaged
    assert stored(gera, "patient", 2).damaged != "" and stored(gera, "patient", 3).damaged == ""
    state = gera.engine.record("patient", record_of(1))
    assert state is not None and state.damaged
    [held] = gera.engine.status().held
    assert held.commit == poison.id and held.records == (record_of(1), record_of(2))
    assert gera.engine.digest() == jena.engine.digest()


def test_later_changes_of_that_log_to_the_record_are_held_too(make_store: MakeStore) -> None:
    jena, gera = SiteRig("jena", make_store()), SiteRig("gera", make_store())
    jena.write(patient_of(1))
    twin = Document(1, stored(jena, "patient", 1).state)
    assert jena.engine.log is not None
    forge(jena, record_of(1), Change("patient", record_of(1), b"poison"))
    good = Document(client_id(jena.engine.log, record_of(1)), twin.state())
    later = good.write(tag=log_tag(jena.engine.log), sequence=3, stamp=9, edits=[SetField("title", "late", {})])
    forge(jena, record_of(1), Change("patient", record_of(1), later), Change("patient", record_of(2), b"poison"))
    gera.pull(jena)
    gera.engine.derive(gera.now(), 2)
    gera.reopen()
    result = gera.derive()
    assert len(result.alarms) == 1, "what is held already raises no second alarm"
    assert gera.patient(1).title is None
    # Everybody else, and the author under a new boot, can still change the record.
    patient = gera.patient(1)
    patient.title = "re-entered"
    gera.write(patient)
    jena.derive()
    assert jena.engine.needs_boot and not gera.engine.needs_boot
    with pytest.raises(RefusedError, match="new boot"):
        jena.write(_titled(jena, "refused"))
    jena.reopen()
    assert jena.engine.needs_boot
    jena.engine.open_boot()
    assert not jena.engine.needs_boot
    jena.pull(gera)
    jena.write(_titled(jena, "new boot"))
    gera.sync(jena)
    assert gera.patient(1).title == "new boot"
    assert gera.engine.digest() == jena.engine.digest()
    assert gera.engine.rebuild(gera.now()) == jena.engine.digest()


def _titled(site: SiteRig, title: str) -> Patient:
    site.derive()
    patient = site.patient(1)
    patient.title = title
    return patient


def test_a_part_that_does_not_open_is_held_with_what_follows(make_store: MakeStore) -> None:
    jena, gera = SiteRig("jena", make_store()), SiteRig("gera", make_store())
    jena.write(patient_of(1))
    broken = forge(jena, record_of(1), Change("patient", record_of(1), b""), sealed=b"s" * 200)
    jena.engine.derive(jena.now())
    with pytest.raises(RefusedError, match="new boot"):
        jena.write(_titled(jena, "held"))
    jena.engine.open_boot()
    jena.write(patient_of(2))
    gera.pull(jena)
    [alarm] = gera.derive().alarms
    assert commit_text(broken.id) in alarm and base32(jena.replica) in alarm
    assert commit_text(broken.id) in stored(gera, "patient", 1).damaged
    assert [(held.commit, held.records) for held in gera.engine.status().held] == [(broken.id, (record_of(1),))]
    assert gera.patient(2).family_name == "Muster2"
    assert gera.engine.digest() == jena.engine.digest()


def test_a_commit_that_the_program_itself_fails_on_is_held(
    monkeypatch: pytest.MonkeyPatch, make_store: MakeStore
) -> None:
    jena, gera = SiteRig("jena"), SiteRig("gera", make_store())
    for number in range(4):
        jena.write(patient_of(number))
    gera.pull(jena)
    fingerprint = Document.fingerprint

    def fails(self: Document, kind: str, record: str) -> bytes:
        if record == record_of(2):
            raise ZeroDivisionError
        return fingerprint(self, kind, record)  # type: ignore[arg-type]

    monkeypatch.setattr(Document, "fingerprint", fails)
    result = gera.derive()
    assert (result.records, result.arrival, result.done) == (3, 4, True)
    [alarm] = result.alarms
    assert "ZeroDivisionError" in alarm and commit_text(jena.store.arrivals(2, 1, 1)[0].commit.id) in alarm
    monkeypatch.undo()
    assert gera.engine.rebuild(gera.now()) == jena.engine.digest()


def test_changes_without_a_name_are_held() -> None:
    jena, gera = SiteRig("jena"), SiteRig("gera")
    task = Task(title="x")
    task.id = record_of(1)
    jena.write(task)
    forge(jena, record_of(1), Change("", record_of(1), b"x"))
    forge(jena, record_of(2), Change("task", RecordId(""), b"x"))
    gera.pull(jena)
    result = gera.derive()
    assert len(result.alarms) == 2 and result.records == 1
    assert all("is held" in alarm and "a part of it does not open" in alarm for alarm in result.alarms)
    assert [due.reason for due in result.holds] == ["seal", "seal"]


def delta_of(site: SiteRig, number: int, *edits: Edit, start: bytes = b"") -> bytes:
    """A delta to a record as the log of `site` writes it, on top of a state."""
    assert site.engine.log is not None
    document = Document(client_id(site.engine.log, record_of(number)), start)
    return document.write(tag=log_tag(site.engine.log), sequence=9, stamp=9, edits=edits)


def test_what_no_document_writes_is_held_though_the_library_would_take_it() -> None:
    """The gate, not the library, decides: arrays in a slot would be applied without a word."""
    jena, gera = SiteRig("jena"), SiteRig("gera")
    jena.write(patient_of(1))
    delta = delta_of(jena, 2, SetField("title", "x", {}))
    at = delta.index(b"\x01w")
    forge(jena, record_of(1), Change("patient", record_of(2), delta[:at] + bytes([1, 117, 1, 126, 0])))
    gera.pull(jena)
    assert len(gera.derive().alarms) == 1
    assert stored(gera, "patient", 2).damaged != ""


def test_a_document_goes_on_without_a_delta_that_broke_it() -> None:
    """What passes the gate may still break the document in memory: in the same batch others' changes count (L6)."""
    jena, gera, weimar = SiteRig("jena"), SiteRig("gera"), SiteRig("weimar")
    patient = patient_of(1)
    patient.note.insert(0, "ab")
    gera.write(patient)
    jena.sync(gera)
    assert jena.engine.log is not None and gera.engine.log is not None
    text = Document(1, stored(gera, "patient", 1).state)
    honest = delta_of(jena, 1, EditText("note", "ab", (Hunk(1, 1, "x"),)), start=text.state())
    place = honest[honest.index(0xC4) + 1 : honest.index(b"\x01x")]
    hostile = honest[: honest.index(0xC4)] + b"\xc8" + place + b"\x01w\x01x\x00"
    forge(jena, record_of(1), Change("patient", record_of(1), hostile))
    change = gera.patient(1)
    change.title = "Dr."
    weimar.pull(jena)
    gera.write(change)
    weimar.pull(gera)
    assert len(weimar.derive().alarms) == 1
    assert weimar.patient(1).title == "Dr." and str(weimar.patient(1).note) == "ab"


def test_a_subject_is_held_for_a_log_whose_part_did_not_open() -> None:
    """Which records the broken part changed is not known: nothing more by that log to this subject is applied."""
    jena, gera = SiteRig("jena"), SiteRig("gera")
    jena.write(patient_of(1))
    forge(jena, record_of(1), Change("patient", record_of(1), b""), sealed=b"s" * 200)
    forge(jena, record_of(1), Change("task", record_of(5), delta_of(jena, 5, SetField("title", "x", {}))))
    gera.pull(jena)
    [due] = gera.derive().holds
    assert due.reason == "seal"
    assert slots(gera, "task", 5) == {}, "it is not applied"
    assert commit_text(due.commit) in stored(gera, "task", 5).damaged, "and everybody sees that it is missing"
    assert gera.patient(1).family_name == "Muster1", "what was there before stays"


def test_fragments_of_two_transactions_are_not_one() -> None:
    jena, gera = SiteRig("jena"), SiteRig("gera")
    for number, fragment in ((1, (0, 3)), (2, (1, 2))):
        delta = delta_of(jena, number, SetField("title", "x", {}))
        forge(jena, record_of(number), Change("task", record_of(number), delta), fragment=fragment)
    gera.pull(jena)
    result = gera.derive()
    [alarm] = result.alarms
    assert "is held" in alarm and record_of(2) in alarm
    assert [due.reason for due in result.holds] == ["form"]
    assert gera.store.document("task", record_of(1)) is None, "its own transaction has not ended"
    assert slots(gera, "task", 2) == {}, "the end of a transaction without its beginning is applied by nobody"
    assert stored(gera, "task", 2).damaged != ""


def test_a_key_that_opens_to_nothing_is_not_sealed_with() -> None:
    """Anybody may put a key object there, under a subject of its choice."""
    jena, gera = SiteRig("jena"), SiteRig("gera")
    jena.engine.put_keys([key_object(jena.grant.epoch, record_of(1), b"w" * 40)])
    jena.write(patient_of(1))
    gera.pull(jena)
    assert gera.derive().alarms == [] and gera.patient(1).family_name == "Muster1"
