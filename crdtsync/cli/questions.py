"""Questions over all records: SQL and words."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from crdtsync.cli import show
from crdtsync.cli.actions import Arguments, Report, action
from crdtsync.cli.options import Folder, Json, PassphraseFile
from crdtsync.cli.perform import perform
from crdtsync.cli.records import as_object, in_a_row

if TYPE_CHECKING:
    from crdtsync.site import Site

app = typer.Typer()


@app.command()
def query(
    folder: Folder,
    sql: Annotated[str, typer.Argument(metavar="SQL", help="One SELECT, in quotes.")],
    passphrase_file: PassphraseFile = None,
    as_json: Json = False,
) -> None:
    """Ask in SQL.

    There is one table per kind of record, with a column per field. Nothing can be changed this way.

    For example: `crdtsync query jena "SELECT family_name, birth_date FROM patient ORDER BY 1 LIMIT 10"`
    """
    told = perform("query", folder, {"sql": sql}, passphrase_file=passphrase_file, words="asking")
    if as_json:
        show.emit_json(told)
    else:
        show.objects(told, "No rows.")


@action("query")
async def query_here(site: Site, arguments: Arguments, report: Report) -> list[dict[str, Any]]:
    """One object per row."""
    return [dict(row) for row in await site.sql(arguments["sql"])]


@app.command()
def search(
    folder: Folder,
    words: Annotated[list[str], typer.Argument(metavar="WORDS", help="Words, or beginnings of words.")],
    limit: Annotated[int, typer.Option("--limit", metavar="N", min=1, help="At most so many.")] = 50,
    passphrase_file: PassphraseFile = None,
    as_json: Json = False,
) -> None:
    """Find records by the words in them."""
    arguments = {"words": " ".join(words), "limit": limit}
    told = perform("search", folder, arguments, passphrase_file=passphrase_file)
    if as_json:
        show.emit_json(told)
        return
    rows = [{"id": each["id"], "kind": each["kind"], **in_a_row(each)} for each in told]
    show.objects(rows, "Nothing found.")


@action("search")
async def search_here(site: Site, arguments: Arguments, report: Report) -> list[dict[str, Any]]:
    """Objects as `record show` gives them."""
    return [as_object(record) for record in await site.search(arguments["words"], limit=arguments["limit"])]
