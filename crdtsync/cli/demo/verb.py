"""`crdtsync demo`."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path
from typing import Annotated

import anyio
import typer

from crdtsync.cli.demo.screen import JsonLines, Screen, Terminal
from crdtsync.errors import RefusedError

app = typer.Typer()


@app.command()
def demo(
    patients: Annotated[
        int, typer.Option("--patients", metavar="N", min=1, help="How many invented patients the practice has.")
    ] = 40,
    pace: Annotated[
        float, typer.Option("--pace", metavar="SECONDS", min=0, help="Pause after each step, in a terminal.")
    ] = 1.5,
    as_json: Annotated[bool, typer.Option("--json", metavar="", help="JSON lines, as in a pipe.")] = False,
) -> None:
    """Watch three sites being cut off from each other, writing on, and agreeing again.

    Three real processes on this machine, in a folder that is removed afterwards. Jena and Gera have no cable to each
    other; all goes over Weimar. Exit 0 when the three ended with equal digests and both values of what was written
    twice.
    """
    screen: Screen = JsonLines() if as_json or not sys.stdout.isatty() else Terminal(pace)
    with tempfile.TemporaryDirectory(prefix="crdtsync-demo-", ignore_cleanup_errors=True) as folder, screen:
        from crdtsync.cli.demo.plot import play

        went_well = anyio.run(play, Path(folder), screen, patients)
    if not went_well:
        raise RefusedError("the demo did not end with equal digests and the conflict at all sites: please report this")
