"""TLS over a TCP connection, made for many messages per turn of the event loop.

The TLS library works on memory here; this file moves the bytes. It is as fast as anyio's TLS stream. What that one does
not do: tell the other side why a handshake failed before it closes, count bytes on the wire while a long send is under
way (the link's watch lives on that), and keep a reader that has something to answer out of a writer's way.
"""

from __future__ import annotations

import contextlib
import ssl
from collections.abc import Callable

import anyio
from anyio.abc import SocketStream

from crdtsync import limits
from crdtsync.errors import Malformed, NotAMember, PeerError, Unreachable
from crdtsync.transport.base import ByteStream
from crdtsync.transport.tcp import limit_unsent

_RECORD_BYTES = 16 * 1024
_SEND_BYTES = 32 * 1024
_LINGER_BYTES_MAX = 64 * 1024
_LINE_ERRORS = (OSError, anyio.BrokenResourceError, anyio.ClosedResourceError)


class TlsStream(ByteStream):
    """One TLS connection. `handshake` comes first; then one task may receive while another sends."""

    def __init__(
        self,
        raw: SocketStream,
        address: str,
        context: ssl.SSLContext,
        *,
        server_side: bool,
        received: bytes = b"",
    ) -> None:
        """`received` is what was already read from `raw` of the TLS conversation."""
        self.address = address
        self.peer_certificate = b""
        self.bytes_received = len(received)
        self._raw = raw
        self._incoming = ssl.MemoryBIO()
        self._outgoing = ssl.MemoryBIO()
        self._incoming.write(received)
        self._tls = context.wrap_bio(self._incoming, self._outgoing, server_side=server_side)
        self._ended = False
        self._broken = False
        self.on_authenticated: Callable[[], None] | None = None
        """Called once by `authenticated`."""

    # -- handshake --------------------------------------------------------------------------------------------------

    async def handshake(self, alpn: str) -> None:
        """Prove and be shown identities, and agree on `alpn`; afterwards `peer_certificate` is set.

        The other side may still turn us away afterwards. Raises NotAMember or Malformed with the reason, after having
        told the other side; Unreachable when the connection broke or ended.
        """
        while True:
            try:
                self._tls.do_handshake()
            except ssl.SSLWantReadError:
                await self._flush()
                if not await self._fill():
                    raise Unreachable("the connection ended within the handshake") from None
            except ssl.SSLError as error:
                await self._tell_and_linger()
                raise _explained(error) from None
            else:
                await self._flush()
                break
        self.peer_certificate = self._tls.getpeercert(binary_form=True) or b""
        if self._tls.selected_alpn_protocol() != alpn:
            raise Malformed(f"the other side does not speak {alpn}")

    async def _tell_and_linger(self) -> None:
        """Send what the TLS library has to say about a failure, and give the other side time to hear it.

        Closing while unread bytes lie here would make the operating system destroy what was just sent.
        """
        with (
            anyio.move_on_after(limits.closing_seconds_max),
            contextlib.suppress(Unreachable, anyio.EndOfStream, *_LINE_ERRORS),
        ):
            await self._flush()
            await self._raw.send_eof()
            left = _LINGER_BYTES_MAX
            while left > 0:
                left -= len(await self._raw.receive(_RECORD_BYTES))

    # -- data -------------------------------------------------------------------------------------------------------

    async def receive(self) -> bytes | None:
        data = self._plain()
        if data:
            return data
        if self._ended or not await self._fill():
            return None
        data = self._plain()
        return None if self._ended and not data else data

    def _plain(self) -> bytes:
        """Everything that can be decrypted now."""
        read, incoming, tls = self._tls.read, self._incoming, self._tls
        records: list[bytes] = []
        try:
            while incoming.pending or tls.pending():
                record = read(_RECORD_BYTES)
                if not record:
                    self._ended = True
                    break
                records.append(record)
        except ssl.SSLWantReadError:
            pass
        except (ssl.SSLZeroReturnError, ssl.SSLEOFError):
            self._ended = True
        except ssl.SSLError as error:
            if not records:
                raise _explained(error) from None
            self._ended = True
        return records[0] if len(records) == 1 else b"".join(records)

    async def send(self, data: bytes) -> None:
        view = memoryview(data)
        while view:
            try:
                written = self._tls.write(view)
            except ssl.SSLError as error:
                raise _explained(error) from None
            view = view[written:]
        await self._flush()

    async def _fill(self) -> bool:
        """Read once from the line; False at its end."""
        try:
            data = await self._raw.receive(limits.read_bytes_max)
        except anyio.EndOfStream:
            self._ended = True
            return False
        except _LINE_ERRORS:
            raise Unreachable("the connection broke") from None
        self.bytes_received += len(data)
        self._incoming.write(data)
        return True

    async def _flush(self) -> None:
        """Send what the TLS library has ready.

        Only the task that sends comes here. What reading brings about (answers to a change of keys) goes out with the
        next message: a reader that waited for the line would, with its like at the other side, wait for ever.
        """
        while self._outgoing.pending:
            data = self._outgoing.read(_SEND_BYTES)
            self._broken = True
            try:
                await self._raw.send(data)
            except _LINE_ERRORS:
                raise Unreachable("the connection broke") from None
            self._broken = False
            self.bytes_sent += len(data)

    def pace(self, write_bytes: int) -> None:
        limit_unsent(self._raw, write_bytes)

    def authenticated(self) -> None:
        call, self.on_authenticated = self.on_authenticated, None
        if call is not None:
            call()

    # -- the end ----------------------------------------------------------------------------------------------------

    async def aclose(self) -> None:
        if not self._broken and self.peer_certificate:
            with anyio.move_on_after(limits.closing_seconds_max):
                await self._say_goodbye()
        await self._raw.aclose()

    async def _say_goodbye(self) -> None:
        """Announce the end, so that the other side can tell it from a broken line."""
        self._broken = True
        with contextlib.suppress(ssl.SSLError, ValueError):
            self._tls.unwrap()
        with contextlib.suppress(*_LINE_ERRORS):
            await self._raw.send(self._outgoing.read())


_NOT_KNOWN_THERE = ("UNKNOWN_CA", "CERTIFICATE", "DECRYPT_ERROR", "ACCESS_DENIED")
"""Alerts by which a TLS library says that it does not accept our certificate."""


def _explained(error: ssl.SSLError) -> PeerError:
    """What a failure of the TLS library means, in words for people."""
    reason = error.reason or type(error).__name__
    if isinstance(error, ssl.SSLCertVerificationError):
        return NotAMember("its certificate is not that of a member")
    if reason == "PEER_DID_NOT_RETURN_A_CERTIFICATE":
        return NotAMember("it shows no certificate")
    if "ALERT" in reason and any(word in reason for word in _NOT_KNOWN_THERE):
        return NotAMember("the other side does not know this replica as a member: it was removed, or is not known yet")
    if reason in ("UNSUPPORTED_PROTOCOL", "WRONG_SSL_VERSION", "TLSV1_ALERT_PROTOCOL_VERSION"):
        return Malformed("it does not speak TLS 1.3")
    return Malformed(f"the encrypted connection failed ({reason})")
