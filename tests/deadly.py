"""Deltas that end the process that applies them, and processes without the gate that keeps them out."""

from __future__ import annotations

import json
import os
from contextlib import suppress
from pathlib import Path

import pytest

from crdtsync.documents import Reach, check_delta
from crdtsync.errors import Poisoned
from tests.weakened.sitecustomize import HANG, HOARD

WEAKENED = Path(__file__).parent / "weakened"


def nesting_bomb(depth: int) -> bytes:
    """A well-formed update whose one value is arrays in arrays: from some depth on it overflows the stack."""
    head = bytes([1, 1, 7, 0, 40, 1, 1, ord("r"), 1, ord("x"), 1])
    return head + bytes([117, 1]) * depth + bytes([126, 0])


OVERFLOWS = nesting_bomb(100_000)
TOO_DEEP_TO_READ = nesting_bomb(1_000)
"""Is applied without a word, and cannot be read."""
DEADLY = {"overflows": OVERFLOWS, "hangs": HANG, "hoards": HOARD}


def weaken_children(monkeypatch: pytest.MonkeyPatch, **limits: float) -> None:
    """Processes that start from now on have no gate, and these limits."""
    paths = [str(WEAKENED), *filter(None, [os.environ.get("PYTHONPATH")])]
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(paths))
    monkeypatch.setenv("TEST_LIMITS", json.dumps(limits))


def weaken_here(monkeypatch: pytest.MonkeyPatch) -> None:
    """This process has no gate, either: whatever it applies that is deadly ends the tests."""

    def open_gate(delta: bytes, client: int) -> Reach:
        with suppress(Poisoned):
            return check_delta(delta, client)
        return Reach(client, 0, 0, {})

    monkeypatch.setattr("crdtsync.engine.derive.check_delta", open_gate)
