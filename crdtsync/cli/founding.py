"""Who belongs: found a practice, invite a site, confirm it, join."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import anyio
import typer

from crdtsync.cli import show
from crdtsync.cli.actions import Arguments, Report, action
from crdtsync.cli.options import Folder, Json, NewFolder, PassphraseFile
from crdtsync.cli.passphrase import passphrase
from crdtsync.cli.perform import perform
from crdtsync.errors import EnvironmentFailure, Unreachable, UsageError

if TYPE_CHECKING:
    from crdtsync.site import Site

app = typer.Typer()
digits_in_code = 6


@app.command()
def create(
    folder: NewFolder,
    practice: Annotated[str, typer.Option("--practice", metavar="NAME", help="What the practice is called.")],
    site: Annotated[str, typer.Option("--site", metavar="NAME", help="What this first site is called.")],
    recovery_sheet: Annotated[
        Path | None,
        typer.Option(
            "--recovery-sheet",
            metavar="FILE",
            help="Write the recovery sheet to FILE, which must be new, instead of showing it.",
            show_default=False,
        ),
    ] = None,
    passphrase_file: PassphraseFile = None,
    as_json: Json = False,
) -> None:
    """Found a practice with this as its first site.

    The recovery sheet is given once, here: print it, put it in a safe, delete the file. Whoever has it can read
    everything; without it and without any site, nobody can.
    """
    secret = passphrase(passphrase_file, new=True)
    with sheet_file(recovery_sheet) as write:
        told = anyio.run(found, folder, practice, site, secret)
        sheet = told.pop("recovery_sheet")
        if not write(sheet):
            told["recovery_sheet"] = sheet
    if as_json:
        show.emit_json(told)
        return
    if "recovery_sheet" in told:
        show.say(told["recovery_sheet"])
    else:
        show.say(f"The recovery sheet is in {recovery_sheet}: print it, put it in a safe, delete the file.")
    show.say(f"{practice} is founded, and {site} is its first site. Next: crdtsync serve {folder}")


async def found(folder: Path, practice: str, name: str, secret: str) -> dict[str, Any]:
    """Create the site, close it again, and tell what is to be known of it."""
    from crdtsync.site import Site

    async with Site.create(folder, practice=practice, name=name, passphrase=secret) as site:
        return {**introduction(site), "recovery_sheet": site.recovery_sheet}


def introduction(site: Site) -> dict[str, Any]:
    """Which site this is, for scripts."""
    return {"practice": site.practice, "practice_id": str(site.practice_id), "site": site.name, "replica": site.replica}


@contextmanager
def sheet_file(path: Path | None) -> Iterator[Any]:
    """A function that writes the sheet to `path` and says whether it did.

    The file is made before anything else, so that a sheet that cannot be written stops the founding; if the founding
    fails, it is removed again.
    """
    if path is None:
        yield lambda sheet: False
        return
    try:
        file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        raise UsageError(f"{path} exists already: name a new file for the recovery sheet") from None
    except OSError as reason:
        raise EnvironmentFailure(f"the recovery sheet cannot be written to {path}: {reason.strerror}") from None
    written = False

    def write(sheet: str) -> bool:
        nonlocal written
        try:
            os.write(file, f"{sheet}\n".encode())
            os.fsync(file)
        except OSError as reason:
            show.complain(f"the recovery sheet cannot be written to {path} ({reason.strerror}), so it is shown here")
            return False
        written = True
        return True

    try:
        yield write
    finally:
        os.close(file)
        if not written:
            path.unlink(missing_ok=True)


@app.command()
def invite(
    folder: Folder,
    name: Annotated[str, typer.Option("--name", metavar="NAME", help="What the new member will be called.")],
    role: Annotated[str, typer.Option("--role", metavar="ROLE", help="What it will be: site.")] = "site",
    no_admin: Annotated[
        bool,
        typer.Option("--no-admin", metavar="", help="It may not invite or remove others (sites may, unless said so)."),
    ] = False,
    trust_code: Annotated[
        bool,
        typer.Option(
            "--trust-code", metavar="", help="Whoever has the code may join: nobody compares digits. For scripts."
        ),
    ] = False,
    address: Annotated[
        str | None,
        typer.Option(
            "--address",
            metavar="HOST:PORT",
            help="Where the new site reaches this one, if not where this one listens or advertises.",
            show_default=False,
        ),
    ] = None,
    passphrase_file: PassphraseFile = None,
    as_json: Json = False,
) -> None:
    """Make a one-time code for a new site to join with.

    This site must be served when the new one joins. The code works once, for an hour, and holds a
    secret: send it by a way that you trust. Without --trust-code, compare the six digits that both sites show.
    """
    arguments = {
        "name": name, "role": role, "admin": not no_admin, "trust_code": trust_code, "address": address,
    }  # fmt: skip
    told = perform("invite", folder, arguments, passphrase_file=passphrase_file)
    if as_json:
        show.emit_json(told)
        return
    show.say(told["code"])
    show.say(f"\nAt the new site, within an hour: crdtsync join DIR --code {told['code']}")


@action("invite")
async def invite_here(site: Site, arguments: Arguments, report: Report) -> dict[str, Any]:
    """`{"code"}`."""
    wishes = {name: arguments[name] for name in ("role", "admin", "trust_code", "address")}
    return {"code": await site.invite(arguments["name"], **wishes)}


@app.command()
def confirm(
    folder: Folder,
    digits: Annotated[str, typer.Argument(metavar="DIGITS", help="The six digits that the joining site shows.")],
    passphrase_file: PassphraseFile = None,
    as_json: Json = False,
) -> None:
    """Let a joining site in, after comparing its six digits.

    Run this at the inviting site. Have the digits read to you by somebody at the joining site: type what you hear.
    """
    plain = "".join(digits.replace("-", " ").split())
    if len(plain) != digits_in_code or not (plain.isascii() and plain.isdigit()):
        raise UsageError("the joining site shows six digits: type all of them, such as 123456")
    told = perform("confirm", folder, {"digits": plain}, passphrase_file=passphrase_file)
    if as_json:
        show.emit_json(told)
        return
    show.say(f"{told['name']} belongs to the practice now.")


@action("confirm", only_serving=True)
async def confirm_here(site: Site, arguments: Arguments, report: Report) -> dict[str, Any]:
    """`{"name", "replica"}` of the new member."""
    return dict(await site.confirm(arguments["digits"]))


@app.command()
def join(
    folder: NewFolder,
    code: Annotated[str, typer.Option("--code", metavar="CODE", help="The inviting site's code; - reads stdin.")],
    address: Annotated[
        str | None,
        typer.Option(
            "--address",
            metavar="HOST:PORT",
            help="Where to reach the inviting site, if not as the code says.",
            show_default=False,
        ),
    ] = None,
    passphrase_file: PassphraseFile = None,
    as_json: Json = False,
) -> None:
    """Join a practice with a code from one of its sites.

    Unless the code was made with --trust-code this shows six digits (on stderr) and waits until they are confirmed at
    the inviting site. Records come with the first serve.
    """
    if code == "-":
        code = typer.get_text_stream("stdin").readline().strip()
    secret = passphrase(passphrase_file, new=True)
    told = anyio.run(enter, folder, code, secret, address)
    if as_json:
        show.emit_json(told)
        return
    show.say(f"{told['site']} belongs to {told['practice']} now. Next: crdtsync serve {folder}")


async def enter(folder: Path, code: str, secret: str, address: str | None) -> dict[str, Any]:
    """Join, close the site again, and tell which it is."""
    from crdtsync.site import Site

    def on_digits(digits: str) -> None:
        typer.echo(f"The digits are {digits}. At the inviting site: crdtsync confirm DIR {digits}", err=True)

    try:
        async with Site.join(folder, code, passphrase=secret, on_digits=on_digits, address=address) as site:
            return introduction(site)
    except Unreachable as reason:
        hint = (
            "see that the inviting site is being served; if it is, the code is used, expired or void: ask for a new one"
        )
        raise Unreachable(f"{reason} ({hint})") from None
