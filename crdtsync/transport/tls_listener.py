"""The open port of a site: lets members in, those who want to join while somebody is expected, and nobody else.

What a stranger can take from us is bounded (L7): places by `door.Door`, time by `limits.handshake_seconds_max`, bytes
by the TLS library's own limits on handshakes.
"""

from __future__ import annotations

import math
import ssl
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import anyio
from anyio.abc import SocketAttribute, SocketListener, SocketStream, TaskGroup

from crdtsync import limits
from crdtsync.errors import Malformed, PeerError, Unreachable, UsageError
from crdtsync.transport.address import Address
from crdtsync.transport.base import Listener, OnJoin, OnLink, Refusal
from crdtsync.transport.door import Door, Place
from crdtsync.transport.link import StreamLink, attend, attend_join
from crdtsync.transport.tcp import tune
from crdtsync.transport.tls_context import ALPN, ALPN_JOIN, Contexts
from crdtsync.transport.tls_stream import TlsStream

JOIN_PREFACE = b"J"
"""The byte that stands before the TLS conversation of somebody who wants to join."""
TLS_HANDSHAKE = b"\x16"
"""The byte with which every TLS conversation begins."""
_FIRST_READ_BYTES = 16 * 1024


class Gate(Protocol):
    """What a listener asks of its transport, anew for each caller, since members change."""

    contexts: Contexts
    join_context: ssl.SSLContext

    def link(self, stream: TlsStream, *, dialled: bool) -> StreamLink:
        """A link to the member that `stream` leads to. Raises NotAMember."""


@dataclass(slots=True)
class _Visit:
    """One caller until it is let in or turned away."""

    raw: SocketStream
    address: Address
    place: Place
    scope: anyio.CancelScope
    joined: bool = False


class TlsListener(Listener):
    """Made by `TlsTransport.listen`."""

    def __init__(self, gate: Gate, ports: Sequence[SocketListener], address: str) -> None:
        self.address = address
        self.door = Door()
        self._gate = gate
        self._ports = ports
        self._refusals: deque[Refusal] = deque(maxlen=limits.refusals_kept_max)
        self._scope: anyio.CancelScope | None = None
        self._closed = False
        self._on_join: OnJoin | None = None
        self._joining: Callable[[], bool] | None = None

    def refusals(self) -> Sequence[Refusal]:
        return tuple(self._refusals)

    async def serve(
        self, on_link: OnLink, on_join: OnJoin | None = None, joining: Callable[[], bool] | None = None
    ) -> None:
        if self._scope is not None:
            raise UsageError("a listener serves once; listen again for another one")
        self._on_join, self._joining = on_join, joining
        try:
            async with anyio.create_task_group() as group:
                self._scope = group.cancel_scope
                if self._closed:
                    group.cancel_scope.cancel()
                for port in self._ports:
                    group.start_soon(self._accept, port, on_link, group)
        finally:
            with anyio.CancelScope(shield=True):
                await self.aclose()

    async def aclose(self) -> None:
        self._closed = True
        if self._scope is not None:
            self._scope.cancel()
        for port in self._ports:
            await port.aclose()

    async def _accept(self, port: SocketListener, on_link: OnLink, group: TaskGroup) -> None:
        """Accept until the port is closed. A machine that is short of something for a moment does not close it."""
        while True:
            try:
                raw = await port.accept()
            except anyio.ClosedResourceError:
                return
            except (OSError, anyio.BrokenResourceError):
                await anyio.sleep(limits.accept_pause_s)
            else:
                group.start_soon(self._attend, raw, on_link)

    async def _attend(self, raw: SocketStream, on_link: OnLink) -> None:
        link: StreamLink | None = None
        try:
            address = _address_of(raw)
            if address is not None:
                tune(raw)
                link = await self._let_in(raw, address)
        finally:
            if link is None:
                with anyio.CancelScope(shield=True):
                    await raw.aclose()
        if link is not None:
            await attend(link, on_link)

    async def _let_in(self, raw: SocketStream, address: Address) -> StreamLink | None:
        """The link to the member who called, or None when nobody is to be let in (any more)."""
        link: StreamLink | None = None
        now = anyio.current_time()
        with anyio.CancelScope(deadline=now + limits.handshake_seconds_max) as scope:
            place = self.door.enter(address.host, now, scope.cancel)
            if place is None:
                self._refuse(address, "too many others are knocking")
                return None
            visit = _Visit(raw, address, place, scope)
            try:
                link = await self._identify(visit)
            except (PeerError, Unreachable) as error:
                self._refuse(address, str(error))
            finally:
                self.door.leave(place, anyio.current_time(), failed=link is None and not visit.joined)
        if scope.cancelled_caught and place is not None:
            self._refuse(address, _why_dropped(place))
        return link

    async def _identify(self, visit: _Visit) -> StreamLink | None:
        """Find out who calls. None after a conversation about joining, which takes place in here."""
        try:
            first = await visit.raw.receive(_FIRST_READ_BYTES)
        except (OSError, anyio.EndOfStream, anyio.BrokenResourceError):
            raise Unreachable("it connected and went away without a word") from None
        visit.place.spoke = True
        if first[:1] == TLS_HANDSHAKE:
            stream = self._stream(visit, self._gate.contexts.server, first)
            await stream.handshake(ALPN)
            return self._gate.link(stream, dialled=False)
        if first[:1] == JOIN_PREFACE:
            await self._join(visit, first[1:])
            return None
        raise Malformed("it speaks another language")

    async def _join(self, visit: _Visit, first: bytes) -> None:
        """Hand somebody who wants to join to `on_join`; whoever does not prove itself keeps its place at the door."""
        if self._on_join is None or (self._joining is not None and not self._joining()):
            raise Malformed("it wants to join, and nobody is expected")
        stream = self._stream(visit, self._gate.join_context, first)
        await stream.handshake(ALPN_JOIN)

        def let_in() -> None:
            visit.joined = True
            visit.scope.deadline = math.inf
            self.door.leave(visit.place, anyio.current_time(), failed=False)

        stream.on_authenticated = let_in
        await attend_join(stream, self._on_join)
        if not visit.joined:
            raise Malformed("it wanted to join and did not prove that it knows a code")

    def _stream(self, visit: _Visit, context: ssl.SSLContext, first: bytes) -> TlsStream:
        return TlsStream(visit.raw, str(visit.address), context, server_side=True, received=first)

    def _refuse(self, address: Address, reason: str) -> None:
        self._refusals.append(Refusal(str(address), reason))


def _why_dropped(place: Place) -> str:
    if place.dropped:
        return "it made room for another caller"
    within = f"within {limits.handshake_seconds_max:.0f} seconds"
    return f"it did not prove who it is {within}" if place.spoke else f"it said nothing {within}"


def _address_of(raw: SocketStream) -> Address | None:
    """Where a caller is; None when it is gone already."""
    try:
        remote = raw.extra(SocketAttribute.remote_address)
    except (OSError, LookupError):
        return None
    return None if isinstance(remote, str) else Address(remote[0], remote[1])
