"""The ledger of the long forms: what was tried, with which sources, and how it ended."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from crdtsync.testing.sources import core_hash
from tests.soak import FORMS, LEDGER, Form, main, run


def test_a_form_is_noted_with_what_it_counted(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(FORMS, "seeds", Form("one", ("crdtsync.testing", "--seeds", "1", "--json")))  # type: ignore[arg-type]
    ledger = tmp_path / "ledger.jsonl"
    assert main(["seeds", "--ledger", str(ledger)]) == 0
    assert main(["seeds", "--ledger", str(ledger)]) == 0
    first, second = [json.loads(line) for line in ledger.read_text().splitlines()]
    assert first["form"] == "seeds" and first["exit"] == 0
    assert first["sources"] == core_hash() == first["figures"]["sources"]
    assert first["figures"]["seeds"] == 1 and first["figures"]["failures"] == 0
    assert {**first["figures"], "cpu_s": 0} == {**second["figures"], "cpu_s": 0}


def test_a_form_that_fails_is_noted_too(capfd: pytest.CaptureFixture[str]) -> None:
    line = run("seeds", Form("a mistake", ("crdtsync.testing", "--seeds", "none")))
    assert line["exit"] == 2 and line["figures"] == ""
    assert "--seeds" in capfd.readouterr().err


def test_the_forms_are_listed_and_a_wrong_name_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--list"]) == 0
    assert [line.split()[0] for line in capsys.readouterr().out.splitlines()] == list(FORMS)
    with pytest.raises(SystemExit):
        main(["sedes"])
    assert "there is no form 'sedes'; --list names them" in capsys.readouterr().err


def test_the_ledger_holds_lines_of_known_forms() -> None:
    lines = [json.loads(text) for text in LEDGER.read_text().splitlines()] if LEDGER.exists() else []
    assert all(line["form"] in FORMS and line["sources"] for line in lines)
