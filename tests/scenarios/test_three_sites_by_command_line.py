"""Three sites made, invited and joined by the command line, with the bundles of a real practice."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from tests.scenarios.processes import PRACTICE, Practice, Running, Server, converged, until

bundles_in_short_form = 8


def bundles(test_data: Path) -> list[Path]:
    found = sorted((test_data / "fhir-r4").glob("*.json*"))
    assert len(found) == 58
    return found


def digits_shown(joining: Running) -> str | None:
    shown = re.search(r"digits are (\d{6})\.", joining.complaint())
    return shown and shown.group(1)


def let_in_by_digits(host: Server, newcomer: Server) -> None:
    """Invite, join, compare the six digits that both show, confirm."""
    code = host.verb("invite", "--name", newcomer.name)["code"]
    errors = newcomer.folder.with_name("joining.stderr")
    joining = Running(errors, "join", newcomer.folder, "--code", code, "--json")
    digits = until(lambda: digits_shown(joining), "six digits at the joining site")
    asked = host.event("join")
    assert (asked["name"], asked["digits"]) == (newcomer.name, digits)
    assert joining.process.poll() is None and not newcomer.folder.exists()
    assert host.verb("confirm", digits)["name"] == newcomer.name
    assert joining.event()["site"] == newcomer.name
    assert joining.end(None) == 0


def let_in_by_code(host: Server, newcomer: Server) -> None:
    """Invite with --trust-code, join."""
    code = host.verb("invite", "--name", newcomer.name, "--trust-code")["code"]
    assert newcomer.verb("join", "--code", code)["site"] == newcomer.name


def three_sites(practice: Practice) -> list[Server]:
    """Jena founds, Weimar joins by digits and Gera by a trusted code; Jena and Weimar are served."""
    jena, weimar, gera = [practice.server(name) for name in ("Jena", "Weimar", "Gera")]
    sheet = practice.folder / "sheet.txt"
    jena.verb("create", "--practice", PRACTICE, "--site", "Jena", "--recovery-sheet", sheet)
    jena.serve()
    let_in_by_digits(jena, weimar)
    weimar.serve(jena)
    let_in_by_code(jena, gera)
    told = jena.verb("members")
    assert [(m["name"], m["role"], m["admin"], m["state"]) for m in told] == [
        (name, "site", True, "active") for name in ("Gera", "Jena", "Weimar")
    ]
    return [jena, weimar, gera]


def live_through(practice: Practice, files: list[Path]) -> dict[str, Any]:
    """Import at Jena while Gera is down; edit at all three; Gera comes up and talks only to Weimar."""
    jena, weimar, gera = three_sites(practice)
    told: dict[str, Any] = jena.verb("import", *files, "--author", "reception")
    assert told["unchanged"] == 0 and told["left_out"] and told["created"] == jena.digest()["records"]

    patients = jena.column("SELECT id FROM patient ORDER BY id")
    assert len(patients) == len(files)
    gera.verb("record new", "patient", "family_name=Weber", "birth_date=1950-01-02")  # by itself, while it is down
    jena.verb("record set", patients[0], "note=seen at Jena")
    converged(jena, weimar)
    weimar.verb("record set", patients[1], "note=seen at Weimar", "--author", "dr.weber")

    gera.serve(weimar)
    digest = converged(jena, weimar, gera, records=told["created"] + 1)
    assert not gera.peer(jena)["connected"] and not jena.peer(gera)["connected"]
    gera.verb("record set", patients[2], "note=seen at Gera")
    digest = converged(jena, weimar, gera, records=told["created"] + 1)
    for server in practice.servers:
        notes = server.column("SELECT note FROM patient WHERE note LIKE 'seen at %' ORDER BY note")
        assert notes == ["seen at Gera", "seen at Jena", "seen at Weimar"]
        assert server.ask("conflicts") == []

    again = jena.verb("import", *files)
    assert (again["created"], again["unchanged"], again["left_out"]) == (0, told["created"], told["left_out"])
    for server in practice.servers:
        assert server.verb("verify")["ok"] is True
        assert server.ask("rebuild")["digest"] == digest == server.digest()["digest"]
    assert gera.verb("rebuild")["digest"] == gera.verb("digest")["digest"] == digest
    return told


def test_a_handful_of_bundles(practice: Practice, test_data: Path) -> None:
    live_through(practice, bundles(test_data)[:bundles_in_short_form])


@pytest.mark.slow
def test_all_bundles(practice: Practice, test_data: Path) -> None:
    assert live_through(practice, bundles(test_data))["created"] > 9_000


@pytest.mark.slow
def test_the_same_bundle_imported_at_two_sites_apart_gives_each_thing_once(practice: Practice, test_data: Path) -> None:
    jena, weimar, gera = practice.found("Jena", "Weimar", "Gera")
    first, second, third = bundles(test_data)[:3]
    at_jena = jena.verb("import", first, second)
    at_gera = gera.verb("import", second, third)
    here, there = ids(jena), ids(gera)
    assert (len(here), len(there)) == (at_jena["created"], at_gera["created"]) and here & there
    alone = len(here | there)
    jena.serve()
    weimar.serve(jena)
    gera.serve(weimar)
    converged(jena, weimar, gera, records=alone)
    for server in practice.servers:
        assert server.ask("conflicts") == []
    again = weimar.verb("import", first, second, third)
    assert (again["created"], again["unchanged"]) == (0, alone) and "differing" not in again


def ids(server: Server) -> set[str]:
    """The ids of all records of a site that nobody serves."""
    kinds = sorted(server.verb("status")["records"])
    union = " UNION ALL ".join(f'SELECT id FROM "{kind}"' for kind in kinds)
    return {row["id"] for row in server.verb("query", union)}
