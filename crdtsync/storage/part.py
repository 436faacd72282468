"""What the parts of a `SqliteStore` share: its health. A disk that failed once is never asked again."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Concatenate, ParamSpec, TypeVar

from crdtsync.errors import StorageFailure, UsageError
from crdtsync.storage.database import CALL_ERRORS, DISK_ERRORS, FileSpec, advice_on, checkpoint, reason_of

P = ParamSpec("P")
R = TypeVar("R")


class StorePart:
    """State and manner of failing that all parts have. After a failure every call raises the same StorageFailure:
    a failed sync must not be tried again, because the kernel may then report pages as clean that are lost."""

    folder: Path
    _failure = ""
    _closed = False

    def _check(self) -> None:
        if self._failure:
            raise StorageFailure(self._failure)
        if self._closed:
            raise UsageError("the store is closed; open it again")

    def _failed(self, error: Exception, file: FileSpec) -> StorageFailure:
        """Remember that the disk failed, and give the exception to raise."""
        self._failure = f"{file.name}: {reason_of(error)}; {advice_on(error, file)}"
        return StorageFailure(self._failure)

    def _wal_bytes(self, file: FileSpec) -> int:
        """From which size on a write-ahead log is copied into its database."""
        return file.wal_bytes

    def _copy_when_due(self, file: FileSpec, db: sqlite3.Connection) -> None:
        """Called behind each transaction: looking at the size takes some microseconds. A checkpoint that fails is a
        failure of the disk like any other, although the transaction before it is whole and durable."""
        try:
            size = os.stat(f"{self.folder}{os.sep}{file.name}-wal").st_size
        except OSError:
            size = 0  # it is not there: nothing to copy
        if size >= self._wal_bytes(file):
            checkpoint(db)


S = TypeVar("S", bound=StorePart)
Method = Callable[Concatenate[S, P], R]


def guarded(file: FileSpec) -> Callable[[Method[S, P, R]], Method[S, P, R]]:
    """For methods that use `file`: they are refused after a failure, and a failure is remembered."""

    def decorate(method: Method[S, P, R]) -> Method[S, P, R]:
        @wraps(method)
        def call(self: S, /, *args: P.args, **kwargs: P.kwargs) -> R:
            if self._failure or self._closed:
                self._check()
            try:
                return method(self, *args, **kwargs)
            except CALL_ERRORS as error:
                raise UsageError(f"{file.name} cannot take this call: {reason_of(error)}") from None
            except DISK_ERRORS as error:
                raise self._failed(error, file) from None

        return call

    return decorate
