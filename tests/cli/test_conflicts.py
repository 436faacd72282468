"""Conflicts on the command line: listed as the contract says, shown, spoken about, decided."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import anyio
import pytest

from crdtsync.documents import Record
from crdtsync.practice import Appointment, Dosage, Drug, MedicationStatement, Slot
from tests.cli.conftest import PASSPHRASE, Call
from tests.sites import add, agree, change, create, join, mesh, opened

LISTED = {"id", "kind", "severity", "records", "field", "values", "detected_at"}


@pytest.fixture
def sites(tmp_path: Path) -> tuple[Path, Path]:
    """Two sites that changed one dosage apart and booked one slot apart, and know it."""
    assert PASSPHRASE == "correct horse"
    statement = MedicationStatement(drug=Drug(name="Ramipril"), dosage=Dosage(morning=1, unit="Stk"), status="active")
    slot = Slot(start="2026-01-05T08:00:00Z", end="2026-01-05T08:15:00Z", resources=("Zimmer 1",))

    async def live() -> None:
        async with create(tmp_path / "jena") as jena:
            await join(jena, tmp_path / "gera", "Gera")
            async with opened(tmp_path / "gera") as gera:
                async with mesh(jena, gera):
                    await add(jena, statement)
                    await agree(jena, gera)
                booked: list[tuple[Any, Record]] = [
                    (site, Appointment(slot=slot, status="booked")) for site in (jena, gera)
                ]
                for site, appointment in booked:
                    await change(site, statement, dosage=Dosage(morning=2 if site is jena else 0.5, unit="Stk"))
                    await add(site, appointment)
                async with mesh(jena, gera):
                    await agree(jena, gera)

    anyio.run(live)
    return tmp_path / "jena", tmp_path / "gera"


def test_the_list_has_the_promised_shape_and_is_the_same_at_both_sites(call: Call, sites: tuple[Path, Path]) -> None:
    lists = [call("conflicts", folder, "--json").json for folder in sites]
    assert len(lists[0]) == 2 and all(set(each) == LISTED for each in lists[0])
    apart = [sorted((each["id"], each["kind"], each["severity"], each["field"]) for each in found) for found in lists]
    assert apart[0] == apart[1]
    by_kind = {each["kind"]: each for each in lists[0]}
    assert [value["morning"] for value in by_kind["field"]["values"]] in ([2.0, 0.5], [0.5, 2.0])
    assert by_kind["double_booking"]["severity"] == "medium" and len(by_kind["double_booking"]["records"]) == 2


def test_filters(call: Call, sites: tuple[Path, Path]) -> None:
    jena, _ = sites
    everything = call("conflicts", jena, "--json").json
    [high] = call("conflicts", "--severity", "high", "--json", jena).json
    assert high["kind"] == "field"
    assert call("conflicts", "list", jena, "--record", high["records"][0], "--json").json == [high]
    assert call("conflicts", jena, "--kind", "contradiction", "--json").json == []
    assert call("conflicts", jena, "--state", "resolved", "--json").json == []
    assert call("conflicts", jena, "--kind", "contradiction").out == "No conflicts.\n"
    assert len(call("conflicts", jena).out.splitlines()) == 1 + len(everything)
    assert "open, acknowledged" in call("conflicts", jena, "--state", "shut").refused(2)
    assert "Missing argument 'DIR'" in call("conflicts", "list").refused(2)


def test_a_conflict_is_spoken_about_and_decided(call: Call, sites: tuple[Path, Path]) -> None:
    jena, _ = sites
    [conflict] = call("conflicts", jena, "--kind", "field", "--json").json
    name = conflict["id"]
    call("conflicts", "assign", jena, name, "dr.weber", "--author", "reception")
    assert "Noted" in call("conflicts", "comment", jena, name, "calls at noon", "--author", "reception").out
    assert "who you are" in call("conflicts", "acknowledge", jena, name).refused(2)
    told = call("conflicts", "acknowledge", jena, name, "--author", "dr.weber", "--json").json
    assert told == {"id": name, "state": "acknowledged"}
    shown = call("conflicts", "show", jena, name, "--json").json
    assert (shown["assignee"], shown["state"]) == ("dr.weber", "acknowledged")
    assert [remark["text"] for remark in shown["comments"]] == ["calls at noon"]
    assert {value["site"] for value in shown["values"]} == {"Jena", "Gera"}
    assert [value["value"] for value in shown["values"]] == conflict["values"]
    for sentence in ("Looked after by dr.weber", "reception wrote at", "morning 0.5", "somebody at Gera, Gera, 20"):
        assert sentence in call("conflicts", "show", jena, name).out
    assert call("conflicts", jena, "--assignee", "dr.weber", "--json").json == [conflict]

    assert "either --keep N" in call("resolve", jena, name).refused(2)
    assert "values 0 to 1" in call("resolve", jena, name, "--keep", 2).refused(2)
    assert "JSON" in call("resolve", jena, name, "--value", "two").refused(2)
    told = call("resolve", jena, name, "--keep", 1, "--author", "dr.weber", "--reason", "asked", "--json").json
    assert told["decided"] == conflict["values"][1] and told["state"] == "resolved" and ":" in told["commit"]
    assert call("conflicts", jena, "--kind", "field", "--json").json == []
    record = call("record", "show", jena, conflict["records"][0], "--json").json
    assert (record["fields"]["dosage"], record["conflicts"]) == (conflict["values"][1], {})
    assert "resolved already" in call("resolve", jena, name, "--keep", 0).refused(1)
    assert "dr.weber resolved it at" in call("conflicts", "show", jena, name).out
    again = call("conflicts", "reopen", jena, name, "--json").json
    assert again["state"] == "open" and again["id"] != name
    told = call("resolve", jena, again["id"], "--value", '{"morning": 3}', "--json").json
    assert told["decided"] == {"morning": 3.0}


def test_a_double_booking_is_dismissed_and_taken_up(call: Call, sites: tuple[Path, Path]) -> None:
    jena, _ = sites
    [conflict] = call("conflicts", jena, "--kind", "double_booking", "--json").json
    name = conflict["id"]
    assert "move or cancel one" in call("resolve", jena, name, "--keep", 0).refused(2)
    assert "why" in call("conflicts", "dismiss", jena, name, "--author", "reception").refused(2)
    call("conflicts", "dismiss", jena, name, "--author", "reception", "--reason", "two short visits")
    assert [each["kind"] for each in call("conflicts", jena, "--json").json] == ["field"]
    assert call("status", jena, "--json").json["conflicts"] == 1
    assert call("conflicts", "reopen", jena, name, "--json").json == {"id": name, "state": "open"}
    assert "there is no conflict" in call("conflicts", "show", jena, "a" * 26).refused(1)


def test_a_folder_that_is_called_like_a_verb(call: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    call("create", "show", "--practice", "P", "--site", "S")
    assert call("conflicts", "./show", "--json").json == []
