"""Deciding a conflict: which of its values holds."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated, Any

import typer

from crdtsync.cli import show
from crdtsync.cli.actions import Arguments, Report, action
from crdtsync.cli.conflicts import ConflictArgument
from crdtsync.cli.options import Author, Folder, Json, PassphraseFile, Reason
from crdtsync.cli.perform import perform
from crdtsync.errors import UsageError
from crdtsync.ids import commit_text

if TYPE_CHECKING:
    from crdtsync.conflicts import Conflict
    from crdtsync.site import Site

app = typer.Typer()


@app.command()
def resolve(
    folder: Folder,
    conflict: ConflictArgument,
    keep: Annotated[
        int | None, typer.Option("--keep", metavar="N", help="Keep this value, counted from 0.", show_default=False)
    ] = None,
    value: Annotated[
        str | None,
        typer.Option(
            "--value",
            metavar="VALUE",
            help='The value that holds, written as for `record set`; "" clears.',
            show_default=False,
        ),
    ] = None,
    author: Author = "",
    reason: Reason = "",
    passphrase_file: PassphraseFile = None,
    as_json: Json = False,
) -> None:
    """Decide between the values of a field, for all sites.

    Where two fields are at odds, such as dosage and status, VALUE is a JSON object of both.
    """
    if (keep is None) == (value is None):
        raise UsageError("say either --keep N, one of the values as `conflicts` lists them, or --value VALUE")
    arguments = {"id": conflict, "keep": keep, "value": value, "author": author, "reason": reason}
    told = perform("resolve", folder, arguments, passphrase_file=passphrase_file)
    if as_json:
        show.emit_json(told)
    else:
        show.say(f"Decided: {show.words(told['decided'])}")


@action("resolve")
async def resolve_here(site: Site, arguments: Arguments, report: Report) -> Any:
    """`{"id", "commit", "state", "decided"}`."""
    words: dict[str, Any] = {"author": arguments["author"], "reason": arguments["reason"]}
    if arguments["keep"] is not None:
        words["keep"] = arguments["keep"]
    else:
        words["value"] = as_value(await site.conflicts.get(arguments["id"]), arguments["value"])
    commit = await site.conflicts.resolve(arguments["id"], **words)
    found = await site.conflicts.get(arguments["id"])
    decided = None if found.resolved is None else found.resolved.decided
    return {
        "id": found.id,
        "commit": None if commit is None else commit_text(commit),
        "state": found.state,
        "decided": decided,
    }


def as_value(conflict: Conflict, text: str) -> Any:
    """What was written behind --value, as the field takes it. Raises UnknownKind or BadValue."""
    from crdtsync.cli.records import model
    from crdtsync.documents import parse_value

    if conflict.kind != "field" or text == "":
        return None  # the site says why not, or it clears
    if "/" not in conflict.field and "+" not in conflict.field:
        return parse_value(model(conflict.record_kinds[0]), conflict.field, text)
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        raise UsageError(f"the value of {conflict.field} is written as JSON") from None
