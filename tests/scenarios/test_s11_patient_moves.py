"""S11, what it means for records: a patient moves during the day. The visit is started at Jena and ended at Weimar
while Jena is cut off; both had sent the same reminder.

There is one visit, in the right order, and one reminder.
"""

from __future__ import annotations

import datetime
from pathlib import Path

import pytest

from crdtsync.practice import Appointment, Patient, Reminder, Slot, Visit
from tests.sites import add, agree, change, mesh, practice

pytestmark = pytest.mark.anyio
NINE = datetime.datetime(2026, 3, 2, 9, tzinfo=datetime.UTC)
TEN = NINE.replace(hour=10)


async def test_one_visit_in_the_right_order_and_one_reminder(tmp_path: Path) -> None:
    async with practice(tmp_path, "Jena", "Weimar", "Gera") as (jena, weimar, gera):
        erika = Patient(family_name="Muster")
        await add(gera, erika)
        slot = Slot(start=NINE, end=TEN, resources=("Dr. Weber",))
        booked = Appointment(calendar="Dr. Weber", slot=slot, patient=erika.id, status="booked")
        await add(gera, booked)
        visit = Visit(patient=erika.id, status="planned", appointment=booked.id)
        await add(gera, visit)
        async with mesh(jena, weimar, gera):
            await agree(jena, weimar, gera)

        for site, sent_at in ((jena, NINE.replace(hour=7)), (weimar, NINE.replace(hour=8))):
            async with site.transaction(author="reminders") as tx:
                found = await tx.get(Appointment, booked.id)
                found.reminders.add(Reminder(channel="sms", start=NINE, sent_at=sent_at, site=site.name))

        # Jena begins, and nobody hears of it; the patient walks over, and Weimar ends what it knows as planned.
        await change(jena, visit, status="arrived", started=NINE, site="Jena", room="1")
        await change(jena, booked, status="arrived")
        await change(jena, visit, status="in_progress", practitioner="Dr. Weber")
        async with mesh(weimar, gera):
            await change(weimar, visit, status="finished", ended=TEN)
            await change(weimar, booked, status="fulfilled")
            await agree(weimar, gera)
            assert (await gera.get(Visit, visit.id)).started is None

        async with mesh(jena, weimar, gera):
            await agree(jena, weimar, gera)
        for site in (jena, weimar, gera):
            (found_visit,) = await site.find(Visit, patient=erika.id)
            assert (found_visit.status, found_visit.started, found_visit.ended) == ("finished", NINE, TEN)
            assert (found_visit.site, found_visit.practitioner, found_visit.room) == ("Jena", "Dr. Weber", "1")
            appointment = await site.get(Appointment, booked.id)
            assert appointment.status == "fulfilled"
            assert [each["site"] for each in appointment.reminders] == ["Jena"]
            assert found_visit.conflicts == appointment.conflicts == {} and await site.conflicts() == []


async def test_started_at_both_sites_at_other_times_is_for_a_person(tmp_path: Path) -> None:
    async with practice(tmp_path, "Jena", "Weimar") as (jena, weimar):
        visit = Visit(status="planned")
        await add(jena, visit)
        async with mesh(jena, weimar):
            await agree(jena, weimar)
        await change(jena, visit, status="arrived", started=NINE)
        await change(weimar, visit, status="in_progress", started=TEN)
        async with mesh(jena, weimar):
            await agree(jena, weimar)
        (conflict,) = await weimar.conflicts()
        assert (conflict["field"], conflict["severity"], len(conflict["values"])) == ("started", "high", 2)
        assert [each["id"] for each in await jena.conflicts()] == [conflict["id"]]
        assert (await jena.get(Visit, visit.id)).status == "in_progress"
