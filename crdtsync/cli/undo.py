"""revert: take back what was done. reverts: what was previewed, or begun and not ended."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from crdtsync.cli import show
from crdtsync.cli.actions import Arguments, Report, action
from crdtsync.cli.options import Author, Folder, Json, PassphraseFile, Reason
from crdtsync.cli.perform import perform
from crdtsync.errors import UsageError
from crdtsync.ids import commit_text

if TYPE_CHECKING:
    from crdtsync.site import Site

app = typer.Typer()
listed_max = 50
"""Lines of a preview that a person is shown; --json has all of them."""


def option(name: str, metavar: str, words: str) -> Any:
    return typer.Option(name, metavar=metavar, help=words, show_default=False)


@app.command()
def revert(
    folder: Folder,
    commit: Annotated[list[str] | None, option("--commit", "ID", "Take back this commit; may be given again.")] = None,
    record: Annotated[str | None, option("--record", "ID", "Take one record back to a time.")] = None,
    by: Annotated[str | None, option("--by", "AUTHOR", "Take back what this author did.")] = None,
    at_site: Annotated[str | None, option("--at-site", "NAME", "Take back what was done at this site.")] = None,
    since: Annotated[
        str | None, option("--since", "T", "From this time on: 2026-11-23T08:30:00+01:00.")
    ] = None,
    until: Annotated[str | None, option("--until", "T", "Before this time.")] = None,
    preview: Annotated[
        bool, typer.Option("--preview", metavar="", help="Show what it would do, and write nothing.")
    ] = False,
    confirm: Annotated[str | None, option("--confirm", "ID", "Carry out exactly what this preview showed.")] = None,
    author: Author = "",
    reason: Reason = "",
    passphrase_file: PassphraseFile = None,
    as_json: Json = False,
) -> None:
    """Take back, by new changes, what was done: as it was before, except where somebody changed it since.

    `--preview` lists each field before and after and every later edit in the same places, and gives an id; `--confirm`
    carries out exactly that. Stopped in the middle, call `--confirm` again. A revert can be reverted.
    """
    chosen = {"commit": commit or None, "record": record, "by": by, "at_site": at_site, "since": since, "until": until}
    if confirm is not None and (preview or any(value is not None for value in chosen.values())):
        raise UsageError("--confirm carries out a preview as it is: name nothing beside it but --author and --reason")
    arguments = {**chosen, "preview": preview, "confirm": confirm, "author": author, "reason": reason}
    told = perform("revert", folder, arguments, passphrase_file=passphrase_file, words="reverting")
    if as_json:
        show.emit_json(told)
    elif preview:
        show_preview(told)
    else:
        commits = show.counted(len(told["commits"]), "commit")
        show.say(f"Reverted: {show.counted(told['records'], 'record')} in {commits}.")
        show_left_out(told.get("left_out", []))


def show_preview(told: dict[str, Any]) -> None:
    """A preview for people: the first lines of it, and how to go on."""
    show.say(f"To revert: {told['what']} ({show.counted(told['records'], 'record')})")
    show.objects(told["changes"][:listed_max], "Nothing is left of it that could be taken back.")
    show_more(told["changes"])
    if told["later"]:
        show.say("\nLater edits in the same places, which stay:")
        names = ("record", "field", "how", "value", "author", "at")
        show.objects([{name: each[name] for name in names} for each in told["later"][:listed_max]], "")
        show_more(told["later"])
    show_left_out(told["left_out"])
    if told["id"] is not None:
        show.say(f"\nNothing is written yet. To carry it out: crdtsync revert DIR --confirm {told['id']}")


def show_left_out(left_out: list[dict[str, Any]]) -> None:
    if left_out:
        show.say("\nLeft as it is, since not all of it is known here:")
        show.objects(left_out[:listed_max], "")
        show_more(left_out)


def show_more(lines: list[dict[str, Any]]) -> None:
    if len(lines) > listed_max:
        show.say(f"... and {len(lines) - listed_max} more (--json lists all)")


@action("revert")
async def revert_here(site: Site, arguments: Arguments, report: Report) -> dict[str, Any]:
    """A preview as the library gives it; else `{"id", "what", "records", "commits"}`."""
    told = await site.revert(**arguments, progress=report)
    return told if "commits" not in told else {**told, "commits": [commit_text(each) for each in told["commits"]]}


@app.command()
def reverts(
    folder: Folder,
    drop: Annotated[str | None, option("--drop", "ID", "Drop this one; what is reverted stays so.")] = None,
    passphrase_file: PassphraseFile = None,
    as_json: Json = False,
) -> None:
    """List previews of reverts, and reverts that were begun and not ended, with how far they came."""
    told = perform("reverts", folder, {"drop": drop}, passphrase_file=passphrase_file)
    if as_json:
        show.emit_json(told)
    elif drop is not None:
        show.say(f"Dropped: {told['done']} of {show.counted(told['records'], 'record')} are reverted, and stay so.")
    else:
        names = ("id", "what", "records", "done", "begun_at", "author")
        show.objects([{name: each[name] for name in names} for each in told], "No reverts are waiting.")


@action("reverts")
async def reverts_here(site: Site, arguments: Arguments, report: Report) -> Any:
    """One object per plan; the dropped one where one is named."""
    return await site.reverts() if arguments["drop"] is None else await site.forget_revert(arguments["drop"])
