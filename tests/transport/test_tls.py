"""TLS between members: the suite of all transports, and everybody who must not get in, with the reason for each."""

from __future__ import annotations

import os
import socket
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import anyio
import anyio.lowlevel
import pytest
from anyio.abc import SocketStream
from anyio.streams.tls import TLSStream

from crdtsync import limits
from crdtsync.errors import EnvironmentFailure, NotAMember, Unreachable
from crdtsync.testing.transport_world import Inbox, Side, TransportWorld, expect, introduce, linked, serving, until
from crdtsync.testing.transports import CHECKS
from crdtsync.transport.address import parse_address
from crdtsync.transport.base import ByteStream, Listener
from crdtsync.transport.framing import FrameWriter
from crdtsync.transport.tls import TlsTransport
from crdtsync.transport.tls_context import ALPN
from crdtsync.transport.tls_listener import TlsListener
from tests.transport.certificates import Papers, papers, papers_of

pytestmark = pytest.mark.anyio


class TlsWorld(TransportWorld):
    def __init__(self) -> None:
        self._transports: dict[str, TlsTransport] = {}

    def transport(self, name: str) -> TlsTransport:
        if name not in self._transports:
            own = papers_of(name)
            self._transports[name] = TlsTransport(own.pem, own.key_pem)
        return self._transports[name]

    def certificate(self, name: str) -> bytes:
        return papers_of(name).der

    def free_address(self, name: str) -> str:
        return "127.0.0.1:0"


@pytest.mark.parametrize("anyio_backend", ["asyncio", "trio"])
@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
async def test_conformance(check: Callable[[TransportWorld], Awaitable[None]]) -> None:
    await check(TlsWorld())


# -- everybody who must not get in ---------------------------------------------------------------------------------


@dataclass
class House:
    """Ben listens; Ada and Cid are the members he knows."""

    world: TlsWorld
    port: Listener
    accepted: list[Side] = field(default_factory=list)

    @property
    def where(self) -> tuple[str, int]:
        return parse_address(self.port.address)

    async def reason(self) -> str:
        """Why the last caller was turned away; nobody got a link."""
        await until(lambda: bool(self.port.refusals()))
        assert not self.accepted
        return self.port.refusals()[-1].reason


@asynccontextmanager
async def house(**joining: Callable[[ByteStream], Awaitable[None]]) -> AsyncIterator[House]:
    world = TlsWorld()
    introduce(world, "ada", "ben", "cid")
    async with serving(world, "ben", **joining) as (port, accepted):
        yield House(world, port, accepted)


def context_of(tmp_path: Path, own: Papers | None, *, alpn: str = ALPN) -> ssl.SSLContext:
    """A client's context made without any of the product's care."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.set_alpn_protocols([alpn])
    if own is not None:
        file = tmp_path / "papers.pem"
        file.write_bytes(own.pem + own.key_pem)
        context.load_cert_chain(file)
    return context


async def call_with(house: House, context: ssl.SSLContext) -> None:
    """Connect as a stranger's program would, say something, and expect to hear nothing."""
    raw = await anyio.connect_tcp(*house.where)
    try:
        with anyio.fail_after(10):
            stream = await TLSStream.wrap(raw, server_side=False, ssl_context=context, standard_compatible=False)
            await stream.send(FrameWriter().next_frames(100) or b"\x00\x00\x00\x06\x01hello")
            heard = await stream.receive()
    except (anyio.EndOfStream, anyio.BrokenResourceError, ssl.SSLError, OSError):
        return
    finally:
        await raw.aclose()
    pytest.fail(f"a stranger heard {heard!r}")


async def call_raw(house: House, *pieces: bytes) -> bytes:
    """Connect without TLS, send `pieces`, and return all that is heard until the end."""
    heard = b""
    async with await anyio.connect_tcp(*house.where) as raw:
        with anyio.fail_after(10):
            try:
                for piece in pieces:
                    await raw.send(piece)
                while True:
                    heard += await raw.receive()
            except (anyio.EndOfStream, anyio.BrokenResourceError):
                return heard


async def test_an_unknown_certificate(tmp_path: Path) -> None:
    async with house() as ben:
        await call_with(ben, context_of(tmp_path, papers("eve")))
        assert await ben.reason() == "its certificate is not that of a member"


async def test_no_certificate(tmp_path: Path) -> None:
    async with house() as ben:
        await call_with(ben, context_of(tmp_path, None))
        assert await ben.reason() == "it shows no certificate"


async def test_an_impostor_with_a_members_subject(tmp_path: Path) -> None:
    async with house() as ben:
        await call_with(ben, context_of(tmp_path, papers("ada")))
        assert await ben.reason() == "its certificate is not that of a member"


async def test_a_certificate_that_a_member_issued(tmp_path: Path) -> None:
    async with house() as ben:
        await call_with(ben, context_of(tmp_path, papers("a friend of ada", issuer=papers_of("ada"))))
        assert await ben.reason() == "its certificate is not that of a member"


async def test_a_members_certificate_without_its_key(tmp_path: Path) -> None:
    stolen = Papers(papers_of("ada").certificate, papers("eve").key)
    with pytest.raises(ssl.SSLError, match="KEY_VALUES_MISMATCH"):
        context_of(tmp_path, stolen)


async def test_another_member_is_told_apart() -> None:
    """Cid answers where Ada was expected: he is a member, and the link says that it is him."""
    async with house() as ben:
        link = await ben.world.transport("cid").dial(ben.port.address)
        link.post(b"hello")
        await until(lambda: bool(ben.accepted))
        assert ben.accepted[0].link.peer_certificate == ben.world.certificate("cid")
        await link.aclose()


async def test_tls_1_2(tmp_path: Path) -> None:
    context = context_of(tmp_path, papers_of("ada"))
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    async with house() as ben:
        await call_with(ben, context)
        assert await ben.reason() == "it does not speak TLS 1.3"


async def test_another_protocol_inside_tls(tmp_path: Path) -> None:
    async with house() as ben:
        await call_with(ben, context_of(tmp_path, papers_of("ada"), alpn="h2"))
        assert await ben.reason() == f"the other side does not speak {ALPN}"


async def test_random_bytes() -> None:
    async with house() as ben:
        assert await call_raw(ben, b"\xff" + os.urandom(5_000)) == b""
        assert await ben.reason() == "it speaks another language"


async def test_random_bytes_that_begin_like_tls() -> None:
    async with house() as ben:
        await call_raw(ben, b"\x16\x03\x01" + b"\xff" * 5_000)
        assert (await ben.reason()).startswith("the encrypted connection failed")


async def test_http() -> None:
    async with house() as ben:
        assert await call_raw(ben, b"GET / HTTP/1.1\r\nHost: ben\r\n\r\n") == b""
        assert await ben.reason() == "it speaks another language"


async def test_a_member_at_the_joiners_entrance_gets_no_link(tmp_path: Path) -> None:
    async with house() as ben:
        assert await call_raw(ben, b"J", b"\x16\x03\x01") == b""
        assert await ben.reason() == "it wants to join, and nobody is expected"


async def test_somebody_who_leaves_in_the_middle_of_the_handshake() -> None:
    async with house() as ben:
        async with await anyio.connect_tcp(*ben.where) as raw:
            await raw.send(b"\x16\x03\x01\x02\x00")
        assert await ben.reason() in ("the connection ended within the handshake", "the connection broke")


async def test_a_silent_caller_is_dropped_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "handshake_seconds_max", 0.2)
    async with house() as ben:
        assert await call_raw(ben) == b""
        assert (await ben.reason()).startswith("it said nothing within")
        await call_raw(ben, b"\x16")
        await until(lambda: len(ben.port.refusals()) == 2)
        assert (await ben.reason()).startswith("it did not prove who it is within")


async def test_a_removed_member_is_told_why_and_is_let_in_again_when_it_is_a_member_again() -> None:
    async with house() as ben:
        ben.world.transport("ben").trust([ben.world.certificate("cid")])
        link = await ben.world.transport("ada").dial(ben.port.address)
        assert "does not know this replica as a member" in await link.run(Inbox().deliver)
        assert await ben.reason() == "its certificate is not that of a member"
        ben.world.transport("ben").trust([ben.world.certificate("ada")])
        link = await ben.world.transport("ada").dial(ben.port.address)
        await until(lambda: bool(ben.accepted))
        await link.aclose()


async def test_a_member_removed_while_it_shakes_hands_gets_no_link(monkeypatch: pytest.MonkeyPatch) -> None:
    """The old context lets it pass, and the list of members as of now does not."""
    async with house() as ben:
        transport = ben.world.transport("ben")
        old = transport.contexts
        transport.trust([ben.world.certificate("cid")])
        transport.contexts = old
        link = await ben.world.transport("ada").dial(ben.port.address)
        await link.run(Inbox().deliver)
        assert await ben.reason() == "its certificate is not that of a member"


async def test_a_listener_removed_while_we_shake_hands_gets_no_link() -> None:
    async with house() as ben:
        transport = ben.world.transport("ada")
        old = transport.contexts
        transport.trust([ben.world.certificate("cid")])
        transport.contexts = old
        error = await expect(NotAMember, transport.dial(ben.port.address))
        assert ben.port.address in str(error)


async def test_a_listener_that_shows_a_certificate_issued_by_a_member(tmp_path: Path) -> None:
    """The same from the other side: whoever dials compares the certificate itself, too."""
    world = TlsWorld()
    fake = papers("a friend of ben", issuer=papers_of("ben"))
    listener = TlsTransport(fake.pem, fake.key_pem)
    listener.trust([world.certificate("ada")])
    world.transport("ada").trust([world.certificate("ben")])
    port = await listener.listen("127.0.0.1:0")
    async with anyio.create_task_group() as group:
        group.start_soon(port.serve, lambda link: link.run(Inbox().deliver))
        error = await expect(NotAMember, world.transport("ada").dial(port.address))
        assert "not that of a member" in str(error)
        group.cancel_scope.cancel()


async def test_no_session_can_be_resumed(tmp_path: Path) -> None:
    """A ticket would let a removed member back in without its certificate being looked at."""
    async with house() as ben:
        raw = await anyio.connect_tcp(*ben.where)
        context = context_of(tmp_path, papers_of("ada"))
        stream = await TLSStream.wrap(raw, server_side=False, ssl_context=context, standard_compatible=False)
        await until(lambda: bool(ben.accepted))
        ben.accepted[0].link.post(b"hello")
        assert await stream.receive()
        tls = stream._ssl_object  # the session is not among the stream's public attributes
        assert tls.session is None or not tls.session.has_ticket
        await raw.aclose()


# -- the rest ------------------------------------------------------------------------------------------------------


async def hundreds_of_silent_callers(where: tuple[str, int], count: int) -> list[socket.socket]:
    callers = []
    for _ in range(count):
        caller = socket.socket()
        caller.setblocking(False)
        caller.connect_ex(where)
        callers.append(caller)
        await anyio.lowlevel.checkpoint()
    return callers


async def test_two_hundred_half_open_connections_disturb_nobody() -> None:
    world = TlsWorld()
    async with linked(world) as pair:
        port = pair.port
        assert isinstance(port, TlsListener)
        callers = await hundreds_of_silent_callers(parse_address(port.address), 200)
        messages = [b"%d" % index * 600 for index in range(2_000)]
        for message in messages:
            pair.dialler.link.post(message)
        assert await pair.listener.inbox.wait_for(len(messages)) == messages
        await until(lambda: port.door.taken > 0)
        assert port.door.taken <= limits.handshakes_at_once_max
        link = await world.transport("ada").dial(port.address)
        await until(lambda: len(pair.accepted) == 2)
        await link.aclose()
        assert {refusal.reason for refusal in port.refusals()} == {"it made room for another caller"}
        for caller in callers:
            caller.close()


async def test_a_frame_that_announces_four_gigabytes_ends_the_link() -> None:
    async with house() as ben:
        link = await ben.world.transport("ada").dial(ben.port.address)
        await link._stream.send(b"\xff\xff\xff\xff\x01bomb")  # type: ignore[attr-defined]  # past the framing
        await until(lambda: bool(ben.accepted))
        assert "4294967299 bytes where at most 4096" in await ben.accepted[0].over()
        await link.aclose()


async def test_trust_is_rebuilt_only_when_it_changes() -> None:
    transport = TlsWorld().transport("ada")
    transport.trust([papers_of("ben").der])
    before = transport.contexts
    transport.trust([papers_of("ben").der])
    assert transport.contexts is before


async def test_an_address_that_this_machine_does_not_have() -> None:
    error = await expect(EnvironmentFailure, TlsWorld().transport("ada").listen("192.0.2.1:7000"))
    assert "192.0.2.1:7000" in str(error)


async def test_a_listener_by_name_and_an_unknown_name() -> None:
    world = TlsWorld()
    port = await world.transport("ada").listen("localhost:0")
    assert parse_address(port.address).host == "localhost"
    await port.aclose()
    error = await expect(Unreachable, world.transport("ada").dial("no-such-host.invalid:7000"))
    assert "check address" in str(error)


async def test_somebody_who_answers_with_another_language() -> None:
    """Dialling a port where something else answers."""
    async with await anyio.create_tcp_listener(local_host="127.0.0.1") as other, anyio.create_task_group() as group:

        async def answer(raw: SocketStream) -> None:
            async with raw:
                await raw.send(b"220 mail ready\r\n")
                await raw.receive()

        group.start_soon(other.serve, answer)
        port = other.extra(anyio.abc.SocketAttribute.local_port)
        error = await expect(Unreachable, TlsWorld().transport("ada").dial(f"127.0.0.1:{port}"))
        assert "does not talk with us" in str(error)
        group.cancel_scope.cancel()


async def test_somebody_who_answers_with_silence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "handshake_seconds_max", 0.1)
    async with await anyio.create_tcp_listener(local_host="127.0.0.1") as other:
        port = other.extra(anyio.abc.SocketAttribute.local_port)
        error = await expect(Unreachable, TlsWorld().transport("ada").dial(f"127.0.0.1:{port}"))
        assert "not with a handshake in time" in str(error)
