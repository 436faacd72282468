"""A network inside one process, for tests and simulations: the same contract as TLS, without sockets or keys.

`MemoryNetwork` is the cable. It can be cut between places (connections break, new ones are refused) or fall silent
(nothing arrives and nothing breaks, until it is healed or somebody's patience ends). Addresses are "name:port".
A certificate is whatever bytes the test gives; the network vouches for it.
"""

from __future__ import annotations

import hashlib
import weakref
from collections import deque
from collections.abc import Callable, Iterable, Sequence

import anyio
import anyio.lowlevel
from anyio.abc import TaskGroup

from crdtsync import limits
from crdtsync.errors import AddressInUse, BadValue, EnvironmentFailure, NotAMember, Unreachable, UsageError
from crdtsync.transport.address import format_address, parse_address
from crdtsync.transport.base import ByteStream, Link, Listener, OnJoin, OnLink, Refusal, Transport
from crdtsync.transport.link import StreamLink, attend, attend_join
from crdtsync.transport.memory_pipe import MemoryStream, stream_pair

FIRST_FREE_PORT = 49_152
PINNED_HASH_BYTES_MIN = 16


class MemoryNetwork:
    """The cable between all `MemoryTransport`s that were given it."""

    def __init__(self) -> None:
        self.listeners: dict[str, MemoryListener] = {}
        self._streams: weakref.WeakSet[MemoryStream] = weakref.WeakSet()
        self._cut: set[frozenset[str]] = set()
        self._silent: set[frozenset[str]] = set()
        self._next_port = FIRST_FREE_PORT

    def cut(self, one: str, other: str) -> None:
        """Break the connections between two places and refuse new ones until `heal`."""
        self._cut.add(frozenset((one, other)))
        for stream in self._between(one, other):
            stream.break_off()

    def silence(self, one: str, other: str) -> None:
        """Let nothing arrive between two places until `heal`; what is sent waits, and nobody is told."""
        self._silent.add(frozenset((one, other)))
        for stream in self._between(one, other):
            stream.hold(True)

    def heal(self) -> None:
        """Mend everything. Connections that were cut stay broken; what waited arrives."""
        self._cut.clear()
        self._silent.clear()
        for stream in list(self._streams):
            stream.hold(False)

    def partition(self, *groups: Iterable[str]) -> None:
        """Cut every place from all places of other groups."""
        sides = [list(group) for group in groups]
        for index, side in enumerate(sides):
            for other_side in sides[index + 1 :]:
                for one in side:
                    for other in other_side:
                        self.cut(one, other)

    def free_port(self) -> int:
        """A port that nobody has listened on."""
        self._next_port += 1
        return self._next_port - 1

    async def connect(self, caller: MemoryTransport, address: str, *, join: bool) -> MemoryStream:
        """A stream from `caller` to the listener at `address`, handed over there. Raises Unreachable or NotAMember."""
        place = parse_address(address).host
        pair = frozenset((caller.name, place))
        if pair in self._silent:
            await anyio.sleep(limits.dial_timeout_s)
            raise Unreachable(f"{address} does not answer: is the other side on, and its port open?")
        await anyio.lowlevel.checkpoint()
        listener = self.listeners.get(address)
        if listener is None or pair in self._cut:
            raise Unreachable(f"{address} cannot be reached: check address and network")
        if not join:
            caller.check(listener.certificate, address)
        near, far = stream_pair(caller.name, caller.certificate, address, listener.certificate, join=join)
        self._streams.update((near, far))
        listener.arrived(far)
        return near

    def _between(self, one: str, other: str) -> list[MemoryStream]:
        return [stream for stream in self._streams if stream.ends == frozenset((one, other))]


class MemoryTransport(Transport):
    """A place on a `MemoryNetwork`, with a certificate that the network vouches for."""

    def __init__(self, network: MemoryNetwork, name: str, certificate: bytes) -> None:
        self.name = name
        self.certificate = certificate
        self.trusted: frozenset[bytes] = frozenset()
        self._network = network
        self._links: weakref.WeakSet[StreamLink] = weakref.WeakSet()

    def trust(self, certificates: Iterable[bytes]) -> None:
        self.trusted = frozenset(certificates)
        for link in list(self._links):
            if link.peer_certificate not in self.trusted:
                link.close("the other side is no longer a member of the practice")

    async def dial(self, address: str) -> Link:
        return self.link(await self._network.connect(self, address, join=False), dialled=True)

    def check(self, certificate: bytes, address: str) -> None:
        """Whether whoever answers at `address` is one to talk with. Raises Unreachable or NotAMember."""
        if certificate == self.certificate:
            raise Unreachable(f"{address} is this replica itself")
        if certificate not in self.trusted:
            raise NotAMember(f"whoever answers at {address} is not a member that we know")

    async def dial_join(self, address: str, certificate_hash: bytes) -> ByteStream:
        if len(certificate_hash) < PINNED_HASH_BYTES_MIN:
            raise BadValue(f"a certificate is named by at least {PINNED_HASH_BYTES_MIN} bytes of its hash")
        stream = await self._network.connect(self, address, join=True)
        if not hashlib.sha256(stream.peer_certificate).digest().startswith(certificate_hash):
            await stream.aclose()
            raise NotAMember(f"whoever answers at {address} is not the one who gave the code: check address and code")
        return stream

    async def listen(self, address: str) -> Listener:
        host, port = parse_address(address, listening=True)
        if host != self.name:
            raise EnvironmentFailure(f"cannot listen on {address}: this place is called {self.name}")
        chosen = format_address(host, port or self._network.free_port())
        if chosen in self._network.listeners:
            raise AddressInUse(f"{chosen} is in use by another program: choose another port")
        listener = MemoryListener(self, self._network, chosen)
        self._network.listeners[chosen] = listener
        return listener

    def link(self, stream: MemoryStream, *, dialled: bool) -> StreamLink:
        """A link over `stream`, whose other end is trusted as of now."""
        link = StreamLink(stream, dialled=dialled)
        self._links.add(link)
        return link


class MemoryListener(Listener):
    """Made by `MemoryTransport.listen`."""

    def __init__(self, transport: MemoryTransport, network: MemoryNetwork, address: str) -> None:
        self.address = address
        self.certificate = transport.certificate
        self._transport = transport
        self._network = network
        self._callers: deque[MemoryStream] = deque()
        self._called = anyio.Event()
        self._refusals: deque[Refusal] = deque(maxlen=limits.refusals_kept_max)
        self._scope: anyio.CancelScope | None = None
        self._closed = False

    def arrived(self, stream: MemoryStream) -> None:
        """Somebody calls. A line of callers as long as that of an operating system waits; the rest is cut off."""
        if len(self._callers) >= limits.accept_backlog_max:
            stream.break_off()
            return
        self._callers.append(stream)
        self._called.set()

    def refusals(self) -> Sequence[Refusal]:
        return tuple(self._refusals)

    async def serve(
        self, on_link: OnLink, on_join: OnJoin | None = None, joining: Callable[[], bool] | None = None
    ) -> None:
        if self._scope is not None:
            raise UsageError("a listener serves once; listen again for another one")
        try:
            async with anyio.create_task_group() as group:
                self._scope = group.cancel_scope
                if self._closed:
                    group.cancel_scope.cancel()
                await self._accept(group, on_link, on_join, joining)
        finally:
            with anyio.CancelScope(shield=True):
                await self.aclose()

    async def aclose(self) -> None:
        self._closed = True
        if self._network.listeners.get(self.address) is self:
            del self._network.listeners[self.address]
        if self._scope is not None:
            self._scope.cancel()
        while self._callers:
            self._callers.popleft().break_off()
        await anyio.lowlevel.checkpoint()

    async def _accept(
        self, group: TaskGroup, on_link: OnLink, on_join: OnJoin | None, joining: Callable[[], bool] | None
    ) -> None:
        while True:
            while not self._callers:
                self._called = anyio.Event()
                await self._called.wait()
            stream = self._callers.popleft()
            if stream.join:
                if on_join is not None and (joining is None or joining()):
                    group.start_soon(self._attend_join, stream, on_join)
                else:
                    self._refuse(stream, "it wants to join, and nobody is expected")
            elif stream.peer_certificate in self._transport.trusted:
                group.start_soon(attend, self._transport.link(stream, dialled=False), on_link)
            else:
                self._refuse(stream, "its certificate is not that of a member")

    async def _attend_join(self, stream: MemoryStream, on_join: OnJoin) -> None:
        with anyio.CancelScope(deadline=anyio.current_time() + limits.handshake_seconds_max) as scope:
            stream.on_authenticated = lambda: setattr(scope, "deadline", float("inf"))
            await attend_join(stream, on_join)
        if stream.on_authenticated is not None:
            self._remember(stream, "it wanted to join and did not prove that it knows a code")

    def _refuse(self, stream: MemoryStream, reason: str) -> None:
        self._remember(stream, reason)
        stream.break_off()

    def _remember(self, stream: MemoryStream, reason: str) -> None:
        self._refusals.append(Refusal(stream.address, reason))
