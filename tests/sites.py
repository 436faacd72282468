"""Sites in this process, for tests: found, joined, linked over loopback, and brought to agree."""

from __future__ import annotations

import itertools
import types
from collections.abc import AsyncIterator, Callable, Coroutine, Generator
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import anyio

from crdtsync import Site
from crdtsync.documents import Record
from crdtsync.host import Host
from crdtsync.ids import CommitId, Head, LogId

PASSPHRASE = "correct horse"
patience_s = 30.0


def create(folder: Path, name: str = "Jena") -> AbstractAsyncContextManager[Site]:
    """A new practice with one site."""
    return Site.create(folder, practice="Praxis am Markt", name=name, passphrase=PASSPHRASE)


def opened(folder: Path) -> AbstractAsyncContextManager[Site]:
    """An existing site."""
    return Site.open(folder, passphrase=PASSPHRASE)


async def join(host: Site, folder: Path, name: str) -> None:
    """Make a further site in `folder`, closed again when this returns."""
    with anyio.fail_after(patience_s):
        async with host.serve("127.0.0.1:0", only_peers=True):
            code = await host.invite(name, trust_code=True)
            async with Site.join(folder, code, passphrase=PASSPHRASE):
                pass


@asynccontextmanager
async def practice(folder: Path, *names: str) -> AsyncIterator[list[Site]]:
    """Sites of one practice, open, none serving."""
    async with AsyncExitStack() as stack:
        sites = [await stack.enter_async_context(create(folder / names[0].lower(), names[0]))]
        for name in names[1:]:
            await join(sites[0], folder / name.lower(), name)
            sites.append(await stack.enter_async_context(opened(folder / name.lower())))
        yield sites


@asynccontextmanager
async def mesh(*sites: Site) -> AsyncIterator[None]:
    """Every site is linked to every other while the block runs."""
    async with AsyncExitStack() as stack:
        addresses: list[str] = []
        for site in sites:
            serving = await stack.enter_async_context(site.serve("127.0.0.1:0", peers=addresses, only_peers=True))
            addresses = [*addresses, serving.address]
        for site in sites:
            await linked(site, len(sites) - 1)
        yield


async def linked(site: Site, peers: int) -> None:
    """Wait until so many peers have told this site all that they have."""
    with anyio.fail_after(patience_s):
        while sum(peer.live for peer in site.driver.replica.peers.values()) < peers:
            await site.driver.heard.wait()


async def agree(*sites: Site) -> str:
    """Wait until all have what any of them has, what their duties have written meanwhile included; the digest that is
    the same everywhere."""
    with anyio.fail_after(patience_s):
        while True:
            best: dict[LogId, Head] = {}
            for site in sites:
                _raise_to(best, site)
            for site in sites:
                while not site.driver.replica.stored.covers(best.items()):
                    await site.driver.heard.wait()
            digests = {(await site.digest())["digest"] for site in sites}
            written = dict(best)
            for site in sites:
                _raise_to(written, site)
            if written == best:
                break
    assert len(digests) == 1, digests
    return str(digests.pop())


def _raise_to(best: dict[LogId, Head], site: Site) -> None:
    for log, head in site.driver.replica.stored.items():
        best[log] = max(best.get(log, head), head, key=lambda head: head.sequence)


async def add(site: Site, *records: Record, author: str = "dr.weber") -> CommitId:
    """Write new records in one transaction."""
    async with site.transaction(author=author) as tx:
        for record in records:
            tx.add(record)
    assert tx.commit is not None
    return tx.commit


async def change(site: Site, record: Record, /, **fields: Any) -> CommitId:
    """Assign fields of a record in a transaction of their own."""
    async with site.transaction(author=f"somebody at {site.name}") as tx:
        found = await tx.get(type(record), record.id)
        for name, value in fields.items():
            found.assign(name, value)
    assert tx.commit is not None
    return tx.commit


async def at_host(site: Site, work: Callable[[Host], Any]) -> Any:
    """Do something in the store's thread."""
    return await site.driver.thread.run(work)


async def cancelled_at(suspension: int, work: Coroutine[Any, Any, Any]) -> bool:
    """Run `work`, and cancel it at the so-many-th place where it waits. Whether it ended before it came there."""
    with anyio.CancelScope() as scope:
        await _counted(work, suspension, scope.cancel)
    return not scope.cancel_called


@types.coroutine
def _counted(work: Coroutine[Any, Any, Any], suspension: int, cancel: Callable[[], None]) -> Generator[Any, Any, Any]:
    """What `await work` does, counting."""
    error: BaseException | None = None
    for number in itertools.count(1):
        try:
            waits_for = work.send(None) if error is None else work.throw(error)
        except StopIteration as end:
            return end.value
        if number == suspension:
            cancel()
        error = None
        try:
            yield waits_for
        except BaseException as thrown:  # the cancellation, on its way into `work`
            error = thrown
