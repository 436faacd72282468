"""How fresh the data of other sites are, as a site tells it: linked, away, over others, when the disk has refused."""

from __future__ import annotations

import datetime
import time
from pathlib import Path
from typing import Any

import anyio
import pytest

from crdtsync import Site, folder, members
from crdtsync.errors import StorageFailure
from crdtsync.ids import CommitHash, Head
from crdtsync.practice import Patient, Task
from crdtsync.replication import messages

from .sites import add, agree, mesh, opened, patience_s, practice

pytestmark = pytest.mark.anyio


async def of(site: Site, name: str) -> dict[str, Any]:
    """What `site` says of the data of another one."""
    return next(each for each in await site.as_of() if each["site"] == name)


def at(text: str | None) -> datetime.datetime:
    assert text is not None
    return datetime.datetime.fromisoformat(text)


def now() -> datetime.datetime:
    return datetime.datetime.fromtimestamp(int(time.time()), datetime.UTC)


async def test_alone_nothing_is_known_and_nothing_is_made_up(tmp_path: Path) -> None:
    async with practice(tmp_path, "Jena", "Gera") as [jena, gera]:
        await add(jena, Patient(family_name="Muster"))
        assert await jena.as_of() == [
            {
                "site": "Gera",
                "replica": gera.replica,
                "role": "site",
                "connected": False,
                "as_of": None,
                "missing_here": {"commits": None, "bytes": None},
                "missing_there": {"commits": None, "bytes": None},
                "last_heard": None,
            }
        ]


async def test_of_a_site_that_is_linked_data_are_as_of_now(tmp_path: Path) -> None:
    async with practice(tmp_path, "Jena", "Gera") as [jena, gera]:
        began = now()
        await add(jena, Patient(family_name="Muster"))
        async with mesh(jena, gera):
            await agree(jena, gera)
            told = await of(gera, "Jena")
            assert told["connected"] and began <= at(told["as_of"]) <= now()
            assert told["missing_here"] == {"commits": 0, "bytes": 0}
            with anyio.fail_after(patience_s):
                while (await of(jena, "Gera"))["missing_there"] != {"commits": 0, "bytes": 0}:
                    await jena.driver.heard.wait()
        with anyio.fail_after(patience_s):
            while jena.driver.replica.peers:
                await jena.driver.links_changed.wait()
        commit = await add(jena, Task(title="later"))
        there = await of(jena, "Gera")
        assert not there["connected"] and at(there["as_of"]) >= began
        stored = await jena.driver.thread.run(lambda host: host.store.commit(commit.log, commit.sequence))
        assert stored is not None
        assert there["missing_there"] == {"commits": 1, "bytes": stored.commit.size}
        [peer] = (await jena.status())["peers"]
        assert (peer["missing_there"], peer["missing_there_bytes"]) == (1, stored.commit.size)
        assert (peer["missing_here"], peer["missing_here_bytes"], peer["as_of"]) == (0, 0, there["as_of"])


async def test_after_a_restart_the_newest_commit_tells(tmp_path: Path) -> None:
    async with practice(tmp_path, "Jena", "Gera") as [jena, gera]:
        began = now()
        await add(gera, Patient(family_name="Muster"))
        written = now()
        async with mesh(jena, gera):
            await agree(jena, gera)
    async with opened(tmp_path / "jena") as jena:
        told = await of(jena, "Gera")
        assert began <= at(told["as_of"]) <= written
        assert told["last_heard"] is None and told["missing_here"] == {"commits": None, "bytes": None}


async def test_over_a_third_site_the_newest_commit_tells(tmp_path: Path) -> None:
    async with practice(tmp_path, "Jena", "Weimar", "Gera") as [jena, weimar, gera]:
        async with mesh(jena, weimar):
            with anyio.fail_after(patience_s):
                while len(weimar.members()) < 3:  # Gera joined later
                    await weimar.driver.heard.wait()
        commit = await add(gera, Patient(family_name="Muster"))
        async with mesh(weimar, gera):
            await agree(weimar, gera)
        async with mesh(jena, weimar):
            with anyio.fail_after(patience_s):
                while jena.driver.holders(commit) < 3:
                    await jena.driver.heard.wait()
            told = await of(jena, "Gera")
            assert not told["connected"] and told["last_heard"] is None and told["as_of"] is not None
            assert told["missing_here"] == {"commits": 0, "bytes": 0}, "as Weimar told"
            assert (await of(jena, "Weimar"))["connected"]


async def test_what_is_announced_and_has_not_come_is_missing_with_its_bytes(tmp_path: Path) -> None:
    async with practice(tmp_path, "Jena", "Gera") as [jena, gera]:
        commit = await add(gera, Patient(family_name="Muster"))
        async with mesh(jena, gera):
            await agree(jena, gera)
            written = (await of(jena, "Gera"))["as_of"]
            [link] = jena.driver.replica.peers
            ahead = ((commit.log, Head(commit.sequence + 3, CommitHash(bytes(32)))),)
            jena.driver.received(link, messages.encode(messages.Have(ahead, False)))
            told = await of(jena, "Gera")
            assert told["missing_here"] == {"commits": 3, "bytes": None}, "nobody has said how much that is"
            assert at(told["as_of"]) <= at(written), "what it wrote since is not here"
            jena.driver.received(link, messages.encode(messages.Backlog(3, 700)))
            told = await of(jena, "Gera")
            assert told["missing_here"] == {"commits": 3, "bytes": 700}
            [peer] = (await jena.status())["peers"]
            assert (peer["missing_here"], peer["missing_here_bytes"]) == (3, 700)


async def test_where_deriving_has_ended_nothing_is_said_of_freshness(tmp_path: Path) -> None:
    """The disk has refused: what readers see is older than what is stored, nobody knows by how much."""
    async with practice(tmp_path, "Jena", "Gera") as [jena, gera], mesh(jena, gera):
        await add(gera, Patient(family_name="Muster"))
        await agree(jena, gera)
        jena.driver.failure = StorageFailure("the disk refused")
        jena.driver.view_arrival = 0
        told = await of(jena, "Gera")
        assert told["as_of"] is None and told["connected"]
        assert told["missing_here"] == told["missing_there"] == {"commits": None, "bytes": None}
        jena.driver.failure = None


async def test_only_sites_are_told_of_and_only_those_who_belong(tmp_path: Path) -> None:
    async with practice(tmp_path, "Jena", "Weimar", "Gera") as [jena, _, _]:
        public = folder.new_keys().identity().public
        desk = members.entry_of(public, name="front desk", role="workstation")
        state = jena.driver.replica.membership.state()
        await jena.sign(lambda host, place: members.adding(host, place, state, desk))
        assert [each["site"] for each in await jena.as_of()] == ["Gera", "Weimar"]
        assert [peer["site"] for peer in (await jena.status())["peers"]] == ["Gera", "Weimar", "front desk"]
        await jena.revoke("Gera", "stolen")
        assert [each["site"] for each in await jena.as_of()] == ["Weimar"]
