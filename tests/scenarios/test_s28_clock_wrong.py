"""S28: the clock of Gera is three hours ahead, then a day behind, while all write.

Whoever has seen a value writes over it, whatever the clocks say; the others raise an alarm about the clock that is
ahead and are not carried along; values written apart end alike everywhere.
"""

from __future__ import annotations

import pytest

from tests.scenarios.changed import WallClock
from tests.scenarios.processes import Practice, Server, converged, until

HOUR_MS = 3_600_000
three_hours_ahead, a_day_behind = 3 * HOUR_MS, -24 * HOUR_MS


def write_in_turn(servers: list[Server], patient: str, word: str) -> None:
    """Each writes over what the one before wrote; the last one's value stands everywhere, without a conflict."""
    for server in servers:
        server.change(patient, home_site=f"{word} {server.name}", title=f"{word} {server.name}")
        converged(*servers)
    last = f"{word} {servers[-1].name}"
    for server in servers:
        fields = server.show(patient)["fields"]
        assert (fields["home_site"], fields["title"]) == (last, last)
        assert server.ask("conflicts") == []


def write_apart(servers: list[Server], patient: str, word: str) -> None:
    """Each writes without seeing the others: a register keeps all values, `latest` one, the same everywhere."""
    _, weimar, gera = servers
    for server in servers:
        server.stop()
        server.serve()
    for server in servers:
        server.change(patient, home_site=f"{word} {server.name}", title=f"{word} {server.name}")
        server.write("task", title=f"{word} {server.name}")
    meet(servers)
    for server in servers:
        shown = server.show(patient)
        assert sorted(shown["conflicts"]["title"]) == [f"{word} {name}" for name in ("Gera", "Jena", "Weimar")]
        assert shown["fields"]["home_site"] == gera.show(patient)["fields"]["home_site"]
    assert len({tuple(conflict["id"] for conflict in server.ask("conflicts")) for server in servers}) == 1
    # Who saw all values decides, with a clock that is right or wrong.
    weimar.change(patient, title="decided", home_site="decided")
    converged(*servers)
    for server in servers:
        assert server.show(patient)["fields"]["home_site"] == "decided" and server.ask("conflicts") == []


def meet(servers: list[Server]) -> None:
    jena, weimar, gera = servers
    for server in servers:
        server.stop()
    jena.serve()
    weimar.serve(jena)
    gera.serve(jena, weimar)
    converged(*servers)


def alarmed(server: Server) -> bool:
    return any("ahead; set it right" in alarm["text"] for alarm in server.ask("status")["alarms"])


@pytest.mark.slow
def test_three_hours_ahead_then_a_day_behind(practice: Practice) -> None:
    servers = jena, weimar, gera = practice.found("Jena", "Weimar", "Gera")
    clock = WallClock(gera)
    for server in servers:
        server.serve()
    meet(servers)
    patient = jena.write("patient", family_name="Muster")
    converged(*servers, records=1)
    clock.set(three_hours_ahead)
    write_in_turn([jena, gera, weimar], patient, "ahead")  # the future stamp is Gera's, and Weimar saw it
    for server in (jena, weimar):
        until(lambda server=server: alarmed(server), f"{server.name} tells of the clock")
    assert not alarmed(gera), "its own clock is the measure there"
    write_apart(servers, patient, "ahead, apart")
    clock.set(a_day_behind)
    write_in_turn([jena, weimar, gera], patient, "behind")  # Gera writes last, a day before the others
    write_apart(servers, patient, "behind, apart")
    clock.set(0)
    write_in_turn(servers, patient, "right")
    for server in servers:
        assert server.verb("verify")["ok"] is True
