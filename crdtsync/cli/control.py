"""How a verb reaches a site that is being served: JSON lines over a socket in its folder.

One connection carries one verb. The caller sends `{"verb", "arguments"}`; the site answers with `{"begun": true}`, so
that a caller who does not hear it knows that nothing was done, then any number of
`{"progress": [done, total]}` and `{"items": [...]}` (a long list comes in pieces, so that the site goes on in between)
and closes with `{"result": ...}` or `{"error": {"class", "message"}}`. A caller that goes away cancels its verb.

The socket is `control.sock` in the folder, or, where that path would be longer than a socket's name may be, lies in the
temporary folder, and the file `control.path` names it. Only the owner of the folder can reach it (the folder is 0700,
the socket 0600), so a verb needs no passphrase while the site is served. A killed process leaves a socket behind that
nobody answers; the next one replaces it, being the only one that holds the folder's lock.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import sys
import tempfile
import traceback
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import anyio
import anyio.abc
from anyio.streams.buffered import BufferedByteReceiveStream

from crdtsync import errors
from crdtsync.cli.actions import ACTIONS, Arguments, Report

if TYPE_CHECKING:
    from crdtsync.site import Site

SOCKET = "control.sock"
POINTER = "control.path"
socket_path_bytes_max = 100
"""Operating systems allow 104 (macOS) to 108 bytes (Linux)."""
line_bytes_max = 256 * 1024 * 1024
"""One line of the conversation; both ends belong to the same person, so this only stops a runaway."""
items_per_line = 1_000
"""Items of a long list that go into one line."""
callers_max = 64
"""Verbs answered at a time; more wait."""


class NobodyServes(Exception):
    """No process answers at the folder's socket."""


# --- the site's end --------------------------------------------------------------------------------------------------


@asynccontextmanager
async def answering(site: Site, folder: Path) -> AsyncIterator[None]:
    """Answer verbs for `site` as long as the block lasts. The caller holds the folder's lock, by having opened it."""
    path, scratch = place(folder)
    try:
        listener = await anyio.create_unix_listener(path, mode=0o600)
        slots = anyio.CapacityLimiter(callers_max)

        async def answer_one(stream: anyio.abc.SocketStream) -> None:
            with contextlib.suppress(Exception):  # a conversation that breaks ends itself and nothing else
                async with slots, stream:
                    await answer(site, stream)

        async with listener, anyio.create_task_group() as group:
            group.start_soon(listener.serve, answer_one)
            yield
            group.cancel_scope.cancel()
    finally:
        path.unlink(missing_ok=True)
        (folder / POINTER).unlink(missing_ok=True)
        if scratch is not None:
            shutil.rmtree(scratch, ignore_errors=True)


def place(folder: Path) -> tuple[Path, Path | None]:
    """Where to listen, with what a killed process left there removed; and the temporary folder, if it took one."""
    path = folder.resolve() / SOCKET
    path.unlink(missing_ok=True)
    pointer = folder / POINTER
    if pointer.exists():
        shutil.rmtree(Path(pointer.read_text(encoding="utf-8").strip()).parent, ignore_errors=True)
        pointer.unlink()
    if len(os.fsencode(path)) <= socket_path_bytes_max:
        return path, None
    scratch = Path(tempfile.mkdtemp(prefix="crdtsync-"))
    path = scratch / SOCKET
    pointer.write_text(f"{path}\n", encoding="utf-8")
    return path, scratch


async def answer(site: Site, stream: anyio.abc.SocketStream) -> None:
    """One conversation, from the question to the answer. A caller who goes away cancels its verb."""
    lines = BufferedByteReceiveStream(stream)
    try:
        question = json.loads(await lines.receive_until(b"\n", line_bytes_max))
        action = ACTIONS[question["verb"]]
        arguments = dict(question["arguments"])
    except (ValueError, KeyError, TypeError, RecursionError, anyio.DelimiterNotFound):
        await send(stream, failure(errors.UsageError("the serving process does not know this verb: restart it")))
        return
    async with anyio.create_task_group() as group:
        group.start_soon(cancel_when_gone, lines, group.cancel_scope)
        await send(stream, {"begun": True})
        await send_result(stream, await outcome(site, stream, action.work, arguments))
        group.cancel_scope.cancel()


async def outcome(site: Site, stream: anyio.abc.SocketStream, work: Any, arguments: Arguments) -> dict[str, Any]:
    """Run an action: `{"result"}` or `{"error"}`, with its progress sent on the way."""
    pending: list[tuple[int, int | None]] = []
    news = anyio.Event()

    def report(done: int, total: int | None = None) -> None:
        pending[:] = [(done, total)]
        news.set()

    async def tell() -> None:
        nonlocal news
        with contextlib.suppress(anyio.BrokenResourceError, anyio.ClosedResourceError):
            while True:
                await news.wait()
                news = anyio.Event()
                await send(stream, {"progress": pending[0]})

    async with anyio.create_task_group() as group:
        group.start_soon(tell)
        try:
            return {"result": await work(site, arguments, report)}
        except Exception as reason:  # whatever a verb meets, the site goes on
            return failure(reason)
        finally:
            group.cancel_scope.cancel()
    raise AssertionError("unreachable: the block above returns")


async def cancel_when_gone(lines: BufferedByteReceiveStream, scope: anyio.CancelScope) -> None:
    """The caller sends nothing after its question: whatever ends the stream is that it went away."""
    with contextlib.suppress(anyio.EndOfStream, anyio.BrokenResourceError, anyio.ClosedResourceError):
        while True:
            await lines.receive()
    scope.cancel()


async def send_result(stream: anyio.abc.SocketStream, closing: dict[str, Any]) -> None:
    result = closing.get("result")
    if isinstance(result, list):
        for start in range(0, len(result), items_per_line):
            await send(stream, {"items": result[start : start + items_per_line]})
        closing = {"result": []}
    await send(stream, closing)


async def send(stream: anyio.abc.ByteStream, message: dict[str, Any]) -> None:
    await stream.send(json.dumps(message, ensure_ascii=False).encode() + b"\n")


def failure(reason: Exception) -> dict[str, Any]:
    """An error as it crosses the socket. What was not raised on purpose loses its text, which may hold content."""
    if isinstance(reason, errors.CrdtSyncError):
        return {"error": {"class": type(reason).__name__, "message": str(reason)}}
    sys.stderr.write("".join(traceback.format_tb(reason.__traceback__)) + f"{type(reason).__name__}\n")
    message = f"an error in the program ({type(reason).__name__}): report what the serving process wrote to stderr"
    return {"error": {"class": "", "message": message}}


# --- the caller's end ------------------------------------------------------------------------------------------------


def socket_path(folder: Path) -> Path:
    """Where the folder's socket is, whether or not somebody answers there."""
    with contextlib.suppress(OSError):
        return Path((folder / POINTER).read_text(encoding="utf-8").strip())
    return folder.resolve() / SOCKET


async def ask(folder: Path, verb: str, arguments: Arguments, report: Report) -> Any:
    """Have the process that serves `folder` run a verb.

    Raises NobodyServes, before anything was done, or what the verb raised there.
    """
    async with await connect(folder) as stream:
        lines = BufferedByteReceiveStream(stream)
        items: list[Any] = []
        begun = False
        try:
            await send(stream, {"verb": verb, "arguments": arguments})
            while True:
                message = json.loads(await lines.receive_until(b"\n", line_bytes_max))
                if "begun" in message:
                    begun = True
                elif "progress" in message:
                    report(*message["progress"])
                elif "items" in message:
                    items += message["items"]
                elif "error" in message:
                    raise raised_there(message["error"])
                else:
                    return items or message["result"]
        except (anyio.IncompleteRead, anyio.EndOfStream, anyio.BrokenResourceError):
            if not begun:
                raise NobodyServes from None
            raise errors.EnvironmentFailure(
                f"the process that serves {folder} ended in the middle of this; look what was done, then call again"
            ) from None


async def connect(folder: Path) -> anyio.abc.ByteStream:
    """A connection to the serving process. Raises NobodyServes."""
    path = socket_path(folder)
    try:
        return await anyio.connect_unix(path)
    except (OSError, ValueError):
        raise NobodyServes from None


def raised_there(error: dict[str, str]) -> errors.CrdtSyncError:
    """The error that was raised at the site, as an object of the same class."""
    found = getattr(errors, error["class"], None) if error["class"] else None
    if isinstance(found, type) and issubclass(found, errors.CrdtSyncError):
        return found(error["message"])
    return errors.EnvironmentFailure(error["message"])
