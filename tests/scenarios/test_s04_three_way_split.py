"""S4 in the simulator: all three lines are cut, all three sites write on, and the pairs rejoin in every order."""

from __future__ import annotations

import functools
import itertools

import pytest

from crdtsync.testing.world import World

PAIRS = (("Jena", "Weimar"), ("Weimar", "Gera"), ("Jena", "Gera"))
ORDERS = [order for length in (2, 3) for order in itertools.permutations(PAIRS, length)]
"""Every order in which enough pairs rejoin to make the practice one again: two of them, or all three."""


def split_world() -> World:
    """Three sites that know the same, then are apart and change the same records differently. Alike in every call."""
    world = World(11)
    world.found("Jena", "Weimar", "Gera")
    world.connect(PAIRS)
    for _ in range(8):
        world.desk.create(world.node("Jena"))
    world.settle()
    for pair in PAIRS:
        world.cut(*pair)
    world.run(5.0)
    for kind, record in list(world.desk.known):
        for name in world.nodes:
            world.desk.edit(world.node(name), kind, record)
            world.run(0.1)
    for name in world.nodes:
        world.desk.create(world.node(name))
    world.run(600.0)
    return world


def final_state(order: tuple[tuple[str, str], ...]) -> tuple[object, ...]:
    world = split_world()
    assert len({node.host.engine.digest() for node in world.nodes.values()}) == 3
    for pair in order:
        world.mend(*pair)
        world.run(30.0)
    world.settle()
    world.check()
    [digest] = {node.host.engine.digest() for node in world.nodes.values()}
    conflicts = sorted((conflict.id, conflict.body) for conflict in world.node("Gera").disk.conflicts())
    return digest, tuple(conflicts), world.node("Weimar").replica.stored.digest()


@functools.cache
def first_state() -> tuple[object, ...]:
    return final_state(ORDERS[0])


@pytest.mark.parametrize("order", ORDERS[1:], ids=lambda order: ", ".join(f"{a[0]}-{b[0]}" for a, b in order))
def test_every_order_of_rejoining_gives_the_same_final_state(order: tuple[tuple[str, str], ...]) -> None:
    assert final_state(order) == first_state()


def test_what_two_sites_changed_apart_is_a_conflict_at_all() -> None:
    _, conflicts, _ = first_state()
    assert isinstance(conflicts, tuple)
    assert conflicts
