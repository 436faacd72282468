"""Who leaves: shut a member out, or take leave of one whose machine is gone."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any

import typer

from crdtsync.cli import show
from crdtsync.cli.actions import Arguments, Report, action
from crdtsync.cli.options import Folder, Json, PassphraseFile
from crdtsync.cli.perform import perform

if TYPE_CHECKING:
    from crdtsync.site import Site

app = typer.Typer()
Name = Annotated[str, typer.Option("--name", metavar="NAME", help="The member, by its name or its replica id.")]


@app.command()
def revoke(
    folder: Folder,
    name: Name,
    reason: Annotated[str, typer.Option("--reason", metavar="TEXT", help="Why; it is kept for ever.")],
    passphrase_file: PassphraseFile = None,
    as_json: Json = False,
) -> None:
    """Shut a member out: a stolen machine, a site that is not to be trusted any more.

    All others refuse it as soon as they hear, and what is written from then on it can never read. Of what it wrote
    counts what some other site has. `members --held-by NAME` lists which patients a workstation held. This needs an
    admin site.
    """
    told = perform("revoke", folder, {"name": name, "reason": reason}, passphrase_file=passphrase_file)
    if as_json:
        show.emit_json(told)
        return
    show.say(f"{told['name']} is shut out: {show.counted(told['commits'], 'commit')} of it count here.")
    if told["role"] == "workstation":
        show.say(f'Which patients it held: crdtsync members {folder} --held-by "{told["name"]}"')
    _last_admin(told)


@action("revoke")
async def revoke_here(site: Site, arguments: Arguments, report: Report) -> Any:
    """As the library gives it."""
    return await site.revoke(arguments["name"], arguments["reason"])


@app.command()
def close(folder: Folder, name: Name, passphrase_file: PassphraseFile = None, as_json: Json = False) -> None:
    """Take leave of a member whose machine is dead or given up, but honest.

    It gets no data any more. All that it had written by now counts: if its machine ever runs again and reaches a site,
    it hands that over. Where it may be in wrong hands, use `revoke`. This needs an admin site.
    """
    told = perform("close", folder, {"name": name}, passphrase_file=passphrase_file)
    if as_json:
        show.emit_json(told)
        return
    show.say(
        f"{told['name']} is closed: {show.counted(told['commits'], 'commit')} of it are here, and what it had written "
        "besides is taken if it ever comes back."
    )
    _last_admin(told)


@action("close")
async def close_here(site: Site, arguments: Arguments, report: Report) -> Any:
    """As the library gives it."""
    return await site.close_site(arguments["name"])


@app.command()
def late(
    folder: Folder,
    accept: Annotated[
        str | None,
        typer.Option("--accept", metavar="NAME", help="Let count what this member wrote late.", show_default=False),
    ] = None,
    passphrase_file: PassphraseFile = None,
    as_json: Json = False,
) -> None:
    """List what members wrote after they had left, and is set aside; or let it count.

    It stays with the machine that wrote it until a person accepts it, at an admin site that has seen it: then it counts
    at all sites.
    """
    told = perform("late", folder, {"accept": accept}, passphrase_file=passphrase_file)
    if as_json:
        show.emit_json(told)
    elif accept is None:
        show.objects(told, "Nothing is set aside.")
    else:
        show.say(f"{show.counted(told['commits'], 'commit')} of {told['name']} count from now on.")


@action("late")
async def late_here(site: Site, arguments: Arguments, report: Report) -> Any:
    """What `status` has as `late`; `{"name", "commits"}` of what was accepted."""
    name = arguments["accept"]
    return (await site.status())["late"] if name is None else await site.accept_late(name)


def _last_admin(told: Mapping[str, Any]) -> None:
    """Say so where only one machine is left that may let others in."""
    if len(told["admins"]) == 1:
        only = told["admins"][0]
        show.say(f"{only} is the only admin site now: without it, only the recovery sheet can let a new site in.")
