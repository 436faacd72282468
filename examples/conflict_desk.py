"""A conflict's way: from the moment it is found at one site to the decision that every site has seen.

    python examples/conflict_desk.py

What a practice program needs for a list of conflicts is here in one short program, to be copied: a list that keeps
itself up to date, one conflict in full, the buttons below it, and the brake on prescribing.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import anyio

from crdtsync import Site, Undecided
from crdtsync.practice import Appointment, Dosage, Drug, MedicationStatement, Patient, Slot

PASSPHRASE = "only for this example"


# --- what a practice program does -----------------------------------------------------------------------------------


class ConflictList:
    """The list on a screen: it follows `watch`, and is read anew when the watcher lost its place."""

    def __init__(self, site: Site) -> None:
        self.site = site
        self.rows: dict[str, dict[str, object]] = {}
        self.moved = anyio.Event()

    async def follow(self) -> None:
        async for change in self.site.conflicts.watch():
            if change.what == "lost":
                self.rows = {row["id"]: row for row in await self.site.conflicts()}
            elif change.conflict is None or change.conflict["state"] == "dismissed":
                self.rows.pop(change.id, None)
            else:
                self.rows[change.id] = change.conflict
            self.moved.set()
            self.moved = anyio.Event()

    async def until(self, number: int) -> None:
        """Wait until so many are listed."""
        while len(self.rows) != number:
            await self.moved.wait()


async def show(site: Site, conflict: str) -> None:
    """One conflict as its own page: every value with who wrote it, where, when and why."""
    found = await site.conflicts.get(conflict)
    print(f"  {found.kind} in {found.field}, {found.severity}, {found.state}")
    for number, value in enumerate(found.values):
        print(f"    [{number}] {value.value}  by {value.author} at {value.site} ({value.reason})")
    for remark in found.comments:
        print(f"    {remark.author}: {remark.text}")


async def prescribe(site: Site, statement: str) -> str:
    """What goes on a prescription is read with `for_prescribing`: a conflict that nobody answers for stops it."""
    record = await site.get(MedicationStatement, statement)
    try:
        return f"prescribed: {record.for_prescribing('dosage')}"
    except Undecided as reason:
        return f"stopped: {str(reason).partition(':')[0]}"


# --- the day of this example ----------------------------------------------------------------------------------------


async def main(folder: Path) -> None:
    async with AsyncExitStack() as stack:
        jena, weimar = await two_sites(stack, folder)
        patient = Patient(family_name="Muster", given_name="Erika")
        statement = MedicationStatement(drug=Drug(name="Ramipril"), dosage=Dosage(morning=1), status="active")
        async with linked(jena, weimar):
            async with jena.transaction(author="dr.weber", reason="first visit") as tx:
                statement.patient = tx.add(patient).id
                tx.add(statement)
            assert tx.commit is not None
            await jena.wait_for(tx.commit, sites=2)

        # The line is cut. Two doctors change one dosage, two receptions book one slot.
        for site, author, tablets in ((jena, "dr.weber", 2.0), (weimar, "dr.jung", 0.5)):
            async with site.transaction(author=author, reason=f"pressure measured in {site.name}") as tx:
                (await tx.get(MedicationStatement, statement.id)).dosage = Dosage(morning=tablets)
                tx.add(Appointment(calendar="Dr. Weber", patient=patient.id, slot=at_eight(), status="booked"))

        at_jena, at_weimar = ConflictList(jena), ConflictList(weimar)
        async with anyio.create_task_group() as screens:
            screens.start_soon(at_jena.follow)
            screens.start_soon(at_weimar.follow)
            async with linked(jena, weimar):
                await at_jena.until(2)
                await at_weimar.until(2)
                print("Found at both, under equal ids:", at_jena.rows.keys() == at_weimar.rows.keys())
                await work(jena, weimar, statement.id)
                await at_jena.until(0)
                await at_weimar.until(0)
                print("Listed at Jena and at Weimar:", len(at_jena.rows), len(at_weimar.rows))
            screens.cancel_scope.cancel()
        [resolved] = await jena.conflicts(state="resolved")
        await show(jena, resolved["id"])
        print(await prescribe(jena, statement.id))


async def work(jena: Site, weimar: Site, statement: str) -> None:
    """People at both sites deal with the two conflicts."""
    [dosage] = await jena.conflicts(severity="high")
    await show(jena, dosage["id"])
    print(await prescribe(jena, statement))
    await jena.conflicts.assign(dosage["id"], "dr.jung", author="dr.weber")
    await jena.conflicts.comment(dosage["id"], "please ask the patient", author="dr.weber")
    await jena.conflicts.acknowledge(dosage["id"], author="dr.weber", reason="either is safe for a day")
    print(await prescribe(jena, statement))

    keep = [value["morning"] for value in dosage["values"]].index(0.5)
    await weimar.conflicts.resolve(dosage["id"], keep=keep, author="dr.jung", reason="asked the patient")

    # Both appointments were kept: a machine cancels nothing. Somebody moves one, and the conflict is gone.
    [booking] = await weimar.conflicts(kind="double_booking")
    async with weimar.transaction(author="reception", reason="called the patient") as tx:
        (await tx.get(Appointment, booking["records"][0])).slot = at_eight(minutes=15)


def at_eight(minutes: int = 0) -> Slot:
    start = datetime(2026, 1, 5, 8, tzinfo=UTC) + timedelta(minutes=minutes)
    return Slot(start=start, end=start + timedelta(minutes=15), resources=("Dr. Weber",))


async def two_sites(stack: AsyncExitStack, folder: Path) -> tuple[Site, Site]:
    """A practice with the sites Jena and Weimar."""
    jena = await stack.enter_async_context(
        Site.create(folder / "jena", practice="Praxis am Markt", name="Jena", passphrase=PASSPHRASE)
    )
    async with jena.serve("127.0.0.1:0"):
        code = await jena.invite("Weimar", trust_code=True)
        async with Site.join(folder / "weimar", code, passphrase=PASSPHRASE):
            pass
    return jena, await stack.enter_async_context(Site.open(folder / "weimar", passphrase=PASSPHRASE))


@asynccontextmanager
async def linked(jena: Site, weimar: Site) -> AsyncIterator[None]:
    """Both serve, and hear each other, while the block runs."""
    async with (
        jena.serve("127.0.0.1:0", only_peers=True) as serving,
        weimar.serve("127.0.0.1:0", peers=[serving.address], only_peers=True),
    ):
        yield


if __name__ == "__main__":
    os.environ.setdefault("CRDTSYNC_KDF", "fast")  # cheap key files: this practice lives for a moment
    with tempfile.TemporaryDirectory(prefix="crdtsync-example-") as temporary:
        anyio.run(main, Path(temporary))
