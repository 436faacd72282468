"""What must stay by the rules of its fields: the books notice when it does not."""

from __future__ import annotations

from typing import Any

import pytest

from crdtsync.documents import Document, read
from crdtsync.testing import oracles
from crdtsync.testing.desk_rules import Books, Promise, Sheet
from crdtsync.testing.verdict import OracleFailed
from crdtsync.testing.world import World


def world(seed: int) -> World:
    made = World(seed)
    made.found("Jena", "Weimar")
    made.introduce(made.node("Jena"))
    made.connect([("Jena", "Weimar")])
    made.settle()
    return made


def played(seed: int) -> World:
    """Two sites that write the same sheet, linked and cut off by turns, and come to rest."""
    made = world(seed)
    jena, weimar = made.node("Jena"), made.node("Weimar")
    while not any(kind == "simulated_sheet" for kind, _ in made.desk.known):
        made.desk.create(jena, 3)
        made.run(1.0)
    made.settle()
    sheet = next(place for place in made.desk.known if place[0] == "simulated_sheet")
    for round_ in range(12):
        if round_ % 3 == 0:
            made.cut("Jena", "Weimar")
        for node in (jena, weimar):
            made.desk.edit(node, *sheet)
            made.run(0.5)
        if round_ % 3 == 2:
            made.mend("Jena", "Weimar")
            made.run(1.0)
    made.heal()
    made.settle()
    return made


def sheet_of(made: World) -> tuple[Any, Any]:
    place = next(place for place in made.desk.known if place[0] == "simulated_sheet")
    stored = made.node("Jena").disk.document(*place)
    assert stored is not None
    return place, read(*place, Document(1, stored.state).content())


def check(made: World) -> None:
    nodes = made.members()
    made.desk.books.check(nodes, made.ledger, oracles.cut_off(nodes[0], made.ledger))


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_what_two_sites_write_stays(seed: int) -> None:
    made = played(seed)
    before = made.desk.books.checked
    made.check()
    assert made.desk.books.checked > before
    _, sheet = sheet_of(made)
    assert isinstance(sheet, Sheet)
    assert len(sheet.letters) + len(sheet.hazards) + len(sheet.cards) > 3


def test_a_lost_entry_and_a_wrong_sum_are_noticed() -> None:
    made = played(1)
    check(made)
    place, _ = sheet_of(made)
    books, kept = made.desk.books, made.desk.books.kept
    books.kept = [*kept, Promise(keys=[(place, "letters", "a version that is nowhere")])]
    with pytest.raises(OracleFailed, match="letters, which stays"):
        check(made)
    books.kept = [*kept, *kept]
    assert any(promise.sums for promise in kept)
    with pytest.raises(OracleFailed, match="counts"):
        check(made)
    books.kept = kept
    check(made)


def test_what_a_removal_cuts_off_is_not_asked_for() -> None:
    made = played(2)
    place, _ = sheet_of(made)
    commits = tuple(made.desk.books.kept[0].commits)
    lost = Books()
    lost.kept = [Promise(keys=[(place, "letters", "nowhere")], commits=commits)]
    lost.check(made.members(), made.ledger, commits)
    assert lost.checked == 0
