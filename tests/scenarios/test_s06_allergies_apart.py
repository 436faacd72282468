"""S6: an allergy is added at Jena, Weimar notes that none is known, Gera refutes an older one, all of them apart.

Nothing is lost, and while people disagree the dangerous reading is the one that is shown and used.
"""

from __future__ import annotations

import datetime
from pathlib import Path

import pytest

from crdtsync import BadValue, Site
from crdtsync.practice import Allergy, Patient
from crdtsync.practice.chart import NONE_KNOWN
from tests.sites import add, agree, change, mesh, practice

pytestmark = pytest.mark.anyio
TODAY = datetime.date(2026, 3, 2)


async def allergies(site: Site, patient: str) -> dict[str | None, Allergy]:
    return {found.substance: found for found in await site.find(Allergy, patient=patient)}


async def test_nothing_is_lost_and_the_dangerous_reading_is_shown(tmp_path: Path) -> None:
    async with practice(tmp_path, "Jena", "Weimar", "Gera") as (jena, weimar, gera):
        erika = Patient(family_name="Muster")
        await add(jena, erika)
        latex = Allergy(patient=erika.id, substance="Latex", status="active", verification="unconfirmed")
        await add(jena, latex)
        async with mesh(jena, weimar, gera):
            await agree(jena, weimar, gera)

        await add(jena, Allergy(patient=erika.id, substance="Penicillin", criticality="high", status="active"))
        await add(weimar, Allergy(patient=erika.id, substance=NONE_KNOWN, status="active", noted_on=TODAY))
        await change(gera, latex, verification="refuted")
        await change(weimar, latex, verification="confirmed", criticality="high")
        async with mesh(jena, weimar, gera):
            await agree(jena, weimar, gera)

        conflicts = {each["id"]: each["kind"] for each in await jena.conflicts()}
        assert sorted(conflicts.values()) == ["contradiction", "contradiction", "field"]
        for site in (jena, weimar, gera):
            found = await allergies(site, erika.id)
            assert found.keys() == {"Latex", "Penicillin", NONE_KNOWN}
            assert found["Penicillin"].status == "active" and found[NONE_KNOWN].noted_on == TODAY
            assert sorted(found["Latex"].conflicts["verification"]) == ["confirmed", "refuted"]
            assert found["Latex"].verification == found["Latex"].decided("verification") == "confirmed"
            fields = [each for each in await site.conflicts() if each["kind"] == "field"]
            assert [(each["field"], each["severity"]) for each in fields] == [("verification", "high")]
            assert {each["id"]: each["kind"] for each in await site.conflicts()} == conflicts


async def test_what_was_refuted_stays_refuted_everywhere(tmp_path: Path) -> None:
    """Marked, never removed: whoever saw it may mark it, and it is still there to be read."""
    async with practice(tmp_path, "Jena", "Weimar") as (jena, weimar):
        latex = Allergy(substance="Latex", status="active", verification="confirmed")
        await add(jena, latex)
        async with mesh(jena, weimar):
            await agree(jena, weimar)
            await change(weimar, latex, verification="refuted")
            await agree(jena, weimar)
        found = await jena.get(Allergy, latex.id)
        assert (found.verification, found.substance, found.conflicts) == ("refuted", "Latex", {})
        with pytest.raises(BadValue):
            await change(jena, latex, verification="removed")
