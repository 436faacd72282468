"""A crowd at a site's door that never gets in: `python -m tests.scenarios.crowd HOST PORT CALLERS SEED`.

Each caller comes from an address of its own (127.x.y.z; one in fifty shares 127.0.0.1 with the honest) and comes again
a while after it was turned away. The first line on stdout says that there were as many connections as callers; they go
on after it. Ends when its stdin does.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import resource
import ssl
import sys
import tempfile
from collections.abc import Awaitable, Callable
from pathlib import Path

from crdtsync.transport.tls_context import ALPN
from tests.transport.certificates import papers_of

again_s = 2.0
"""A caller that was turned away waits so long, on average."""


class Crowd:
    """All callers. `all_seen` is set when there were as many connections as callers."""

    def __init__(self, host: str, port: int, callers: int, seed: int) -> None:
        self._where = (host, port)
        self._chance = random.Random(seed)
        self._callers = callers
        self._knocks = 0
        self.all_seen = asyncio.Event()
        self._hello, self._foreign = client_hello(), foreign_context()
        self._nameless = context()

    async def knock(self, number: int) -> None:
        """One caller, for ever."""
        chance = random.Random(self._chance.random())
        source = "127.0.0.1" if chance.random() < 0.02 else f"127.{chance.randint(1, 250)}.{number >> 8}.{number & 255}"
        manner = chance.choice([self._silent, self._drip, self._half, self._without, self._with_foreign])
        while True:
            with contextlib.suppress(OSError, ssl.SSLError, asyncio.IncompleteReadError, TimeoutError):
                await manner(source)
            await asyncio.sleep(chance.uniform(0.5, 1.5) * again_s)

    async def _connect(
        self, source: str, tls: ssl.SSLContext | None = None
    ) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        try:
            return await asyncio.open_connection(*self._where, local_addr=(source, 0), ssl=tls)
        finally:
            self._knocks += 1
            if self._knocks >= self._callers:
                self.all_seen.set()

    async def _silent(self, source: str) -> None:
        """Says nothing."""
        reader, writer = await self._connect(source)
        await _until_turned_away(reader)
        writer.close()

    async def _drip(self, source: str) -> None:
        """Sends one byte a second of a handshake."""
        reader, writer = await self._connect(source)
        for byte in self._hello:
            writer.write(bytes([byte]))
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(_until_turned_away(reader), 1.0)
                break
        writer.close()

    async def _half(self, source: str) -> None:
        """Begins the handshake in the best order and stops in the middle of it."""
        reader, writer = await self._connect(source)
        writer.write(self._hello)
        await _until_turned_away(reader)
        writer.close()

    async def _without(self, source: str) -> None:
        """Shows no certificate."""
        reader, writer = await self._connect(source, self._nameless)
        await _until_turned_away(reader)
        writer.close()

    async def _with_foreign(self, source: str) -> None:
        """Shows a certificate that no member has."""
        reader, writer = await self._connect(source, self._foreign)
        await _until_turned_away(reader)
        writer.close()


async def _until_turned_away(reader: asyncio.StreamReader) -> None:
    with contextlib.suppress(OSError, ssl.SSLError):
        while await reader.read(65_536):
            pass


def context() -> ssl.SSLContext:
    """A client that trusts anybody."""
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    made.check_hostname, made.verify_mode = False, ssl.CERT_NONE
    made.set_alpn_protocols([ALPN])
    return made


def foreign_context() -> ssl.SSLContext:
    """The same, with a certificate of somebody whom no practice knows."""
    made = context()
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "foreign.pem"
        file.write_bytes(papers_of("foreign").key_pem + papers_of("foreign").pem)
        made.load_cert_chain(file)
    return made


def client_hello() -> bytes:
    """The first bytes of a handshake."""
    outgoing = ssl.MemoryBIO()
    tls = context().wrap_bio(ssl.MemoryBIO(), outgoing)
    with contextlib.suppress(ssl.SSLWantReadError):
        tls.do_handshake()
    return outgoing.read()


async def gather(host: str, port: int, callers: int, seed: int, tell: Callable[[str], Awaitable[None]]) -> None:
    """All callers knock until stdin ends."""
    crowd = Crowd(host, port, callers, seed)
    tasks = [asyncio.ensure_future(crowd.knock(number)) for number in range(callers)]
    ended = asyncio.ensure_future(asyncio.to_thread(sys.stdin.read))
    await asyncio.wait([ended, asyncio.ensure_future(crowd.all_seen.wait())], return_when=asyncio.FIRST_COMPLETED)
    await tell("the crowd is there\n")
    await ended
    assert tasks, "kept until here"
    os._exit(0)  # a thousand callers in the middle of a handshake have nothing to end in order


async def _say(text: str) -> None:
    sys.stdout.write(text)
    sys.stdout.flush()


if __name__ == "__main__":
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 20_000), hard))
    asyncio.run(gather(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4]), _say))
