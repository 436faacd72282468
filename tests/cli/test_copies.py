"""succeed and recover as a script calls them, and what status says in sentences."""

from __future__ import annotations

from pathlib import Path

import anyio
import pytest

from crdtsync.cli.copies import copied
from tests.cli.conftest import Call
from tests.sites import at_host, opened, practice

QUIET = {"recovering": False, "superseded": False, "suspended": []}
BRANCHES = {
    "site": "Weimar",
    "replica": "r",
    "boots": [
        {"boot": "aaa", "commits": 1, "last_stamp": "2026-01-05T08:00:00+00:00"},
        {"boot": "bbb", "commits": 12, "last_stamp": "2026-01-05T09:00:00+00:00"},
    ],
}


def test_status_says_nothing_where_all_is_well() -> None:
    assert list(copied(Path("jena"), QUIET)) == []


def test_status_says_what_to_do_with_copies_and_older_folders() -> None:
    [waits] = copied(Path("jena"), QUIET | {"recovering": True})
    assert "crdtsync recover jena --alone" in waits
    [lost] = copied(Path("jena"), QUIET | {"superseded": True})
    assert "Another copy of this site goes on" in lost
    [both] = copied(Path("jena"), QUIET | {"suspended": [BRANCHES]})
    assert "boot aaa with 1 commit, the last 2026-01-05T08:00:00+00:00; boot bbb with 12 commits" in both
    assert "crdtsync succeed jena --name Weimar --boot ID" in both


def test_nothing_to_decide_is_a_refusal(call: Call, jena: Path) -> None:
    assert "Jena writes in one line" in call("succeed", jena, "--name", "Jena", "--boot", "x").refused(1)
    assert "no site named Gera" in call("succeed", jena, "--name", "Gera", "--boot", "x", "--json").refused(1)
    assert "--boot" in call("succeed", jena, "--name", "Jena").refused(2)


@pytest.fixture
def waiting(tmp_path: Path) -> Path:
    """The folder of a site that waits for what it once wrote."""

    async def make() -> None:
        async with practice(tmp_path, "Jena", "Gera") as [jena, _]:
            await at_host(jena, lambda host: host.note_recovering(True))

    anyio.run(make)
    return tmp_path / "jena"


def test_recover_ends_the_waiting_by_a_persons_word(call: Call, waiting: Path) -> None:
    assert "nothing is written until then" in call("status", waiting).out
    assert call("status", waiting, "--json").json["recovering"] is True
    assert "which are fetched first" in call("record", "new", waiting, "patient", "family_name=Muster").refused(1)
    assert "run `crdtsync serve`" in call("recover", waiting).refused(1)
    assert call("recover", waiting, "--alone", "--json").json == {"recovering": False}
    assert call("recover", waiting).out == "This site writes.\n"
    assert call("record", "new", waiting, "patient", "family_name=Muster").code == 0


async def _holds(folder: Path) -> bool:
    async with opened(folder) as site:
        return bool(await at_host(site, lambda host: host.recovering))


def test_the_word_is_kept(call: Call, waiting: Path) -> None:
    call("recover", waiting, "--alone")
    assert anyio.run(_holds, waiting) is False
