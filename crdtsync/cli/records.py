"""Single records: new, set, show, list."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from crdtsync.cli import show
from crdtsync.cli.actions import Arguments, Report, action
from crdtsync.cli.options import Author, Folder, Json, PassphraseFile, Reason
from crdtsync.cli.perform import perform
from crdtsync.errors import UnknownKind, UsageError
from crdtsync.ids import RecordId, commit_text

if TYPE_CHECKING:
    from crdtsync.documents import Record
    from crdtsync.site import Site

VALUES = """A VALUE is taken as written for text, dates, times, links and enumerations; anything else is JSON, as in
`dosage='{"morning": 1, "unit": "Stk"}'`. `FIELD=` clears the field. For a field with entries it is a JSON list, which
replaces what this site has seen of them."""

app = typer.Typer(no_args_is_help=True, rich_markup_mode="markdown", help="Write and read single records.")
Kind = Annotated[str, typer.Argument(metavar="KIND", help="The kind of record, such as patient or appointment.")]
RecordArgument = Annotated[str, typer.Argument(metavar="ID", help="The record's id: 26 letters and digits.")]
Fields = Annotated[list[str] | None, typer.Argument(metavar="FIELD=VALUE", help="Fields and their values.")]


@app.command(epilog=VALUES)
def new(
    folder: Folder,
    kind: Kind,
    fields: Fields = None,
    author: Author = "",
    reason: Reason = "",
    passphrase_file: PassphraseFile = None,
    as_json: Json = False,
) -> None:
    """Create a record and show its id."""
    arguments = {"kind": kind, "fields": split(fields or []), "author": author, "reason": reason}
    told = perform("record new", folder, arguments, passphrase_file=passphrase_file)
    if as_json:
        show.emit_json(told)
    else:
        show.say(told["id"])


@action("record new")
async def new_here(site: Site, arguments: Arguments, report: Report) -> dict[str, Any]:
    """`{"id", "commit"}`."""
    told = await write_many(site, {**arguments, "records": [arguments]}, report)
    return {"id": told["ids"][0], "commit": told["commit"]}


@action("record new many")
async def write_many(site: Site, arguments: Arguments, report: Report) -> dict[str, Any]:
    """`{"ids", "commit"}` of `records`, each `{"kind", "fields", "id"?}`, written in one transaction: all or none."""
    records = [make(each["kind"], each["fields"], each.get("id", "")) for each in arguments["records"]]
    async with site.transaction(author=arguments["author"], reason=arguments["reason"]) as tx:
        added = [tx.add(record) for record in records]
    return {"ids": [record.id for record in added], "commit": commit_name(tx.commit)}


def make(kind: str, fields: dict[str, str], chosen_id: str = "") -> Record:
    """A record of `kind` with its fields assigned, not yet added. Raises UnknownKind, UnknownField, BadValue."""
    record = model(kind)()
    if chosen_id:
        record.id = RecordId(chosen_id)
    assign(record, fields)
    return record


@app.command("set", epilog=VALUES)
def set_(
    folder: Folder,
    record: RecordArgument,
    fields: Fields = None,
    author: Author = "",
    reason: Reason = "",
    passphrase_file: PassphraseFile = None,
    as_json: Json = False,
) -> None:
    """Change fields of a record. Writing a field that is in conflict decides it."""
    arguments = {"id": record, "fields": split(fields or []), "author": author, "reason": reason}
    if not arguments["fields"]:
        raise UsageError("nothing to set: name at least one FIELD=VALUE")
    told = perform("record set", folder, arguments, passphrase_file=passphrase_file)
    if as_json:
        show.emit_json(told)
    else:
        show.say("Changed." if told["commit"] else "It had these values already.")


@action("record set")
async def set_here(site: Site, arguments: Arguments, report: Report) -> dict[str, Any]:
    """`{"id", "commit"}`; the commit is null when the record had these values already."""
    found = await site.record(arguments["id"])
    kind = model(found.kind)
    async with site.transaction(author=arguments["author"], reason=arguments["reason"]) as tx:
        record = await tx.get(kind, arguments["id"])
        assign(record, arguments["fields"])
    return {"id": arguments["id"], "commit": commit_name(tx.commit)}


@app.command("show")
def show_(
    folder: Folder,
    record: RecordArgument,
    at: Annotated[
        str | None,
        typer.Option(
            "--at",
            metavar="TIME",
            help="As it was known here at that time, such as 2026-11-23T08:30:00+01:00.",
            show_default=False,
        ),
    ] = None,
    passphrase_file: PassphraseFile = None,
    as_json: Json = False,
) -> None:
    """Show a record: what a reader sees first, and every value of a field in conflict."""
    arguments = {"id": record} if at is None else {"id": record, "at": at}
    told = perform("record show", folder, arguments, passphrase_file=passphrase_file)
    if as_json:
        show.emit_json(told)
        return
    show.say(f"{told['kind']} {told['id']}")
    if "at" in told:
        by = "as this site knew it" if told["by"] == "arrival" else "as it had been written"
        show.say(f"{by} at {told['at']}")
    if "damaged" in told:
        show.say(told["damaged"])
    show.pairs(told["fields"])
    for field, values in told["conflicts"].items():
        show.say(f"\nConflict in {field}:")
        show.pairs({str(number): show.words(value) for number, value in enumerate(values)})


@action("record show")
async def show_here(site: Site, arguments: Arguments, report: Report) -> dict[str, Any]:
    """`{"id", "kind", "fields", "conflicts"}`; of a time also `at`, and `by`: "arrival" or "written"."""
    if "at" not in arguments:
        return as_object(await site.record(arguments["id"]))
    moment = site.at(arguments["at"])
    found = as_object(await moment.record(arguments["id"]))
    return {**found, "at": arguments["at"], "by": await moment.rule()}


@app.command("list")
def list_(
    folder: Folder,
    kind: Kind,
    fields: Fields = None,
    limit: Annotated[
        int | None, typer.Option("--limit", metavar="N", min=1, help="At most so many.", show_default=False)
    ] = None,
    passphrase_file: PassphraseFile = None,
    as_json: Json = False,
) -> None:
    """List the records of a kind, all of them or those whose fields have the given values."""
    arguments = {"kind": kind, "fields": split(fields or []), "limit": limit}
    told = perform("record list", folder, arguments, passphrase_file=passphrase_file)
    if as_json:
        show.emit_json(told)
        return
    rows = [{"id": each["id"], **in_a_row(each), **in_conflict(each)} for each in told]
    show.objects(rows, f"No {kind} here, or none with these values.")


def in_a_row(record: dict[str, Any]) -> dict[str, Any]:
    """The fields that a table has room for: not what an import kept whole."""
    return {name: value for name, value in record["fields"].items() if name != "source"}


def in_conflict(record: dict[str, Any]) -> dict[str, str]:
    return {"in conflict": ", ".join(record["conflicts"])} if record["conflicts"] else {}


@action("record list")
async def list_here(site: Site, arguments: Arguments, report: Report) -> list[dict[str, Any]]:
    """Objects as `record show` gives them."""
    from crdtsync.documents import parse_value

    kind = model(arguments["kind"])
    equals = {field: parse_value(kind, field, text) for field, text in arguments["fields"].items()}
    return [as_object(record) for record in await site.find(kind, limit=arguments["limit"], **equals)]


# --- shared with other groups ----------------------------------------------------------------------------------------


def split(fields: Sequence[str]) -> dict[str, str]:
    """`FIELD=VALUE …` as a dict. Raises UsageError for a word without `=` and for a field named twice."""
    found: dict[str, str] = {}
    for place, word in enumerate(fields, 1):
        field, equals, value = word.partition("=")
        if not equals or not field:
            raise UsageError(f"fields are given as FIELD=VALUE (FIELD= clears one), and number {place} of yours is not")
        if field in found:
            raise UsageError(f"the field {field} is given twice")
        found[field] = value
    return found


def model(kind: str) -> type[Record]:
    """The model that declares `kind`. Raises UnknownKind, naming the known ones."""
    import crdtsync.practice  # noqa: F401  (declares the kinds)
    from crdtsync.documents import kinds

    known = kinds()
    if kind in known:
        return known[kind]
    close = difflib.get_close_matches(kind, known, n=1)
    hint = f"did you mean {close[0]}? Known are" if close else "known are"
    raise UnknownKind(f"there is no kind {kind!r}; {hint}: {', '.join(sorted(known))}")


def assign(record: Record, fields: dict[str, str]) -> None:
    """Assign values as written on the command line. Raises UnknownField or BadValue before anything is committed."""
    from crdtsync.documents import parse_value

    for field, text in fields.items():
        record.assign(field, parse_value(type(record), field, text))


def as_object(record: Any) -> dict[str, Any]:
    """A record as JSON for scripts."""
    from crdtsync.documents import conflicts_json, fields_json

    shown = {
        "id": record.id,
        "kind": record.kind,
        "fields": fields_json(record),
        "conflicts": conflicts_json(record),
    }
    return {**shown, "damaged": record.damaged} if record.damaged else shown


def commit_name(commit: Any) -> str | None:
    """A commit's name, or null where nothing was written."""
    return None if commit is None else commit_text(commit)
