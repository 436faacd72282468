"""What a backup costs while a site is written to: 20,000 records of 12 fields, 50 commits a second meanwhile.

    python benchmarks/bench_backup.py [--records N] [--rate N] [--folder]

One JSON line: seconds, bytes and the longest wait of a writer with and without a backup; what the second backup after
100 edits writes, as a share of the first; verifying and restoring. It ends with an error where what was restored is not
exactly a state that the site was in.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import tempfile
import time
from pathlib import Path
from typing import Any

import anyio
import anyio.to_thread
from measuring import machine, percentile

from crdtsync import Site
from crdtsync.backup.checking import check
from crdtsync.backup.restoring import restore
from crdtsync.practice import Patient

PASSPHRASE = "correct horse"


def patient(number: int) -> Patient:
    """A record with 12 fields."""
    text = str(number)
    made = Patient(
        number=text, family_name=f"Muster{text}", given_name="Erika", title="Dr.", birth_date="1950-01-01",
        sex="female", insurance_number="A123456780", deceased=False, home_site="Jena", note="n" + text,
        archived=False, deceased_on=None,
    )  # fmt: skip
    made.phones.add(f"+49 3641 {text}")
    return made


class Writer:
    """Edits records at a steady rate; remembers how long each took, and the digest after each."""

    def __init__(self, site: Site, records: list[str], rate: float) -> None:
        self._site, self._records, self._rate = site, records, rate
        self.waits: list[float] = []
        self.over = False

    async def run(self) -> None:
        due = time.perf_counter()
        for number in itertools.count():
            due += 1 / self._rate
            await anyio.sleep(max(0.0, due - time.perf_counter()))
            if self.over:
                return
            began = time.perf_counter()
            async with self._site.transaction(author="bench") as tx:
                record = await tx.get(Patient, self._records[number % len(self._records)])
                record.assign("note", f"angerufen {number}")
            self.waits.append(time.perf_counter() - began)


async def written_meanwhile(site: Site, records: list[str], rate: float, work: Any) -> tuple[Any, list[float], float]:
    """What `work` gives, how long writers waited meanwhile, and its seconds."""
    writer = Writer(site, records, rate)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(writer.run)
        began = time.perf_counter()
        told = await work()
        seconds = time.perf_counter() - began
        writer.over = True
    return told, writer.waits, seconds


async def main(records: int, rate: float, folder: bool) -> None:
    figures: dict[str, Any] = {"machine": machine(), "records": records, "commits_per_second": rate, "folder": folder}
    with tempfile.TemporaryDirectory() as place:
        base, backups = Path(place), Path(place) / "backups"
        async with Site.create(base / "jena", practice="P", name="Jena", passphrase=PASSPHRASE) as site:
            ids: list[str] = []
            for start in range(0, records, 32):
                async with anyio.create_task_group() as tasks:
                    for number in range(start, min(records, start + 32)):
                        tasks.start_soon(add, site, patient(number), ids)
            await site.digest()
            _, figures["alone_p99_ms"], _ = await told_waits(site, ids, rate, lambda: anyio.sleep(3))
            first, figures["during_p99_ms"], figures["first_s"] = await told_waits(
                site, ids, rate, lambda: site.backup(backups, folder=folder)
            )
            figures["first_bytes"] = first["written_bytes"]
            before = await site.backup(backups, folder=folder)
            for number in range(100):
                async with site.transaction(author="bench") as tx:
                    (await tx.get(Patient, ids[number * 7 % records])).assign("note", f"einzeln {number}")
            began = time.perf_counter()
            second = await site.backup(backups, folder=folder)
            figures["second_s"] = round(time.perf_counter() - began, 3)
            figures["second_bytes"] = second["written_bytes"]
            figures["second_share"] = round(second["written_bytes"] / first["written_bytes"], 4)
            digest, frontier = await site.digest(), (await site.status())["frontier"]
            assert second["frontier"] == frontier and before["commits"] < second["commits"]
        began = time.perf_counter()
        assert check(backups, passphrase=PASSPHRASE)["problems"] == []
        figures["verify_s"] = round(time.perf_counter() - began, 3)
        began = time.perf_counter()
        await anyio.to_thread.run_sync(restore, backups, base / "again", PASSPHRASE)
        figures["restore_s"] = round(time.perf_counter() - began, 3)
        async with Site.open(base / "again", passphrase=PASSPHRASE) as again:
            assert await again.digest() == digest
            assert (await again.status())["frontier"] == frontier
        figures["restored_and_derived_s"] = round(time.perf_counter() - began, 3)
        restore(backups, base / "during", PASSPHRASE, at_ms=first["taken_ms"])
        async with Site.open(base / "during", passphrase=PASSPHRASE) as during:
            assert (await during.status())["frontier"] == first["frontier"]
            assert (await during.verify())["ok"]
    print(json.dumps(figures))


async def add(site: Site, made: Patient, ids: list[str]) -> None:
    """One record, one commit."""
    async with site.transaction(author="bench") as tx:
        tx.add(made)
    ids.append(made.id)


async def told_waits(site: Site, ids: list[str], rate: float, work: Any) -> tuple[Any, float, float]:
    """The same with the 99th percentile of the waits in milliseconds."""
    told, waits, seconds = await written_meanwhile(site, ids, rate, work)
    return told, round(1000 * percentile(waits or [0.0], 0.99), 2), round(seconds, 3)


if __name__ == "__main__":
    os.environ.setdefault("CRDTSYNC_KDF", "fast")
    parser = argparse.ArgumentParser(description="what a backup costs while a site is written to")
    parser.add_argument("--records", type=int, default=20_000)
    parser.add_argument("--rate", type=float, default=50.0)
    parser.add_argument("--folder", action="store_true", help="to a folder, else to a file")
    wanted = parser.parse_args()
    anyio.run(main, wanted.records, wanted.rate, wanted.folder)
