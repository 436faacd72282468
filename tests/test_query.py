"""Questions find records by every kind of value, in the form in which tables hold it."""

from __future__ import annotations

import datetime
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from crdtsync import BadValue, Site, StorageFailure, UnknownField, UnknownKind, UsageError
from crdtsync.documents import Record
from crdtsync.folder import unlock
from crdtsync.practice import Address, ChartEntry, Dosage, MedicationStatement, Patient, Setting, Visit
from crdtsync.query import Questions

from .sites import PASSPHRASE, add, change, create

pytestmark = pytest.mark.anyio
NOON = datetime.datetime(2026, 3, 1, 12, 0, tzinfo=datetime.UTC)


@pytest.fixture
async def jena(tmp_path: Path) -> AsyncIterator[Site]:
    async with create(tmp_path / "jena") as site:
        yield site


def erika() -> Patient:
    patient = Patient(
        family_name="Müßter",
        birth_date=datetime.date(1964, 8, 12),
        number=2**60,
        deceased=True,
        address=Address(city="Jena"),
        sex="female",
    )
    patient.phones.add("03641 1")
    patient.note.replace("likes tea")
    return patient


FOUND: list[tuple[Callable[[], Record], dict[str, Any]]] = [
    (erika, {"family_name": "Müßter"}),
    (erika, {"birth_date": datetime.date(1964, 8, 12)}),
    (erika, {"birth_date": "1964-08-12"}),
    (erika, {"number": 2**60}),
    (erika, {"deceased": True, "sex": "female"}),
    (erika, {"address": Address(city="Jena")}),
    (erika, {"address": {"city": "Jena"}}),
    (erika, {"phones": ["03641 1"]}),
    (erika, {"note": "likes tea"}),
    (erika, {"title": None, "archived": None}),
    (erika, {"emails": []}),
    (lambda: MedicationStatement(dosage=Dosage(morning=0.5)), {"dosage": Dosage(morning=0.5)}),
    (lambda: Visit(started=NOON), {"started": NOON}),
    (lambda: ChartEntry(clinical_time=NOON, type="note"), {"clinical_time": NOON}),
    (lambda: Setting(value={"a": [1]}), {"value": {"a": [1]}}),
    (lambda: Setting(value=5), {"value": 5}),
]


async def test_records_are_found_by_their_values(jena: Site) -> None:
    for make, equals in FOUND:
        record = make()
        before = {found.id for found in await jena.find(type(record), **equals)}
        await add(jena, record)
        [found] = [found for found in await jena.find(type(record), **equals) if found.id not in before]
        assert found.id == record.id, equals


async def test_limits_and_what_cannot_be_asked(jena: Site) -> None:
    await add(jena, *[Patient(family_name=f"Muster{n}") for n in range(5)])
    assert len(await jena.find(Patient, limit=3)) == 3 and len(await jena.find("patient")) == 5
    with pytest.raises(UnknownField, match="has no field 'colour'"):
        await jena.find(Patient, colour="red")
    with pytest.raises(UnknownField, match="source"):
        await jena.find(Patient, source={})
    with pytest.raises(UnknownKind, match="no kind is named 'submarine'"):
        await jena.find("submarine")
    with pytest.raises(BadValue) as raised:
        await jena.find(Patient, birth_date="on a Monday")
    assert "Monday" not in str(raised.value)
    for query in ("DELETE FROM patient", "PRAGMA journal_mode", "ATTACH 'x' AS y", "SELECT", "SELECT 1; SELECT 2"):
        with pytest.raises(UsageError):
            await jena.sql(query)
    assert await jena.sql("SELECT count(*) AS n FROM patient WHERE family_name > ?", ["Muster2"]) == [{"n": 2}]


async def test_conflicts_have_the_promised_shape(jena: Site) -> None:
    statement = MedicationStatement(dosage=Dosage(morning=1))
    await add(jena, statement)
    async with jena.transaction() as one, jena.transaction() as other:
        (await one.get(MedicationStatement, statement.id)).dosage = Dosage(morning=2)
        (await other.get(MedicationStatement, statement.id)).dosage = Dosage(morning=3)
    [conflict] = await jena.conflicts()
    assert conflict["kind"] == "field" and conflict["severity"] == "high" and conflict["field"] == "dosage"
    assert conflict["records"] == [statement.id] and {v["morning"] for v in conflict["values"]} == {2.0, 3.0}
    assert len(conflict["id"]) == 26 and len(conflict["written"]) == 2
    assert datetime.datetime.fromisoformat(conflict["detected_at"]).tzinfo is not None
    await change(jena, statement, dosage=Dosage(morning=4))
    assert await jena.conflicts() == []


async def test_questions_to_a_view_that_is_not_there(tmp_path: Path) -> None:
    async with create(tmp_path / "jena"):
        pass
    for file in (tmp_path / "jena").glob("view.db*"):
        file.unlink()
    unlocked = await unlock(tmp_path / "jena", PASSPHRASE)
    try:
        async with Questions.open(unlocked) as questions:
            with pytest.raises(StorageFailure, match="open the replica first"):
                await questions.sql("SELECT 1", ())
    finally:
        unlocked.lock.release()
