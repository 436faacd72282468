"""serve: be there for the other sites, and for the other verbs."""

from __future__ import annotations

import json
import os
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AsyncExitStack
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import anyio
import anyio.from_thread
import anyio.lowlevel
import typer

from crdtsync.cli import backups, control, show, worker
from crdtsync.cli.founding import introduction
from crdtsync.cli.options import Folder, PassphraseFile
from crdtsync.cli.perform import check_replica, lock_poll_s, opened
from crdtsync.cli.supervisor import STOP_SIGNALS, supervise
from crdtsync.cli.worker import Link, Pulse
from crdtsync.errors import AlreadyOpen
from crdtsync.transport.address import parse_address

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
    backup_to: Annotated[
        Path | None,
        typer.Option("--backup-to", metavar="FOLDER", help="Make backups in FOLDER meanwhile.", show_default=False),
    ] = None,
    every: Annotated[
        str, typer.Option("--every", metavar="TIME", help="How far backups are apart, such as 30m, 24h or 7d.")
    ] = "24h",
    keep: Annotated[
        str, typer.Option("--keep", metavar="RULE", help="Which backups stay in FOLDER.")
    ] = "daily=7,weekly=5,monthly=12",
    passphrase_file: PassphraseFile = None,
    as_json: Annotated[
        bool, typer.Option("--json", metavar="", help="JSON lines on stdout in a terminal, too.")
    ] = False,
) -> None:
    """Exchange records with the other sites until it is stopped (Ctrl-C, or a TERM signal).

    The first line on stdout is `{"event": "ready", "listen": "HOST:PORT", ...}`. More events follow, one JSON object a
    line, or a sentence a line in a terminal. While this runs the other verbs reach the site through it.

    The work is done by a second process, which is replaced when it dies or is silent for ten seconds: then the event
    is `worker-replaced`, and a `ready` with the same address follows. A change that kills it is held at the next start.
    """
    check_replica(folder)
    parse_address(listen, listening=True)
    for address in (*(peer or []), *filter(None, [advertise])):
        parse_address(address)
    seconds, rule = backups.seconds_in(every), backups.kept_rule(keep)
    if worker.link is None:
        words = ["serve", str(folder), "--listen", listen]
        words += [word for address in peer or [] for word in ("--peer", address)]
        words += [] if advertise is None else ["--advertise", advertise]
        words += [] if passphrase_file is None else ["--passphrase-file", str(passphrase_file)]
        words += [] if backup_to is None else ["--backup-to", str(backup_to), "--every", every, "--keep", keep]
        words += ["--only-peers"] * only_peers + ["--json"] * as_json
        raise typer.Exit(supervise(words))
    secret = worker.link.passphrase(folder, passphrase_file)
    addresses = {"listen": listen, "advertise": advertise, "peers": list(peer or []), "only_peers": only_peers}
    plan = None if backup_to is None else {"seconds": seconds, "path": backup_to.absolute(), "keep": rule}
    anyio.run(run, folder, secret, addresses, as_json, worker.link, plan)


async def run(
    folder: Path, secret: str, addresses: dict[str, Any], as_json: bool, link: Link, backups: dict[str, Any] | None
) -> None:
    """Open, listen, answer verbs, say `ready`, make backups if so planned, and stop in order at a signal, or when the
    supervisor asks for it."""
    begin = link.begin
    teller = Teller(link.say, as_json=as_json or not begin["terminal"])
    async with AsyncExitStack() as stack:
        stop = anyio.Event()
        token = anyio.lowlevel.current_token()
        link.on_stop(lambda: anyio.from_thread.run_sync(stop.set, token=token))
        signals = stack.enter_context(anyio.open_signal_receiver(*STOP_SIGNALS))
        tasks = await stack.enter_async_context(anyio.create_task_group())
        stack.callback(tasks.cancel_scope.cancel)
        pulse = Pulse(link)
        tasks.start_soon(heed, signals, stop)
        tasks.start_soon(pulse.run)
        site = await open_in_turn(stack, folder, secret)
        site.worker = {"started": begin["started"], "reason": begin["reason"], "pid": os.getpid()}
        pulse.site = site
        serving = await stack.enter_async_context(
            site.serve(**addresses, on_event=teller.tell, taken_up=begin["bound"])
        )
        await stack.enter_async_context(control.answering(site, folder))
        link.ready(serving.address, as_json=teller.as_json)
        teller.ready({"event": "ready", "listen": serving.address, **introduction(site)})
        if backups is not None:
            beside = await stack.enter_async_context(anyio.create_task_group())
            stack.callback(beside.cancel_scope.cancel)  # before the site closes
            beside.start_soon(partial(site.back_up_every, **backups, on_event=teller.tell))
        await stop.wait()
    teller.tell({"event": "stopped"})


async def heed(signals: AsyncIterator[int], stop: anyio.Event) -> None:
    """Stop at the first signal."""
    async for _ in signals:
        stop.set()


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

    `ready` is the first line in any case: what happens before it is told after it. `say` takes whole lines.
    """

    def __init__(self, say: Callable[[bytes], None], *, as_json: bool) -> None:
        self._say = say
        self.as_json = as_json
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
            self._print(event, self.as_json)

    def _print(self, event: Mapping[str, Any], as_json: bool) -> None:
        line = json.dumps(dict(event), ensure_ascii=False) if as_json else show.clean(sentence(event))
        self._say(line.encode("utf-8", "backslashreplace") + b"\n")


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
