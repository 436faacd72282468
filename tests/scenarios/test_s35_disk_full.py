"""S35: no room on Weimar's disk, and a peer that is away while the others write a month's worth.

Weimar goes on reading, and says why it does not write; the others do not notice; with room made it starts again and
catches up. The disk is a real one of some megabytes (tmpfs), so it takes root to make it.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from tests.scenarios.privileges import need_root
from tests.scenarios.processes import Practice, Server, converged, until
from tests.scenarios.test_s24_kill_nine import records_per_bundle, write_bundle
from tests.scenarios.usage import log_bytes, memory_bytes

small_mib, roomy_mib = 4, 256
checkpoint_bytes = 20 * 1024 * 1024
"""What the WAL of a log may take before it is written back: 4,000 pages, and some for a batch."""
memory_growth_max = 40 * 1024 * 1024
"""Of a process that imports 5,000 records more; 5,000 records in memory, were they kept, would be 55 MB."""
SmallDisk = Callable[[Server], "Disk"]


class Disk:
    """A file system of its own under a site's folder, with the site's files moved into it."""

    def __init__(self, server: Server) -> None:
        self.folder = server.folder
        aside = server.folder.with_name(f"{server.folder.name}.aside")
        server.folder.rename(aside)
        server.folder.mkdir()
        subprocess.run(
            ["mount", "-t", "tmpfs", "-o", f"size={small_mib}m,mode=0700", "none", server.folder], check=True
        )
        for file in aside.iterdir():
            shutil.copy2(file, server.folder)

    def grow(self) -> None:
        subprocess.run(["mount", "-o", f"remount,size={roomy_mib}m", self.folder], check=True)

    def fill(self) -> None:
        """Take what room is left."""
        with (self.folder / "somebody else's file").open("ab") as file:
            free = os.statvfs(self.folder)
            os.posix_fallocate(file.fileno(), file.tell(), max(1, free.f_bavail * free.f_frsize))

    def unmount(self) -> None:
        subprocess.run(["umount", "-l", self.folder], check=True)


@pytest.fixture
def small_disk(practice: Practice) -> Iterator[SmallDisk]:
    """Gives a site a small disk of its own."""
    need_root("mounting a small disk")
    made: list[Disk] = []

    def make(server: Server) -> Disk:
        made.append(Disk(server))
        return made[-1]

    yield make
    practice.close()
    for disk in made:
        disk.unmount()


def imported(server: Server, folder: Path, number: int) -> None:
    bundle = write_bundle(folder / f"{number}.json", number)
    assert server.ask("import", files=[str(bundle)], author="")["created"] == records_per_bundle


def refuses_and_reads(server: Server, record: str) -> dict[str, Any]:
    """What a site with a full disk does for those who work there; its status."""
    for verb, words in (
        ("record new", ("patient", "family_name=Neu")),
        ("record set", (record, "family_name=Anders")),
        ("verify", ()),
    ):
        done = server.call(verb, *words)
        assert (done.code, done.out, done.err.count("\n")) == (1, "", 1), done
        assert "the disk is full: free some space and open the replica again" in done.err
    assert server.show(record)["fields"]["family_name"] == "Muster"
    assert server.column("SELECT family_name FROM patient WHERE family_name = 'Muster'") == ["Muster"]
    assert [found["id"] for found in server.ask("search", words="Muster", limit=5)] == [record]
    assert server.ask("conflicts") == [] and server.digest()["records"] > 0
    status = server.verb("status")
    assert "free some space" in status["failure"]
    assert [alarm["kind"] for alarm in status["alarms"]] == ["storage"]
    assert status["digest"] == server.digest()["digest"] and status["records"]["patient"] >= 1
    assert "free some space" in server.call("status").out
    return dict(status)


@pytest.mark.slow
def test_a_full_disk_while_receiving(practice: Practice, small_disk: SmallDisk, tmp_path: Path) -> None:
    jena, weimar, gera = practice.found("Jena", "Weimar", "Gera")
    disk = small_disk(weimar)
    jena.serve()
    gera.serve(jena)
    weimar.serve(jena, gera)
    patient = jena.write("patient", family_name="Muster")
    converged(jena, weimar, gera, records=1)
    bundles = 0
    while weimar.ask("status")["failure"] is None:
        imported(jena, tmp_path, bundles)
        bundles += 1
        converged(jena, gera, records=1 + bundles * records_per_bundle)
    assert "full" in weimar.event("storage")["text"]
    refuses_and_reads(weimar, patient)
    # The others are not held up, and know that Weimar has less.
    imported(gera, tmp_path, bundles)
    total = 1 + (bundles + 1) * records_per_bundle
    converged(jena, gera, records=total)
    until(lambda: not jena.peer(weimar)["connected"], "Jena knows that Weimar is gone")
    assert jena.peer(weimar)["missing_there"] > 0 and jena.peer(gera)["connected"]
    weimar.stop()
    disk.grow()
    weimar.serve(jena, gera)
    converged(jena, weimar, gera, records=total)
    assert weimar.verb("verify")["ok"] is True
    weimar.change(patient, family_name="Anders")
    converged(jena, weimar, gera, records=total)


@pytest.mark.slow
def test_a_disk_that_is_filled_while_people_write(practice: Practice, small_disk: SmallDisk) -> None:
    """What was acknowledged before the first refusal is there afterwards, and of what was refused at most the first:
    it may have reached the log before the view found no room."""
    jena, weimar = practice.found("Jena", "Weimar")
    disk = small_disk(weimar)
    jena.serve()
    weimar.serve(jena)
    patient = weimar.write("patient", family_name="Muster")
    disk.fill()
    written = {patient}
    while (done := weimar.call("record new", "patient", "family_name=Voll", "--json")).code == 0:
        written.add(done.json["id"])
    assert done.err.count("\n") == 1 and "free some space" in done.err
    refuses_and_reads(weimar, patient)
    weimar.stop()  # which gives back what the view's WAL took
    disk.fill()
    for verb, words in (("record new", ("patient", "family_name=Voll")), ("serve", ())):
        refused = weimar.call(verb, *words)
        assert (refused.code, refused.err.count("\n")) == (1, 1) and "free some space" in refused.err, refused
    disk.grow()
    weimar.serve(jena)
    converged(jena, weimar)
    for server in (jena, weimar):
        found = set(server.column("SELECT id FROM patient"))
        assert written <= found and len(found) <= len(written) + 1
        assert server.verb("verify")["ok"] is True


@pytest.mark.slow
def test_a_peer_that_is_away_for_a_month(practice: Practice, tmp_path: Path) -> None:
    """What the others keep for it is their own log and nothing else: neither disk nor memory takes more than when it
    was there."""
    jena, weimar, gera = practice.found("Jena", "Weimar", "Gera")
    jena.serve()
    weimar.serve(jena)
    gera.serve(jena)
    imports, taken, held = 5, [log_bytes(jena)], []
    for number in range(imports * 3):
        if number == imports:
            converged(jena, weimar, gera)
            gera.stop()
        imported(jena, tmp_path, number)
        if number % imports == imports - 1:
            converged(jena, weimar)
            taken.append(log_bytes(jena))
            held.append(memory_bytes(jena.worker()))
    there, away, longer = (after - before for before, after in pairwise(taken))
    allowed = checkpoint_bytes + there * 3 // 2
    assert away <= allowed and longer <= allowed, taken
    # With Gera away, as many records again take no more memory than the view's and the log's caches had to grow.
    assert held[2] - held[1] <= memory_growth_max, held
    gera.serve(jena, weimar)
    converged(jena, weimar, gera, records=imports * 3 * records_per_bundle)
    assert gera.peer(jena)["duplicates_in"] == gera.peer(weimar)["duplicates_in"] == 0
