"""What the parts of a `SqliteStore` share: its health. A disk that failed once is never asked again."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Concatenate, ParamSpec, TypeVar

from crdtsync.errors import StorageFailure, UsageError
from crdtsync.storage.database import CALL_ERRORS, DISK_ERRORS, FileSpec, reason_of, remedy_for

P = ParamSpec("P")
R = TypeVar("R")


class StorePart:
    """State and manner of failing that all parts have. After a failure every call raises the same StorageFailure:
    a failed sync must not be tried again, because the kernel may then report pages as clean that are lost."""

    _failure = ""
    _closed = False

    def _check(self) -> None:
        if self._failure:
            raise StorageFailure(self._failure)
        if self._closed:
            raise UsageError("the store is closed; open it again")

    def _failed(self, error: Exception, file: FileSpec) -> StorageFailure:
        """Remember that the disk failed, and give the exception to raise."""
        self._failure = f"{file.name}: {reason_of(error)}; {remedy_for(error)}"
        return StorageFailure(self._failure)


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
