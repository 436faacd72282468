"""The recorder, compiled once. It needs Linux and a C compiler: skipped without, except where CI must have them."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from crdtsync.testing.realdisk import recorder


@pytest.fixture(scope="session")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    if reason := recorder.missing():
        if os.environ.get("CRDTSYNC_CI") == "1":
            pytest.fail(reason)
        pytest.skip(reason)
    return recorder.build(tmp_path_factory.mktemp("recorder"))
