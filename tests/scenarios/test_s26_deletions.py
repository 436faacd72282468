"""S26: thousands of entries are deleted by accident. The brake holds it at that site; where somebody confirms it by
mistake, revert brings all back, keeps later edits, and history shows both."""

from __future__ import annotations

from pathlib import Path

import anyio
import anyio.lowlevel
import pytest

from crdtsync import Braked, Site
from crdtsync.ids import commit_text, record_id_from
from crdtsync.practice import ChartEntry
from tests.sites import agree, mesh, practice

pytestmark = pytest.mark.anyio
patients = 40


async def fill(site: Site, count: int) -> list[ChartEntry]:
    entries = [
        ChartEntry(patient=record_id_from(str(n % patients)), type="note", draft=f"Befund {n}") for n in range(count)
    ]
    async with site.transaction(author="import", mass=True) as tx:
        for entry in entries:
            tx.add(entry)
    return entries


async def retracted(site: Site) -> int:
    return len(await site.find(ChartEntry, retracted=True))


class Desk:
    """Somebody at the other site who edits the same entries all the time."""

    def __init__(self, site: Site, entries: list[ChartEntry]) -> None:
        self.site, self.entries = site, entries
        self.edits: list[tuple[int, str]] = []
        self.wanted = anyio.Event()

    async def work(self) -> None:
        while True:
            number = len(self.edits) * 7 % len(self.entries)
            text = f" [{len(self.edits)}]"
            async with self.site.transaction(author="anna") as tx:
                (await tx.get(ChartEntry, self.entries[number].id)).draft.append(text)
            self.edits.append((number, text))
            if len(self.edits) == 5:
                self.wanted.set()
            await anyio.lowlevel.checkpoint()


async def play(folder: Path, count: int) -> None:
    async with practice(folder, "Jena", "Weimar") as (jena, weimar), mesh(jena, weimar):
        entries = await fill(jena, count)
        await agree(jena, weimar)
        with pytest.raises(Braked) as caught:
            async with jena.transaction(author="eve", reason="tidying up") as tx:
                for entry in entries:
                    (await tx.get(ChartEntry, entry.id)).retracted = True
        async with jena.transaction(author="bert") as tx:
            tx.add(ChartEntry(patient=entries[0].patient, type="note", draft="nothing else waits"))
        await agree(jena, weimar)
        assert await retracted(jena) == await retracted(weimar) == 0
        [waiting] = (await jena.status())["proposals"]
        assert waiting["id"] == caught.value.proposal and waiting["kinds"] == {"chart_entry": count}
        assert (await weimar.status())["proposals"] == []

        wrong = (await jena.approve(waiting["id"], author="bert"))["commits"]
        await agree(jena, weimar)
        assert await retracted(jena) == await retracted(weimar) == count

        desk = Desk(weimar, entries)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(desk.work)
            await desk.wanted.wait()
            made = await jena.revert(commit=wrong, preview=True)
            assert made["records"] == count and {each["field"] for each in made["changes"]} == {"retracted"}
            done = await jena.revert(confirm=made["id"], author="bert", reason="confirmed by mistake")
            tasks.cancel_scope.cancel()
        await agree(jena, weimar)
        for site in (jena, weimar):
            assert await retracted(site) == 0
            shown = {entry.id: entry for entry in await site.find(ChartEntry)}
            assert all(text in str(shown[entries[number].id].draft) for number, text in desk.edits)
            assert await site.conflicts() == []
            told = await site.history(entries[1].id)
            assert [entry["author"] for entry in told if entry["author"] != "anna"] == ["import", "eve", "bert"]
            steps = {entry["commit"]: entry for entry in told}
            gone, back = (next(each for each in steps if steps[each]["author"] == who) for who in ("eve", "bert"))
            assert back in map(commit_text, done["commits"])
            assert [steps[each]["changes"][0]["after"] for each in (gone, back)] == [True, False]
            assert steps[gone]["reason"] == "tidying up [confirmed by bert]"
        await jena.revert(confirm=(await jena.revert(commit=done["commits"], preview=True))["id"], author="bert")
        assert await retracted(jena) == count, "the revert was a change like any other"


async def test_three_hundred_deletions(tmp_path: Path) -> None:
    await play(tmp_path, 300)


@pytest.mark.slow
async def test_five_thousand_deletions(tmp_path: Path) -> None:
    await play(tmp_path, 5_000)
