"""Forged commits at whole sites: these live, say who and what, and are the same in the end (L6)."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import anyio
import anyio.to_thread
import pytest

from crdtsync import Site, limits
from crdtsync.documents import Document, Edit, EditText, SetField, check_delta
from crdtsync.documents.text import Hunk
from crdtsync.errors import AlreadyOpen, NotFound, WrongPassphrase
from crdtsync.ids import client_id, commit_from_text, commit_text, log_tag
from crdtsync.practice import Patient
from crdtsync.testing import forge
from crdtsync.testing.rewriting import with_client

from ..engine.hostile import POISONS
from ..engine.sites import record_of
from ..sites import PASSPHRASE, add, agree, mesh, opened, patience_s, practice

pytestmark = pytest.mark.anyio

CLIENT = 2**53 - 1


# -- other client ids --------------------------------------------------------------------------------------------------


def honest(client: int, states: list[bytes]) -> list[bytes]:
    document = Document(client)
    deltas = []
    for n in range(6):
        seen = dict(document.content().slots)
        base = document.content().texts.get("note", "")
        edits: list[Edit] = [
            SetField("title", n, seen),
            EditText("note", base, (Hunk(len(base) // 2, len(base), "äx😀"),)),
        ]
        deltas.append(document.write(tag="aaaaaaaa", sequence=n, stamp=n, edits=edits))
        states.append(document.state())
    return deltas


def test_an_honest_delta_under_another_client_says_the_same() -> None:
    mine, there = Document(1), Document(2)
    for delta in honest(1, []):
        mine.apply(delta)
        rewritten = with_client(delta, CLIENT)
        assert check_delta(rewritten, CLIENT).client == CLIENT
        there.apply(rewritten)
    assert mine.content() == there.content()


def test_poison_stays_what_it_is(test_data: Path) -> None:
    files = sorted((test_data / "poison").iterdir())
    assert len(files) == 15
    for file in files:
        delta = file.read_bytes()
        rewritten = with_client(delta, 77)
        assert rewritten != delta and abs(len(rewritten) - len(delta)) < len(delta)
        assert with_client(rewritten, 77) == rewritten


def test_any_bytes_can_be_rewritten() -> None:
    chance = random.Random(3)
    deltas = honest(1, [])
    for _ in range(3_000):
        delta = bytearray(chance.choice(deltas))
        for _ in range(chance.randrange(4)):
            delta[chance.randrange(len(delta))] = chance.randrange(256)
        cut = bytes(delta[: chance.randrange(len(delta) + 1)])
        assert with_client(with_client(cut, 77), 77) == with_client(cut, 77)
    assert with_client(b"", 7) == b"" and with_client(b"\xff" * 5, 7) == b"\xff" * 5


# -- whole sites -------------------------------------------------------------------------------------------------------


async def forged(folder: Path, record: str, delta: bytes, *, own: bool = False, kind: str = "patient") -> str:
    return await anyio.to_thread.run_sync(
        partial(forge, folder, passphrase=PASSPHRASE, kind=kind, record_id=record, delta=delta, own_client_id=own)
    )


@asynccontextmanager
async def three(folder: Path) -> AsyncIterator[tuple[Path, str]]:
    """The folders of three closed sites, and a patient that all of them have."""
    async with practice(folder, "Jena", "Gera", "Mallory") as sites:
        patient = Patient(family_name="Muster", given_name="Erika")
        await add(sites[0], patient)
        async with mesh(*sites):
            await agree(*sites)
    yield folder, patient.id


async def test_what_forge_refuses(tmp_path: Path) -> None:
    with pytest.raises(NotFound):
        await forged(tmp_path / "none", record_of(1), b"")
    async with practice(tmp_path, "Jena"):
        with pytest.raises(AlreadyOpen):
            await forged(tmp_path / "jena", record_of(1), b"")
    with pytest.raises(WrongPassphrase):
        forge(tmp_path / "jena", passphrase="wrong", kind="patient", record_id=record_of(1), delta=b"")
    text = await forged(tmp_path / "jena", record_of(1), b"?")
    assert commit_text(commit_from_text(text)) == text


async def test_a_delta_that_is_in_order_is_a_change_like_any(tmp_path: Path) -> None:
    """Forging does nothing else than to write past the gate: under the own log, which goes on behind it."""
    async with practice(tmp_path, "Jena") as [jena]:
        commit = await add(jena, Patient(family_name="Muster"))
        assert commit is not None
    document = Document(5)
    delta = document.write(tag=log_tag(commit.log), sequence=2, stamp=1, edits=[SetField("title", "Dr.", {})])
    text = await forged(tmp_path / "jena", record_of(5), delta, own=True)
    assert commit_from_text(text) == (commit.log, 2)
    async with opened(tmp_path / "jena") as jena:
        assert (await jena.get(Patient, record_of(5))).title == "Dr."
        assert (await jena.status())["held"] == []
        assert (await add(jena, Patient(family_name="Next"))) == (commit.log, 3)
    assert check_delta(with_client(delta, client_id(commit.log, record_of(5))), client_id(commit.log, record_of(5)))


@pytest.mark.parametrize("own", [False, True])
async def test_forged_poison_is_held_at_every_site_also_at_the_one_that_forged(tmp_path: Path, own: bool) -> None:
    async with three(tmp_path) as (folder, patient):
        poison = await forged(folder / "mallory", patient, POISONS["bomb 200 KB"](7, record_of(1)), own=own)
        held = {"commit": poison, "site": "Mallory", "records": [patient]}
        async with opened(folder / "mallory") as mallory:
            [told] = (await mallory.status())["held"]
            assert {name: told[name] for name in held} == held and told["reason"]
            await add(mallory, Patient(family_name="Honest"))
            assert {log.split(".")[0] for log in (await mallory.status())["frontier"]} >= {mallory.replica}
        async with sites(folder, "jena", "gera", "mallory") as all_of_them:
            jena, gera, mallory = all_of_them
            async with mesh(*all_of_them):
                await agreed(*all_of_them)
                for site in all_of_them:
                    [told] = (await site.status())["held"]
                    assert {name: told[name] for name in held} == held
                    assert (await site.get(Patient, patient)).damaged
                    assert [found.family_name for found in await site.find(Patient)].count("Honest") == 1
                    assert (await site.verify())["problems"] == []
                for site in (jena, gera):
                    [notice] = [notice for notice in site.driver.alarms if notice.kind == "held"]
                    assert "site Mallory" in notice.text and patient in notice.text and poison in notice.text
                async with jena.transaction() as tx:
                    (await tx.get(Patient, patient)).title = "entered anew"
                await agreed(*all_of_them)
                for site in all_of_them:
                    found = await site.get(Patient, patient)
                    assert (found.title, found.damaged) == ("entered anew", "")
        async with sites(folder, "jena", "gera", "mallory") as again:
            assert len({(await site.digest())["digest"] for site in again}) == 1
            assert [len((await site.status())["held"]) for site in again] == [1, 1, 1]
            await again[0].rebuild()
            assert (await again[0].digest()) == (await again[1].digest())
            assert not (await again[0].get(Patient, patient)).damaged


async def test_a_site_that_never_serves_signs_what_it_holds(tmp_path: Path) -> None:
    async with three(tmp_path) as (folder, patient):
        await forged(folder / "mallory", patient, b"?")
        async with opened(folder / "mallory") as mallory:
            await signed(mallory, 1)
        async with opened(folder / "mallory") as mallory:
            assert mallory.driver.replica.membership.state().held == 1


async def test_a_membership_that_is_full_does_not_stop_a_site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with three(tmp_path) as (folder, patient):
        await forged(folder / "mallory", patient, b"?")
        async with opened(folder / "jena") as jena:
            full = len(jena.driver.replica.membership)
        monkeypatch.setattr(limits, "membership_records_max", full)
        async with opened(folder / "mallory") as mallory:
            await add(mallory, Patient(family_name="Next"))
            assert len((await mallory.status())["held"]) == 1
            assert len(mallory.driver.replica.membership) == full
            mallory.driver.check()


@asynccontextmanager
async def sites(folder: Path, *names: str) -> AsyncIterator[list[Site]]:
    async with AsyncExitStack() as stack:
        yield [await stack.enter_async_context(opened(folder / name)) for name in names]


async def signed(site: Site, count: int) -> None:
    with anyio.fail_after(patience_s):
        while site.driver.replica.membership.state().held < count:
            await site.driver.heard.wait()


async def agreed(*all_of_them: Site) -> None:
    """Digests, holds and what is held are equal, and nothing is left to be signed."""
    with anyio.fail_after(patience_s):
        while True:
            seen = [await digest_and_held(site) for site in all_of_them]
            if all(each == seen[0] for each in seen):
                return
            with anyio.move_on_after(0.05):
                await all_of_them[-1].driver.heard.wait()


async def digest_and_held(site: Site) -> tuple[Any, ...]:
    status = await site.status()
    heads = site.driver.replica.membership.heads
    return status["digest"], status["frontier"], [held["commit"] for held in status["held"]], heads
