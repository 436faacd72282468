"""A thread of its own for a store: one callable per batch goes in, its result comes back, nothing is cut in half.

`aiosqlite` carries the calls: its `Connection` is a thread with a queue, and takes whatever its connector makes as the
thing to own, so the whole store is handed to it instead of one database. What we use beyond its public face is in this
file alone and pinned by tests/storage/test_worker.py. A hop there and back takes 60 to 130 microseconds, so a hop
carries a batch, never a row. asyncio only.
"""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Awaitable, Callable
from types import TracebackType
from typing import Any, Generic, Protocol, Self, TypeVar, cast

import aiosqlite
import anyio

from crdtsync.errors import UsageError

NAME = "crdtsync-store"
"""How the thread is called in a debugger."""


class Closeable(Protocol):
    """What a StoreThread can own."""

    def close(self) -> None:
        """Give back what is held; called last, in the thread."""


T = TypeVar("T", bound=Closeable)
R = TypeVar("R")


class StoreThread(Generic[T]):
    """One thread that owns one object. Calls run in the order in which they were made, one at a time.

    `async with await StoreThread.open(factory) as thread: await thread.run(lambda store: …)`
    """

    def __init__(self, connection: aiosqlite.Connection, owned: Callable[[], T]) -> None:
        """For `open` only."""
        self._connection = connection
        self._execute = cast("Callable[[Callable[[], None]], Awaitable[None]]", connection._execute)
        self._owned = owned
        self._closing = False

    @classmethod
    async def open(cls, factory: Callable[[], T]) -> Self:
        """Start the thread and make the object in it. What `factory` raises is raised here, and the thread ends.

        When cancelled, the object is closed again before the cancellation goes on.
        """
        made: list[T] = []

        def connector() -> sqlite3.Connection:
            made.append(factory())
            return cast("sqlite3.Connection", made[0])  # aiosqlite calls nothing of it but close()

        connection = aiosqlite.Connection(connector, iter_chunk_size=64)
        connection._thread.name = NAME
        connection._thread.daemon = True  # a program that is torn down must not hang; the log survives any kill (L1)
        opening = asyncio.ensure_future(_connected(connection))
        try:
            await asyncio.shield(opening)
        except asyncio.CancelledError:
            with anyio.CancelScope(shield=True):
                await asyncio.wait([opening])
                if opening.cancelled() or opening.exception() is None:
                    await connection.close()
            raise
        return cls(connection, lambda: made[0])

    async def run(self, fn: Callable[[T], R]) -> R:
        """Run `fn` with the object, in its thread, and give what it returns or raises.

        Once called, `fn` runs to its end. When the caller is cancelled meanwhile, its result is dropped, and the
        cancellation goes on after it has ended: whoever comes next finds no half transaction.
        """
        if self._closing:
            raise UsageError("the store is closed; open the replica again")
        call = _Call(fn, self._owned)
        try:
            await self._execute(call)
        except asyncio.CancelledError:
            await self._drain()
            raise
        return call.outcome()

    async def _drain(self) -> None:
        """Wait until all that was called is done: calls run in their order, so an empty one at the end tells."""
        while True:
            try:
                with anyio.CancelScope(shield=True):
                    return await self._execute(_nothing)
            except asyncio.CancelledError:
                continue

    async def aclose(self) -> None:
        """Let all calls end, close the object, end the thread. Idempotent; not cut short by a cancellation."""
        if self._closing:
            return
        self._closing = True
        with anyio.CancelScope(shield=True):
            await self._connection.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()


class _Call(Generic[T, R]):
    """One call and what came of it. It keeps the exception to itself and shows nothing of its arguments: aiosqlite
    writes both into its debug log, and logs never carry content."""

    def __init__(self, fn: Callable[[T], R], owned: Callable[[], T]) -> None:
        self._fn = fn
        self._owned = owned
        self._result: Any = None
        self._error: BaseException | None = None

    def __call__(self) -> None:
        try:
            self._result = self._fn(self._owned())
        except BaseException as error:  # a panic of the CRDT library is a BaseException, and belongs to the caller
            self._error = error

    def outcome(self) -> R:
        if self._error is not None:
            try:
                raise self._error
            finally:
                self._error = None  # no cycle of frame and traceback
        return cast("R", self._result)

    def __repr__(self) -> str:
        return "<a call of the store>"


def _nothing() -> None:
    """The empty call."""


async def _connected(connection: aiosqlite.Connection) -> None:
    await connection
