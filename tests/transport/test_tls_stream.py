"""TLS on a real connection: whole reads at once, honest ends, and no two sides that wait for each other."""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import anyio
import pytest
from anyio.abc import SocketAttribute, SocketStream

from crdtsync.errors import NotAMember, Unreachable
from crdtsync.transport.tls_context import ALPN, Contexts, Credentials, member_contexts
from crdtsync.transport.tls_stream import TlsStream
from tests.transport.certificates import papers_of

pytestmark = pytest.mark.anyio


def contexts(own: str, *trusted: str) -> Contexts:
    credentials = Credentials(papers_of(own).pem, papers_of(own).key_pem)
    return member_contexts(credentials, [papers_of(name).der for name in trusted])


@asynccontextmanager
async def sockets() -> AsyncIterator[tuple[SocketStream, SocketStream]]:
    """Two ends of one TCP connection."""
    async with await anyio.create_tcp_listener(local_host="127.0.0.1") as opened:
        port = opened.extra(SocketAttribute.local_port)
        near = await anyio.connect_tcp("127.0.0.1", port)
        far = await opened.listeners[0].accept()  # type: ignore[attr-defined]  # a port of TCP accepts
    async with near, far:
        yield near, far


@asynccontextmanager
async def streams() -> AsyncIterator[tuple[TlsStream, TlsStream]]:
    """Ada's and Ben's ends, after the handshake."""
    async with sockets() as (near, far):
        ada = TlsStream(near, "ben", contexts("ada", "ben").client, server_side=False)
        ben = TlsStream(far, "ada", contexts("ben", "ada").server, server_side=True)
        async with anyio.create_task_group() as group:
            group.start_soon(ada.handshake, ALPN)
            group.start_soon(ben.handshake, ALPN)
        yield ada, ben


async def receive_until(stream: TlsStream, size: int) -> bytes:
    data = b""
    with anyio.fail_after(10):
        while len(data) < size:
            data += await stream.receive() or b""
    return data


async def test_both_sides_hold_the_others_certificate() -> None:
    async with streams() as (ada, ben):
        assert ada.peer_certificate == papers_of("ben").der
        assert ben.peer_certificate == papers_of("ada").der
        assert ada.bytes_sent == ben.bytes_received > 0
        assert ben.bytes_sent == ada.bytes_received > 0


async def test_many_records_come_in_one_read() -> None:
    async with streams() as (ada, ben):
        for _ in range(20):
            ada._tls.write(b"x" * 100)
        await ada.send(b"")
        assert await receive_until(ben, 1) == b"x" * 2_000


async def test_a_record_in_pieces_is_no_end_and_no_data() -> None:
    """Bytes that do not complete a record are heard, so the line lives, but there is nothing to read yet."""
    async with streams() as (ada, ben):
        ada._tls.write(b"x" * 1_000)
        record = ada._outgoing.read()
        await ada._raw.send(record[:500])
        assert await ben.receive() == b""
        await ada._raw.send(record[500:])
        assert await ben.receive() == b"x" * 1_000


async def test_both_sides_may_send_more_than_the_line_holds_at_once() -> None:
    size = 20_000_000
    async with streams() as (ada, ben), anyio.create_task_group() as group:
        group.start_soon(ada.send, bytes(size))
        group.start_soon(ben.send, bytes(size))
        heard: dict[str, int] = {}

        async def hear(name: str, stream: TlsStream) -> None:
            heard[name] = len(await receive_until(stream, size))

        group.start_soon(hear, "ada", ada)
        group.start_soon(hear, "ben", ben)
    assert heard == {"ada": size, "ben": size}


async def test_an_announced_end_comes_after_all_data() -> None:
    async with streams() as (ada, ben):
        await ada.send(b"last words")
        await ada.aclose()
        assert await ben.receive() == b"last words"
        assert await ben.receive() is None
        assert await ben.receive() is None


async def test_a_changed_byte_breaks_the_connection() -> None:
    async with streams() as (ada, ben):
        ada._tls.write(b"x" * 100)
        record = bytearray(ada._outgoing.read())
        record[50] ^= 1
        await ada._raw.send(bytes(record))
        with pytest.raises(Exception, match="DECRYPTION_FAILED_OR_BAD_RECORD_MAC") as caught:
            await ben.receive()
        assert not isinstance(caught.value, ssl.SSLError)


async def test_sending_on_a_dead_connection_says_so() -> None:
    async with streams() as (ada, ben):
        await ben._raw.aclose()
        with pytest.raises(Unreachable, match="the connection broke"):
            for _ in range(1_000):
                await ada.send(bytes(100_000))


async def test_closing_twice_and_after_the_other_side() -> None:
    async with streams() as (ada, ben):
        await ada.aclose()
        await ben.aclose()
        await ada.aclose()


async def test_the_side_that_is_refused_hears_why() -> None:
    async with sockets() as (near, far):
        eve = TlsStream(near, "ben", contexts("eve", "ben").client, server_side=False)
        ben = TlsStream(far, "eve", contexts("ben", "ada").server, server_side=True)

        async def judge() -> None:
            with pytest.raises(NotAMember, match="not that of a member"):
                await ben.handshake(ALPN)
            await ben.aclose()

        async with anyio.create_task_group() as group:
            group.start_soon(judge)
            await eve.handshake(ALPN)
            await eve.send(b"let me in")
            with pytest.raises(NotAMember, match="does not know this replica"):
                await eve.receive()
            await eve.aclose()
