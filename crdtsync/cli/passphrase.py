"""Where the passphrase of a key file comes from: a file, the environment, or a person at a terminal."""

from __future__ import annotations

import getpass
import os
import sys
from pathlib import Path

from crdtsync.errors import EnvironmentFailure, UsageError

VARIABLE = "CRDTSYNC_PASSPHRASE"


def passphrase(file: Path | None, *, new: bool = False) -> str:
    """The passphrase: the first line of `file`, else CRDTSYNC_PASSPHRASE, else asked for (twice when it is `new`).

    Raises UsageError when there is none or it is empty, EnvironmentFailure when the file cannot be read.
    """
    if file is not None:
        found = from_file(file)
    elif VARIABLE in os.environ:
        found = os.environ[VARIABLE]
    elif sys.stdin.isatty():
        found = from_person(new)
    else:
        raise UsageError(
            f"no passphrase: set {VARIABLE}, name a --passphrase-file, or call this from a terminal to be asked"
        )
    if not found:
        raise UsageError("the passphrase is empty: choose one")
    return found


def from_file(file: Path) -> str:
    try:
        lines = file.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as reason:
        why = reason.strerror if isinstance(reason, OSError) else "it is not text"
        raise EnvironmentFailure(f"the passphrase file {file} cannot be read: {why}") from None
    return lines[0] if lines else ""


def from_person(new: bool) -> str:
    first = getpass.getpass("Passphrase of this site: ")
    if new and getpass.getpass("Once more: ") != first:
        raise UsageError("the two passphrases differ: nothing was done, call again")
    return first
