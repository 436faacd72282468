"""S29: Gera is closed; a year later its computer is switched on.

What it had written before is everywhere; what is written on it now is set aside for a person; it gets no data.
"""

from __future__ import annotations

import pytest

from tests.scenarios.changed import WallClock
from tests.scenarios.processes import Practice, Server, converged, until

A_YEAR_MS = 365 * 24 * 3_600_000


def late(server: Server) -> list[tuple[str, int]]:
    return [(each["site"], each["commits"]) for each in server.ask("status")["late"]]


def titles(server: Server) -> set[str]:
    return set(server.column("SELECT title FROM task"))


@pytest.mark.slow
def test_a_closed_site_is_switched_on_again(practice: Practice) -> None:
    jena, weimar, gera = practice.found("Jena", "Weimar", "Gera")
    clock = WallClock(gera)
    jena.serve()
    weimar.serve(jena)
    gera.serve(jena, weimar)
    patient = jena.write("patient", family_name="Muster")
    gera.write("task", title="seen by all")
    converged(jena, weimar, gera, records=2)
    gera.stop()
    gera.verb("record new", "task", "title=written in its last hour")
    told = jena.verb("close", "--name", "Gera")
    assert (told["name"], told["state"], told["admins"]) == ("Gera", "closed", ["Jena", "Weimar"])
    until(lambda: {m["name"]: m["state"] for m in weimar.ask("members")}["Gera"] == "closed", "Weimar hears of it")
    weimar.write("task", title="after it was closed")
    jena.change(patient, title="Dr.")
    converged(jena, weimar, records=3)

    # A year later somebody switches it on, and begins to work with it before it has found anybody.
    clock.set(A_YEAR_MS)
    gera.serve()
    gera.write("task", title="a year later")
    gera.stop()
    gera.serve(jena, weimar)
    for server in (jena, weimar):
        until(lambda server=server: late(server) == [("Gera", 1)], "the late commit is told of")  # type: ignore[misc]
        assert titles(server) == {"seen by all", "written in its last hour", "after it was closed"}
    converged(jena, weimar, records=4)

    # It learns that it is closed, writes nothing more, and was given nothing.
    until(lambda: {m["name"]: m["state"] for m in gera.ask("members")}["Gera"] == "closed", "Gera hears of it")
    refused = gera.call("record new", "task", "title=and now")
    assert refused.code == 1 and "the practice has closed this site" in refused.err
    assert titles(gera) == {"seen by all", "written in its last hour", "a year later"}
    assert gera.show(patient)["fields"].get("title") is None
    assert [peer["site"] for peer in jena.ask("status")["peers"]] == ["Weimar"]
    for server in (jena, weimar):
        assert server.ask("verify")["ok"] is True

    # A person looks at what was written late, and lets it count everywhere.
    [row] = jena.verb("late")
    assert (row["site"], row["commits"]) == ("Gera", 1)
    assert jena.verb("late", "--accept", "Gera") == {"name": "Gera", "commits": 1}
    everything = {"seen by all", "written in its last hour", "after it was closed", "a year later"}
    for server in (jena, weimar):
        until(lambda server=server: titles(server) == everything, "it counts")  # type: ignore[misc]

    # A person who finds that it was stolen meanwhile shuts it out altogether.
    jena.verb("revoke", "--name", "Gera", "--reason", "it was not ours any more")
    until(lambda: not any(peer["connected"] for peer in gera.ask("status")["peers"]), "its links end")
    assert titles(jena) == titles(weimar) == everything
