"""Reverting by the command line: preview, confirm, and what is refused."""

from __future__ import annotations

from pathlib import Path

from .conftest import Call


def test_a_mistake_is_looked_at_and_taken_back(call: Call, jena: Path) -> None:
    record = call("record", "new", jena, "patient", "family_name=Muster", "given_name=Erika", "--json").json["id"]
    done = call("record", "set", jena, record, "family_name=Falsch", "given_name=Max", "--author", "eve", "--json")
    commit = done.json["commit"]
    call("record", "set", jena, record, "given_name=Maria", "--author", "anna")
    shown = call("revert", jena, "--commit", commit, "--preview")
    assert all(word in shown.out for word in ("Falsch", "Muster", "Maria", "anna", "--confirm")), shown.out
    made = call("revert", jena, "--by", "eve", "--since", "2020-01-01T00:00:00Z", "--preview", "--json").json
    [told] = made["changes"]
    assert (told["field"], told["before"], told["after"]) == ("family_name", "Falsch", "Muster")
    assert [(each["field"], each["how"], each["author"]) for each in made["later"]] == [("given_name", "stays", "anna")]
    assert len(call("reverts", jena, "--json").json) == 2 and made["id"] in call("reverts", jena).out
    done = call("revert", jena, "--confirm", made["id"], "--author", "anna", "--reason", "mixed up", "--json").json
    assert done["records"] == 1 and len(done["commits"]) == 1
    fields = call("record", "show", jena, record, "--json").json["fields"]
    assert (fields["family_name"], fields["given_name"]) == ("Muster", "Maria")
    assert call("revert", jena, "--commit", done["commits"][0]).out.strip() == "Reverted: 1 record in 1 commit."
    assert call("record", "show", jena, record, "--json").json["fields"]["family_name"] == "Falsch"
    [left] = call("reverts", jena, "--json").json
    assert call("reverts", jena, "--drop", left["id"]).out.startswith("Dropped: 0 of 1 record")
    assert call("reverts", jena).out.strip() == "No reverts are waiting."


def test_a_record_goes_back_to_a_time_at_a_site(call: Call, jena: Path) -> None:
    record = call("record", "new", jena, "task", "title=a", "--json").json["id"]
    made = call("revert", jena, "--at-site", "Jena", "--since", "2020-01-01T00:00:00Z", "--preview", "--json").json
    assert [each["record"] for each in made["changes"]] == [record]
    made = call("revert", jena, "--record", record, "--until", "2020-01-01T00:00:00Z", "--json").json
    assert made["records"] == 1
    assert "title" not in call("record", "show", jena, record, "--json").json["fields"]
    later = call("revert", jena, "--record", record, "--since", "2090-01-01T00:00:00Z", "--preview")
    assert "Nothing is left of it" in later.out and later.code == 0


def test_what_is_refused(call: Call, jena: Path) -> None:
    assert "in one way" in call("revert", jena).refused(2)
    assert "written like" in call("revert", jena, "--by", "a", "--since", "monday").refused(2)
    assert "name nothing beside it" in call("revert", jena, "--confirm", "x", "--by", "a").refused(2)
    assert "no preview x" in call("revert", jena, "--confirm", "x").refused(1)
    assert "no site named" in call("revert", jena, "--at-site", "Gera", "--since", "2020-01-01T00:00:00Z").refused(1)
