"""Patients and their numbers at sites of this process, for scenarios."""

from __future__ import annotations

from collections.abc import Callable

import anyio

from crdtsync import Site
from crdtsync.ids import RecordId
from crdtsync.practice import Patient
from tests.sites import patience_s


async def new(site: Site, patients: int = 1) -> list[RecordId]:
    """New patients, each in a transaction of its own."""
    found = []
    for _ in range(patients):
        async with site.transaction(author="dr.weber") as tx:
            found.append(tx.add(Patient(family_name="Muster")).id)
    return found


async def number(site: Site, patient: str) -> int | None:
    """The number of a patient, as this site shows it."""
    return (await site.get(Patient, patient)).number


async def numbers(site: Site, patients: list[RecordId]) -> list[int | None]:
    """The numbers of patients, as this site shows them."""
    return [await number(site, each) for each in patients]


async def filled(site: Site, patients: list[RecordId]) -> list[int]:
    """Wait until all of them have a number at this site."""
    with anyio.fail_after(patience_s):
        while None in (found := await numbers(site, patients)):
            await site.driver.changed.wait()
    return [each for each in found if each is not None]


async def told(site: Site, words: str) -> str:
    """Wait for an alarm about ranges that says so."""

    def find() -> str | None:
        texts = (notice.text for notice in site.driver.alarms if notice.kind == "range")
        return next((text for text in texts if words in text), None)

    with anyio.fail_after(patience_s):
        while (found := find()) is None:
            await site.driver.changed.wait()
    return found


async def heard(site: Site, condition: Callable[[], bool]) -> None:
    """Wait until something is so at a site that hears others."""
    with anyio.fail_after(patience_s):
        while not condition():
            await site.driver.heard.wait()
