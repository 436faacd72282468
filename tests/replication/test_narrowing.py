"""Narrowing down a difference: to the records that differ, by both sides, each mending its own (L5)."""

from __future__ import annotations

from types import SimpleNamespace
from typing import cast

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crdtsync import limits
from crdtsync.engine.sums import sums
from crdtsync.ids import RecordId
from crdtsync.replication import effects, events, messages
from crdtsync.storage.base import Store, StoredDocument
from tests.replication import people
from tests.replication.cores import Site, connect, pump, sites

Records = dict[RecordId, bytes]


def records(count: int) -> Records:
    """Records and their fingerprints."""
    return {RecordId(f"record{n:05}"): people.digest("print", str(n)) for n in range(count)}


def store_of(shown: Records) -> Store:
    """A store that shows these."""
    kept = [StoredDocument("patient", record, record, b"", shown[record]) for record in sorted(shown)]

    def documents(kind: str | None, after: tuple[str, str], limit: int) -> list[StoredDocument]:
        return [each for each in kept if (each.kind, each.record) > after][:limit]

    return cast("Store", SimpleNamespace(documents=documents))


class Pair:
    """Two linked sites that hold the same commits, and what each one's view shows."""

    def __init__(self, mine: Records, theirs: Records) -> None:
        self.a, self.b = sites("a", "b")
        self.views = {"a": mine, "b": theirs}
        connect(self.a, self.b)
        pump(self.a, self.b)
        self.a.write(3)
        pump(self.a, self.b)
        self.repaired: dict[str, list[RecordId]] = {"a": [], "b": []}
        self.rederived: list[str] = []
        self.alarms: list[str] = []

    @property
    def both(self) -> tuple[Site, Site]:
        return self.a, self.b

    def derive(self) -> None:
        for site in self.both:
            site.handle(events.Derived(len(site.disk), _digest(self.views[site.name]), ()))

    def answer(self, site: Site) -> int:
        """Carry out what the core has asked of the view since the last call."""
        wanted, site.seen = site.seen, []
        done = 0
        for effect in wanted:
            if isinstance(effect, effects.ReadSums):
                found = sums(store_of(self.views[site.name]), effect.paths)
                site.handle(events.SumsRead(effect.link, len(site.disk), found, effect.asked))
                done += 1
            elif isinstance(effect, effects.RepairRecords):
                self.repaired[site.name] += [record for _, record in effect.records]
            elif isinstance(effect, effects.Rederive):
                self.rederived.append(site.name)
            elif isinstance(effect, effects.Alarm):
                self.alarms.append(f"{site.name}: {effect.text}")
        return done

    def run(self, seconds: float = limits.repair_interval_s) -> None:
        """Some time: digests are told, sums asked for and answered."""
        self.alarms = []
        for site in self.both:
            site.later(seconds)
        busy = 1
        while busy:
            busy = pump(self.a, self.b) + sum(map(self.answer, self.both))


def _digest(shown: Records) -> bytes:
    return (sum(int.from_bytes(each, "big") for each in shown.values()) % (1 << 256)).to_bytes(32, "big")


def differing(mine: Records, theirs: Records) -> list[RecordId]:
    return sorted({record for record in mine.keys() | theirs.keys() if mine.get(record) != theirs.get(record)})


@pytest.mark.parametrize("count", [1, 20, 64, 65, 1_000, 5_000])
def test_one_record_among_many_is_found_by_both(count: int) -> None:
    mine, theirs = records(count), records(count)
    theirs[RecordId("record00000")] = people.digest("wrong")
    pair = Pair(mine, theirs)
    pair.derive()
    pair.run()
    assert pair.repaired == {"a": ["record00000"], "b": ["record00000"]}
    assert sorted(alarm[:1] for alarm in pair.alarms) == ["a", "b"]


@settings(max_examples=40, deadline=None)
@given(
    st.integers(0, 300),
    st.sets(st.integers(0, 299), max_size=12),
    st.sets(st.integers(0, 299), max_size=12),
    st.sets(st.integers(0, 299), max_size=12),
)
def test_just_what_differs_is_found(count: int, changed: set[int], lost: set[int], lacking: set[int]) -> None:
    mine, theirs = records(count), records(count)
    for n in changed & set(range(count)):
        theirs[RecordId(f"record{n:05}")] = people.digest("other", str(n))
    for shown, gone in ((mine, lost), (theirs, lacking)):
        for n in gone:
            shown.pop(RecordId(f"record{n:05}"), None)
    pair = Pair(mine, theirs)
    pair.derive()
    pair.run()
    expected = differing(mine, theirs)
    assert sorted(pair.repaired["a"]) == sorted(pair.repaired["b"]) == expected
    assert bool(pair.alarms) == bool(expected)


def test_when_too_much_differs_all_is_derived_anew() -> None:
    pair = Pair(records(2_000), {record: people.digest("wrong", record) for record in records(2_000)})
    pair.derive()
    pair.run()
    assert sorted(pair.rederived) == ["a", "b"]
    assert pair.repaired == {"a": [], "b": []}


def test_what_stays_different_is_told_and_not_derived_for_ever() -> None:
    mine, theirs = records(100), records(100)
    theirs[RecordId("record00007")] = bytes(32)
    pair = Pair(mine, theirs)
    pair.derive()
    pair.run()
    pair.run(limits.narrowing_interval_s)
    assert pair.repaired["a"] == ["record00007"], "once"
    assert any("still differ" in alarm and "patient record00007" in alarm for alarm in pair.alarms)
    pair.run(limits.narrowing_interval_s)
    assert not any("still differ" in alarm for alarm in pair.alarms), "told once"


def test_a_record_that_differs_again_after_all_was_equal_is_derived_again() -> None:
    mine, theirs = records(100), records(100)
    wrong = {**theirs, RecordId("record00007"): bytes(32)}
    pair = Pair(mine, wrong)
    for shown in (wrong, theirs, wrong):
        pair.views["b"] = shown
        pair.derive()
        pair.run(limits.narrowing_interval_s)
    assert pair.repaired["a"] == ["record00007"] * 2


def test_sums_of_another_time_say_nothing() -> None:
    mine, theirs = records(100), records(100)
    theirs[RecordId("record00007")] = bytes(32)
    pair = Pair(mine, theirs)
    pair.derive()
    pair.a.later(limits.repair_interval_s)
    pump(pair.a, pair.b)
    pair.a.write()
    pump(pair.a, pair.b)
    while pump(pair.a, pair.b) + sum(map(pair.answer, pair.both)):
        pass
    assert pair.repaired == {"a": [], "b": []}
    pair.derive()
    pair.run(limits.narrowing_interval_s)
    assert pair.repaired == {"a": ["record00007"], "b": ["record00007"]}


def test_one_question_at_a_time_is_answered() -> None:
    pair = Pair(records(10), records(10))
    pair.derive()
    here = (pair.a.core.stored.digest(), messages.members_digest(pair.a.book.heads))
    pair.a.seen.clear()
    found = pair.a.hear(1, *[messages.WantSums(*here, ((),))] * 20)
    assert len([effect for effect in found if isinstance(effect, effects.ReadSums)]) == 1, "summing up takes time (L7)"


# -- rot --------------------------------------------------------------------------------------------------------------


def test_rotten_commits_are_asked_for_until_they_are_whole() -> None:
    pair = Pair({}, {})
    run = [item.commit for item in pair.b.disk]
    pair.b.handle(events.RotFound([run[0].id, run[2].id]))
    assert pair.b.alarms() == ["rot"]
    pair.a.sent[1].clear()
    pump(pair.a, pair.b)
    mends = [effect for effect in pair.b.seen if isinstance(effect, effects.Mend)]
    assert [[commit.id for commit in mend.commits] for mend in mends] == [[run[0].id, run[2].id]]
    assert pair.b.alarms() == ["rot", "rot"], "and told that all is whole"


def test_an_answer_that_is_lost_is_asked_for_again() -> None:
    pair = Pair({}, {})
    run = [item.commit for item in pair.b.disk]
    pair.b.handle(events.RotFound([run[1].id]))
    assert any(isinstance(said, messages.WantAgain) for said in pair.b.said(1))
    pair.b.later(limits.repair_interval_s)
    assert any(isinstance(said, messages.WantAgain) for said in pair.b.said(1))
    pair.b.handle(events.RotFound([run[1].id]))
    assert pair.b.alarms() == ["rot"], "told once"


def test_what_was_not_asked_for_is_passed_over() -> None:
    pair = Pair({}, {})
    run = [item.commit for item in pair.b.disk]
    found = pair.b.hear(1, messages.Again(tuple(run)))
    assert not [effect for effect in found if isinstance(effect, effects.Mend)]
