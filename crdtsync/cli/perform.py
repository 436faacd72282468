"""How a verb is carried out: by the process that serves the folder, else by opening the folder."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import anyio

from crdtsync.cli import control, show
from crdtsync.cli.actions import ACTIONS, Arguments, Report
from crdtsync.cli.passphrase import passphrase
from crdtsync.cli.supervisor import supervised
from crdtsync.errors import AlreadyOpen, NotFound, RefusedError

KEY_FILE = "replica.key"
"""What every site's folder has; named here, so that asking a serving process imports no databases."""
lock_wait_s = 10.0
"""How long a verb waits while another verb works on the folder, or a serve that starts or stops there."""
lock_poll_s = 0.05


def perform(
    verb: str, folder: Path, arguments: Arguments, *, passphrase_file: Path | None, words: str = "working"
) -> Any:
    """Carry out a verb on the replica in `folder` and return its JSON-able answer.

    A verb that opens the folder itself holds its lock until it is done. Raises what the verb raises.
    """
    check_replica(folder)
    known: list[str] = []

    def secret() -> str:
        if not known:
            known.append(passphrase(passphrase_file))
        return known[0]

    with show.progress(words) as report:
        return anyio.run(reach, verb, folder, arguments, secret, report)


async def reach(verb: str, folder: Path, arguments: Arguments, secret: Callable[[], str], report: Report) -> Any:
    """Ask the serving process; where nobody serves, open the folder; while it is locked, try both again.

    While a supervisor lives on the folder its worker is waited for.
    """
    deadline = time.monotonic() + lock_wait_s
    while True:
        try:
            return await control.ask(folder, verb, arguments, report)
        except control.NobodyServes:
            if time.monotonic() < deadline and supervised(folder):  # its worker starts, or is being replaced
                await anyio.sleep(lock_poll_s)
                continue
        if ACTIONS[verb].only_serving:
            raise RefusedError(
                f"nobody serves {folder}: run `crdtsync serve {folder}` and leave it running, then call this again"
            )
        async with AsyncExitStack() as stack:
            try:
                site = await stack.enter_async_context(opened(folder, secret()))
            except AlreadyOpen:
                if time.monotonic() > deadline:
                    raise
            else:
                return await ACTIONS[verb].work(site, arguments, report)
        await anyio.sleep(lock_poll_s)


def check_replica(folder: Path) -> None:
    """Refuse what is not the folder of a site, before anybody is asked for a passphrase. Raises NotFound."""
    if not folder.is_dir():
        raise NotFound(f"there is no folder {folder}: `crdtsync create` founds a practice there, `join` joins one")
    if not (folder / KEY_FILE).is_file():
        raise NotFound(
            f"{folder} is not the folder of a site (it has no {KEY_FILE}): name another, or make one by create or join"
        )


def opened(folder: Path, secret: str) -> Any:
    """The site in `folder`, to be entered. Imported late: asking a serving process needs no databases."""
    from crdtsync.site import Site

    return Site.open(folder, passphrase=secret)
