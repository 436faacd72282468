"""A mass change by the command line: held, shown, confirmed by somebody else, or dropped; and how much passes."""

from __future__ import annotations

import getpass
from pathlib import Path

import pytest

from crdtsync.cli import proposals

from .conftest import Call, Start


def test_a_mass_change_by_single_calls(call: Call, start: Start, jena: Path) -> None:
    """Each call is a process's own transaction; what goes beyond the bound waits as one proposal."""
    assert call("brake", jena, "--retractions", "2", "--json").json["retractions"] == 2
    start("serve", jena).event()
    ids = [call("record", "new", jena, "task", f"title=T{n}", "--json").json["id"] for n in range(4)]
    refusals = []
    for record in ids:
        done = call("record", "set", jena, record, "title=", "--author", "dr.weber", "--json")
        if done.code:
            refusals.append(done.refused(1))
    assert len(refusals) == 2 and all("approve DIR" in refusal for refusal in refusals)
    [told] = call("proposals", jena, "--json").json
    assert told["records"] == 2 and call("status", jena, "--json").json["proposals"] == [told]
    assert "must decide on 1 mass change" in call("status", jena).out
    assert f"crdtsync approve DIR {told['id']}" in refusals[0]
    shown = call("proposals", jena, told["id"], "--json").json["changes"]
    assert sorted((each["before"], each["after"]) for each in shown) == [("T2", None), ("T3", None)]
    assert "T2" in call("proposals", jena, told["id"]).out and told["id"] in call("proposals", jena).out
    refusal = call("approve", jena, told["id"], "--author", "Dr.Weber").refused(1)
    assert "somebody else must confirm it" in refusal
    done = call("approve", jena, told["id"], "--json").json
    assert done["id"] == told["id"] and len(done["commits"]) == 2 and done["records"] == 2
    assert call("record", "list", jena, "task", "--json").json[3]["fields"].get("title") is None
    assert call("proposals", jena).out.strip() == "Nothing waits for a second person."


def test_it_waits_over_calls_that_open_the_folder_themselves(call: Call, jena: Path) -> None:
    call("brake", jena, "--retractions", "1")
    record = call("record", "new", jena, "patient", "family_name=A", "given_name=B", "--json").json["id"]
    call("record", "set", jena, record, "family_name=", "given_name=").refused(1)
    [told] = call("proposals", jena, "--json").json
    assert call("reject", jena, told["id"]).out.strip() == "Dropped; nothing of its 1 record was changed."
    assert "no proposal" in call("approve", jena, told["id"]).refused(1)
    assert "may take back 1 things" in call("brake", jena).out
    call("brake", jena, "--records", "0").refused(2)


def test_who_is_logged_in_confirms_where_nobody_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    assert proposals.logged_in() == getpass.getuser()

    def nobody() -> str:
        raise OSError("no such user")

    monkeypatch.setattr(getpass, "getuser", nobody)
    assert proposals.logged_in() == ""
