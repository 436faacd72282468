"""The command line: its summary, its exit codes, and seeing one image again."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from crdtsync.testing import power_cuts
from crdtsync.testing.realdisk import recorder

pytestmark = pytest.mark.usefixtures("library")


def summary(capsys: pytest.CaptureFixture[str]) -> dict[str, object]:
    found = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert isinstance(found, dict)
    return found


def test_the_summary_counts_images(capsys: pytest.CaptureFixture[str]) -> None:
    assert power_cuts.main(["--images", "12", "--seed", "3", "--json", "--processes", "1"]) == 0
    found = summary(capsys)
    assert (found["images"], found["corrupt"], found["lost"], found["failures"]) == (12, 0, 0, [])


def test_a_failure_names_what_shows_it_again(capsys: pytest.CaptureFixture[str]) -> None:
    planted = ["--planted", "no-folder-sync", "--json", "--processes", "1"]
    assert power_cuts.main(["--images", "25", *planted]) == 1
    found = summary(capsys)
    failures = found["failures"]
    assert isinstance(failures, list) and found["lost"] == len(failures) > 0
    assert power_cuts.main(["--seed", str(failures[0]["life"]), "--image", str(failures[0]["image"]), *planted]) == 1
    assert summary(capsys)["images"] == 1


def test_a_recorded_life_is_judged_without_playing_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    base, trace = tmp_path / "base", tmp_path / "trace"
    base.mkdir()
    library = recorder.build(tmp_path)
    done = recorder.child(library, "crdtsync.testing.realdisk.play", [str(base), str(trace), "2", "5"])
    assert done.returncode == 0, done.stderr
    assert power_cuts.main(["--trace", str(trace), "--seed", "2", "--images", "10", "--json"]) == 0
    assert summary(capsys)["images"] == 10


def test_a_machine_that_cannot_says_so(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recorder, "missing", lambda: "no C compiler: install one that is called `cc`")
    assert power_cuts.main(["--images", "1"]) == 2
    assert "install one" in capsys.readouterr().err
