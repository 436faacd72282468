"""Backups: make one, check them, restore a site from one, rescue a practice with its recovery sheet."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from crdtsync.cli import show
from crdtsync.cli.actions import Arguments, Report, action
from crdtsync.cli.options import Folder, Json, NewFolder, PassphraseFile
from crdtsync.cli.passphrase import passphrase
from crdtsync.cli.perform import perform
from crdtsync.errors import BadValue, EnvironmentFailure, UsageError

if TYPE_CHECKING:
    from crdtsync.site import Site

app = typer.Typer()
_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 24 * 3600}
_DURATION = re.compile(r"([1-9][0-9]{0,8})([smhd])")

Source = Annotated[Path, typer.Argument(metavar="FILE", help="The backup: a file or a folder.", show_default=False)]
At = Annotated[
    str | None,
    typer.Option("--at", metavar="TIME", help="The newest backup not after TIME (ISO 8601).", show_default=False),
]


@app.command()
def backup(
    folder: Folder,
    out: Annotated[
        str,
        typer.Option(
            "--out",
            metavar="FILE",
            help="Where: a file, or a folder that is there or whose name ends in a slash.",
            show_default=False,
        ),
    ],
    keep: Annotated[
        str | None,
        typer.Option(
            "--keep",
            metavar="RULE",
            help="Which earlier backups stay there, such as daily=7,weekly=5,monthly=12; by default all.",
            show_default=False,
        ),
    ] = None,
    passphrase_file: PassphraseFile = None,
    as_json: Json = False,
) -> None:
    """Back up this site, also while it is served. It is encrypted, and read back before it counts.

    Again to the same place, only what is new is written. It opens with this site's passphrase, or with the practice's
    recovery sheet.
    """
    kept_rule(keep)
    place = os.path.abspath(out) + ("/" if out.endswith(("/", os.sep)) else "")
    told = perform(
        "backup", folder, {"out": place, "keep": keep}, passphrase_file=passphrase_file, words="backing up"
    )
    if as_json:
        show.emit_json(told)
        return
    for problem in told["damaged"]:
        show.complain(f"an earlier backup there is damaged: {problem}")
    show.say(
        f"Backed up {show.counted(told['commits'], 'commit')} as of {told['taken']} to {told['path']}: "
        f"{in_words(told['written_bytes'])} written, read back and found right."
    )
    show.say(f"There: {show.counted(told['backups'], 'backup')}, {in_words(told['bytes'])} in all.")


def kept_rule(text: str | None) -> Any:
    """The retention rule that an option names. Raises BadValue."""
    if text is None:
        return None
    from crdtsync.backup.retention import Retention

    return Retention.parse(text)


@action("backup")
async def backup_here(site: Site, arguments: Arguments, report: Report) -> Any:
    """As the library gives it."""
    return await site.backup(arguments["out"], keep=kept_rule(arguments["keep"]), progress=report)


@app.command()
def restore(
    source: Source,
    folder: NewFolder,
    at: At = None,
    passphrase_file: PassphraseFile = None,
    as_json: Json = False,
) -> None:
    """Make a site's folder anew from its backup. The passphrase is the one that the site had.

    The site first fetches from the others what it wrote since, and writes nothing until then. Never serve the old
    folder beside it.
    """
    from crdtsync.backup.opening import parse_time
    from crdtsync.backup.restoring import restore as made

    at_ms = None if at is None else parse_time(at)
    refuse_taken(folder)
    secret = passphrase(passphrase_file)
    with show.progress("restoring") as report:
        told = made(source, folder, secret, at_ms=at_ms, progress=report)
    if as_json:
        show.emit_json(told)
        return
    show.say(
        f"{told['site']} of {told['practice']} is back as of {told['taken']}, with "
        f"{show.counted(told['commits'], 'commit')}. Next: crdtsync serve {folder}"
    )
    show.say(
        "It fetches from the other sites what it wrote since, and writes when it has that. Where none of them is left: "
        f"crdtsync recover {folder} --alone"
    )


def refuse_taken(folder: Path) -> None:
    """Before anybody is asked for a passphrase."""
    from crdtsync.folder import check_free

    check_free(folder)


def rescued(
    folder: Path,
    sheet: Path,
    source: Path | None,
    site: str | None,
    at: str | None,
    passphrase_file: Path | None,
    as_json: bool,
) -> None:
    """`recover --sheet`: a new site of a practice whose sites are all gone."""
    from crdtsync.backup.opening import parse_time
    from crdtsync.backup.rescue import rescue

    if source is None:
        raise UsageError("name the backup, too: crdtsync recover DIR --sheet FILE --backup FILE")
    at_ms = None if at is None else parse_time(at)
    refuse_taken(folder)
    text = sheet_in(sheet)
    secret = passphrase(passphrase_file, new=True)
    with show.progress("recovering") as report:
        told = rescue(source, folder, text, secret, name=site, at_ms=at_ms, progress=report)
    if as_json:
        show.emit_json(told)
        return
    show.say(
        f"{told['practice']} is back as of {told['taken']}, with {show.counted(told['commits'], 'commit')}. Its new "
        f"site is {told['site']}. Next: crdtsync serve {folder}"
    )
    if told["removed"]:
        show.say(
            f"No longer of the practice: {', '.join(told['removed'])}. Should one of their disks be found, do not "
            "serve it: what it had written later is for a person to look at. New sites join by `invite`."
        )


def sheet_in(file: Path) -> str:
    """The text of a recovery sheet; `-` reads stdin."""
    try:
        return sys.stdin.read() if str(file) == "-" else file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as reason:
        why = reason.strerror if isinstance(reason, OSError) else "it is not text"
        raise EnvironmentFailure(f"the recovery sheet {file} cannot be read: {why}") from None


def verified(path: Path, passphrase_file: Path | None, sheet: Path | None, only_bytes: bool, as_json: bool) -> None:
    """`verify` of a backup."""
    from crdtsync.backup.checking import check

    text = None if sheet is None else sheet_in(sheet)
    secret = None if only_bytes or text is not None else passphrase(passphrase_file)
    with show.progress("verifying") as report:
        told = check(path, passphrase=secret, sheet=text, progress=report)
    if as_json:
        show.emit_json(told)
    elif told["ok"]:
        show.say(f"All is well: {show.counted(len(told['backups']), 'backup')}, {in_words(told['bytes'])}.")
        show.objects(told["backups"], "")
    if not told["ok"]:
        problems = told["problems"]
        show.complain(f"{show.counted(len(problems), 'problem')}, the first: {problems[0]}")
        raise typer.Exit(1)


def is_backup(folder: Path) -> bool:
    """Whether a folder holds backups, not a site; named here, so that asking a serving process imports no databases."""
    return all((folder / name).is_dir() for name in ("index", "pieces"))


def seconds_in(text: str) -> float:
    """The seconds of a duration such as 30m, 24h or 7d. Raises BadValue."""
    found = _DURATION.fullmatch(text.strip())
    if found is None:
        raise BadValue(f"{text!r} is no duration; write it like 30m, 24h or 7d")
    return float(int(found[1]) * _SECONDS[found[2]])


def in_words(size: int) -> str:
    """Bytes for people."""
    for unit, factor in (("GB", 10**9), ("MB", 10**6), ("kB", 10**3)):
        if size >= factor:
            return f"{size / factor:.1f} {unit}"
    return show.counted(size, "byte")


def lasting(seconds: float) -> str:
    """A time span for people, in its largest whole unit."""
    for unit, factor in (("day", 86400), ("hour", 3600), ("minute", 60)):
        if seconds >= factor:
            return show.counted(int(seconds // factor), unit)
    return show.counted(int(seconds), "second")


def backed_up(folder: Path, told: Mapping[str, Any]) -> Iterator[str]:
    """What `status` says in sentences of backups: how old the last one is, and what is wrong with that."""
    known = told["backup"]
    if known["failure"] is not None:
        yield f"The last attempt at a backup failed: {known['failure']}"
    if known["last"] is None:
        yield (
            f"No backup of this site was ever verified, and sites that agree are no backup: crdtsync backup {folder} "
            "--out FILE"
        )
        return
    age = f"The last verified backup is {lasting(known['age_s'])} old, in {known['path']}"
    if known["overdue"]:
        yield f"{age}: that is more than {lasting(known['limit_s'])}. Make one now: crdtsync backup {folder} --out FILE"
    else:
        yield f"{age}."
