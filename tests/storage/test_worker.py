"""StoreThread: one owner, one order, nothing cut in half; and what we rely on in aiosqlite."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path

import aiosqlite
import anyio
import pytest

from crdtsync.errors import AlreadyOpen, UsageError
from crdtsync.storage.sqlite import SqliteStore
from crdtsync.storage.worker import NAME, StoreThread
from crdtsync.testing.stores import SampleLog, write_log

pytestmark = pytest.mark.anyio


class Owned:
    """Notes what was done to it, and in which threads."""

    def __init__(self) -> None:
        self.done: list[str] = []
        self.threads = {threading.current_thread()}
        self.closed = threading.Event()

    def note(self, what: str) -> str:
        self.done.append(what)
        self.threads.add(threading.current_thread())
        return what

    def close(self) -> None:
        self.note("close")
        self.closed.set()


class Panic(BaseException):
    """Like the panics of native libraries."""


@pytest.fixture
async def thread() -> AsyncIterator[StoreThread[Owned]]:
    made = await StoreThread.open(Owned)
    yield made
    await made.aclose()


async def test_calls_run_in_one_thread_and_in_order() -> None:
    async with await StoreThread.open(Owned) as thread:
        owned = await thread.run(lambda owned: owned)
        async with anyio.create_task_group() as group:
            for n in range(20):
                group.start_soon(thread.run, lambda owned, n=n: owned.note(str(n)))
    assert owned.done == [*map(str, range(20)), "close"]
    assert len(owned.threads) == 1
    only = owned.threads.pop()
    assert only is not threading.current_thread() and only.name == NAME and only.daemon
    only.join(5)
    assert not only.is_alive()


async def test_errors_belong_to_their_caller(thread: StoreThread[Owned]) -> None:
    for error in (UsageError("no"), Panic("native")):

        def fail(owned: Owned, error: BaseException = error) -> None:
            raise error

        with pytest.raises(type(error)) as raised:
            await thread.run(fail)
        assert raised.value is error
    assert await thread.run(lambda owned: owned.note("after")) == "after"


async def test_a_factory_that_fails_ends_the_thread(tmp_path: Path) -> None:
    before = set(threading.enumerate())
    store = SqliteStore(tmp_path, bytes(32))
    with pytest.raises(AlreadyOpen):
        await StoreThread.open(lambda: SqliteStore(tmp_path, bytes(32)))
    store.close()
    for thread in set(threading.enumerate()) - before:
        thread.join(5)
        assert not thread.is_alive()


@pytest.mark.parametrize("native", [False, True], ids=["scope", "task"])
async def test_a_cancelled_call_completes_before_the_cancellation_goes_on(
    thread: StoreThread[Owned], native: bool
) -> None:
    owned = await thread.run(lambda owned: owned)
    began, go_on = threading.Event(), threading.Event()

    def work(owned: Owned) -> None:
        owned.note("first half")
        began.set()
        assert go_on.wait(5)
        owned.note("second half")

    seen: list[list[str]] = []

    async def call() -> None:
        try:
            await thread.run(work)
        finally:
            seen.append(list(owned.done))

    if native:
        task = asyncio.create_task(call())
        await asyncio.to_thread(began.wait, 5)
        task.cancel()
        await asyncio.sleep(0)
        task.cancel()
        await asyncio.sleep(0)
        assert not task.done()
        go_on.set()
        with pytest.raises(asyncio.CancelledError):
            await task
    else:
        async with anyio.create_task_group() as group:
            group.start_soon(call)
            await asyncio.to_thread(began.wait, 5)
            group.cancel_scope.cancel()
            go_on.set()
    assert seen == [["first half", "second half"]]
    assert await thread.run(lambda owned: owned.note("next")) == "next"


async def test_no_half_transaction_after_a_cancellation(tmp_path: Path) -> None:
    log = SampleLog("a")
    async with await StoreThread.open(lambda: SqliteStore(tmp_path, bytes(32))) as thread:
        for size in range(1, 20):
            task = asyncio.create_task(thread.run(partial(write_log, log=log, commits=size)))
            await asyncio.sleep(0)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            assert (await thread.run(lambda store: store.frontier()))[log.log] == log.head


async def test_cancelled_while_opening_closes_what_was_made() -> None:
    made: list[Owned] = []
    began, go_on = threading.Event(), threading.Event()

    def factory() -> Owned:
        began.set()
        assert go_on.wait(5)
        made.append(Owned())
        return made[0]

    task = asyncio.create_task(StoreThread.open(factory))
    await asyncio.to_thread(began.wait, 5)
    task.cancel()
    go_on.set()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert made[0].closed.is_set()
    assert len(made[0].threads) == 1


async def test_closing_waits_for_calls_and_refuses_new_ones() -> None:
    thread = await StoreThread.open(Owned)
    owned = await thread.run(lambda owned: owned)
    async with anyio.create_task_group() as group:
        group.start_soon(thread.run, lambda owned: owned.note("last"))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        group.start_soon(thread.aclose)
    assert owned.done == ["last", "close"]
    await thread.aclose()
    with pytest.raises(UsageError, match="closed"):
        await thread.run(lambda owned: None)


async def test_closing_is_not_cut_short() -> None:
    thread = await StoreThread.open(Owned)
    owned = await thread.run(lambda owned: owned)
    with anyio.CancelScope() as scope:
        scope.cancel()
        await thread.aclose()
    assert owned.closed.is_set()


async def test_logs_carry_nothing_of_calls(thread: StoreThread[Owned], caplog: pytest.LogCaptureFixture) -> None:
    def fail(owned: Owned, content: str = "Kanarienvogel") -> None:
        raise ValueError(content)

    with caplog.at_level(logging.DEBUG), pytest.raises(ValueError):
        await thread.run(fail)
    assert "a call of the store" in caplog.text, "aiosqlite logs calls at DEBUG, which is why they are wrapped"
    assert "Kanarienvogel" not in caplog.text and "fail" not in caplog.text


async def test_what_we_rely_on_in_aiosqlite() -> None:
    """The connector runs in the connection's own thread and may give any object with close(); `_execute` runs callables
    there in order and does not stop one whose caller is gone."""
    made = Owned()
    connection = aiosqlite.Connection(lambda: made, iter_chunk_size=64)  # type: ignore[arg-type,return-value]  # any owner
    assert isinstance(connection._thread, threading.Thread)
    assert not connection._thread.is_alive()
    await connection
    assert connection._thread.is_alive()
    gone = asyncio.create_task(connection._execute(made.note, "gone"))  # type: ignore[no-untyped-call]  # not annotated
    await asyncio.sleep(0)
    gone.cancel()
    assert await connection._execute(made.note, "next") == "next"  # type: ignore[no-untyped-call]  # not annotated
    await connection.close()
    assert made.done == ["gone", "next", "close"]
    connection._thread.join(5)
    assert not connection._thread.is_alive()
