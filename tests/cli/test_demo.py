"""The demo, in a pipe: what make demo promises."""

from __future__ import annotations

import io
import json

import pytest
from rich.console import Console

from crdtsync.cli.demo.screen import Terminal
from crdtsync.cli.demo.stage import Actor
from tests.cli.conftest import Call


@pytest.mark.slow
def test_the_demo_ends_with_equal_digests_and_one_conflict_with_both_values(call: Call) -> None:
    done = call("demo", "--patients", "5")
    events = [json.loads(line) for line in done.out.splitlines()]
    assert done.code == 0, done
    end = events[-1]
    assert end["event"] == "end" and end["equal"] is True
    assert len(set(end["digests"].values())) == 1 and set(end["digests"]) == {"Jena", "Weimar", "Gera"}
    (conflict,) = [event for event in events if event["event"] == "conflict"]
    assert conflict["field"] == "dosage" and conflict["severity"] == "high"
    assert len({json.dumps(value, sort_keys=True) for value in conflict["values"]}) == 2
    apart = [event for event in events if event["event"] == "sites" and event["cut"]]
    assert any(len({site["digest"] for site in event["sites"]}) == 3 for event in apart)


@pytest.mark.parametrize("columns", [80, 120])
def test_the_columns_fit_the_terminal(columns: int) -> None:
    screen = Terminal(0.0, Console(file=io.StringIO(), width=columns, force_terminal=True, color_system=None))
    actors = [Actor(name, None, status=STATUS) for name in ("Jena", "Weimar", "Gera")]  # type: ignore[arg-type]  # no folder
    with screen:
        screen.step("Jena founds the practice.")
        screen.sites(actors, cut=True)
        screen.conflict({"field": "dosage", "severity": "high", "values": [{"morning": 1.0}, {"morning": 2.0}]})
        screen.end({"equal": True, "digests": {"Jena": "ab"}, "wire_bytes": 1000, "seconds": 1})
    lines = screen.console.file.getvalue().splitlines()  # type: ignore[attr-defined]  # it is the StringIO of above
    assert max(len(line) for line in lines if "\x1b" not in line) <= columns
    shown = "\n".join(lines)
    assert "patient" in shown and "morning 2" in shown and "✓ Jena founds the practice." in shown


STATUS = {
    "records": {"patient": 12, "medication_statement": 3}, "conflicts": 1, "digest": "0123456789abcdef",
    "peers": [{"connected": True}],
}  # fmt: skip
