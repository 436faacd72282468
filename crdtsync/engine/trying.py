"""Having a change tried in a throw-away process: whoever dies of it is not the site (L6)."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from contextlib import suppress
from enum import Enum, auto
from typing import Final

from crdtsync import limits
from crdtsync.engine.shelf import OpenRecord
from crdtsync.errors import EnvironmentFailure

READY: Final = b"ready\n"
SOUND: Final = b"sound\n"
PASSED: Final = b"passed\n"
BLOATS: Final = b"bloats\n"
"""What `crdtsync.engine.trial` says: it runs, the document as it was is sound, the change passed, memory ran out."""


class Verdict(Enum):
    """What became of a change. One that is refused in an orderly way passes: it does here what it did there."""

    PASSES = auto()
    KILLS = auto()
    UNSOUND = auto()
    """The document killed, before the change was applied."""


class Trial:
    """Tries one change at a time, in a process that is kept while changes pass. `asking` tells that it is at work."""

    def __init__(self) -> None:
        self.asking = False
        self._process: subprocess.Popen[bytes] | None = None

    def of(self, found: OpenRecord, client: int, delta: bytes) -> Verdict:
        """Load the document as it is now, apply `delta`, and do all that deriving does with the result.

        A process may also die for reasons of its own, so what kills must do it a second time, in a fresh one. Takes at
        most twice `limits.trial_patience_s`. Raises EnvironmentFailure when no such process can be started.
        """
        head = {"client": client, "kind": found.kind, "record": found.record, "subject": found.subject}
        state = found.document.state()
        line = json.dumps({**head, "state": len(state), "delta": len(delta)}).encode() + b"\n"
        self.asking = True
        try:
            verdict = self._ask(line + state + delta)
            return verdict if verdict is Verdict.PASSES else self._ask(line + state + delta)
        finally:
            self.asking = False

    def _ask(self, question: bytes) -> Verdict:
        process = self._process or self._start()
        assert process.stdin is not None and process.stdout is not None
        stopper = threading.Timer(limits.trial_patience_s, process.kill)
        stopper.start()
        answers = [b"", b""]
        try:
            with suppress(OSError):
                process.stdin.write(question)
                process.stdin.flush()
                answers = [process.stdout.readline(), process.stdout.readline()]
        finally:
            stopper.cancel()
        if answers == [SOUND, PASSED]:
            return Verdict.PASSES
        self.end()
        return Verdict.UNSOUND if answers[0] != SOUND else Verdict.KILLS

    def _start(self) -> subprocess.Popen[bytes]:
        """What the library writes when it dies may hold content: nobody reads it."""
        try:
            process = subprocess.Popen(
                [sys.executable, "-m", "crdtsync.engine.trial"],
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
            )  # fmt: skip
        except OSError as error:
            raise _cannot_start(error.strerror or type(error).__name__) from None
        self._process = process
        assert process.stdout is not None
        if process.stdout.readline() != READY:
            self.end()
            raise _cannot_start(f"it ended with {process.returncode}")
        return process

    def end(self) -> None:
        """End the process, if there is one. Idempotent."""
        process, self._process = self._process, None
        if process is None:
            return
        process.kill()
        process.wait()
        for pipe in (process.stdin, process.stdout):
            if pipe is not None:
                with suppress(OSError):
                    pipe.close()


def _cannot_start(why: str) -> EnvironmentFailure:
    return EnvironmentFailure(
        f"an earlier process of this site died over a change, and none to try it in can be started ({why}); see that "
        "the machine has memory and processes left, then start again"
    )
