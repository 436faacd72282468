"""Two linked sites under the recorder; the disk of one is full for a while. Prints what happened, as JSON."""

from __future__ import annotations

import errno
import json
import sys
from pathlib import Path

import anyio

from crdtsync.errors import StorageFailure
from crdtsync.practice import Patient
from crdtsync.testing.realdisk import recorder
from crdtsync.testing.realdisk.recorder import Recorder
from tests import sites


async def main(folder: Path) -> dict[str, object]:
    told: dict[str, object] = {}
    disk = Recorder()
    disk.watch(folder / "jena", None)
    async with sites.practice(folder, "Jena", "Gera") as (jena, gera):
        before = Patient(family_name="Vorher")
        async with sites.mesh(jena, gera):
            await sites.add(jena, before)
            await sites.agree(jena, gera)
            disk.fail(1, recorder.WRITE, errno.ENOSPC, recorder.FROM_THEN_ON)
            told["refused"] = [await refused(jena), await refused(jena)]
            told["read"] = (await jena.get(Patient, before.id)).family_name
            await sites.add(gera, Patient(family_name="Inzwischen"))
            told["others"] = (await gera.digest())["records"]
    disk.fail(0, 0, 0)
    async with sites.opened(folder / "jena") as jena, sites.opened(folder / "gera") as gera:
        async with sites.mesh(jena, gera):
            await sites.add(jena, Patient(family_name="Nachher"))
            await sites.agree(jena, gera)
        found = await jena.sql("SELECT family_name FROM patient ORDER BY family_name")
        told["names"] = [row["family_name"] for row in found]
        told["problems"] = (await jena.verify())["problems"]
    return told


async def refused(site: sites.Site) -> str:
    try:
        await sites.add(site, Patient(family_name="Mittendrin"))
    except StorageFailure as error:
        return str(error)
    return "nothing was refused"


if __name__ == "__main__":
    sys.stdout.write(json.dumps(anyio.run(main, Path(sys.argv[1]))))
