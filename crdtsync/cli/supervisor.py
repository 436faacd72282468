"""The process that `crdtsync serve` starts: it does nothing but keep a worker alive, so that nothing can kill it (L6).

The worker (`crdtsync.cli.worker`) is a process of its own, which opens the folder and takes its lock. What it has to
say goes through two pipes, its stdin and its stdout, which all systems have:

    to the worker    lines of JSON: {"begin": ...} first, {"passphrase": ...} or {"refused": ...}, {"stop": true}
    from the worker  lines that begin with MARK hold JSON for us: {"asks": ...}, {"ready": address}, {"beat": arrival};
                     all others are passed on to stdout

The end of the first pipe ends the worker, however this process ended. The worker is replaced when it has died, or was
silent for `limits.worker_silence_s` of the time in which this process itself was awake. Not replaced is a worker that
refuses before it was ready: it has said why. This file imports little, since it stays in memory beside each site.
"""

from __future__ import annotations

import json
import os
import queue
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Final

from crdtsync import limits
from crdtsync.errors import AlreadyOpen, CrdtSyncError
from crdtsync.storage.lock import FolderLock

MARK: Final = b"\x1e"
LOCK: Final = "serving"
"""Locked in the folder while a supervisor lives there: other verbs then wait for the worker instead of opening it."""
FAILED, INTERRUPTED = 1, 130
STOP_SIGNALS: Final = [getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)]
"""What asks to stop: Ctrl-C, a service manager, a terminal that closes."""
_STOP: Final = b"stop"


def takes(words: Sequence[str]) -> bool:
    """Whether these words of a command line are for this file, and need no command line parsed first."""
    return words[:1] == ["serve"] and "--help" not in words


def supervise(words: Sequence[str]) -> int:
    """Keep a worker alive that carries out these words; the exit code once it is not to be replaced any more."""
    return Supervisor(words).run()


def supervised(folder: Path) -> bool:
    """Whether a supervisor lives that serves `folder`, or is about to."""
    if not (folder / LOCK).exists():
        return False
    try:
        FolderLock(folder, LOCK).release()
    except CrdtSyncError:
        return True
    return False


class Worker:
    """One process that serves. What it says goes into `news`, a line at a time, and None at its end."""

    def __init__(self, words: Sequence[str], begin: dict[str, Any]) -> None:
        self.news: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()
        self.ready = False
        self.beaten = False
        self.arrival = -1
        self.process = subprocess.Popen(
            [sys.executable, "-m", "crdtsync.cli.worker", *words], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        self.tell({"begin": begin})
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        with self.process.stdout as lines:
            for line in lines:
                self.news.put(line)
        self.news.put(None)

    def tell(self, message: dict[str, Any]) -> None:
        """Send a line; one that has died hears nothing."""
        assert self.process.stdin is not None
        with suppress(OSError, ValueError):
            self.process.stdin.write(json.dumps(message).encode() + b"\n")
            self.process.stdin.flush()

    def end(self) -> int:
        """Wait for its end and give the exit code."""
        code = self.process.wait()
        assert self.process.stdin is not None
        with suppress(OSError):
            self.process.stdin.close()
        return code


class Printer:
    """Passes lines on to stdout. A reader that takes nothing, or goes away, stops neither us nor the worker."""

    def __init__(self) -> None:
        self._lines: queue.Queue[bytes | None] = queue.Queue(limits.events_waiting_max)
        self._thread = threading.Thread(target=self._print, daemon=True)
        self._thread.start()

    def put(self, line: bytes | None) -> None:
        """Print a line soon; it is left out when too many wait already."""
        with suppress(queue.Full):
            self._lines.put_nowait(line)

    def close(self) -> None:
        """Let what waits be printed, but not for long."""
        self.put(None)
        self._thread.join(limits.closing_seconds_max)

    def _print(self) -> None:
        while (line := self._lines.get()) is not None:
            with suppress(OSError):
                while line:
                    line = line[os.write(1, line) :]


class Supervisor:
    """Starts workers one after the other; `run` returns when there is to be none any more."""

    def __init__(self, words: Sequence[str]) -> None:
        self._words = words
        self._printer = Printer()
        self._terminal = sys.stdout is not None and sys.stdout.isatty()
        self._worker: Worker | None = None
        self._stopping = False
        self._secret: str | None = None
        self._folder: Path | None = None
        self._lock: FolderLock | None = None
        self._bound: str | None = None
        self._started = 0
        self._deaths = 0
        self._arrival = -1
        self._reason: str | None = None

    def run(self) -> int:
        """The exit code: that of a worker that ended in order or refused, else 1."""
        with self._heeding_signals():
            try:
                while True:
                    code = self._one()
                    if code is not None:
                        return code
                    if self._deaths > limits.worker_deaths_max:
                        _complain(
                            f"the process that serves this site died {self._deaths} times in a row without getting on "
                            f"(the last time: {self._reason}); nothing that was saved is lost: report this, then start "
                            "`serve` again"
                        )
                        return FAILED
                    if not self._pause():
                        return 0
            except KeyboardInterrupt:
                _complain("interrupted")
                return INTERRUPTED
            finally:
                self._kill()
                self._printer.close()
                if self._lock is not None:
                    self._lock.release()

    # -- one worker ---------------------------------------------------------------------------------------------------

    def _one(self) -> int | None:
        """Start a worker and attend to it until it has ended; its exit code, or None when it is to be replaced."""
        self._started += 1
        begin = {
            "started": self._started, "reason": self._reason, "bound": self._bound, "terminal": self._terminal,
        }  # fmt: skip
        worker = self._worker = Worker(self._words, begin)
        reason = self._attend(worker)
        if reason is not None:
            worker.process.kill()
        code = worker.end()
        self._worker = None
        orderly = code == 0 if worker.ready else 0 <= code <= INTERRUPTED
        if orderly and reason is None:
            return code
        self._reason = reason or _cause(code)
        if self._stopping:
            _complain(f"the process that serves this site did not end in order ({self._reason}); nothing is lost")
            return FAILED
        self._deaths = 1 if worker.arrival > self._arrival else self._deaths + 1
        self._arrival = max(self._arrival, worker.arrival)
        return None

    def _attend(self, worker: Worker) -> str | None:
        """Hear the worker until its end: None; or until it was silent for too long: then that is the reason."""
        silent, lived, before = 0.0, 0.0, time.monotonic()
        while True:
            try:
                line = worker.news.get(timeout=limits.worker_beat_s)
            except queue.Empty:
                line = b""
            now = time.monotonic()
            # Time in which this process itself was stopped or slept says nothing about the worker.
            awake, before = min(now - before, 2 * limits.worker_beat_s), now
            silent, lived = silent + awake, lived + awake
            if line is None:
                return None
            if line == _STOP:
                worker.tell({"stop": True})
            elif line.startswith(MARK):
                message = json.loads(line[1:])
                silent = 0.0 if "beat" in message else silent
                self._hear(worker, message)
                before = time.monotonic()  # a person may have taken their time with the passphrase
            elif line:
                self._printer.put(line)
            if worker.ready and lived > limits.worker_settled_s:
                self._deaths = 0
            self._take_lock()
            patience = limits.worker_silence_s if worker.beaten else limits.worker_start_s
            if silent > patience and worker.news.empty():
                return f"silent for {patience:g} s"

    def _hear(self, worker: Worker, message: dict[str, Any]) -> None:
        if "beat" in message:
            worker.beaten = True
            worker.arrival = max(worker.arrival, message["beat"])
        elif "ready" in message:
            worker.ready = True
            before, self._bound = self._bound, message["ready"]
            if before is not None:  # else nobody has heard of a worker yet, and `ready` is the first line
                self._printer.put(_replaced(self._reason or "", as_json=message["json"]))
        elif "asks" in message:
            self._folder = Path(message["folder"])
            self._take_lock()
            worker.tell(self._answer(message["asks"]))

    def _answer(self, file: str | None) -> dict[str, Any]:
        """The passphrase, read or asked for once in the life of this process."""
        from crdtsync.cli.passphrase import passphrase

        if self._secret is None:
            try:
                with _interruptible():
                    self._secret = passphrase(None if file is None else Path(file))
            except CrdtSyncError as error:
                return {"refused": [type(error).__name__, str(error)]}
        return {"passphrase": self._secret}

    def _take_lock(self) -> None:
        """Show other verbs that this folder is served. It may be taken for a moment, by one of them that looks."""
        if self._lock is None and self._folder is not None:
            with suppress(AlreadyOpen):
                self._lock = FolderLock(self._folder, LOCK)

    def _kill(self) -> None:
        """Leave no worker behind, whatever happened here."""
        if self._worker is not None:
            self._worker.process.kill()
            self._worker.end()

    # -- between two --------------------------------------------------------------------------------------------------

    def _pause(self) -> bool:
        """Wait before the next worker: not at all after a first death. False when it is to stop instead."""
        wait = 0.0
        if self._deaths > 1:
            wait = min(limits.worker_backoff_min_s * 2 ** (self._deaths - 2), limits.worker_backoff_max_s)
        until = time.monotonic() + wait
        while not self._stopping and (left := until - time.monotonic()) > 0:
            time.sleep(min(left, limits.worker_beat_s))
        return not self._stopping

    def _stop(self, number: int, frame: Any) -> None:
        self._stopping = True
        if self._worker is not None:
            self._worker.news.put(_STOP)

    @contextmanager
    def _heeding_signals(self) -> Iterator[None]:
        before = {number: signal.signal(number, self._stop) for number in STOP_SIGNALS}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)


@contextmanager
def _interruptible() -> Iterator[None]:
    """Ctrl-C ends the question for a passphrase."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def _cause(code: int) -> str:
    if code < 0:
        with suppress(ValueError):
            return f"ended by {signal.Signals(-code).name}"
    return f"ended with exit code {code}"


def _replaced(reason: str, *, as_json: bool) -> bytes:
    if as_json:
        return json.dumps({"event": "worker-replaced", "reason": reason}).encode() + b"\n"
    return f"The process that serves this site was replaced: {reason}.\n".encode()


def _complain(sentence: str) -> None:
    sys.stderr.write(f"crdtsync: {sentence}\n")
    sys.stderr.flush()
