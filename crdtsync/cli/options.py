"""Arguments and options that several verbs share, so that they read alike everywhere."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

Folder = Annotated[Path, typer.Argument(metavar="DIR", help="The folder of this site.", show_default=False)]
NewFolder = Annotated[
    Path, typer.Argument(metavar="DIR", help="The folder to make for this site: new, or empty.", show_default=False)
]
Json = Annotated[bool, typer.Option("--json", metavar="", help="Answer with one JSON document on stdout.")]
PassphraseFile = Annotated[
    Path | None,
    typer.Option(
        "--passphrase-file",
        metavar="FILE",
        help="Take the passphrase from the first line of FILE instead of CRDTSYNC_PASSPHRASE or the terminal.",
        show_default=False,
    ),
]
Author = Annotated[
    str, typer.Option("--author", metavar="WHO", help="Who does this; kept with the change.", show_default=False)
]
Reason = Annotated[
    str, typer.Option("--reason", metavar="WHY", help="Why it is done; kept with the change.", show_default=False)
]
