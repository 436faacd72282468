from typing import Any

import pytest

from crdtsync import limits
from crdtsync.documents import Content, Counter, EditCounter, Record, counter, edits_of, fields_json, project, read
from crdtsync.documents.count import counted, raised
from crdtsync.errors import BadValue
from crdtsync.ids import RecordId

KIND = "test_counter_thing"


class Thing(Record, kind=KIND):
    visits: Counter = counter()


def test_a_counter_reads_as_a_number() -> None:
    made = Counter(3)
    made.add()
    made.subtract(6)
    assert (int(made), made.value, made == -2, made == Counter(-2), made == "x") == (-2, -2, True, True, False)
    assert made.edit() == (4, 6) and repr(made) == "Counter(-2)" and list(range(5))[Counter(4)] == 4
    made.assign(5)
    assert made == 5
    made.assign(None)
    assert made == 0


@pytest.mark.parametrize("wrong", [-1, 1.5, True, "1", None])
def test_only_whole_numbers_are_added(wrong: Any) -> None:
    with pytest.raises(BadValue):
        Counter().add(wrong)
    with pytest.raises(BadValue):
        Counter().subtract(wrong)
    if wrong is not None and wrong != -1:
        with pytest.raises(BadValue):
            Counter().assign(wrong)
        with pytest.raises(BadValue):
            Thing(visits=wrong)


def test_what_two_sites_add_unseen_is_all_counted_once(writer: Any) -> None:
    one, two = writer("one", KIND), writer("two", KIND)
    two.receive(one.write(Thing(visits=10)))
    first = one.edit(lambda thing: thing.visits.add(5))
    again = one.edit(lambda thing: thing.visits.subtract(1))
    other = two.edit(lambda thing: thing.visits.assign(7))
    two.receive(first, again, again)
    one.receive(other)
    assert one.read().visits == two.read().visits == 11
    assert one.fingerprint() == two.fingerprint()
    row = project(KIND, RecordId("x"), one.content).row
    assert row is not None and row["visits"] == 11
    assert fields_json(one.read())["visits"] == 11
    assert one.content.slots == {"visits/oneaaaaa": "[[3,3,[15,1]]]", "visits/twoaaaaa": "[[1,1,[0,3]]]"}


def test_two_desks_of_one_site_both_count(writer: Any) -> None:
    """The second began before the first had ended: it adds to what stands, not to what it read."""
    one = writer("one", KIND)
    first, second = one.read(), one.read()
    first.visits.add(2)
    second.visits.add(3)
    one.write(first)
    one.write(second)
    assert one.read().visits == 5


def test_adding_nothing_is_no_edit_and_zero_is_shown() -> None:
    made = Thing()
    made.visits.add(0)
    assert edits_of(made, lambda: "k") == []
    assert fields_json(made) == {"visits": 0}
    made.visits.add(2)
    made.visits.subtract(2)
    assert edits_of(made, lambda: "k") == [EditCounter("visits", 2, 2)]


@pytest.mark.parametrize("value", ["[5]", "[-1,2]", "[true,0]", "7", "null", f"[{2**63},0]"])
def test_what_no_counter_writes_counts_as_nothing(value: str) -> None:
    slots = {"visits/tagaaaaa": f"[[1,1,{value}]]", "visits/tagbbbbb": "[[1,1,[4,1]]]"}
    found = read(KIND, RecordId("x"), Content(slots, {}))
    assert isinstance(found, Thing) and found.visits == 3


def test_a_counter_has_a_limit_and_a_refusal_breaks_no_document(writer: Any) -> None:
    one = writer("one", KIND)
    one.edit(lambda thing: thing.visits.add(limits.counter_max))
    with pytest.raises(BadValue, match="counts up to"):
        one.edit(lambda thing: thing.visits.add(1))
    one.edit(lambda thing: thing.visits.subtract(1))
    assert one.read().visits == limits.counter_max - 1
    assert counted([]) == (0, 0) and raised([[1, 2]], 3, 4) == [4, 6]


def test_two_edits_of_one_counter_in_one_commit_add_up(writer: Any) -> None:
    one = writer("one", KIND)
    edits = [EditCounter("visits", 2, 0), EditCounter("visits", 0, 5)]
    one.document.write(tag=one.tag, sequence=1, stamp=1, edits=edits)
    assert one.read().visits == -3
