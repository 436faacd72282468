"""What people of a practice write all day, and a ledger of it: sites of this process, connected by real TLS."""

from __future__ import annotations

import random
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import anyio

from crdtsync import Site
from crdtsync.practice import ChartEntry, Patient, Task, Visit
from crdtsync.testing.practice_data import patient

PASSPHRASE = "correct horse"
NAMES = ("Jena", "Weimar", "Gera")
settling_s = 60.0
"""Longest wait for sites to agree."""
look_again_s = 0.02


@asynccontextmanager
async def three_sites(folder: Path) -> AsyncIterator[list[Site]]:
    """Jena, Weimar and Gera of one practice, open, with nobody serving."""
    async with AsyncExitStack() as stack:
        jena = await stack.enter_async_context(
            Site.create(folder / "jena", practice="Praxis am Markt", name="Jena", passphrase=PASSPHRASE)
        )
        async with jena.serve():
            for name in NAMES[1:]:
                code = await jena.invite(name, trust_code=True)
                async with Site.join(folder / name.lower(), code, passphrase=PASSPHRASE):
                    pass
        sites = [jena]
        for name in NAMES[1:]:
            sites.append(await stack.enter_async_context(Site.open(folder / name.lower(), passphrase=PASSPHRASE)))
        yield sites


async def eventually(condition: Callable[[], Awaitable[bool]], what: str, seconds: float = settling_s) -> None:
    """Wait until `condition` holds; fails after `seconds`."""
    deadline = time.monotonic() + seconds
    while True:
        if await condition():
            return
        assert time.monotonic() < deadline, f"not within {seconds:.0f} s: {what}"
        await anyio.sleep(look_again_s)


async def agreed(sites: Sequence[Site], seconds: float = settling_s) -> str:
    """Wait until the digests are equal; the digest. With nobody writing, each site then has everything."""
    digests: set[str] = set()

    async def equal() -> bool:
        digests.clear()
        digests.update([(await site.digest())["digest"] for site in sites])
        return len(digests) == 1

    await eventually(equal, "equal digests", seconds)
    return digests.pop()


async def register(site: Site, count: int, seed: int) -> list[str]:
    """Patients whom everybody treats; their ids."""
    async with site.transaction(author="reception") as tx:
        return [tx.add(patient(number, seed)).id for number in range(count)]


class Ledger:
    """What was acknowledged, at whatever site: new records, and marks added to fields of shared patients."""

    def __init__(self) -> None:
        self.records: dict[str, str] = {}
        self.phones: dict[str, set[str]] = {}
        self.notes: dict[str, set[str]] = {}

    async def check(self, site: Site) -> None:
        """Everything is at this site, once."""
        count = await site.record_count()
        for kind in {*self.records.values()}:
            ids = {row["id"] for row in await site.sql(f'SELECT id FROM "{kind}"')}
            missing = {each for each, its in self.records.items() if its == kind} - ids
            assert not missing, f"{len(missing)} of kind {kind} are not at {site.name}"
            assert count[kind] == len(ids)
        for each, phones in self.phones.items():
            found = list((await site.get(Patient, each)).phones)
            assert phones <= set(found) and len(found) == len(set(found)), site.name
        for each, marks in self.notes.items():
            text = str((await site.get(Patient, each)).note)
            assert all(text.count(mark) == 1 for mark in marks), site.name


class Person:
    """Somebody at a site, who does one thing after another; nothing of it may conflict with anybody's work."""

    def __init__(self, site: Site, shared: Sequence[str], ledger: Ledger, seed: int) -> None:
        self.site = site
        self._shared = shared
        self._ledger = ledger
        self._chance = random.Random(f"{site.name} {seed}")
        self._visits: list[str] = []
        self._entries: list[str] = []
        self._done = 0

    async def work(self) -> None:
        """One write, drawn from what a practice does."""
        self._done += 1
        own = (self.new_patient, self.arrival, self.next_step, self.chart, self.write_on, self.task)
        await self._chance.choice((*own, self.phone, self.note))()

    async def _add(self, record: Patient | Visit | ChartEntry | Task) -> str:
        async with self.site.transaction(author=f"desk at {self.site.name}") as tx:
            added = tx.add(record).id
        self._ledger.records[added] = type(record).kind
        return added

    def _mark(self) -> str:
        return f"[{self.site.name} {self._done}]"

    async def new_patient(self) -> None:
        await self._add(Patient(family_name=self._mark(), given_name="Erika"))

    async def arrival(self) -> None:
        visit = Visit(patient=self._chance.choice(self._shared), status="arrived", site=self.site.name)
        self._visits.append(await self._add(visit))

    async def next_step(self) -> None:
        """One of the own visits goes on, or ends."""
        if not self._visits:
            await self.arrival()
        number = self._chance.randrange(len(self._visits))
        async with self.site.transaction(author="dr.weber") as tx:
            visit = await tx.get(Visit, self._visits[number])
            if visit.status == "arrived":
                visit.status, visit.room = "in_progress", "Labor"
            else:
                visit.status = "finished"
                self._visits.pop(number)

    async def chart(self) -> None:
        entry = ChartEntry(patient=self._chance.choice(self._shared), type="note")
        entry.draft.replace(f"Grüße von {self._mark()}")
        self._entries.append(await self._add(entry))

    async def write_on(self) -> None:
        """More text in one of the own chart entries."""
        if not self._entries:
            await self.chart()
        async with self.site.transaction(author="dr.weber") as tx:
            entry = await tx.get(ChartEntry, self._chance.choice(self._entries))
            entry.draft.insert(len(entry.draft), f", später {self._mark()}")

    async def phone(self) -> None:
        """One more number of a patient whom others edit, too."""
        each, number = self._chance.choice(self._shared), f"03641 {self.site.name} {self._done}"
        async with self.site.transaction(author="reception") as tx:
            (await tx.get(Patient, each)).phones.add(number)
        self._ledger.phones.setdefault(each, set()).add(number)

    async def note(self) -> None:
        """A remark in a note that others write in, too."""
        each = self._chance.choice(self._shared)
        async with self.site.transaction(author="reception") as tx:
            note = (await tx.get(Patient, each)).note
            note.insert(len(note), self._mark())
        self._ledger.notes.setdefault(each, set()).add(self._mark())

    async def task(self) -> None:
        await self._add(Task(title=self._mark(), assignee="labor"))
