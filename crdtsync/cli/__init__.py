"""The command line, `crdtsync`, for people and scripts: one file per group of verbs (floor 5).

The promises to scripts: `--json` gives one JSON document on stdout; exit 0 done, 1 refused or failed with one line on
stderr that says what to do, 2 wrong usage. While `serve` runs on a folder, the other verbs reach it by a socket there.
"""

from __future__ import annotations

import sys

__all__ = ["main"]

EXTRA = {"rich", "typer"}


def main(*, supervised: bool = False) -> None:
    """Run the command line on `sys.argv` and exit. Without the extra `cli` it says how to install that.

    `serve` is carried out by another process, for which `supervised` is True; this one only looks after it, and does
    so without loading what it does not need.
    """
    from crdtsync.cli import supervisor

    if not supervised and supervisor.takes(sys.argv[1:]):
        sys.exit(supervisor.supervise(sys.argv[1:]))
    try:
        from crdtsync.cli.app import run
    except ModuleNotFoundError as missing:
        if (missing.name or "").split(".")[0] not in EXTRA:
            raise
        sys.exit(f"crdtsync: the command line needs {missing.name}: install it with  pip install 'crdtsync[cli]'")
    sys.exit(run(sys.argv[1:]))
