"""Undoing: everything back that nobody touched later, nothing of later lost; and undoing that gives it back."""

from __future__ import annotations

import json
import random
from typing import Any, get_args

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crdtsync.documents import (
    Content,
    Counter,
    Document,
    Edit,
    EditCounter,
    EditEntry,
    EditText,
    Entries,
    Hunk,
    Record,
    Restore,
    SetField,
    Text,
    Value,
    Versions,
    append_only,
    conflicts_json,
    counter,
    edits_from_json,
    edits_json,
    entries,
    fields_json,
    flag_on_wins,
    latest,
    never_removed,
    project,
    read,
    register,
    status,
    text,
    versions,
)
from crdtsync.documents.slots import Item, items_of, split_slot
from crdtsync.documents.undo import Later, Turn, undone
from crdtsync.ids import RecordId

KIND = "test_undo_thing"
RECORD = RecordId("a" * 26)


class Thing(Record, kind=KIND):
    dosage: int | None = register(group="g", severity="high")
    state: str | None = status("a<b<c", "x", group="g")
    name: str | None = register()
    place: str | None = latest()
    hazard: bool = flag_on_wins()
    tags: Entries[str] = entries(by_value=True)
    lines: Entries[int] = entries()
    note: Text = text()


def act(writer: Any, what: str, number: int) -> tuple[Turn, bytes]:
    """One random change by one writer: what the record said before and after it there, and its delta."""
    before = writer.content
    record = writer.read()
    if what == "dosage":
        record.dosage = number % 5
    elif what == "state":
        record.state = "abcx"[number % 4]
    elif what == "name":
        record.name = [None, "ä", "ö", "ü"][number % 4]
    elif what == "place":
        record.place = "pq"[number % 2]
    elif what == "hazard":
        record.hazard = not record.hazard
    elif what == "tags":
        tag = "tuv"[number % 3]
        if tag in record.tags:
            record.tags.remove(tag)
        else:
            record.tags.add(tag)
    elif what == "lines":
        items = record.lines.items()
        if items and number % 3 == 0:
            record.lines.remove(items[number % len(items)][0])
        elif items and number % 3 == 1:
            record.lines.change(items[number % len(items)][0], number)
        else:
            record.lines.add(number)
    elif what == "several":
        record.dosage, record.state, record.name = number % 7, "abcx"[number % 4], "several"
    else:
        record.note.insert(number % (len(record.note) + 1), ["ü", "ab ", "😀!"][number % 3])
    delta = writer.write(record)
    return Turn(before, writer.content), delta


def undo(writer: Any, *turns: Turn) -> tuple[Turn, bytes, tuple[Later, ...]]:
    """Take turns back as the next commit of a writer."""
    before = writer.content
    found = undone(KIND, turns, before)
    writer.sequence += 1
    writer.stamp += 1
    delta = writer.document.write(tag=writer.tag, sequence=writer.sequence, stamp=writer.stamp, edits=found.edits)
    assert shown(writer.content) == shown(found.content), "the preview says what will be"
    return Turn(before, writer.content), delta, found.later


def shown(content: Content) -> tuple[Any, ...]:
    """What people see of a record."""
    record = read(KIND, RECORD, content)
    ids = sorted(conflict.id for conflict in project(KIND, RECORD, content).conflicts)
    return fields_json(record), conflicts_json(record), ids


def places(content: Content) -> dict[str, dict[str, str]]:
    """Slots and texts by field, or by entry."""
    found: dict[str, dict[str, str]] = {}
    for slot, raw in content.slots.items():
        field, entry, _ = split_slot(slot)
        found.setdefault(field if entry is None else f"{field}/{entry}", {})[slot] = raw
    return found | {field: {"": text} for field, text in content.texts.items()}


@pytest.fixture
def pair(writer: Any) -> tuple[Any, Any]:
    return writer("one", KIND), writer("two", KIND)


def both(one: Any, two: Any, *deltas: bytes) -> None:
    """Let each have what the other one wrote: `one`'s deltas first."""
    two.receive(deltas[0])
    one.receive(*deltas[1:])


def test_a_change_is_taken_back_and_given_back(pair: Any) -> None:
    one, _ = pair
    one.edit(dosage=1, name="Muster", tags=["x", "y"], note="Ein Text")
    first = shown(one.content)
    before = one.content
    one.edit(dosage=2, name=None, tags=["y", "z"], note="Ein anderer Text", hazard=True)
    second = shown(one.content)
    turn, _, later = undo(one, Turn(before, one.content))
    assert shown(one.content) == first and later == ()
    undo(one, turn)
    assert shown(one.content) == second


def test_undoing_a_creation_leaves_nothing_to_see(pair: Any) -> None:
    one, _ = pair
    before = one.content
    one.edit(dosage=1, state="b", tags=["x"], note="text", lines=[1, 2])
    turn, _, _ = undo(one, Turn(before, one.content))
    assert {name: value for name, value in shown(one.content)[0].items() if value is not False} == {}
    undo(one, turn)
    assert shown(one.content)[0]["lines"] == [1, 2] and shown(one.content)[0]["note"] == "text"


def test_undoing_a_resolution_brings_the_same_conflict_back(pair: Any) -> None:
    one, two = pair
    both(one, two, one.edit(dosage=5), two.edit(dosage=10))
    conflict = shown(one.content)
    assert sorted(conflict[1]["dosage"]) == [5, 10] and len(conflict[2]) == 1
    before = one.content
    one.edit(dosage=7)
    assert shown(one.content)[1] == {}
    undo(one, Turn(before, one.content))
    assert shown(one.content) == conflict


@pytest.mark.parametrize("fields", [{"state": "x"}, {"dosage": 3}, {"state": "x", "dosage": 3}])
def test_undoing_what_decided_a_group_brings_its_conflict_back(pair: Any, fields: dict[str, Any]) -> None:
    """Also when both fields of the group are put back by one commit: they count as the writes that they were."""
    one, two = pair
    two.receive(one.edit(dosage=1, state="a"))
    both(one, two, one.edit(dosage=2), two.edit(state="b"))
    conflict = shown(one.content)
    assert len(conflict[2]) == 1
    before = one.content
    one.edit(**fields)
    assert shown(one.content)[2] == []
    undo(one, Turn(before, one.content))
    assert shown(one.content) == conflict


def test_what_was_written_over_it_stays(pair: Any) -> None:
    one, two = pair
    two.receive(one.edit(name="old", dosage=1))
    before = one.content
    two.receive(one.edit(name="wrong", dosage=2))
    turn = Turn(before, one.content)
    one.receive(two.edit(name="right"))
    _, _, later = undo(one, turn)
    assert (shown(one.content)[0]["name"], shown(one.content)[0]["dosage"]) == ("right", 1)
    assert [(each.field, each.how, each.value) for each in later] == [("name", "stays", "right")]


def test_what_was_written_beside_it_stays_beside_what_is_put_back(pair: Any) -> None:
    one, two = pair
    two.receive(one.edit(name="old"))
    before = one.content
    one.edit(name="wrong")
    turn = Turn(before, one.content)
    one.receive(two.edit(name="unseen"))
    _, _, later = undo(one, turn)
    assert sorted(shown(one.content)[1]["name"]) == ["old", "unseen"]
    assert [(each.field, each.how, each.value) for each in later] == [("name", "beside", "unseen")]


def test_what_is_written_while_it_is_undone_elsewhere_is_kept(pair: Any) -> None:
    one, two = pair
    two.receive(one.edit(name="old"))
    before = one.content
    two.receive(one.edit(name="wrong"))
    _, delta, _ = undo(one, Turn(before, one.content))
    both(one, two, delta, two.edit(name="new"))
    assert shown(one.content) == shown(two.content)
    assert sorted(shown(one.content)[1]["name"]) == ["new", "old"]


def test_the_later_of_two_under_latest_is_the_later_write_not_the_later_undo(pair: Any) -> None:
    one, two = pair
    two.receive(one.edit(place="old"))
    before = one.content
    one.edit(place="wrong")
    turn = Turn(before, one.content)
    one.receive(two.edit(place="unseen", stamp=50))
    undo(one, turn)
    assert shown(one.content)[0]["place"] == "unseen"


def test_a_text_is_taken_back_around_what_came_since(pair: Any) -> None:
    one, two = pair
    two.receive(one.edit(note="Der Patient klagt über Schmerzen."))
    before = one.content
    two.receive(one.edit(note="Der Patient klagt."))
    turn = Turn(before, one.content)
    one.receive(two.edit(lambda record: record.note.append(" Befund: o.B.")))
    _, _, later = undo(one, turn)
    assert shown(one.content)[0]["note"] == "Der Patient klagt über Schmerzen. Befund: o.B."
    assert [each.how for each in later] == ["woven"]


def test_a_text_that_is_as_before_already_is_left(pair: Any) -> None:
    one, _ = pair
    one.edit(note="as it was")
    before = one.content
    one.edit(note="as it")
    turn = Turn(before, one.content)
    one.edit(note="as it was")
    assert undone(KIND, [turn], one.content).edits == ()


def test_two_desks_of_one_log_lose_nothing(pair: Any) -> None:
    """The slot of the undone write holds another one beside it, which a second desk wrote unseen."""
    one, _ = pair
    one.edit(name="old")
    desk, record = one.content, one.read()
    one.edit(name="wrong")
    turn = Turn(desk, one.content)
    record.name = "second desk"
    one.write(record)
    assert sorted(shown(one.content)[1]["name"]) == ["second desk", "wrong"]
    undo(one, turn)
    assert sorted(shown(one.content)[1]["name"]) == ["old", "second desk"]
    assert Document(one.client, one.document.state()).content() == one.content


class Mark(Value):
    name: str
    verification: str | None = None


class Lasting(Record, kind=f"{KIND}_lasting"):
    hazards: Entries[Mark] = never_removed()
    cards: Entries[str] = append_only()
    letter: Versions[Mark] = versions()
    uses: Counter = counter()
    name: str | None = register()


def test_what_nothing_takes_away_is_marked_followed_and_counted_back(writer: Any) -> None:
    """The preview says what is then written; and undoing that gives what people saw before."""
    one = writer("one", Lasting.kind)
    one.edit(lambda record: (record.uses.add(3), record.letter.add(Mark(name="v1"))), name="old")

    def work(record: Any) -> None:
        record.hazards.add(Mark(name="nuts"))
        record.cards.add("card")
        record.letter.add(Mark(name="v2"))
        record.uses.add(5)
        record.name = "new"

    def see(content: Content) -> tuple[Any, ...]:
        found = read(Lasting.kind, RECORD, content)
        assert isinstance(found, Lasting)
        head = found.letter.head
        marks = [(each.name, each.verification) for each in found.hazards]
        return marks, list(found.cards), head and head.value.name, int(found.uses), found.name

    before = one.content
    one.edit(work)
    turns = [Turn(before, one.content)]
    wanted = [
        ([("nuts", "entered_in_error")], [], "v1", 3, "old"),
        ([("nuts", None)], ["card"], "v2", 8, "new"),
    ]
    for number, expected in enumerate(wanted):
        now = one.content
        found = undone(Lasting.kind, turns, now)
        assert edits_from_json(json.loads(json.dumps(edits_json(found.edits)))) == list(found.edits)
        one.document.write(tag=one.tag, sequence=10 + number, stamp=10 + number, edits=found.edits)
        assert see(one.content) == see(found.content) == expected
        turns = [Turn(now, one.content)]


def test_every_kind_of_edit_is_kept_and_read_again() -> None:
    item = Item("tag", 3, 7, {"a": [1, None]}, ["x.1"])
    edits: list[Edit] = [
        SetField("a", {"b": 1}, {"a/t": "[[1,2,3]]"}, ("t.1",)),
        EditEntry("a", "k/e", None, {}, None),
        EditText("t", "ü", (Hunk(0, 1, "😀"),)),
        EditCounter("c", 1, 2),
        Restore("a", None, (item,), {"a/t": "x"}),
        Restore("a", "k", (), {}),
    ]
    assert {type(edit) for edit in edits} == set(get_args(Edit))
    assert edits_from_json(json.loads(json.dumps(edits_json(edits)))) == edits
    with pytest.raises(ValueError, match="update this program"):
        edits_from_json([["teleport", "a"]])


WHAT = ["dosage", "state", "name", "place", "hazard", "tags", "lines", "note", "several"]
ROUNDS = st.lists(
    st.dictionaries(st.integers(0, 2), st.tuples(st.sampled_from(WHAT), st.integers(0, 2**31)), min_size=1),
    min_size=1,
    max_size=12,
)
"""In each round, some of three writers make one change each, unseen by each other; then all know everything."""


def play(writer: Any, rounds: list[dict[int, tuple[str, int]]]) -> tuple[list[Any], list[Turn]]:
    """The three writers and a fourth who watches, and every change as it was seen there."""
    sites = [writer(name, KIND) for name in ("one", "two", "six", "obs")]
    turns = []
    for moves in rounds:
        made = {who: act(sites[who], *move)[1] for who, move in moves.items()}
        for who, delta in made.items():
            before = sites[3].content
            for number, site in enumerate(sites):
                if number != who and delta:
                    site.receive(delta)
            turns.append(Turn(before, sites[3].content))
    for site in sites:
        site.stamp = max(each.stamp for each in sites)
    return sites, turns


def standing(content: Content) -> dict[str, set[tuple[str, str]]]:
    """By field, or entry, which writes survive; a cleared place is as if nothing were there."""
    found: dict[str, set[tuple[str, str]]] = {}
    for name, slots in places(content).items():
        if "" in slots:
            found[name] = {("", slots[""])}
            continue
        items = {(item.commit, repr(item.value)) for slot, raw in slots.items() for item in items_of(slot[-8:], raw)}
        found[name] = set() if all(value == "None" for _, value in items) else items
    return {name: items for name, items in found.items() if items}


def changed(turn: Turn) -> set[str]:
    before, after = places(turn.before), places(turn.after)
    return {name for name in before.keys() | after.keys() if before.get(name) != after.get(name)}


@settings(max_examples=200, deadline=None)
@given(rounds=ROUNDS, seed=st.integers(0, 2**32))
def test_every_field_is_back_that_nobody_touched_later(writer: Any, rounds: Any, seed: int) -> None:
    """And no write that is not undone is gone. Then undoing the undoing gives everything back as it was read."""
    sites, turns = play(writer, rounds)
    observer = sites[3]
    chosen = [turn for turn in turns if random.Random(seed).random() < 0.5 or turn is turns[-1]]
    now, before = observer.content, shown(observer.content)
    turn, _, _ = undo(observer, *chosen)
    after = standing(observer.content)
    for name in {name for each in chosen for name in changed(each)}:
        first = next(number for number, each in enumerate(turns) if each in chosen and name in changed(each))
        if all(each in chosen for each in turns[first:] if name in changed(each)):
            assert after.get(name, set()) == standing(turns[first].before).get(name, set()), name
    taken = {pair for each in chosen for pair in added(each)}
    for name, items in standing(now).items():
        if "" not in places(now)[name]:
            assert {pair for pair in items if pair not in taken} <= after.get(name, set()), name
    undo(observer, turn)
    assert shown(observer.content) == before


def added(turn: Turn) -> set[tuple[str, str]]:
    before, after = standing(turn.before), standing(turn.after)
    return {pair for name, items in after.items() for pair in items - before.get(name, set())}


@settings(max_examples=100, deadline=None)
@given(rounds=ROUNDS, seed=st.integers(0, 2**32), same=st.booleans())
def test_undoing_at_two_sites_apart_converges(writer: Any, rounds: Any, seed: int, same: bool) -> None:
    """To one document; and where both undid the same, to what one of them alone would have shown (texts aside, into
    which both wove what was missing)."""
    rng = random.Random(seed)
    sites, turns = play(writer, rounds)
    one, two = sites[:2]
    chosen = rng.sample(turns, rng.randint(1, len(turns)))
    others = chosen if same else rng.sample(turns, rng.randint(1, len(turns)))
    first = undo(one, *sorted(chosen, key=turns.index))[1]
    alone = shown(one.content)
    second = undo(two, *sorted(others, key=turns.index))[1]
    if second:
        one.receive(second)
    if first:
        two.receive(first)
    assert one.fingerprint() == two.fingerprint()
    assert shown(one.content) == shown(two.content)
    if same:
        for content in (alone[0], both_undid := shown(one.content)[0]):
            content.pop("note", None)
        assert both_undid == alone[0]
