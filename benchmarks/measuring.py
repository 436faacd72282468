"""What a benchmark reads off the machine: processor time, memory, disk, and the bytes of its own connections."""

from __future__ import annotations

import contextlib
import os
import platform
import resource
import socket
import sqlite3
import struct
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_BYTES_ACKED = struct.Struct("=QQ")
_BYTES_ACKED_AT = 120
"""Where Linux's struct tcp_info (include/uapi/linux/tcp.h) has tcpi_bytes_acked and tcpi_bytes_received."""
_TCP_ESTABLISHED = 1


def machine() -> dict[str, Any]:
    """What the figures were made on."""
    return {
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.machine()}",
        "cores": os.cpu_count(),
        "load_before": round(os.getloadavg()[0], 2),
        "at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
    }


def wire_bytes() -> int | None:
    """Bytes that this process sent (acknowledged) and received over its open TCP connections, TLS included.

    None where the system does not tell (it is read from TCP_INFO, which only Linux has in this form). Connections
    that have ended are not counted any more: take differences over a stretch in which none ends.
    """
    if not sys.platform.startswith("linux"):
        return None
    total = 0
    for name in os.listdir("/proc/self/fd"):
        with contextlib.suppress(OSError):
            if os.readlink(f"/proc/self/fd/{name}").startswith("socket:"):
                total += _socket_bytes(int(name))
    return total


def _socket_bytes(descriptor: int) -> int:
    with socket.socket(fileno=os.dup(descriptor)) as connection:
        if connection.family not in (socket.AF_INET, socket.AF_INET6) or connection.type != socket.SOCK_STREAM:
            return 0
        info = connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 256)
    if len(info) < _BYTES_ACKED_AT + _BYTES_ACKED.size or info[0] != _TCP_ESTABLISHED:
        return 0
    acked, received = _BYTES_ACKED.unpack_from(info, _BYTES_ACKED_AT)
    return int(acked) + int(received)


def rss_bytes() -> int:
    """The largest resident memory that this process has had.

    Not from `getrusage` on Linux: there a child begins with the figure of the parent that started it.
    """
    with contextlib.suppress(OSError):
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def disk_bytes(folder: Path) -> int:
    """The size of all files in `folder`."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file() and not path.is_symlink())


def syncs_per_second(folder: Path, transactions: int = 500) -> float:
    """What the disk under `folder` can do: transactions of 600 bytes that plain SQLite syncs in a second."""
    path = folder / "syncs.db"
    db = sqlite3.connect(path, isolation_level=None)
    try:
        for statement in ("PRAGMA journal_mode = WAL", "PRAGMA synchronous = FULL", "CREATE TABLE t (n, data)"):
            db.execute(statement)
        start = time.perf_counter()
        for number in range(transactions):
            db.execute("INSERT INTO t VALUES (?, ?)", (number, bytes(600)))
        return transactions / (time.perf_counter() - start)
    finally:
        db.close()
        for left in folder.glob("syncs.db*"):
            left.unlink()


@dataclass
class Meter:
    """Started when made; `read` gives what has been used since."""

    folder: Path

    def __post_init__(self) -> None:
        self._seconds = time.perf_counter()
        self._cpu = time.process_time()
        self._wire = wire_bytes()

    def read(self) -> dict[str, Any]:
        """Seconds, processor seconds of all threads, bytes on the wire; and memory and disk as they are now."""
        wire = wire_bytes()
        return {
            "seconds": round(time.perf_counter() - self._seconds, 4),
            "cpu_s": round(time.process_time() - self._cpu, 3),
            "wire_bytes": None if wire is None or self._wire is None else wire - self._wire,
            "rss_bytes": rss_bytes(),
            "disk_bytes": disk_bytes(self.folder),
        }


def percentile(values: list[float], share: float) -> float:
    """The value below which `share` of `values` lie (nearest rank)."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]
