"""Two or three cores over links that lose, double, delay and reorder, with slow disks and restarts (L1, L2, L6, L7).

Whatever happens: no core raises, none tells of what is not on its disk, credit and bounds are kept, and no honest peer
is given up. When the lines are mended all know the same commits, keys and members; and on lines that lost nothing each
commit crossed once.
"""

from __future__ import annotations

import random
from collections import deque
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from crdtsync import limits
from crdtsync.ids import DataKeyId, Head, LogId, MemberHash
from crdtsync.replication import effects, events, messages
from crdtsync.replication import membership as m
from crdtsync.replication.frontier import Frontier
from crdtsync.replication.member_codec import decode_record
from crdtsync.replication.stored import KeyObject
from crdtsync.testing.world import tightened
from tests.examples import examples
from tests.replication import people
from tests.replication.cores import Site, data_key

NAMES = "abc"
GOOD_ENDINGS = (
    "there is another link",
    "nothing was heard",
    "the practice has removed",
    "the peer is no member",
)
TIGHT = {
    "in_flight_bytes_max": 1_500,
    "run_bytes_target": 600,
    "run_commits_max": 3,
    "credit_bytes_step": 200,
    "inbox_commits_max": 8,
    "inbox_bytes_max": 3_000,
    "batch_commits_max": 4,
    "frontier_entries_per_message_max": 2,
    "member_hashes_per_message_max": 2,
    "keys_per_message_max": 1,
}
FATES = st.sampled_from(["comes in", "comes in", "comes in", "lost", "doubled"])
RARELY = st.integers(0, 3)
"""A rule that takes this acts on 0 alone, so that something is under way when it does."""
REST_SECONDS_MAX = 60
COMMIT_BYTES_MAX = 900
"""More than a commit of this test takes."""


@dataclass
class Lane:
    """One direction of a link: urgent messages may overtake the others, each of both kinds keeps its order."""

    urgent: deque[bytes] = field(default_factory=deque)
    bulk: deque[bytes] = field(default_factory=deque)
    stray: list[bytes] = field(default_factory=list)
    """Second copies of messages, which may come at any time."""
    sent: int = 0
    allowed: int = field(default_factory=lambda: limits.in_flight_bytes_max)
    """What the sender of commits on this lane was allowed, as far as it has heard."""


class Wired(Site):
    """A site of `cores` whose messages go into lanes, and whose disk keeps members and keys as well."""

    world: SessionMachine

    def begin(self, world: SessionMachine) -> None:
        self.world = world
        self.lanes: dict[int, Lane] = {}
        self.members: list[tuple[MemberHash, bytes]] = list(self.book.records())
        self.ended: deque[int] = deque()

    def _perform(self, effect: effects.Effect) -> None:
        if isinstance(effect, effects.Send):
            self.tell(effect)
        elif isinstance(effect, effects.Close):
            self.closed[effect.link] = effect.reason
            self.ended.append(effect.link)
        elif isinstance(effect, effects.StoreMembers):
            self.waiting.append(lambda: self.publish(effect.records))
        else:
            super()._perform(effect)

    def publish(self, records: Any) -> None:
        """Membership records are on disk."""
        known = {member for member, _ in self.members}
        self.members.extend(record for record in records if record[0] not in known)
        self.handle(events.MembersStored(records))

    def tell(self, effect: effects.Send) -> None:
        lane = self.lanes.get(effect.link)
        if lane is None:
            return
        message = messages.decode(effect.message)
        if isinstance(message, messages.Have):
            self.on_disk(message.heads)
        elif isinstance(message, messages.Holding):
            other = self.world.by_id[message.replica]
            other.on_disk(message.heads)
        elif isinstance(message, messages.Records):
            assert set(message.records) <= {data for _, data in self.members}, "L1: a record that is not on disk"
        elif isinstance(message, messages.Commits):
            self.on_disk([(commit.header.log, commit.head) for commit in message.commits])
            lane.sent += message.size
            assert lane.sent == message.sent
            assert lane.sent - message.commits[-1].size < lane.allowed, "L7: beyond the credit"
        (lane.urgent if effect.urgent else lane.bulk).append(effect.message)

    def on_disk(self, heads: Any) -> None:
        """L1: whatever is told of this site stands on its disk."""
        here = {(item.commit.header.log, item.commit.header.sequence): item.commit.hash for item in self.disk}
        for log, head in heads:
            assert head.sequence == 0 or here[log, head.sequence] == head.hash, "L1: told before it is on disk"

    def receive(self, link: int, data: bytes) -> None:
        message = messages.decode(data)
        if isinstance(message, messages.Credit | messages.Digest) and link in self.lanes:
            allowed = message.size if isinstance(message, messages.Credit) else message.credit
            self.lanes[link].allowed = max(self.lanes[link].allowed, allowed)
        self.handle(events.Received(link, data))

    def derive(self) -> None:
        """The view of this site sums up to its disk; parts wait for keys that are not here."""
        waiting = [key for item in self.disk for key in introduced(item.commit) if key not in self.keys]
        digest = Frontier({item.commit.header.log: item.commit.head for item in self.disk}).digest()
        self.handle(events.Derived(len(self.disk), digest, waiting))

    def restart(self) -> None:
        """A new process over the same disk."""
        self.lanes.clear()
        self.waiting.clear()
        self.ended.clear()
        self.book = people.Book(*(data for _, data in self.members))
        self.core = self._core(self.author.log)


def introduced(commit: Any) -> list[DataKeyId]:
    return [part.key for part in commit.header.parts if part.introduces]


class SessionMachine(RuleBasedStateMachine):
    """Sites a, b and c; `calm` worlds lose nothing, and there each commit crosses a link once."""

    def __init__(self) -> None:
        super().__init__()
        self.numbers = 0
        self.links: dict[frozenset[str], int] = {}
        self.keys: list[KeyObject] = []
        self.removed = False
        self.lines: list[frozenset[str]] = []

    @initialize(
        names=st.sampled_from(["ab", "abc", "abc"]),
        calm=st.sampled_from([True, False, False]),
        tight=st.booleans(),
        full=st.booleans(),
        writes=st.lists(st.tuples(st.integers(0, 2), st.integers(1, 5)), max_size=4),
    )
    def found(self, names: str, calm: bool, tight: bool, full: bool, writes: list[tuple[int, int]]) -> None:
        self.calm, self.tree = calm, not full
        self.bounds = tightened(TIGHT if tight else {})
        self.bounds.__enter__()
        self.tight = tight
        book = people.practice(*names[1:], founder="a")
        self.sites = {name: Wired(name, book.copy(), hold=True) for name in names}
        self.by_id = {site.core.id: site for site in self.sites.values()}
        pairs = [f"{one}{other}" for one, other in pairwise(names)]
        self.lines = [frozenset(pair) for pair in ([*pairs, "ac"] if full and len(names) == 3 else pairs)]
        for site in self.sites.values():
            site.begin(self)
        for which, count in writes:
            self.write(which, count, 100, count % 2 == 0)
        for line in self.lines:
            self.raise_link(line)

    # -- links ------------------------------------------------------------------------------------------------------

    def raise_link(self, line: frozenset[str]) -> None:
        self.numbers += 1
        one, other = (self.sites[name] for name in sorted(line))
        self.links[line] = self.numbers
        for site, peer in ((one, other), (other, one)):
            site.lanes[self.numbers] = Lane()
            site.handle(events.LinkUp(self.numbers, peer.core.id, site is one))
        self.settle_ended()

    def end_link(self, line: frozenset[str]) -> None:
        number = self.links.pop(line)
        for name in sorted(line):
            if self.sites[name].lanes.pop(number, None) is not None:
                self.sites[name].handle(events.LinkDown(number))

    def settle_ended(self) -> None:
        """Links that a site closed are gone at both ends."""
        for site in self.sites.values():
            while site.ended:
                number = site.ended.popleft()
                for line in [line for line, at in self.links.items() if at == number]:
                    self.end_link(line)

    @precondition(lambda self: not self.calm)
    @rule(number=st.integers(0, 2), rarely=RARELY)
    def a_link_dies_or_comes_back(self, number: int, rarely: int) -> None:
        line = self.lines[number % len(self.lines)]
        if line not in self.links:
            self.raise_link(line)
        elif rarely == 0:
            self.end_link(line)

    def lanes(self) -> list[tuple[Wired, Wired, int, Lane]]:
        """Sender, receiver, link and what is on its way."""
        found = []
        for line, number in sorted(self.links.items(), key=lambda item: item[1]):
            one, other = (self.sites[name] for name in sorted(line))
            for sender, receiver in ((one, other), (other, one)):
                found.append((sender, receiver, number, sender.lanes[number]))
        return found

    @rule(which=st.integers(0, 5), urgent=st.booleans(), fates=st.lists(FATES, min_size=1, max_size=8))
    def messages_come_in(self, which: int, urgent: bool, fates: list[str]) -> None:
        lanes = self.lanes()
        for fate in fates if lanes else ():
            _, receiver, number, lane = lanes[which % len(lanes)]
            queue = lane.urgent if (urgent and lane.urgent) or not lane.bulk else lane.bulk
            if not queue or number not in receiver.lanes:
                return
            data = queue.popleft()
            if fate == "doubled" and not self.calm:
                lane.stray.append(data)
            if fate != "lost" or self.calm:
                receiver.receive(number, data)
                self.settle_ended()

    @rule(rounds=st.integers(1, 8))
    def everything_comes_in(self, rounds: int) -> None:
        for _ in range(rounds):
            self.deliver_all()
            for site in self.sites.values():
                site.work()
                self.settle_ended()
                site.derive()

    @precondition(lambda self: not self.calm)
    @rule(which=st.integers(0, 5), urgent=st.booleans(), count=st.integers(1, 20))
    def a_stretch_is_lost(self, which: int, urgent: bool, count: int) -> None:
        lanes = self.lanes()
        if lanes:
            lane = lanes[which % len(lanes)][3]
            queue = lane.urgent if urgent else lane.bulk
            for _ in range(min(count, len(queue))):
                queue.popleft()

    @precondition(lambda self: not self.calm)
    @rule(which=st.integers(0, 5), at=st.integers(0, 9))
    def a_second_copy_comes_late(self, which: int, at: int) -> None:
        lanes = self.lanes()
        if lanes:
            _, receiver, number, lane = lanes[which % len(lanes)]
            if lane.stray:
                receiver.receive(number, lane.stray.pop(at % len(lane.stray)))
                self.settle_ended()

    # -- what sites do ----------------------------------------------------------------------------------------------

    def site(self, number: int) -> Wired:
        return self.sites[NAMES[number % len(self.sites)]]

    @rule(which=st.integers(0, 2), count=st.integers(1, 5), size=st.integers(1, 300), key=st.booleans())
    def write(self, which: int, count: int, size: int, key: bool) -> None:
        site = self.site(which)
        if site.core.recovering:
            return
        for _ in range(count):
            depends = {log: head for log, head in site.core.stored.items() if log != site.author.log}
            new = data_key(f"{len(self.keys)}") if key else None
            if new is not None:
                self.keys.append(new)
                site.keys[new.id] = new
            commit = site.author.commit(depends, size=size, key=new, members=site.book.heads)
            site._append([(commit, True)])
            site.handle(events.Wrote([commit], [new] if new else []))
        self.settle_ended()

    @rule(which=st.integers(0, 2), count=st.integers(1, 5))
    def the_disk_works(self, which: int, count: int) -> None:
        site = self.site(which)
        for _ in range(count):
            if site.waiting:
                site.waiting.popleft()()
                self.settle_ended()

    @rule(which=st.integers(0, 2))
    def a_view_is_derived(self, which: int) -> None:
        self.site(which).derive()

    @precondition(lambda self: not self.calm)
    @rule(which=st.integers(0, 2), at=st.integers(0, 9))
    def a_key_is_missing(self, which: int, at: int) -> None:
        """Another site has it still."""
        site = self.site(which)
        held = [key for key in site.keys if any(key in other.keys for other in self.staying() if other is not site)]
        if held:
            del site.keys[held[at % len(held)]]

    @rule(which=st.integers(0, 2), seconds=st.sampled_from([0.01, 0.3, 1.0, 5.0, 11.0]))
    def time_passes(self, which: int, seconds: float) -> None:
        self.site(which).later(seconds)
        self.settle_ended()

    @precondition(lambda self: not self.calm)
    @rule(which=st.integers(0, 2), rarely=RARELY)
    def a_site_starts_again(self, which: int, rarely: int) -> None:
        site = self.site(which)
        if rarely:
            return
        for line in [line for line in self.links if site.name in line]:
            self.end_link(line)
        site.restart()

    @rule(which=st.integers(0, 2), text=st.sampled_from("xyz"))
    def a_record_of_membership(self, which: int, text: str) -> None:
        site = self.site(which)
        if site.core.membership.state().active(site.core.id) is not None:
            self.sign(site, m.address(people.signer(site.name), site.book.at(site.name), [text]))

    @precondition(lambda self: not self.removed and len(self.sites) == 3)
    @rule(which=st.integers(0, 1), rarely=RARELY)
    def the_third_is_removed(self, which: int, rarely: int) -> None:
        """Its commits count as far as those who stay attest them."""
        if rarely:
            return
        self.removed = True
        site, gone = self.site(which), self.sites["c"]
        heads = {log: head for log, head in site.core.stored.items() if log == gone.author.log}
        place = site.book.at(site.name)
        body = people.epoch("2", "ab")
        self.sign(site, m.remove(people.signer(site.name), place, gone.core.id, reason="gone", heads=heads, epoch=body))

    def sign(self, site: Wired, data: bytes) -> None:
        """A record of a site's own: on its disk first, behind what it builds on."""
        record = decode_record(data).hash
        site.waiting.append(lambda: site.publish([(record, data)]))

    @rule(seed=st.integers(0, 2**32), rounds=st.integers(5, 40), lost=st.sampled_from([0.0, 0.05, 0.2, 0.9]))
    def a_while_passes(self, seed: int, rounds: int, lost: float) -> None:
        """Everybody does a little of everything, and lines lose so much."""
        chance = random.Random(seed)
        lost = 0.0 if self.calm else lost
        for _ in range(rounds):
            for site in self.sites.values():
                site.later(chance.choice([0.01, 0.5, 2.0]))
                for _ in range(chance.randrange(4)):
                    if site.waiting:
                        site.waiting.popleft()()
                self.settle_ended()
                if chance.random() < 0.3:
                    site.derive()
            for _, receiver, number, lane in self.lanes():
                for queue in (lane.urgent, lane.bulk):
                    for _ in range(chance.randrange(len(queue) + 1)):
                        data = queue.popleft()
                        if lost and chance.random() < 0.1:
                            lane.stray.append(data)
                        if chance.random() >= lost and number in receiver.lanes:
                            receiver.receive(number, data)
                self.settle_ended()

    # -- what always holds ------------------------------------------------------------------------------------------

    @invariant()
    def bounds_are_kept(self) -> None:
        for site in self.sites.values() if hasattr(self, "sites") else ():
            core = site.core
            assert core.inbox.commits <= limits.inbox_commits_max and core.inbox.bytes <= limits.inbox_bytes_max
            for peer in core.peers.values():
                assert 0 <= peer.waiting <= limits.in_flight_bytes_max + COMMIT_BYTES_MAX
                assert peer.allowance() <= peer.received + limits.in_flight_bytes_max
            for reason in site.closed.values():
                assert reason.startswith(GOOD_ENDINGS), f"an honest peer is given up: {reason}"
            assert set(site.alarms()) <= ({"late"} if self.removed else set())

    # -- and in the end ---------------------------------------------------------------------------------------------

    def deliver_all(self) -> int:
        carried = 0
        for _ in range(2_000):
            waiting = [entry for entry in self.lanes() if entry[3].urgent or entry[3].bulk]
            if not waiting:
                return carried
            for _, receiver, number, lane in waiting:
                for queue in (lane.urgent, lane.bulk):
                    while queue:
                        data = queue.popleft()
                        if number in receiver.lanes:
                            receiver.receive(number, data)
                            carried += 1
                self.settle_ended()
        raise AssertionError("they never stop talking")

    def a_second(self) -> None:
        """A second of a healed world: lines are dialled again, disks work, messages come in, sites care."""
        for line in self.lines:
            if line not in self.links and all(self.belongs(name) for name in line):
                self.raise_link(line)
        for site in self.sites.values():
            site.later(1.0)
            self.settle_ended()
        for _ in range(2_000):
            if not any(site.waiting for site in self.sites.values()) and not self.deliver_all():
                break
            for site in self.sites.values():
                site.work()
                self.settle_ended()
        else:
            raise AssertionError("their disks never rest")
        for site in self.sites.values():
            site.derive()
        for site in self.staying():
            due = site.core.attests_due()
            if due and not site.waiting:
                self.sign(site, m.attest(people.signer(site.name), site.book.at(site.name), due))

    def belongs(self, name: str) -> bool:
        return not (self.removed and name == "c")

    def staying(self) -> list[Wired]:
        return [site for name, site in self.sites.items() if self.belongs(name)]

    def apart(self) -> str:
        """Why the sites that stay are not yet one."""
        first, *others = self.staying()
        held = {key for site in (first, *others) for key in site.keys}  # what the removed one alone had is gone
        keys = {key for item in first.disk for key in introduced(item.commit)} & held
        for site in (first, *others):
            if (site.core.inbox.commits and not self.removed) or site.core.busy or site.waiting:
                return f"{site.name} has work left"
            if site.core.stored != first.core.stored:
                return f"frontiers of {site.name}"
            if site.core.membership.heads != first.core.membership.heads:
                return f"members of {site.name}"
            if not keys <= site.keys.keys():
                return f"keys of {site.name}"
        return ""

    def teardown(self) -> None:
        try:
            if hasattr(self, "sites"):
                self.heal()
        finally:
            if hasattr(self, "bounds"):
                self.bounds.__exit__(None, None, None)

    def heal(self) -> None:
        if self.removed and self.lines and frozenset("ab") not in self.lines:
            self.lines.append(frozenset("ab"))
        for _ in range(4):
            self.a_second()
        seconds_max = REST_SECONDS_MAX
        if self.tight:  # an inbox of a few commits lets most of what waits for others go, and asks for it again
            seconds_max += 2 * sum(len(site.author.commits) for site in self.sites.values())
        for _ in range(seconds_max):
            if not self.apart():
                break
            self.a_second()
            self.bounds_are_kept()
        assert not self.apart(), f"no rest within {seconds_max} seconds: {self.apart()}"
        written: dict[LogId, Head] = {site.author.log: site.author.head for site in self.staying()}
        for site in self.staying():
            for log, head in written.items():
                assert site.core.stored.head(log) == head, "what was written is at every site"
            places = [(item.commit.header.log, item.commit.header.sequence) for item in site.disk]
            assert len(places) == len(set(places)), "each is stored once"
            if self.calm and not self.tight and not self.removed and self.tree:
                for peer in site.core.peers.values():
                    assert peer.counters.duplicates_in == 0, "each commit crosses a link once"


def test_cores_keep_their_promises_over_any_lines() -> None:
    machine: Any = SessionMachine
    run_state_machine_as_test(machine, settings=examples(100, steps=30))
