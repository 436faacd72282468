"""What `status` tells, alone and beside another site."""

from __future__ import annotations

import datetime
from pathlib import Path

import anyio
import pytest

from crdtsync.practice import Patient, Task

from .sites import add, agree, linked, mesh, patience_s, practice

pytestmark = pytest.mark.anyio

SCRIPTS = {"practice", "site", "replica", "frontier", "records", "conflicts", "peers", "digest"}
"""What scripts rely on."""
LATER = {"held", "frozen", "late", "proposals", "files"}


async def test_where_a_site_stands(tmp_path: Path) -> None:
    async with practice(tmp_path, "Jena", "Gera") as [jena, gera]:
        commit = await add(jena, Patient(family_name="Muster"), Task(title="call back"))
        alone = await jena.status()
        assert alone.keys() >= SCRIPTS | LATER
        assert (alone["practice"], alone["site"], alone["replica"]) == ("Praxis am Markt", "Jena", jena.replica)
        assert alone["records"] == {"patient": 1, "task": 1} and alone["conflicts"] == 0
        assert list(alone["frontier"].values()) == [1] and alone["digest"] == (await jena.digest())["digest"]
        assert (alone["kdf"], alone["recovering"], alone["listen"]) == ("fast", False, None)
        [peer] = alone["peers"]
        assert (peer["site"], peer["connected"], peer["missing_there"], peer["last_heard"]) == ("Gera", False, 1, None)
        async with mesh(jena, gera):
            await agree(jena, gera)
            with anyio.fail_after(patience_s):
                await jena.wait_for(commit, sites=2)
            there = await jena.status()
            [peer] = there["peers"]
            assert peer["connected"] and (peer["missing_here"], peer["missing_there"]) == (0, 0)
            assert datetime.datetime.fromisoformat(peer["last_heard"]).tzinfo is not None
            assert there["listen"].startswith("127.0.0.1:") and peer["commits_out"] == 1
            [peer] = (await gera.status())["peers"]
            assert peer["commits_in"] == 1 and peer["duplicates_in"] == 0
        while jena.driver.replica.peers:
            await jena.driver.links_changed.wait()
        await add(jena, Task(title="later"))
        [peer] = (await jena.status())["peers"]
        assert not peer["connected"] and peer["missing_there"] == 1, "what it had is remembered"
        async with mesh(jena, gera):
            await linked(gera, 1)
            await agree(jena, gera)
