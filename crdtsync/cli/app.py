"""The verbs put together, and what they end with: an exit code, and for a failure one line on stderr."""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Sequence
from typing import Annotated

import typer
from typer.core import TyperGroup

from crdtsync.cli import (
    backups,
    conflicts,
    copies,
    exchange,
    founding,
    invoices,
    leaving,
    past,
    persons,
    proposals,
    questions,
    ranges,
    records,
    resolve,
    series,
    serving,
    show,
    state,
    undo,
)
from crdtsync.cli.demo import verb as demo
from crdtsync.errors import CrdtSyncError, NotFound, UsageError

DONE, FAILED, WRONG_USAGE, INTERRUPTED = 0, 1, 2, 130
TRACEBACK = "CRDTSYNC_TRACEBACK"

ORDER = [
    "create", "invite", "confirm", "join", "serve", "status", "digest", "record", "query", "search", "import",
    "conflicts", "resolve", "history", "revert", "reverts", "proposals", "approve", "reject", "brake", "link",
    "unlink", "persons", "range", "number", "series", "invoice", "hand-over", "take-over", "members", "revoke", "close",
    "late", "backup", "restore", "succeed", "recover", "verify", "rebuild", "demo",
]  # fmt: skip
"""How the help lists the verbs: as one meets them."""


class InOrder(TyperGroup):
    """Lists its verbs in ORDER."""

    def list_commands(self, ctx: typer.Context) -> list[str]:  # type: ignore[override]  # ctx is typer's own class
        return sorted(super().list_commands(ctx), key=ORDER.index)


app = typer.Typer(
    cls=InOrder,
    name="crdtsync",
    no_args_is_help=True,
    rich_markup_mode="markdown",
    add_completion=False,
    pretty_exceptions_enable=False,
    help="The records of a medical practice at all of its sites: each works alone, all converge.",
    epilog="Exit 0: done. 1: refused or failed, with one line on stderr that says what to do. 2: wrong usage.",
)
for group in (founding, serving, state, questions, exchange, resolve, past, undo, proposals, persons, backups):
    app.add_typer(group.app)
for group in (leaving, copies, demo):
    app.add_typer(group.app)
app.add_typer(series.duties)
app.add_typer(series.app, name="series")
app.add_typer(invoices.app, name="invoice")
app.add_typer(records.app, name="record")
app.add_typer(conflicts.app, name="conflicts")
app.add_typer(ranges.app, name="range")
app.add_typer(ranges.number_app, name="number")


def version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version as installed

        typer.echo(f"crdtsync {installed('crdtsync')}")
        raise typer.Exit


@app.callback()
def root(
    show_version: Annotated[
        bool, typer.Option("--version", metavar="", callback=version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    """Declares what belongs to no verb."""


def run(arguments: Sequence[str]) -> int:
    """Run one call of the command line and return its exit code."""
    try:
        returned = app(list(arguments), prog_name="crdtsync", standalone_mode=False)
    except BaseException as reason:
        return ended(plainest(reason))
    return returned if isinstance(returned, int) else DONE


def plainest(reason: BaseException) -> BaseException:
    """The error inside groups of one, as structured concurrency wraps it."""
    while isinstance(reason, BaseExceptionGroup) and len(reason.exceptions) == 1:
        reason = reason.exceptions[0]
    return reason


def ended(reason: BaseException) -> int:
    """Say in one line why a call failed, and give its exit code."""
    if os.environ.get(TRACEBACK):
        traceback.print_exception(reason)
    if isinstance(reason, CrdtSyncError):
        show.complain(str(reason))
        return WRONG_USAGE if isinstance(reason, UsageError) and not isinstance(reason, NotFound) else FAILED
    if isinstance(reason, typer.TyperException):
        if reason.format_message():
            show.complain(f"{reason.format_message().strip()} (--help tells more)")
        return WRONG_USAGE if reason.exit_code == WRONG_USAGE else FAILED
    if isinstance(reason, BrokenPipeError):
        sys.stdout = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115  (or the interpreter complains while closing)
        return FAILED
    if isinstance(reason, OSError):
        show.complain(f"{reason.strerror or reason}: {reason.filename or 'the machine refused'}")
        return FAILED
    if isinstance(reason, KeyboardInterrupt | typer.Abort):
        show.complain("interrupted")
        return INTERRUPTED
    if isinstance(reason, SystemExit):
        return reason.code if isinstance(reason.code, int) else FAILED
    kind = type(reason).__name__
    show.complain(f"an error in the program ({kind}): call again with {TRACEBACK}=1 set and report what that says")
    return FAILED
