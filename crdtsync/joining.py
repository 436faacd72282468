"""Inviting and joining: a one-time code, six digits that people compare, and the records that make a member.

The join speaks over its own connections, beside the members' links, one message after the other. Nothing of the
practice is said before both sides have proved the code's secret.
"""

from __future__ import annotations

import secrets
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field

import anyio

from crdtsync import limits
from crdtsync.errors import (
    CrdtSyncError,
    EnvironmentFailure,
    InvitationRefused,
    Malformed,
    PeerError,
    Unreachable,
)
from crdtsync.ids import PRACTICE_ID_BYTES, PracticeId
from crdtsync.replication.codec import check_bytes, check_int, check_list, check_text, pack, unpack
from crdtsync.sealing.code import INVITATION_BYTES, SECRET_BYTES, TLS_HASH_BYTES
from crdtsync.sealing.identity import Identity, PublicIdentity
from crdtsync.sealing.invitation import NONCE_BYTES, Code, Inviter, Joiner, invitation_of
from crdtsync.transport.base import ByteStream
from crdtsync.transport.conversation import Conversation

_WELCOME_BYTES_MAX = 256 * 1024 * 1024
_REFUSED = b"refused"


@dataclass(slots=True)
class Invitation:
    """An invitation that is open. `expires` is by the inviter's own monotonic clock."""

    code: Code
    name: str
    role: str
    admin: bool
    trust_code: bool
    expires: float
    session: str
    failures: int = 0

    def to_bytes(self) -> bytes:
        """To be kept over a restart."""
        code = self.code
        return pack(
            [
                [code.practice, code.invitation, code.secret, code.inviter_tls_hash, list(code.addresses)],
                self.name,
                self.role,
                self.admin,
                self.trust_code,
                int(self.expires * 1000),
                self.session,
                self.failures,
            ]
        )

    @classmethod
    def from_bytes(cls, data: bytes) -> Invitation:
        """The inverse of `to_bytes`. Raises Malformed or TooLarge for anything else."""
        items = unpack(data, bytes_max=64 * 1024, what="invitation")
        if len(items) != 8 or type(items[3]) is not bool or type(items[4]) is not bool:
            raise Malformed("invitation: not its eight items")
        code = check_list(items[0], 5, "invitation code")
        if len(code) != 5:
            raise Malformed("invitation code: not its five items")
        addresses = check_list(code[4], limits.addresses_per_member_max, "invitation addresses")
        return cls(
            Code(
                PracticeId(check_bytes(code[0], PRACTICE_ID_BYTES, "invitation practice")),
                check_bytes(code[1], INVITATION_BYTES, "invitation"),
                check_bytes(code[2], SECRET_BYTES, "invitation secret"),
                check_bytes(code[3], TLS_HASH_BYTES, "invitation certificate"),
                tuple(check_text(address, limits.name_characters_max, "invitation address") for address in addresses),
            ),
            check_text(items[1], limits.name_characters_max, "invitation name"),
            check_text(items[2], limits.name_characters_max, "invitation role"),
            items[3],
            items[4],
            check_int(items[5], 0, 2**53, "invitation time") / 1000,
            check_text(items[6], limits.name_characters_max, "invitation session"),
            check_int(items[7], 0, limits.invitation_failures_max, "invitation failures"),
        )


@dataclass(slots=True)
class Arrival:
    """Somebody who has proved a code and waits for the six digits to be confirmed.

    `done`: it is a member now, or `failure` says why not.
    """

    invitation: Invitation
    public: PublicIdentity
    digits: str
    decided: anyio.Event = field(default_factory=anyio.Event)
    confirmed: bool = False
    left: bool = False
    done: anyio.Event = field(default_factory=anyio.Event)
    failure: CrdtSyncError | None = None


class Reception:
    """The inviting side. `find` gives the open invitation, `settle` what became of an attempt, `admit` the records that
    make the newcomer a member, durable here."""

    def __init__(
        self,
        identity: Identity,
        *,
        find: Callable[[bytes], Invitation],
        settle: Callable[[Invitation, bool], Awaitable[None]],
        admit: Callable[[Invitation, PublicIdentity], Awaitable[Sequence[bytes]]],
        announce: Callable[[Arrival], None],
    ) -> None:
        self._identity = identity
        self._find = find
        self._settle = settle
        self._admit = admit
        self._announce = announce
        self.arrivals: list[Arrival] = []

    async def receive(self, stream: ByteStream) -> None:
        """Converse with somebody who wants to join; ends with a member or with a refusal."""
        talk = Conversation(stream, message_bytes_max=_WELCOME_BYTES_MAX)
        try:
            await self._converse(talk, stream)
        except CrdtSyncError as error:
            with anyio.move_on_after(limits.closing_seconds_max), suppress(EnvironmentFailure):
                await talk.send(_REFUSED + str(error).encode())
            if not isinstance(error, EnvironmentFailure):
                raise

    async def _converse(self, talk: Conversation, stream: ByteStream) -> None:
        start = await talk.receive()
        invitation = self._find(invitation_of(start))
        inviter = Inviter(invitation.code, self._identity, secrets.token_bytes(NONCE_BYTES))
        try:
            await talk.send(inviter.on_start(start))
            public = inviter.on_open(await talk.receive(bytes_max=limits.frame_bytes_max))
        except (InvitationRefused, PeerError):
            await self._settle(invitation, False)
            raise
        stream.authenticated()
        arrival = Arrival(invitation, public, inviter.digits)
        if not invitation.trust_code:
            await self._confirmed(arrival, stream)
        try:
            await self._settle(invitation, True)
            records = await self._admit(invitation, public)
        except CrdtSyncError as error:
            arrival.failure = error
            raise
        finally:
            arrival.done.set()
        await talk.send(inviter.welcome(records))
        with anyio.move_on_after(limits.closing_seconds_max):
            await stream.receive()  # the joiner ends the connection once it has everything on disk

    async def _confirmed(self, arrival: Arrival, stream: ByteStream) -> None:
        self.arrivals.append(arrival)
        self._announce(arrival)
        try:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(self._notice_leaving, arrival, stream)
                with anyio.move_on_after(limits.confirm_seconds_max):
                    await arrival.decided.wait()
                tasks.cancel_scope.cancel()
        finally:
            self.arrivals.remove(arrival)
        if arrival.left and not arrival.confirmed:
            raise Unreachable("whoever wanted to join has left")
        if not arrival.confirmed:
            await self._settle(arrival.invitation, False)
            raise InvitationRefused("the six digits were not confirmed at the inviting site; ask for a new code")

    @staticmethod
    async def _notice_leaving(arrival: Arrival, stream: ByteStream) -> None:
        """Nothing is to be heard until the digits are confirmed, but that the newcomer goes away."""
        with suppress(CrdtSyncError):
            while await stream.receive() is not None:
                pass
        arrival.left = True
        arrival.decided.set()


async def join(
    stream: ByteStream, code: Code, identity: Identity, on_digits: Callable[[str], None]
) -> tuple[list[bytes], PublicIdentity]:
    """The joining side: the practice's membership records, and who invited. The connection is left open, for the caller
    to end once the records are on disk.

    `on_digits` gets the six digits, to be confirmed at the inviting site. Raises InvitationRefused or Unreachable.
    """
    talk = Conversation(stream, message_bytes_max=_WELCOME_BYTES_MAX)
    joiner = Joiner(code, identity, secrets.token_bytes(NONCE_BYTES))
    await talk.send(joiner.start())
    await talk.send(joiner.on_answer(_accepted(await talk.receive(bytes_max=limits.frame_bytes_max))))
    on_digits(joiner.digits)
    welcome = _accepted(await talk.receive(bytes_max=_WELCOME_BYTES_MAX, seconds=limits.confirm_seconds_max))
    return joiner.on_welcome(welcome), joiner.inviter


def _accepted(message: bytes) -> bytes:
    """`message`, unless the inviter said no. What it says then is nobody's proof, so only its words are shown."""
    if message.startswith(_REFUSED):
        text = message[len(_REFUSED) : 500].decode("utf-8", "replace")
        raise InvitationRefused("".join(c for c in text if c.isprintable()) or "the inviting site refused")
    return message
