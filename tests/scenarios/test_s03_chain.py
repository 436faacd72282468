"""S3 in the simulator: a chain Jena - Weimar - Gera; Gera gets Jena's data through Weimar, without a line to Jena."""

from __future__ import annotations

import pytest

from crdtsync.ids import replica_of
from crdtsync.testing.network import Weather
from crdtsync.testing.world import World

CHAIN = [("Jena", "Weimar"), ("Weimar", "Gera")]


def chain(seed: int, weather: Weather | None = None) -> World:
    world = World(seed)
    world.found("Jena", "Weimar", "Gera")
    world.connect(CHAIN, weather)
    return world


def write(world: World, name: str, records: int) -> None:
    for _ in range(records):
        world.desk.create(world.node(name))
        world.run(0.05)


def test_what_is_written_at_one_end_reaches_the_other() -> None:
    world = chain(3)
    write(world, "Jena", 20)
    world.settle()
    world.check()
    jena, gera = world.node("Jena"), world.node("Gera")
    written = {log: head for log, head in jena.disk.frontier().items() if replica_of(log) == jena.replica_id}
    assert {log: gera.disk.frontier()[log] for log in written} == written
    assert sum(head.sequence for head in written.values()) == 20
    assert not gera.linked(jena.replica_id)


def test_each_commit_crosses_each_line_once() -> None:
    world = chain(4)
    for name in ("Jena", "Weimar", "Gera"):
        write(world, name, 15)
    world.settle()
    for node in world.nodes.values():
        node.count_links()
        assert node.duplicates == 0
        assert node.received == 30


def test_the_middle_dies_and_comes_back() -> None:
    """Jena and Gera write on while Weimar is down; nothing is known of each other until it is back."""
    world = chain(5)
    write(world, "Weimar", 5)
    world.settle()
    world.node("Weimar").stop("a test")
    world.run(60.0)
    write(world, "Jena", 10)
    write(world, "Gera", 10)
    world.run(60.0)
    assert world.node("Jena").host.engine.digest() != world.node("Gera").host.engine.digest()
    world.node("Weimar").start()
    world.settle()
    world.check()
    assert world.node("Jena").host.engine.digest() == world.node("Gera").host.engine.digest()


@pytest.mark.parametrize("seed", range(4))
def test_over_lines_that_lose_double_and_delay(seed: int) -> None:
    world = chain(seed, Weather(delay_s=0.3, jitter_s=0.5, lost=0.2, doubled=0.2))
    world.run(30.0)
    for _ in range(15):
        for name in world.nodes:
            world.desk.act(world.node(name))
            world.run(0.7)
    world.run(300.0)
    world.heal()
    world.settle()
    world.check()
