"""Links to other sites: who is dialled, when again, and what is told of those that do not answer."""

from __future__ import annotations

import socket
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import anyio
import pytest

from crdtsync import limits
from crdtsync.errors import StorageFailure
from crdtsync.ids import ReplicaId
from crdtsync.network import Network
from crdtsync.practice import Patient
from crdtsync.transport.tls import TlsTransport

from .sealing.identities import identity_of
from .sites import add, agree, create, linked, mesh, patience_s, practice

pytestmark = pytest.mark.anyio


def free_address() -> str:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return f"127.0.0.1:{probe.getsockname()[1]}"


async def test_published_addresses_are_dialled_and_given_up_links_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody names anybody: the membership log tells where to dial, and a site that comes back is found again."""
    monkeypatch.setattr(limits, "dial_backoff_min_s", 0.01)
    monkeypatch.setattr(limits, "dial_backoff_max_s", 0.05)
    with anyio.fail_after(patience_s):
        async with practice(tmp_path, "Jena", "Gera") as [jena, gera]:
            at = free_address()
            async with mesh(jena, gera):
                pass
            async with gera.serve(only_peers=True) as serving, jena.serve(at, peers=[serving.address]):
                await linked(gera, 1)
                await add(jena, Patient(family_name="one"))
                await agree(jena, gera)
            async with gera.serve():
                assert gera.serving is not None
                for number in range(3):
                    async with jena.serve(at, only_peers=True):
                        await linked(gera, 1)
                        await add(jena, Patient(family_name=f"again {number}"))
                        await agree(jena, gera)
                    while gera.driver.replica.peers:
                        await gera.driver.links_changed.wait()


async def test_two_who_dial_each_other_keep_one_link(tmp_path: Path) -> None:
    with anyio.fail_after(patience_s):
        async with practice(tmp_path, "Jena", "Gera") as [jena, gera]:
            first, second = free_address(), free_address()
            async with (
                jena.serve(first, peers=[second], only_peers=True),
                gera.serve(second, peers=[first], only_peers=True),
            ):
                for site in (jena, gera):
                    await linked(site, 1)
                await add(jena, Patient(family_name="Muster"))
                await agree(jena, gera)
                assert len(jena.driver.replica.peers) == len(gera.driver.replica.peers) == 1


async def test_who_does_not_answer_is_told_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "dial_backoff_min_s", 0.01)
    monkeypatch.setattr(limits, "dial_backoff_max_s", 0.02)
    told: list[Mapping[str, Any]] = []
    address = free_address()
    attempts = 0
    enough = anyio.Event()
    dial = TlsTransport.dial

    async def counted(self: TlsTransport, address: str) -> Any:
        nonlocal attempts
        attempts += 1
        if attempts == 4:
            enough.set()
        return await dial(self, address)

    monkeypatch.setattr(TlsTransport, "dial", counted)
    with anyio.fail_after(patience_s):
        async with (
            create(tmp_path / "jena") as jena,
            jena.serve(peers=[address, address], on_event=told.append) as serving,
        ):
            await enough.wait()
            assert list(serving.network.unreachable) == [address]
            await add(jena, Patient(family_name="nobody delays this"))
    assert [event["event"] for event in told] == ["unreachable"] and address in told[0]["text"]


async def test_strangers_come_to_nothing(tmp_path: Path) -> None:
    """A certificate that no member has gets no link, in either direction."""
    stranger = identity_of("stranger")
    transport = TlsTransport(stranger.tls_certificate_pem, stranger.tls_private_pem)
    with anyio.fail_after(patience_s):
        async with create(tmp_path / "jena") as jena, jena.serve() as serving:
            transport.trust([jena.identity.public.tls])
            link = await transport.dial(serving.address)
            link.post(b"let me in", urgent=True)
            reason = await link.run(lambda message: None)
            assert reason and not jena.driver.replica.peers
            assert serving.network.bytes_on_wire() == (0, 0)


async def test_bytes_are_counted_while_links_stand(tmp_path: Path) -> None:
    with anyio.fail_after(patience_s):
        async with practice(tmp_path, "Jena", "Gera") as [jena, gera], mesh(jena, gera):
            await add(jena, Patient(family_name="Muster"))
            await agree(jena, gera)
            assert jena.serving is not None
            sent, received = jena.serving.network.bytes_on_wire()
            assert sent > 500 and received > 500


async def test_a_site_whose_disk_has_failed_is_not_dialled_all_the_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It proves who it is and hangs up: the waits between attempts grow all the same, and it dials nobody itself."""
    waits: list[float] = []
    enough = anyio.Event()
    back_off = Network._back_off

    async def noted(self: Network, wait: float, replica: ReplicaId | None) -> float:
        waits.append(wait)
        if len(waits) == 6:
            enough.set()
        return await back_off(self, wait / 1000, replica) * 1000

    with anyio.fail_after(patience_s):
        async with practice(tmp_path, "Jena", "Gera") as [jena, gera]:

            def refuse(host: Any) -> None:
                raise StorageFailure("no room is left")

            with pytest.raises(StorageFailure):
                await gera.driver.in_order(refuse)
            async with gera.serve(only_peers=True) as serving:
                monkeypatch.setattr(Network, "_back_off", noted)
                async with jena.serve(peers=[serving.address], only_peers=True) as there:
                    await enough.wait()
                    assert not jena.driver.linked(gera.identity.public.replica)
                    gera_network = Network(
                        gera.driver, serving.network._transport, gera.identity.public.replica, named=[there.address]
                    )
                    await gera_network._keep_named(there.address)  # returns at once, and does not dial
    assert waits == sorted(waits) and waits[-1] >= 16 * waits[0], waits
