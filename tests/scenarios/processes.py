"""Real sites for scenarios: folders, `crdtsync serve` processes on fixed ports, verbs called as a script calls them.

Nothing here sleeps for a fixed time: waiting is for an event on a pipe, or looks at a condition until a deadline.
"""

from __future__ import annotations

import json
import os
import queue
import random
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import anyio

from crdtsync import Site
from crdtsync.cli import control
from crdtsync.cli.actions import Report
from crdtsync.cli.show import silent

T = TypeVar("T")
PRACTICE = "Praxis am Markt"
PASSPHRASE = "correct horse"
patience_s = 60.0
"""How long a scenario waits for what must happen; far more than it takes on a busy machine."""
look_again_s = 0.005
"""Between two looks at a condition."""
ports = range(20_000, 32_000)
"""Below what operating systems take for outgoing connections, so that a port stays free while its site is down."""


@dataclass(frozen=True)
class Done:
    """How a call of the command line ended."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """The one JSON document on stdout of a call that succeeded."""
        assert self.code == 0, self
        assert self.out.count("\n") == 1, self
        return json.loads(self.out)


def command(*words: object) -> list[str]:
    return [sys.executable, "-m", "crdtsync.cli", *map(str, words)]


def surroundings() -> dict[str, str]:
    """The environment of a process: the test's own, and the passphrase unless the test chose another."""
    return {"CRDTSYNC_PASSPHRASE": PASSPHRASE, **os.environ}


def crdtsync(*words: object) -> Done:
    """Run one call to its end."""
    ended = subprocess.run(
        command(*words), stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=patience_s * 5,
        env=surroundings(), check=False,
    )  # fmt: skip
    return Done(ended.returncode, ended.stdout, ended.stderr)


def until(condition: Callable[[], T | None], what: str, seconds: float = patience_s) -> T:
    """What `condition` gives once it gives something true; fails after `seconds`."""
    deadline = time.monotonic() + seconds
    while True:
        found = condition()
        if found:
            return found
        assert time.monotonic() < deadline, f"not within {seconds:.0f} s: {what}"
        time.sleep(look_again_s)


def free_port() -> int:
    """A port that nobody listens on now."""
    while True:
        port = random.choice(ports)
        with socket.socket() as attempt:
            try:
                attempt.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port


class Running:
    """A `crdtsync` process beside the test, with the JSON lines of its stdout as events."""

    def __init__(
        self, errors: Path, *words: object, before: Sequence[str] = (), environment: Mapping[str, str] | None = None
    ) -> None:
        """`before` stands before the command: words that run it somewhere else, as the same process."""
        self.errors = errors
        with errors.open("wb") as stderr:
            self.process = subprocess.Popen(
                [*before, *command(*words)], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=stderr,
                env={**surroundings(), **(environment or {})},
            )  # fmt: skip
        self._events: queue.Queue[dict[str, Any] | None] = queue.Queue()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        with self.process.stdout as lines:
            for line in lines:
                if line.endswith(b"\n"):  # a killed process may leave half a line
                    self._events.put(json.loads(line))
        self._events.put(None)

    def event(self, kind: str | None = None) -> dict[str, Any]:
        """The next event, or the next of a kind; fails when the process ends or says nothing for too long."""
        while True:
            try:
                found = self._events.get(timeout=patience_s)
            except queue.Empty:
                raise AssertionError(f"no event {kind or ''}: {self.complaint()}") from None
            assert found is not None, f"the process ended ({self.process.poll()}): {self.complaint()}"
            if kind is None or found.get("event") == kind:
                return found

    def complaint(self) -> str:
        """What it wrote to stderr."""
        return self.errors.read_text(encoding="utf-8")

    def end(self, number: signal.Signals | None) -> int:
        """Send a signal, or none, and wait for the end; the exit code."""
        if number is not None and self.process.poll() is None:
            self.process.send_signal(number)
        code = self.process.wait(patience_s)
        self._reader.join(patience_s)
        return code


class Server:
    """One site of a scenario: its folder, its fixed address and, while it is served, its process."""

    def __init__(self, name: str, folder: Path) -> None:
        self.name = name
        self.folder = folder
        self.address = f"127.0.0.1:{free_port()}"
        self.before: Sequence[str] = ()
        """Words before the command that serves it, to run it in another network namespace."""
        self.environment: dict[str, str] = {}
        """What its process finds in its environment besides."""
        self.running: Running | None = None
        self.frozen: list[int] = []
        """The processes that stand still."""
        self.ready_s = 0.0
        """How long the last start took until it was ready."""

    def serve(self, *peers: Server | str, only_peers: bool = True) -> None:
        """Start `crdtsync serve` and wait until it is ready."""
        assert self.running is None, f"{self.name} is served already"
        named = [word for peer in peers for word in ("--peer", peer.address if isinstance(peer, Server) else peer)]
        rest = ["--only-peers"] if only_peers else []
        began = time.monotonic()
        errors = self.folder.with_name(f"{self.folder.name}.stderr")
        words = ("serve", self.folder, "--listen", self.address, *named, *rest)
        self.running = Running(errors, *words, before=self.before, environment=self.environment)
        ready = self.running.event()
        assert (ready["event"], ready["listen"]) == ("ready", self.address), ready
        self.ready_s = time.monotonic() - began

    def event(self, kind: str) -> dict[str, Any]:
        """The next event of a kind that the serving process tells."""
        assert self.running is not None
        return self.running.event(kind)

    def kill(self) -> None:
        """kill -9: as a power cut would, except that the operating system lives on."""
        self._end(signal.SIGKILL)

    def freeze(self) -> None:
        """Stop it where it stands, as a machine that sleeps or a process that swaps: its connections stay open."""
        assert self.running is not None and not self.frozen
        self.frozen = [self.running.process.pid, self.worker()]
        for process in self.frozen:
            os.kill(process, signal.SIGSTOP)

    def thaw(self) -> None:
        """Let it go on from there."""
        while self.frozen:
            os.kill(self.frozen.pop(), signal.SIGCONT)

    def stop(self) -> None:
        """End it in order."""
        assert self._end(signal.SIGTERM) == 0

    def _end(self, number: signal.Signals) -> int:
        assert self.running is not None, f"{self.name} is not served"
        running, self.running = self.running, None
        code = running.end(number)
        assert "Traceback" not in running.complaint(), running.complaint()
        return code

    def call(self, verb: str, *words: object) -> Done:
        """Run a verb of the command line on this folder."""
        return crdtsync(*verb.split(), self.folder, *words)

    def verb(self, verb: str, *words: object) -> Any:
        """Run a verb that must succeed; its JSON."""
        return self.call(verb, *words, "--json").json

    def worker(self) -> int:
        """The process that does the work now, which the one that was started keeps alive."""
        return int(self.ask("status")["worker"]["pid"])

    def ask(self, verb: str, report: Report = silent, **arguments: Any) -> Any:
        """Have the serving process run a verb, through the same socket as `verb` and without starting a process."""
        return anyio.run(control.ask, self.folder, verb, arguments, report)

    def write(self, kind: str, **fields: str) -> str:
        """Create a record through the socket; its id."""
        return str(self.ask("record new", kind=kind, fields=fields, author="", reason="")["id"])

    def change(self, record: str, **fields: str) -> None:
        """Change a record through the socket."""
        self.ask("record set", id=record, fields=fields, author="", reason="")

    def show(self, record: str) -> Any:
        """A record as `record show` gives it, through the socket."""
        return self.ask("record show", id=record)

    def column(self, sql: str) -> list[Any]:
        """The only column of a question, through the socket."""
        return [value for row in self.ask("query", sql=sql) for value in row.values()]

    def digest(self) -> dict[str, Any]:
        """`{"digest", "records"}`, through the socket."""
        return dict(self.ask("digest"))

    def peer(self, other: Server) -> dict[str, Any]:
        """What this site's status says of another."""
        return next(peer for peer in self.ask("status")["peers"] if peer["site"] == other.name)


def converged(*servers: Server, records: int | None = None) -> str:
    """Wait until the digests of these sites are equal, at `records` records if that is given; the digest.

    With nobody writing, equal digests mean that each has all that any of them had acknowledged.
    """

    told: list[dict[str, Any]] = []

    def equal() -> str | None:
        told[:] = [server.digest() for server in servers]
        if len({each["digest"] for each in told}) > 1 or records not in (None, told[0]["records"]):
            return None
        return str(told[0]["digest"])

    try:
        return until(equal, "equal digests")
    except AssertionError as late:
        found = {server.name: each for server, each in zip(servers, told, strict=True)}
        raise AssertionError(f"{late} at {records} records, but {found}") from None


class Practice:
    """The sites of a scenario. `found` makes their folders; leaving the fixture kills what still runs."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.servers: list[Server] = []

    def server(self, name: str) -> Server:
        """A site whose folder is yet to be made."""
        self.servers.append(Server(name, self.folder / name.lower()))
        return self.servers[-1]

    def found(self, *names: str) -> list[Server]:
        """Found a practice and let the others join at the first: by the library, which is quicker than by processes."""
        servers = [self.server(name) for name in names]
        anyio.run(_found, servers)
        return servers

    def close(self) -> None:
        """End all processes."""
        for server in self.servers:
            if server.running is not None:
                server.kill()


async def _found(servers: Sequence[Server]) -> None:
    first, *others = servers
    async with AsyncExitStack() as stack:
        site = await stack.enter_async_context(
            Site.create(first.folder, practice=PRACTICE, name=first.name, passphrase=PASSPHRASE)
        )
        if others:
            await stack.enter_async_context(site.serve(only_peers=True))
        for other in others:
            code = await site.invite(other.name, trust_code=True)
            async with Site.join(other.folder, code, passphrase=PASSPHRASE):
                pass
