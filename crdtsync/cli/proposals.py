"""What the brake holds: proposals, approve, reject; and how many changes it lets pass: brake."""

from __future__ import annotations

import getpass
from typing import TYPE_CHECKING, Annotated, Any

import typer

from crdtsync.cli import show
from crdtsync.cli.actions import Arguments, Report, action
from crdtsync.cli.options import Author, Folder, Json, PassphraseFile, Reason
from crdtsync.cli.perform import perform
from crdtsync.ids import commit_text

if TYPE_CHECKING:
    from crdtsync.site import Site

app = typer.Typer()
Proposal = Annotated[str, typer.Argument(metavar="PROPOSAL", help="The id of what the brake holds.")]
Confirmer = Annotated[
    str,
    typer.Option(
        "--author",
        metavar="WHO",
        help="Who confirms it: somebody else than who made the change. Without it, who is logged in on this machine.",
        show_default=False,
    ),
]


@app.command()
def proposals(
    folder: Folder,
    proposal: Annotated[
        str | None, typer.Argument(metavar="[PROPOSAL]", help="Show what this one would change.", show_default=False)
    ] = None,
    passphrase_file: PassphraseFile = None,
    as_json: Json = False,
) -> None:
    """List the mass changes that wait at this site for a second person, or show what one of them would change."""
    told = perform("proposals", folder, {"proposal": proposal}, passphrase_file=passphrase_file)
    if as_json:
        show.emit_json(told)
    elif proposal is None:
        show.objects([in_a_row(each) for each in told], "Nothing waits for a second person.")
    else:
        show.pairs({name: value for name, value in in_a_row(told).items() if value})
        show.say("")
        show.objects(told["changes"], "It changes nothing any more.")


def in_a_row(told: dict[str, Any]) -> dict[str, Any]:
    """A proposal as a table has room for it."""
    kinds = ", ".join(f"{count} {kind}" for kind, count in told["kinds"].items())
    return {**{name: told[name] for name in ("id", "author", "at", "reason", "why")}, "records": kinds}


@action("proposals")
async def proposals_here(site: Site, arguments: Arguments, report: Report) -> Any:
    """One object per proposal; one with `changes` where it was named."""
    if arguments["proposal"] is None:
        return await site.proposals()
    return await site.proposal(arguments["proposal"])


@app.command()
def approve(
    folder: Folder,
    proposal: Proposal,
    author: Confirmer = "",
    passphrase_file: PassphraseFile = None,
    as_json: Json = False,
) -> None:
    """Confirm what the brake holds, as a second person: it is written now.

    What was changed since it was made stays beside it, as a conflict. Stopped in the middle, call it again.
    """
    arguments = {"proposal": proposal, "author": author or logged_in()}
    told = perform("approve", folder, arguments, passphrase_file=passphrase_file, words="writing")
    if as_json:
        show.emit_json(told)
    else:
        commits = show.counted(len(told["commits"]), "commit")
        show.say(f"Written: {show.counted(told['records'], 'record')} in {commits}.")


def logged_in() -> str:
    """The name under which somebody is logged in on this machine; empty where the system tells none."""
    try:
        return getpass.getuser()
    except (OSError, KeyError, ImportError):
        return ""


@action("approve")
async def approve_here(site: Site, arguments: Arguments, report: Report) -> dict[str, Any]:
    """`{"id", "commits", "records"}`."""
    told = await site.approve(arguments["proposal"], author=arguments["author"], progress=report)
    return {**told, "commits": [commit_text(commit) for commit in told["commits"]]}


@app.command()
def reject(folder: Folder, proposal: Proposal, passphrase_file: PassphraseFile = None, as_json: Json = False) -> None:
    """Drop what the brake holds: nothing of it is written."""
    told = perform("reject", folder, {"proposal": proposal}, passphrase_file=passphrase_file)
    if as_json:
        show.emit_json(told)
    else:
        show.say(f"Dropped; nothing of its {show.counted(told['records'], 'record')} was changed.")


@action("reject")
async def reject_here(site: Site, arguments: Arguments, report: Report) -> dict[str, Any]:
    """The proposal that was dropped."""
    return await site.reject(arguments["proposal"])


@app.command()
def brake(
    folder: Folder,
    retractions: Annotated[
        int | None,
        typer.Option("--retractions", metavar="N", min=1, help="What one person may take back.", show_default=False),
    ] = None,
    seconds: Annotated[
        int | None, typer.Option("--seconds", metavar="S", min=1, help="Within so long.", show_default=False)
    ] = None,
    records: Annotated[
        int | None,
        typer.Option("--records", metavar="N", min=1, help="What one transaction may overwrite.", show_default=False),
    ] = None,
    author: Author = "",
    reason: Reason = "",
    passphrase_file: PassphraseFile = None,
    as_json: Json = False,
) -> None:
    """Show how many changes pass without a second person, or set it for the whole practice."""
    numbers = {"retractions": retractions, "seconds": seconds, "records": records}
    arguments = {**numbers, "author": author, "reason": reason}
    told = perform("brake", folder, arguments, passphrase_file=passphrase_file)
    if as_json:
        show.emit_json(told)
        return
    show.say(
        f"One person may take back {told['retractions']} things within {told['seconds']} seconds, and one transaction "
        f"may overwrite {told['records']} records. More waits for a second person."
    )


@action("brake")
async def brake_here(site: Site, arguments: Arguments, report: Report) -> dict[str, int]:
    """`{"retractions", "seconds", "records"}`."""
    return await site.brake(**arguments)
