"""S4 with real processes: a three-way split; the pairs rejoin in every order, and all orders end alike."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from itertools import permutations
from pathlib import Path

import pytest

from tests.scenarios.processes import Practice, Server, converged

ORDERS = list(permutations(("Jena", "Weimar", "Gera")))
"""Who meets first, second and last: the first two make a pair, the third then meets the second, at last the first."""


def written_apart(practice: Practice) -> tuple[list[Server], str]:
    """Three sites that agreed on a patient and then wrote on, each alone; the patient's id. Nobody is served."""
    servers = practice.found("Jena", "Weimar", "Gera")
    jena, weimar, gera = servers
    jena.serve()
    weimar.serve(jena)
    gera.serve(jena)
    patient = jena.write("patient", family_name="Muster", given_name="Erika", birth_date="1964-08-12")
    converged(*servers, records=1)
    for server in servers:
        server.stop()
        server.serve()
    jena.change(patient, family_name="Muster-Jena")
    weimar.change(patient, family_name="Muster-Weimar", given_name="Erica")
    gera.change(patient, birth_date="1964-08-21")
    for server in servers:
        for number in range(5):
            server.write("task", title=f"{server.name} {number}")
        server.stop()
    return servers, patient


def rejoin(order: Sequence[Server], patient: str) -> str:
    """The pairs meet in this order; the digest that all end with."""
    first, second, third = order
    first.serve()
    second.serve(first)
    converged(first, second, records=11)
    assert third.name not in {str(title).split()[0] for title in first.column("SELECT title FROM task")}
    third.serve(second)
    converged(first, second, third, records=16)
    assert not third.peer(first)["connected"]
    third.stop()
    third.serve(second, first)
    digest = converged(first, second, third, records=16)
    for server in order:
        shown = server.show(patient)
        assert sorted(shown["conflicts"]["family_name"]) == ["Muster-Jena", "Muster-Weimar"]
        assert (shown["fields"]["given_name"], shown["fields"]["birth_date"]) == ("Erica", "1964-08-21")
        assert [(c["field"], c["records"]) for c in server.ask("conflicts")] == [("family_name", [patient])]
    assert len({tuple(c["id"] for c in server.ask("conflicts")) for server in order}) == 1
    return digest


def ends_of(practice: Practice, orders: Sequence[Sequence[str]], keep: Path) -> set[str]:
    """The digests that these orders of rejoining end with, each from the same folders as they were when apart."""
    servers, patient = written_apart(practice)
    for server in servers:
        shutil.copytree(server.folder, keep / server.folder.name)
    ends = set()
    for order in orders:
        for server in servers:
            shutil.rmtree(server.folder)
            shutil.copytree(keep / server.folder.name, server.folder)
        ends.add(rejoin([next(s for s in servers if s.name == name) for name in order], patient))
        for server in servers:
            server.stop()
    return ends


@pytest.mark.slow
def test_three_orders_of_rejoining_end_alike(practice: Practice, tmp_path: Path) -> None:
    assert len(ends_of(practice, [ORDERS[0], ORDERS[3], ORDERS[4]], tmp_path / "apart")) == 1


@pytest.mark.slow
def test_every_order_of_rejoining_ends_alike(practice: Practice, tmp_path: Path) -> None:
    assert len(ends_of(practice, ORDERS, tmp_path / "apart")) == 1
