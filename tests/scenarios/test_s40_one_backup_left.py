"""S40: all sites are destroyed, one backup is left: with its passphrase, or with the printed recovery sheet alone."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

import anyio
import pytest

from crdtsync import Site
from tests.scenarios.processes import PASSPHRASE, PRACTICE, Practice, Server, converged, crdtsync, until
from tests.scenarios.refusing import Call


@dataclass(frozen=True)
class Left:
    """What is left of a practice: a backup of Weimar, the recovery sheet, and the digest that it had."""

    backup: Path
    sheet: Path
    digest: str


async def found(jena: Path, weimar: Path) -> str:
    """Two sites, made by the library, which is quicker than by processes; the recovery sheet."""
    async with Site.create(jena, practice=PRACTICE, name="Jena", passphrase=PASSPHRASE) as site:
        async with site.serve(only_peers=True):
            code = await site.invite("Weimar", trust_code=True)
            async with Site.join(weimar, code, passphrase=PASSPHRASE):
                pass
        return str(site.recovery_sheet)


def lived(practice: Practice, call: Call, keep: Path | None = None) -> Left:
    """Two sites lived and burned down. `keep` gets what is left of the disk of Jena."""
    jena, weimar = practice.server("Jena"), practice.server("Weimar")
    sheet, backup = practice.folder / "sheet.txt", practice.folder / "usb"
    sheet.write_text(anyio.run(found, jena.folder, weimar.folder), encoding="utf-8")
    backup.mkdir()
    jena.serve()
    weimar.serve(jena)
    for number in range(10):
        (jena, weimar)[number % 2].write("patient", family_name=f"Muster {number}")
    digest = converged(jena, weimar, records=10)
    assert call("backup", weimar.folder, "--out", backup, "--json").json["commits"] == 10
    for server in (jena, weimar):
        server.kill()
        if keep is not None and server is jena:
            shutil.copytree(server.folder, keep, ignore=shutil.ignore_patterns("control.sock"))
        shutil.rmtree(server.folder)
    return Left(backup, sheet, digest)


def rescued(practice: Practice, call: Call, left: Left) -> Server:
    """A new site, by the sheet."""
    again = practice.server("Neubau")
    words = ("--sheet", left.sheet, "--backup", left.backup, "--site", "Neubau", "--json")
    told = call("recover", again.folder, *words).json
    assert (told["site"], told["removed"], told["commits"]) == ("Neubau", ["Jena", "Weimar"], 10)
    return again


def joined(practice: Practice, again: Server, *peers: Server) -> Server:
    """A further site that joins the practice that was brought back."""
    code = again.ask("invite", name="Gera", role="site", admin=True, trust_code=True, address=None)["code"]
    gera = practice.server("Gera")
    assert crdtsync("join", gera.folder, "--code", code, "--json").code == 0
    gera.serve(again, *peers)
    return gera


def test_the_passphrase_brings_the_site_back(practice: Practice, call: Call) -> None:
    left = lived(practice, call)
    again = practice.folder / "weimar-again"
    assert call("restore", left.backup, again, "--json").json["commits"] == 10
    assert call("digest", again, "--json").json["digest"] == left.digest
    early = call("record", "new", again, "patient", "family_name=Zu früh")
    assert early.code == 1 and "fetched first" in early.err, "somebody may know of later commits"
    assert call("recover", again, "--alone").code == 0
    before = call("status", again, "--json").json["frontier"]
    assert call("record", "new", again, "patient", "family_name=Danach").code == 0
    after = call("status", again, "--json").json["frontier"]
    assert {log: after[log] for log in before} == before and len(after) == len(before) + 1
    assert call("verify", again, "--json").json["ok"] is True


def test_the_sheet_alone_brings_the_practice_back(practice: Practice, call: Call) -> None:
    left = lived(practice, call)
    again = rescued(practice, call, left)
    assert call("digest", again.folder, "--json").json["digest"] == left.digest
    before = call("status", again.folder, "--json").json["frontier"]
    again.serve()
    states = {each["name"]: each["state"] for each in again.ask("members")}
    assert states == {"Jena": "revoked", "Weimar": "revoked", "Neubau": "active"}
    again.write("patient", family_name="Danach")
    after = again.ask("status")["frontier"]
    assert {log: after[log] for log in before} == before, "no commit id is given twice"
    # The practice grows again, and a newcomer reads all of its history.
    gera = joined(practice, again)
    converged(again, gera, records=11)
    for server in (again, gera):
        assert server.ask("verify")["ok"] is True


@pytest.mark.slow
def test_an_old_disk_that_turns_up_is_not_heard(practice: Practice, call: Call) -> None:
    """Its server goes on by itself; the practice that was brought back neither asks it nor takes anything from it."""
    old = practice.server("Found-in-the-ashes")
    left = lived(practice, call, old.folder)
    again = rescued(practice, call, left)
    again.serve()
    old.serve(again)
    old.write("patient", family_name="Gespenst")
    gera = joined(practice, again, old)
    assert converged(again, gera, records=10) == left.digest
    until(lambda: gera.peer(again)["connected"], "those who belong meet")
    assert [peer["site"] for peer in again.ask("status")["peers"]] == ["Gera"]
    assert not any(peer["connected"] for peer in old.ask("status")["peers"])
    assert again.digest()["digest"] == left.digest != old.digest()["digest"]
