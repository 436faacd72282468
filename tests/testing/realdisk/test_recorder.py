"""The recorder sees every change that either SQLite makes: what it wrote down gives the very files that are there."""

from __future__ import annotations

import random
import subprocess
from pathlib import Path

import pytest

from crdtsync.errors import EnvironmentFailure
from crdtsync.testing.realdisk import recorder
from crdtsync.testing.realdisk.images import Disk
from crdtsync.testing.realdisk.trace import operations, read_trace


def test_the_trace_gives_the_files_that_are_there(library: Path, tmp_path: Path) -> None:
    base, trace = tmp_path / "base", tmp_path / "trace"
    base.mkdir()
    done = recorder.child(library, "crdtsync.testing.realdisk.play", [str(base), str(trace), "5", "12"])
    assert done.returncode == 0, done.stderr
    disk = Disk()
    for operation in read_trace(trace):
        disk.take(operation)
    image = disk.image("killed", random.Random(0))
    files = {
        path.relative_to(base).as_posix(): path.read_bytes()
        for path in base.rglob("*")
        if path.is_file() and not path.name.endswith("-shm")
    }
    assert {name: data for name, data in image.items() if not name.endswith("/")} == files
    assert {"jena/log.db", "jena/keys.db", "jena/view.db", "jena/replica.key"} <= set(files)


def test_a_trace_that_was_cut_off_ends_before_the_record_that_is_not_whole() -> None:
    record = b"u\0" + (-1).to_bytes(4, "little", signed=True) + bytes(8) + (3).to_bytes(4, "little") + b"abc"
    assert [operation.data for operation in operations(record * 2)] == [b"abc", b"abc"]
    for cut in range(1, len(record)):
        assert len(list(operations(record + record[:cut]))) == 1


def test_nobody_controls_a_recorder_that_is_not_there() -> None:
    with pytest.raises(EnvironmentFailure, match="start it with `child`"):
        recorder.Recorder()


def test_a_recorder_that_cannot_be_compiled_says_why(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recorder.shutil, "which", lambda name: None)
    with pytest.raises(EnvironmentFailure, match="install one that is called `cc`"):
        recorder.build(tmp_path)
    monkeypatch.undo()

    def fails(*args: object, **kwargs: object) -> subprocess.CompletedProcess[str]:
        return subprocess.CompletedProcess([], 1, "", "no headers")

    monkeypatch.setattr(recorder.shutil, "which", lambda name: "/usr/bin/cc")
    monkeypatch.setattr(recorder.subprocess, "run", fails)
    monkeypatch.setattr(recorder.sys, "platform", "linux")
    with pytest.raises(EnvironmentFailure, match="no headers"):
        recorder.build(tmp_path)
