"""What a site knows of itself: status, digest, members; and checking or deriving it: verify, rebuild."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from crdtsync.cli import show
from crdtsync.cli.actions import Arguments, Report, action
from crdtsync.cli.backups import backed_up, is_backup, verified
from crdtsync.cli.copies import copied
from crdtsync.cli.options import Folder, Json, PassphraseFile
from crdtsync.cli.perform import KEY_FILE, perform
from crdtsync.cli.ranges import numbers_said
from crdtsync.errors import UsageError

if TYPE_CHECKING:
    from crdtsync.site import Site

app = typer.Typer()


@app.command()
def status(folder: Folder, passphrase_file: PassphraseFile = None, as_json: Json = False) -> None:
    """Show what this site holds, whom it is connected to, and what is missing where."""
    told = perform("status", folder, {}, passphrase_file=passphrase_file)
    if as_json:
        show.emit_json(told)
        return
    apart = {"records", "peers", "frontier", "files", "recovering", "suspended", "superseded"}
    apart |= {"proposals", "rederiving", "backup", "belongs", "numbers", "invoices_waiting"}
    said = (*copied(folder, told), *rederiving(told), *backed_up(folder, told), *numbers_said(told), *numbers(told))
    for sentence in said:
        show.say(sentence)
    if not told["belongs"]:
        show.say("The practice has closed or removed this site: what is here can be read, nothing is written or sent.")
    for sentence in fresh(told["peers"], time.time()) if told["belongs"] else ():
        show.say(sentence)
    if told["proposals"]:
        waiting = show.counted(len(told["proposals"]), "mass change")
        show.say(f"A second person must decide on {waiting} that the brake holds: crdtsync proposals {folder}")
    show.pairs({name: value for name, value in told.items() if name not in apart and value not in ([], {}, None)})
    show.say("")
    show.objects([{"kind": kind, "records": n} for kind, n in sorted(told["records"].items())], "No records yet.")
    show.say("")
    show.objects(told["peers"], "No other site is known here.")


def fresh(peers: Sequence[Mapping[str, Any]], now: float) -> Iterator[str]:
    """How fresh the data of each other site are, in local time; the date where that is not today."""
    today = time.localtime(now)[:3]
    for peer in peers:
        if peer["role"] != "site":
            continue
        away = "" if peer["connected"] else "; it is not connected"
        if peer["as_of"] is None:
            yield f"Nothing is known here of the data of {peer['site']}{away}."
            continue
        at = datetime.fromisoformat(peer["as_of"]).astimezone()
        when = at.strftime("%H:%M" if at.timetuple()[:3] == today else "%Y-%m-%d %H:%M")
        lacking = peer["missing_here"]
        missing = f"; {show.counted(lacking, 'commit')} of what it has are not here" if lacking else ""
        yield f"Data from {peer['site']} as of {when}{missing}{away}."


def rederiving(told: Mapping[str, Any]) -> Iterator[str]:
    """What `status` says in sentences of rows that are derived anew."""
    for each in told["rederiving"]:
        yield (
            f"This program has learnt fields of {each['kind']}: {each['done']} of "
            f"{show.counted(each['total'], 'record')} have them in their tables. All else goes on meanwhile; questions "
            "that ask for them wait."
        )


def numbers(told: Mapping[str, Any]) -> Iterator[str]:
    """What `status` says in sentences of numbers that cannot be given, and of invoices that wait for one."""
    if told["series_held"] and told["numbers"]["refused"]:
        yield f"Numbers of {', '.join(told['series_held'])}: {told['numbers']['refused']}"
    for each in told["invoices_waiting"]:
        yield f"Invoice {each['invoice']} waits for a number of {each['series']}: {each['why']}"


@action("status")
async def status_here(site: Site, arguments: Arguments, report: Report) -> Any:
    """As the library gives it."""
    return await site.status()


@app.command()
def digest(folder: Folder, passphrase_file: PassphraseFile = None, as_json: Json = False) -> None:
    """Show the digest of all records: it is equal at two sites exactly when they hold equal content."""
    told = perform("digest", folder, {}, passphrase_file=passphrase_file)
    if as_json:
        show.emit_json(told)
    else:
        show.say(f"{told['digest']}  {show.counted(told['records'], 'record')}")


@action("digest")
async def digest_here(site: Site, arguments: Arguments, report: Report) -> Any:
    """`{"digest", "records"}`."""
    return await site.digest()


@app.command()
def members(
    folder: Folder,
    held_by: Annotated[
        str | None,
        typer.Option(
            "--held-by", metavar="NAME", help="List the patients that this workstation ever held.", show_default=False
        ),
    ] = None,
    passphrase_file: PassphraseFile = None,
    as_json: Json = False,
) -> None:
    """List who belongs to the practice, and who did."""
    told = perform("members", folder, {"held_by": held_by}, passphrase_file=passphrase_file)
    if as_json:
        show.emit_json(told)
    else:
        show.objects(told, "Nobody." if held_by is None else "It held no patient.")


@action("members")
async def members_here(site: Site, arguments: Arguments, report: Report) -> Any:
    """One object per member; of the patients that one held, one per patient."""
    name = arguments.get("held_by")
    return site.members() if name is None else await site.held_by(name)


@app.command()
def verify(
    folder: Annotated[
        Path, typer.Argument(metavar="DIR", help="The folder of this site, or a backup.", show_default=False)
    ],
    sheet: Annotated[
        Path | None,
        typer.Option("--sheet", metavar="FILE", help="Open a backup by the recovery sheet.", show_default=False),
    ] = None,
    only_bytes: Annotated[
        bool,
        typer.Option("--only-bytes", metavar="", help="Of a backup compare the bytes alone: takes no passphrase."),
    ] = False,
    passphrase_file: PassphraseFile = None,
    as_json: Json = False,
) -> None:
    """Check every signature, chain and seal of the log, and that the records are what the log says.

    Of a backup, a file or a folder, it checks every byte, and what the backup holds. Exit 0 only when all is well.
    Nothing is changed; where it finds the records at fault, `rebuild` derives them anew.
    """
    if folder.is_file() or (folder.is_dir() and not (folder / KEY_FILE).is_file() and is_backup(folder)):
        verified(folder, passphrase_file, sheet, only_bytes, as_json)
        return
    if sheet is not None or only_bytes:
        raise UsageError(f"{folder} is no backup: --sheet and --only-bytes are for backups")
    told = perform("verify", folder, {}, passphrase_file=passphrase_file, words="verifying")
    if as_json:
        show.emit_json(told)
    elif told["ok"]:
        commits, records = show.counted(told["commits"], "commit"), show.counted(told["records"], "record")
        show.say(f"All is well: {commits} and {records} are as they were written.")
    if not told["ok"]:
        problems = told["problems"]
        show.complain(f"{show.counted(len(problems), 'problem')}, the first: {problems[0]}")
        raise typer.Exit(1)


@action("verify")
async def verify_here(site: Site, arguments: Arguments, report: Report) -> Any:
    """`{"ok", "commits", "records", "problems"}`."""
    return await site.verify(progress=report)


@app.command()
def rebuild(folder: Folder, passphrase_file: PassphraseFile = None, as_json: Json = False) -> None:
    """Derive all records, tables and indexes again from the log. The digest stays the same."""
    told = perform("rebuild", folder, {}, passphrase_file=passphrase_file, words="rebuilding")
    if as_json:
        show.emit_json(told)
    else:
        show.say(f"{show.counted(told['records'], 'record')} derived from the log; digest {told['digest']}")


@action("rebuild")
async def rebuild_here(site: Site, arguments: Arguments, report: Report) -> Any:
    """`{"digest", "records"}`."""
    return await site.rebuild(progress=report)
