"""link, unlink and persons as people and scripts call them, and what status says of rows that are derived anew."""

from __future__ import annotations

from pathlib import Path

import pytest

from crdtsync.cli.state import rederiving
from tests.cli.conftest import Call


@pytest.fixture
def pair(call: Call, jena: Path) -> list[str]:
    """Two patients, the least id first."""
    return sorted(call("record", "new", jena, "patient", "family_name=Muster", "--json").json["id"] for _ in "12")


def test_people_are_told_what_came_of_it(call: Call, jena: Path, pair: list[str]) -> None:
    one, two = pair
    assert "No such person here." in call("persons", jena, "--linked").out
    assert f"Linked: 2 records are now of the person {one}." in call("link", jena, two, one).out
    assert "They were linked already" in call("link", jena, one, two).out
    shown = call("persons", jena, "family_name=Muster").out
    assert one in shown and two in shown
    assert "Unlinked: they are two persons again." in call("unlink", jena, one, two).out


def test_scripts_get_persons_and_the_commit(call: Call, jena: Path, pair: list[str]) -> None:
    one, two = pair
    person = {"person": one, "patients": [one, two]}
    told = call("link", jena, one, two, "--author", "dr.weber", "--reason", "same card", "--json").json
    assert told["persons"] == [person] and told["commit"]
    assert call("persons", jena, "--linked", "--limit", "1", "--json").json == [person]
    parted = call("unlink", jena, two, one, "--json").json
    assert [each["person"] for each in parted["persons"]] == pair
    assert call("persons", jena, "--linked", "--json").json == []


def test_what_is_refused_says_what_to_do(call: Call, jena: Path, pair: list[str]) -> None:
    one, two = pair
    assert "are not linked" in call("unlink", jena, one, two).refused(1)
    assert "no patient with the id nobody" in call("link", jena, one, "nobody").refused(1)
    assert "not with itself" in call("link", jena, one, one).refused(2)
    assert "patient has no field 'shoe_size'" in call("persons", jena, "shoe_size=42").refused(2)
    three = call("record", "new", jena, "patient", "family_name=Third", "--json").json["id"]
    for first, second in ((one, three), (three, two)):
        assert call("link", jena, first, second, "--json").json["commit"]
    assert f"unlink {one} from {three}, or {three} from {two}" in call("unlink", jena, one, two).refused(1)
    assert call("link", jena, one, two, "--json").json["commit"]
    assert f"still the person {min(one, three)}" in call("unlink", jena, one, two).out


def test_status_tells_how_far_rows_are() -> None:
    assert list(rederiving({"rederiving": []})) == []
    [sentence] = rederiving({"rederiving": [{"kind": "patient", "done": 3, "total": 10}]})
    assert "learnt fields of patient: 3 of 10 records have them" in sentence
    assert "questions that ask for them wait" in sentence
