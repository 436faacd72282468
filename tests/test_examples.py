"""What people read first runs as it stands: the examples, and the programs in the README."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import get_args

import pytest

from crdtsync import practice
from crdtsync.documents import Record
from crdtsync.documents.merge import RuleName

HOME = Path(__file__).parent.parent
PROGRAMS = re.findall(r"^```python\n(.*?)^```", (HOME / "README.md").read_text(encoding="utf-8"), re.S | re.M)
seconds_max = 60


def run(code: list[str], folder: Path) -> str:
    """Run Python in an empty folder and return what it said."""
    done = subprocess.run(
        [sys.executable, *code],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(HOME)},
        capture_output=True,
        text=True,
        timeout=seconds_max,
    )
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


def test_the_first_program_of_the_readme_reads_at_weimar_what_jena_wrote(tmp_path: Path) -> None:
    said = run(["-c", PROGRAMS[0]], tmp_path)
    assert "Muster" in said and "Erika" in said
    assert {path.name for path in tmp_path.iterdir()} == {"jena", "weimar"}


def test_the_kind_of_the_readme_can_be_declared(tmp_path: Path) -> None:
    use = "\ndevice = Device(name='EKG')\ndevice.tags.add('loan')\nprint(device.kind, list(device.tags))\n"
    assert run(["-c", PROGRAMS[1] + use], tmp_path) == "device ['loan']\n"


def test_an_application_declares_its_own_records(tmp_path: Path) -> None:
    """Both sites agree, nothing was lost, and what is left to decide is what the rules leave to a person."""
    said = run([str(HOME / "examples" / "own_records.py")], tmp_path).splitlines()
    assert said[0].startswith("Refused: infusion_pump.rate: `latest` drops one of two values")
    assert said[1:-1] == [
        "Jena and Weimar agree: True",
        "uses: 5 | state: retired | locked: True | lendable: False",
        "keepers: ['anna'] | inspections: 1 | notes: Lent to Weimar. On loan from the maker. Cable was mended.",
        "faults: ['loose cable']",
        "heads of the instruction: ['Do not use.', 'Switch it on. Wait.']",
        "radiation, read with caution: certain",
        "for a person to decide: ['instruction', 'place', 'radiation']",
        "Decided; conflicts left: [] | faults kept: 1",
    ]
    assert "'instruction_body': 'Switch it on. Wait. Not for children.', 'uses': 5" in said[-1]


def test_the_page_on_records_declares_what_it_says_and_knows_every_rule(tmp_path: Path) -> None:
    page = (HOME / "docs" / "RECORDS.md").read_text(encoding="utf-8")
    use = "\nmade = Device(place={'room': '1'})\nmade.keepers.add('anna')\nprint(made.place, list(made.keepers))\n"
    program = re.findall(r"^```python\n(.*?)^```", page, re.S | re.M)[0]
    assert run(["-c", program + use], tmp_path) == "building=None room='1' ['anna']\n"
    described = set(re.findall(r"^\| `([a-z_]+)[`(]", page, re.M))
    assert set(get_args(RuleName)) <= described
    for kind, model in practice_kinds().items():
        (row,) = re.findall(rf"^\| `{kind}` .*$", page, re.M)
        assert set(re.findall(r"`([a-z_]+)`", row)) - {kind} == set(model.model_fields) - {"source"}


def practice_kinds() -> dict[str, type[Record]]:
    exported = (getattr(practice, name) for name in practice.__all__)
    return {model.kind: model for model in exported if issubclass(model, Record)}


@pytest.mark.slow
def test_three_sites_agree_and_both_dosages_are_kept(tmp_path: Path) -> None:
    lines = run([str(HOME / "examples" / "three_sites.py")], tmp_path).splitlines()
    sites = [line for line in lines if line.startswith(("Jena ", "Weimar ", "Gera "))]
    shown = {line.split(maxsplit=1)[1] for line in sites if "morning" in line}
    assert len(shown) == 1 and "0.5" in shown.pop()
    assert lines[-1] == "Decided at Weimar; conflicts left there: []"


def test_a_conflict_is_found_at_one_site_and_decided_for_all(tmp_path: Path) -> None:
    said = run([str(HOME / "examples" / "conflict_desk.py")], tmp_path)
    lines = said.splitlines()
    assert lines[0] == "Found at both, under equal ids: True"
    for origin in ("dr.weber at Jena (pressure measured in Jena)", "dr.jung at Weimar (pressure measured in Weimar)"):
        assert said.count(origin) == 2, "before the decision and after it"
    prescribed = [line for line in lines if line.startswith(("stopped", "prescribed"))]
    assert [line.partition(":")[0] for line in prescribed] == ["stopped", "prescribed", "prescribed"]
    assert "morning=0.5" in prescribed[-1] and "Listed at Jena and at Weimar: 0 0" in lines
    assert any("field in dosage, high, resolved" in line for line in lines)
