"""One input under its limit of time."""

from __future__ import annotations

import signal
from types import FrameType
from typing import Any

from tests.fuzz.registry import SECONDS_MAX, Target


class TookTooLong(AssertionError):
    """An input that is not done in time."""


def run_bounded(target: Target, data: bytes, seconds: float = SECONDS_MAX) -> None:
    """Run one input. Raises what the target lets through, TookTooLong behind `seconds`; panics come as errors.

    An endless loop inside a library that holds the interpreter is not ended here: who needs that starts a process.
    """

    def ring(_signal: int, _frame: FrameType | None) -> None:
        raise TookTooLong(f"{target.name}: an input of {len(data)} bytes takes more than {seconds} s")

    previous: Any = signal.signal(signal.SIGALRM, ring)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        target.run(data)
    except (KeyboardInterrupt, SystemExit, Exception):
        raise
    except BaseException as panic:  # a panic of a library is no Exception
        raise AssertionError(f"{target.name}: {type(panic).__name__}: {panic}") from panic
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, previous)
