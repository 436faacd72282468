"""The parts that simulated worlds are made of: time, chance, steps, disks, lines, and the ledger that watches them."""

from __future__ import annotations

import random
from dataclasses import dataclass, field

import pytest

from crdtsync.ids import CommitHash, Head, PracticeId, ReplicaId
from crdtsync.replication.commit import Commit
from crdtsync.replication.effects import Alarm
from crdtsync.testing import timeline as timelines
from crdtsync.testing.disk import Disk, PowerCut, Proof
from crdtsync.testing.ledger import Account, Ledger
from crdtsync.testing.network import Line, Network, Weather
from crdtsync.testing.streams import Streams
from crdtsync.testing.timeline import Restless, Timeline
from crdtsync.testing.trace import STEPS_KEPT, Trace
from crdtsync.testing.verdict import OracleFailed
from crdtsync.testing.world import World
from tests.replication import people
from tests.replication.cores import Author

# -- time and chance --------------------------------------------------------------------------------------------------


def test_things_happen_in_their_order_and_of_equals_the_first_planned() -> None:
    timeline, done = Timeline(), []
    for name, when in (("c", 2.0), ("a", 1.0), ("d", 2.0), ("later", 9.0)):
        timeline.at(when, lambda name=name: done.append((timeline.now, name)))  # type: ignore[misc]
    timeline.at(1.5, lambda: timeline.at(0.5, lambda: done.append((timeline.now, "past means now"))))
    timeline.run(5.0)
    assert done == [(1.0, "a"), (1.5, "past means now"), (2.0, "c"), (2.0, "d")]
    assert timeline.now == 5.0 and timeline.events == 5


def test_a_world_that_never_rests_is_stopped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(timelines, "EVENTS_PER_MINUTE_MAX", 100)
    timeline = Timeline()

    def again() -> None:
        timeline.after(0.0, again)

    again()
    with pytest.raises(Restless, match="busy"):
        timeline.run(1.0)


def test_a_stream_does_not_depend_on_what_others_are_asked() -> None:
    alone, beside = Streams(7), Streams(7)
    beside("another").random()
    assert alone("work").random() == beside("work").random()
    assert Streams(7)("work").random() != Streams(8)("work").random()
    assert alone("work") is alone("work")


def test_a_trace_keeps_the_last_steps_and_sums_up_all() -> None:
    one, other = Trace(), Trace(everything=True)
    for number in range(STEPS_KEPT * 4):
        one.step(f"step {number}")
        other.step(f"step {number}")
    assert len(one.steps()) == STEPS_KEPT and one.steps()[-1] == f"step {STEPS_KEPT * 4 - 1}"
    assert len(other.steps()) == STEPS_KEPT * 4
    assert one.digest() == other.digest()
    other.step("one more")
    assert one.digest() != other.digest()


# -- the disk ---------------------------------------------------------------------------------------------------------


def test_the_power_may_go_behind_every_write() -> None:
    disk = Disk()
    disk.set_meta({"name": b"before"})
    disk.fuse = lambda where: where == "meta"
    with pytest.raises(PowerCut, match="meta"):
        disk.set_meta({"name": b"after"})
    assert disk.failure, "a process that has ended reads and writes nothing"
    disk.lose(random.Random(1))
    assert disk.meta("name") == b"after", "what was synced survives"


def test_a_power_cut_takes_a_suffix_of_what_was_not_synced() -> None:
    author = Author("a", PracticeId(bytes(16)), ())
    kept = set()
    for seed in range(40):
        disk = Disk()
        disk.sync_log = False
        for commit in author.commits or author.run(4):
            disk.append([(commit, True)], 0)
        disk.lose(random.Random(seed))
        kept.add(disk.log_head().arrival)
    assert kept == {0, 1, 2, 3, 4}


def test_an_image_is_a_disk_of_its_own() -> None:
    disk = Disk()
    disk.fuse = lambda where: True
    image = disk.image()
    image.set_meta({"name": b"here only"})
    assert disk.meta("name") is None


def test_continuity_is_proved_over_a_kill_and_not_over_a_power_cut() -> None:
    proof = Proof()
    assert not proof.proves("log", b"nonce", 0)
    proof.renew("log", b"nonce", 3)
    proof.advance(5)
    assert proof.proves("log", b"nonce", 5) and proof.proves("log", b"nonce", 6)
    assert not proof.proves("log", b"nonce", 4), "the store is behind what was synced"
    assert not proof.proves("log", b"other", 5) and not proof.proves("other", b"nonce", 5)
    proof.lose()
    assert not proof.proves("log", b"nonce", 5)


# -- lines ------------------------------------------------------------------------------------------------------------


@dataclass
class Phone:
    """A station that writes down what happens to it."""

    name: str
    up: bool = True
    life: int = 1
    links: list[int] = field(default_factory=list)
    ended: list[int] = field(default_factory=list)
    heard: list[bytes] = field(default_factory=list)
    trusting: bool = True

    @property
    def awake(self) -> bool:
        return self.up

    @property
    def replica_id(self) -> ReplicaId:
        return people.replica(self.name)

    def trusts(self, other: ReplicaId) -> bool:
        return self.trusting

    def linked(self, other: ReplicaId) -> bool:
        return bool(self.links)

    def link_up(self, link: int, other: ReplicaId, *, dialled: bool) -> None:
        self.links.append(link)

    def link_down(self, link: int) -> None:
        self.links.remove(link)
        self.ended.append(link)

    def receive(self, link: int, message: bytes) -> None:
        self.heard.append(message)


@dataclass
class Exchange:
    """Two phones and the line between them."""

    weather: Weather
    seed: int = 1

    def __post_init__(self) -> None:
        self.timeline = Timeline()
        self.network = Network(self.timeline, Streams(self.seed), Trace())
        self.a, self.b = Phone("a"), Phone("b")
        self.line: Line = self.network.add_line(self.a, self.b, self.weather)

    def run(self, seconds: float) -> None:
        self.timeline.run(self.timeline.now + seconds)

    def connect(self) -> None:
        while not (self.a.links and self.b.links):
            self.run(1.0)
        self.run(1.0)

    def say(self, count: int, *, urgent: bool = False, size: int = 2) -> list[bytes]:
        said = [number.to_bytes(size, "big") for number in range(count)]
        for message in said:
            self.network.send(self.a, self.a.links[-1], message, urgent)
        return said


def test_in_fair_weather_everything_arrives_once_and_in_order() -> None:
    exchange = Exchange(Weather(delay_s=0.2, jitter_s=0.3))
    exchange.connect()
    said = exchange.say(50)
    exchange.run(5.0)
    assert exchange.b.heard == said


def test_what_is_urgent_overtakes_what_is_not() -> None:
    exchange = Exchange(Weather(delay_s=0.2, jitter_s=5.0))
    exchange.connect()
    bulk = exchange.say(30, size=9)
    urgent = exchange.say(5, urgent=True)
    exchange.run(30.0)
    heard = exchange.b.heard
    assert sorted(heard) == sorted(bulk + urgent)
    assert [message for message in heard if len(message) == 9] == bulk
    assert heard.index(urgent[0]) < heard.index(bulk[-1])


def test_in_foul_weather_messages_are_lost_doubled_and_late() -> None:
    exchange = Exchange(Weather(delay_s=0.2, jitter_s=1.0, lost=0.3, doubled=0.3))
    exchange.connect()
    said = exchange.say(200)
    exchange.run(60.0)
    heard = exchange.b.heard
    assert set(heard) < set(said)
    assert len(heard) > len(set(heard))
    assert heard != sorted(heard)


def test_a_narrow_line_takes_its_time() -> None:
    exchange = Exchange(Weather(delay_s=0.1, bytes_per_s=100.0))
    exchange.connect()
    exchange.say(10, size=100)
    exchange.run(5.05)
    assert len(exchange.b.heard) == 4
    exchange.run(6.0)
    assert len(exchange.b.heard) == 10


def test_a_cut_line_lets_nothing_through_and_is_dialled_again_when_it_is_mended() -> None:
    exchange = Exchange(Weather())
    exchange.connect()
    exchange.network.set_cut(exchange.line, (True, True), reset=False)
    exchange.say(3)
    exchange.run(10.0)
    assert exchange.b.heard == [] and exchange.a.links, "nobody tells the ends of a silent cut"
    exchange.network.set_cut(exchange.line, (True, True), reset=True)
    exchange.run(60.0)
    assert exchange.a.links == exchange.b.links == []
    exchange.network.set_cut(exchange.line, (False, False), reset=False)
    exchange.connect()
    assert exchange.a.links and exchange.b.links


def test_a_cut_of_one_direction() -> None:
    exchange = Exchange(Weather())
    exchange.connect()
    exchange.network.set_cut(exchange.line, (True, False), reset=False)
    exchange.say(3)
    exchange.network.send(exchange.b, exchange.b.links[-1], b"this way", False)
    exchange.run(5.0)
    assert exchange.b.heard == [] and exchange.a.heard == [b"this way"]


def test_a_closed_link_ends_at_both_sides() -> None:
    exchange = Exchange(Weather())
    exchange.connect()
    exchange.network.close(exchange.a, exchange.a.links[-1])
    exchange.run(0.3)
    assert len(exchange.a.ended) == len(exchange.b.ended) == 1


def test_a_machine_without_power_says_nothing_until_it_is_asked() -> None:
    exchange = Exchange(Weather())
    exchange.connect()
    exchange.b.up = False
    exchange.network.station_stopped(exchange.b, silently=True)
    exchange.run(60.0)
    assert exchange.a.links, "nobody told it"
    exchange.b.up, exchange.b.life, exchange.b.links = True, 2, []
    exchange.say(1)
    exchange.run(1.0)
    assert exchange.a.ended, "the machine is back and knows of no such connection"
    assert exchange.b.heard == []


def test_who_is_not_trusted_is_not_linked() -> None:
    exchange = Exchange(Weather())
    exchange.b.trusting = False
    exchange.run(300.0)
    assert exchange.a.links == []
    exchange.b.trusting = True
    exchange.connect()


# -- the ledger -------------------------------------------------------------------------------------------------------


def books() -> tuple[Ledger, Account, Account, Author, Author]:
    a, b = Author("a", PracticeId(bytes(16)), ()), Author("b", PracticeId(bytes(16)), ())
    return Ledger(), Account("a", people.replica("a")), Account("b", people.replica("b")), a, b


def take(ledger: Ledger, account: Account, *commits: Commit) -> None:
    ledger.appended(account, [(commit, True) for commit in commits])


def test_a_commit_before_what_its_author_had_is_noticed_though_it_does_not_name_it() -> None:
    ledger, at_a, at_b, a, b = books()
    first = a.commit()
    take(ledger, at_a, first)
    take(ledger, at_b, first)
    forgetful = b.commit()
    take(ledger, at_b, forgetful)
    third = Account("c", people.replica("c"))
    with pytest.raises(OracleFailed, match=r"L2: .* is stored at c before"):
        take(ledger, third, forgetful)


def test_a_second_hash_is_noticed_wherever_it_turns_up() -> None:
    ledger, at_a, at_b, a, _ = books()
    take(ledger, at_a, a.commit())
    twin = Author("a", PracticeId(bytes(16)), ())
    with pytest.raises(OracleFailed, match=r"L3: .* has a second hash at b"):
        take(ledger, at_b, twin.commit(size=41))


def test_a_gap_is_noticed() -> None:
    ledger, at_a, at_b, a, _ = books()
    run = a.run(3)
    take(ledger, at_a, *run)
    with pytest.raises(OracleFailed, match=r"L2: .*:3 follows on 1"):
        take(ledger, at_b, run[0], run[2])


def test_what_is_told_must_be_on_the_disk_and_stay_there() -> None:
    ledger, at_a, _, a, _ = books()
    disk = Disk()
    first, second = a.run(2)
    disk.append([(first, True)], 0)
    ledger.told(at_a, disk, [(a.log, first.head)])
    with pytest.raises(OracleFailed, match=r"L1: a tells of .*:2, which is not on its disk"):
        ledger.told(at_a, disk, [(a.log, second.head)])
    with pytest.raises(OracleFailed, match=r"L1: a tells of"):
        ledger.told(at_a, disk, [(a.log, Head(1, CommitHash(bytes(32))))])
    ledger.restarted(at_a, disk)
    with pytest.raises(OracleFailed, match=r"L1: a had told of .*:1, and lacks it"):
        ledger.restarted(at_a, Disk())


def test_what_an_application_was_told_must_come_back() -> None:
    ledger, at_a, _, a, _ = books()
    ledger.wrote(at_a, a.run(1))
    with pytest.raises(OracleFailed, match=r"L1: a had acknowledged .*:1, and lacks it"):
        ledger.restarted(at_a, Disk())


def test_what_an_older_disk_lost_is_nobodys_fault_unless_another_has_it() -> None:
    ledger, at_a, _, a, _ = books()
    run = a.run(2)
    ledger.wrote(at_a, run)
    elsewhere = Disk()
    elsewhere.append([(run[0], True)], 0)
    ledger.rolled_back(at_a, Disk(), [elsewhere])
    ledger.restarted(at_a, Disk())
    assert list(ledger.acknowledged) == [(a.log, 1)]


# -- the world --------------------------------------------------------------------------------------------------------


def settled_world() -> World:
    world = World(1)
    world.found("Jena", "Weimar")
    world.connect([("Jena", "Weimar")])
    world.desk.create(world.node("Jena"), 3)
    world.settle()
    return world


def test_a_world_notices_documents_that_changed_places() -> None:
    world = settled_world()
    for node in world.nodes.values():
        entries = node.disk._entries
        one, other = list(entries)[:2]
        entries[one], entries[other] = entries[other], entries[one]
    with pytest.raises(OracleFailed, match=r"finds: .* in the view is not what follows from the log"):
        world.check()


def test_a_world_notices_a_document_that_is_gone() -> None:
    world = settled_world()
    node = world.node("Weimar")
    node.disk._put(next(iter(node.disk._entries)), None)
    with pytest.raises(OracleFailed, match=r"L5: the digest of Weimar is not the sum over its documents"):
        world.check()


def test_a_world_at_rest_passes() -> None:
    settled_world().check()


def test_a_world_that_cannot_come_to_rest_says_why() -> None:
    world = World(1)
    world.found("Jena", "Weimar")
    world.connect([("Jena", "Weimar")])
    world.cut("Jena", "Weimar")
    world.desk.create(world.node("Jena"))
    with pytest.raises(
        OracleFailed, match=r"L5: no rest within 60 s: Weimar (knows another membership|holds other commits)"
    ):
        world.settle(60.0)


def test_a_false_alarm_is_a_failure() -> None:
    world = World(1)
    world.found("Jena")
    with pytest.raises(OracleFailed, match="Jena raises a false alarm: fork: two hashes"):
        world.alarmed(world.node("Jena"), Alarm("fork", "two hashes"))
