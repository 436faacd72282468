"""What gets into the view beside documents: rows, words, conflicts; and kinds that have no model yet (L5, L8)."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from crdtsync.documents import Document, Record, SetField, kinds, register
from crdtsync.engine import Engine
from crdtsync.ids import client_id, log_tag
from crdtsync.replication.commit import Change
from crdtsync.storage.memory import MemoryStore

from .conftest import MakeStore
from .sites import PRACTICE, SiteRig, forge, patient_of, record_of


@pytest.fixture
def own_kinds() -> Iterator[None]:
    """Forget the kinds that a test declares."""
    before = set(kinds())
    yield
    for kind in set(kinds()) - before:
        del kinds()[kind]


def conflicting(make_store: MakeStore) -> tuple[SiteRig, SiteRig]:
    """Jena and Gera gave patient 1 different titles, and Gera knows it."""
    jena, gera = SiteRig("jena"), SiteRig("gera", make_store())
    jena.write(patient_of(1))
    gera.pull(jena)
    gera.derive()
    for site, title in ((jena, "Dr."), (gera, "Prof.")):
        patient = site.patient(1)
        patient.title = title
        site.write(patient)
    gera.pull(jena)
    gera.derive()
    return jena, gera


def test_a_conflict_is_kept_with_values_and_the_time_it_was_first_seen(make_store: MakeStore) -> None:
    jena, gera = conflicting(make_store)
    [conflict] = gera.store.conflicts()
    body = json.loads(conflict.body)
    assert (conflict.kind, conflict.record, body["field"], body["records"]) == (
        "field",
        record_of(1),
        "title",
        [record_of(1)],
    )
    assert sorted(value["value"] for value in body["values"]) == ["Dr.", "Prof."]
    assert all(set(value) == {"value", "commit", "stamp"} for value in body["values"])
    assert body["severity"] == conflict.severity
    assert gera.engine.status().conflicts == 1
    gera.now_ms += 60_000
    patient = gera.patient(1)
    patient.given_name = "Erika"
    gera.write(patient)
    assert [c.detected_ms for c in gera.store.conflicts()] == [conflict.detected_ms]
    gera.now_ms += 60_000
    gera.engine.rebuild(gera.now())
    [rebuilt] = gera.store.conflicts()
    assert rebuilt == conflict
    jena.sync(gera)
    assert [c.id for c in jena.store.conflicts()] == [conflict.id], "every site computes the same id"


def test_a_decision_closes_the_conflict(make_store: MakeStore) -> None:
    jena, gera = conflicting(make_store)
    patient = gera.patient(1)
    patient.title = "Prof. Dr."
    gera.write(patient)
    assert gera.store.conflicts() == []
    jena.sync(gera)
    assert jena.store.conflicts() == []


def test_rows_and_words_are_written() -> None:
    store = MemoryStore()
    jena = SiteRig("jena", store)
    jena.write(patient_of(1, given_name="Erika"))
    row = store.row("patient", record_of(1))
    assert row is not None and (row["family_name"], row["given_name"]) == ("Muster1", "Erika")
    assert "Erika" in store.words("patient", record_of(1))


def test_a_kind_whose_model_comes_later_gets_its_rows(own_kinds: None) -> None:
    """An older program derived it bare; the first one that knows the model adds the rows (see test_rows)."""
    store = MemoryStore()
    jena, gera = SiteRig("jena"), SiteRig("gera", store)
    assert jena.engine.log is not None
    document = Document(client_id(jena.engine.log, record_of(1)))
    delta = document.write(tag=log_tag(jena.engine.log), sequence=1, stamp=1, edits=[SetField("span", 7, {})])
    forge(jena, record_of(1), Change("glider", record_of(1), delta))
    gera.pull(jena)
    gera.derive()
    assert store.row("glider", record_of(1)) is None
    digest = gera.engine.digest()

    class Glider(Record, kind="glider"):
        span: int | None = register()

    assert gera.engine.derive(gera.now()).behind == ("glider",)
    assert gera.engine.derive_rows(gera.now()) == ()
    row = store.row("glider", record_of(1))
    assert row is not None and row["span"] == 7
    assert gera.engine.digest() == digest
    gera.open()
    assert gera.engine.derive(gera.now()).behind == (), "and only once"


def test_a_model_that_comes_after_a_restart_gets_its_rows(own_kinds: None, make_store: MakeStore) -> None:
    jena, gera = SiteRig("jena"), SiteRig("gera", make_store())
    assert jena.engine.log is not None
    document = Document(client_id(jena.engine.log, record_of(1)))
    delta = document.write(tag=log_tag(jena.engine.log), sequence=1, stamp=1, edits=[SetField("span", 7, {})])
    forge(jena, record_of(1), Change("balloon", record_of(1), delta))
    gera.pull(jena)
    gera.derive()

    class Balloon(Record, kind="balloon"):
        span: int | None = register()

    engine = Engine(gera.store, gera.sealer, gera.keyring, practice=PRACTICE, replica=gera.replica)
    assert engine.digest()[1] == 1, "the documents are there, and answer"
    while engine.derive_rows(gera.now()):
        pass
    again = Engine(gera.store, gera.sealer, gera.keyring, practice=PRACTICE, replica=gera.replica)
    assert again.digest() == engine.digest() and again.derive(gera.now()).behind == ()


def test_half_characters_are_kept_and_not_shown(make_store: MakeStore) -> None:
    """No database takes them, and no honest writer makes them: they must not stop anybody (L6)."""
    jena, gera = SiteRig("jena"), SiteRig("gera", make_store())
    jena.write(patient_of(2))
    assert jena.engine.log is not None
    client, tag = client_id(jena.engine.log, record_of(1)), log_tag(jena.engine.log)
    delta = Document(client).write(
        tag=tag, sequence=2, stamp=1, edits=[SetField("family_name", "XudXXXX", {}), SetField("title", "Dr.", {})]
    )
    forge(jena, record_of(1), Change("patient", record_of(1), delta.replace(b"XudXXXX", b"\\ud800.")))
    gera.pull(jena)
    result = gera.derive()
    assert result.records == 2
    patient = gera.patient(1)
    assert (patient.family_name, patient.title) == (None, "Dr.")
    jena.derive()
    assert gera.engine.digest() == jena.engine.digest()
