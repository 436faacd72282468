"""Which version of the core a figure belongs to."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Final

import crdtsync

CORE: Final = ("authority", "documents", "engine", "practice", "ranges", "replication", "sealing", "storage")
"""The folders whose code decides what a simulated world does; beside them stand the files that a host is made of."""
_FILES: Final = (
    *("brake.py", "clock.py", "duties.py", "frozen.py", "host.py", "issuing.py", "kept.py", "numbers.py"),
    "series_state.py",
)


def core_files() -> list[Path]:
    """The core's sources, in an order that is the same on every system."""
    root = Path(crdtsync.__file__).parent
    found = [path for folder in CORE for path in (root / folder).rglob("*.py")]
    return sorted([*found, *(root / name for name in _FILES)], key=lambda path: path.relative_to(root).as_posix())


def core_hash() -> str:
    """A hash over names and contents of the core's sources: equal figures belong to equal hashes."""
    root = Path(crdtsync.__file__).parent
    digest = hashlib.sha256()
    for path in core_files():
        content = path.read_bytes().replace(b"\r\n", b"\n")
        digest.update(path.relative_to(root).as_posix().encode() + b"\0" + hashlib.sha256(content).digest())
    return digest.hexdigest()[:16]
