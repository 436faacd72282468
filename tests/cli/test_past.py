"""`history` and `record show --at`, as a script and as people see them."""

from __future__ import annotations

import json
import subprocess
import sys
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from .conftest import Call, Start


@pytest.fixture
def patient(call: Call, jena: Path) -> str:
    """A patient whose title was changed by another author."""
    made = call("record", "new", jena, "patient", "family_name=Muster", "--author", "dr.weber", "--json").json
    call("record", "set", jena, made["id"], "title=Dr.", "--author", "dr.klein", "--reason", "promoted", "--json")
    return str(made["id"])


def test_history(call: Call, jena: Path, patient: str) -> None:
    first, second = call("history", jena, patient, "--json").json
    assert {"commit", "site", "author", "reason", "at", "arrived_at", "changes"} <= first.keys()
    assert (second["author"], second["reason"], second["site"]) == ("dr.klein", "promoted", "Jena")
    assert second["changes"] == [{"field": "title", "before": None, "after": "Dr."}]
    assert call("history", jena, patient, "--after", first["commit"], "--json").json == [second]
    assert call("history", jena, patient, "--limit", 1, "--json").json == [first]
    said = call("history", jena, patient)
    assert "dr.klein at Jena: promoted" in said.out and "title: (nothing) -> Dr." in said.out
    assert "no record with the id" in call("history", jena, "a" * 26).refused(1)
    assert "leave --after" in call("history", jena, patient, "--after", "x", "--export", "file").refused(2)
    assert "--export" in call("history", jena, patient, "--reason", "why").refused(2)


def test_a_record_as_it_was(call: Call, jena: Path, patient: str) -> None:
    first, second = call("history", jena, patient, "--json").json
    told = call("record", "show", jena, patient, "--at", first["arrived_at"], "--json").json
    assert (told["fields"]["family_name"], told["by"], told["at"]) == ("Muster", "arrival", first["arrived_at"])
    assert "title" not in told["fields"]
    told = call("record", "show", jena, patient, "--at", second["arrived_at"], "--json").json
    assert told["fields"]["title"] == "Dr."
    assert "as this site knew it" in call("record", "show", jena, patient, "--at", second["arrived_at"]).out
    before = datetime.fromisoformat(first["arrived_at"]) - timedelta(seconds=1)
    assert "there was no patient" in call("record", "show", jena, patient, "--at", before.isoformat()).refused(1)
    assert "zone" in call("record", "show", jena, patient, "--at", "2026-01-01T00:00:00").refused(2)


def test_an_export_is_checked_by_another_process(
    call: Call, jena: Path, patient: str, tmp_path: Path, start: Start
) -> None:
    file = tmp_path / "patient.history"
    told = call("history", jena, patient, "--export", file, "--author", "dr.weber", "--reason", "court", "--json").json
    assert (told["commits"], told["records"], told["file"], told["reason"]) == (2, 1, str(file), "court")
    ended = subprocess.run([sys.executable, "-m", "crdtsync.verify", file, "--json"], capture_output=True, check=False)
    assert ended.returncode == 0 and json.loads(ended.stdout)["complete"], ended
    assert "already" in call("history", jena, patient, "--export", file).refused(1)
    start("serve", jena).event()
    said = call("history", jena, patient, "--export", tmp_path / "second")
    assert said.code == 0 and "python -m crdtsync.verify" in said.out
    assert len(call("history", jena, patient, "--json").json) == 2
