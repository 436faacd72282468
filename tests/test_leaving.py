"""Revoking and closing members, as the library does it: who may, what is refused, and what it does to live links."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import anyio
import pytest

from crdtsync import Site, folder, members
from crdtsync.errors import BadValue, NotFound, RefusedError
from crdtsync.ids import base32
from crdtsync.practice import Patient, Task

from .sites import PASSPHRASE, add, agree, create, mesh, patience_s, practice

pytestmark = pytest.mark.anyio


async def revoke(site: Site, name: str) -> dict[str, Any]:
    return await site.revoke(name, "stolen")


async def close(site: Site, name: str) -> dict[str, Any]:
    return await site.close_site(name)


LEAVE = pytest.mark.parametrize("leave", [revoke, close])
Leave = Callable[[Site, str], Awaitable[dict[str, Any]]]


async def until(site: Site, condition: Callable[[], Any]) -> None:
    with anyio.fail_after(patience_s):
        while not condition():
            await site.driver.heard.wait()


async def admit(site: Site, name: str, role: str = "site") -> str:
    """Let in somebody whose machine nobody ever sees; the replica's id."""
    public = folder.new_keys().identity().public
    entry = members.entry_of(public, name=name, role=role)
    state = site.driver.replica.membership.state()
    await site.sign(lambda host, place: members.adding(host, place, state, entry))
    return base32(public.replica)


def state_of(site: Site, name: str) -> str:
    return str(next(member["state"] for member in site.members() if member["name"] == name))


def sealing(site: Site) -> str | None:
    epoch = site.driver.replica.membership.state().sealing_epoch()
    return None if epoch is None else base32(epoch)


@LEAVE
async def test_a_member_leaves_while_nobody_is_served(tmp_path: Path, leave: Leave) -> None:
    async with practice(tmp_path, "Jena", "Weimar") as [jena, weimar]:
        async with mesh(jena, weimar):
            await add(weimar, Patient(family_name="Muster"))
            await agree(jena, weimar)
        before = sealing(jena)
        told = await leave(jena, " Weimar ")
        state = "revoked" if leave is revoke else "closed"
        assert told == {
            "name": "Weimar",
            "replica": weimar.replica,
            "role": "site",
            "state": state,
            "commits": 1,
            "epoch": sealing(jena),
            "admins": ["Jena"],
        }
        assert told["epoch"] not in (before, None) and state_of(jena, "Weimar") == state
        await add(jena, Task(title="goes on"))
        assert jena.driver.holders(await add(jena, Task(title="and on"))) == 1
        with pytest.raises(RefusedError, match=f"Weimar was {state} before"):
            await leave(jena, "Weimar")


@LEAVE
async def test_who_may_not_leave_and_why(tmp_path: Path, leave: Leave) -> None:
    async with create(tmp_path / "jena") as jena:
        with pytest.raises(RefusedError, match=r"Jena does not \w+ itself: decide this at another admin site"):
            await leave(jena, "Jena")
        with pytest.raises(NotFound, match="no member named Gera; `members` lists them"):
            await leave(jena, "Gera")
        with pytest.raises(NotFound, match="no member named recovery"):
            await leave(jena, "recovery")
        one, other = await admit(jena, "Gera"), await admit(jena, "Gera")
        with pytest.raises(RefusedError, match="2 members are named Gera: say which one") as raised:
            await leave(jena, "Gera")
        assert one in str(raised.value) and other in str(raised.value)
        assert (await leave(jena, other))["replica"] == other
        assert (await leave(jena, "Gera"))["replica"] == one, "only one of that name is left"
        assert len(jena.members()) == 3 and state_of(jena, "Jena") == "active"


@LEAVE
async def test_who_is_no_admin_shuts_nobody_out(tmp_path: Path, leave: Leave) -> None:
    async with create(tmp_path / "jena") as jena, jena.serve("127.0.0.1:0", only_peers=True):
        code = await jena.invite("Gera", admin=False, trust_code=True)
        async with Site.join(tmp_path / "gera", code, passphrase=PASSPHRASE) as gera:
            with pytest.raises(RefusedError, match="Gera is no admin of the practice"):
                await leave(gera, "Jena")
            assert state_of(gera, "Jena") == "active"


async def test_a_reason_is_asked_for(tmp_path: Path) -> None:
    async with create(tmp_path / "jena") as jena:
        await admit(jena, "Gera")
        for reason in ("", "  ", "x" * 2001):
            with pytest.raises(BadValue, match="say why Gera is revoked"):
                await jena.revoke("Gera", reason)
        assert state_of(jena, "Gera") == "active"
        await jena.revoke("Gera", "lent to somebody")


async def test_a_live_link_ends_and_nothing_more_is_taken_or_given(tmp_path: Path) -> None:
    async with practice(tmp_path, "Jena", "Weimar", "Gera") as [jena, weimar, gera], mesh(jena, weimar, gera):
        await add(gera, Patient(family_name="Muster"))
        await agree(jena, weimar, gera)
        await jena.revoke("Gera", "stolen")
        await until(weimar, lambda: state_of(weimar, "Gera") == "revoked")
        for site in (jena, weimar):
            await until(site, lambda site=site: len(site.driver.replica.peers) == 1)  # type: ignore[misc]
        with anyio.fail_after(patience_s):
            while gera.driver.replica.peers:
                await gera.driver.links_changed.wait()
        secret = await add(jena, Task(title="afterwards"))
        await agree(jena, weimar)
        await add(gera, Task(title="of the thief"))
        assert gera.driver.replica.stored.sequence(secret.log) < secret.sequence
        assert [peer["site"] for peer in (await weimar.status())["peers"]] == ["Jena"]
        assert not gera.driver.replica.peers


async def test_a_closed_site_that_comes_back_hands_over_what_it_had(tmp_path: Path) -> None:
    async with practice(tmp_path, "Jena", "Weimar", "Gera") as [jena, weimar, gera]:
        await add(gera, Patient(family_name="Muster"))
        told = await jena.close_site("Gera")
        assert (told["commits"], told["state"]) == (0, "closed")
        late = await add(gera, Task(title="too late"))
        new = await add(jena, Task(title="afterwards"))
        async with mesh(jena, weimar, gera):
            for site in (jena, weimar):
                await until(site, lambda site=site: site.driver.replica.late == {late.log: 1})  # type: ignore[misc]
                assert await site.record_count() == {"patient": 1, "task": 1}
                await until(site, lambda site=site: new.log in site.driver.replica.stored)  # type: ignore[misc]
            await until(gera, lambda: state_of(gera, "Gera") == "closed")
            assert new.log not in gera.driver.replica.stored and await gera.record_count() == {"patient": 1, "task": 1}
            with pytest.raises(RefusedError, match="the practice has closed this site"):
                await add(gera, Task(title="knowingly"))
            with pytest.raises(RefusedError, match="belongs to the practice no longer"):
                await gera.wait_until_current()
            with anyio.fail_after(patience_s):
                await weimar.wait_until_current()
            [row] = (await jena.status())["late"]
            assert (row["site"], row["commits"]) == ("Gera", 1)
            await agree(jena, weimar)
            # A person looks at what Gera did, and finds that it is right.
            with pytest.raises(RefusedError, match="nothing of Weimar is set aside here"):
                await jena.accept_late("Weimar")
            with pytest.raises(NotFound, match="no member named Apolda"):
                await jena.accept_late("Apolda")
            assert await jena.accept_late("Gera") == {"name": "Gera", "commits": 1}
            for site in (jena, weimar):
                await until(site, lambda site=site: late.log in site.driver.replica.stored)  # type: ignore[misc]
                await until(site, lambda site=site: site.driver.replica.late == {})  # type: ignore[misc]
                assert (await site.record_count())["task"] == 2
            assert (await jena.status())["late"] == []
            await agree(jena, weimar)


async def test_a_closed_one_may_be_revoked_after_all(tmp_path: Path) -> None:
    async with create(tmp_path / "jena") as jena:
        await admit(jena, "Gera")
        await jena.close_site("Gera")
        assert (await jena.revoke("Gera", "it was stolen, as it turns out"))["state"] == "revoked"
        with pytest.raises(RefusedError, match="Gera was revoked before"):
            await jena.close_site("Gera")
