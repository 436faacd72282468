"""A site whose folder was copied or set back: say which copy goes on, and end the waiting for what is missing."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from crdtsync.cli import backups, show
from crdtsync.cli.actions import Arguments, Report, action
from crdtsync.cli.options import Folder, Json, PassphraseFile
from crdtsync.cli.perform import perform
from crdtsync.errors import UsageError

if TYPE_CHECKING:
    from crdtsync.site import Site

app = typer.Typer()


@app.command()
def succeed(
    folder: Folder,
    name: Annotated[str, typer.Option("--name", metavar="NAME", help="The site that has written from several copies.")],
    boot: Annotated[str, typer.Option("--boot", metavar="ID", help="The branch that goes on, as `status` names it.")],
    passphrase_file: PassphraseFile = None,
    as_json: Json = False,
) -> None:
    """Say which copy of a site goes on, after its folder was copied or set back.

    All that was written by any copy stays. The others refuse to write from now on: stop them, and join anew with them
    where they are wanted. This needs an admin site.
    """
    told = perform("succeed", folder, {"name": name, "boot": boot}, passphrase_file=passphrase_file)
    if as_json:
        show.emit_json(told)
        return
    show.say(f"{told['site']} goes on from boot {told['boot']}; closed: {', '.join(told['closed'])}.")


@action("succeed")
async def succeed_here(site: Site, arguments: Arguments, report: Report) -> Any:
    """`{"site", "boot", "closed"}`."""
    return await site.succeed(arguments["name"], arguments["boot"])


@app.command()
def recover(
    folder: Folder,
    alone: Annotated[
        bool,
        typer.Option("--alone", metavar="", help="Wait for nobody: write on from what is here."),
    ] = False,
    sheet: Annotated[
        Path | None,
        typer.Option(
            "--sheet", metavar="FILE", help="All sites are gone: the practice's recovery sheet.", show_default=False
        ),
    ] = None,
    backup: Annotated[
        Path | None,
        typer.Option("--backup", metavar="FILE", help="With --sheet: the backup that is left.", show_default=False),
    ] = None,
    site: Annotated[
        str | None,
        typer.Option(
            "--site", metavar="NAME", help="With --sheet: the new site's name, if not as before.", show_default=False
        ),
    ] = None,
    at: backups.At = None,
    passphrase_file: PassphraseFile = None,
    as_json: Json = False,
) -> None:
    """Wait until this site has back what it once wrote and others hold.

    Until then it writes nothing. Where nobody can send it, --alone ends the waiting: what turns up later stands beside
    what is written here, and nothing of it is lost.

    With --sheet and --backup it makes a new site in the new folder DIR, for a practice whose sites are all gone or
    whose passphrases nobody knows: the printed recovery sheet opens the backup of any of them. The passphrase is the
    new site's. All other sites stop belonging to the practice: where one of them still lives, let that one invite.
    """
    if sheet is not None:
        if alone:
            raise UsageError("--alone and --sheet are two different things: give one of them")
        backups.rescued(folder, sheet, backup, site, at, passphrase_file, as_json)
        return
    if backup is not None or site is not None or at is not None:
        raise UsageError("--backup, --site and --at go with --sheet; with a passphrase use `restore`")
    told = perform("recover", folder, {"alone": alone}, passphrase_file=passphrase_file, words="fetching")
    if as_json:
        show.emit_json(told)
        return
    show.say("This site writes.")


@action("recover")
async def recover_here(site: Site, arguments: Arguments, report: Report) -> Any:
    """`{"recovering"}`, which is false."""
    return await site.recover(alone=arguments["alone"])


def copied(folder: Path, told: Mapping[str, Any]) -> Iterator[str]:
    """What `status` says in sentences of copies and older folders; nothing where all is as it should be."""
    if told["recovering"]:
        yield (
            "Other sites hold newer commits of this site. They are fetched first, and nothing is written until then; "
            f"where nobody can send them, crdtsync recover {folder} --alone ends the waiting."
        )
    if told["superseded"]:
        yield (
            "Another copy of this site goes on, as an admin has signed: here records can be read, not written. Stop "
            "this copy, and join with it as a new site."
        )
    for each in told["suspended"]:
        boots = "; ".join(
            f"boot {boot['boot']} with {show.counted(boot['commits'], 'commit')}, the last {boot['last_stamp']}"
            for boot in each["boots"]
        )
        yield (
            f"{each['site']} has written from several copies of its folder: {boots}. All of it counts. Stop all but "
            f"one, and say which one goes on: crdtsync succeed {folder} --name {each['site']} --boot ID"
        )
