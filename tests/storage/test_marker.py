"""The note of what is being derived: found after a kill, harmless whatever it holds."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from crdtsync.errors import StorageFailure
from crdtsync.storage.marker import NAME, Marker


@contextmanager
def marker_in(folder: Path) -> Iterator[Marker]:
    marker = Marker(folder)
    try:
        yield marker
    finally:
        marker.close()


def found_in(folder: Path) -> tuple[int, int] | None:
    with marker_in(folder) as marker:
        return marker.found


def test_a_note_is_found_by_the_next_and_a_cleared_one_is_not(tmp_path: Path) -> None:
    assert found_in(tmp_path) is None
    with marker_in(tmp_path) as marker:
        marker.note(7, 2**60)
        marker.note(5, 9)
    assert found_in(tmp_path) == (5, 9)
    assert found_in(tmp_path) == (5, 9), "reading leaves it there"
    with marker_in(tmp_path) as marker:
        marker.clear()
    assert found_in(tmp_path) is None


def test_a_killed_process_leaves_its_note(tmp_path: Path) -> None:
    program = (
        "import os, signal, sys\n"
        "from crdtsync.storage.marker import Marker\n"
        "Marker(sys.argv[1]).note(3, 4)\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    assert subprocess.run([sys.executable, "-c", program, tmp_path], check=False).returncode < 0
    assert found_in(tmp_path) == (3, 4)


def test_what_is_no_note_counts_as_none(tmp_path: Path) -> None:
    with marker_in(tmp_path) as marker:
        marker.note(5, 9)
    good = (tmp_path / NAME).read_bytes()
    for position in range(len(good)):
        damaged = bytearray(good)
        damaged[position] ^= 1
        (tmp_path / NAME).write_bytes(damaged)
        assert found_in(tmp_path) is None, position
    for other in (b"", b"\x00", good[:-1], good + b"x", bytes(1_000)):
        (tmp_path / NAME).write_bytes(other)
        assert found_in(tmp_path) is None
    (tmp_path / NAME).write_bytes(good)
    assert found_in(tmp_path) == (5, 9)


@pytest.mark.parametrize(("first", "last"), [(0, 4), (5, 4)])
def test_arrivals_that_cannot_be_are_none(tmp_path: Path, first: int, last: int) -> None:
    with marker_in(tmp_path) as marker:
        marker.note(first, last)
    assert found_in(tmp_path) is None


def test_a_folder_that_cannot_be_used_is_a_storage_failure(tmp_path: Path) -> None:
    with pytest.raises(StorageFailure, match="cannot be used"):
        Marker(tmp_path / "missing")


def test_closed_it_does_nothing(tmp_path: Path) -> None:
    with marker_in(tmp_path) as marker:
        marker.close()
        marker.note(1, 2)
        marker.close()
    assert found_in(tmp_path) is None
