"""Series and invoices as people and scripts call them."""

from __future__ import annotations

import csv
import re
from pathlib import Path

from tests.cli.conftest import Call

PATTERN = "R1-{year}-{n:05}"


def invoice(call: Call, jena: Path) -> str:
    lines = 'lines=[{"code": "1", "amount_cents": 5}]'
    made = call("record", "new", jena, "invoice", "recipient=Erika", lines, "--json")
    return str(made.json["id"])


def test_scripts_get_numbers_and_the_list_of_them(call: Call, jena: Path, tmp_path: Path) -> None:
    told = call("series", "add", jena, "R1", "--pattern", PATTERN, "--start", "17", "--author", "admin", "--json").json
    assert (told["name"], told["holder"], told["term"], told["held_here"]) == ("R1", "Jena", 1, True)
    first, second = invoice(call, jena), invoice(call, jena)
    told = call("invoice", "issue", jena, first, "--series", "R1", "--author", "empfang", "--json").json
    assert set(told) == {"number", "series", "term"} and re.fullmatch(r"R1-\d{4}-00017", told["number"])
    assert call("invoice", "issue", jena, first, "--series", "R1", "--json").json == told
    assert call("invoice", "issue", jena, second, "--json").json["number"].endswith("-00018")
    gone = call("invoice", "cancel", jena, first, "--reason", "wrong patient", "--json").json
    assert gone["number"].endswith("-00019") and gone["term"] == 1
    lines = call("series", "audit", jena, "R1", "--json").json
    assert [line["invoice"] for line in lines] == [first, second, gone["invoice"]]
    assert lines[0]["cancelled_by"] == gone["number"]
    file = tmp_path / "r1.csv"
    assert "3 lines written" in call("series", "audit", jena, "R1", "--csv", file).out
    with file.open(encoding="utf-8", newline="") as opened:
        assert [row["invoice"] for row in csv.DictReader(opened)] == [first, second, gone["invoice"]]
    [shown] = call("series", "list", jena, "--json").json
    assert shown["pattern"] == PATTERN and [each["how"] for each in shown["terms"]] == ["founded"]


def test_people_are_told_what_came_of_it(call: Call, jena: Path) -> None:
    assert "no series yet" in call("series", "list", jena).out
    assert "Jena gives the numbers of R1" in call("series", "add", jena, "R1", "--pattern", "R1-{n}").out
    assert "R1-{n}" in call("series", "list", jena).out
    assert "No number of R1 was given yet." in call("series", "audit", jena, "R1").out
    record = invoice(call, jena)
    assert "has the number R1-1." in call("invoice", "issue", jena, record).out
    assert "has the number R1-2." in call("invoice", "cancel", jena, record).out
    assert record in call("series", "audit", jena, "R1").out
    assert "Jena gives the numbers of R1 from now on, in term 1." in call("hand-over", jena, "R1", "--to", "Jena").out


def test_what_is_refused_says_what_to_do(call: Call, jena: Path) -> None:
    assert "must have the series' name" in call("series", "add", jena, "R1", "--pattern", "RE-{n}").refused(2)
    assert "no series R1" in call("series", "audit", jena, "R1").refused(1)
    call("series", "add", jena, "R1", "--pattern", "R1-{n}")
    assert "has a series R1 already" in call("series", "add", jena, "R1", "--pattern", "R1/{n}").refused(1)
    assert "no site named Gera" in call("hand-over", jena, "R1", "--to", "Gera").refused(1)
    assert "has the series R1 already" in call("take-over", jena, "R1", "--reason", "why not").refused(1)
    assert "say why" in call("take-over", jena, "R1", "--to", "Jena").refused(2)
    record = invoice(call, jena)
    call("invoice", "issue", jena, record)
    assert "recipient cannot be changed" in call("record", "set", jena, record, "recipient=Max").refused(1)
    assert "written once" in call("record", "set", jena, record, "number=R1-7").refused(2)


def test_status_tells_of_series(call: Call, jena: Path) -> None:
    call("series", "add", jena, "R1", "--pattern", "R1-{n}")
    told = call("status", jena, "--json").json
    assert told["series_held"] == ["R1"] and told["invoices_waiting"] == []
    assert not any(told["numbers"][key] for key in ("unconfirmed", "series_closed", "ranges_closed", "refused"))
    record = call("record", "new", jena, "invoice", "series=R7", "status=ready", "--json").json["id"]
    assert f"Invoice {record} waits for a number of R7: it names no series of this practice" in call("status", jena).out
