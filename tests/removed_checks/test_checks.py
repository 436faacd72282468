"""The list of checks fits the sources and the tests: each text is there once, and each test exists."""

from __future__ import annotations

import ast
from collections import Counter
from functools import cache
from pathlib import Path

import pytest

from tests.removed_checks import __main__ as command
from tests.removed_checks.checks import CHECKS, Check
from tests.removed_checks.running import ROOT


@cache
def named_in(file: Path) -> frozenset[str]:
    """The names of the tests in a file."""
    tree = ast.parse(file.read_text(encoding="utf-8"))
    kinds = (ast.FunctionDef, ast.AsyncFunctionDef)
    return frozenset(node.name for node in tree.body if isinstance(node, kinds) and node.name.startswith("test_"))


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.name)
def test_an_entry_fits(check: Check) -> None:
    source = (ROOT / "crdtsync" / check.file).read_text(encoding="utf-8")
    assert source.count(check.text) == 1, f"{check.file} does not have this text once; mend the entry"
    assert check.text != check.replacement
    ast.parse(source.replace(check.text, check.replacement))
    file, _, name = check.test.partition("::")
    assert name in named_in(ROOT / file), f"there is no test {check.test}"


def test_the_list_is_long_and_its_names_are_one_each() -> None:
    assert len(CHECKS) >= 150
    assert max(Counter(check.name for check in CHECKS).values()) == 1


def test_a_check_that_nobody_misses_is_reported(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The script itself: what is noticed, what is not, and what is stale."""
    gate = next(check for check in CHECKS if check.name == "size of a delta")
    unnoticed = Check("unnoticed", gate.file, gate.text, f"{gate.text}  # still there", gate.test)
    stale = Check("stale", gate.file, "no such text", "", gate.test)
    monkeypatch.setattr(command, "CHECKS", (gate, unnoticed, stale))
    assert command.main(["--jobs", "1"]) == 1
    said = capsys.readouterr().out
    assert "unnoticed: unnoticed:" in said and "stale: stale:" in said
    assert "size of a delta" not in said
