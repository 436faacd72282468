"""S34: versions 1, 2 and 3 of a program at three sites; rows are derived anew behind everybody's back, over a kill."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import anyio
import pytest

from crdtsync import Site
from tests.sites import create, join, patience_s

pytestmark = pytest.mark.anyio
ROOT = Path(__file__).parent.parent.parent
MANY = 3_000
KILLED = -9


async def run(version: int, verb: str, folder: Path, hub: Site, *words: str) -> tuple[int, str, str]:
    """A process of that version: exit code, stdout, stderr."""
    peer = hub.serving.address if hub.serving is not None else ""
    command = [sys.executable, "-m", "tests.scenarios.versioned_program", str(version), verb, str(folder), peer, *words]
    with anyio.fail_after(3 * patience_s):
        done = await anyio.run_process(command, cwd=ROOT, check=False)
    return done.returncode, done.stdout.decode(), done.stderr.decode()


async def told(version: int, verb: str, folder: Path, hub: Site, *words: str) -> dict[str, Any]:
    """What a process that must succeed says."""
    code, said, complaint = await run(version, verb, folder, hub, *words)
    assert code == 0, complaint
    return dict(json.loads(said))


@pytest.mark.slow
async def test_three_versions_edit_one_record_and_none_loses_what_another_knows(tmp_path: Path) -> None:
    """The hub knows no devices at all: it passes them on between the versions."""
    one, two, three = (tmp_path / name for name in ("weimar", "gera", "apolda"))
    async with create(tmp_path / "jena") as hub:
        for folder in (one, two, three):
            await join(hub, folder, folder.name.title())
        async with hub.serve(only_peers=True):
            made = (await told(3, "make", three, hub, "1"))["told"]
            device, loan = made["device"], made["loan"]
            seen = (await told(1, "edit", one, hub, device, "name", "Centrifuge"))["told"][device]
            assert (seen["name"], set(seen["unknown"])) == ("Centrifuge", {"serial", "parts", "weight"})
            seen = (await told(2, "edit", two, hub, device, "serial", "S-77"))["told"][device]
            assert (seen["name"], seen["serial"], set(seen["unknown"])) == ("Centrifuge", "S-77", {"weight"})
            back = await told(3, "show", three, hub, device, loan)
            assert back["told"] == {
                device: {
                    "name": "Centrifuge",
                    "serial": "S-77",
                    "parts": ["rotor", "lid 0"],
                    "weight": {"grams": 7},
                },
                loan: {"device": device, "to": "Gera", "due": "2026-10-01"},
            }
            assert back["digest"] == (await hub.digest())["digest"] and await hub.conflicts() == []

            upgraded = await told(3, "columns", one, hub, loan)
            rows = upgraded["told"]["rows"]
            assert [(row["name"], row["serial"], row["weight_grams"]) for row in rows] == [("Centrifuge", "S-77", 7)]
            assert (upgraded["told"]["found"], upgraded["told"]["left"]) == (1, [])
            assert upgraded["told"]["shown"][loan] == back["told"][loan] and upgraded["digest"] == back["digest"]

            code, _, complaint = await run(4, "show", two, hub)
            assert code == 1 and "device.serial was declared here before, and this program lacks it" in complaint


@pytest.mark.slow
async def test_rows_are_derived_anew_while_all_goes_on_and_over_a_kill(tmp_path: Path) -> None:
    """A site that ran version 1 starts version 2: documents and known columns answer at once, also writing goes on; a
    kill -9 in the middle costs nothing; what is asked of the new columns is never answered in part."""
    one, three = tmp_path / "weimar", tmp_path / "apolda"
    async with create(tmp_path / "jena") as hub:
        for folder in (one, three):
            await join(hub, folder, folder.name.title())
        async with hub.serve(only_peers=True):
            made = (await told(3, "make", three, hub, str(MANY)))["told"]
            first = await told(1, "show", one, hub, made["device"])
            assert set(first["told"][made["device"]]["unknown"]) == {"serial", "parts", "weight"}

            code, said, complaint = await run(2, "die", one, hub, made["device"])
            assert code == KILLED, complaint
            killed = json.loads(said)
            begun = {each["kind"]: each for each in killed["begun"]}
            assert begun["device"]["total"] == MANY and begun["device"]["done"] < MANY
            assert killed["shown"]["serial"] == "S-0", "documents answer at once"
            assert killed["by name"] == [made["device"]] and killed["named"] == MANY and killed["words"] == 50
            assert 0 < killed["left"]["done"] < killed["left"]["total"] == MANY + 1

            after = await told(2, "go on", one, hub, "S-7")
            assert killed["left"]["done"] <= after["begun"][0]["done"] < MANY, "it goes on where it was"
            assert (after["serials"], len(after["found"]), after["left"]) == (MANY + 1, 1, [])
            assert after["verified"]["ok"], after["verified"]["problems"]
            assert after["rebuilt"] == after["digest"] and after["serials rebuilt"] == MANY + 1
            assert after["digest"]["digest"] != first["digest"], "the write before the kill is there"
