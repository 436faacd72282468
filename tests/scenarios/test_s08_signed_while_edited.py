"""S8: a chart entry is signed at Jena while Weimar, cut off, edits it.

The signed version is intact at every site; Weimar's text is there beside it, and becomes a child version when somebody
signs it. What Weimar had made a version itself is a second head: both are shown until somebody decides.
"""

from __future__ import annotations

import datetime
import json
from pathlib import Path

import pytest

from crdtsync import Site, Undecided
from crdtsync.practice import ChartEntry, ChartVersion
from tests.scenarios.processes import Practice, converged
from tests.sites import add, agree, mesh, practice

AT = datetime.datetime(2026, 3, 2, 9, tzinfo=datetime.UTC)


async def sign(site: Site, entry: ChartEntry, by: str) -> str:
    async with site.transaction(author=by, reason="signed") as tx:
        return (await tx.get(ChartEntry, entry.id)).sign(by, AT).id


@pytest.mark.anyio
async def test_text_that_was_typed_unseen_is_kept_and_becomes_a_child_version(tmp_path: Path) -> None:
    async with practice(tmp_path, "Jena", "Weimar", "Gera") as (jena, weimar, gera):
        entry = ChartEntry(type="note", draft="Husten seit drei Tagen.")
        await add(jena, entry)
        async with mesh(jena, weimar, gera):
            await agree(jena, weimar, gera)

        signed = await sign(jena, entry, "dr.weber")
        async with weimar.transaction(author="dr.yilmaz") as tx:
            (await tx.get(ChartEntry, entry.id)).draft.append(" Kein Fieber.")
        async with mesh(jena, weimar, gera):
            await agree(jena, weimar, gera)
            for site in (jena, weimar, gera):
                found = await site.get(ChartEntry, entry.id)
                assert found.versions.head is not None and found.versions.head.id == signed
                assert found.versions.head.value.text == "Husten seit drei Tagen."
                assert found.versions.head.value.signed_by == "dr.weber"
                assert found.unsigned == "Husten seit drei Tagen. Kein Fieber."
            child = await sign(gera, entry, "dr.yilmaz")
            await agree(jena, weimar, gera)

        for site in (jena, weimar, gera):
            found = await site.get(ChartEntry, entry.id)
            assert [(version.id, version.parents) for version in found.versions] == [(signed, ()), (child, (signed,))]
            assert found.unsigned is None and found.conflicts == {}
            rows = await site.sql("SELECT versions_text, versions_signed_by FROM chart_entry")
            assert rows == [
                {"versions_text": "Husten seit drei Tagen. Kein Fieber.", "versions_signed_by": "dr.yilmaz"}
            ]


@pytest.mark.anyio
async def test_a_version_that_was_made_unseen_is_a_second_head(tmp_path: Path) -> None:
    async with practice(tmp_path, "Jena", "Weimar", "Gera") as (jena, weimar, gera):
        entry = ChartEntry(type="note", draft="Husten.", versions=[ChartVersion(text="Husten.")])
        await add(jena, entry)
        async with mesh(jena, weimar, gera):
            await agree(jena, weimar, gera)

        signed = await sign(jena, entry, "dr.weber")
        async with weimar.transaction(author="dr.yilmaz") as tx:
            edited = (await tx.get(ChartEntry, entry.id)).versions.add(ChartVersion(text="Husten, Fieber."))
        assert edited is not None
        async with mesh(jena, weimar, gera):
            await agree(jena, weimar, gera)
            ids = {await one_conflict(site, {signed, edited.id}) for site in (jena, weimar, gera)}
            assert len(ids) == 1
            found = await gera.get(ChartEntry, entry.id)
            assert {head.id: head.value.text for head in found.versions.heads} == {
                signed: "Husten.",
                edited.id: "Husten, Fieber.",
            }
            with pytest.raises(Undecided):
                found.decided("versions")
            async with gera.transaction(author="dr.weber", reason="both are right") as tx:
                (await tx.get(ChartEntry, entry.id)).versions.add(ChartVersion(text="Husten, Fieber.", signed_by="w"))
            await agree(jena, weimar, gera)

        for site in (jena, weimar, gera):
            found = await site.get(ChartEntry, entry.id)
            assert found.versions.head is not None and set(found.versions.head.parents) == {signed, edited.id}
            assert await site.conflicts() == []
            kept = {version.id: version.value for version in found.versions}
            assert kept[signed].signed_by == "dr.weber" and kept[edited.id].signed_by is None


async def one_conflict(site: Site, heads: set[str]) -> str:
    (conflict,) = await site.conflicts()
    assert (conflict["field"], conflict["severity"]) == ("versions", "medium")
    assert {value["id"] for value in conflict["values"]} == heads
    return str(conflict["id"])


@pytest.mark.slow
def test_by_the_command_line(practice: Practice) -> None:
    jena, weimar, gera = practice.found("Jena", "Weimar", "Gera")
    jena.serve()
    weimar.serve(jena)
    gera.serve(weimar)
    entry = jena.verb("record new", "chart_entry", "type=note", "draft=Husten.")["id"]
    converged(jena, weimar, gera, records=1)
    weimar.stop()
    gera.stop()
    signed = {"text": "Husten.", "signed_by": "dr.weber", "signed_at": "2026-03-02T09:00:00Z"}
    jena.verb("record set", entry, f"versions={json.dumps(signed)}", "--author", "dr.weber")
    weimar.verb("record set", entry, "draft=Husten, Fieber.", 'versions={"text": "Husten, Fieber."}')
    weimar.serve(jena)
    gera.serve(weimar)
    converged(jena, weimar, gera, records=1)
    for server in (jena, weimar, gera):
        shown = server.verb("record show", entry)
        heads = {head["text"]: head.get("signed_by") for head in shown["conflicts"]["versions"]}
        assert heads == {"Husten.": "dr.weber", "Husten, Fieber.": None}
        assert shown["fields"]["draft"] == "Husten, Fieber." and len(shown["fields"]["versions"]) == 2
        assert signed.items() <= next(each for each in shown["fields"]["versions"] if "signed_by" in each).items()
