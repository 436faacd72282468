"""S25: Jena dies for good. Of what it wrote last Weimar has 90 % and Gera 95 %: the two become equal without it."""

from __future__ import annotations

import shutil

import pytest

from tests.scenarios.processes import Practice, Server, converged, until

last_hour = 100


def has(server: Server, records: int) -> None:
    until(lambda: server.digest()["records"] >= records, f"{records} records at {server.name}")


@pytest.mark.slow
def test_what_one_lacks_of_a_dead_site_comes_from_the_other(practice: Practice) -> None:
    jena, weimar, gera = practice.found("Jena", "Weimar", "Gera")
    jena.serve()
    weimar.serve(jena)
    gera.serve(jena)
    patient = jena.write("patient", family_name="Muster")
    written = [patient]
    converged(jena, weimar, gera, records=1)
    for number in range(last_hour):
        if number == last_hour * 90 // 100:
            has(weimar, len(written))
            weimar.kill()
        if number == last_hour * 95 // 100:
            has(gera, len(written))
            gera.kill()
        written.append(jena.write("task", title=f"Jena {number}"))
        if number % 10 == 0:
            jena.change(patient, title=f"number {number}")
    jena.kill()
    shutil.rmtree(jena.folder)
    weimar.serve()
    assert weimar.digest()["records"] == 1 + last_hour * 90 // 100
    weimar.write("task", title="at Weimar, before it knows")
    gera.serve(weimar)
    converged(weimar, gera, records=2 + last_hour * 95 // 100)
    for server in (weimar, gera):
        assert set(written[: 1 + last_hour * 95 // 100]) <= set(server.column("SELECT id FROM task")) | {patient}
        assert server.show(patient)["fields"]["title"] == f"number {(last_hour * 95 // 100 - 1) // 10 * 10}"
        assert server.verb("verify")["ok"] is True and server.ask("conflicts") == []
    assert weimar.ask("status")["frontier"] == gera.ask("status")["frontier"]
    # The members go on without it, and it is seen that it is away.
    weimar.change(patient, title="afterwards")
    converged(weimar, gera)
    assert not gera.peer(jena)["connected"] and gera.peer(weimar)["connected"]
