"""Servers whose processes have other limits or a wrong wall clock; see `child/sitecustomize.py`."""

from __future__ import annotations

import json
import os
import struct
from pathlib import Path

from tests.scenarios.processes import Server

CHILD = Path(__file__).parent / "child"


def _bring_in(server: Server, name: str, value: str) -> None:
    elsewhere = os.environ.get("PYTHONPATH", "")
    server.environment[name] = value
    server.environment["PYTHONPATH"] = os.pathsep.join([str(CHILD), *([elsewhere] if elsewhere else [])])


def change_limits(server: Server, **values: float) -> None:
    """These limits, from the next start on."""
    _bring_in(server, "CRDTSYNC_TEST_LIMITS", json.dumps(values))


class WallClock:
    """The wall clock of one server, from its next start on. `set` works at once."""

    def __init__(self, server: Server) -> None:
        self._file = server.folder.with_name(f"{server.folder.name}.clock")
        self._file.write_bytes(bytes(8))
        _bring_in(server, "CRDTSYNC_TEST_CLOCK", str(self._file))

    def set(self, wrong_ms: int) -> None:
        """So many milliseconds ahead, or behind if negative."""
        with self._file.open("r+b") as file:
            file.write(struct.pack("<q", wrong_ms))
