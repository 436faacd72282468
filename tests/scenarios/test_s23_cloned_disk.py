"""S23: a site's folder is copied and both copies run; or an older copy is put back; or somebody only says so.

Nothing is lost, all sites become equal, everybody sees it at first contact, and the site is suspended until an admin
signs which copy goes on: that one writes on, the other one refuses.
"""

from __future__ import annotations

import shutil
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import anyio
import pytest

from crdtsync import Site, limits
from crdtsync.errors import NotFound, RefusedError
from crdtsync.ids import CommitHash, Head, LogId, base32, boot_of, replica_of
from crdtsync.practice import Patient
from crdtsync.replication import messages
from tests.sites import add, agree, create, join, linked, opened, patience_s

pytestmark = pytest.mark.anyio


async def hear(site: Site, condition: Callable[[], bool]) -> None:
    """Wait until something is so at a site that hears others."""
    with anyio.fail_after(patience_s):
        while not condition():
            await site.driver.heard.wait()


@asynccontextmanager
async def practice(folder: Path) -> AsyncIterator[tuple[Site, Site]]:
    """Jena and Gera, open; Weimar has written two patients that both know, and is closed."""
    async with AsyncExitStack() as stack:
        jena = await stack.enter_async_context(create(folder / "jena"))
        for name in ("Gera", "Weimar"):
            await join(jena, folder / name.lower(), name)
        gera = await stack.enter_async_context(opened(folder / "gera"))
        async with opened(folder / "weimar") as weimar:
            await add(weimar, Patient(family_name="Schmidt"), Patient(family_name="Weber"))
            async with serving(jena) as address, serving(gera, address), serving(weimar, address):
                await agree(jena, gera, weimar)
        yield jena, gera


@asynccontextmanager
async def serving(site: Site, *peers: str) -> AsyncIterator[str]:
    """The site serves and dials these; its address. Leaving waits until its links have ended."""
    async with site.serve("127.0.0.1:0", peers=peers, only_peers=True) as running:
        if peers:
            await linked(site, 1)
        yield running.address


def suspended(site: Site) -> list[str]:
    return [site.driver.replica.describe(replica) for replica in site.driver.replica.suspended]


def alarms(site: Site, kind: str) -> int:
    return sum(notice.kind == kind for notice in site.driver.alarms)


async def settled(*sites: Site) -> None:
    for site in sites:
        await hear(site, lambda site=site: not suspended(site))  # type: ignore[misc]  # mypy infers no lambda with a default


async def names(site: Site) -> list[str]:
    return sorted(patient.family_name or "" for patient in await site.find(Patient))


ALL = ["Bauer", "Fischer", "Schmidt", "Weber"]


@asynccontextmanager
async def two_copies(folder: Path) -> AsyncIterator[list[Site]]:
    """Weimar twice: each copy has written a patient of its own, without having met anybody."""
    shutil.copytree(folder / "weimar", folder / "copy")
    async with opened(folder / "weimar") as original, opened(folder / "copy") as copy:
        await add(original, Patient(family_name="Bauer"))
        await add(copy, Patient(family_name="Fischer"))
        yield [original, copy]


@pytest.mark.parametrize(
    "order",
    [pytest.param((0, 1), id="original first"), pytest.param((1, 0), id="copy first", marks=pytest.mark.slow)],
)
async def test_both_copies_count_and_one_goes_on(tmp_path: Path, order: Sequence[int]) -> None:
    async with practice(tmp_path) as (jena, gera), two_copies(tmp_path) as copies:
        first, second = (copies[number] for number in order)
        async with serving(jena) as address, serving(gera, address):
            async with serving(first, address):
                await agree(jena, gera, first)
                assert suspended(jena) == suspended(gera) == suspended(first) == [], "one copy is a restart"
            async with serving(second, address):
                # First contact: each side tells the other what it lacks, and has seen it when that is there.
                await agree(jena, gera, second)
                assert suspended(jena) == suspended(gera) == suspended(second) == ["Weimar"]
            async with serving(first, address):
                await agree(jena, gera, first, second)
                everybody = [jena, gera, first, second]
                assert all(suspended(site) == ["Weimar"] and alarms(site, "clone") == 1 for site in everybody)
                assert [await names(site) for site in everybody] == [ALL] * 4
            await add(first, Patient(family_name="Vogt"))  # suspended sites work on
            async with serving(first, address), serving(second, address):
                await agree(jena, gera, first, second)
                await decided(jena, first, second)
                await settled(jena, gera, first, second)
                with pytest.raises(RefusedError, match="another copy of this site goes on"):
                    await add(second, Patient(family_name="lost?"))
                await add(first, Patient(family_name="Zander"))
                await agree(jena, gera, first, second)
                assert await names(second) == sorted([*ALL, "Vogt", "Zander"])
                assert [(await site.verify())["problems"] for site in (jena, first, second)] == [[]] * 3


async def decided(admin: Site, winner: Site, loser: Site) -> None:
    """The admin reads `status` and signs."""
    [told] = (await admin.status())["suspended"]
    assert (told["site"], told["replica"]) == ("Weimar", winner.replica)
    boots = {each["boot"]: each["commits"] for each in told["boots"]}
    tips = {base32(boot_of(each)) for log in (winner, loser) if (each := log.driver.replica.log) is not None}
    assert boots.keys() == tips and all(count >= 1 for count in boots.values())
    log = winner.driver.replica.log
    assert log is not None
    with pytest.raises(NotFound, match="it is one of"):
        await admin.succeed("Weimar", "nonsense")
    with pytest.raises(RefusedError, match="writes in one line"):
        await admin.succeed("Gera", base32(boot_of(log)))
    with pytest.raises(NotFound, match="no site named"):
        await admin.succeed("Apolda", base32(boot_of(log)))
    done = await admin.succeed("Weimar", base32(boot_of(log)))
    assert done["closed"] == sorted(tips - {base32(boot_of(log))})


async def test_both_copies_linked_to_one_site_at_once(tmp_path: Path) -> None:
    async with practice(tmp_path) as (jena, gera), two_copies(tmp_path) as (one, two), AsyncExitStack() as stack:
        address = await stack.enter_async_context(serving(jena))
        for site in (gera, one, two):
            await stack.enter_async_context(site.serve("127.0.0.1:0", peers=[address], only_peers=True))
        for site in (jena, gera, one, two):
            await hear(site, lambda site=site: suspended(site) == ["Weimar"])  # type: ignore[misc]  # as above
        weimar = replica_of(next(iter(jena.driver.replica.suspended.values()))[0])
        await hear(jena, lambda: both(jena, weimar) == 2)
        for name, site in (("Kaiser", one), ("Lorenz", two), ("Meyer", one)):
            await add(site, Patient(family_name=name))
        await agree(jena, gera, one, two)
        assert await names(gera) == sorted([*ALL, "Kaiser", "Lorenz", "Meyer"])
        assert both(jena, weimar) == 2, "they stand beside each other"


def both(site: Site, replica: bytes) -> int:
    return sum(peer.replica == replica and peer.live for peer in site.driver.replica.peers.values())


async def test_the_loser_knows_it_also_after_a_restart_and_offline(tmp_path: Path) -> None:
    async with practice(tmp_path) as (jena, _):
        async with two_copies(tmp_path) as (original, copy), serving(jena) as address:
            for site in (copy, original):
                async with serving(site, address):
                    await agree(jena, site)
            await decided(jena, copy, original)
            for site in (original, copy):
                async with serving(site, address):
                    await settled(site)
        async with opened(tmp_path / "weimar") as original:
            assert (await original.status())["superseded"]
            with pytest.raises(RefusedError, match="join with it as a new site"):
                await add(original, Patient(family_name="Nagel"))
        async with opened(tmp_path / "copy") as copy:
            assert not (await copy.status())["superseded"]
            await add(copy, Patient(family_name="Nagel"))


# -- an older copy is put back -----------------------------------------------------------------------------------------


async def set_back(folder: Path, jena: Site) -> None:
    """Weimar wrote a patient that Jena has, and its folder is as it was before."""
    shutil.copytree(folder / "weimar", folder / "older")
    async with opened(folder / "weimar") as weimar, serving(jena) as address:
        await add(weimar, Patient(family_name="Bauer"))
        async with serving(weimar, address):
            await agree(jena, weimar)
    shutil.rmtree(folder / "weimar")
    (folder / "older").rename(folder / "weimar")


async def test_an_older_folder_that_meets_others_before_it_writes_goes_on_in_line(tmp_path: Path) -> None:
    async with practice(tmp_path) as (jena, gera):
        await set_back(tmp_path, jena)
        async with opened(tmp_path / "weimar") as weimar:
            assert await names(weimar) == ["Schmidt", "Weber"]
            async with serving(jena) as address, serving(gera, address), serving(weimar, address):
                with anyio.fail_after(patience_s):
                    assert await weimar.recover() == {"recovering": False}
                await agree(jena, weimar)
                assert alarms(weimar, "restored") == 1
                await add(weimar, Patient(family_name="Fischer"))
                await agree(jena, gera, weimar)
                assert all(suspended(site) == [] and alarms(site, "clone") == 0 for site in (jena, gera, weimar))
                assert await names(gera) == ALL


async def test_an_older_folder_that_writes_first_is_a_branch(tmp_path: Path) -> None:
    async with practice(tmp_path) as (jena, gera):
        await set_back(tmp_path, jena)
        async with opened(tmp_path / "weimar") as weimar:
            await add(weimar, Patient(family_name="Fischer"))
            async with serving(jena) as address, serving(gera, address), serving(weimar, address):
                await agree(jena, gera, weimar)
                assert suspended(jena) == suspended(gera) == suspended(weimar) == ["Weimar"]
                assert [await names(site) for site in (jena, gera, weimar)] == [ALL] * 3
                log = weimar.driver.replica.log
                assert log is not None
                await jena.succeed("Weimar", base32(boot_of(log)))
                await settled(jena, gera, weimar)
                await add(weimar, Patient(family_name="Vogt"))
                await agree(jena, gera, weimar)


async def test_a_disk_set_back_without_a_sign_never_writes_its_log_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As a machine does that is set back together with its memory: the proof of continuity holds, and is wrong."""
    async with practice(tmp_path) as (jena, gera):
        await set_back(tmp_path, jena)
        with monkeypatch.context() as patched:
            patched.setattr("crdtsync.storage.continuity.Continuity.proves", lambda *_: True)
            async with opened(tmp_path / "weimar") as weimar:
                before = weimar.driver.replica.log
                async with serving(jena) as address, serving(gera, address), serving(weimar, address):
                    await agree(jena, weimar)
                    with anyio.fail_after(patience_s):
                        await weimar.recover()
                    assert alarms(weimar, "rollback") == 1
                    commit = await add(weimar, Patient(family_name="Fischer"))
                    assert commit.log != before and commit.sequence == 1
                    await agree(jena, gera, weimar)
                    assert suspended(jena) == [] and await names(gera) == ALL


# -- somebody only says so ---------------------------------------------------------------------------------------------


async def lie(liar: Site, victim: Site, log: LogId) -> None:
    """The liar says that it holds a million commits of a log of the victim."""
    have = messages.encode(messages.Have(((log, Head(1_000_000, CommitHash(bytes(32)))),), False))
    await linked(liar, 1)
    for number, peer in liar.driver.replica.peers.items():
        if peer.replica == victim.driver.replica.id:
            liar.driver._links[number].post(have)


async def test_a_member_that_lies_stops_nobody_for_longer_than_the_patience(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "claim_patience_s", 0.5)
    told: list[str] = []
    async with practice(tmp_path) as (jena, gera), opened(tmp_path / "weimar") as weimar:
        core = weimar.driver.replica
        current = core.log
        assert current is not None
        async with serving(jena) as at_jena, serving(gera) as at_gera:
            peers = [at_jena, at_gera]
            listen = "127.0.0.1:0"
            async with weimar.serve(
                listen, peers=peers, only_peers=True, on_event=lambda event: told.append(str(event.get("text")))
            ):
                await linked(weimar, 2)
                await agree(jena, gera, weimar)
                await lie(gera, weimar, current)
                await hear(weimar, lambda: core.recovering)
                with pytest.raises(RefusedError, match="which are fetched first"):
                    await add(weimar, Patient(family_name="Bauer"))
                with anyio.fail_after(patience_s):
                    await weimar.recover()
                await hear(weimar, lambda: alarms(weimar, "claim") == 1)
                assert any(text.startswith("Gera says that it holds commits of this site") for text in told)
                commit = await add(weimar, Patient(family_name="Bauer"))
                assert commit.log == core.log != current
                await lie(gera, weimar, commit.log)
                await hear(weimar, lambda: any("for the second time" in text for text in told))
                assert not core.recovering and alarms(weimar, "claim") == 1
                await add(weimar, Patient(family_name="Fischer"))
                await agree(jena, gera, weimar)  # a liar is dialled again like anybody, and gets what it lacks
                assert suspended(jena) == [] and await names(gera) == ALL
