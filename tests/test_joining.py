"""The conversation of joining: what either side proves, refuses and keeps, over a connection in memory."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress

import anyio
import anyio.lowlevel
import pytest

from crdtsync.errors import InvitationRefused, Malformed, StorageFailure, Unreachable
from crdtsync.ids import PracticeId
from crdtsync.joining import Arrival, Invitation, Reception, join
from crdtsync.sealing.code import Code, tls_hash
from crdtsync.sealing.identity import PublicIdentity
from crdtsync.transport.conversation import Conversation
from crdtsync.transport.memory_pipe import MemoryStream, stream_pair

from .sealing.identities import identity_of
from .sites import patience_s

pytestmark = pytest.mark.anyio
HOST, GUEST = identity_of("jena"), identity_of("gera")


def code(secret: bytes = b"s" * 16) -> Code:
    return Code(PracticeId(b"p" * 16), b"i" * 8, secret, tls_hash(HOST.public.tls), ("127.0.0.1:7443",))


def invitation(*, trust_code: bool = True) -> Invitation:
    return Invitation(code(), "Gera", "site", True, trust_code, 1e9, "session")


class Host:
    """The inviting side with one invitation open."""

    def __init__(self, invited: Invitation) -> None:
        self.invited = invited
        self.settled: list[bool] = []
        self.admitted: list[PublicIdentity] = []
        self.announced: list[Arrival] = []
        self.refuses: Exception | None = None
        self.came = anyio.Event()
        self.reception = Reception(HOST, find=self.find, settle=self.settle, admit=self.admit, announce=self.announce)

    def find(self, number: bytes) -> Invitation:
        if number != self.invited.code.invitation:
            raise InvitationRefused("not known here")
        return self.invited

    async def settle(self, found: Invitation, success: bool) -> None:
        self.settled.append(success)

    async def admit(self, found: Invitation, public: PublicIdentity) -> Sequence[bytes]:
        if self.refuses is not None:
            raise self.refuses
        self.admitted.append(public)
        return [b"record one", b"record two"]

    def announce(self, arrival: Arrival) -> None:
        self.announced.append(arrival)
        self.came.set()


def streams() -> tuple[MemoryStream, MemoryStream]:
    near, far = stream_pair("gera", b"", "jena:1", HOST.public.tls, join=True)
    return far, near


async def receive(host: Host, stream: MemoryStream) -> None:
    """What a listener does with a caller."""
    try:
        with suppress(InvitationRefused, Malformed):
            await host.reception.receive(stream)
    finally:
        await stream.aclose()


async def test_a_code_that_is_trusted_lets_in() -> None:
    host = Host(invitation())
    ours, theirs = streams()
    digits: list[str] = []
    with anyio.fail_after(patience_s):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(receive, host, ours)
            records, inviter = await join(theirs, code(), GUEST, digits.append)
            await theirs.aclose()
    assert records == [b"record one", b"record two"] and inviter == HOST.public
    assert host.admitted == [GUEST.public] and host.settled == [True] and host.announced == []
    assert len(digits[0]) == 6


async def test_digits_are_the_same_on_both_sides_and_waited_for() -> None:
    host = Host(invitation(trust_code=False))
    ours, theirs = streams()
    shown: list[str] = []

    async def joins() -> None:
        await join(theirs, code(), GUEST, shown.append)
        await theirs.aclose()

    with anyio.fail_after(patience_s):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(receive, host, ours)
            tasks.start_soon(joins)
            await host.came.wait()
            [arrival] = host.reception.arrivals
            assert host.admitted == [] and shown == [arrival.digits]
            arrival.confirmed = True
            arrival.decided.set()
    assert host.admitted == [GUEST.public]
    assert host.settled == [True] and host.reception.arrivals == []


async def test_digits_that_nobody_confirms() -> None:
    host = Host(invitation(trust_code=False))
    ours, theirs = streams()
    with anyio.fail_after(patience_s):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(receive, host, ours)

            async def decline() -> None:
                await host.came.wait()
                host.reception.arrivals[0].decided.set()

            tasks.start_soon(decline)
            with pytest.raises(InvitationRefused, match="not confirmed"):
                await join(theirs, code(), GUEST, lambda _: None)
            await theirs.aclose()
    assert host.settled == [False] and host.admitted == []


async def test_a_newcomer_that_leaves_is_nobody_to_confirm() -> None:
    host = Host(invitation(trust_code=False))
    ours, theirs = streams()
    with anyio.fail_after(patience_s):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(receive, host, ours)
            with anyio.CancelScope() as scope:
                await join(theirs, code(), GUEST, lambda _: scope.cancel())
            await host.came.wait()
            await theirs.aclose()
    assert host.reception.arrivals == [] and host.settled == [] and host.admitted == []


async def test_a_wrong_secret_gets_nothing() -> None:
    host = Host(invitation())
    ours, theirs = streams()
    with anyio.fail_after(patience_s):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(receive, host, ours)
            with pytest.raises(InvitationRefused):
                await join(theirs, code(secret=b"x" * 16), GUEST, lambda _: None)
            await theirs.aclose()
    assert host.settled == [False] and host.admitted == []


@pytest.mark.parametrize("error", [StorageFailure("no space left"), InvitationRefused("it was used")])
async def test_a_host_that_cannot_says_why(error: Exception) -> None:
    """What the disk of the inviting site says ends the conversation, not the site."""
    host = Host(invitation())
    host.refuses = error
    ours, theirs = streams()
    with anyio.fail_after(patience_s):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(receive, host, ours)
            with pytest.raises(InvitationRefused, match=str(error)):
                await join(theirs, code(), GUEST, lambda _: None)
            await theirs.aclose()


async def test_the_other_side_ends() -> None:
    ours, theirs = streams()
    with anyio.fail_after(patience_s):
        await ours.aclose()
        with pytest.raises(Unreachable, match=r"broke|ended"):
            await join(theirs, code(), GUEST, lambda _: None)
        await theirs.aclose()


async def test_refusals_show_nothing_but_words() -> None:
    ours, theirs = streams()
    with anyio.fail_after(patience_s):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(Conversation(ours).send, b"refused\x1b[2Jcome\n" + b"x" * 9_000)
            with pytest.raises(InvitationRefused) as raised:
                await join(theirs, code(), GUEST, lambda _: None)
    assert str(raised.value).startswith("[2Jcome") and len(str(raised.value)) < 600
    await ours.aclose()
    await theirs.aclose()


def test_an_invitation_is_kept_over_a_restart() -> None:
    kept = invitation(trust_code=False)
    kept.failures = 2
    assert Invitation.from_bytes(kept.to_bytes()) == kept
