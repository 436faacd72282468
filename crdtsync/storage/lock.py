"""One writer per folder, by a lock of the operating system: a killed process leaves none behind."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Final

from crdtsync.errors import AlreadyOpen, StorageFailure

NAME: Final = "lock"
"""The locked file in the folder. It stays there; only the lock on it counts."""


class FolderLock:
    """Held from construction to `release`, or to the end of the process however it ends.

    `name` is the locked file: NAME is the right to write in the folder. Raises AlreadyOpen when somebody else holds it,
    this process included, and StorageFailure when the folder does not let itself be locked.
    """

    def __init__(self, folder: str | Path, name: str = NAME) -> None:
        path = Path(folder) / name
        try:
            self._handle: int | None = os.open(path, os.O_CREAT | os.O_RDWR, 0o600)
        except OSError as error:
            raise StorageFailure(
                f"the lock of this folder cannot be opened ({error.strerror}); check that the folder exists and may be "
                "written"
            ) from None
        try:
            _lock(self._handle)
        except OSError as error:
            os.close(self._handle)
            self._handle = None
            if isinstance(error, (BlockingIOError, PermissionError)):
                raise AlreadyOpen(
                    "another process works in this folder; use its command line while `serve` runs, or stop it first"
                ) from None
            raise StorageFailure(f"the folder cannot be locked ({error.strerror}); keep it on a local disk") from None

    @property
    def held(self) -> bool:
        """Whether it was not released yet."""
        return self._handle is not None

    def release(self) -> None:
        """Let others open the folder. Idempotent."""
        if self._handle is not None:
            os.close(self._handle)
            self._handle = None


if sys.platform == "win32":
    import msvcrt

    def _lock(handle: int) -> None:
        msvcrt.locking(handle, msvcrt.LK_NBLCK, 1)

else:
    import fcntl

    def _lock(handle: int) -> None:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
