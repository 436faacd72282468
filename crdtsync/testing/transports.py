"""What every transport must do: a suite for `transport.memory`, `transport.tls`, and for transports of your own.

A test module gives a `TransportWorld` and runs each of `CHECKS` in a world of its own:

    @pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
    @pytest.mark.anyio
    async def test_conformance(check):
        await check(MyWorld())

A check raises AssertionError when the promise in its docstring is not kept.
"""

from __future__ import annotations

import hashlib
from collections.abc import Awaitable, Callable

import anyio

from crdtsync import limits
from crdtsync.errors import AddressInUse, BadValue, Malformed, NotAMember, Unreachable, UsageError
from crdtsync.testing.transport_world import (
    PATIENCE_S,
    Inbox,
    Side,
    TransportWorld,
    expect,
    first,
    introduce,
    linked,
    serving,
    until,
)
from crdtsync.transport.base import ByteStream, Link
from crdtsync.transport.conversation import Conversation


async def both_sides_know_each_other(world: TransportWorld) -> None:
    """Each side has the other's certificate, knows who dialled, and names an address."""
    async with linked(world) as pair:
        near, far = pair.dialler.link, pair.listener.link
        assert near.peer_certificate == world.certificate("ben")
        assert far.peer_certificate == world.certificate("ada")
        assert near.dialled and not far.dialled
        assert near.address == pair.port.address and far.address


async def messages_arrive_whole_and_in_order(world: TransportWorld) -> None:
    """Both ways, from nothing to the longest message, and many small ones."""
    sizes = (0, 1, 4_090, 4_096, 600, limits.frame_bytes_max, limits.frame_bytes_max + 1, limits.message_bytes_max, 3)
    messages = [bytes([index]) * size for index, size in enumerate(sizes)] + [b"%d" % index for index in range(5_000)]
    async with linked(world) as pair:
        for message in messages:
            pair.dialler.link.post(message)
            pair.listener.link.post(message)
        assert await pair.listener.inbox.wait_for(len(messages)) == messages
        assert await pair.dialler.inbox.wait_for(len(messages)) == messages
        assert pair.dialler.link.queued_bytes == 0


async def urgent_messages_overtake(world: TransportWorld) -> None:
    """Something urgent comes before what was posted earlier and is not yet on the line."""
    async with linked(world) as pair:
        bulk = [bytes(limits.message_bytes_max)] * 8
        for message in bulk:
            pair.dialler.link.post(message)
        pair.dialler.link.post(b"now", urgent=True)
        arrived = await pair.listener.inbox.wait_for(len(bulk) + 1)
        assert arrived.index(b"now") < 2, f"came as number {arrived.index(b'now')}"


async def a_message_too_long_is_refused(world: TransportWorld) -> None:
    """The caller is told, and the link goes on."""
    async with linked(world) as pair:
        try:
            pair.dialler.link.post(bytes(limits.message_bytes_max + 1))
        except UsageError:
            pass
        else:
            raise AssertionError("a message beyond the limit was taken")
        pair.dialler.link.post(b"still here")
        assert await pair.listener.inbox.wait_for(1) == [b"still here"]


async def closing_ends_both_sides(world: TransportWorld) -> None:
    """This side gets its own reason, the first one; the other side learns of the end; posting then does nothing."""
    async with linked(world) as pair:
        pair.dialler.link.close("enough")
        pair.dialler.link.close("really")
        assert await pair.dialler.over() == "enough"
        assert await pair.listener.over()
        pair.dialler.link.post(b"too late")
        assert pair.dialler.link.queued_bytes == 0


async def closing_with_flush_sends_what_was_posted(world: TransportWorld) -> None:
    """Last words arrive, also large ones."""
    async with linked(world) as pair:
        pair.dialler.link.post(bytes(1_000_000))
        pair.dialler.link.post(b"goodbye")
        pair.dialler.link.close("done", flush=True)
        assert (await pair.listener.inbox.wait_for(2))[1] == b"goodbye"
        assert await pair.dialler.over() == "done"


async def a_peers_fault_ends_only_that_link(world: TransportWorld) -> None:
    """A PeerError out of `deliver` ends the link with its sentence, and the listener still takes others (L6)."""
    introduce(world, "ada", "ben")
    reasons: list[str] = []

    def deliver(message: bytes) -> None:
        raise Malformed("that made no sense")

    async def on_link(link: Link) -> None:
        reasons.append(await link.run(deliver))
        raise Malformed("and I say so again")

    port = await world.transport("ben").listen(world.free_address("ben"))
    async with anyio.create_task_group() as group:
        group.start_soon(port.serve, on_link)
        for count in (1, 2):
            side = Side(await world.transport("ada").dial(port.address))
            group.start_soon(side.run)
            side.link.post(b"nonsense")
            await side.over()
            await until(lambda count=count: len(reasons) == count)  # type: ignore[misc]  # a bound loop variable
        group.cancel_scope.cancel()
    assert reasons == ["that made no sense"] * 2


async def a_fault_of_the_program_is_raised(world: TransportWorld) -> None:
    """Any other error out of `deliver` comes out of `run`, and the connection is closed."""
    introduce(world, "ada", "ben")

    def deliver(message: bytes) -> None:
        raise ZeroDivisionError

    async with serving(world, "ben") as (port, accepted):
        link = await world.transport("ada").dial(port.address)
        (await first(accepted)).link.post(b"hello")
        try:
            await link.run(deliver)
        except ZeroDivisionError:
            pass
        else:
            raise AssertionError("the error was swallowed")
        await (await first(accepted)).over()


async def a_stranger_gets_no_link(world: TransportWorld) -> None:
    """Somebody who is not trusted never reaches `on_link`, hears nothing, and is remembered with a reason."""
    introduce(world, "ada", "ben")
    world.transport("eve").trust([world.certificate("ben")])
    async with serving(world, "ben") as (port, accepted):
        link = await world.transport("eve").dial(port.address)
        inbox = Inbox()
        link.post(b"let me in")
        with anyio.fail_after(PATIENCE_S):
            assert await link.run(inbox.deliver)
        await until(lambda: bool(port.refusals()))
        assert not accepted and not inbox.messages
        assert "not that of a member" in port.refusals()[0].reason


async def nobody_talks_to_an_unknown_listener(world: TransportWorld) -> None:
    """Dialling somebody who is not trusted raises NotAMember."""
    introduce(world, "ada", "ben")
    world.transport("eve").trust([world.certificate("ada")])
    async with serving(world, "eve") as (port, accepted):
        await expect(NotAMember, world.transport("ada").dial(port.address))
        assert not accepted


async def withdrawn_trust_ends_live_links(world: TransportWorld) -> None:
    """Whoever is removed loses its links at once and gets no new ones; trusted again, it gets in again."""
    async with linked(world) as pair:
        world.transport("ben").trust([])
        assert "no longer a member" in await pair.listener.over()
        await pair.dialler.over()
        link = await world.transport("ada").dial(pair.port.address)
        link.post(b"hello?")
        with anyio.fail_after(PATIENCE_S):
            await link.run(Inbox().deliver)
        world.transport("ben").trust([world.certificate("ada")])
        again = Side(await world.transport("ada").dial(pair.port.address))
        async with anyio.create_task_group() as group:
            group.start_soon(again.run)
            again.link.post(b"hello")
            await until(lambda: len(pair.accepted) == 2)
            assert await pair.accepted[1].inbox.wait_for(1) == [b"hello"]
            again.link.close("done")


async def nobody_there(world: TransportWorld) -> None:
    """A closed port is Unreachable; what is no address is BadValue."""
    introduce(world, "ada", "ben")
    port = await world.transport("ben").listen(world.free_address("ben"))
    await port.aclose()
    await expect(Unreachable, world.transport("ada").dial(port.address))
    await expect(BadValue, world.transport("ada").dial("nonsense"))
    await expect(BadValue, world.transport("ada").listen("nonsense"))


async def calling_oneself_is_noticed(world: TransportWorld) -> None:
    """Dialling the own address says so."""
    introduce(world, "ada", "ben")
    async with serving(world, "ada") as (port, _):
        error = await expect(Unreachable, world.transport("ada").dial(port.address))
        assert "itself" in str(error)


async def a_port_is_taken_once(world: TransportWorld) -> None:
    """Listening on a port in use raises AddressInUse; after `aclose` it is free again."""
    port = await world.transport("ben").listen(world.free_address("ben"))
    await expect(AddressInUse, world.transport("ben").listen(port.address))
    await port.aclose()
    again = await world.transport("ben").listen(port.address)
    assert again.address == port.address
    await again.aclose()


async def closing_a_listener_ends_its_links(world: TransportWorld) -> None:
    """`aclose` lets `serve` return and ends what it served."""
    introduce(world, "ada", "ben")
    port = await world.transport("ben").listen(world.free_address("ben"))
    accepted: list[Side] = []

    async def on_link(link: Link) -> None:
        accepted.append(Side(link))
        await accepted[0].run()

    with anyio.fail_after(PATIENCE_S):
        async with anyio.create_task_group() as group:
            group.start_soon(port.serve, on_link)
            side = Side(await world.transport("ada").dial(port.address))
            group.start_soon(side.run)
            await first(accepted)
            await port.aclose()
            await side.over()


async def cancelling_a_run_closes_the_connection(world: TransportWorld) -> None:
    """The other side learns of it."""
    introduce(world, "ada", "ben")
    async with serving(world, "ben") as (port, accepted):
        link = await world.transport("ada").dial(port.address)
        async with anyio.create_task_group() as group:
            group.start_soon(link.run, Inbox().deliver)
            link.post(b"hello")
            await (await first(accepted)).inbox.wait_for(1)
            group.cancel_scope.cancel()
        await accepted[0].over()


async def a_link_runs_once(world: TransportWorld) -> None:
    """A second `run` is refused; a link that never ran can be closed."""
    async with linked(world) as pair:
        await expect(UsageError, pair.dialler.link.run(Inbox().deliver))
        idle = await world.transport("ada").dial(pair.port.address)
        await idle.aclose()
        assert await idle.run(Inbox().deliver)


async def a_full_queue_ends_the_link(world: TransportWorld) -> None:
    """Somebody who takes nothing costs at most `limits.link_queue_bytes_max` (L7)."""
    introduce(world, "ada", "ben")
    block = bytes(limits.message_bytes_max)
    async with serving(world, "ben") as (port, _):
        side = Side(await world.transport("ada").dial(port.address))
        for _ in range(limits.link_queue_bytes_max // len(block) + 1):
            side.link.post(block)
        assert side.link.queued_bytes <= limits.link_queue_bytes_max + len(block)
        await side.run()
        assert "piled up" in side.reason


async def bytes_are_counted(world: TransportWorld) -> None:
    """Both sides count at least what was carried, and not much more."""
    async with linked(world) as pair:
        before = pair.dialler.link.bytes_sent, pair.listener.link.bytes_received
        pair.dialler.link.post(bytes(1_000_000))
        await pair.listener.inbox.wait_for(1)
        await until(lambda: pair.dialler.link.bytes_sent - before[0] >= 1_000_000)
        for grown in (
            pair.dialler.link.bytes_sent - before[0],
            pair.listener.link.bytes_received - before[1],
        ):
            assert 1_000_000 <= grown < 1_020_000


async def joining_is_possible_while_somebody_is_expected(world: TransportWorld) -> None:
    """Messages go both ways, nothing is proved about the joiner, and the joiner knows whom it talks to."""
    certificate = world.certificate("ben")
    proofs: list[bytes] = []

    async def on_join(stream: ByteStream) -> None:
        proofs.append(stream.peer_certificate)
        talk = Conversation(stream)
        assert await talk.receive() == b"may I?"
        stream.authenticated()
        await talk.send(bytes(1_000_000))
        await talk.receive()

    async with serving(world, "ben", on_join) as (port, _):
        for pinned in (hashlib.sha256(certificate).digest(), hashlib.sha256(certificate).digest()[:16]):
            stream = await world.transport("zoe").dial_join(port.address, pinned)
            assert stream.peer_certificate == certificate
            talk = Conversation(stream)
            await talk.send(b"may I?")
            assert await talk.receive(bytes_max=2_000_000) == bytes(1_000_000)
            await talk.send(b"thanks")
            await stream.aclose()
        await until(lambda: proofs == [b"", b""])
        assert not port.refusals()


async def joining_is_refused_otherwise(world: TransportWorld) -> None:
    """Without `on_join`, or while nobody is expected, a joiner hears nothing; what cannot be its code is refused."""
    called: list[ByteStream] = []

    async def on_join(stream: ByteStream) -> None:
        called.append(stream)

    pinned = hashlib.sha256(world.certificate("ben")).digest()
    for handler in (None, on_join):
        async with serving(world, "ben", handler, lambda: False) as (port, _):
            with anyio.fail_after(PATIENCE_S):
                await expect((Unreachable, NotAMember), _join(world, port.address, pinned))
            await until(lambda port=port: bool(port.refusals()))  # type: ignore[misc]  # a bound loop variable
            assert "nobody is expected" in port.refusals()[0].reason
    async with serving(world, "ben", on_join) as (port, _):
        await expect(NotAMember, world.transport("zoe").dial_join(port.address, bytes(32)))
        await expect(BadValue, world.transport("zoe").dial_join(port.address, b"short"))


async def _join(world: TransportWorld, address: str, pinned: bytes) -> None:
    stream = await world.transport("zoe").dial_join(address, pinned)
    try:
        talk = Conversation(stream)
        await talk.send(b"may I?")
        await talk.receive()
    finally:
        await stream.aclose()


async def whoever_does_not_prove_a_code_is_remembered(world: TransportWorld) -> None:
    """A joining conversation that ends without `authenticated` is a refusal, also when the handler raises."""

    async def on_join(stream: ByteStream) -> None:
        raise Malformed("no code")

    pinned = hashlib.sha256(world.certificate("ben")).digest()
    async with serving(world, "ben", on_join) as (port, _):
        await expect(Unreachable, _join(world, port.address, pinned))
        await until(lambda: bool(port.refusals()))
        assert "did not prove" in port.refusals()[0].reason


CHECKS: tuple[Callable[[TransportWorld], Awaitable[None]], ...] = (
    both_sides_know_each_other,
    messages_arrive_whole_and_in_order,
    urgent_messages_overtake,
    a_message_too_long_is_refused,
    closing_ends_both_sides,
    closing_with_flush_sends_what_was_posted,
    a_peers_fault_ends_only_that_link,
    a_fault_of_the_program_is_raised,
    a_stranger_gets_no_link,
    nobody_talks_to_an_unknown_listener,
    withdrawn_trust_ends_live_links,
    nobody_there,
    calling_oneself_is_noticed,
    a_port_is_taken_once,
    closing_a_listener_ends_its_links,
    cancelling_a_run_closes_the_connection,
    a_link_runs_once,
    a_full_queue_ends_the_link,
    bytes_are_counted,
    joining_is_possible_while_somebody_is_expected,
    joining_is_refused_otherwise,
    whoever_does_not_prove_a_code_is_remembered,
)
