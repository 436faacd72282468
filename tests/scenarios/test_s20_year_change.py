"""S20: year change at midnight during a cut: the pattern rolls over, nothing is re-used."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.billing import PATTERN, explained, in_year, invoice, made_ready, numbered
from tests.sites import agree, mesh, practice

pytestmark = pytest.mark.anyio


@pytest.fixture(autouse=True)
def _german_time(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The year is that of the machine's zone."""
    monkeypatch.setenv("TZ", "Europe/Berlin")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


async def test_the_count_begins_anew_at_midnight_where_the_holder_is(tmp_path: Path) -> None:
    async with practice(tmp_path, "Jena", "Weimar") as [jena, weimar]:
        await jena.add_series("R1", PATTERN, start=120)
        await jena.add_series("Q", "Q-{n}", start=7)
        async with mesh(jena, weimar):
            await agree(jena, weimar)
        given = []
        for at in ("2026-12-31T22:59:59.999+00:00", "2026-12-31T23:00:00+00:00"):  # midnight in Germany
            await in_year(jena, at)
            given += [(await jena.issue(await invoice(jena), "R1"))["number"] for _ in range(2)]
            given.append((await jena.issue(await invoice(jena), "Q"))["number"])
        assert given == ["R1-2026-00120", "R1-2026-00121", "Q-7", "R1-2027-00001", "R1-2027-00002", "Q-8"]
        # What was made ready in the old year, beyond the cut, is issued in the new one.
        await in_year(weimar, "2026-12-31T22:30:00+00:00")
        old = await made_ready(weimar, count=2)
        # A clock that is set back over midnight re-uses nothing.
        await in_year(jena, "2026-12-31T22:00:00+00:00")
        assert (await jena.issue(await invoice(jena), "R1"))["number"] == "R1-2026-00122"
        await in_year(jena, "2027-01-01T08:00:00+00:00")
        async with mesh(jena, weimar):
            assert await numbered(weimar, *old) == ["R1-2027-00003", "R1-2027-00004"]
            await agree(jena, weimar)
        for site in (jena, weimar):
            lines = await explained(site)
            assert [(line["year"], line["n"]) for line in lines] == [
                (2026, 120), (2026, 121), (2026, 122), (2027, 1), (2027, 2), (2027, 3), (2027, 4),
            ]  # fmt: skip
            assert [line["number"] for line in await explained(site, "Q")] == ["Q-7", "Q-8"]


async def test_both_sides_of_a_take_over_roll_over(tmp_path: Path) -> None:
    async with practice(tmp_path, "Jena", "Weimar") as [jena, weimar]:
        await jena.add_series("R1", PATTERN)
        async with mesh(jena, weimar):
            await agree(jena, weimar)
        await in_year(jena, "2026-12-31T12:00:00+00:00")
        await in_year(weimar, "2026-12-31T12:00:00+00:00")
        await weimar.take_over("R1", reason="Jena is lost")
        given = []
        for at in ("2026-12-31T12:00:00+00:00", "2027-01-01T12:00:00+00:00"):
            for site in (jena, weimar):
                await in_year(site, at)
                given.append((await site.issue(await invoice(site), "R1"))["number"])
        assert given == ["R1-2026-00001", "R1.2-2026-00001", "R1-2027-00001", "R1.2-2027-00001"]
        async with mesh(jena, weimar):
            await agree(jena, weimar)
        lines = await explained(weimar)
        assert {line["number"]: line["unseen"] for line in lines if line["number"]} == {
            "R1-2026-00001": True, "R1-2027-00001": True, "R1.2-2026-00001": False, "R1.2-2027-00001": False,
        }  # fmt: skip
