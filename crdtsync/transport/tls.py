"""Members talk over mutual TLS 1.3; those who want to join over TLS with a pinned certificate.

The first byte of a connection decides: 0x16 begins TLS between members; "J" begins, behind it, TLS for joining, which
is let in only while somebody is expected. After every handshake the certificate itself is compared with the trust
set, because a member's certificate would also vouch for others that it signed.
"""

from __future__ import annotations

import errno
import hashlib
import weakref
from collections.abc import Iterable, Sequence

import anyio
from anyio.abc import SocketAttribute, SocketListener, SocketStream

from crdtsync import limits
from crdtsync.errors import AddressInUse, BadValue, EnvironmentFailure, Malformed, NotAMember, Unreachable
from crdtsync.transport.address import Address, format_address, parse_address
from crdtsync.transport.base import ByteStream, Link, Listener, Transport
from crdtsync.transport.link import StreamLink
from crdtsync.transport.tcp import tune
from crdtsync.transport.tls_context import (
    ALPN,
    ALPN_JOIN,
    Credentials,
    join_client_context,
    join_server_context,
    member_contexts,
)
from crdtsync.transport.tls_listener import JOIN_PREFACE, TlsListener
from crdtsync.transport.tls_stream import TlsStream

PINNED_HASH_BYTES_MIN = 16
"""A code names at least so much of a certificate's hash."""


class TlsTransport(Transport):
    """Reaches members over TCP and TLS 1.3. `certificate` is this replica's own, in DER."""

    def __init__(self, certificate_pem: bytes, private_key_pem: bytes) -> None:
        """Nobody is trusted until `trust` is called. Raises BadValue when these are not PEM or do not belong
        together."""
        self._credentials = Credentials(certificate_pem, private_key_pem)
        self.certificate = self._credentials.certificate
        self.trusted: frozenset[bytes] = frozenset()
        self.contexts = member_contexts(self._credentials, ())
        self.join_context = join_server_context(self._credentials)
        self._links: weakref.WeakSet[StreamLink] = weakref.WeakSet()

    def trust(self, certificates: Iterable[bytes]) -> None:
        trusted = frozenset(certificates)
        if trusted == self.trusted:
            return
        self.contexts = member_contexts(self._credentials, sorted(trusted))
        self.trusted = trusted
        for link in list(self._links):
            if link.peer_certificate not in trusted:
                link.close("the other side is no longer a member of the practice")

    async def dial(self, address: str) -> Link:
        stream = await self._connected(address, join=False)
        try:
            return self.link(stream, dialled=True)
        except NotAMember as error:
            await stream.aclose()
            raise NotAMember(f"whoever answers at {address} is not a member that we know: {error}") from None

    async def dial_join(self, address: str, certificate_hash: bytes) -> ByteStream:
        if len(certificate_hash) < PINNED_HASH_BYTES_MIN:
            raise BadValue(f"a certificate is named by at least {PINNED_HASH_BYTES_MIN} bytes of its hash")
        stream = await self._connected(address, join=True)
        if not hashlib.sha256(stream.peer_certificate).digest().startswith(certificate_hash):
            await stream.aclose()
            raise NotAMember(f"whoever answers at {address} is not the one who gave the code: check address and code")
        return stream

    async def listen(self, address: str) -> Listener:
        parsed = parse_address(address, listening=True)
        ports = await _ports(parsed)
        number = int(ports[0].extra(SocketAttribute.local_port))
        return TlsListener(self, ports, format_address(parsed.host, number))

    def link(self, stream: TlsStream, *, dialled: bool) -> StreamLink:
        """A link over `stream`, whose handshake is done, if it leads to a member as of now. Raises NotAMember."""
        if stream.peer_certificate not in self.trusted:
            raise NotAMember("its certificate is not that of a member")
        link = StreamLink(stream, dialled=dialled)
        self._links.add(link)
        return link

    async def _connected(self, address: str, *, join: bool) -> TlsStream:
        """Connect and shake hands; whether the certificate is the right one is the caller's to see."""
        raw = await _connect(parse_address(address))
        context = join_client_context() if join else self.contexts.client
        stream = TlsStream(raw, address, context, server_side=False)
        done = False
        try:
            with anyio.fail_after(limits.handshake_seconds_max):
                if join:
                    await raw.send(JOIN_PREFACE)
                await stream.handshake(ALPN_JOIN if join else ALPN)
            if stream.peer_certificate == self.certificate:
                raise Unreachable("it is this replica itself")
            done = True
        except NotAMember as error:
            raise NotAMember(f"whoever answers at {address} is not a member that we know: {error}") from None
        except TimeoutError:
            raise Unreachable(f"{address} answers, but not with a handshake in time: try again") from None
        except (Malformed, Unreachable, OSError, anyio.BrokenResourceError) as error:
            why = str(error) if isinstance(error, Malformed | Unreachable) else "the connection broke"
            raise Unreachable(f"whoever answers at {address} does not talk with us: {why}") from None
        finally:
            if not done:
                with anyio.CancelScope(shield=True):
                    await raw.aclose()
        return stream


async def _connect(address: Address) -> SocketStream:
    """A TCP connection. Raises Unreachable."""
    try:
        with anyio.fail_after(limits.dial_timeout_s):
            raw = await anyio.connect_tcp(address.host, address.port)
    except TimeoutError:
        raise Unreachable(f"{address} does not answer: is the other side on, and its port open?") from None
    except (OSError, UnicodeError) as error:
        raise Unreachable(f"{address} cannot be reached ({_cause(error)}): check address and network") from None
    tune(raw)
    return raw


async def _ports(address: Address) -> Sequence[SocketListener]:
    """Open ports at all addresses that the host's name stands for. Raises AddressInUse or EnvironmentFailure."""
    try:
        opened = await anyio.create_tcp_listener(
            local_host=address.host, local_port=address.port, backlog=limits.accept_backlog_max
        )
    except (OSError, UnicodeError) as error:
        if getattr(error, "errno", None) == errno.EADDRINUSE:
            raise AddressInUse(f"{address} is in use by another program: choose another port") from None
        raise EnvironmentFailure(f"cannot listen on {address} ({_cause(error)}): choose another address") from None
    return [port for port in opened.listeners if isinstance(port, SocketListener)]


def _cause(error: BaseException) -> str:
    """The operating system's word for what went wrong; a connection to a name has one for each address."""
    cause = error.__cause__
    if isinstance(cause, BaseExceptionGroup):
        return ", ".join(sorted({_cause(each) for each in cause.exceptions}))
    if isinstance(cause, OSError):
        return _cause(cause)
    return getattr(error, "strerror", None) or type(error).__name__
