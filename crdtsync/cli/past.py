"""What became of records: history, and a patient's whole history as a file that anybody can check."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from crdtsync.cli import show
from crdtsync.cli.actions import Arguments, Report, action
from crdtsync.cli.options import Author, Folder, Json, PassphraseFile, Reason
from crdtsync.cli.perform import perform
from crdtsync.cli.records import RecordArgument
from crdtsync.errors import UsageError

if TYPE_CHECKING:
    from crdtsync.site import Site

app = typer.Typer()


@app.command()
def history(
    folder: Folder,
    record: RecordArgument,
    after: Annotated[
        str | None, typer.Option("--after", metavar="COMMIT", help="Only what came behind it.", show_default=False)
    ] = None,
    limit: Annotated[
        int | None, typer.Option("--limit", metavar="N", min=1, help="At most so many.", show_default=False)
    ] = None,
    alone: Annotated[
        bool,
        typer.Option("--alone", help="Of a patient: without those that are linked to it as the same person."),
    ] = False,
    export: Annotated[
        Path | None,
        typer.Option(
            "--export",
            metavar="FILE",
            help="Write the whole history of a patient (ID) to a signed file: `python -m crdtsync.verify FILE` checks "
            "it anywhere.",
            show_default=False,
        ),
    ] = None,
    author: Author = "",
    reason: Reason = "",
    passphrase_file: PassphraseFile = None,
    as_json: Json = False,
) -> None:
    """Show what became of a record, oldest first: who, when, where, why, and each field before and after."""
    if export is not None:
        if after is not None or limit is not None:
            raise UsageError("--export writes the whole history: leave --after and --limit out")
        _export(folder, record, export, author, reason, passphrase_file, as_json)
        return
    if author or reason:
        raise UsageError("--author and --reason are noted in an export: name the file by --export")
    arguments = {"id": record, "linked": not alone, "after": after, "limit": limit}
    told = perform("history", folder, arguments, passphrase_file=passphrase_file, words="reading the log")
    if as_json:
        show.emit_json(told)
        return
    several = len({entry["record"] for entry in told}) > 1
    for entry in told:
        _say(entry, several)
    if not told:
        show.say("Nothing more.")


def _say(entry: dict[str, Any], several: bool) -> None:
    who = entry["author"] or "nobody named"
    why = f": {entry['reason']}" if entry["reason"] else ""
    show.say(f"{entry['at'] or '(time not known)'}  {who} at {entry['site']}{why}")
    if several:
        show.say(f"  record {entry['record']}")
    show.say(f"  commit {entry['commit']}, here since {entry['arrived_at'] or '(not known)'}")
    if entry["state"] != "applied":
        show.say(f"  {entry['state']}: {entry['why']}")
    for change in entry["changes"]:
        before, after = _value(change["before"]), _value(change["after"])
        show.say(f"  {change['field']}: {before} -> {after}")
        if "values" in change:
            show.say(f"    in conflict: {' | '.join(_value(value) for value in change['values'])}")
        if "wrote" in change:
            show.say(f"    written here: {_value(change['wrote'])}")


def _value(value: Any) -> str:
    return "(nothing)" if value is None else show.words(value)


@action("history")
async def history_here(site: Site, arguments: Arguments, report: Report) -> list[dict[str, Any]]:
    """One object per commit, as the library gives them."""
    linked, after, limit = arguments["linked"], arguments["after"], arguments["limit"]
    return await site.history(arguments["id"], linked=linked, after=after, limit=limit)


def _export(
    folder: Path, patient: str, file: Path, author: str, reason: str, passphrase_file: Path | None, as_json: bool
) -> None:
    arguments = {"id": patient, "file": str(file.resolve()), "author": author, "reason": reason}
    told = perform("history export", folder, arguments, passphrase_file=passphrase_file, words="exporting")
    if as_json:
        show.emit_json(told)
        return
    counts = show.counted(told["commits"], "commit"), show.counted(told["records"], "record")
    show.say(f"{told['file']}: {counts[0]} on {counts[1]}, signed by {told['exported_by']['site']}.")
    if told["missing"]:
        show.say(f"It is not complete: {show.counted(len(told['missing']), 'commit')} cannot be read here now.")
    show.say(f"The practice's id, to be compared by whoever checks it: {told['practice_id']}")
    show.say(f"Check it anywhere: python -m crdtsync.verify {file}")


@action("history export")
async def export_here(site: Site, arguments: Arguments, report: Report) -> dict[str, Any]:
    """`{"file", "commits", "records", "missing", "exported_by", …}`."""
    return await site.history.export(
        arguments["id"], arguments["file"], author=arguments["author"], reason=arguments["reason"]
    )
