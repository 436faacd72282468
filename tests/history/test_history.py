"""`site.history(id)`: who, when, where, why, before and after; the same at every site but for arrivals."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from crdtsync import limits
from crdtsync.engine.past import ROTTEN, UNKNOWN, Told
from crdtsync.errors import NotFound
from crdtsync.history.told import time_text
from crdtsync.ids import CommitId, LogId, commit_text, record_id_from
from crdtsync.practice import Patient
from tests.sites import add, agree, change, create, mesh, practice

pytestmark = pytest.mark.anyio


def without_arrivals(history: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{name: value for name, value in entry.items() if name != "arrived_at"} for entry in history]


async def test_each_change_with_who_when_where_and_why(tmp_path: Path) -> None:
    async with create(tmp_path / "jena") as jena:
        patient = Patient(family_name="Muster")
        first = await add(jena, patient)
        async with jena.transaction(
            author="dr.klein", reason="has married", workstation="desk-1", purpose="care"
        ) as tx:
            found = await tx.get(Patient, patient.id)
            found.family_name = "Married"
            found.phones.add("030 1")
        made, changed = await jena.history(patient.id)
        assert made["commit"] == commit_text(first) and tx.commit is not None
        assert {name: changed[name] for name in ("commit", "site", "author", "reason", "workstation", "purpose")} == {
            "commit": commit_text(tx.commit),
            "site": "Jena",
            "author": "dr.klein",
            "reason": "has married",
            "workstation": "desk-1",
            "purpose": "care",
        }
        assert made["changes"] == [{"field": "family_name", "before": None, "after": "Muster"}]
        assert changed["changes"] == [
            {"field": "family_name", "before": "Muster", "after": "Married"},
            {"field": "phones", "before": None, "after": ["030 1"]},
        ]
        for entry in (made, changed):
            times = [datetime.fromisoformat(entry[name]) for name in ("at", "written_at", "arrived_at")]
            assert all(time.tzinfo is not None for time in times) and max(times) >= min(times)
            assert entry["state"] == "applied"


async def test_the_same_at_three_sites_but_for_arrivals(tmp_path: Path) -> None:
    async with practice(tmp_path, "Jena", "Gera", "Suhl") as sites:
        jena, gera, suhl = sites
        patient = Patient(family_name="Muster")
        await add(jena, patient)
        async with mesh(*sites):
            await agree(*sites)
        for number, site in enumerate((suhl, jena, gera, suhl, gera, jena)):
            await change(site, patient, title=f"t{number}", family_name=f"n{number}")
        async with mesh(gera, suhl):
            await agree(gera, suhl)
        async with mesh(*sites):
            await agree(*sites)
        found = [await site.history(patient.id) for site in sites]
        assert len(found[0]) == 7
        assert without_arrivals(found[0]) == without_arrivals(found[1]) == without_arrivals(found[2])
        orders = [sorted(range(7), key=lambda at, told=told: told[at]["arrived_at"]) for told in found]
        assert orders[0] != orders[2], "commits came in another order"
        last = {each["field"]: each for each in found[0][-1]["changes"]}
        assert len(last["title"]["values"]) > 1, "unseen writes stand side by side"
        now = await jena.get(Patient, patient.id)
        assert last["title"]["after"] == now.title


async def test_long_ones_come_in_pages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "history_commits_step", 3)
    async with create(tmp_path / "jena") as jena:
        patient = Patient(family_name="Muster")
        await add(jena, patient)
        for number in range(9):
            await change(jena, patient, title=f"t{number}")
        whole = await jena.history(patient.id)
        assert len(whole) == 10
        pages: list[dict[str, Any]] = []
        while page := await jena.history(patient.id, after=pages[-1]["commit"] if pages else None, limit=4):
            assert len(page) <= 4
            pages += page
        assert pages == whole
        with pytest.raises(NotFound):
            await jena.history(patient.id, after=commit_text(CommitId(LogId(bytes(24)), 1)))


async def test_one_that_is_not_here(tmp_path: Path) -> None:
    async with create(tmp_path / "jena") as jena:
        for arguments in ({}, {"kind": "patient"}):
            with pytest.raises(NotFound):
                await jena.history(record_id_from("nobody"), **arguments)


async def test_a_rotten_commit_is_named_in_it(tmp_path: Path) -> None:
    async with create(tmp_path / "jena") as jena:
        patient = Patient(family_name="Muster")
        for number in range(3):
            await (add(jena, patient) if number == 0 else change(jena, patient, title=f"t{number}"))

        def rot(host: Any) -> None:
            host.store._log_db.execute("UPDATE entry SET header = X'00' WHERE arrival = 2")

        await jena.driver.thread.run(rot)
        first, rotten, last = await jena.history(patient.id)
        assert (rotten["state"], last["state"]) == (ROTTEN, UNKNOWN)
        assert rotten["at"] is None and rotten["changes"] == [] == last["changes"]
        assert rotten["commit"] in last["why"] and "fetched again" in rotten["why"]
        assert last["author"] == "somebody at Jena" and first["state"] == "applied"


async def test_when_what_is_held_changes_meanwhile_it_is_read_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "history_commits_step", 1)
    async with create(tmp_path / "jena") as jena:
        patient = Patient(family_name="Muster")
        await add(jena, patient)
        bad = await change(jena, patient, title="wrong")
        engine = await jena.driver.thread.run(lambda host: host.engine)
        told, calls = engine.told, []

        def told_and_held(*arguments: Any) -> list[Told]:
            calls.append(arguments)
            found: list[Told] = told(*arguments)
            if len(calls) == 2:
                commit = engine._store.commit(*bad).commit
                engine.honour({bad: {commit.hash: "form"}}, {}, None)
            return found

        monkeypatch.setattr(engine, "told", told_and_held)
        assert [entry["state"] for entry in await jena.history(patient.id)] == ["applied", "held"]
        assert len(calls) == 4


def test_a_time_that_no_calendar_has_is_told_all_the_same() -> None:
    assert time_text(0) == "1970-01-01T00:00:00.000+00:00"
    assert time_text(2**60) == f"{2**60} ms since 1970"


async def test_the_history_of_a_person_is_that_of_all_linked_patients(tmp_path: Path) -> None:
    async with create(tmp_path / "jena") as jena:
        one, two = Patient(family_name="Muster"), Patient(family_name="Mustermann")
        await add(jena, one)
        await add(jena, two)
        await jena.link(one.id, two.id, author="dr.weber", reason="same card")
        both = await jena.history(one.id)
        assert both == await jena.history(two.id)
        assert {entry["record"] for entry in both} == {one.id, two.id}
        assert [entry["at"] for entry in both] == sorted(entry["at"] for entry in both)
        mine = await jena.history(one.id, linked=False)
        assert mine == [entry for entry in both if entry["record"] == one.id]
        assert await jena.history(one.id, after=both[0]["commit"]) == both[1:]
        await jena.unlink(one.id, two.id, author="dr.weber")
        assert {entry["record"] for entry in await jena.history(two.id)} == {two.id}
