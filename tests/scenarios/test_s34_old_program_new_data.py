"""S34 in small: a site whose program does not know a kind and a field passes both on untouched."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import anyio
import pytest

from crdtsync import Site, UnknownField
from crdtsync.documents import UnknownRecord, fields_json
from crdtsync.practice import Patient
from tests.sites import create, join, patience_s

pytestmark = pytest.mark.anyio
ROOT = Path(__file__).parent.parent.parent


async def newer(site: Site, *words: str) -> dict[str, Any]:
    """What a process of the newer program says."""
    assert site.serving is not None
    what, folder, *records = words
    command = [sys.executable, "-m", "tests.scenarios.newer_program", what, folder, site.serving.address, *records]
    with anyio.fail_after(patience_s):
        done = await anyio.run_process(command, cwd=ROOT, check=False)
    assert done.returncode == 0, done.stderr.decode()
    return dict(json.loads(done.stdout))


async def test_what_this_program_does_not_know_comes_out_untouched(tmp_path: Path) -> None:
    async with create(tmp_path / "jena") as jena:
        for name in ("Weimar", "Gera"):
            await join(jena, tmp_path / name.lower(), name)
        async with jena.serve(only_peers=True):
            written = await newer(jena, "write", str(tmp_path / "weimar"))
            assert await jena.digest() == {"digest": written["digest"], "records": written["records"]}

            patient = await jena.get(Patient, written["patient"])
            assert (patient.family_name, patient.unknown) == ("Muster", {"blood_group": ["A+"]})
            with pytest.raises(UnknownField, match="blood_group"):
                patient.assign("blood_group", "B-")
            device = await jena.record(written["device"])
            assert isinstance(device, UnknownRecord) and device.kind == "device"
            assert fields_json(device)["name"] == "Centrifuge"
            assert [found.id for found in await jena.find("device")] == [device.id]
            assert (await jena.record_count()) == {"patient": 1, "device": 1}

            async with jena.transaction(author="dr.old") as tx:
                (await tx.get(Patient, patient.id)).given_name = "Erika"
            assert (await jena.get(Patient, patient.id)).unknown == {"blood_group": ["A+"]}
            before = await jena.digest()
            assert (await jena.verify())["ok"] and await jena.rebuild() == before

            found = await newer(jena, "read", str(tmp_path / "gera"), patient.id, device.id)
            assert found["shown"] == {
                patient.id: {"family_name": "Muster", "given_name": "Erika", "deceased": False, "blood_group": "A+"},
                device.id: {"name": "Centrifuge", "parts": ["rotor"], "manual": "Turn it on."},
            }
            assert found["rows"] == [{"blood_group": "A+"}] and found["conflicts"] == []
            assert found["digest"] == before["digest"]
