"""What a serving process takes of the machine (Linux: read from /proc)."""

from __future__ import annotations

import os
from pathlib import Path

from tests.scenarios.processes import Server


def memory_bytes(process: int) -> int:
    """Resident memory."""
    pages = Path(f"/proc/{process}/statm").read_text(encoding="ascii").split()[1]
    return int(pages) * os.sysconf("SC_PAGE_SIZE")


def open_files(process: int) -> int:
    """File descriptors, sockets included."""
    return len(os.listdir(f"/proc/{process}/fd"))


def log_bytes(server: Server) -> int:
    """What the log takes on disk, its WAL included."""
    return sum(file.stat().st_size for file in server.folder.glob("log.db*") if not file.name.endswith("-shm"))
