"""What every test shares: one event loop, cheap key files, a state folder, and the real data where it is there."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

import crdtsync.practice  # noqa: F401 - declares its kinds before any test does
from crdtsync.documents import kinds
from tests.examples import load_profile

load_profile()


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out tests marked slow (`make slow`, and CI) and soak (`make soak`) unless `-m` asks for such."""
    asked = config.getoption("markexpr")
    for mark in ("slow", "soak"):
        if mark not in asked:
            left_out = [item for item in items if item.get_closest_marker(mark) is not None]
            config.hook.pytest_deselected(items=left_out)
            items[:] = [item for item in items if item not in left_out]


@pytest.fixture
def anyio_backend() -> str:
    """Sites run on asyncio (aiosqlite does); code that needs only anyio may ask for trio in its own test."""
    return "asyncio"


@pytest.fixture(autouse=True)
def surroundings(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Key files that open in milliseconds, no passphrase from outside, proofs of continuity in a folder of ours; and
    kinds that a test declares, for whatever reason, are gone after it: every site opens a table for each."""
    monkeypatch.setenv("CRDTSYNC_KDF", "fast")
    monkeypatch.setenv("CRDTSYNC_STATE_DIR", str(tmp_path_factory.mktemp("state")))
    monkeypatch.delenv("CRDTSYNC_PASSPHRASE", raising=False)
    declared = dict(kinds())
    yield
    for kind in kinds().keys() - declared.keys():
        del kinds()[kind]


@pytest.fixture(scope="session")
def test_data() -> Path:
    """The folder of real input, named by CRDTSYNC_TEST_DATA: skipped without it, except where CI must have it."""
    named = os.environ.get("CRDTSYNC_TEST_DATA", "")
    folder = Path(named)
    if named and folder.is_dir():
        return folder
    reason = f"CRDTSYNC_TEST_DATA names no folder: {named}" if named else "CRDTSYNC_TEST_DATA is not set"
    if os.environ.get("CRDTSYNC_CI") == "1":
        pytest.fail(reason)
    pytest.skip(reason)
