"""Under the recorder: every STEP-th call to the disk of a backup, and of a restore, is refused. Prints what came of it.

    python -m tests.backup.refusing_process FOLDER file|folder STEP
"""

from __future__ import annotations

import errno
import itertools
import json
import shutil
import sys
from pathlib import Path
from typing import Any

import anyio

from crdtsync import Site
from crdtsync.backup.checking import check
from crdtsync.backup.restoring import restore
from crdtsync.backup.retention import Retention
from crdtsync.errors import CrdtSyncError, StorageFailure
from crdtsync.practice import Patient
from crdtsync.testing.realdisk import recorder
from crdtsync.testing.realdisk.recorder import Recorder
from tests.sites import PASSPHRASE, add, create

KINDS = recorder.WRITE | recorder.SYNC | recorder.TRUNCATE | recorder.OPEN | recorder.NAME
ONE = Retention(0, 0, 0)
"""Only the newest backup stays, so that removing is refused, too."""
WAYS = ((errno.ENOSPC, recorder.FROM_THEN_ON), (errno.EIO, recorder.ONCE), (errno.ENOSPC, recorder.SHORT_WRITE))


async def backups(folder: Path, form: str, step: int) -> dict[str, Any]:
    """Earlier backups are as they were, whichever call was refused, and the site works on."""
    told: dict[str, Any] = {"refused": 0, "sentences": set(), "problems": []}
    disk, place = Recorder(), folder / "place" / "b"
    place.parent.mkdir()
    disk.watch(place.parent, None)
    async with create(folder / "jena") as jena:
        await add(jena, Patient(family_name="Vorher"))
        await jena.backup(place, folder=form == "folder")
        whole = commits = 1
        for number, (error, manner) in enumerate(WAYS):
            for at in itertools.count(1 + number % step, step):
                await add(jena, Patient(family_name=f"{number} {at}"))
                commits += 1
                disk.fail(at, KINDS, error, manner)
                refused = await _refused(jena, place, told)
                hit = disk.failed()
                disk.fail(0, 0, 0)
                found = check(place, passphrase=PASSPHRASE)
                there = [each["commits"] for each in found["backups"] if "commits" in each]
                if found["problems"] or max(there, default=0) not in (whole, commits):
                    told["problems"].append([number, at, hit, found["problems"], there, whole])
                if not refused and max(there, default=0) != commits:
                    told["problems"].append([number, at, hit, "told as made, and not there"])
                whole = max(there, default=0)
                if not hit:
                    break
                told["refused"] += refused
        last = await jena.backup(place, keep=ONE)
        told["last"] = [last["backups"], check(place, passphrase=PASSPHRASE)["problems"]]
    told["sentences"] = sorted(told["sentences"])
    return told


async def _refused(jena: Site, place: Path, told: dict[str, Any]) -> bool:
    try:
        await jena.backup(place, keep=ONE)
    except StorageFailure as error:
        told["sentences"].add(str(error).replace(str(place), "PLACE"))
        return True
    return False


def restores(folder: Path, step: int) -> dict[str, Any]:
    """No folder appears that is not whole, and the next attempt clears away what was left."""
    told: dict[str, Any] = {"refused": 0, "problems": []}
    disk, parent = Recorder(), folder / "target"
    parent.mkdir()
    disk.watch(parent, None)
    for number, (error, manner) in enumerate(WAYS):
        for at in itertools.count(1 + number % step, step):
            into = parent / f"r{number}-{at}"
            disk.fail(at, KINDS, error, manner)
            try:
                restore(folder / "place" / "b", into, PASSPHRASE)
                refused = ""
            except CrdtSyncError as refusal:
                refused = str(refusal)
            hit = disk.failed()
            disk.fail(0, 0, 0)
            if into.exists() and "remove that folder" in refused:
                shutil.rmtree(into)
            elif refused and into.exists():
                told["problems"].append([number, at, hit, "a folder was left"])
            if refused:
                restore(folder / "place" / "b", into, PASSPHRASE)
            if list(parent.glob(f".{into.name}.*")):
                told["problems"].append([number, at, hit, "a draft was left"])
            told["refused"] += bool(refused)
            if not hit:
                break
    return told


def main(folder: Path, form: str, step: int) -> dict[str, Any]:
    return {"backups": anyio.run(backups, folder, form, step), "restores": restores(folder, step)}


if __name__ == "__main__":
    sys.stdout.write(json.dumps(main(Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]))))
