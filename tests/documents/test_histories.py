"""Random histories of three writers against a reference model: a set of writes, each with the writes it had seen."""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crdtsync.documents import (
    Counter,
    Document,
    Entries,
    Record,
    Text,
    Value,
    Versions,
    append_only,
    counter,
    entries,
    fields_json,
    never_removed,
    project,
    register,
    status,
    text,
    versions,
)
from crdtsync.documents.slots import items_of, split_slot
from crdtsync.ids import RecordId

KIND = "test_histories_thing"
RECORD = RecordId("a" * 26)


class Hazard(Value):
    name: str
    verification: str | None = None


class Letter(Value):
    text: str


class Thing(Record, kind=KIND):
    name: str | None = register(group="g")
    count: int | None = register()
    state: str | None = status("a<b<c", "x", group="g")
    tags: Entries[str] = entries(by_value=True)
    lines: Entries[int] = entries()
    note: Text = text()
    hazards: Entries[Hazard] = never_removed()
    payments: Entries[int] = append_only()
    letters: Versions[Letter] = versions()
    visits: Counter = counter()


@dataclass
class Log:
    """One writer: its document, what it wrote, and how far it holds the other logs."""

    site: Any
    deltas: list[bytes] = field(default_factory=list)
    needs: list[tuple[int, ...]] = field(default_factory=list)
    held: list[int] = field(default_factory=lambda: [0, 0, 0])
    waiting: Any = None


class Model:
    """The reference: per field (or entry) all writes with what they had seen, as sets."""

    def __init__(self) -> None:
        self.writes: dict[str, tuple[str, Any]] = {}
        self.seen: dict[str, set[str]] = {}
        self.count = 0
        self.letters: dict[str, tuple[str, ...]] = {}
        self.payments: set[int] = set()
        self.hazards = 0

    def add(self, commit: str, place: str, value: Any, seen: set[str]) -> None:
        self.writes[f"{place} {commit}"] = (place, value)
        self.seen[f"{place} {commit}"] = {f"{place} {other}" for other in seen}

    def survivors(self, place: str) -> set[tuple[str, str]]:
        overwritten = set().union(*self.seen.values()) if self.seen else set()
        return {
            (key.rpartition(" ")[2], repr(value))
            for key, (where, value) in self.writes.items()
            if where == place and key not in overwritten
        }


def surviving(content: Any) -> dict[str, set[tuple[str, str]]]:
    found: dict[str, set[tuple[str, str]]] = {}
    for slot, raw in content.slots.items():
        name, entry, tag = split_slot(slot)
        place = name if entry is None else f"{name}/{entry}"
        if name == "visits":
            continue  # counters overwrite what they add to: the sum is compared
        found.setdefault(place, set()).update((item.commit, repr(item.value)) for item in items_of(tag, raw))
    return found


ACTIONS = st.tuples(
    st.integers(0, 2),
    st.sampled_from([
            *("name", "count", "state", "tags", "lines", "note", "clear", "pull", "pull", "reload", "again"),
            *("hazards", "payments", "letters", "visits"),
        ]
    ),
    st.integers(0, 2**63),
)


def act(log: Log, what: str, number: int, model: Model) -> None:
    record = log.site.read()
    if what == "name":
        record.name = "äöü"[number % 3]
    elif what == "count":
        record.count = number
    elif what == "state":
        record.state = "abcx"[number % 4]
    elif what == "clear":
        record.name = None
        record.count = None
    elif what == "tags":
        _toggle(record.tags, "tuv"[number % 3])
    elif what == "lines":
        items = record.lines.items()
        if items and number % 3 == 0:
            record.lines.remove(items[number % len(items)][0])
        elif items and number % 3 == 1:
            record.lines.change(items[number % len(items)][0], number)
        else:
            record.lines.add(number)
    elif what == "note":
        size = len(record.note)
        if size and number % 3 == 0:
            record.note.delete(number % size, 1)
        else:
            record.note.insert(number % (size + 1), ["ü", "ab", "😀!"][number % 3])
    else:
        stay(record, what, number, model)
    _commit(log, record, model)


def stay(record: Thing, what: str, number: int, model: Model) -> None:
    """Edits under the rules by which nothing goes away."""
    if what == "payments":
        record.payments.add(number % 4)
        model.payments.add(number % 4)
    elif what == "letters":
        made = record.letters.add(Letter(text="abc"[number % 3]))
        assert made is not None
        model.letters[made.id] = made.parents
    elif what == "visits":
        record.visits.add(number % 5)
        record.visits.subtract(number % 2)
        model.count += number % 5 - number % 2
    elif what == "hazards":
        items = record.hazards.items()
        if items and number % 3:
            record.hazards.mark(items[number % len(items)][0], ("refuted", "entered_in_error")[number % 2])
        else:
            record.hazards.add(Hazard(name="penicillin"))
            model.hazards += 1


def _toggle(tags: Entries[str], tag: str) -> None:
    if tag in tags:
        tags.remove(tag)
    else:
        tags.add(tag)


def _commit(log: Log, record: Thing, model: Model) -> None:
    before = surviving(record._reading.content)
    delta = log.site.write(record)
    commit = f"{log.site.tag}.{log.site.sequence}"
    for place, items in surviving(log.site.content).items():
        for made, value in items:
            if made == commit:
                model.add(commit, place, eval(value), {other for other, _ in before.get(place, set())})
    log.needs.append(tuple(log.held))
    log.deltas.append(delta)


def pull(logs: list[Log], who: int, rng: random.Random, whole: bool = False) -> None:
    """Take in what others hold, in a random causal order, one by one or merged, now and then twice."""
    log = logs[who]
    while True:
        ready = [
            other
            for other in range(3)
            if other != who
            and log.held[other] < len(logs[other].deltas)
            and all(
                log.held[third] >= needed
                for third, needed in enumerate(logs[other].needs[log.held[other]])
                if third not in (other, who)
            )
        ]
        if not ready or (not whole and rng.random() < 0.2):
            return
        other = rng.choice(ready)
        delta = logs[other].deltas[log.held[other]]
        log.held[other] += 1
        if delta:
            log.site.receive(delta)
            if rng.random() < 0.1:
                log.site.receive(delta)


def reload(log: Log) -> None:
    log.site.document = Document(log.site.client, log.site.document.state())


@settings(max_examples=250, deadline=None)
@given(actions=st.lists(ACTIONS, max_size=40), seed=st.integers(0, 2**32))
def test_writers_agree_with_the_reference_model(
    writer: type[Any], actions: list[tuple[int, str, int]], seed: int
) -> None:
    run(writer, actions, seed)


def run(writer: Any, actions: list[tuple[int, str, int]], seed: int) -> None:
    rng, model = random.Random(seed), Model()
    logs = [Log(writer(name, KIND)) for name in ("one", "two", "six")]
    for who, what, number in actions:
        log = logs[who]
        log.site.stamp += rng.randrange(3)
        if what == "pull":
            pull(logs, who, rng)
        elif what == "reload":
            reload(log)
        elif what == "again":
            done = [delta for delta in log.deltas if delta]
            if done:
                log.site.receive(rng.choice(done))
        else:
            act(log, what, number, model)
            log.held[who] = len(log.deltas)
    for who in range(3):
        pull(logs, who, rng, whole=True)
    check(logs, model)


def check(logs: list[Log], model: Model) -> None:
    first = logs[0].site
    for log in logs:
        assert log.held == [len(other.deltas) for other in logs]
        assert log.site.content == first.content
        assert log.site.fingerprint() == first.fingerprint()
        assert fields_json(log.site.read()) == fields_json(first.read())
        assert project(KIND, RECORD, log.site.content) == project(KIND, RECORD, first.content)
    found = surviving(first.content)
    for place in {place for place, _ in model.writes.values()}:
        assert found.get(place, set()) == model.survivors(place)
    _check_staying(first.read(), model)


def _check_staying(record: Thing, model: Model) -> None:
    assert int(record.visits) == model.count
    assert set(record.payments) == model.payments and len(record.payments) == len(model.payments)
    assert len(record.hazards) == model.hazards
    assert {version.id: version.parents for version in record.letters} == model.letters
    followed = {parent for parents in model.letters.values() for parent in parents}
    assert {head.id for head in record.letters.heads} == model.letters.keys() - followed
    assert ("letters" in record.conflicts) == (len(record.letters.heads) > 1)
    order = [version.id for version in record.letters]
    assert all(order.index(p) < order.index(v.id) for v in record.letters for p in v.parents)


@pytest.mark.parametrize("seed", range(40))
def test_two_desks_of_one_site_lose_nothing(seed: int, writer: Any) -> None:
    """Transactions that overlap at one log: whatever was not seen by a later write survives."""
    rng, model = random.Random(seed), Model()
    one, two = writer("one", KIND), writer("two", KIND)
    logs = [Log(one), Log(two), Log(writer("six", KIND))]
    open_: list[Any] = []
    for step in range(25):
        if open_ and rng.random() < 0.4:
            record = open_.pop(rng.randrange(len(open_)))
            record.count = step
            record.note.append(f"[{step}]")
            record.visits.add(step)
            model.count += step
            record.letters.add(Letter(text=str(step)))
            _commit(logs[0], record, model)
            logs[0].held[0] = len(logs[0].deltas)
        elif rng.random() < 0.3:
            act(logs[1], "count", step, model)
            logs[1].held[1] = len(logs[1].deltas)
            pull(logs, 0, rng)
            pull(logs, 1, rng)
        else:
            open_.append(one.read())
    for who in range(3):
        pull(logs, who, rng, whole=True)
    assert one.fingerprint() == two.fingerprint() == logs[2].site.fingerprint()
    assert model.survivors("count") <= surviving(one.content).get("count", set())
    written = [delta for delta in logs[0].deltas if delta]
    assert str(one.read().note).count("[") == len(written)
    assert int(two.read().visits) == model.count
    assert {version.value.text for version in two.read().letters} == _typed(str(two.read().note))


def _typed(note: str) -> set[str]:
    return set(note.strip("[]").split("][")) - {""}
