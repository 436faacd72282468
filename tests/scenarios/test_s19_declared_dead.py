"""S19: holder A is declared dead while only cut off; B takes over; A goes on counting and then hears.

No number twice, because B's carry the term; A has lost the duty; its unseen numbers are listed; an invoice with two
numbers is a conflict.
"""

from __future__ import annotations

from pathlib import Path

import anyio
import pytest

from crdtsync import BadValue, RefusedError, Site
from tests.billing import PATTERN, explained, in_year, invoice, number_of
from tests.sites import agree, mesh, patience_s, practice

pytestmark = pytest.mark.anyio
NOW = "2026-03-02T10:00:00+00:00"


async def alarmed(site: Site) -> str:
    """Wait for the alarm that a duty is lost."""
    with anyio.fail_after(patience_s):
        while True:
            seen = site.driver.changed.count
            found = [notice.text for notice in site.driver.alarms if notice.kind == "duty"]
            if found:
                return found[0]
            await site.driver.changed.beyond(seen)


async def test_a_holder_that_is_only_cut_off_never_shares_a_number(tmp_path: Path) -> None:
    async with practice(tmp_path, "Jena", "Weimar", "Gera") as [jena, weimar, gera]:
        await jena.add_series("R1", PATTERN)
        for site in (jena, weimar, gera):
            await in_year(site, NOW)
        both = await invoice(jena)
        assert (await jena.issue(await invoice(jena)))["number"] == "R1-2026-00001"
        async with mesh(jena, weimar, gera):
            await agree(jena, weimar, gera)
        with pytest.raises(BadValue, match="say why"):
            await gera.take_over("R1", "Weimar", reason=" ")
        told = await gera.take_over("R1", "Weimar", reason="Jena burnt down", author="admin")
        assert (told["holder"], told["term"]) == ("Weimar", 2)
        async with mesh(weimar, gera):
            await agree(weimar, gera)
        with pytest.raises(RefusedError, match="Weimar has the series R1 already"):
            await weimar.take_over("R1", reason="again")
        assert (await weimar.issue(await invoice(weimar)))["number"] == "R1.2-2026-00001"
        assert (await weimar.issue(both, "R1"))["number"] == "R1.2-2026-00002"
        open_end = (await explained(weimar))[1]
        assert (open_end["number"], open_end["n"], open_end["unseen"]) == (None, 2, True)
        assert "not known here" in open_end["gap"]
        # Jena, which is cut off, counts on; one of its numbers is for an invoice that has one already.
        unseen = await invoice(jena)
        assert (await jena.issue(unseen))["number"] == "R1-2026-00002"
        assert (await jena.issue(both))["number"] == "R1-2026-00003"
        async with mesh(jena, weimar, gera):
            await agree(jena, weimar, gera)
            assert "the series R1 was taken over: this site gives no more" in await alarmed(jena)
            await agree(jena, weimar, gera)
            late = await invoice(jena)
            assert (await jena.issue(late))["number"] == "R1.2-2026-00003", "asked of the holder"
            await agree(jena, weimar, gera)
        for site in (jena, weimar, gera):
            lines = await explained(site)
            assert [(line["number"], line["unseen"]) for line in lines] == [
                ("R1-2026-00001", False),
                ("R1-2026-00002", True),
                ("R1-2026-00003", True),
                ("R1.2-2026-00001", False),
                ("R1.2-2026-00002", False),
                ("R1.2-2026-00003", False),
            ], "Jena has said where it ended, so that its end is open no more"
            conflicts = [each for each in await site.conflicts() if each["field"] == "number"]
            assert [(each["records"], each["severity"]) for each in conflicts] == [([both], "high")]
            assert [each["how"] for each in (await site.series())[0]["terms"]] == ["founded", "taken_over"]


async def test_two_admins_take_over_unseen_for_two_sites_in_two_terms(tmp_path: Path) -> None:
    async with practice(tmp_path, "Jena", "Weimar", "Gera") as [jena, weimar, gera]:
        await jena.add_series("R1", PATTERN)
        for site in (jena, weimar, gera):
            await in_year(site, NOW)
        async with mesh(jena, weimar, gera):
            await agree(jena, weimar, gera)
        given = []
        for site in (weimar, gera):
            await site.take_over("R1", reason="Jena is lost")
            given.append((await site.issue(await invoice(site)))["number"])
        assert given == ["R1.2-2026-00001", "R1.3-2026-00001"]
        async with mesh(weimar, gera):
            await agree(weimar, gera)
            assert "Gera does" in await alarmed(weimar)
            await agree(weimar, gera)
            record = await invoice(weimar)
            assert (await weimar.issue(record))["number"] == "R1.3-2026-00002"
            await agree(weimar, gera)
        assert await number_of(gera, record) == "R1.3-2026-00002"
        assert not await gera.conflicts()
        # The founder takes it back: its own class of terms.
        async with mesh(jena, gera):
            await agree(jena, gera)
        assert (await jena.take_over("R1", reason="back again"))["term"] == 101
        assert (await jena.issue(await invoice(jena)))["number"] == "R1.101-2026-00001"
