"""S16: two ranges that overlap: refused; created unseen at two sites: an alarm at both, and the younger is stopped."""

from __future__ import annotations

from pathlib import Path

import pytest

from crdtsync.errors import RefusedError
from crdtsync.practice import Patient
from tests.scenarios.numbers import filled, new, numbers, told
from tests.sites import agree, mesh, practice

pytestmark = pytest.mark.anyio


async def test_a_range_over_another_is_refused_at_every_site(tmp_path: Path) -> None:
    async with practice(tmp_path, "Jena", "Weimar") as (jena, weimar), mesh(jena, weimar):
        await jena.ranges.set("Jena", 100, 199)
        await agree(jena, weimar)
        for site in (jena, weimar):
            with pytest.raises(RefusedError, match="Jena has the range 100 to 199 already"):
                await site.ranges.set("Weimar", 150, 300)
        with pytest.raises(RefusedError, match="given by Jena alone"):
            async with weimar.transaction(author="dr.weber") as tx:
                tx.add(Patient(number=150))
        assert await weimar.conflicts() == []


async def test_set_unseen_at_two_sites_the_younger_is_stopped(tmp_path: Path) -> None:
    async with practice(tmp_path, "Jena", "Weimar") as (jena, weimar):
        older = await jena.ranges.set("Jena", 100, 199)
        younger = await weimar.ranges.set("Weimar", 102, 250)
        at_jena, at_weimar = await new(jena, 4), await new(weimar, 2)
        assert await numbers(jena, at_jena) == [100, 101, 102, 103]
        assert await numbers(weimar, at_weimar) == [102, 103]
        async with mesh(jena, weimar):
            await agree(jena, weimar)
            for site in (jena, weimar):
                said = await told(site, "numbers in common")
                assert "the range 102 to 250 of Weimar has numbers in common with 100 to 199 of Jena" in said
            waiting = await new(weimar)
            assert await numbers(weimar, waiting) == [None]
            assert await numbers(jena, await new(jena, 2)) == [104, 105], "the older goes on"
            await agree(jena, weimar)
            found = [[(each["kind"], each["severity"]) for each in await site.conflicts()] for site in (jena, weimar)]
            assert found[0] == found[1]
            assert sorted(found[0]) == [("duplicate_number", "high")] * 2 + [("range_overlap", "high")]
            for site in (jena, weimar):
                [overlap] = await site.conflicts(kind="range_overlap")
                assert sorted(overlap["records"]) == sorted([older["id"], younger["id"]])
                states = {each["site"]: each["state"] for each in await site.ranges.listed()}
                assert states == {"Jena": "open", "Weimar": "stopped"}
            [source] = (await weimar.status())["ranges"]
            assert source["state"] == "stopped"
            assert "range stop" in (await weimar.status())["numbers"]["warnings"][0]
            # What people do about it: end the younger one for good, and set another.
            await jena.ranges.stop(younger["id"], author="dr.weber", reason="overlaps")
            await jena.ranges.set("Weimar", 300, 399)
            assert await filled(weimar, waiting) == [300]
            await agree(jena, weimar)
            assert [each["kind"] for each in await jena.conflicts()] == ["duplicate_number"] * 2
            with pytest.raises(RefusedError, match="already"):
                await jena.ranges.set("Jena", 240, 245)
