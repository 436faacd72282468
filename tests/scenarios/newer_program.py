"""A site run by a later version of the program: it knows a kind and a field that this version does not.

    python -m tests.scenarios.newer_program write|read FOLDER PEER [RECORD …]

`write` makes records at the site in FOLDER and ends when the peer has them; `read` ends when the site has all that the
peer had, and tells what it sees. Both print one JSON document.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import anyio

from crdtsync import Site
from crdtsync.documents import Entries, Record, Text, entries, fields_json, register, text
from crdtsync.practice import Patient
from tests.sites import PASSPHRASE, patience_s

later = {"__module__": Patient.__module__, "__qualname__": Patient.__qualname__, "blood_group": register()}
later["__annotations__"] = {"blood_group": str | None}
LaterPatient: Any = type(Patient)("Patient", (Patient,), later, kind="patient")  # type: ignore[misc]  # by its metaclass
"""The kind that everybody knows, with one field more."""


class Device(Record, kind="device"):
    """A kind that this version does not know."""

    name: str | None = register()
    parts: Entries[str] = entries(by_value=True)
    manual: Text = text()


async def write(folder: Path, peer: str) -> dict[str, object]:
    async with Site.open(folder, passphrase=PASSPHRASE) as site:
        async with site.transaction(author="dr.later") as tx:
            patient = tx.add(LaterPatient(family_name="Muster", blood_group="A+"))
            device = tx.add(Device(name="Centrifuge"))
            device.parts.add("rotor")
            device.manual.insert(0, "Turn it on.")
        async with site.serve(peers=[peer], only_peers=True):
            await site.wait_for(tx.commit, sites=2)
        return {"patient": patient.id, "device": device.id, **await site.digest()}


async def read(folder: Path, peer: str, *records: str) -> dict[str, object]:
    async with Site.open(folder, passphrase=PASSPHRASE) as site, site.serve(peers=[peer], only_peers=True):
        await site.wait_until_current()
        found = {record: fields_json(await site.record(record)) for record in records}
        rows = await site.sql("SELECT blood_group FROM patient")
        return {"shown": found, "rows": rows, "conflicts": await site.conflicts(), **await site.digest()}


async def main(*words: str) -> None:
    what, folder, peer, *records = words
    with anyio.fail_after(patience_s):
        told = await (write(Path(folder), peer) if what == "write" else read(Path(folder), peer, *records))
    sys.stdout.write(json.dumps(told))


if __name__ == "__main__":
    anyio.run(main, *sys.argv[1:])
