"""S22: server B is restored from an old backup: recovering, new boot, pulls first; nothing lost, nothing resurrected.

By processes and the command line. What the dead disk alone had is lost with it; what anybody else has heard of comes
back.
"""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.scenarios.processes import Practice, Server, converged, until
from tests.scenarios.refusing import Call


def restored(practice: Practice, call: Call, backup: Path, name: str) -> Server:
    """A site restored from a backup, by the command line."""
    server = practice.server(name)
    told = call("restore", backup, server.folder, "--json").json
    assert told["site"] == "Weimar"
    return server


def logs(server: Server, replica: str) -> dict[str, int]:
    """The logs of a replica, as this site's frontier names them."""
    frontier = server.ask("status")["frontier"]
    return {log: sequence for log, sequence in frontier.items() if log.startswith(replica)}


def test_a_server_comes_back_from_an_old_backup(practice: Practice, call: Call, tmp_path: Path) -> None:
    jena, weimar = practice.found("Jena", "Weimar")
    jena.serve()
    weimar.serve(jena)
    allergy = weimar.write("allergy", substance="Penicillin")
    doomed = weimar.write("patient", family_name="Irrtum")
    kept = weimar.write("patient", family_name="Alt")
    converged(jena, weimar, records=3)
    backup = tmp_path / "weimar.backup"
    told = weimar.verb("backup", "--out", backup)  # by the process that serves it
    assert told["commits"] == 3 and told["frontier"] == weimar.ask("status")["frontier"]
    # Three days of life: changes, retractions, new records, at both sites.
    weimar.change(kept, family_name="Neu")
    jena.change(doomed, archived="true")
    for number in range(20):
        weimar.write("patient", family_name=f"Weimar {number}")
        jena.write("patient", family_name=f"Jena {number}")
    digest = converged(jena, weimar, records=43)
    replica = weimar.ask("status")["replica"]
    before = logs(jena, replica)
    weimar.kill()
    shutil.rmtree(weimar.folder)

    again = restored(practice, call, backup, "Weimar-again")
    refused = call("record", "new", again.folder, "patient", "family_name=Zu früh")
    assert refused.code == 1 and "fetched first" in refused.err
    assert "fetched first" in call("status", again.folder).out
    again.serve(jena)
    until(lambda: not again.ask("status")["recovering"], "all of its own is back")
    assert converged(jena, again, records=43) == digest
    assert again.show(kept)["fields"]["family_name"] == "Neu"
    assert again.show(doomed)["fields"]["archived"] is True
    assert again.show(allergy)["fields"]["substance"] == "Penicillin"
    again.write("patient", family_name="Danach")
    converged(jena, again, records=44)
    after = logs(jena, replica)
    assert {log: after[log] for log in before} == before, "a log that was written before the restore has grown"
    assert len(after) == len(before) + 1, "what is written now stands in a boot of its own"
    assert jena.ask("status")["suspended"] == [], "the new boot continues the newest end: no branch"
    assert again.ask("verify")["ok"] is True


@pytest.mark.slow
def test_without_the_others_a_person_lets_it_write(practice: Practice, call: Call, tmp_path: Path) -> None:
    """What the dead disk alone had is lost; when the rest turns up it stands beside what was written meanwhile."""
    jena, weimar = practice.found("Jena", "Weimar")
    weimar.verb("record new", "patient", "family_name=Alt")
    weimar.verb("backup", "--out", tmp_path / "weimar.backup")
    weimar.verb("record new", "patient", "family_name=Neu")
    jena.serve()
    weimar.serve(jena)
    converged(jena, weimar, records=2)
    weimar.kill()
    jena.kill()
    again = restored(practice, call, tmp_path / "weimar.backup", "Weimar-again")
    assert again.call("recover").code == 1
    assert again.verb("recover", "--alone") == {"recovering": False}
    again.verb("record new", "patient", "family_name=Allein")
    jena.serve()
    again.serve(jena)
    converged(jena, again, records=3)
    names = set(jena.column("SELECT family_name FROM patient"))
    assert names == {"Alt", "Neu", "Allein"}
    told = until(lambda: jena.ask("status")["suspended"], "both branches are seen")
    assert told[0]["site"] == "Weimar" and len(told[0]["boots"]) == 2
