"""The recorder, compiled once. It needs Linux and a C compiler: skipped without, except where CI must have them."""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from crdtsync.testing.realdisk import recorder


@pytest.fixture(scope="session")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    if reason := recorder.missing():
        if os.environ.get("CRDTSYNC_CI") == "1":
            pytest.fail(reason)
        pytest.skip(reason)
    return recorder.build(tmp_path_factory.mktemp("recorder"))


@pytest.fixture(scope="session")
def apart() -> Iterator[Callable[..., Any]]:
    """Calls a function in a process that knows the kinds of the package and no others.

    Other tests declare kinds of their own. Where other kinds are known, a view is thrown away at opening: what is wrong
    with one that was written by a process without them would be mended before anybody looks.
    """
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        yield lambda function, *args, **named: pool.submit(function, *args, **named).result()
