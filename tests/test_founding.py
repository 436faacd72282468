"""Founding, inviting, and what joining makes of a code."""

from __future__ import annotations

import os
import shutil
import sqlite3
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from crdtsync import BadValue, DamagedFile, InvitationRefused, RefusedError, Site, Unreachable, founding, limits
from crdtsync.folder import unlock
from crdtsync.founding import check_name, found, hint_addresses, stored_membership
from crdtsync.ids import PracticeId
from crdtsync.replication.codec import pack
from crdtsync.sealing.code import parse_code
from crdtsync.sealing.recovery import parse_sheet, recovery_identity

from .sites import PASSPHRASE, at_host, create, join, opened

pytestmark = pytest.mark.anyio


@pytest.fixture
async def jena(tmp_path: Path) -> AsyncIterator[Site]:
    async with create(tmp_path / "jena") as site:
        yield site


async def test_the_sheet_opens_the_practice(tmp_path: Path) -> None:
    """Every epoch is sealed to the identity that the printed secret gives; it is an admin that is no machine."""
    sheet = found(tmp_path / "jena", " Praxis am Markt ", "Jena", PASSPHRASE)
    unlocked = await unlock(tmp_path / "jena", PASSPHRASE)
    try:
        membership = stored_membership(unlocked)
        state = membership.state()
        recovery = recovery_identity(parse_sheet(sheet))
        member = state.active(recovery.public.replica)
        assert membership.practice_name == "Praxis am Markt" and member is not None
        assert member.role == "recovery" and member.administers
        [delivery] = state.deliveries(recovery.public.replica)
        assert len(recovery.open_sealed(delivery.info, delivery.sealed)) == 32
    finally:
        unlocked.lock.release()


def test_names_are_words(tmp_path: Path) -> None:
    assert check_name("site", "  Jena ") == "Jena"
    for name in ("", " ", "x" * 201, "Je\nna", "Je\x00na"):
        with pytest.raises(BadValue, match="printable"):
            check_name("site", name)
        with pytest.raises(BadValue):
            found(tmp_path / "jena", name, "Jena", PASSPHRASE)
    assert os.listdir(tmp_path) == []


async def test_a_membership_that_was_changed_is_damaged(tmp_path: Path) -> None:
    async with create(tmp_path / "jena"):
        pass
    with sqlite3.connect(tmp_path / "jena" / "log.db") as db:
        [(table,)] = db.execute("SELECT name FROM sqlite_schema WHERE type = 'table' AND name LIKE '%member%'")
        columns = [row[1] for row in db.execute(f"PRAGMA table_info({table})")]
        name = next(c for c in columns if c in ("data", "record", "bytes"))
        [(data,)] = db.execute(f"SELECT {name} FROM {table}")
        changed = data[:-1] + bytes([data[-1] ^ 1])
        db.execute(f"UPDATE {table} SET {name} = ?", (changed,))
    db.close()
    with pytest.raises(DamagedFile, match="does not verify"):
        async with opened(tmp_path / "jena"):
            pass


async def test_who_may_be_invited_where(jena: Site, tmp_path: Path) -> None:
    with pytest.raises(RefusedError, match="start `serve` first"):
        await jena.invite("Gera")
    assert parse_code(await jena.invite("Gera", address="10.0.0.1:7443")).addresses == ("10.0.0.1:7443",)
    with pytest.raises(RefusedError, match="has a site named Jena already"):
        await jena.invite("Jena", address="10.0.0.1:7443")
    with pytest.raises(RefusedError, match="workstation"):
        await jena.invite("Desk", role="workstation", address="10.0.0.1:7443")
    with pytest.raises(BadValue):
        await jena.invite("", address="10.0.0.1:7443")
    async with jena.serve("0.0.0.0:0"):
        with pytest.raises(RefusedError, match="--advertise"):
            await jena.invite("Gera")
    async with jena.serve(advertise="jena.example:7443"):
        assert parse_code(await jena.invite("Gera")).addresses == ("jena.example:7443",)
    assert parse_code(await jena.invite("Gera")).addresses == ("jena.example:7443",), "where it served last"
    assert len(jena.invitations) == 3


async def test_only_admins_invite(jena: Site, tmp_path: Path) -> None:
    async with jena.serve():
        code = await jena.invite("Gera", admin=False, trust_code=True)
        async with Site.join(tmp_path / "gera", code, passphrase=PASSPHRASE) as gera:
            with pytest.raises(RefusedError, match="Gera is no admin"):
                await gera.invite("Weimar", address="10.0.0.1:7443")
            assert {m["name"]: m["admin"] for m in gera.members()} == {"Jena": True, "Gera": False}


async def test_invitations_are_few_and_do_not_outlive_the_machine(
    jena: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(limits.invitations_open_max + 3):
        await jena.invite(f"Site {number}", address="10.0.0.1:7443")
    assert jena.invitations[0].name == "Site 3" and len(jena.invitations) == limits.invitations_open_max
    assert len(await founding.invitations(jena)) == limits.invitations_open_max
    now = time.monotonic()
    monkeypatch.setattr(time, "monotonic", lambda: now + limits.invitation_seconds + 1)
    assert await founding.invitations(jena) == []
    monkeypatch.undo()
    monkeypatch.setattr(founding, "boot_session", lambda: "another start of the machine")
    assert await founding.invitations(jena) == []


async def test_joining_where_nobody_answers(jena: Site, tmp_path: Path) -> None:
    async with jena.serve() as serving:
        address = serving.address
        code = await jena.invite("Gera", trust_code=True)
    with pytest.raises(Unreachable):
        async with Site.join(tmp_path / "gera", code, passphrase=PASSPHRASE):
            pass
    async with jena.serve():
        with pytest.raises(InvitationRefused):
            async with Site.join(tmp_path / "gera", code[:-1], passphrase=PASSPHRASE):
                pass
        assert jena.serving is not None and jena.serving.address != address
        async with Site.join(tmp_path / "gera", code, passphrase=PASSPHRASE, address=jena.serving.address) as gera:
            assert gera.name == "Gera"
    assert sorted(os.listdir(tmp_path)) == ["gera", "jena"]


async def test_a_site_keeps_where_it_was_invited_from(jena: Site, tmp_path: Path) -> None:
    assert hint_addresses(None) == [] and hint_addresses(pack(["10.0.0.1:1"])) == ["10.0.0.1:1"]
    await join(jena, tmp_path / "gera", "Gera")
    async with opened(tmp_path / "gera") as gera:
        data = await gera.driver.thread.run(lambda host: host.store.meta(founding.META_HINTS))
        assert hint_addresses(data)[0].startswith("127.0.0.1:")


def test_a_membership_of_another_practice_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvitationRefused, match="does not verify"):
        founding._checked(PracticeId(bytes(16)), [b"no record"])


async def test_the_log_of_another_practice_is_not_ours(tmp_path: Path) -> None:
    """Whoever put it there mixed up two folders: nothing would be ours in it, and nothing could be written."""
    for name in ("jena", "weimar"):
        async with create(tmp_path / name, name):
            pass
    shutil.copy(tmp_path / "weimar" / "log.db", tmp_path / "jena" / "log.db")
    with pytest.raises(DamagedFile, match="that of another replica; put back"):
        async with opened(tmp_path / "jena"):
            pass


async def test_small_values_that_rotted_keep_nobody_out(tmp_path: Path) -> None:
    """Invitations and hints are a convenience: codes are asked for anew, addresses are published."""
    async with create(tmp_path / "jena") as site:
        rot = {founding.META_INVITATIONS: b"\x93\x01", founding.META_HINTS: b"\xff"}
        await at_host(site, lambda host: host.store.set_meta(rot))
    async with opened(tmp_path / "jena") as site:
        assert await founding.invitations(site) == []
        await at_host(site, lambda host: host.store.set_meta({founding.META_INVITATIONS: pack([b"\x91\x01"])}))
        assert await founding.invitations(site) == []
    assert hint_addresses(b"\xff") == []
