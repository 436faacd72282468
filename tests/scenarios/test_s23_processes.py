"""S23 by processes and the command line: two copies served, the admin decides, the winner writes on."""

from __future__ import annotations

import shutil

import pytest

from tests.scenarios.processes import Practice, Server, converged, until


def boots(server: Server) -> list[str]:
    """The boots in which Weimar's branches end, as this site's status tells."""
    told = server.ask("status")["suspended"]
    return [boot["boot"] for each in told for boot in each["boots"] if each["site"] == "Weimar"]


@pytest.mark.slow
def test_two_copies_are_served_and_one_goes_on(practice: Practice) -> None:
    jena, weimar = practice.found("Jena", "Weimar")
    weimar.verb("record new", "patient", "family_name=Muster")
    copy = practice.server("Weimar-copy")
    shutil.copytree(weimar.folder, copy.folder)
    weimar.verb("record new", "patient", "family_name=Bauer")
    copy.verb("record new", "patient", "family_name=Fischer")
    jena.serve()
    weimar.serve(jena)
    copy.serve(jena)
    for server in (jena, weimar, copy):
        until(lambda server=server: len(boots(server)) == 2, "both branches are seen")  # type: ignore[misc]
    converged(jena, weimar, copy, records=3)
    assert "crdtsync succeed" in jena.call("status").out
    wins = boots(jena)[0]
    done = jena.verb("succeed", "--name", "Weimar", "--boot", wins)
    assert (done["site"], done["boot"], len(done["closed"])) == ("Weimar", wins, 1)
    for server in (jena, weimar, copy):
        until(lambda server=server: not boots(server), "settled everywhere")  # type: ignore[misc]
    states = {server.name: server.ask("status")["superseded"] for server in (weimar, copy)}
    assert sorted(states.values()) == [False, True]
    winner, loser = (weimar, copy) if states["Weimar-copy"] else (copy, weimar)
    refused = loser.call("record new", "patient", "family_name=Vogt")
    assert refused.code == 1 and "another copy of this site goes on" in refused.err and refused.err.count("\n") == 1
    assert "Another copy of this site goes on" in loser.call("status").out
    winner.verb("record new", "patient", "family_name=Vogt")
    assert winner.verb("recover") == {"recovering": False}
    converged(jena, weimar, copy, records=4)
    loser.stop()
    refused = loser.call("record new", "patient", "family_name=Zander")
    assert refused.code == 1 and "another copy of this site goes on" in refused.err
    assert jena.call("succeed", "--name", "Weimar", "--boot", wins).code == 1
