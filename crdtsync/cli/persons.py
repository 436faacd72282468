"""Patients that are one person: link, unlink, persons."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from crdtsync.cli import show
from crdtsync.cli.actions import Arguments, Report, action
from crdtsync.cli.options import Author, Folder, Json, PassphraseFile, Reason
from crdtsync.cli.perform import perform
from crdtsync.cli.records import Fields, commit_name, model, split

if TYPE_CHECKING:
    from crdtsync.persons import Linking, Person
    from crdtsync.site import Site

app = typer.Typer()
First = Annotated[str, typer.Argument(metavar="A", help="The id of a patient.")]
Second = Annotated[str, typer.Argument(metavar="B", help="The id of another patient.")]


@app.command()
def link(
    folder: Folder,
    first: First,
    second: Second,
    author: Author = "",
    reason: Reason = "",
    passphrase_file: PassphraseFile = None,
    as_json: Json = False,
) -> None:
    """Say that two patients are the same person.

    Nothing is moved or merged, and `unlink` takes it back. Questions by one of them find from then on what belongs to
    either.
    """
    arguments = {"patients": [first, second], "author": author, "reason": reason}
    told = perform("link", folder, arguments, passphrase_file=passphrase_file)
    if as_json:
        show.emit_json(told)
        return
    [person] = told["persons"]
    done = "Linked" if told["commit"] else "They were linked already"
    show.say(f"{done}: {len(person['patients'])} records are now of the person {person['person']}.")


@action("link")
async def link_here(site: Site, arguments: Arguments, report: Report) -> dict[str, Any]:
    """`{"persons": [{"person", "patients"}], "commit"}`; the commit is null when they were linked already."""
    linked = await site.link(*arguments["patients"], author=arguments["author"], reason=arguments["reason"])
    return as_told(linked)


@app.command()
def unlink(
    folder: Folder,
    first: First,
    second: Second,
    author: Author = "",
    reason: Reason = "",
    passphrase_file: PassphraseFile = None,
    as_json: Json = False,
) -> None:
    """Take back that two patients are the same person. Their records are as they were before."""
    arguments = {"patients": [first, second], "author": author, "reason": reason}
    told = perform("unlink", folder, arguments, passphrase_file=passphrase_file)
    if as_json:
        show.emit_json(told)
    elif len(told["persons"]) == 1:
        person = told["persons"][0]["person"]
        show.say(f"Unlinked; yet other links join them as well, so they are still the person {person}.")
    else:
        show.say("Unlinked: they are two persons again.")


@action("unlink")
async def unlink_here(site: Site, arguments: Arguments, report: Report) -> dict[str, Any]:
    """`{"persons": [{"person", "patients"} …], "commit"}`; one person where others link them as well."""
    parted = await site.unlink(*arguments["patients"], author=arguments["author"], reason=arguments["reason"])
    return as_told(parted)


@app.command()
def persons(
    folder: Folder,
    fields: Fields = None,
    linked: Annotated[bool, typer.Option("--linked", metavar="", help="Only those with several records.")] = False,
    limit: Annotated[
        int | None, typer.Option("--limit", metavar="N", min=1, help="At most so many.", show_default=False)
    ] = None,
    passphrase_file: PassphraseFile = None,
    as_json: Json = False,
) -> None:
    """List persons and their patient records: all, or those one of whose records has the given values."""
    arguments = {"fields": split(fields or []), "linked": linked, "limit": limit}
    told = perform("persons", folder, arguments, passphrase_file=passphrase_file)
    if as_json:
        show.emit_json(told)
        return
    rows = [{"person": each["person"], "patients": "\n".join(each["patients"])} for each in told]
    show.objects(rows, "No such person here.")


@action("persons")
async def persons_here(site: Site, arguments: Arguments, report: Report) -> list[dict[str, Any]]:
    """`[{"person", "patients"}]`."""
    from crdtsync.documents import parse_value

    patient = model("patient")
    equals = {field: parse_value(patient, field, text) for field, text in arguments["fields"].items()}
    found = await site.persons(linked=arguments["linked"], limit=arguments["limit"], **equals)
    return [as_object(person) for person in found]


def as_object(person: Person) -> dict[str, Any]:
    """A person as JSON for scripts."""
    return {"person": person.id, "patients": list(person.patients)}


def as_told(linking: Linking) -> dict[str, Any]:
    """What came of linking, as JSON for scripts."""
    return {"persons": [as_object(person) for person in linking.persons], "commit": commit_name(linking.commit)}
