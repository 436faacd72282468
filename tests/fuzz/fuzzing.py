"""Atheris over a target, in a process of its own: a crash, a hang or a panic ends that process, and is told with its
input. One process imports all targets, instrumented; each run is a fork of it, so that none begins with an import.

For systems where atheris has a wheel: Linux on x86-64, CPython 3.11 to 3.13.
"""

from __future__ import annotations

import hashlib
import mmap
import os
import re
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from tests.fuzz.registry import MEMORY_MIB_MAX, SECONDS_MAX, Target

_GRACE_S = 10.0
"""How much longer than asked for a process may take before it is ended."""
_LENGTH_BYTES = 4
_FAILURES_MAX = 3
"""A target that failed so often in one run is not run further."""
_RUNS = re.compile(r"^(?:stat::number_of_executed_units:\s*|#)(\d+)", re.MULTILINE)
_REASON = re.compile(r"^(?:\w+\.)*\w*(?:Error|Exception|TookTooLong|Warning)\b.*$|^==\d+== ERROR: .*$", re.MULTILINE)


@dataclass
class Outcome:
    """What a run of one target came to."""

    target: str
    runs: int = 0
    seconds: float = 0.0
    failures: list[dict[str, str]] = field(default_factory=list)


def fuzz_all(
    atheris: Any, targets: Sequence[Target], seconds: float, jobs: int, keep: Path, seed: int = 0
) -> Iterator[Outcome]:
    """Fuzz each target for about so long, `jobs` of them at a time; what they came to, as they end. With a `seed` the
    inputs are the same each time, as far as the time goes.

    Inputs that fail are kept in `keep`; a run goes on behind the first ones. No threads: they and `fork` do not mix.
    """
    waiting = list(targets)
    running: list[tuple[Outcome, Iterator[None]]] = []
    while waiting or running:
        while waiting and len(running) < jobs:
            target = waiting.pop(0)
            outcome = Outcome(target.name)
            running.append((outcome, _fuzz(atheris, target, seconds, keep, outcome, seed)))
        for one in list(running):
            if next(one[1], True):
                running.remove(one)
                yield one[0]
        time.sleep(0.02)


def _fuzz(
    atheris: Any, target: Target, seconds: float, keep: Path, outcome: Outcome, seed: int
) -> Iterator[None]:
    """Fuzz one target; comes back while it runs, and ends with it."""
    begun = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="crdtsync-fuzz-") as temporary:
        folder = Path(temporary)
        corpus = folder / "corpus"
        corpus.mkdir()
        while (left := seconds - (time.monotonic() - begun)) >= 1 and len(outcome.failures) < _FAILURES_MAX:
            log = folder / "log"
            last = LastInput(target.bytes_max)
            status = yield from _in_a_fork(log, left, partial(_run, atheris, target, corpus, last, left, seed))
            text = log.read_text(encoding="utf-8", errors="replace")
            outcome.runs += max((int(number) for number in _RUNS.findall(text)), default=0)
            if status == 0:
                break
            outcome.failures.append(_failure(target, text, status, last.get(), keep))
    outcome.seconds = round(time.monotonic() - begun, 1)


class LastInput:
    """The input that a forked process runs, for whoever finds that process dead: memory that both share."""

    def __init__(self, bytes_max: int) -> None:
        self._memory = mmap.mmap(-1, _LENGTH_BYTES + bytes_max)

    def set(self, data: bytes) -> None:
        """Note an input before it is run."""
        self._memory[_LENGTH_BYTES : _LENGTH_BYTES + len(data)] = data
        self._memory[:_LENGTH_BYTES] = len(data).to_bytes(_LENGTH_BYTES, "big")

    def get(self) -> bytes:
        """The input that was noted last."""
        return self._memory[_LENGTH_BYTES : _LENGTH_BYTES + int.from_bytes(self._memory[:_LENGTH_BYTES], "big")]


def _run(atheris: Any, target: Target, corpus: Path, last: LastInput, seconds: float, seed: int) -> None:
    """What the forked process does; it ends in here."""

    def one_input(data: bytes) -> None:
        last.set(data)
        try:
            target.run(data)
        except Exception:
            raise
        except BaseException as panic:
            raise AssertionError(f"{type(panic).__name__}: {panic}") from None

    arguments = [
        target.name,
        str(corpus),
        str(target.corpus()[0].parent) if target.corpus() else str(corpus),
        f"-max_total_time={max(1, int(seconds))}",
        f"-max_len={target.bytes_max}",
        f"-timeout={max(1, int(SECONDS_MAX))}",
        f"-rss_limit_mb={MEMORY_MIB_MAX}",
        f"-artifact_prefix={corpus.parent}/",
        "-print_final_stats=1",
        f"-seed={seed}",
    ]
    atheris.Setup(arguments, one_input, enable_python_coverage=True)
    atheris.Fuzz()


def _in_a_fork(log: Path, seconds: float, work: Callable[[], None]) -> Generator[None, None, int]:
    """Run `work` in a forked process, what it says in `log`; its exit status, or minus the signal that ended it."""
    sys.stdout.flush()
    sys.stderr.flush()
    child = os.fork()
    if child == 0:
        with suppress(BaseException):
            out = os.open(log, os.O_CREAT | os.O_TRUNC | os.O_WRONLY, 0o600)
            os.dup2(out, 1)
            os.dup2(out, 2)
            work()
        os._exit(1)  # atheris ends the process itself; who comes here has failed
    deadline = time.monotonic() + seconds + _GRACE_S
    while time.monotonic() < deadline:
        ended, status = os.waitpid(child, os.WNOHANG)
        if ended:
            return os.waitstatus_to_exitcode(status)
        yield
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return -signal.SIGKILL


def _failure(target: Target, text: str, status: int, data: bytes, keep: Path) -> dict[str, str]:
    """Keep the input that failed, and say why it did."""
    lines = text.strip().splitlines()
    reasons = _REASON.findall(text)
    places = [line.strip() for line in lines if line.startswith('  File "')]
    folder = keep / target.name
    folder.mkdir(parents=True, exist_ok=True)
    place = folder / f"failed-{hashlib.sha256(data).hexdigest()[:12]}"
    place.write_bytes(data)
    reason = reasons[-1] if reasons else (lines or ["it said nothing"])[-1]
    return {"reason": f"{reason[:300]} (exit {status})", "at": (places or [""])[-1], "input": str(place)}


def share(seconds: float, targets: Sequence[Target], jobs: int) -> float:
    """The time of each target when so many run at a time and all together take `seconds`."""
    return max(1.0, seconds * jobs / len(targets))
