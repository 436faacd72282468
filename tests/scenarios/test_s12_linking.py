"""S12, linking: the same new patient is registered at two sites apart; linking shows one, unlinking gives both back."""

from __future__ import annotations

from typing import Any

from tests.scenarios.processes import Practice, Server, converged

KVNR = "A123456780"


def table(server: Server) -> list[dict[str, Any]]:
    """Whose every patient is, as questions in SQL see it."""
    found: list[dict[str, Any]] = server.ask("query", sql="SELECT patient, person FROM person ORDER BY patient")
    return found


def entries_of(server: Server, patient: str) -> set[str]:
    """The visits that a question by this patient finds."""
    found = server.ask("record list", kind="visit", fields={"patient": patient}, limit=None)
    return {each["fields"]["reason"] for each in found}


def persons(server: Server, **fields: str) -> list[dict[str, Any]]:
    """The persons with these values."""
    found: list[dict[str, Any]] = server.ask("persons", fields=fields, linked=False, limit=None)
    return found


def test_one_person_registered_at_two_sites_is_linked_and_unlinked(practice: Practice) -> None:
    jena, weimar = practice.found("Jena", "Weimar")
    for server in (jena, weimar):
        server.serve()
    here = jena.write("patient", family_name="Muster", given_name="Erika", insurance_number=KVNR)
    there = weimar.write("patient", family_name="Muster", given_name="Erika", insurance_number=KVNR)
    jena.write("visit", patient=here, reason="at Jena")
    weimar.write("visit", patient=there, reason="at Weimar")
    weimar.stop()
    weimar.serve(jena)
    converged(jena, weimar, records=4)
    first, second = sorted((here, there))
    assert len(persons(jena, insurance_number=KVNR)) == 2 and jena.verb("persons", "--linked") == []
    before = {patient: jena.show(patient) for patient in (here, there)}

    told = jena.verb("link", here, there, "--author", "dr.weber", "--reason", "same card")
    assert told["persons"] == [{"person": first, "patients": [first, second]}] and told["commit"]
    converged(jena, weimar)
    for server in practice.servers:
        assert persons(server, insurance_number=KVNR) == told["persons"], "one person"
        assert table(server) == [{"patient": first, "person": first}, {"patient": second, "person": first}]
        assert entries_of(server, here) == entries_of(server, there) == {"at Jena", "at Weimar"}
        assert server.show(second) == before[second], "and nothing was moved"
    assert weimar.ask("link", patients=[there, here], author="", reason="")["commit"] is None

    told = weimar.verb("unlink", there, here, "--author", "dr.weber", "--reason", "twins")
    assert [each["patients"] for each in told["persons"]] == [[first], [second]]
    converged(jena, weimar)
    for server in practice.servers:
        assert len(persons(server)) == 2
        assert entries_of(server, here) == {"at Jena"} and entries_of(server, there) == {"at Weimar"}
        assert {patient: server.show(patient) for patient in before} == before, "both are back"
        assert server.ask("verify")["ok"]
