"""Building the recorder and talking to it: from outside to start a child under it, from within to say what to do.

Linux only: it is loaded by LD_PRELOAD, in front of every C library call of the child, whichever SQLite makes it.
"""

from __future__ import annotations

import ctypes
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import Final

from crdtsync.errors import EnvironmentFailure

WRITE: Final = 1
SYNC: Final = 2
TRUNCATE: Final = 4
OPEN: Final = 8
NAME: Final = 16
READ: Final = 32
KINDS: Final[Mapping[str, int]] = {
    "write": WRITE, "sync": SYNC, "truncate": TRUNCATE, "open": OPEN, "name": NAME, "read": READ,
}  # fmt: skip
"""The kinds of calls that can be made to fail; `name` is unlinking, renaming and making folders."""
ONCE: Final = 0
FROM_THEN_ON: Final = 1
SHORT_WRITE: Final = 2
_BUILD_SECONDS_MAX: Final = 120


def missing() -> str:
    """Why no recorder can be built here; empty when one can."""
    if sys.platform != "linux":
        return "disks are recorded by LD_PRELOAD, which only Linux has"
    if shutil.which("cc") is None:
        return "no C compiler: install one that is called `cc`"
    return ""


def build(folder: Path) -> Path:
    """Compile the recorder into `folder`. Raises EnvironmentFailure when that is not possible here."""
    if reason := missing():
        raise EnvironmentFailure(reason)
    library = folder / "recorder.so"
    source = resources.files("crdtsync.testing.realdisk").joinpath("recorder.c").read_text(encoding="utf-8")
    command = ["cc", "-O2", "-shared", "-fPIC", "-x", "c", "-o", str(library), "-", "-ldl", "-lpthread"]
    done = subprocess.run(command, input=source, text=True, capture_output=True, timeout=_BUILD_SECONDS_MAX)
    if done.returncode != 0:
        raise EnvironmentFailure(f"the recorder cannot be compiled: {done.stderr[-500:]}")
    return library


def child(library: Path, module: str, arguments: Sequence[str], **environment: str) -> subprocess.CompletedProcess[str]:
    """Run a module of this interpreter under the recorder, to its end; its output is kept as text."""
    surroundings = {**os.environ, "LD_PRELOAD": str(library), "CRDTSYNC_KDF": "fast", **environment}
    command = [sys.executable, "-m", module, *arguments]
    return subprocess.run(command, env=surroundings, text=True, capture_output=True, check=False)


class Recorder:
    """From within a child that `child` started: what is recorded, and what fails."""

    def __init__(self) -> None:
        try:
            self._library = ctypes.CDLL(None)
            self._library.crdtsync_disk_fail.restype = ctypes.c_long
            self._library.crdtsync_disk_fail.argtypes = [ctypes.c_long, ctypes.c_int, ctypes.c_int, ctypes.c_int]
        except AttributeError:
            raise EnvironmentFailure("this process does not run under the recorder; start it with `child`") from None

    def watch(self, folder: Path, trace: Path | None) -> None:
        """Write every change below `folder` into `trace` from now on; without one it can only be made to fail."""
        name = None if trace is None else os.fsencode(trace)
        if self._library.crdtsync_disk_watch(os.fsencode(os.path.realpath(folder)), name) != 0:
            raise EnvironmentFailure(f"the trace {trace} cannot be written")

    def ignore(self) -> None:
        """Watch nothing any more; the trace is complete."""
        self._library.crdtsync_disk_watch(None, None)

    def mark(self, text: str) -> None:
        """Put words of our own into the trace."""
        data = text.encode()
        self._library.crdtsync_disk_mark(data, len(data))

    def fail(self, at: int, kinds: int, error: int, manner: int = ONCE) -> None:
        """Make the `at`-th call of these kinds fail with `error`, counted from now; 0 mends the disk."""
        self._library.crdtsync_disk_fail(at, kinds, error, manner)

    def calls(self) -> int:
        """Calls of the kinds named last, since then; none is made to fail any more."""
        return int(self._library.crdtsync_disk_fail(0, 0, 0, 0))

    def failed(self) -> str:
        """The kind of the first call that was made to fail, empty when none was."""
        kind = self._library.crdtsync_disk_failed()
        return next((name for name, number in KINDS.items() if number == kind), "")
