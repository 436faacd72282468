"""What every test shares: one event loop, cheap key files, a state folder, and the real data where it is there."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out soak tests unless they are asked for by `-m soak` (they take minutes to hours)."""
    if "soak" in config.getoption("markexpr"):
        return
    chosen = [item for item in items if item.get_closest_marker("soak") is None]
    config.hook.pytest_deselected(items=[item for item in items if item.get_closest_marker("soak") is not None])
    items[:] = chosen


@pytest.fixture
def anyio_backend() -> str:
    """Sites run on asyncio (aiosqlite does); code that needs only anyio may ask for trio in its own test."""
    return "asyncio"


@pytest.fixture(autouse=True)
def surroundings(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Key files that open in milliseconds, no passphrase from outside, and proofs of continuity in a folder of ours."""
    monkeypatch.setenv("CRDTSYNC_KDF", "fast")
    monkeypatch.setenv("CRDTSYNC_STATE_DIR", str(tmp_path_factory.mktemp("state")))
    monkeypatch.delenv("CRDTSYNC_PASSPHRASE", raising=False)
    yield


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
