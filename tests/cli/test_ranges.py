"""Patient numbers by the command line: range set, release, stop, list; number patient; what status says."""

from __future__ import annotations

from pathlib import Path

from .conftest import Call


def test_numbers_by_single_calls(call: Call, jena: Path) -> None:
    assert call("range", "list", jena, "--json").json == []
    told = call("range", "set", jena, "--name", "Jena", "--from", "100", "--to", "101", "--author", "w", "--json").json
    assert {name: told[name] for name in ("site", "from", "to", "spare")} == {
        "site": "Jena", "from": 100, "to": 101, "spare": False,
    }  # fmt: skip
    spare = call("range", "set", jena, "--name", "Jena", "--from", "200", "--to", "200", "--spare")
    assert "Jena gives the spare patient numbers 200 to 200" in spare.out
    ids = [call("record", "new", jena, "patient", "family_name=A", "--json").json["id"] for _ in range(4)]
    shown = [call("record", "show", jena, each, "--json").json["fields"].get("number") for each in ids]
    assert shown == [100, 101, 200, None]
    assert call("number", "patient", jena, ids[0], "--json").json == {"number": 100}
    assert call("number", "patient", jena, ids[0]).out.strip() == "100"
    assert call("number", "patient", jena, ids[3], "--json").json == {"number": None, "follows": True}
    assert "follows by itself" in call("number", "patient", jena, ids[3]).out
    said = call("status", jena).out
    assert "Jena has no patient number left" in said and "1 patient of this site will get a number" in said
    call("range", "set", jena, "--name", "Jena", "--from", "300", "--to", "399")
    call("status", jena)
    assert call("number", "patient", jena, ids[3], "--json").json == {"number": 300}
    listed = call("range", "list", jena, "--json").json
    assert [(each["from"], each["used"], each["state"]) for each in listed] == [
        (100, 2, "exhausted"), (200, 1, "exhausted"), (300, 1, "open"),
    ]  # fmt: skip
    assert call("range", "stop", jena, listed[2]["id"], "--json").json["state"] == "ended"
    assert "ended" in call("range", "list", jena).out


def test_refusals_say_what_to_do(call: Call, jena: Path) -> None:
    record = call("record", "new", jena, "patient", "family_name=A", "--json").json["id"]
    assert "crdtsync range set DIR" in call("number", "patient", jena, record).refused(1)
    assert "no patient with the id" in call("number", "patient", jena, "a" * 26).refused(1)
    call("range", "set", jena, "--name", "Jena", "--from", "100", "--to", "199")
    overlap = call("range", "set", jena, "--name", "Jena", "--from", "150", "--to", "400").refused(1)
    assert "Jena has the range 100 to 199 already" in overlap
    assert "no site named Gera" in call("range", "set", jena, "--name", "Gera", "--from", "1", "--to", "2").refused(1)
    call("range", "set", jena, "--name", "Jena", "--from", "5", "--to", "2").refused(2)
    call("range", "set", jena, "--name", "Jena", "--from", "0", "--to", "2").refused(2)
    assert "nothing of Jena is closed" in call("range", "release", jena, "--name", "Jena").refused(1)
    by_hand = call("record", "new", jena, "patient", "number=120").refused(1)
    assert "from 100 to 199 are given by Jena alone" in by_hand
    assert call("record", "new", jena, "patient", "number=99", "--json").json["id"]
    written = call("record", "new", jena, "number_range", "first=1", "last=9").refused(1)
    assert "crdtsync range" in written


def test_after_a_restore(call: Call, jena: Path, tmp_path: Path) -> None:
    call("range", "set", jena, "--name", "Jena", "--from", "1", "--to", "9")
    call("record", "new", jena, "patient", "family_name=A")
    call("backup", jena, "--out", tmp_path / "backup")
    again = tmp_path / "again"
    assert call("restore", tmp_path / "backup", again, "--json").code == 0
    record = call("record", "new", again, "patient", "family_name=B", "--json").json["id"]
    assert call("number", "patient", again, record, "--json").json == {"number": None, "follows": True}
    assert "range release DIR --name Jena" in call("status", again).out
    told = call("range", "release", again, "--name", "Jena", "--above", "4").out
    assert told.strip() == "Jena goes on with 1 to 9, above 4."
    status = call("status", again, "--json").json
    assert status["numbers"]["closed"] is False and status["ranges"][0]["state"] == "open"
    assert call("number", "patient", again, record, "--json").json == {"number": 5}
