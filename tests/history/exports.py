"""Exported histories for tests: taken apart, changed, sealed anew, checked."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from crdtsync import Site
from crdtsync.history.checking import Verdict, check
from crdtsync.history.file import line, sealed, take_apart
from crdtsync.practice import ChartEntry, MedicationStatement, Patient
from crdtsync.practice.medication import Dosage, Drug
from crdtsync.sealing.signing import Verifier
from tests.sites import add, change

Sections = dict[str, dict[str, Any]]
VERIFY = Verifier().verify


async def a_patient(site: Site) -> Patient:
    """A patient with a chart entry and a medication, changed here and there; another patient in the same commits."""
    patient, other = Patient(family_name="Müller", title="Dr."), Patient(family_name="Geheim")
    async with site.transaction(author="dr.weber", reason="first visit", workstation="desk-1", purpose="care") as tx:
        tx.add(patient)
        tx.add(other)
        tx.add(MedicationStatement(patient=patient.id, drug=Drug(name="Ramipril"), dosage=Dosage(morning=1)))
    await add(site, ChartEntry(patient=patient.id), author="dr.klein")
    await change(site, patient, family_name="Meier", phones=["030 1"])
    await change(site, other, title="Prof.")
    return patient


def checked(data: bytes) -> Verdict:
    """The verdict on a file."""
    return check(data, VERIFY)


def sections_of(data: bytes) -> Sections:
    """The sections of an intact file, by name."""
    opened = take_apart(data, VERIFY)
    assert not opened.problems
    return opened.sections


def spans(data: bytes) -> list[tuple[str, int, int]]:
    """Where each section stands, the table of contents and the seal included."""
    lines = data.splitlines(keepends=True)
    names = [name for name, _, _ in json.loads(lines[-2])["sections"]] + ["contents", "seal"]
    found, at = [], 0
    for name, piece in zip(names, lines, strict=True):
        found.append((name, at, at + len(piece)))
        at += len(piece)
    return found


async def sealed_anew(site: Site, data: bytes, change: Callable[[Sections], None]) -> bytes:
    """The file as a member would seal it who has changed it."""
    sections = sections_of(data)
    change(sections)
    sealer = await site.driver.thread.run(lambda host: host.sealer)
    return b"".join(sealed([(name, line(value)) for name, value in sections.items()], sealer.public.sig, sealer.sign))


async def exported(site: Site, patient: Patient, path: Path) -> bytes:
    """The file of a patient."""
    await site.history.export(patient.id, path)
    return path.read_bytes()
