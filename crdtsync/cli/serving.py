"""serve: be there for the other sites, and for the other verbs."""

from __future__ import annotations

import contextlib
import signal
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Annotated, Any

import anyio
import typer

from crdtsync.cli import control, show
from crdtsync.cli.founding import introduction
from crdtsync.cli.options import Folder, PassphraseFile
from crdtsync.cli.passphrase import passphrase
from crdtsync.cli.perform import check_replica, lock_poll_s, opened
from crdtsync.errors import AlreadyOpen

app = typer.Typer()
takeover_wait_s = 5.0
"""How long a new serve waits for the folder's lock: one that is being replaced needs a moment to close."""


@app.command()
def serve(
    folder: Folder,
    listen: Annotated[
        str, typer.Option("--listen", metavar="HOST:PORT", help="Where others reach this site; port 0: any free one.")
    ] = "127.0.0.1:0",
    advertise: Annotated[
        str | None,
        typer.Option(
            "--advertise",
            metavar="HOST:PORT",
            help="The address to tell the others, where it is not the one listened on (behind NAT, in a container).",
            show_default=False,
        ),
    ] = None,
    peer: Annotated[
        list[str] | None,
        typer.Option("--peer", metavar="HOST:PORT", help="An address to dial; may be given again.", show_default=False),
    ] = None,
    only_peers: Annotated[
        bool,
        typer.Option(
            "--only-peers", metavar="", help="Dial the addresses given by --peer and none learnt from others."
        ),
    ] = False,
    passphrase_file: PassphraseFile = None,
    as_json: Annotated[
        bool, typer.Option("--json", metavar="", help="JSON lines on stdout in a terminal, too.")
    ] = False,
) -> None:
    """Exchange records with the other sites until it is stopped (Ctrl-C, or a TERM signal).

    The first line on stdout is `{"event": "ready", "listen": "HOST:PORT", ...}`. More events follow, one JSON object a
    line, or a sentence a line in a terminal. While this runs the other verbs reach the site through it.
    """
    check_replica(folder)
    addresses = {"listen": listen, "advertise": advertise, "peers": list(peer or []), "only_peers": only_peers}
    anyio.run(run, folder, lambda: passphrase(passphrase_file), addresses, Teller(as_json))


async def run(folder: Path, secret: Callable[[], str], addresses: dict[str, Any], teller: Teller) -> None:
    """Open, listen, answer verbs, say `ready`, and stop in order at a signal."""
    async with AsyncExitStack() as stack:
        signals = stack.enter_context(anyio.open_signal_receiver(*stop_signals()))
        site = await open_in_turn(stack, folder, secret())
        serving = await stack.enter_async_context(site.serve(**addresses, on_event=teller.tell))
        await stack.enter_async_context(control.answering(site, folder))
        teller.ready({"event": "ready", "listen": serving.address, **introduction(site)})
        async for _ in signals:
            break
    teller.tell({"event": "stopped"})


def stop_signals() -> list[signal.Signals]:
    """What asks this process to stop: Ctrl-C, a service manager, a terminal that closes."""
    return [getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)]


async def open_in_turn(stack: AsyncExitStack, folder: Path, secret: str) -> Any:
    """The opened site. Raises AlreadyOpen at once beside a running serve, else after waiting for the lock."""
    deadline = time.monotonic() + takeover_wait_s
    while True:
        try:
            return await stack.enter_async_context(opened(folder, secret))
        except AlreadyOpen:
            if await somebody_serves(folder):
                raise AlreadyOpen(f"{folder} is being served already: stop that process first, or use it") from None
            if time.monotonic() > deadline:
                raise
        await anyio.sleep(lock_poll_s)


async def somebody_serves(folder: Path) -> bool:
    try:
        async with await control.connect(folder):
            return True
    except control.NobodyServes:
        return False


class Teller:
    """Prints events: JSON lines, and in a terminal sentences behind the first line.

    `ready` is the first line in any case: what happens before it is told after it. A reader of stdout that goes away
    does not stop the site.
    """

    def __init__(self, as_json: bool) -> None:
        self._as_json = as_json or not sys.stdout.isatty()
        self._early: list[Mapping[str, Any]] | None = []

    def ready(self, event: Mapping[str, Any]) -> None:
        """The site is there for others."""
        early, self._early = self._early or [], None
        self._print(event, as_json=True)
        for each in early:
            self.tell(each)

    def tell(self, event: Mapping[str, Any]) -> None:
        """Something happened."""
        if self._early is not None:
            self._early.append(event)
        else:
            self._print(event, self._as_json)

    def _print(self, event: Mapping[str, Any], as_json: bool) -> None:
        with contextlib.suppress(BrokenPipeError, ValueError):  # ValueError: stdout was closed
            if as_json:
                show.emit_json(dict(event))
            else:
                show.say(sentence(event))


def sentence(event: Mapping[str, Any]) -> str:
    """An event for a person."""
    match event["event"]:
        case "join":
            return (
                f"{event['name']} asks to join and shows {event['digits']}: compare, then crdtsync confirm DIR DIGITS"
            )
        case "joined":
            return f"{event['name']} belongs to the practice now."
        case "stopped":
            return "Stopped."
        case kind:
            return f"{kind}: {event.get('text', '')}".removesuffix(": ")
