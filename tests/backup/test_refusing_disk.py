"""A real disk that refuses: calls of a backup and of a restore in turn, on both kinds of vault; step 1 tries all."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from crdtsync.testing.realdisk import recorder


def refused(tmp_path: Path, form: str, step: int) -> None:
    if reason := recorder.missing():
        if os.environ.get("CRDTSYNC_CI") == "1":
            pytest.fail(reason)
        pytest.skip(reason)
    base = tmp_path / "base"
    base.mkdir()
    path = os.pathsep.join([str(Path(__file__).parents[2]), *filter(None, [os.environ.get("PYTHONPATH")])])
    arguments = [str(base), form, str(step)]
    library = recorder.build(tmp_path)
    done = recorder.child(library, "tests.backup.refusing_process", arguments, PYTHONPATH=path)
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    backups, restores = told["backups"], told["restores"]
    assert backups["problems"] == restores["problems"] == []
    assert backups["last"] == [1, []], "with the disk mended the next backup is made"
    assert backups["refused"] >= 3 and restores["refused"] >= 3
    full = [sentence for sentence in backups["sentences"] if "disk is full; free some space" in sentence]
    assert full and all("PLACE" in sentence for sentence in backups["sentences"])


@pytest.mark.parametrize("form", ["folder", "file"])
def test_some_calls_are_refused(tmp_path: Path, form: str) -> None:
    refused(tmp_path, form, 23)


@pytest.mark.slow
@pytest.mark.parametrize("form", ["folder", "file"])
def test_many_calls_are_refused(tmp_path: Path, form: str) -> None:
    refused(tmp_path, form, 4)
