"""What a site tells of copies of folders, and what people decide: as the library gives it (L4)."""

from __future__ import annotations

from pathlib import Path

import anyio
import pytest

from crdtsync import Site
from crdtsync.errors import RefusedError
from crdtsync.practice import Patient

from .sites import PASSPHRASE, add, at_host, create, linked, mesh, opened, patience_s, practice

pytestmark = pytest.mark.anyio


async def waits(site: Site) -> None:
    """As a process leaves it that was told of newer commits and did not get them."""
    await at_host(site, lambda host: host.note_recovering(True))


async def test_a_site_that_waits_writes_after_a_persons_word(tmp_path: Path) -> None:
    async with practice(tmp_path, "Jena", "Gera") as [jena, _]:
        assert await jena.recover() == {"recovering": False}, "nothing is missing"
        await waits(jena)
    async with opened(tmp_path / "jena") as jena:
        assert (await jena.status())["recovering"]
        with pytest.raises(RefusedError, match="which are fetched first"):
            await add(jena, Patient(family_name="Muster"))
        with pytest.raises(RefusedError, match="nobody is heard while it is not served"):
            await jena.recover()
        assert await jena.recover(alone=True) == {"recovering": False}
        await add(jena, Patient(family_name="Muster"))
        assert not (await jena.status())["recovering"]
    async with opened(tmp_path / "jena") as jena:
        assert not (await jena.status())["recovering"]


async def test_a_site_that_waits_writes_when_it_has_heard_somebody(tmp_path: Path) -> None:
    async with practice(tmp_path, "Jena", "Gera") as [jena, gera]:
        await add(gera, Patient(family_name="Muster"))
        await waits(jena)
    async with opened(tmp_path / "jena") as jena, opened(tmp_path / "gera") as gera:
        async with mesh(jena, gera):
            with anyio.fail_after(patience_s):
                await jena.recover()
            assert jena.driver.replica.stored == gera.driver.replica.stored
            await add(jena, Patient(family_name="Schmidt"))
        assert not await at_host(jena, lambda host: host.recovering)


async def test_somebody_who_waits_may_give_up(tmp_path: Path) -> None:
    async with practice(tmp_path, "Jena", "Gera") as [jena, gera]:
        await waits(jena)
    async with opened(tmp_path / "jena") as jena, jena.serve("127.0.0.1:0", only_peers=True):
        with anyio.move_on_after(0.01) as scope:
            await jena.recover()
        assert scope.cancelled_caught and (await jena.status())["recovering"]
    del gera


async def test_the_only_site_of_a_practice_waits_for_nobody(tmp_path: Path) -> None:
    async with create(tmp_path / "jena") as jena:
        await waits(jena)
    async with opened(tmp_path / "jena") as jena:
        assert await jena.recover() == {"recovering": False}
        await add(jena, Patient(family_name="Muster"))


async def test_who_is_no_admin_decides_nothing(tmp_path: Path) -> None:
    async with create(tmp_path / "jena") as jena, jena.serve("127.0.0.1:0", only_peers=True):
        code = await jena.invite("Gera", admin=False, trust_code=True)
        async with Site.join(tmp_path / "gera", code, passphrase=PASSPHRASE) as gera, gera.serve("127.0.0.1:0"):
            await linked(gera, 1)
            with pytest.raises(RefusedError, match="Gera is no admin"):
                await gera.succeed("Jena", "anything")
