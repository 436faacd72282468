"""Conflicts: list them, look at one, say what is to be said. Deciding is `resolve`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperGroup

from crdtsync.cli import show
from crdtsync.cli.actions import Arguments, Report, action
from crdtsync.cli.options import Author, Folder, Json, PassphraseFile, Reason
from crdtsync.cli.perform import perform

if TYPE_CHECKING:
    from crdtsync.conflicts import Conflict
    from crdtsync.site import Site

LISTED = ("id", "kind", "severity", "records", "field", "values", "detected_at")
"""What `conflicts --json` gives of each conflict."""


class ListsByDefault(TyperGroup):
    """`conflicts DIR` is `conflicts list DIR`; a folder that is called like a verb is named as ./show."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Put `list` in front of what begins with no verb."""
        if args and args[0] not in self.commands and args[0] != "--help":
            args = ["list", *args]
        return super().parse_args(ctx, args)


app = typer.Typer(
    cls=ListsByDefault,
    no_args_is_help=True,
    rich_markup_mode="markdown",
    help="Work with what only a person can decide. `conflicts DIR` lists it; `conflicts list --help` has filters.",
)
ConflictArgument = Annotated[str, typer.Argument(metavar="CONFLICT", help="The conflict's id, as listed.")]
Who = Annotated[str, typer.Option("--author", metavar="WHO", help="Who says so.", show_default=False)]


def _filter(name: str, metavar: str, help_: str) -> Any:
    return typer.Option(name, metavar=metavar, help=help_, show_default=False)


# --- list and show --------------------------------------------------------------------------------------------------


@app.command("list")
def list_(
    folder: Folder,
    kind: Annotated[str | None, _filter("--kind", "KIND", "Only this kind: field, double_booking, …")] = None,
    severity: Annotated[str | None, _filter("--severity", "LEVEL", "Only high, medium or low ones.")] = None,
    record: Annotated[str | None, _filter("--record", "ID", "Only those that this record takes part in.")] = None,
    assignee: Annotated[str | None, _filter("--assignee", "WHO", "Only those that WHO looks after.")] = None,
    state: Annotated[
        str | None, _filter("--state", "STATE", "Only open, acknowledged, dismissed or resolved ones.")
    ] = None,
    passphrase_file: PassphraseFile = None,
    as_json: Json = False,
) -> None:
    """List what people wrote without seeing each other and only a person can decide."""
    filters = {"kind": kind, "severity": severity, "record": record, "assignee": assignee, "state": state}
    told = perform("conflicts", folder, filters, passphrase_file=passphrase_file)
    if as_json:
        show.emit_json([{name: each[name] for name in LISTED} for each in told])
        return
    show.objects([{name: value for name, value in each.items() if name != "written"} for each in told], "No conflicts.")


@action("conflicts")
async def list_here(site: Site, arguments: Arguments, report: Report) -> Any:
    """One object per conflict."""
    return await site.conflicts(**arguments)


@app.command("show")
def show_(
    folder: Folder, conflict: ConflictArgument, passphrase_file: PassphraseFile = None, as_json: Json = False
) -> None:
    """Show a conflict: who wrote each value, where, when and why, and what was said about it since."""
    told = perform("conflicts show", folder, {"id": conflict}, passphrase_file=passphrase_file)
    if as_json:
        show.emit_json(told)
        return
    show.say(f"{told['kind']} {told['id']}, {told['severity']}, {told['state']}: {told['field']}")
    for number, value in enumerate(told["values"]):
        origin = ", ".join(word for word in (value["author"], value["site"], value["at"]) if word)
        show.say(f"{number}  {show.words(value['value'])}  ({value['field']} of {value['record']}; {origin})")
    for line in said(told):
        show.say(line)


def said(told: dict[str, Any]) -> Iterator[str]:
    """What people said of a conflict, a sentence each."""
    if told["assignee"]:
        yield f"Looked after by {told['assignee']}."
    for word, remarks in (("wrote", told["comments"]), ("acknowledged it", told["acknowledged"])):
        for remark in remarks:
            yield f"{remark['author']} {word} at {remark['at']}: {remark['text']}"
    for word in ("dismissed", "resolved"):
        if told[word]:
            yield f"{told[word]['author']} {word} it at {told[word]['at']}: {told[word]['text']}"


@action("conflicts show")
async def show_here(site: Site, arguments: Arguments, report: Report) -> Any:
    """A conflict with all that is known of it."""
    return as_object(await site.conflicts.get(arguments["id"]))


def as_object(conflict: Conflict) -> dict[str, Any]:
    """A conflict as JSON for scripts: times in ISO 8601."""

    def remark(each: Any) -> Any:
        return None if each is None else each.model_dump(mode="json")

    return {
        "id": conflict.id,
        "kind": conflict.kind,
        "severity": conflict.severity,
        "records": list(conflict.records),
        "record_kinds": list(conflict.record_kinds),
        "field": conflict.field,
        "values": [
            {
                "value": value.value,
                "record": value.record,
                "field": value.field,
                "commit": value.commit,
                "site": value.site,
                "author": value.author,
                "workstation": value.workstation,
                "reason": value.reason,
                "at": value.at.isoformat(timespec="milliseconds"),
                "written_at": value.written_at and value.written_at.isoformat(timespec="milliseconds"),
            }
            for value in conflict.values
        ],
        "detected_at": conflict.detected_at and conflict.detected_at.isoformat(timespec="milliseconds"),
        "state": conflict.state,
        "assignee": conflict.assignee,
        "comments": [remark(each) for each in conflict.comments],
        "acknowledged": [remark(each) for each in conflict.acknowledged],
        "dismissed": remark(conflict.dismissed),
        "resolved": remark(conflict.resolved),
    }


# --- what is said ---------------------------------------------------------------------------------------------------


def _told(told: Any, as_json: bool, sentence: str) -> None:
    if as_json:
        show.emit_json(told)
    else:
        show.say(sentence)


@app.command()
def assign(
    folder: Folder,
    conflict: ConflictArgument,
    assignee: Annotated[str, typer.Argument(metavar="WHO", help='Who looks after it; "" for nobody.')],
    author: Author = "",
    reason: Reason = "",
    passphrase_file: PassphraseFile = None,
    as_json: Json = False,
) -> None:
    """Say who looks after a conflict."""
    arguments = {"id": conflict, "assignee": assignee, "author": author, "reason": reason}
    told = perform("conflicts assign", folder, arguments, passphrase_file=passphrase_file)
    _told(told, as_json, f"{assignee} looks after it." if assignee else "Nobody looks after it.")


@action("conflicts assign")
async def assign_here(site: Site, arguments: Arguments, report: Report) -> Any:
    """`{"id", "state"}`, as all that follow."""
    words = {"author": arguments["author"], "reason": arguments["reason"]}
    await site.conflicts.assign(arguments["id"], arguments["assignee"] or None, **words)
    return await _state(site, arguments["id"])


@app.command()
def comment(
    folder: Folder,
    conflict: ConflictArgument,
    text: Annotated[str, typer.Argument(metavar="TEXT", help="The remark.")],
    author: Who = "",
    passphrase_file: PassphraseFile = None,
    as_json: Json = False,
) -> None:
    """Add a remark to a conflict."""
    arguments = {"id": conflict, "text": text, "author": author}
    _told(perform("conflicts comment", folder, arguments, passphrase_file=passphrase_file), as_json, "Noted.")


@action("conflicts comment")
async def comment_here(site: Site, arguments: Arguments, report: Report) -> Any:
    """Add a remark."""
    await site.conflicts.comment(arguments["id"], arguments["text"], author=arguments["author"])
    return await _state(site, arguments["id"])


@app.command()
def acknowledge(
    folder: Folder,
    conflict: ConflictArgument,
    author: Who = "",
    reason: Reason = "",
    passphrase_file: PassphraseFile = None,
    as_json: Json = False,
) -> None:
    """Answer for acting on the record although the conflict is open: it may be prescribed from then."""
    arguments = {"id": conflict, "author": author, "reason": reason}
    told = perform("conflicts acknowledge", folder, arguments, passphrase_file=passphrase_file)
    _told(told, as_json, "Acknowledged; it stays open until somebody decides it.")


@action("conflicts acknowledge")
async def acknowledge_here(site: Site, arguments: Arguments, report: Report) -> Any:
    """Note that somebody has seen it."""
    await site.conflicts.acknowledge(arguments["id"], author=arguments["author"], reason=arguments["reason"])
    return await _state(site, arguments["id"])


@app.command()
def dismiss(
    folder: Folder,
    conflict: ConflictArgument,
    author: Who = "",
    reason: Reason = "",
    passphrase_file: PassphraseFile = None,
    as_json: Json = False,
) -> None:
    """Say that a conflict between records is none, and why: it is not listed any more."""
    arguments = {"id": conflict, "author": author, "reason": reason}
    told = perform("conflicts dismiss", folder, arguments, passphrase_file=passphrase_file)
    _told(told, as_json, "Dismissed.")


@action("conflicts dismiss")
async def dismiss_here(site: Site, arguments: Arguments, report: Report) -> Any:
    """Note that it is none."""
    await site.conflicts.dismiss(arguments["id"], arguments["reason"], author=arguments["author"])
    return await _state(site, arguments["id"])


@app.command()
def reopen(
    folder: Folder,
    conflict: ConflictArgument,
    author: Author = "",
    reason: Reason = "",
    passphrase_file: PassphraseFile = None,
    as_json: Json = False,
) -> None:
    """Take up again what was dismissed; or bring back the values that somebody decided between."""
    arguments = {"id": conflict, "author": author, "reason": reason}
    told = perform("conflicts reopen", folder, arguments, passphrase_file=passphrase_file)
    _told(told, as_json, f"Open again: {told['id']}")


@action("conflicts reopen")
async def reopen_here(site: Site, arguments: Arguments, report: Report) -> Any:
    """`{"id", "state"}` of the conflict that is open now."""
    words = {"author": arguments["author"], "reason": arguments["reason"]}
    return await _state(site, await site.conflicts.reopen(arguments["id"], **words))


async def _state(site: Site, conflict: str) -> dict[str, str]:
    return {"id": conflict, "state": (await site.conflicts.get(conflict)).state}
