"""S3 with real processes: a chain Jena - Weimar - Gera, and no line between Jena and Gera."""

from __future__ import annotations

from tests.scenarios.processes import Practice, converged


def test_the_ends_of_a_chain_agree_through_its_middle(practice: Practice) -> None:
    jena, weimar, gera = practice.found("Jena", "Weimar", "Gera")
    jena.serve()
    weimar.serve(jena)
    gera.serve(weimar)
    from_jena = [jena.write("patient", family_name=f"Jena {n}") for n in range(20)]
    from_gera = [gera.write("patient", family_name=f"Gera {n}") for n in range(20)]
    converged(jena, weimar, gera, records=40)
    assert set(gera.column("SELECT id FROM patient WHERE family_name LIKE 'Jena%'")) == set(from_jena)
    assert set(jena.column("SELECT id FROM patient WHERE family_name LIKE 'Gera%'")) == set(from_gera)
    assert not jena.peer(gera)["connected"] and not gera.peer(jena)["connected"]
    assert weimar.peer(jena)["connected"] and weimar.peer(gera)["connected"]
    for server in practice.servers:
        assert [peer["duplicates_in"] for peer in server.ask("status")["peers"]] == [0, 0]


def test_without_the_middle_the_ends_work_on_and_agree_when_it_is_back(practice: Practice) -> None:
    jena, weimar, gera = practice.found("Jena", "Weimar", "Gera")
    jena.serve()
    weimar.serve(jena, gera)
    gera.serve()
    patient = jena.write("patient", family_name="Muster", given_name="Erika")
    converged(jena, weimar, gera, records=1)
    weimar.kill()
    jena.change(patient, family_name="Muster-Weber")
    gera.change(patient, given_name="Erica")
    gera.write("task", title="call back")
    assert jena.show(patient)["fields"]["given_name"] == "Erika"
    assert gera.show(patient)["fields"]["family_name"] == "Muster"
    weimar.serve(jena, gera)
    converged(jena, weimar, gera, records=2)
    for server in practice.servers:
        shown = server.show(patient)
        assert (shown["fields"]["family_name"], shown["fields"]["given_name"]) == ("Muster-Weber", "Erica")
        assert shown["conflicts"] == {} and server.ask("conflicts") == []
