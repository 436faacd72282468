"""Series of invoice numbers: series add, list, audit; hand-over and take-over."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from crdtsync import limits
from crdtsync.cli import show
from crdtsync.cli.actions import Arguments, Report, action
from crdtsync.cli.options import Author, Folder, Json, PassphraseFile, Reason
from crdtsync.cli.perform import perform

if TYPE_CHECKING:
    from crdtsync.site import Site

app = typer.Typer(
    no_args_is_help=True, rich_markup_mode="markdown", help="Set up and look over series of invoice numbers."
)
duties = typer.Typer()
Name = Annotated[str, typer.Argument(metavar="NAME", help="The name of the series, like R1.", show_default=False)]
Wait = Annotated[
    float, typer.Option("--wait", metavar="S", min=0.0, help="Seconds to wait for the site that holds the series.")
]


@app.command()
def add(
    folder: Folder,
    name: Name,
    pattern: Annotated[
        str,
        typer.Option(
            "--pattern",
            metavar="P",
            help="How its numbers are written: the name, {n} or {n:05} for the count, and {year} if it begins anew "
            "each year, like 'R1-{year}-{n:05}'.",
            show_default=False,
        ),
    ],
    holder: Annotated[
        str | None,
        typer.Option("--holder", metavar="SITE", help="The site that gives the numbers; this one.", show_default=False),
    ] = None,
    start: Annotated[int, typer.Option("--start", metavar="N", min=1, help="The count of the first number.")] = 1,
    stands_in_for: Annotated[
        str | None,
        typer.Option(
            "--stands-in-for",
            metavar="SERIES",
            help="It may be used in the place of this other series while that one's holder is away.",
            show_default=False,
        ),
    ] = None,
    author: Author = "",
    reason: Reason = "",
    passphrase_file: PassphraseFile = None,
    as_json: Json = False,
) -> None:
    """Set up a series: one site gives its numbers, each once, without gaps that nobody can explain."""
    arguments = {
        "name": name, "pattern": pattern, "holder": holder, "start": start, "stands_in_for": stands_in_for,
        "author": author, "reason": reason,
    }  # fmt: skip
    told = perform("series add", folder, arguments, passphrase_file=passphrase_file)
    if as_json:
        show.emit_json(told)
    else:
        show.say(f"{told['holder']} gives the numbers of {told['name']} from now on.")


@action("series add")
async def add_here(site: Site, arguments: Arguments, report: Report) -> dict[str, Any]:
    """The series, as `series list` has it."""
    return await site.add_series(**arguments)


@app.command(name="list")
def list_(folder: Folder, passphrase_file: PassphraseFile = None, as_json: Json = False) -> None:
    """List the series of the practice, and who holds each."""
    told = perform("series list", folder, {}, passphrase_file=passphrase_file)
    if as_json:
        show.emit_json(told)
        return
    columns = ("name", "pattern", "holder", "term", "stands_in_for", "wrong")
    show.objects([{name: each[name] for name in columns} for each in told], "The practice has no series yet.")


@action("series list")
async def list_here(site: Site, arguments: Arguments, report: Report) -> list[dict[str, Any]]:
    """One object per series."""
    return await site.series()


@app.command()
def audit(
    folder: Folder,
    name: Name,
    csv: Annotated[
        Path | None,
        typer.Option("--csv", metavar="FILE", help="Write the list into FILE, as CSV.", show_default=False),
    ] = None,
    passphrase_file: PassphraseFile = None,
    as_json: Json = False,
) -> None:
    """List every number of a series with its invoice, or the reason of its gap: for auditors.

    What a site gave before it heard that the series was taken over is marked as unseen.
    """
    told = perform("series audit", folder, {"name": name}, passphrase_file=passphrase_file)
    if csv is not None:
        from crdtsync.series import as_csv

        csv.write_text(as_csv(told), encoding="utf-8", newline="")
    if as_json:
        show.emit_json(told)
    elif csv is not None:
        show.say(f"{show.counted(len(told), 'line')} written to {csv}.")
    else:
        columns = ("number", "invoice", "issued_at", "holder", "cancelled_by", "gap", "unseen")
        rows = [{name: each[name] or None for name in columns} for each in told]
        show.objects(rows, f"No number of {name} was given yet.")


@action("series audit")
async def audit_here(site: Site, arguments: Arguments, report: Report) -> list[dict[str, Any]]:
    """One object per number, in order."""
    return await site.series_audit(arguments["name"])


@duties.command(name="hand-over")
def hand_over(
    folder: Folder,
    name: Name,
    to: Annotated[str, typer.Option("--to", metavar="SITE", help="The site that is to have it.", show_default=False)],
    wait: Wait = limits.issue_wait_s,
    author: Author = "",
    reason: Reason = "",
    passphrase_file: PassphraseFile = None,
    as_json: Json = False,
) -> None:
    """Give a series to another site, which counts on where its holder stopped.

    Its holder must agree to it: called elsewhere, it is asked of the holder, which does it when it hears of it.
    """
    arguments = {"name": name, "to": to, "wait": wait, "author": author, "reason": reason}
    told = perform("hand-over", folder, arguments, passphrase_file=passphrase_file)
    _held(told, as_json)


@action("hand-over")
async def hand_over_here(site: Site, arguments: Arguments, report: Report) -> dict[str, Any]:
    """`{"series", "term", "holder"}`."""
    return _in_short(await site.hand_over(**arguments))


@duties.command(name="take-over")
def take_over(
    folder: Folder,
    name: Name,
    to: Annotated[
        str | None, typer.Option("--to", metavar="SITE", help="The site that is to have it; this one.")
    ] = None,
    reason: Annotated[
        str, typer.Option("--reason", metavar="TEXT", help="Why: auditors ask. Kept with it.", show_default=False)
    ] = "",
    author: Author = "",
    passphrase_file: PassphraseFile = None,
    as_json: Json = False,
) -> None:
    """Take a series from a site that is lost. Its numbers carry the next term from then on, like R1.2-2026-00001.

    The count is never continued: a site that is only cut off may still be counting. What it gives before it hears of
    this is listed by `series audit`.
    """
    arguments = {"name": name, "to": to, "reason": reason, "author": author}
    told = perform("take-over", folder, arguments, passphrase_file=passphrase_file)
    _held(told, as_json)


@action("take-over")
async def take_over_here(site: Site, arguments: Arguments, report: Report) -> dict[str, Any]:
    """`{"series", "term", "holder"}`."""
    return _in_short(await site.take_over(**arguments))


def _in_short(series: dict[str, Any]) -> dict[str, Any]:
    return {"series": series["name"], "term": series["term"], "holder": series["holder"]}


def _held(told: dict[str, Any], as_json: bool) -> None:
    if as_json:
        show.emit_json(told)
    else:
        show.say(f"{told['holder']} gives the numbers of {told['series']} from now on, in term {told['term']}.")
