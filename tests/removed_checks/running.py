"""Takes one check out of a copy of the source tree and runs the test that should notice.

Each test runs in a fork of this process, which has imported pytest and the libraries but nothing of this project: that
halves the time of a run. So this works where there is `fork`: Linux, macOS.
"""

from __future__ import annotations

import importlib
import os
import shutil
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Final

from tests.removed_checks.checks import Check

ROOT: Final = Path(__file__).parents[2]
_SECONDS_MAX: Final = 60.0
"""A test that runs so long without its check has noticed: the check was there to bound something."""
_FAILED: Final = 1
"""Pytest's exit code when tests ran and some failed; others tell of a broken run, which notices nothing."""
_BROKEN: Final = 3
_LIBRARIES: Final = ("pytest", "pydantic", "anyio", "aiosqlite", "hypothesis", "msgpack", "pycrdt", "sqlcipher3")
_OURS: Final = ("crdtsync", "tests")


@dataclass(frozen=True)
class Verdict:
    """What became of a test without its check. `noticed` is what is wanted; `problem` says what is not."""

    name: str
    noticed: bool
    problem: str
    seconds: float


@dataclass
class _Run:
    """A test that runs in a copy without its check."""

    check: Check
    copy: Path
    begun: float = field(default_factory=time.monotonic)
    source: str = ""
    process: int = 0

    @property
    def file(self) -> Path:
        return self.copy / "crdtsync" / self.check.file

    @property
    def log(self) -> Path:
        return self.copy / "log"


def run_all(checks: Sequence[Check], jobs: int) -> Iterator[Verdict]:
    """The verdict on each check, as they come."""
    for library in _LIBRARIES:
        importlib.import_module(library)
    with tempfile.TemporaryDirectory(prefix="crdtsync-checks-") as temporary:
        free = [_copied(Path(temporary) / str(number)) for number in range(min(jobs, len(checks)))]
        waiting, running = list(checks), []
        while waiting or running:
            while waiting and free:
                check = waiting.pop(0)
                run = _Run(check, free.pop())
                run.source = run.file.read_text(encoding="utf-8")
                if run.source.count(check.text) != 1:
                    free.append(run.copy)
                    problem = f"stale: {check.file} does not have the text of this check once; mend the list"
                    yield Verdict(check.name, False, problem, 0.0)
                else:
                    _begin(run)
                    running.append(run)
            for run in list(running):
                code = _code(run)
                if code is not None:
                    running.remove(run)
                    _write(run.file, run.source)
                    free.append(run.copy)
                    yield _verdict(run, code)
            time.sleep(0.01)


def _copied(copy: Path) -> Path:
    """The sources and tests, without what only fuzzing reads."""
    for folder in _OURS:
        shutil.copytree(ROOT / folder, copy / folder, ignore=shutil.ignore_patterns("corpus"))
    shutil.copy(ROOT / "pyproject.toml", copy)
    return copy


_ticks = count(1)


def _write(file: Path, source: str) -> None:
    """Write with a time of its own, so that no compiled file of another version is taken for this one's."""
    file.write_text(source, encoding="utf-8")
    moment = time.time() + next(_ticks)
    os.utime(file, (moment, moment))


def _begin(run: _Run) -> None:
    _write(run.file, run.source.replace(run.check.text, run.check.replacement))
    sys.stdout.flush()
    run.process = os.fork()
    if run.process == 0:
        code = _BROKEN
        try:
            code = _test(run)
        except BaseException:
            traceback.print_exc()
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(code)


def _test(run: _Run) -> int:
    """What the forked process does: forget this project, and run the test in the copy."""
    out = os.open(run.log, os.O_CREAT | os.O_TRUNC | os.O_WRONLY, 0o600)
    os.dup2(out, 1)
    os.dup2(out, 2)
    for name in [name for name in sys.modules if name.partition(".")[0] in _OURS]:
        del sys.modules[name]
    os.chdir(run.copy)
    os.environ.update(CRDTSYNC_KDF="fast", PYTHONPATH=str(run.copy))
    sys.path[:] = [str(run.copy), *(path for path in sys.path if path and Path(path).resolve() != ROOT)]
    import pytest

    options = ["-q", "-x", "--no-header", "--tb=no", f"--rootdir={run.copy}", "-p", "no:cacheprovider"]
    options += ["-p", "no:unraisableexception"]  # what the process before had left open says nothing of the check
    options += ["-W", "ignore::pytest.PytestAssertRewriteWarning"]  # plugins among the libraries are here already
    code = int(pytest.main([*options, *run.check.test.split()]))
    sys.stdout.flush()
    return code


def _code(run: _Run) -> int | None:
    """The exit code of a run that has ended, also by a signal or by taking too long; else None."""
    ended, status = os.waitpid(run.process, os.WNOHANG)
    if ended:
        code = os.waitstatus_to_exitcode(status)
        return code if code >= 0 else _FAILED
    if time.monotonic() - run.begun < _SECONDS_MAX:
        return None
    os.kill(run.process, signal.SIGKILL)
    os.waitpid(run.process, 0)
    return _FAILED


def _verdict(run: _Run, code: int) -> Verdict:
    problem = ""
    if code == 0:
        problem = f"unnoticed: {run.check.test} passes without this check; write a test that does not"
    elif code != _FAILED:
        said = run.log.read_text(encoding="utf-8", errors="replace")[-300:]
        problem = f"broken: {run.check.test} did not run (pytest's exit code {code}): {said}"
    return Verdict(run.check.name, not problem, problem, round(time.monotonic() - run.begun, 2))
