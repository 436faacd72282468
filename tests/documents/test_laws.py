"""The algebra of merging: commutative, associative, idempotent, for every rule and for whole documents (L2, L5)."""

from __future__ import annotations

import random
from itertools import combinations
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from crdtsync.documents import (
    Content,
    Counter,
    Document,
    Entries,
    Record,
    Text,
    Value,
    Versions,
    append_only,
    conflicts_json,
    counter,
    edits_of,
    entries,
    fields_json,
    flag_off_wins,
    flag_on_wins,
    latest,
    never_removed,
    once,
    project,
    read,
    register,
    status,
    text,
    versions,
)
from crdtsync.documents.conflict import conflict_id, group_conflicts
from crdtsync.documents.entries import entry_rank
from crdtsync.documents.merge import Order, Rule, decide, survivors
from crdtsync.documents.slots import Item, canonical
from crdtsync.ids import RecordId
from tests.examples import examples

from .conftest import RECORD, Writer

KIND = "test_laws_thing"
ORDER = Order("draft<active<completed", "draft<held<completed", "cancelled")
RULES = [
    Rule("register"),
    Rule("register", cautious="high"),
    Rule("latest"),
    Rule("once", "high"),
    Rule("flag_on_wins"),
    Rule("flag_off_wins"),
    Rule("status", order=ORDER),
    Rule("entries"),
    Rule("entries", by_value=True),
    Rule("never_removed", mark="mark", marks=("refuted",)),
    Rule("append_only", by_value=True),
    Rule("append_only", by_value=True, by=("a",)),
    Rule("counter"),
]


class Hazard(Value):
    name: str | None = None
    mark: str | None = None


class Letter(Value):
    text: str | None = None


class Thing(Record, kind=KIND):
    name: str | None = register(group="g")
    risk: str | None = register(cautious="high")
    number: int | None = once()
    color: str | None = latest()
    state: str | None = status("draft<active<completed", "draft<held<completed", "cancelled", group="g")
    hazard: bool = flag_on_wins()
    consent: bool = flag_off_wins()
    tags: Entries[str] = entries(by_value=True)
    lines: Entries[int] = entries()
    note: Text = text()
    hazards: Entries[Hazard] = never_removed(mark="mark", marks=["refuted"])
    payments: Entries[Any] = append_only(by=("day",))
    letters: Versions[Letter] = versions()
    visits: Counter = counter()


# -- the values of one field ------------------------------------------------------------------------------------------

VALUES = st.sampled_from(
    [
        *(None, "high", "low", True, False, 1, 2, "draft", "active", "held", "completed", "cancelled"),
        *([1, 2], [3, 0], [1], {"mark": "refuted"}, {"mark": None}, {"a": 1, "b": 1}, {"a": 1, "b": 2}),
    ]
)


@st.composite
def unseen(draw: st.DrawFn) -> list[Item]:
    """Surviving writes of one field: each of another commit, some at one time, some of equal value."""
    places = draw(st.lists(st.tuples(st.sampled_from("abc"), st.integers(1, 3)), min_size=1, max_size=5, unique=True))
    return [Item(tag, at, draw(st.integers(1, 2)), draw(VALUES), None) for tag, at in places]


@given(unseen(), st.randoms(use_true_random=False))
def test_what_a_rule_decides_follows_from_the_set_alone(items: list[Item], chance: random.Random) -> None:
    """Commutative, and associative with it: there is no order in which to bracket."""
    shuffled = list(items)
    chance.shuffle(shuffled)
    for rule in RULES:
        assert decide(rule, shuffled) == decide(rule, items)
    assert survivors(shuffled) == survivors(items)


@given(st.sampled_from([rule for rule in RULES if rule.name != "counter"]), unseen(), unseen())
def test_what_is_merged_twice_is_merged_once(rule: Rule, items: list[Item], again: list[Item]) -> None:
    union = list({repr(item): item for item in [*items, *again]}.values())
    once_, twice = decide(rule, union), decide(rule, [*union, *items])
    assert twice.shown == once_.shown and type(twice.shown) is type(once_.shown)
    assert [each.text for each in twice.undecided] == [each.text for each in once_.undecided]
    commits = {item.commit for each in once_.undecided for item in each.items}
    assert commits == {item.commit for each in twice.undecided for item in each.items}


@given(unseen())
def test_values_of_a_conflict_stand_in_a_total_order(items: list[Item]) -> None:
    """No two of them compare alike, so no site lists them in another order."""
    found = survivors(items)
    keys = [(-each.stamp, each.items[0].tag, -each.items[0].sequence) for each in found]
    assert keys == sorted(keys) and len(set(keys)) == len(keys)
    assert len({each.text for each in found}) == len(found)
    assert sorted(item.commit for each in found for item in each.items) == sorted(item.commit for item in items)


@given(unseen(), st.randoms(use_true_random=False))
def test_a_conflicts_id_follows_from_the_set_of_commits(items: list[Item], chance: random.Random) -> None:
    commits = [item.commit for item in items]
    twice = [*commits, *commits]
    chance.shuffle(twice)
    assert conflict_id(RECORD, "field", twice) == conflict_id(RECORD, "field", commits)
    assert conflict_id(RECORD, "field", [*commits, "x.1"]) != conflict_id(RECORD, "field", commits)


@given(unseen(), unseen(), st.randoms(use_true_random=False))
def test_conflicts_of_a_group_follow_from_the_sets(one: list[Item], other: list[Item], chance: random.Random) -> None:
    one = [item._replace(seen=[]) for item in one]
    other = [item._replace(tag=item.tag * 2, seen=[]) for item in other]
    severities: Any = {"first": "low", "second": "high"}
    found = group_conflicts(RECORD, {"first": survivors(one), "second": survivors(other)}, severities)
    chance.shuffle(one)
    chance.shuffle(other)
    assert group_conflicts(RECORD, {"second": survivors(other), "first": survivors(one)}, severities) == found
    assert len(found) == 1


@given(st.lists(st.text("0123456789-ab", max_size=6), max_size=6))
def test_entries_stand_in_a_total_order(keys: list[str]) -> None:
    ranks = [entry_rank(key) for key in set(keys)]
    assert len(set(ranks)) == len(ranks)


# -- declared orders --------------------------------------------------------------------------------------------------


@st.composite
def orders(draw: st.DrawFn) -> Order:
    """Any partial order of six states: pairs that lead from a smaller to a larger letter."""
    pairs = draw(st.lists(st.sampled_from(list(combinations("abcdef", 2))), max_size=9))
    return Order(*"abcdef", *(f"{low}<{high}" for low, high in pairs))


STATES = st.sampled_from("abcdef")


def below(order: Order, low: str, high: str) -> bool:
    return order.join([low, high]) == high


@given(orders(), STATES, STATES, STATES)
def test_a_declared_order_is_a_partial_order(order: Order, a: str, b: str, c: str) -> None:
    assert below(order, a, a)
    assert not (below(order, a, b) and below(order, b, a)) or a == b
    assert not (below(order, a, b) and below(order, b, c)) or below(order, a, c)


@given(orders(), st.lists(STATES, min_size=1, max_size=4), st.randoms(use_true_random=False))
def test_a_join_is_the_least_state_above_all(order: Order, states: list[str], chance: random.Random) -> None:
    shuffled = [*states, *states]
    chance.shuffle(shuffled)
    joined = order.join(states)
    assert order.join(shuffled) == joined
    above = [name for name in order.names if all(below(order, state, name) for state in states)]
    least = [name for name in above if all(below(order, name, other) for other in above)]
    assert ([joined] if joined else []) == least


@given(orders(), STATES, STATES, STATES)
def test_joins_may_be_bracketed_where_they_exist(order: Order, a: str, b: str, c: str) -> None:
    left, right = order.join([a, b]), order.join([b, c])
    if left is not None:
        assert order.join([left, c]) == order.join([a, b, c])
    if left is not None and right is not None:
        assert order.join([left, c]) == order.join([a, right])


# -- whole documents --------------------------------------------------------------------------------------------------

Act = tuple[int, int, int]
HISTORIES = st.lists(st.tuples(st.integers(0, 2), st.integers(0, 15), st.integers(0, 2**20)), min_size=1, max_size=25)


class History:
    """Three writers who edit one record, and now and then take in what another has. `deltas` are in a causal order,
    each with the number of deltas of each writer that it depends on."""

    def __init__(self, acts: list[Act]) -> None:
        self.writers = [Writer(name, KIND) for name in ("one", "two", "six")]
        self.held = [[0, 0, 0] for _ in self.writers]
        self.logs: list[list[bytes]] = [[], [], []]
        self.needs: list[list[list[int]]] = [[], [], []]
        for who, what, number in acts:
            if what >= 13:
                self.pull(who, (who + 1 + number % 2) % 3)
            else:
                self.edit(who, what, number)

    def edit(self, who: int, what: int, number: int) -> None:
        writer = self.writers[who]
        writer.stamp += number % 3
        self.needs[who].append(list(self.held[who]))
        self.logs[who].append(writer.edit(lambda record: change(record, what, number)))
        self.held[who][who] += 1

    def pull(self, who: int, other: int) -> None:
        """All that `other` has, in a causal order."""
        for log, at in self.order(random.Random(0), self.held[who], self.held[other]):
            if self.logs[log][at]:
                self.writers[who].receive(self.logs[log][at])
            self.held[who][log] = at + 1

    def order(self, chance: random.Random, start: list[int], end: list[int]) -> list[tuple[int, int]]:
        """A random causal order of what lies between two frontiers."""
        held, found = list(start), []
        while True:
            ready = [
                log
                for log in range(3)
                if held[log] < end[log]
                and all(held[other] >= need for other, need in enumerate(self.needs[log][held[log]]) if other != log)
            ]
            if not ready:
                assert all(a >= b for a, b in zip(held, end, strict=True))
                return found
            log = chance.choice(ready)
            found.append((log, held[log]))
            held[log] += 1

    def document(self, chance: random.Random) -> Document:
        """A reader who takes in everything: any causal order, any batches, now and then twice or loaded anew."""
        document = Document(1)
        done: list[bytes] = []
        for log, at in self.order(chance, [0, 0, 0], [len(log) for log in self.logs]):
            if self.logs[log][at]:
                document.apply(self.logs[log][at])
                done.append(self.logs[log][at])
            if done and chance.random() < 0.2:
                document.apply(chance.choice(done))
            if chance.random() < 0.2:
                document = Document(1, document.state())
        return document


def change(record: Any, what: int, number: int) -> None:
    if what == 0:
        record.name = "abc"[number % 3]
    elif what == 1:
        record.state = ["draft", "active", "held", "completed", "cancelled"][number % 5]
    elif what == 2:
        record.risk = ["high", "low", None][number % 3]
    elif what == 3:
        record.color = "rgb"[number % 3]
    elif what == 4:
        record.hazard, record.consent = number % 2 == 0, number % 3 == 0
    elif what == 5 and record.number is None:
        record.number = number % 2
    elif what == 6:
        tag = "tuv"[number % 3]
        if tag in record.tags:
            record.tags.remove(tag)
        else:
            record.tags.add(tag)
    elif what == 7:
        keys = record.lines.items()
        if keys and number % 3:
            record.lines.change(keys[number % len(keys)][0], number)
        else:
            record.lines.add(number)
    elif what == 8:
        size = len(record.note)
        if size and number % 3 == 0:
            record.note.delete(number % size, 1)
        record.note.insert(number % (len(record.note) + 1), ["ü", "ab", "😀"][number % 3])
    elif what == 9:
        keys = record.hazards.items()
        if keys and number % 3:
            record.hazards.change(keys[number % len(keys)][0], Hazard(name="ab"[number % 2], mark=[None, "refuted"][0]))
        elif keys:
            record.hazards.mark(keys[number % len(keys)][0], "refuted")
        else:
            record.hazards.add(Hazard(name="penicillin"))
    elif what == 10:
        record.payments.add({"day": number % 3, "sent": number})
    elif what == 11:
        heads = record.letters.heads
        chosen = [heads[number % len(heads)].id] if heads and number % 4 == 0 else None
        record.letters.add(Letter(text="abc"[number % 3]), parents=chosen)
    elif what == 12:
        record.visits.assign(number % 7)


def said(document: Document) -> tuple[Any, ...]:
    """All that anybody is shown of a document."""
    content = document.content()
    fields = fields_json(read(KIND, RECORD, content))
    return content, document.fingerprint(KIND, RECORD), fields, project(KIND, RECORD, content)


@given(HISTORIES, st.integers(0, 2**32))
@examples(60)
def test_any_causal_order_and_any_batching_say_the_same(acts: list[Act], seed: int) -> None:
    history = History(acts)
    chance = random.Random(seed)
    first = said(history.document(chance))
    for _ in range(3):
        assert said(history.document(chance)) == first


@given(HISTORIES)
@examples(60)
def test_documents_form_a_semilattice(acts: list[Act]) -> None:
    """Whole states merge: commutative, associative, idempotent, and what is older adds nothing."""
    history = History(acts)
    a, b, c = (writer.document.state() for writer in history.writers)

    def merged(*states: bytes) -> Document:
        document = Document(1)
        for state in states:
            document.apply(state)
        return document

    everything = said(merged(a, b, c))
    assert said(merged(c, a, b)) == everything
    assert said(merged(merged(a, b).state(), c)) == said(merged(a, merged(b, c).state())) == everything
    assert said(merged(a, a)) == said(merged(a))
    assert said(merged(a, b, c, b, a, merged(a, c).state())) == everything


@given(HISTORIES, st.randoms(use_true_random=False))
@examples(60)
def test_what_is_shown_follows_from_the_slots_and_not_from_their_order(acts: list[Act], chance: random.Random) -> None:
    content = History(acts).document(random.Random(1)).content()
    slots = list(content.slots.items())
    chance.shuffle(slots)
    shuffled = Content(dict(slots), content.texts)
    assert project(KIND, RECORD, shuffled) == project(KIND, RECORD, content)
    assert fields_json(read(KIND, RECORD, shuffled)) == fields_json(read(KIND, RECORD, content))


@given(HISTORIES, st.integers(0, 2**32))
@examples(40)
def test_fingerprints_are_equal_exactly_when_the_same_writes_are_there(acts: list[Act], seed: int) -> None:
    """L5: a document that lacks the last thing written is told apart, also where it shows the same values."""
    history = History(acts)
    whole = history.document(random.Random(seed))
    delta = history.writers[0].edit(name="once more")
    before = whole.fingerprint(KIND, RECORD)
    whole.apply(delta)
    assert whole.fingerprint(KIND, RECORD) != before
    whole.apply(delta)
    again = whole.fingerprint(KIND, RECORD)
    assert Document(9, whole.state()).fingerprint(KIND, RECORD) == again
    assert whole.fingerprint("another_kind", RECORD) != again != whole.fingerprint(KIND, RecordId("b" * 26))


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=2), inner, max_size=3),
    max_leaves=6,
)


@given(JSON, JSON)
def test_one_text_for_one_value(one: Any, other: Any) -> None:
    """What makes equal values one survivor: 1, 1.0 and true are three values here, keys have no order."""
    assert canonical(one) == canonical(reordered(one))
    assert (canonical(one) == canonical(other)) == (typed(one) == typed(other))


def reordered(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: reordered(value[key]) for key in reversed(value)}
    return [reordered(item) for item in value] if isinstance(value, list) else value


def typed(value: Any) -> Any:
    """The value with its types, so that true is not 1."""
    if isinstance(value, dict):
        return ("map", sorted((key, repr(typed(item))) for key, item in value.items()))
    if isinstance(value, list):
        return ("list", [typed(item) for item in value])
    return (type(value).__name__, value)


# -- anything that a peer may put into slots --------------------------------------------------------------------------

NAMES = st.sampled_from([*Thing.plan().fields, "unheard_of"])
SLOTS = st.dictionaries(
    st.tuples(NAMES, st.sampled_from(["tagaaaaa", "tagbbbbb", "k/tagaaaaa", "k/tagbbbbb", "", "/"])).map("/".join),
    st.lists(
        st.tuples(st.integers(), st.integers(), JSON | VALUES | st.just({"parents": ["k"], "text": "x"})), max_size=3
    ).map(canonical)
    | st.text(max_size=5),
    max_size=8,
)


@given(SLOTS)
@examples(300)
def test_whatever_slots_hold_is_read_shown_and_edited(slots: dict[str, str]) -> None:
    """L6: no rule raises, and honest edits go on from there."""
    content = Content(slots, {"note": "x"})
    row = project(KIND, RECORD, content).row
    assert row is not None and all(type(value) in (str, int, float, type(None)) for value in row.values())
    record: Any = read(KIND, RECORD, content)
    canonical([fields_json(record), conflicts_json(record)]).encode()
    assert edits_of(record, lambda: "k") == []
    record.payments.add(5)
    record.letters.add(Letter(text="another"))
    record.visits.add(3)
    record.hazards.add(Hazard(name="x"))
    assert {edit.field for edit in edits_of(record, lambda: "k")} == {"payments", "letters", "visits", "hazards"} - (
        set() if 5 not in list(read(KIND, RECORD, content).payments) else {"payments"}  # type: ignore[union-attr]
    )
