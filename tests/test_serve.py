"""Serving: who is let in, what a running site does for its membership, and how it ends."""

from __future__ import annotations

import socket
from collections.abc import AsyncIterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import anyio
import anyio.lowlevel
import pytest

from crdtsync import AddressInUse, BadValue, InvitationRefused, RefusedError, Site, UsageError, limits, members
from crdtsync.errors import Malformed
from crdtsync.practice import Patient
from crdtsync.sealing.code import format_code, parse_code
from crdtsync.serve import Serving

from .sites import PASSPHRASE, add, agree, at_host, create, join, linked, mesh, opened, patience_s, practice

pytestmark = pytest.mark.anyio


@pytest.fixture
async def jena(tmp_path: Path) -> AsyncIterator[Site]:
    async with create(tmp_path / "jena") as site:
        yield site


class Newcomer:
    """Somebody who joins in the background, and what came of it."""

    def __init__(self, folder: Path, code: str) -> None:
        self.folder, self.code = folder, code
        self.digits = ""
        self.shown = anyio.Event()
        self.name = ""
        self.error: Exception | None = None

    def show(self, digits: str) -> None:
        self.digits = digits
        self.shown.set()

    async def run(self) -> None:
        try:
            async with Site.join(self.folder, self.code, passphrase=PASSPHRASE, on_digits=self.show) as site:
                self.name = site.name
        except Exception as error:
            self.error = error
            self.shown.set()


async def waiting(site: Site, count: int) -> None:
    """Until so many newcomers wait for their digits."""
    assert site.serving is not None
    while len(site.serving.joining()) != count:
        await anyio.lowlevel.checkpoint()


async def test_an_unusable_key_of_a_member_does_not_end_the_site(jena: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    async def refused(self: Serving) -> None:
        raise Malformed("a sealing key that nothing can be sealed to")

    monkeypatch.setattr(Serving, "_tend", refused)
    told: list[Mapping[str, Any]] = []
    with anyio.fail_after(patience_s):
        async with jena.serve(on_event=told.append):
            while not told:
                await anyio.lowlevel.checkpoint()
            assert await jena.invite("Gera")
    assert told == [{"event": "membership", "text": "a sealing key that nothing can be sealed to"}]


async def test_joining_by_six_digits(jena: Site, tmp_path: Path) -> None:
    told: list[Mapping[str, Any]] = []
    with anyio.fail_after(patience_s):
        with pytest.raises(UsageError, match="does not serve"):
            await jena.confirm("123456")
        async with jena.serve(on_event=told.append), anyio.create_task_group() as tasks:
            with pytest.raises(RefusedError, match="nobody is joining"):
                await jena.confirm("123456")
            gera = Newcomer(tmp_path / "gera", await jena.invite("Gera"))
            tasks.start_soon(gera.run)
            await gera.shown.wait()
            await waiting(jena, 1)
            assert (await jena.status())["joining"] == [{"name": "Gera", "digits": gera.digits}]
            found = await jena.confirm(f"{gera.digits[:3]} {gera.digits[3:]}")
            assert found["name"] == "Gera"
        assert gera.name == "Gera" and gera.error is None
        assert {m["name"]: m["replica"] for m in jena.members()}["Gera"] == found["replica"]
        assert [event["event"] for event in told if event["event"].startswith("join")] == ["join", "joined"]
        assert jena.invitations == []


async def test_wrong_digits_three_times_void_the_code(jena: Site, tmp_path: Path) -> None:
    """Each wrong entry counts once, however many wait under the code."""
    with anyio.fail_after(patience_s):
        async with jena.serve(), anyio.create_task_group() as tasks:
            code = await jena.invite("Gera")
            first, second = Newcomer(tmp_path / "one", code), Newcomer(tmp_path / "two", code)
            for newcomer in (first, second):
                tasks.start_soon(newcomer.run)
                await newcomer.shown.wait()
            await waiting(jena, 2)
            wrong = next(d for d in ("000000", "111111", "222222") if d not in (first.digits, second.digits))
            for failures in range(1, limits.invitation_failures_max):
                with pytest.raises(RefusedError, match="not the digits"):
                    await jena.confirm(wrong)
                assert [i.failures for i in jena.invitations] == [failures]
            with pytest.raises(RefusedError, match="not the digits"):
                await jena.confirm(wrong)
            assert jena.invitations == []
        for newcomer in (first, second):
            assert isinstance(newcomer.error, InvitationRefused) and not newcomer.folder.exists()
        assert [m["name"] for m in jena.members()] == ["Jena"]


async def test_one_use(jena: Site, tmp_path: Path) -> None:
    """Also when two come at the same moment."""
    with anyio.fail_after(patience_s):
        async with jena.serve():
            code = await jena.invite("Gera")
            first, second = Newcomer(tmp_path / "one", code), Newcomer(tmp_path / "two", code)
            async with anyio.create_task_group() as tasks:
                for newcomer in (first, second):
                    tasks.start_soon(newcomer.run)
                await waiting(jena, 2)
                await jena.confirm(first.digits)
                with pytest.raises(RefusedError, match="nobody is joining"):
                    await jena.confirm(second.digits)
            assert first.name == "Gera" and isinstance(second.error, InvitationRefused)
            await jena.invite("Weimar")
            with pytest.raises(InvitationRefused, match="used"):
                async with Site.join(tmp_path / "three", code, passphrase=PASSPHRASE):
                    pass
    assert [m["name"] for m in jena.members()] == ["Gera", "Jena"]


async def test_two_who_come_with_one_trusted_code(jena: Site, tmp_path: Path) -> None:
    with anyio.fail_after(patience_s):
        async with jena.serve():
            code = await jena.invite("Gera", trust_code=True)
            newcomers = [Newcomer(tmp_path / str(n), code) for n in range(4)]
            async with anyio.create_task_group() as tasks:
                for newcomer in newcomers:
                    tasks.start_soon(newcomer.run)
    assert sorted(newcomer.name for newcomer in newcomers) == ["", "", "", "Gera"]
    assert [m["name"] for m in jena.members()] == ["Gera", "Jena"]


async def test_wrong_secrets_void_the_code(jena: Site, tmp_path: Path) -> None:
    with anyio.fail_after(patience_s):
        async with jena.serve():
            code = parse_code(await jena.invite("Gera", trust_code=True))
            guess = format_code(replace(code, secret=bytes(16)))
            for _ in range(limits.invitation_failures_max):
                with pytest.raises(InvitationRefused):
                    async with Site.join(tmp_path / "gera", guess, passphrase=PASSPHRASE):
                        pass
            assert jena.invitations == []


async def test_an_invitation_survives_a_restart(tmp_path: Path) -> None:
    with anyio.fail_after(patience_s):
        async with create(tmp_path / "jena") as jena, jena.serve() as serving:
            code = await jena.invite("Gera", trust_code=True)
            address = serving.address
        async with (
            opened(tmp_path / "jena") as jena,
            jena.serve(address),
            Site.join(tmp_path / "gera", code, passphrase=PASSPHRASE) as gera,
        ):
            assert gera.name == "Gera"


async def test_an_old_code_is_refused(jena: Site, tmp_path: Path) -> None:
    async with jena.serve():
        code = await jena.invite("Gera", trust_code=True)
        jena.invitations[0].expires = 0.0
        with anyio.fail_after(patience_s), pytest.raises(InvitationRefused, match="too old"):
            async with Site.join(tmp_path / "gera", code, passphrase=PASSPHRASE):
                pass
    assert not (tmp_path / "gera").exists()


# -- the port --------------------------------------------------------------------------------------------------------


async def test_ports_and_addresses_that_cannot_be(jena: Site) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken, pytest.raises(AddressInUse):
        async with jena.serve(f"127.0.0.1:{taken.getsockname()[1]}"):
            pass
    for listen, advertise, peers in (("nonsense", None, []), ("127.0.0.1:0", "x", []), ("127.0.0.1:0", None, ["y"])):
        with pytest.raises(BadValue):
            async with jena.serve(listen, advertise=advertise, peers=peers):
                pass
    assert jena.serving is None
    async with jena.serve():
        pass


async def test_what_the_practice_is_told_of_a_port(jena: Site) -> None:
    """Nothing that leads to themselves, unless it was chosen on purpose."""

    def addresses() -> list[str]:
        return list(jena.members()[0]["addresses"])

    async with jena.serve("127.0.0.1:0") as serving:
        assert addresses() == []
        port = serving.address
    async with jena.serve(port):
        assert addresses() == [port]
    async with jena.serve("0.0.0.0:0", advertise="jena.example:7443"):
        assert addresses() == ["jena.example:7443"]
    records = len(await at_host(jena, lambda host: host.store.members()))
    async with jena.serve("0.0.0.0:0", advertise="jena.example:7443"):
        assert len(await at_host(jena, lambda host: host.store.members())) == records, "it was known"


async def test_cancelled_while_it_opens_it_gives_the_port_back(jena: Site) -> None:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        address = f"127.0.0.1:{probe.getsockname()[1]}"
    with anyio.CancelScope() as scope:
        scope.cancel()
        async with jena.serve(address):
            raise AssertionError("it was cancelled before")
    async with jena.serve(address):
        pass


# -- membership ------------------------------------------------------------------------------------------------------


async def remove(by: Site, name: str) -> None:
    """Shut somebody out."""
    replica = by.driver.replica
    state = replica.membership.state()
    member = next(m for m in state.members.values() if m.name == name)
    heads = {log: head for log, head in replica.stored.items() if log[:16] == member.replica}
    assert by.serving is not None
    await by.serving.sign(lambda host, place: members.removing(host, place, state, member, "sold", heads))


async def test_a_removed_site_is_shut_out_and_the_rest_goes_on(tmp_path: Path) -> None:
    with anyio.fail_after(2 * patience_s):
        async with practice(tmp_path, "Jena", "Weimar", "Gera") as [jena, weimar, gera]:
            await add(gera, Patient(family_name="by Gera"))
            async with mesh(jena, weimar, gera):
                await agree(jena, weimar, gera)
                before = set(jena.driver.replica.membership.state().epochs)
                await remove(jena, "Gera")
                while weimar.driver.replica.membership.state().active(gera.identity.public.replica) is not None:
                    await weimar.driver.members_changed.wait()
                for site in (jena, weimar):
                    while any(p.replica == gera.identity.public.replica for p in site.driver.replica.peers.values()):
                        await site.driver.links_changed.wait()
                await add(weimar, Patient(family_name="after"))
                await agree(jena, weimar)
                epoch = jena.driver.replica.membership.state().sealing_epoch()
                assert epoch is not None and epoch not in before
                assert await at_host(weimar, lambda host: host.keyring.has(epoch))
                assert await gera.find(Patient, family_name="after") == []
                assert len(await jena.find(Patient)) == len(await weimar.find(Patient)) == 2
                # Even with every record of the membership, the removed one cannot open what the others write under.
                for record in await at_host(jena, lambda host: host.store.members()):
                    gera.driver.replica.membership.add(record)
                state = gera.driver.replica.membership.state()
                await at_host(gera, lambda host: host.learn_epochs(state))
                assert not await at_host(gera, lambda host: host.keyring.has(epoch))
                with pytest.raises(RefusedError, match="removed this site"):
                    await add(gera, Patient(family_name="too late"))
                assert gera.member() is None and len(await gera.find(Patient)) == 1


async def test_a_newcomer_is_told_to_everybody(tmp_path: Path) -> None:
    with anyio.fail_after(patience_s):
        async with practice(tmp_path, "Jena", "Weimar") as [jena, weimar], mesh(jena, weimar):
            code = await jena.invite("Gera", trust_code=True)
            async with Site.join(tmp_path / "gera", code, passphrase=PASSPHRASE) as gera:
                while len(weimar.members()) < 3:
                    await weimar.driver.members_changed.wait()
                assert weimar.serving is not None
                async with gera.serve(peers=[weimar.serving.address], only_peers=True):
                    await linked(gera, 1)
                    await add(gera, Patient(family_name="by Gera"))
                    await agree(jena, weimar, gera)


async def test_joining_needs_a_port_of_the_inviting_site(jena: Site, tmp_path: Path) -> None:
    await join(jena, tmp_path / "gera", "Gera")
    assert jena.serving is None and jena.reachable is None
