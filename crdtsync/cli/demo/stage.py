"""The stage of the demo: three folders, three `crdtsync serve` processes, two cables."""

from __future__ import annotations

import json
import os
import secrets
import subprocess
import sys
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import anyio
import anyio.abc
from anyio.streams.buffered import BufferedByteReceiveStream

from crdtsync.cli import control
from crdtsync.cli.demo.cable import Cable
from crdtsync.cli.show import silent
from crdtsync.errors import EnvironmentFailure

ready_wait_s = 60.0
PRACTICE = "Praxis am Markt"


@dataclass
class Actor:
    """One site of the demo: a folder and, while it is served, its process."""

    name: str
    folder: Path
    address: str = ""
    status: dict[str, Any] = field(default_factory=dict)

    async def ask(self, verb: str, **arguments: Any) -> Any:
        """Have the serving process run a verb, as every `crdtsync` verb does."""
        return await control.ask(self.folder, verb, arguments, silent)

    async def look(self) -> None:
        """Learn the present status."""
        self.status = await self.ask("status")

    @property
    def digest(self) -> str:
        return str(self.status.get("digest", ""))

    @property
    def records(self) -> int:
        return sum(self.status.get("records", {}).values())

    @property
    def conflicts(self) -> int:
        return int(self.status.get("conflicts", 0))

    @property
    def connected(self) -> int:
        return sum(bool(peer.get("connected")) for peer in self.status.get("peers", []))


class Stage:
    """Builds the practice in a folder and serves it: Jena - Weimar - Gera, and no cable from Jena to Gera.

    Use as `async with`; leaving it stops the processes, in order.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.actors = [Actor(name, folder / name.lower()) for name in ("Jena", "Weimar", "Gera")]
        self.jena, self.weimar, self.gera = self.actors
        self.cables: list[Cable] = []
        self._stack = AsyncExitStack()
        self._surroundings = {
            **os.environ,
            "CRDTSYNC_PASSPHRASE": secrets.token_hex(16),
            "CRDTSYNC_KDF": "fast",
            "CRDTSYNC_STATE_DIR": str(folder / "state"),
        }

    async def __aenter__(self) -> Stage:
        return self

    async def __aexit__(self, *reason: Any) -> None:
        await self._stack.aclose()

    async def found(self) -> None:
        """Found the practice at Jena and serve it there."""
        sheet = str(self.folder / "recovery-sheet.txt")
        folder = str(self.jena.folder)
        await self._run("create", folder, "--practice", PRACTICE, "--site", "Jena", "--recovery-sheet", sheet)
        await self._serve(self.jena, [])

    async def join(self, newcomer: Actor, host: Actor) -> None:
        """Let `newcomer` join at `host`, and serve it with one cable to there."""
        code = (await host.ask("invite", name=newcomer.name, role="site", admin=True, trust_code=True, address=None))[
            "code"
        ]
        await self._run("join", str(newcomer.folder), "--code", "-", standard_input=code)
        cable = await self._stack.enter_async_context(Cable(host.address))
        self.cables.append(cable)
        await self._serve(newcomer, ["--peer", cable.near_end])

    @property
    def carried(self) -> int:
        """Bytes that crossed between sites since they joined."""
        return sum(cable.carried for cable in self.cables)

    async def _run(self, *words: str, standard_input: str = "") -> None:
        done = await anyio.run_process(
            command(*words), input=standard_input.encode(), check=False, env=self._surroundings
        )
        if done.returncode:
            raise EnvironmentFailure(f"crdtsync {words[0]} failed: {last_line(done.stderr.decode())}")

    async def _serve(self, actor: Actor, peers: list[str]) -> None:
        """Start `crdtsync serve` and wait until it is ready."""
        log = self._stack.enter_context((self.folder / f"{actor.name.lower()}.log").open("w+b"))
        process = await anyio.open_process(
            command("serve", str(actor.folder), "--listen", "127.0.0.1:0", "--only-peers", *peers),
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=log, env=self._surroundings,
        )  # fmt: skip
        self._stack.push_async_callback(stop, process)
        assert process.stdout is not None
        lines = BufferedByteReceiveStream(process.stdout)
        try:
            with anyio.fail_after(ready_wait_s):
                ready = json.loads(await lines.receive_until(b"\n", 64 * 1024))
        except (TimeoutError, anyio.IncompleteRead, anyio.EndOfStream, ValueError):
            log.seek(0)
            raise EnvironmentFailure(f"{actor.name} did not start: {last_line(log.read().decode())}") from None
        actor.address = ready["listen"]
        drain = await self._stack.enter_async_context(anyio.create_task_group())
        drain.start_soon(swallow, lines)
        self._stack.callback(drain.cancel_scope.cancel)


def command(*words: str) -> list[str]:
    """A call of the command line that is installed beside this file."""
    return [sys.executable, "-m", "crdtsync.cli", *words]


def last_line(text: str) -> str:
    return (text.strip().splitlines() or ["it said nothing"])[-1]


async def swallow(lines: BufferedByteReceiveStream) -> None:
    """Read on, so that a process that tells of events never waits for a reader."""
    try:
        while True:
            await lines.receive()
    except (anyio.EndOfStream, anyio.BrokenResourceError, anyio.ClosedResourceError):
        return


async def stop(process: anyio.abc.Process) -> None:
    """Ask a process to stop, and wait; kill it when it does not."""
    with anyio.CancelScope(shield=True):
        if process.returncode is None:
            process.terminate()
        with anyio.move_on_after(10):
            await process.wait()
        if process.returncode is None:
            process.kill()
        await process.aclose()
