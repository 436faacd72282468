"""What a test changes in a child process before anything else runs there; Python imports this by its name.

`CRDTSYNC_TEST_LIMITS`: a JSON object of limits with other values, to wait seconds where a practice waits a minute.
`CRDTSYNC_TEST_CLOCK`: a file of eight bytes, by how many milliseconds the wall clock is wrong; it may change.
"""

from __future__ import annotations

import json
import mmap
import os
import struct
import time


def change_limits(values: dict[str, float]) -> None:
    from crdtsync import limits

    for name, value in values.items():
        assert hasattr(limits, name), name
        setattr(limits, name, value)


def step_clock(path: str) -> None:
    with open(path, "rb") as file:
        wrong = mmap.mmap(file.fileno(), 8, access=mmap.ACCESS_READ)
    right_ns = time.time_ns

    def wrong_ns() -> int:
        (wrong_ms,) = struct.unpack("<q", wrong[:8])
        return right_ns() + int(wrong_ms) * 1_000_000

    time.time_ns = wrong_ns
    time.time = lambda: wrong_ns() / 1e9


if os.environ.get("CRDTSYNC_TEST_CLOCK"):
    step_clock(os.environ["CRDTSYNC_TEST_CLOCK"])
if os.environ.get("CRDTSYNC_TEST_LIMITS"):
    change_limits(json.loads(os.environ["CRDTSYNC_TEST_LIMITS"]))
