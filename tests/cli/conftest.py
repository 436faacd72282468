"""The command line as a script sees it: calls with exit code, stdout and stderr; and processes that serve."""

from __future__ import annotations

import json
import os
import select
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from crdtsync.cli.app import run

PASSPHRASE = "correct horse"
patience_s = 30.0


@dataclass(frozen=True)
class Done:
    """How a call ended."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """The one JSON document on stdout of a call that succeeded."""
        assert self.code == 0, self
        assert self.out.count("\n") == 1, self
        return json.loads(self.out)

    def refused(self, code: int) -> str:
        """The one line on stderr of a call that ended with `code` and said nothing on stdout."""
        assert (self.code, self.out) == (code, ""), self
        assert self.err.count("\n") == 1 and self.err.startswith("crdtsync: "), self
        return self.err.removeprefix("crdtsync: ").strip()


Call = Callable[..., Done]


@pytest.fixture
def call(capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Call:
    """Run one call of the command line in this process."""
    monkeypatch.setenv("CRDTSYNC_PASSPHRASE", PASSPHRASE)

    def call(*words: object) -> Done:
        capfd.readouterr()
        code = run([str(word) for word in words])
        captured = capfd.readouterr()
        return Done(code, captured.out, captured.err)

    return call


class Served:
    """A `crdtsync` process that runs on beside the test."""

    def __init__(self, *words: object) -> None:
        command = [sys.executable, "-m", "crdtsync.cli", *map(str, words)]
        self.process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        self._heard = {"stdout": "", "stderr": ""}

    def line(self, stream: str = "stdout") -> str:
        """The next line that the process writes; fails when it writes none."""
        file = getattr(self.process, stream)
        while "\n" not in self._heard[stream]:
            ready, _, _ = select.select([file], [], [], patience_s)
            heard = os.read(file.fileno(), 65_536).decode() if ready else ""
            assert heard, f"nothing on {stream}, exit {self.process.poll()}"
            self._heard[stream] += heard
        line, _, self._heard[stream] = self._heard[stream].partition("\n")
        return line + "\n"

    def event(self) -> dict[str, Any]:
        """The next event on stdout."""
        return dict(json.loads(self.line()))

    def stop(self) -> Done:
        """Ask it to stop, and tell how it ended."""
        self.process.terminate()
        return self.ended()

    def kill(self) -> None:
        """As a power cut would."""
        self.process.kill()
        self.ended()

    def ended(self) -> Done:
        """Wait for its end."""
        out, err = self.process.communicate(timeout=patience_s)
        return Done(self.process.returncode, self._heard["stdout"] + out, self._heard["stderr"] + err)


Start = Callable[..., Served]


@pytest.fixture
def start(call: Call) -> Iterator[Start]:
    """Start a process; what still runs at the end of the test is killed."""
    running: list[Served] = []

    def start(*words: object) -> Served:
        running.append(Served(*words))
        return running[-1]

    yield start
    for served in running:
        if served.process.poll() is None:
            served.kill()
        for stream in (served.process.stdout, served.process.stderr):
            if stream is not None:
                stream.close()


@pytest.fixture
def jena(call: Call, tmp_path: Path) -> Path:
    """The folder of a practice's first site."""
    folder = tmp_path / "jena"
    assert call("create", folder, "--practice", "Praxis am Markt", "--site", "Jena", "--json").code == 0
    return folder
