"""Reverting at sites: previews, what is carried out, what stays, and what a crash or a cancellation leaves."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import anyio
import pytest

from crdtsync import BadValue, NotFound, RefusedError, Site, UsageError, limits
from crdtsync.documents import fields_json
from crdtsync.ids import CommitId, commit_text, record_id_from
from crdtsync.practice import Dosage, MedicationStatement, Patient, Task
from tests.sites import add, agree, change, create, mesh, opened, practice

pytestmark = pytest.mark.anyio


@pytest.fixture
async def jena(tmp_path: Path) -> AsyncIterator[Site]:
    async with create(tmp_path / "jena") as site:
        yield site


@pytest.fixture(autouse=True)
def small_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    """So that a few records are many steps."""
    monkeypatch.setattr(limits, "revert_records_step", 3)


async def write(site: Site, record: Any, author: str, **fields: Any) -> CommitId:
    async with site.transaction(author=author) as tx:
        found = await tx.get(type(record), record.id)
        for name, value in fields.items():
            found.assign(name, value)
    assert tx.commit is not None
    return tx.commit


async def fields(site: Site, record: Any) -> dict[str, Any]:
    return fields_json(await site.get(type(record), record.id))


async def clock(site: Site) -> datetime:
    """A time that lies behind all that was written here, and before all that will be."""
    log = await site.driver.thread.run(lambda host: host.store.arrivals(0, 10**6, 10**9))
    newest = max(stored.commit.header.stamp for stored in log) >> 16
    now = newest
    while now <= newest:
        await add(site, Task(title="tick"))
        [last] = await site.driver.thread.run(lambda h: h.store.arrivals(h.store.log_head().arrival - 1, 1, 1))
        now = last.commit.header.stamp >> 16
    return datetime.fromtimestamp(now / 1000, UTC)


async def test_a_commit_is_taken_back_and_later_edits_stay(jena: Site) -> None:
    patient = Patient(family_name="Muster", given_name="Erika", phones=["1", "2"], note="Guten Tag.")
    await add(jena, patient)
    wrong = await write(
        jena, patient, "dr.weber", family_name="Falsch", given_name="Max", phones=["2"], note="Tag.", title="Dr."
    )
    await write(jena, patient, "anna", given_name="Maria")
    made = await jena.revert(commit=wrong, preview=True)
    told = {each["field"]: (each["before"], each["after"]) for each in made["changes"]}
    assert told == {
        "family_name": ("Falsch", "Muster"), "phones": (["2"], ["1", "2"]), "note": ("Tag.", "Guten Tag."),
        "title": ("Dr.", None),
    }  # fmt: skip
    [later] = made["later"]
    assert (later["field"], later["how"], later["value"], later["author"], later["site"]) == (
        "given_name", "stays", "Maria", "anna", "Jena",
    )  # fmt: skip
    assert (await fields(jena, patient))["family_name"] == "Falsch", "a preview writes nothing"
    done = await jena.revert(confirm=made["id"], author="anna", reason="mixed up")
    assert await fields(jena, patient) == {
        "family_name": "Muster", "given_name": "Maria", "phones": ["1", "2"], "note": "Guten Tag.", "deceased": False,
    }  # fmt: skip
    history = await jena.history(patient.id)
    assert [entry["commit"] for entry in history][-1:] == [commit_text(each) for each in done["commits"]]
    assert (history[-1]["author"], history[-1]["reason"]) == ("anna", "mixed up")
    assert commit_text(wrong) in [entry["commit"] for entry in history], "history shows both"
    again = await jena.revert(commit=done["commits"], author="anna")
    assert (await fields(jena, patient))["family_name"] == "Falsch" and again["records"] == 1
    assert (await fields(jena, patient))["given_name"] == "Maria"


async def test_a_record_goes_back_to_a_time(jena: Site) -> None:
    patient = Patient(family_name="A", given_name="X")
    await add(jena, patient)
    await write(jena, patient, "a", family_name="B")
    middle = await clock(jena)
    await write(jena, patient, "b", family_name="C", title="Dr.")
    late = await clock(jena)
    await write(jena, patient, "c", given_name="Y")
    made = await jena.revert(record=patient.id, since=middle, until=late, preview=True)
    assert {each["field"] for each in made["changes"]} == {"family_name", "title"}
    assert made["what"] == f"record {patient.id} since {middle.isoformat(timespec='milliseconds')} until " + (
        late.isoformat(timespec="milliseconds")
    )
    await jena.revert(record=patient.id, until=middle.isoformat())
    assert await fields(jena, patient) == {"family_name": "B", "given_name": "X", "deceased": False}
    state = await jena.at(middle).get(Patient, patient.id)
    assert fields_json(state) == await fields(jena, patient)


async def test_what_an_author_did_between_two_times(tmp_path: Path) -> None:
    """At whichever site, and only theirs; or all that was done at one site."""
    async with practice(tmp_path, "Jena", "Weimar") as (jena, weimar), mesh(jena, weimar):
        patients = [Patient(family_name=f"P{n}") for n in range(7)]
        await add(jena, *patients, author="setup")
        await agree(jena, weimar)
        since = await clock(jena)
        for number, patient in enumerate(patients):
            await write(jena if number % 2 else weimar, patient, "eve" if number < 5 else "bob", family_name="X")
        await agree(jena, weimar)
        until = await clock(jena)
        await write(jena, patients[0], "eve", title="Dr.")
        await agree(jena, weimar)
        by = await jena.revert(by="eve", since=since, until=until, preview=True)
        assert {each["record"] for each in by["changes"]} == {patient.id for patient in patients[:5]}
        both = await jena.revert(by="eve", at_site="Weimar", since=since, until=until, preview=True)
        assert {each["record"] for each in both["changes"]} == {patient.id for patient in patients[0:5:2]}
        at = await weimar.revert(at_site="Jena", since=since, until=until, author="admin")
        assert at["records"] == 4  # patients 1, 3 and 5, and the tick of the clock
        await agree(jena, weimar)
        names = [(await jena.get(Patient, patient.id)).family_name for patient in patients]
        assert names == ["X", "P1", "X", "P3", "X", "P5", "X"]
        with pytest.raises(NotFound, match="no site named"):
            await jena.revert(at_site="Gera", since=since)


async def test_exactly_what_was_previewed_is_carried_out_or_nothing(jena: Site) -> None:
    patients = [Patient(family_name=f"P{n}") for n in range(5)]
    await add(jena, *patients)
    async with jena.transaction(author="a") as tx:
        for patient in patients:
            (await tx.get(Patient, patient.id)).family_name = "X"
    assert tx.commit is not None
    made = await jena.revert(commit=tx.commit, preview=True)
    await write(jena, patients[4], "b", family_name="Y")
    with pytest.raises(RefusedError, match="changed since this preview"):
        await jena.revert(confirm=made["id"], author="a")
    assert (await fields(jena, patients[0]))["family_name"] == "X", "nothing was begun"
    await write(jena, patients[4], "b", family_name="X")
    with pytest.raises(RefusedError, match="changed since this preview"):
        await jena.revert(confirm=made["id"], author="a")
    made = await jena.revert(commit=tx.commit, preview=True)
    assert [(each["field"], each["how"]) for each in made["later"]] == [("family_name", "stays")]
    await write(jena, patients[3], "b", given_name="since")
    done = await jena.revert(confirm=made["id"], author="a")
    assert done["records"] == 4 and len(done["commits"]) == 2
    names = [(await fields(jena, patient))["family_name"] for patient in patients]
    assert names == ["P0", "P1", "P2", "P3", "X"], "what somebody wrote since stays, also where it is the same"
    assert (await fields(jena, patients[3]))["given_name"] == "since"
    with pytest.raises(NotFound, match="was carried out"):
        await jena.revert(confirm=made["id"], author="a")
    nothing = await jena.revert(commit=tx.commit, preview=True)
    assert nothing["id"] is None and nothing["changes"] == []
    assert (await jena.revert(commit=tx.commit))["records"] == 0


async def test_a_mass_revert_is_looked_at_first(jena: Site) -> None:
    patients = [Patient(family_name=f"P{n}") for n in range(60)]
    await add(jena, *patients)
    async with jena.transaction(author="a", mass=True) as tx:
        for patient in patients:
            (await tx.get(Patient, patient.id)).family_name = "X"
    with pytest.raises(RefusedError, match="60 records: look at it first"):
        await jena.revert(commit=tx.commit, author="b")
    assert await jena.proposals() == []
    made = await jena.revert(commit=tx.commit, preview=True)
    told: list[tuple[int, int | None]] = []
    await jena.revert(confirm=made["id"], author="b", progress=lambda *step: told.append(step))
    assert told == [(done, 60) for done in range(3, 61, 3)] and await jena.proposals() == []
    assert {patient.family_name for patient in await jena.find(Patient)} == {f"P{n}" for n in range(60)}


async def test_undoing_a_decision_opens_the_conflict_again_everywhere(tmp_path: Path) -> None:
    async with practice(tmp_path, "Jena", "Weimar") as (jena, weimar):
        drug = MedicationStatement(dosage=Dosage(morning=1))
        await add(jena, drug)
        async with mesh(jena, weimar):
            await agree(jena, weimar)
        await change(jena, drug, dosage=Dosage(morning=2))
        await change(weimar, drug, dosage=Dosage(morning=3))
        async with mesh(jena, weimar):
            await agree(jena, weimar)
            before = await jena.conflicts()
            decided = await change(weimar, drug, dosage=Dosage(morning=2))
            await agree(jena, weimar)
            assert await jena.conflicts() == [] and len(before) == 1
            await jena.revert(commit=decided, author="dr.weber")
            await agree(jena, weimar)
            for site in (jena, weimar):
                [found] = await site.conflicts()
                assert found["id"] == before[0]["id"] and found["values"] == before[0]["values"]


async def test_reverting_at_two_sites_apart_converges(tmp_path: Path) -> None:
    async with practice(tmp_path, "Jena", "Weimar") as (jena, weimar):
        patients = [Patient(family_name=f"P{n}", tags=["a", "b"]) for n in range(5)]
        await add(jena, *patients)
        async with jena.transaction(author="a") as tx:
            for patient in patients:
                found = await tx.get(Patient, patient.id)
                found.family_name, found.tags = "X", []
        async with mesh(jena, weimar):
            await agree(jena, weimar)
        await jena.revert(commit=tx.commit, author="a")
        await weimar.revert(commit=tx.commit, author="b")
        await write(weimar, patients[0], "b", family_name="Neu")
        async with mesh(jena, weimar):
            await agree(jena, weimar)
            for site in (jena, weimar):
                shown = [await site.get(Patient, patient.id) for patient in patients]
                assert [list(each.tags) for each in shown] == [["a", "b"]] * 5
                assert [each.family_name for each in shown[1:]] == [f"P{n}" for n in range(1, 5)]
                assert sorted(shown[0].conflicts["family_name"]) == ["Neu", "P0"]


async def test_cut_short_it_says_how_far_it_came_and_goes_on(tmp_path: Path) -> None:
    async with create(tmp_path / "jena") as jena:
        patients = [Patient(family_name=f"P{n}") for n in range(12)]
        await add(jena, *patients)
        async with jena.transaction(author="a") as tx:
            for patient in patients:
                found = await tx.get(Patient, patient.id)
                found.family_name = "X"
                found.note.append("!")
        made = await jena.revert(commit=tx.commit, preview=True)
        with anyio.CancelScope() as scope:
            await jena.revert(
                confirm=made["id"], author="a", progress=lambda done, _: scope.cancel() if done == 6 else None
            )
        assert scope.cancelled_caught
    async with opened(tmp_path / "jena") as jena:
        [told] = await jena.reverts()
        assert (told["id"], told["records"], told["done"], told["author"]) == (made["id"], 12, 6, "a")
        assert (await jena.status())["reverts"] == [told]
        done = [patient.family_name for patient in await jena.find(Patient)].count("X")
        assert done == 6
        await write(jena, patients[11], "b", family_name="Neu")
        finished = await jena.revert(confirm=made["id"], author="somebody else")
        assert len(finished["commits"]) == 4, "all of it is told, also what was done before"
        shown = [await jena.get(Patient, patient.id) for patient in patients]
        assert [each.family_name for each in shown[:11]] == [f"P{n}" for n in range(11)]
        assert sorted(shown[11].conflicts["family_name"]) == ["Neu", "P11"]
        assert {str(each.note) for each in shown} == {""}, "each was done once"
        assert await jena.reverts() == []


async def test_what_is_left_of_a_revert_can_be_dropped(jena: Site) -> None:
    patients = [Patient(family_name=f"P{n}") for n in range(6)]
    await add(jena, *patients)
    async with jena.transaction(author="a") as tx:
        for patient in patients:
            (await tx.get(Patient, patient.id)).family_name = "X"
    made = await jena.revert(commit=tx.commit, preview=True)
    with anyio.CancelScope() as scope:
        await jena.revert(confirm=made["id"], progress=lambda done, _: scope.cancel())
    assert (await jena.forget_revert(made["id"]))["done"] == 3
    assert await jena.reverts() == [] and (await jena.status())["reverts"] == []
    with pytest.raises(NotFound):
        await jena.forget_revert(made["id"])
    assert [patient.family_name for patient in await jena.find(Patient)].count("X") == 3


async def test_so_many_previews_are_kept(jena: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "plans_kept_max", 2)
    patient = Patient(family_name="A")
    await add(jena, patient)
    commit = await write(jena, patient, "a", family_name="B")
    made = [(await jena.revert(commit=commit, preview=True))["id"] for _ in range(3)]
    assert [each["id"] for each in await jena.reverts()] == made[1:]
    with pytest.raises(NotFound, match="too old"):
        await jena.revert(confirm=made[0])


async def test_plans_are_encrypted_on_disk(jena: Site) -> None:
    patient = Patient(family_name="Kanarienvogel")
    await add(jena, patient)
    commit = await write(jena, patient, "dr.canary", family_name="Zeisig")
    await jena.revert(by="dr.canary", since="2020-01-01T00:00:00+00:00", preview=True)
    await jena.revert(commit=commit, preview=True)
    for file in jena.path.iterdir():
        data = file.read_bytes() if file.is_file() else b""
        assert not any(word in data for word in (b"Kanarienvogel", b"Zeisig", b"dr.canary")), file


async def test_what_cannot_be_meant_is_refused(jena: Site) -> None:
    now = datetime.now(UTC)
    for wrong in (
        {},
        {"commit": "x", "record": "y"},
        {"record": "y", "by": "z", "since": now},
        {"record": "y"},
        {"by": "z", "since": now, "until": now - timedelta(hours=1)},
        {"by": "z", "since": now, "until": now},
        {"by": "z", "since": "yesterday"},
        {"by": "z", "since": "2026-01-01T00:00:00"},
        {"confirm": "x", "by": "z"},
        {"confirm": "x", "preview": True},
    ):
        with pytest.raises(UsageError):
            await jena.revert(**wrong)
    with pytest.raises(BadValue, match="history lists commits"):
        await jena.revert(commit="x")
    missing = CommitId((await add(jena, Task(title="t"))).log, 99)
    with pytest.raises(NotFound, match="no commit"):
        await jena.revert(commit=missing)
    with pytest.raises(NotFound, match="no record"):
        await jena.revert(record=record_id_from("nobody"), since=now)
    assert await jena.reverts() == []
