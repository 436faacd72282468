"""Invoices get their numbers: invoice issue, and cancel."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from crdtsync import limits
from crdtsync.cli import show
from crdtsync.cli.actions import Arguments, Report, action
from crdtsync.cli.options import Author, Folder, Json, PassphraseFile, Reason
from crdtsync.cli.perform import perform
from crdtsync.cli.series import Wait

if TYPE_CHECKING:
    from crdtsync.site import Site

app = typer.Typer(
    no_args_is_help=True, rich_markup_mode="markdown", help="Give invoices their numbers, and cancel issued ones."
)
InvoiceId = Annotated[str, typer.Argument(metavar="ID", help="The record id of the invoice.", show_default=False)]
OfSeries = Annotated[
    str | None,
    typer.Option(
        "--series",
        metavar="NAME",
        help="The series that gives the number; without it the invoice's own, or the only one.",
        show_default=False,
    ),
]


@app.command()
def issue(
    folder: Folder,
    invoice: InvoiceId,
    series: OfSeries = None,
    stand_in: Annotated[
        bool,
        typer.Option("--stand-in", metavar="", help="Take this site's series that stands in for it while it is away."),
    ] = False,
    wait: Wait = limits.issue_wait_s,
    author: Author = "",
    reason: Reason = "",
    passphrase_file: PassphraseFile = None,
    as_json: Json = False,
) -> None:
    """Give an invoice its number, and freeze what stands on it.

    The site that holds the series gives it. Where that is not reached in time, the invoice stays ready and is issued on
    contact; asking again is safe, and tells the same number.
    """
    arguments = {
        "invoice": invoice, "series": series, "stand_in": stand_in, "wait": wait, "author": author, "reason": reason,
    }  # fmt: skip
    told = perform("invoice issue", folder, arguments, passphrase_file=passphrase_file)
    if as_json:
        show.emit_json(told)
    else:
        show.say(f"The invoice has the number {told['number']}.")


@action("invoice issue")
async def issue_here(site: Site, arguments: Arguments, report: Report) -> dict[str, Any]:
    """`{"number", "series", "term"}`."""
    return await site.issue(**arguments)


@app.command()
def cancel(
    folder: Folder,
    invoice: InvoiceId,
    series: OfSeries = None,
    wait: Wait = limits.issue_wait_s,
    author: Author = "",
    reason: Reason = "",
    passphrase_file: PassphraseFile = None,
    as_json: Json = False,
) -> None:
    """Cancel an issued invoice by another one, with its lines and their amounts taken back.

    An issued invoice never changes; the one that cancels it has a number of its own.
    """
    arguments = {"invoice": invoice, "series": series, "wait": wait, "author": author, "reason": reason}
    told = perform("invoice cancel", folder, arguments, passphrase_file=passphrase_file)
    if as_json:
        show.emit_json(told)
    else:
        show.say(f"It is cancelled by invoice {told['invoice']}, which has the number {told['number']}.")


@action("invoice cancel")
async def cancel_here(site: Site, arguments: Arguments, report: Report) -> dict[str, Any]:
    """`{"invoice", "number", "series", "term"}` of the invoice that cancels it."""
    return await site.cancel_invoice(**arguments)
