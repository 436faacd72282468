"""Put on PYTHONPATH by tests: processes that start then have no gate in front of documents, and some deadly deltas.

The gate refuses everything that is known to kill, so what stands behind it can only be tried without it. A delta that
begins with one of the words below does on purpose what some future one might do to the CRDT library by accident.
TEST_LIMITS, JSON, replaces limits that would make a test long. Modules are changed as they are imported: no more are
imported than without this.
"""

from __future__ import annotations

import importlib.machinery
import json
import mmap
import os
import re
import signal
import sys
from collections.abc import Callable, Sequence
from types import ModuleType

HANG = b"hang"
HOARD = b"hoard"
HOARD_BYTES = 4 * 2**30
STEP_BYTES = 2**28


def hang() -> None:
    """Native code that never gives the interpreter's lock back."""
    re.match(r"(a+)+$", "a" * 64 + "b")


def hoard() -> None:
    """Take memory until the system has none left, and ends this process as Linux does."""
    taken: list[mmap.mmap] = []
    while len(taken) * STEP_BYTES < HOARD_BYTES:
        try:
            taken.append(mmap.mmap(-1, STEP_BYTES))  # what nobody touches costs the machine nothing
        except OSError:
            raise MemoryError from None
    os.kill(os.getpid(), signal.SIGKILL)


def document(module: ModuleType) -> None:
    apply = module.Document.apply

    def applied(self: object, delta: bytes, reach: object = None) -> None:
        if delta.startswith(HANG):
            hang()
        if delta.startswith(HOARD):
            hoard()
        apply(self, delta, reach)

    module.Document.apply = applied


def delta(module: ModuleType) -> None:
    check = module.check_delta

    def open_gate(delta: bytes, client: int) -> object:
        try:
            return check(delta, client)
        except Exception:
            return module.Reach(client, 0, 0, {})

    module.check_delta = open_gate


def limits(module: ModuleType) -> None:
    vars(module).update(trial_seconds=0.5)
    vars(module).update(json.loads(os.environ.get("TEST_LIMITS", "{}")))


CHANGED: dict[str, Callable[[ModuleType], None]] = {
    "crdtsync.documents.document": document,
    "crdtsync.documents.delta": delta,
    "crdtsync.limits": limits,
}


class Weakening(importlib.machinery.SourceFileLoader):
    """Loads a module as ever, and changes it before anybody sees it."""

    def exec_module(self, module: ModuleType) -> None:
        super().exec_module(module)
        CHANGED[module.__name__](module)


class Finder:
    """Finds the modules to be changed."""

    def find_spec(
        self, name: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        if name not in CHANGED:
            return None
        spec = importlib.machinery.PathFinder.find_spec(name, path)
        if spec is not None and spec.origin is not None:
            spec.loader = Weakening(name, spec.origin)
        return spec


if __name__ == "sitecustomize":  # not where a test imports the words from here
    sys.meta_path.insert(0, Finder())  # type: ignore[arg-type]
