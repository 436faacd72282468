"""Patient numbers: range set, release, stop, list; number patient."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Annotated, Any

import typer

from crdtsync.cli import show
from crdtsync.cli.actions import Arguments, Report, action
from crdtsync.cli.options import Author, Folder, Json, PassphraseFile, Reason
from crdtsync.cli.perform import perform
from crdtsync.cli.records import commit_name

if TYPE_CHECKING:
    from crdtsync.site import Site

app = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode="markdown",
    help="Which site gives which patient numbers. Each gives its own, alone, so that no number is given twice.",
)
number_app = typer.Typer(
    no_args_is_help=True, rich_markup_mode="markdown", help="Give numbers to records that have none."
)
First = Annotated[int, typer.Option("--from", metavar="N", min=1, help="The first number of the range.")]
Last = Annotated[int, typer.Option("--to", metavar="M", min=1, help="The last number of the range.")]


@app.command("set")
def set_(
    folder: Folder,
    name: Annotated[str, typer.Option("--name", metavar="SITE", help="The site that gives these numbers.")],
    first: First,
    last: Last,
    spare: Annotated[
        bool, typer.Option("--spare", metavar="", help="Use it only when the site has no other number left.")
    ] = False,
    author: Author = "",
    reason: Reason = "",
    passphrase_file: PassphraseFile = None,
    as_json: Json = False,
) -> None:
    """Let a site give the patient numbers N to M from now on; patients who wait for a number get theirs.

    Takes an admin site. Refused where a range has one of these numbers already; a range is never changed afterwards,
    set another one beside it.
    """
    arguments = {"name": name, "first": first, "last": last, "spare": spare, "author": author, "reason": reason}
    told = perform("range set", folder, arguments, passphrase_file=passphrase_file)
    if as_json:
        show.emit_json(told)
    else:
        kind = "spare patient numbers" if told["spare"] else "patient numbers"
        show.say(f"{told['site']} gives the {kind} {told['from']} to {told['to']} (range {told['id']}).")


@action("range set")
async def set_here(site: Site, arguments: Arguments, report: Report) -> dict[str, Any]:
    """`{"id", "site", "from", "to", "spare", "commit"}`."""
    about = {each: arguments[each] for each in ("spare", "author", "reason")}
    told = await site.ranges.set(arguments["name"], arguments["first"], arguments["last"], **about)
    return {**told, "commit": commit_name(told["commit"])}


@app.command()
def release(
    folder: Folder,
    name: Annotated[str, typer.Option("--name", metavar="SITE", help="The site whose ranges are closed.")],
    to: Annotated[
        str | None,
        typer.Option(
            "--to", metavar="OTHER", help="Who goes on with them, where it has another name now.", show_default=False
        ),
    ] = None,
    above: Annotated[
        int | None,
        typer.Option(
            "--above",
            metavar="N",
            min=1,
            help="Give numbers above this one only: the last one seen on paper.",
            show_default=False,
        ),
    ] = None,
    author: Author = "",
    reason: Reason = "",
    passphrase_file: PassphraseFile = None,
    as_json: Json = False,
) -> None:
    """Say that the rest of a site's ranges may be given again, after it was restored, set back or made anew.

    Part of what it wrote was lost then, so numbers may have been given that nobody knows of: look at the newest
    patients of that site first, and name the last number with --above if one is not known here. Numbers go on above the
    highest one that is known, at the site that has this name now. Call it at an admin site, or at that site itself.
    """
    arguments = {"name": name, "to": to, "above": above, "author": author, "reason": reason}
    told = perform("range release", folder, arguments, passphrase_file=passphrase_file)
    if as_json:
        show.emit_json(told)
        return
    for each in told["ranges"]:
        show.say(f"{told['site']} goes on with {each['from']} to {each['to']}, above {each['above']}.")


@action("range release")
async def release_here(site: Site, arguments: Arguments, report: Report) -> dict[str, Any]:
    """`{"site", "replica", "ranges": [{"id", "from", "to", "above", …}], "commit"}`."""
    told = await site.ranges.release(arguments.pop("name"), **arguments)
    return {**told, "commit": commit_name(told["commit"])}


@app.command()
def stop(
    folder: Folder,
    record: Annotated[str, typer.Argument(metavar="RANGE", help="The id of the range, as `range list` shows it.")],
    author: Author = "",
    reason: Reason = "",
    passphrase_file: PassphraseFile = None,
    as_json: Json = False,
) -> None:
    """End a range for good: nobody gives another number of it, and nobody can set one over it. Takes an admin site."""
    arguments = {"record": record, "author": author, "reason": reason}
    told = perform("range stop", folder, arguments, passphrase_file=passphrase_file)
    if as_json:
        show.emit_json(told)
    else:
        show.say(f"No more numbers are given of {told['from']} to {told['to']} of {told['site']}.")


@action("range stop")
async def stop_here(site: Site, arguments: Arguments, report: Report) -> dict[str, Any]:
    """`{"id", "site", "from", "to", "spare", "state", "commit"}`."""
    told = await site.ranges.stop(arguments.pop("record"), **arguments)
    return {**told, "commit": commit_name(told["commit"])}


@app.command("list")
def list_(folder: Folder, passphrase_file: PassphraseFile = None, as_json: Json = False) -> None:
    """List all ranges of the practice: whose they are, how many numbers are used and left, and which give none."""
    told = perform("range list", folder, {}, passphrase_file=passphrase_file)
    if as_json:
        show.emit_json(told)
        return
    left_out = {"replica", "blocks"}
    rows = [{name: value for name, value in each.items() if name not in left_out} for each in told]
    show.objects(rows, "No range of patient numbers was set.")


@action("range list")
async def list_here(site: Site, arguments: Arguments, report: Report) -> list[dict[str, Any]]:
    """`[{"id", "site", "from", "to", "spare", "used", "left", "state", "replica", "blocks"}]`."""
    return await site.ranges.listed()


@number_app.command()
def patient(
    folder: Folder,
    record: Annotated[str, typer.Argument(metavar="ID", help="The id of the patient.")],
    author: Author = "",
    reason: Reason = "",
    passphrase_file: PassphraseFile = None,
    as_json: Json = False,
) -> None:
    """Give a number to a patient that has none, out of this site's ranges, and show it.

    Where none can be given now, it follows by itself as soon as there is one. A patient that has one keeps it.
    """
    arguments = {"record": record, "author": author, "reason": reason}
    told = perform("number patient", folder, arguments, passphrase_file=passphrase_file)
    if as_json:
        show.emit_json(told)
    elif told["number"] is None:
        show.say("No number can be given now; it follows by itself. `crdtsync status` says what is missing.")
    else:
        show.say(str(told["number"]))


@action("number patient")
async def patient_here(site: Site, arguments: Arguments, report: Report) -> dict[str, Any]:
    """`{"number"}`, or `{"number": null, "follows": true}`."""
    return await site.ranges.number(arguments.pop("record"), **arguments)


def numbers_said(told: Mapping[str, Any]) -> Iterator[str]:
    """What `status` says in sentences of patient numbers: nothing while all is well."""
    for warning in told["numbers"]["warnings"]:
        yield f"{warning[0].upper()}{warning[1:]}."
    following = told["numbers"].get("following", 0)
    if following:
        yield f"{show.counted(following, 'patient')} of this site will get a number as soon as there is one."
