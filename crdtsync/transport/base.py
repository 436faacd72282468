"""The contracts of the network: what a site asks of a connection, a listener and a transport.

A `Transport` proves who is at the other end and carries whole messages there, in order, with urgent ones overtaking.
It knows certificates and bytes, nothing of practices, replicas or commits. Two transports pass one conformance suite,
`crdtsync.testing.transports`: `transport.memory` and `transport.tls`.

Everything is called from the event loop's thread. Whatever comes from the other side ends at worst that one
connection (L6), and every queue, wait and length is bounded by `crdtsync.limits` (L7).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass


class ByteStream(ABC):
    """A connection that carries bytes in order. One task may receive while another sends."""

    address: str
    """Where the other side is, for people."""
    peer_certificate: bytes
    """What the other side proved to be: a certificate in DER; b"" when it was not asked to prove anything (joining)."""
    bytes_sent: int = 0
    """Bytes given to the line, all overhead included. Grows while a long `send` is under way."""
    bytes_received: int = 0
    """Bytes taken from the line, all overhead included."""

    @abstractmethod
    async def receive(self) -> bytes | None:
        """Wait until something is heard, and return at most about `limits.read_bytes_max` bytes.

        None when the other side has ended the connection. b"" when bytes came that are not yet complete. Raises
        Unreachable when the connection broke, NotAMember when the other side says that it does not know us.
        """

    @abstractmethod
    async def send(self, data: bytes) -> None:
        """Send all of `data`; returns when the operating system has taken it, not when it arrived.

        Raises Unreachable when the connection broke. Cancelling leaves the connection fit only to be closed.
        """

    @abstractmethod
    async def aclose(self) -> None:
        """Close, within `limits.closing_seconds_max`. Idempotent; a waiting `receive` ends with None or Unreachable."""

    def pace(self, write_bytes: int) -> None:  # noqa: B027 - only a real line has an operating system in between
        """Learn how large writes are that the line takes in about `limits.write_seconds_target`: let no more than
        about that lie unsent below this stream."""

    def authenticated(self) -> None:  # noqa: B027 - most connections have proved everything before they are handed out
        """Say that the other side of a joining connection has proved that it knows the code.

        Until then the listener counts the connection as a handshake: it ends after `limits.handshake_seconds_max`, or
        when too many others knock; and one that ends so counts as a failure of that address.
        """


class Link(ABC):
    """A connection between two members that carries messages both ways. `run` does the work; until then it rests."""

    peer_certificate: bytes
    """The member's certificate in DER, proved and in the trust set when the link was made."""
    dialled: bool
    """Whether this side opened the connection."""
    address: str
    """Where the other side is, for people."""

    @property
    @abstractmethod
    def bytes_sent(self) -> int:
        """Bytes on the wire so far, all overhead included."""

    @property
    @abstractmethod
    def bytes_received(self) -> int:
        """Bytes on the wire so far, all overhead included."""

    @property
    @abstractmethod
    def queued_bytes(self) -> int:
        """Bytes posted and not yet given to the line."""

    @abstractmethod
    def post(self, message: bytes, urgent: bool = False) -> None:
        """Queue a message; never waits, and does nothing once the link is closed.

        Messages arrive whole and in the order of posting, except that urgent ones overtake the others. A queue beyond
        `limits.link_queue_bytes_max` closes the link. Raises UsageError for a message longer than
        `limits.message_bytes_max`.
        """

    @abstractmethod
    async def run(self, deliver: Callable[[bytes], None]) -> str:
        """Carry messages both ways until the link ends; returns the reason, a sentence for people. Call it once.

        `deliver` gets every message that comes in; a PeerError that it raises ends the link, any other error ends the
        link and is raised here. All messages of one read are delivered in one go. The connection is closed when this
        returns, also on cancellation.
        """

    @abstractmethod
    def close(self, reason: str, flush: bool = False) -> None:
        """End the link: nothing more is delivered, and `run` returns `reason`. The first reason stays.

        With `flush`, what was posted before is still sent, for at most `limits.closing_seconds_max`.
        """

    @abstractmethod
    async def aclose(self) -> None:
        """Close a link whose `run` was not called; else wait for nothing and do nothing."""


@dataclass(frozen=True, slots=True)
class Refusal:
    """Somebody who connected and was turned away: from where, and why, in words for people."""

    address: str
    reason: str


OnLink = Callable[[Link], Awaitable[None]]
OnJoin = Callable[[ByteStream], Awaitable[None]]


class Listener(ABC):
    """An open port."""

    address: str
    """Where it listens, with the port that the operating system chose if none was asked for."""

    @abstractmethod
    async def serve(
        self, on_link: OnLink, on_join: OnJoin | None = None, joining: Callable[[], bool] | None = None
    ) -> None:
        """Accept connections until `aclose` or cancellation; call `on_link` in a task of its own for each member.

        The link is closed when `on_link` returns. A PeerError, RefusedError or Unreachable that it raises ends that one
        link; any other error is not the other side's doing and ends `serve`, inside an exception group. `on_join` gets
        the connections of those who want to join, while `joining()` is true (always, if None); nothing about them is
        proved, and the connection is closed when `on_join` returns.
        """

    @abstractmethod
    def refusals(self) -> Sequence[Refusal]:
        """The last connections that were turned away, oldest first, at most `limits.refusals_kept_max`."""

    @abstractmethod
    async def aclose(self) -> None:
        """Stop listening and end the connections that are being served. Idempotent."""


class Transport(ABC):
    """A way to reach members and to be reached by them."""

    @abstractmethod
    def trust(self, certificates: Iterable[bytes]) -> None:
        """From now on these certificates (DER), and no others, are members'. Replaces what was trusted before.

        Live links of certificates that are no longer among them are closed.
        """

    @abstractmethod
    async def dial(self, address: str) -> Link:
        """Connect to `address` ("host:port") and prove the member there.

        The other side has not necessarily accepted us yet: only its first message shows that.

        Raises Unreachable when nobody answers in time or in our language, NotAMember when whoever answers is not in
        the trust set, BadValue when `address` is none.
        """

    @abstractmethod
    async def dial_join(self, address: str, certificate_hash: bytes) -> ByteStream:
        """Connect to a member that we know only from a code: the beginning (at least 16 bytes) of the SHA-256 of its
        certificate. We prove nothing.

        Raises Unreachable as `dial` does, NotAMember when somebody with another certificate answers.
        """

    @abstractmethod
    async def listen(self, address: str) -> Listener:
        """Open a port. Port 0 lets the operating system choose.

        Raises AddressInUse when the port is taken, EnvironmentFailure when this machine has no such address or does
        not allow it, BadValue when `address` is none.
        """
