"""FolderLock: one holder, and none when the holder is dead."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from crdtsync.errors import AlreadyOpen, StorageFailure
from crdtsync.storage.lock import FolderLock


def test_one_holder_at_a_time(tmp_path: Path) -> None:
    first = FolderLock(tmp_path)
    with pytest.raises(AlreadyOpen, match="another process works in this folder"):
        FolderLock(tmp_path)
    assert first.held
    first.release()
    first.release()
    assert not first.held
    FolderLock(tmp_path).release()


def test_a_killed_process_leaves_no_lock(tmp_path: Path) -> None:
    program = (
        "import sys; from crdtsync.storage.lock import FolderLock; lock = FolderLock(sys.argv[1]); print('held'); "
    )
    program += "sys.stdout.flush(); sys.stdin.read()"
    with subprocess.Popen(
        [sys.executable, "-c", program, str(tmp_path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        cwd=Path(__file__).parents[2],
    ) as process:
        assert process.stdout is not None and process.stdout.readline().strip() == b"held"
        with pytest.raises(AlreadyOpen):
            FolderLock(tmp_path)
        process.kill()
    FolderLock(tmp_path).release()


def test_a_folder_that_is_not_there_is_said(tmp_path: Path) -> None:
    with pytest.raises(StorageFailure, match="folder exists"):
        FolderLock(tmp_path / "nowhere")
