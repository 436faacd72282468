"""Other programs' data: import."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from crdtsync.cli import show
from crdtsync.cli.actions import Arguments, Report, action
from crdtsync.cli.options import Author, Folder, Json, PassphraseFile
from crdtsync.cli.perform import perform
from crdtsync.errors import UsageError

if TYPE_CHECKING:
    from crdtsync.site import Site

app = typer.Typer()


@app.command("import")
def import_(
    folder: Folder,
    files: Annotated[list[Path], typer.Argument(metavar="FILE", help="FHIR R4 bundles: .json or .json.gz")],
    author: Author = "",
    passphrase_file: PassphraseFile = None,
    as_json: Json = False,
) -> None:
    """Import FHIR R4 transaction bundles.

    Importing a bundle again, or at two sites apart, gives each thing once. What has no place yet is counted by type.
    When one of the files cannot be read nothing is imported.
    """
    for file in files:
        if not file.is_file():
            raise UsageError(f"there is no file {file}: nothing was imported")
    arguments = {"files": [str(file.resolve()) for file in files], "author": author}
    told = perform("import", folder, arguments, passphrase_file=passphrase_file, words="importing")
    if as_json:
        show.emit_json(told)
        return
    left_out = told.get("left_out", {})
    show.pairs({name: n for name, n in told.items() if isinstance(n, int)})
    if left_out:
        show.say("\nLeft out, by type of resource:")
        show.pairs(dict(sorted(left_out.items())))


@action("import")
async def import_here(site: Site, arguments: Arguments, report: Report) -> Any:
    """`{"created", "unchanged", "left_out": {type: n}}`."""
    from crdtsync.interop.fhir import import_files

    files = [Path(file) for file in arguments["files"]]
    return await import_files(site, files, author=arguments["author"], progress=report)
