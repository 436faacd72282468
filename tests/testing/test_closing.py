"""A simulated site is closed while it is cut off, and comes back unaware: what it had written by then is everywhere."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from crdtsync.ids import replica_of
from crdtsync.testing.node import Node
from crdtsync.testing.planted import PLANTED
from crdtsync.testing.verdict import OracleFailed
from crdtsync.testing.world import World


def closed(planted: Callable[[Node], None] | None = None) -> World:
    """Gera wrote once before it was closed at Jena, and once since; then its lines are mended, and all come to rest."""
    world = World(seed=1, planted=planted)
    world.found("Jena", "Weimar", "Gera")
    world.connect([("Jena", "Weimar"), ("Jena", "Gera"), ("Weimar", "Gera")])
    world.settle()
    jena, gera = world.node("Jena"), world.node("Gera")
    world.cut("Jena", "Gera")
    world.cut("Weimar", "Gera")
    world.desk.create(gera)
    world.run(5.0)
    jena.queue(0.0, lambda: world.close(jena, gera))
    world.run(5.0)
    world.desk.create(gera)
    world.desk.create(jena)
    world.run(5.0)
    world.mend("Jena", "Gera")
    world.mend("Weimar", "Gera")
    world.settle()
    world.check()
    return world


def test_what_a_closed_site_had_written_is_everywhere_and_nothing_is_given_to_it() -> None:
    world = closed()
    gera = world.node("Gera")
    own = [head for log, head in gera.disk.frontier().items() if replica_of(log) == gera.replica_id]
    assert [head.sequence for head in own] == [2]
    for site in world.members():
        taken = {log: head for log, head in site.disk.frontier().items() if replica_of(log) == gera.replica_id}
        assert [head.sequence for head in taken.values()] == [1] and list(site.replica.late.values()) == [1]
        assert site.disk.frontier().keys() - gera.disk.frontier().keys() == {world.node("Jena").host.log}
    assert gera.replica.membership.state().members[gera.replica_id].closed_at is not None, "it has heard of it"


@pytest.mark.parametrize(
    ("name", "said"), [("closing-cuts", "has not handed over"), ("feeds-closed", "gives data to somebody")]
)
def test_worlds_notice_what_is_done_wrong_about_closed_sites(name: str, said: str) -> None:
    with pytest.raises(OracleFailed, match=said):
        closed(PLANTED[name].plant)
