"""What undoing means under rules by which nothing goes away."""

from collections.abc import Callable
from typing import Any

from crdtsync.documents import (
    Counter,
    EditCounter,
    Entries,
    Record,
    Value,
    Versions,
    append_only,
    counter,
    never_removed,
    register,
    versions,
)
from crdtsync.documents.staying import TakenBack, take_back

KIND = "test_staying_thing"


class Hazard(Value):
    name: str
    verification: str | None = None


class Page(Value):
    text: str
    signed_by: str | None = None


class Thing(Record, kind=KIND):
    name: str | None = register()
    hazards: Entries[Hazard] = never_removed()
    letter: Versions[Page] = versions()
    uses: Counter = counter()
    cards: Entries[str] = append_only()


def turn(writer: Any, act: Callable[[Any], object]) -> tuple[Any, Any]:
    before = dict(writer.content.slots)
    writer.edit(act)
    return before, dict(writer.content.slots)


def back(writer: Any, *turns: tuple[Any, Any]) -> TakenBack:
    """Take turns back, and write that."""
    taken = take_back(KIND, turns, writer.content.slots)
    writer.sequence += 1
    writer.stamp += 1
    writer.document.write(tag=writer.tag, sequence=writer.sequence, stamp=writer.stamp, edits=taken.edits)
    return taken


def test_a_version_is_followed_by_what_stood_before(writer: Any) -> None:
    one = writer("one", KIND)
    first = turn(one, lambda thing: thing.letter.add(Page(text="a", signed_by="w")))
    second = turn(one, lambda thing: thing.letter.add(Page(text="b")))
    signed = one.read().letter.head
    taken = back(one, second)
    head = one.read().letter.head
    assert (head.value, head.parents) == (Page(text="a", signed_by="w"), (signed.id,))
    assert [version.value.text for version in one.read().letter] == ["a", "b", "a"]
    assert len(taken.places) == 2 and {field for field, _ in taken.places} == {"letter"}
    again = turn(one, lambda thing: thing.letter.add(Page(text="c")))
    assert back(one, second).edits == []  # somebody has built upon it
    assert back(one, first, second, again).edits == []  # nothing stood before: the first stays
    assert one.read().letter.head.value.text == "c"


def test_a_decision_between_two_heads_is_taken_back_to_both(writer: Any) -> None:
    one, two = writer("one", KIND), writer("two", KIND)
    first, second = (each.write(Thing(letter=[Page(text=text)])) for each, text in ((one, "a"), (two, "b")))
    one.receive(second)
    two.receive(first)
    decision = turn(one, lambda thing: thing.letter.add(Page(text="c")))
    back(one, decision)
    assert sorted(head.value.text for head in one.read().letter.heads) == ["a", "b"]
    assert len(one.read().letter) == 5 and "letter" in one.read().conflicts


def test_an_entry_that_was_added_is_marked_and_others_are_left(writer: Any) -> None:
    one = writer("one", KIND)
    turn(one, lambda thing: thing.hazards.add(Hazard(name="old")))
    added = turn(one, lambda thing: thing.hazards.add(Hazard(name="new")))
    (old, _), (new, _) = one.read().hazards.items()
    changed = turn(one, lambda thing: thing.hazards.change(old, Hazard(name="older")))
    assert back(one, added, changed).places == {("hazards", new)}
    assert dict(one.read().hazards.items())[new] == Hazard(name="new", verification="entered_in_error")
    assert one.read().hazards.holding == [Hazard(name="older")]
    assert back(one, added).edits == []


def test_a_counter_goes_back_by_what_was_added(writer: Any) -> None:
    one, two = writer("one", KIND), writer("two", KIND)

    def use(thing: Any) -> None:
        thing.uses.add(7)
        thing.uses.subtract(2)

    change = turn(one, use)
    later = two.edit(lambda thing: thing.uses.add(10))
    one.receive(later)
    taken = back(one, change)
    assert taken == ([EditCounter("uses", 2, 7)], {("uses", None)})
    assert one.read().uses == 10
    back(one, change, change)
    assert one.read().uses == 0


def test_everything_else_is_left_to_others(writer: Any) -> None:
    one = writer("one", KIND)
    changes = turn(one, lambda thing: (thing.cards.add("x"), thing.assign("name", "a")))
    assert back(one, changes) == ([], set())
    assert take_back("a kind that nobody declares", [changes], one.content.slots) == ([], set())
