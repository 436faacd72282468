"""`python -m crdtsync.cli.worker`: the process that serves a site, kept alive by `crdtsync.cli.supervisor`.

It carries out the words of the command line as any process would. Beside that it beats: a line each
`limits.worker_beat_s`, as long as the event loop turns and the store's thread is not stuck in one change. It ends at
once when its supervisor has gone: a thread sees the pipe end; where native code keeps that thread from running, Linux
kills the process, and elsewhere a watchdog of the interpreter does, `limits.worker_start_s` later.
"""

from __future__ import annotations

import faulthandler
import json
import os
import queue
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import anyio

from crdtsync import errors, limits
from crdtsync.cli import main as command_line
from crdtsync.cli.supervisor import MARK

DEAD_PARENT = 1


class Link:
    """The worker's ends of the two pipes. `begin` is what the supervisor said first: `started`, `reason`, `bound` (the
    address on which an earlier worker listened) and `terminal`."""

    def __init__(self, incoming: int, outgoing: int) -> None:
        self._incoming = incoming
        self._outgoing = outgoing
        self._told: queue.SimpleQueue[dict[str, Any]] = queue.SimpleQueue()
        self._lines: queue.Queue[bytes | None] = queue.Queue(limits.events_waiting_max)
        self._stopped = False
        self._on_stop: Callable[[], None] | None = None
        self._writer = threading.Thread(target=self._write, daemon=True)
        self._writer.start()
        threading.Thread(target=self._read, daemon=True).start()
        self.begin: dict[str, Any] = self._told.get()["begin"]

    def _read(self) -> None:
        """Lines of the supervisor; their end is its death, and ours."""
        with suppress(OSError):
            rest = b""
            while data := os.read(self._incoming, limits.read_bytes_max):
                *lines, rest = (rest + data).split(b"\n")
                for line in lines:
                    self._heard(json.loads(line))
        os._exit(DEAD_PARENT)

    def _heard(self, message: dict[str, Any]) -> None:
        if "stop" not in message:
            self._told.put(message)
            return
        self._stopped = True
        if self._on_stop is not None:
            self._on_stop()

    def on_stop(self, act: Callable[[], None]) -> None:
        """Call `act`, in whatever thread, when the supervisor asks to stop; at once if it has."""
        self._on_stop = act
        if self._stopped:
            act()

    def passphrase(self, folder: Path, file: Path | None) -> str:
        """The passphrase, which the supervisor reads or asks for, once for all workers. Raises what it met."""
        self._tell({"asks": None if file is None else str(file), "folder": str(folder)})
        told = self._told.get()
        if "refused" in told:
            name, text = told["refused"]
            error: errors.CrdtSyncError = getattr(errors, name)(text)
            raise error
        return str(told["passphrase"])

    def ready(self, address: str, *, as_json: bool) -> None:
        """The site is there for others; `as_json` tells how events are printed."""
        self._tell({"ready": address, "json": as_json})

    def beat(self, arrival: int) -> None:
        """All is well; `arrival` is how far the view is derived."""
        self._tell({"beat": arrival})

    def say(self, line: bytes) -> None:
        """Have a whole line printed on the supervisor's stdout."""
        with suppress(queue.Full):  # a supervisor that is stopped takes nothing; the site goes on
            self._lines.put_nowait(line)

    def _tell(self, message: dict[str, Any]) -> None:
        self.say(MARK + json.dumps(message).encode() + b"\n")

    def _write(self) -> None:
        with suppress(OSError):
            while (line := self._lines.get()) is not None:
                while line:
                    line = line[os.write(self._outgoing, line) :]

    def close(self) -> None:
        """Let what was said be heard."""
        with suppress(queue.Full):
            self._lines.put_nowait(None)
        self._writer.join(limits.closing_seconds_max)


link: Link | None = None
"""The link of this process, if it is a worker."""


class Pulse:
    """Beats while the event loop turns, and while the store's thread, once `site` is open, gets on with its changes."""

    def __init__(self, link: Link) -> None:
        self._link = link
        self._moved = -1
        self._nowhere = os.open(os.devnull, os.O_WRONLY)
        self.site: Any = None

    async def run(self) -> None:
        """Until cancelled."""
        try:
            while True:
                # It needs no Python to run, so it also ends a process that native code keeps from doing anything.
                faulthandler.dump_traceback_later(limits.worker_start_s, exit=True, file=self._nowhere)
                if self.site is None or not self._stuck(self.site.watch):
                    self._link.beat(0 if self.site is None else self.site.driver.view_arrival)
                await anyio.sleep(limits.worker_beat_s)
        finally:
            faulthandler.cancel_dump_traceback_later()
            os.close(self._nowhere)

    def _stuck(self, watch: Any) -> bool:
        """Whether it is in the same change as a beat ago. One that is tried elsewhere has a limit of its own."""
        moved, self._moved = self._moved, watch.moved
        return bool(watch.busy) and watch.moved == moved and not watch.trying


def die_with_parent() -> None:
    """Ask Linux to kill this process when its supervisor ends, whatever it is doing then."""
    if sys.platform != "linux":
        return
    import ctypes
    import signal

    with suppress(OSError, AttributeError):
        pr_set_pdeathsig = 1
        ctypes.CDLL(None).prctl(pr_set_pdeathsig, int(signal.SIGKILL), 0, 0, 0)


def main() -> None:
    """Carry out the words of the command line as a worker, and exit."""
    global link
    die_with_parent()
    outgoing = os.dup(1)
    os.dup2(2, 1)  # what a library prints must not come between the lines
    link = Link(0, outgoing)
    try:
        command_line(supervised=True)
    finally:
        link.close()


if __name__ == "__main__":
    from crdtsync.cli import worker  # this file again, under the name by which others know it

    worker.main()
