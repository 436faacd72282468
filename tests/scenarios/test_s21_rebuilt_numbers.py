"""S21, its part about numbers: server B dies and is made anew over the network from A. No number and no commit id is
used again; the rest of B's range is closed until somebody releases it; digests are equal."""

from __future__ import annotations

from pathlib import Path

import pytest

from crdtsync import Site, members
from crdtsync.errors import NotFound, RefusedError
from crdtsync.ids import from_base32, replica_of
from tests.scenarios.numbers import filled, heard, new, numbers
from tests.sites import agree, create, join, mesh, opened, practice

pytestmark = pytest.mark.anyio


async def remove(site: Site, replica: str) -> None:
    """An admin signs that a replica belongs to the practice no more."""
    state = site.driver.replica.membership.state()
    member = next(m for m in state.members.values() if m.replica == from_base32(replica))
    heads = {log: head for log, head in site.driver.replica.stored.items() if replica_of(log) == member.replica}
    await site.sign(lambda host, place: members.removing(host, place, state, member, "its disk is dead", heads))


async def test_a_site_that_is_made_anew_under_its_name(tmp_path: Path) -> None:
    async with create(tmp_path / "jena") as jena:
        await join(jena, tmp_path / "weimar", "Weimar")
        async with opened(tmp_path / "weimar") as weimar:
            async with mesh(jena, weimar):
                await jena.ranges.set("Jena", 1, 99)
                await jena.ranges.set("Weimar", 100, 199)
                await agree(jena, weimar)
                known = await new(weimar, 5)
                await agree(jena, weimar)
            dead = weimar.replica
            unseen = await new(weimar, 3)
            assert await numbers(weimar, unseen) == [105, 106, 107], "on paper; nobody else heard of them"
        await remove(jena, dead)
        before = {log for log in jena.driver.replica.stored if replica_of(log) == from_base32(dead)}
        await join(jena, tmp_path / "weimar-2", "Weimar")
        async with opened(tmp_path / "weimar-2") as weimar, mesh(jena, weimar):
            digest = await agree(jena, weimar)
            assert digest == (await weimar.digest())["digest"]
            assert await numbers(weimar, known) == [100, 101, 102, 103, 104]
            waiting = await new(weimar)
            assert await numbers(weimar, waiting) == [None]
            told = (await weimar.status())["numbers"]
            assert told["closed"] and "range release DIR --name Weimar" in told["warnings"][0]
            await agree(jena, weimar)
            released = await jena.ranges.release("Weimar", above=107, author="dr.weber", reason="the card file")
            assert released["replica"] == weimar.replica and [each["above"] for each in released["ranges"]] == [107]
            assert await filled(weimar, waiting) == [108]
            assert await numbers(weimar, await new(weimar)) == [109]
            await agree(jena, weimar)
            assert await jena.conflicts() == [] and not (await weimar.status())["numbers"]["closed"]
            logs = {log for log in jena.driver.replica.stored if replica_of(log) == from_base32(weimar.replica)}
            assert logs and not logs & before, "what is written now stands in logs of its own"


async def test_without_a_word_about_paper_numbers_go_on_above_the_highest_known(tmp_path: Path) -> None:
    """Made anew under another name; the one that is gone was not removed."""
    async with practice(tmp_path, "Jena", "Weimar", "Gera") as (jena, weimar, gera):
        async with mesh(jena, weimar, gera):
            await jena.ranges.set("Weimar", 100, 199)
            await agree(jena, weimar, gera)
            known = await new(weimar, 4)
            await agree(jena, weimar, gera)
            with pytest.raises(RefusedError, match="Weimar runs"):
                await jena.ranges.release("Weimar", to="Gera")
            with pytest.raises(RefusedError, match="nothing of Weimar is closed"):
                await jena.ranges.release("Weimar")
            with pytest.raises(NotFound, match="no range of Gera"):
                await jena.ranges.release("Gera")
        async with mesh(jena, gera):
            await jena.ranges.release("Weimar", to="Gera", author="dr.weber")
            await agree(jena, gera)
            assert [each["site"] for each in await gera.ranges.listed()] == ["Gera"]
            assert await numbers(gera, await new(gera, 2)) == [104, 105]
            assert await numbers(jena, known) == [100, 101, 102, 103]
            await agree(jena, gera)
        async with mesh(jena, weimar):  # it was only cut off: it hears that these numbers are another's
            await agree(jena, weimar)
            assert await numbers(weimar, await new(weimar)) == [None]
            await agree(jena, weimar)
            assert await jena.conflicts() == []


async def test_only_an_admin_sets_and_moves_ranges(tmp_path: Path) -> None:
    async with create(tmp_path / "jena") as jena:
        async with jena.serve("127.0.0.1:0", only_peers=True):
            code = await jena.invite("Weimar", admin=False, trust_code=True)
            async with Site.join(tmp_path / "weimar", code, passphrase="correct horse"):
                pass
        async with opened(tmp_path / "weimar") as weimar, mesh(jena, weimar):
            range_ = await jena.ranges.set("Weimar", 1, 9)
            await agree(jena, weimar)
            await heard(weimar, lambda: weimar.member() is not None)
            for refused in (
                weimar.ranges.set("Weimar", 20, 29),
                weimar.ranges.stop(range_["id"]),
                weimar.ranges.release("Weimar", to="Jena"),
            ):
                with pytest.raises(RefusedError, match="Weimar is no admin"):
                    await refused
