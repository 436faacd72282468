"""Updates that panic, hang or kill the CRDT library, made by others or built to: the gate keeps every one of them out.

They run in a process of their own, since one that got through could end this one.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from crdtsync.documents import check_delta
from crdtsync.errors import Poisoned
from tests.fuzz.documents import author_of

ROOT = Path(__file__).parents[2]
BOMB_BYTES = (1_000, 3_000, 6_600, 10_000, 50_000, 100_000, 200_000)


def replay(folder: Path) -> subprocess.CompletedProcess[str]:
    """Run every file of a folder as a delta to documents, in another process."""
    command = [sys.executable, "-m", "tests.fuzz", "--target", "delta_alone", "--replay", str(folder)]
    surroundings = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])}
    return subprocess.run(command, cwd=ROOT, env=surroundings, capture_output=True, text=True, timeout=120, check=False)


def bomb(size: int, client: int = 1) -> bytes:
    """A well-formed update of about `size` bytes that sets key `x` of the map to arrays nested as deep as fits."""
    depth = size // 2
    return bytes([1, 1, client, 0, 40, 1, 1, ord("r"), 1, ord("x"), 1]) + bytes([117, 1]) * depth + bytes([126, 0])


def test_updates_that_others_found_poisoned(test_data: Path) -> None:
    files = sorted((test_data / "poison").glob("*.bin"))
    assert len(files) > 10
    done = replay(test_data / "poison")
    assert done.returncode == 0, done.stdout[-500:] + done.stderr[-500:]
    assert done.stdout.splitlines() == [file.name for file in files]
    for file in files:
        delta = file.read_bytes()
        with pytest.raises(Poisoned):
            check_delta(delta, author_of(delta))


def test_nesting_bombs(tmp_path: Path) -> None:
    for size in BOMB_BYTES:
        (tmp_path / f"{size:06}").write_bytes(bomb(size))
    done = replay(tmp_path)
    assert done.returncode == 0, done.stdout[-500:] + done.stderr[-500:]
    assert len(done.stdout.splitlines()) == len(BOMB_BYTES)
    for size in BOMB_BYTES:
        with pytest.raises(Poisoned, match="a value that no slot holds"):
            check_delta(bomb(size), 1)


def test_a_bomb_would_kill_the_process_without_the_gate(tmp_path: Path) -> None:
    """So the tests above show something: this is why the gate stands in front."""
    (tmp_path / "bomb").write_bytes(bomb(200_000))
    script = (
        "import sys, threading; from crdtsync.documents import Document; "
        "threading.stack_size(2**20); "
        f"work = lambda: Document(2).apply(open({str(tmp_path / 'bomb')!r}, 'rb').read()); "
        "thread = threading.Thread(target=work); thread.start(); thread.join()"
    )
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, timeout=60, check=False)
    assert done.returncode < 0, "killed by a signal"
