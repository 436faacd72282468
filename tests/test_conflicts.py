"""`site.conflicts`: listed alike everywhere, looked after, decided once for all, watched."""

from __future__ import annotations

import datetime
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import pytest

from crdtsync import Site, limits
from crdtsync.conflicts import ConflictChange, Conflicts
from crdtsync.documents import Record, SetField, entries, register
from crdtsync.documents.entries import Entries
from crdtsync.documents.settling import commits_of
from crdtsync.engine import RecordEdits, WriteRequest
from crdtsync.errors import BadValue, NotFound, RefusedError, Undecided, UsageError
from crdtsync.practice import Allergy, Appointment, DetectedIssue, Dosage, Drug, MedicationStatement, Patient, Slot

from .sites import add, agree, change, create, mesh, opened, practice

pytestmark = pytest.mark.anyio
START = datetime.datetime(2026, 1, 5, 8, tzinfo=datetime.UTC)


class Shelf(Record, kind="conflict_test_shelf"):
    """A kind with entries that can be changed."""

    items: Entries[Drug] = entries()
    label: str | None = register(severity="low")


def ramipril(patient: str | None = None) -> MedicationStatement:
    return MedicationStatement(patient=patient, drug=Drug(name="Ramipril"), dosage=Dosage(morning=1), status="active")


def booking(minute: int) -> Appointment:
    start = START + datetime.timedelta(minutes=minute)
    slot = Slot(start=start, end=start + datetime.timedelta(minutes=15), resources=("Zimmer 1",))
    return Appointment(calendar="Dr. Weber", slot=slot, status="booked")


async def put(
    site: Site, record: Record, seen: dict[str, str], author: str = "", known: tuple[str, ...] = (), **values: Any
) -> None:
    """Write fields as one who had seen only `seen` of the record, and of its group what is `known`."""
    edits = [SetField(name, value, seen, known) for name, value in values.items()]
    change = RecordEdits(record.kind, record.id, "", edits)
    outcome = await site.driver.write(WriteRequest(author, "why", "desk-1", "", [change]))
    assert outcome.error is None


async def two_dosages(site: Site) -> tuple[MedicationStatement, str]:
    """A statement whose dosage was changed twice unseen, and the conflict's id."""
    statement = ramipril()
    await add(site, statement)
    known = commits_of((await site.get(MedicationStatement, statement.id))._reading.content.slots, ("dosage", "status"))
    await put(site, statement, {}, "dr.jung", known, dosage={"morning": 2.0})
    [conflict] = [each for each in await site.conflicts() if each["field"] == "dosage"]
    return statement, conflict["id"]


@asynccontextmanager
async def apart(folder: Path) -> AsyncIterator[tuple[Site, Site, MedicationStatement, str]]:
    """Two sites that changed one dosage apart, and know it; neither is serving."""
    async with practice(folder, "Jena", "Gera") as (jena, gera):
        statement = ramipril()
        async with mesh(jena, gera):
            await add(jena, statement)
            await agree(jena, gera)
        await change(jena, statement, dosage=Dosage(morning=2))
        await change(gera, statement, dosage=Dosage(morning=0.5))
        async with mesh(jena, gera):
            await agree(jena, gera)
        [conflict] = await jena.conflicts()
        yield jena, gera, statement, conflict["id"]


async def test_both_values_come_with_author_site_and_times(tmp_path: Path) -> None:
    async with apart(tmp_path) as (jena, gera, statement, name):
        here, there = await jena.conflicts.get(name), await gera.conflicts.get(name)
        assert (here.kind, here.severity, here.field, here.state) == ("field", "high", "dosage", "open")
        assert (here.records, here.record_kinds) == ((statement.id,), ("medication_statement",))
        assert {(v.value["morning"], v.site, v.author) for v in here.values} == {
            (2.0, "Jena", "somebody at Jena"),
            (0.5, "Gera", "somebody at Gera"),
        }
        assert here.values == there.values
        for value in here.values:
            assert value.written_at is not None and value.commit.count(":") == 1
            assert abs(value.at - value.written_at) < datetime.timedelta(seconds=5)
        assert here.detected_at is not None and here.detected_at >= max(value.at for value in here.values)


async def test_a_decision_at_one_site_closes_it_at_the_other(tmp_path: Path) -> None:
    async with apart(tmp_path) as (jena, gera, statement, name):
        values = (await jena.conflicts())[0]["values"]
        commit = await gera.conflicts.resolve(name, keep=1, author="dr.jung", reason="asked the patient")
        assert commit is not None
        with pytest.raises(NotFound, match="resolved already"):
            await gera.conflicts.resolve(name, keep=0)
        async with mesh(jena, gera):
            await agree(jena, gera)
        for site in (jena, gera):
            assert await site.conflicts() == []
            assert (await site.get(MedicationStatement, statement.id)).dosage == Dosage(**values[1])
            [resolved] = await site.conflicts(state="resolved")
            assert (resolved["id"], resolved["values"], resolved["state"]) == (name, values, "resolved")
            told = await site.conflicts.get(name)
            assert told.resolved is not None and told.resolved.decided == values[1]
            assert (told.resolved.author, told.resolved.text) == ("dr.jung", "asked the patient")
            assert {value.author for value in told.values} == {"somebody at Jena", "somebody at Gera"}


@pytest.mark.parametrize("choices", [(0, 0), (0, 1)])
async def test_two_decisions_apart_are_a_conflict_only_if_they_differ(tmp_path: Path, choices: tuple[int, int]) -> None:
    async with apart(tmp_path) as (jena, gera, statement, name):
        for site, keep in zip((jena, gera), choices, strict=True):
            await site.conflicts.resolve(name, keep=keep, author=site.name)
        async with mesh(jena, gera):
            await agree(jena, gera)
        lists = [await site.conflicts() for site in (jena, gera)]
        assert [each["id"] for each in lists[0]] == [each["id"] for each in lists[1]]
        assert len(lists[0]) == len(set(choices)) - 1
        assert all(each["id"] != name and each["records"] == [statement.id] for each in lists[0])


async def test_reopening_brings_both_values_back(tmp_path: Path) -> None:
    async with apart(tmp_path) as (jena, gera, statement, name):
        before = (await jena.conflicts())[0]["values"]
        await jena.conflicts.resolve(name, value={"morning": 3.0}, author="dr.weber")
        again = await jena.conflicts.reopen(name, author="dr.weber", reason="too early")
        async with mesh(jena, gera):
            await agree(jena, gera)
        for site in (jena, gera):
            [conflict] = await site.conflicts()
            assert conflict["id"] == again and sorted(map(str, conflict["values"])) == sorted(map(str, before))
        await gera.conflicts.resolve(again, keep=0, author="dr.jung")
        await change(gera, statement, dosage=Dosage(morning=9))
        with pytest.raises(RefusedError, match="changed since"):
            await gera.conflicts.reopen(again)


async def test_what_people_say_reaches_every_site(tmp_path: Path) -> None:
    async with apart(tmp_path) as (jena, gera, _, name):
        await jena.conflicts.assign(name, "dr.weber", author="reception")
        await jena.conflicts.comment(name, "calls at noon", author="reception")
        await gera.conflicts.comment(name, "was here yesterday", author="dr.jung")
        async with mesh(jena, gera):
            await agree(jena, gera)
        for site in (jena, gera):
            told = await site.conflicts.get(name)
            assert told.assignee == "dr.weber" and told.state == "open"
            assert sorted(remark.text for remark in told.comments) == ["calls at noon", "was here yesterday"]
            assert [each["id"] for each in await site.conflicts(assignee="dr.weber")] == [name]
            assert await site.conflicts(assignee="dr.jung") == []
            assert len(await site.conflicts()) == 1, "what is said of a conflict is no conflict"
        await jena.conflicts.assign(name, None)
        assert (await jena.conflicts.get(name)).assignee is None


async def test_prescribing_needs_an_acknowledgement(tmp_path: Path) -> None:
    async with apart(tmp_path) as (jena, gera, statement, name):
        record = await jena.get(MedicationStatement, statement.id)
        with pytest.raises(Undecided, match=name):
            record.for_prescribing("dosage")
        assert record.for_prescribing("drug") == Drug(name="Ramipril")
        with pytest.raises(UsageError, match="who you are"):
            await jena.conflicts.acknowledge(name, author="")
        await jena.conflicts.acknowledge(name, author="dr.weber", reason="both are safe")
        assert record.for_prescribing("dosage") == record.dosage
        assert [each["state"] for each in await jena.conflicts()] == ["acknowledged"], "it stays open"
        with pytest.raises(Undecided):
            (await gera.get(MedicationStatement, statement.id)).for_prescribing("dosage")
        async with mesh(jena, gera):
            await agree(jena, gera)
        [found] = await gera.find(MedicationStatement)
        assert found.for_prescribing("dosage") == found.dosage
        assert await gera.conflicts(state="open") == [] != await gera.conflicts(state="acknowledged")


async def test_a_contradiction_is_in_the_way_of_prescribing_too(tmp_path: Path) -> None:
    async with create(tmp_path / "jena") as jena:
        patient = Patient(family_name="Muster")
        await add(jena, patient)
        allergy = Allergy(patient=patient.id, substance="Penicillin", status="active")
        await add(jena, allergy, Allergy(patient=patient.id, substance="none known"))
        [conflict] = await jena.conflicts(kind="contradiction")
        record = await jena.get(Allergy, allergy.id)
        with pytest.raises(Undecided, match=conflict["id"]):
            record.for_prescribing("substance")
        await jena.conflicts.dismiss(conflict["id"], "an old form", author="dr.weber")
        assert record.for_prescribing("substance") == "Penicillin"
        assert Allergy(substance="Nuss").for_prescribing("substance") == "Nuss"


async def test_a_dismissed_conflict_is_not_listed_until_it_is_taken_up(tmp_path: Path) -> None:
    async with create(tmp_path / "jena") as jena:
        first, second = booking(0), booking(5)
        await add(jena, first, second)
        [conflict] = await jena.conflicts()
        name = conflict["id"]
        assert conflict["records"] == sorted([first.id, second.id]) and conflict["field"] == "slot"
        assert (await jena.status())["conflicts"] == 1
        with pytest.raises(UsageError, match="why"):
            await jena.conflicts.dismiss(name, "", author="dr.weber")
        await jena.conflicts.dismiss(name, "two short visits", author="dr.weber")
        assert await jena.conflicts() == [] and (await jena.status())["conflicts"] == 0
        assert [each["id"] for each in await jena.conflicts(state="dismissed")] == [name]
        told = await jena.conflicts.get(name)
        assert told.dismissed is not None and told.dismissed.text == "two short visits"
        await jena.rebuild()
        assert await jena.conflicts() == []
        assert await jena.conflicts.reopen(name, author="dr.weber") == name
        assert [each["id"] for each in await jena.conflicts()] == [name]
        with pytest.raises(UsageError, match="is open"):
            await jena.conflicts.reopen(name)


async def test_a_conflict_between_records_is_not_resolved_by_a_value(tmp_path: Path) -> None:
    async with create(tmp_path / "jena") as jena:
        await add(jena, booking(0), booking(5))
        [conflict] = await jena.conflicts()
        with pytest.raises(UsageError, match="move or cancel one"):
            await jena.conflicts.resolve(conflict["id"], keep=0)


async def test_what_is_said_goes_with_the_patient(tmp_path: Path) -> None:
    """The state of a conflict about one patient is sealed and erased with the patient's records."""
    async with create(tmp_path / "jena") as jena:
        patient = Patient(family_name="Muster")
        await add(jena, patient)
        statement = ramipril(patient.id)
        await add(jena, statement)
        await put(jena, statement, {}, dosage={"morning": 2.0})
        await add(jena, booking(0), booking(5))
        for conflict in await jena.conflicts():
            await jena.conflicts.comment(conflict["id"], "a remark", author="dr.weber")
            stored = jena._questions._reader.document("detected_issue", conflict["id"])
            assert stored is not None
            assert stored.subject == (patient.id if conflict["kind"] == "field" else conflict["id"])
            issue = await jena.get(DetectedIssue, conflict["id"])
            assert sorted(issue.implicated) == conflict["records"] and issue.code == conflict["kind"]


async def test_filters(tmp_path: Path) -> None:
    async with create(tmp_path / "jena") as jena:
        statement, name = await two_dosages(jena)
        first = booking(0)
        await add(jena, first, booking(5))
        assert len(await jena.conflicts()) == 2
        assert [each["id"] for each in await jena.conflicts(kind="field")] == [name]
        assert [each["id"] for each in await jena.conflicts(severity="high")] == [name]
        assert [each["id"] for each in await jena.conflicts(record=statement.id)] == [name]
        assert [each["kind"] for each in await jena.conflicts(record=first.id)] == ["double_booking"]
        assert await jena.conflicts(kind="field", severity="medium") == []
        with pytest.raises(UsageError, match="open, acknowledged"):
            await jena.conflicts(state="closed")


# --- deciding -------------------------------------------------------------------------------------------------------


async def test_wrong_decisions_change_nothing(tmp_path: Path) -> None:
    async with create(tmp_path / "jena") as jena:
        _, name = await two_dosages(jena)
        resolve = jena.conflicts.resolve
        for error, arguments in (
            (UsageError, {}),
            (UsageError, {"keep": 0, "value": None}),
            (UsageError, {"keep": 2}),
            (UsageError, {"keep": -1}),
            (BadValue, {"value": {"morning": "many"}}),
        ):
            with pytest.raises(error):
                await resolve(name, **arguments)  # type: ignore[arg-type]
        with pytest.raises(NotFound):
            await resolve("a" * 26, keep=0)
        assert [each["id"] for each in await jena.conflicts()] == [name]
        assert await jena.find(DetectedIssue) == []
        await resolve(name, value=None)
        assert await jena.conflicts() == [] and (await jena.find(MedicationStatement))[0].dosage is None


async def test_one_that_has_changed_meanwhile_is_not_decided(tmp_path: Path) -> None:
    async with create(tmp_path / "jena") as jena:
        statement, name = await two_dosages(jena)
        asked = jena.conflicts._look

        async def slow(conflict: str) -> Any:
            found = await asked(conflict)
            slots = (await jena.get(MedicationStatement, statement.id))._reading.content.slots
            await put(jena, statement, {}, "", commits_of(slots, ("dosage", "status")), dosage={"morning": 4.0})
            return found

        jena.conflicts._look = slow  # type: ignore[method-assign]
        with pytest.raises(RefusedError, match="in this moment"):
            await jena.conflicts.resolve(name, keep=0)
        [conflict] = await jena.conflicts()
        assert len(conflict["values"]) == 3


async def test_a_stop_beside_a_changed_dosage(tmp_path: Path) -> None:
    """To keep the dosage leaves the status open, and is refused; both values together decide. Undone, it is back."""
    async with create(tmp_path / "jena") as jena:
        statement = ramipril()
        await add(jena, statement)
        seen = dict((await jena.get(MedicationStatement, statement.id))._reading.content.slots)
        only = {name: {k: v for k, v in seen.items() if k.startswith(name)} for name in ("dosage", "status")}
        await put(jena, statement, only["dosage"], dosage={"morning": 2.0})
        await put(jena, statement, only["status"], status="stopped")
        [conflict] = await jena.conflicts()
        assert (conflict["field"], conflict["severity"]) == ("dosage+status", "high")
        fields = [each["field"] for each in conflict["written"]]
        with pytest.raises(UsageError, match="leaves open what status is"):
            await jena.conflicts.resolve(conflict["id"], keep=fields.index("dosage"))
        with pytest.raises(UsageError, match="dosage and status"):
            await jena.conflicts.resolve(conflict["id"], value="active")
        decided = {"dosage": {"morning": 2.0}, "status": "active"}
        await jena.conflicts.resolve(conflict["id"], value=decided, author="dr.weber")
        assert await jena.conflicts() == []
        record = await jena.get(MedicationStatement, statement.id)
        assert (record.dosage, record.status) == (Dosage(morning=2), "active")
        again = await jena.conflicts.reopen(conflict["id"])
        [back] = await jena.conflicts()
        assert (back["id"], back["field"], back["values"]) == (again, "dosage+status", conflict["values"])
        await jena.conflicts.resolve(again, keep=fields.index("status"))
        assert await jena.conflicts() == []
        assert (await jena.get(MedicationStatement, statement.id)).status == "stopped"


async def test_entries_of_which_one_was_changed_and_removed(tmp_path: Path) -> None:
    async with practice(tmp_path, "Jena", "Gera") as (jena, gera):
        shelf = Shelf(items=[Drug(name="Ramipril"), Drug(name="Metformin")])
        await add(jena, shelf)
        async with mesh(jena, gera):
            await agree(jena, gera)
        keys = [key for key, _ in (await jena.get(Shelf, shelf.id)).items.items()]
        for key in keys:
            async with jena.transaction() as tx:
                (await tx.get(Shelf, shelf.id)).items.change(key, Drug(name="changed"))
            async with gera.transaction() as tx:
                (await tx.get(Shelf, shelf.id)).items.remove(key)
        async with mesh(jena, gera):
            await agree(jena, gera)
        found = {each["field"]: each for each in await jena.conflicts()}
        assert set(found) == {f"items/{key}" for key in keys}
        first, second = (found[f"items/{key}"] for key in keys)
        await jena.conflicts.resolve(first["id"], keep=first["values"].index(None))
        await jena.conflicts.resolve(second["id"], keep=1 - second["values"].index(None))
        assert await jena.conflicts() == []
        assert [drug.name for drug in (await jena.get(Shelf, shelf.id)).items] == ["changed"]
        with pytest.raises(RefusedError, match="edit it"):
            await jena.conflicts.reopen(first["id"])


# --- watching -------------------------------------------------------------------------------------------------------


async def test_a_watcher_is_told_what_comes_changes_and_goes(tmp_path: Path) -> None:
    async with create(tmp_path / "jena") as jena:
        _, name = await two_dosages(jena)
        with anyio.fail_after(30):
            feed = jena.conflicts.watch()
            first = await anext(feed)
            assert (first.what, first.id) == ("opened", name) and first.conflict is not None
            await add(jena, Patient(family_name="Muster"))  # nothing of which a watcher of conflicts is told
            await jena.conflicts.comment(name, "soon", author="dr.weber")
            assert (await anext(feed)).what == "changed"
            await jena.conflicts.assign(name, "dr.weber")
            second = await anext(feed)
            assert second.what == "changed" and second.conflict is not None
            assert second.conflict["assignee"] == "dr.weber"
            await jena.conflicts.resolve(name, keep=0)
            assert await anext(feed) == ConflictChange("closed", name)
            await feed.aclose()  # type: ignore[attr-defined]


async def test_a_watcher_that_waits_is_woken_by_what_comes_from_another_site(tmp_path: Path) -> None:
    async with practice(tmp_path, "Jena", "Gera") as (jena, gera):
        told: list[ConflictChange] = []

        async def follow() -> None:
            async for found in gera.conflicts.watch():
                told.append(found)
                if found.what == "closed":
                    return

        with anyio.fail_after(30):
            async with mesh(jena, gera), anyio.create_task_group() as tasks:
                tasks.start_soon(follow)
                first, second = booking(0), booking(5)
                await add(jena, first, second)
                while not told:  # the watcher itself is what is waited for
                    await gera.driver.changed.wait()
                    await anyio.lowlevel.checkpoint()
                await change(jena, second, status="cancelled")
        assert [each.what for each in told] == ["opened", "closed"]


async def test_a_watcher_that_fell_behind_is_told_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "conflict_changes_max", 3)
    async with create(tmp_path / "jena") as jena:
        with anyio.fail_after(30):
            await add(jena, booking(0), booking(5))
            feed = jena.conflicts.watch()
            assert (await anext(feed)).what == "opened"
            await add(jena, booking(3), booking(4), booking(6))
            assert await anext(feed) == ConflictChange("lost", "")
            assert len(await jena.conflicts()) == 10
            [first, *_] = await jena.conflicts()
            await jena.conflicts.assign(first["id"], "dr.weber")
            found = await anext(feed)
            assert (found.what, found.id) == ("changed", first["id"]), "it goes on from there"
            monkeypatch.setattr(limits, "conflicts_watched_max", 5)
            await jena.conflicts.assign(first["id"], "dr.jung")
            assert (await anext(feed)).what == "lost"


async def test_a_watcher_of_a_closed_site_ends(tmp_path: Path) -> None:
    async with create(tmp_path / "jena") as jena:
        feed = jena.conflicts.watch()
    with pytest.raises(UsageError, match="closed"):
        await anext(feed)


# --- many -----------------------------------------------------------------------------------------------------------


async def test_a_hundred_records_edited_apart_in_one_field(tmp_path: Path) -> None:
    """No value is lost; both sites show a hundred conflicts under equal ids."""
    async with practice(tmp_path, "Jena", "Gera") as (jena, gera):
        patients = [Patient(family_name=f"Muster{number}") for number in range(100)]
        async with mesh(jena, gera):
            await add(jena, *patients)
            await agree(jena, gera)
        for site in (jena, gera):
            async with site.transaction(author=site.name) as tx:
                for patient in patients:
                    (await tx.get(Patient, patient.id)).title = f"{site.name} {patient.family_name}"
        async with mesh(jena, gera):
            await agree(jena, gera)
        lists = [await site.conflicts() for site in (jena, gera)]
        assert len(lists[0]) == len(lists[1]) == 100
        assert {each["id"] for each in lists[0]} == {each["id"] for each in lists[1]}
        wanted = {f"{site} {patient.family_name}" for site in ("Jena", "Gera") for patient in patients}
        for found in lists:
            assert {value for each in found for value in each["values"]} == wanted


async def test_old_folders_and_closed_ones_keep_their_conflicts(tmp_path: Path) -> None:
    async with create(tmp_path / "jena") as jena:
        await add(jena, booking(0), booking(5))
        _, name = await two_dosages(jena)
        await jena.conflicts.acknowledge(name, author="dr.weber")
        before = await jena.conflicts()
        assert isinstance(jena.conflicts, Conflicts)
    async with opened(tmp_path / "jena") as jena:
        assert await jena.conflicts() == before
        await jena.rebuild()
        assert await jena.conflicts() == before
        assert (await jena.verify())["ok"]
