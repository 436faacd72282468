"""Undo of thousands of accidental deletions while a second site goes on writing: how long each part takes.

    python benchmarks/bench_undo.py [--entries N] [--shape one|many] [--out FILE]

Two sites in one process, over loopback TLS. N chart entries are retracted by accident at the first, in one transaction
(`one`) or in one each (`many`), after the brake was overruled. Then a preview is made and confirmed at the first site,
while the second one edits the same entries and writes new ones without a pause. In the end both sites agree, every
entry is back, and each edit of the second site is there. One JSON line with seconds per part.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
import time
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import anyio
import anyio.lowlevel
from measuring import machine

from crdtsync import Braked, Site
from crdtsync.ids import RecordId, base32
from crdtsync.practice import ChartEntry

PATIENTS = 500
PER_TRANSACTION = 1_000


def patient(number: int) -> RecordId:
    return RecordId(base32((number % PATIENTS).to_bytes(16, "big")))


async def fill(site: Site, count: int) -> list[ChartEntry]:
    """Entries of some hundred patients."""
    found: list[ChartEntry] = []
    for start in range(0, count, PER_TRANSACTION):
        async with site.transaction(author="import", mass=True) as tx:
            for number in range(start, min(start + PER_TRANSACTION, count)):
                found.append(tx.add(ChartEntry(patient=patient(number), type="note", draft=f"Befund {number}")))
    return found


async def delete(site: Site, entries: list[ChartEntry], shape: str) -> float:
    """Retract all of them, and confirm what the brake holds of it; the seconds that this took."""
    start = time.perf_counter()
    size = len(entries) if shape == "one" else 1
    for at in range(0, len(entries), size):
        with suppress(Braked):
            async with site.transaction(author="eve", reason="tidying up") as tx:
                for entry in entries[at : at + size]:
                    (await tx.get(ChartEntry, entry.id)).retracted = True
    for proposal in await site.proposals():
        await site.approve(proposal["id"], author="bob")
    return time.perf_counter() - start


class Desk:
    """Somebody at the second site who goes on working."""

    def __init__(self, site: Site, entries: list[ChartEntry]) -> None:
        self.site = site
        self.entries = entries
        self.edited: list[int] = []
        self.slowest_s = 0.0

    async def work(self) -> None:
        """Edit entries in turn, one transaction each, until cancelled."""
        number = 0
        while True:
            start = time.perf_counter()
            async with self.site.transaction(author="anna") as tx:
                (await tx.get(ChartEntry, self.entries[number % len(self.entries)].id)).draft.append(f" [{number}]")
                tx.add(ChartEntry(patient=patient(number), type="note", draft="new"))
            self.slowest_s = max(self.slowest_s, time.perf_counter() - start)
            self.edited.append(number)
            number += 1
            await anyio.lowlevel.checkpoint()  # a transaction that was begun is ended: here the desk may be cancelled


async def agreed(one: Site, other: Site) -> None:
    """Wait until `one` holds what `other` does."""
    while True:
        seen = one.driver.heard.count
        if (await one.digest())["digest"] == (await other.digest())["digest"]:
            return
        with anyio.move_on_after(0.5):
            await one.driver.heard.beyond(seen)


async def measure(folder: Path, count: int, shape: str) -> dict[str, Any]:
    found: dict[str, Any] = {"benchmark": "undo", "entries": count, "shape": shape, **machine()}
    async with Site.create(folder / "jena", practice="P", name="Jena", passphrase="x") as jena, jena.serve():
        code = await jena.invite("Weimar", trust_code=True)
        async with Site.join(folder / "weimar", code, passphrase="y") as weimar, weimar.serve():
            await weimar.wait_until_current()
            entries = await fill(jena, count)
            await agreed(weimar, jena)
            since = datetime.now(UTC)
            found["deleting_s"] = await delete(jena, entries, shape)
            await agreed(weimar, jena)
            desk = Desk(weimar, entries)
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(desk.work)
                start, cpu = time.perf_counter(), time.process_time()
                made = await jena.revert(by="eve", since=since, preview=True)
                found["preview_s"] = time.perf_counter() - start
                await jena.revert(confirm=made["id"], author="bob")
                found["undo_s"] = time.perf_counter() - start
                found["undo_cpu_s"] = time.process_time() - cpu
                tasks.cancel_scope.cancel()
            start = time.perf_counter()
            await agreed(jena, weimar)
            found["settling_s"] = time.perf_counter() - start
            found.update(await outcome(weimar, entries, desk))
    return {name: round(value, 3) if isinstance(value, float) else value for name, value in found.items()}


async def outcome(site: Site, entries: list[ChartEntry], desk: Desk) -> dict[str, Any]:
    """What is back, and what is lost of the edits that were made meanwhile: both are to be told, never assumed."""
    shown = {entry.id: entry for entry in await site.find(ChartEntry)}
    back = sum(not shown[entry.id].retracted for entry in entries)
    lost = sum(f"[{number}]" not in str(shown[entries[number % len(entries)].id].draft) for number in desk.edited)
    return {"back": back, "edits_meanwhile": len(desk.edited), "edits_lost": lost, "slowest_edit_s": desk.slowest_s}


def main() -> None:
    parser = argparse.ArgumentParser(description="How long undoing many deletions takes while another site writes.")
    parser.add_argument("--entries", type=int, default=5_000)
    parser.add_argument("--shape", choices=("one", "many"), default="one")
    parser.add_argument("--out", type=Path, help="append the line to this file as well")
    arguments = parser.parse_args()
    os.environ.setdefault("CRDTSYNC_KDF", "fast")
    with tempfile.TemporaryDirectory() as folder:
        os.environ["CRDTSYNC_STATE_DIR"] = folder
        line = json.dumps(anyio.run(measure, Path(folder), arguments.entries, arguments.shape))
    print(line)
    if arguments.out is not None:
        with arguments.out.open("a", encoding="utf-8") as file:
            file.write(line + "\n")


if __name__ == "__main__":
    main()
