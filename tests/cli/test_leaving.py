"""revoke, close and members --held-by as a script calls them, and how status tells how fresh data are."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import anyio
import pytest

from crdtsync import folder, members
from crdtsync.cli.state import fresh
from tests.cli.conftest import Call
from tests.sites import opened, practice

REVOKE = ("--reason", "stolen from a car")


@pytest.fixture
def two(tmp_path: Path) -> Path:
    """The folder of one of two sites."""

    async def make() -> None:
        async with practice(tmp_path, "Jena", "Gera") as [jena, _]:
            public = folder.new_keys().identity().public
            desk = members.entry_of(public, name="front desk", role="workstation")
            state = jena.driver.replica.membership.state()
            await jena.sign(lambda host, place: members.adding(host, place, state, desk))

    anyio.run(make)
    return tmp_path / "jena"


def states(call: Call, folder: Path) -> dict[str, str]:
    return {member["name"]: member["state"] for member in call("members", folder, "--json").json}


def test_a_site_is_shut_out(call: Call, two: Path) -> None:
    told = call("revoke", two, "--name", "Gera", *REVOKE, "--json").json
    assert (told["name"], told["state"], told["admins"]) == ("Gera", "revoked", ["Jena"])
    assert told.keys() == {"name", "replica", "role", "state", "commits", "epoch", "admins"}
    assert states(call, two) == {"Jena": "active", "Gera": "revoked", "front desk": "active"}
    assert "Gera was revoked before" in call("revoke", two, "--name", "Gera", *REVOKE).refused(1)
    assert call("record", "new", two, "patient", "family_name=Muster").code == 0, "it writes on"


def test_a_workstation_is_shut_out_and_its_patients_are_asked_for(call: Call, two: Path) -> None:
    out = call("revoke", two, "--name", "front desk", *REVOKE).out
    assert "front desk is shut out" in out and f'crdtsync members {two} --held-by "front desk"' in out
    assert call("members", two, "--held-by", "front desk").out == "It held no patient.\n"
    assert call("members", two, "--held-by", "front desk", "--json").json == []


def test_a_site_is_closed(call: Call, two: Path) -> None:
    out = call("close", two, "--name", "Gera").out
    assert "Gera is closed" in out and "Jena is the only admin site now" in out
    assert states(call, two)["Gera"] == "closed"
    assert "Gera was closed before" in call("close", two, "--name", "Gera").refused(1)


def test_what_is_refused(call: Call, two: Path) -> None:
    assert "Jena does not revoke itself" in call("revoke", two, "--name", "Jena", *REVOKE).refused(1)
    assert "Jena does not close itself" in call("close", two, "--name", "Jena").refused(1)
    assert "no member named Apolda" in call("revoke", two, "--name", "Apolda", *REVOKE).refused(1)
    assert "no member named Apolda" in call("close", two, "--name", "Apolda", "--json").refused(1)
    assert "--reason" in call("revoke", two, "--name", "Gera").refused(2)
    assert "say why Gera is revoked" in call("revoke", two, "--name", "Gera", "--reason", " ").refused(2)
    assert "Jena is no workstation" in call("members", two, "--held-by", "Jena").refused(1)
    assert "no member named Apolda" in call("members", two, "--held-by", "Apolda").refused(1)
    assert set(states(call, two).values()) == {"active"}


def test_nothing_is_set_aside(call: Call, two: Path) -> None:
    assert call("late", two).out == "Nothing is set aside.\n" and call("late", two, "--json").json == []
    assert "nothing of Gera is set aside here" in call("late", two, "--accept", "Gera").refused(1)
    assert "no member named Apolda" in call("late", two, "--accept", "Apolda").refused(1)


def test_a_site_that_is_revoked_says_so(call: Call, two: Path) -> None:
    async def meet() -> None:
        async with opened(two) as jena, opened(two.parent / "gera") as gera:
            records = jena.driver.replica.membership.records()
            await gera.driver.publish(records)

    call("close", two, "--name", "Gera")
    anyio.run(meet)
    refused = call("record", "new", two.parent / "gera", "patient", "family_name=Muster").refused(1)
    assert "the practice has closed this site; its records can be read here, not written" in refused
    out = call("status", two.parent / "gera").out
    assert "The practice has closed or removed this site" in out and "Nothing is known here" not in out
    assert call("status", two, "--json").json["belongs"] is True
    assert "Gera is no admin" in call("revoke", two.parent / "gera", "--name", "Jena", *REVOKE).refused(1)


PEER = {"site": "Weimar", "role": "site", "connected": True, "missing_here": 0}


def told(**peer: Any) -> list[str]:
    noon = time.mktime((2026, 3, 4, 12, 0, 0, 0, 0, -1))
    return list(fresh([PEER | peer], noon))


def iso(*local: int) -> str:
    at = time.mktime((*local, 0, 0, 0, -1))  # type: ignore[arg-type]  # year to minute
    return time.strftime("%Y-%m-%dT%H:%M:%S+00:00", time.gmtime(at))


def test_status_says_how_fresh_data_are() -> None:
    today, yesterday = iso(2026, 3, 4, 10, 42), iso(2026, 3, 3, 23, 5)
    assert told(as_of=today) == ["Data from Weimar as of 10:42."]
    assert told(as_of=yesterday, connected=False) == ["Data from Weimar as of 2026-03-03 23:05; it is not connected."]
    assert told(as_of=today, missing_here=2) == ["Data from Weimar as of 10:42; 2 commits of what it has are not here."]
    assert told(as_of=None, connected=False) == ["Nothing is known here of the data of Weimar; it is not connected."]
    assert told(as_of=today, role="archive") == []


def test_status_has_a_line_for_each_site(call: Call, two: Path) -> None:
    assert "Nothing is known here of the data of Gera; it is not connected." in call("status", two).out
