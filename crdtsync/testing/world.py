"""A practice of simulated sites: founding, lines, faults on demand, and coming to rest.

It does nothing by itself beyond what its sites do. `story` makes things happen by chance; tests of a scenario make them
happen by plan:

    world = World(seed=1)
    world.found("Jena", "Weimar", "Gera")
    world.connect([("Jena", "Weimar"), ("Weimar", "Gera")])
    world.desk.create(world.node("Jena"))
    world.settle()
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial

from crdtsync import limits, members
from crdtsync.errors import StorageFailure
from crdtsync.ids import MemberHash, PracticeId
from crdtsync.replication import effects
from crdtsync.replication.membership import Membership
from crdtsync.sealing.keyring import Keyring
from crdtsync.testing import audit, oracles, settling
from crdtsync.testing.archive import Archive
from crdtsync.testing.canary import Canary
from crdtsync.testing.care import admit, close_down, shut_out
from crdtsync.testing.desk import Desk
from crdtsync.testing.desk_sessions import Sessions
from crdtsync.testing.disk import Disk
from crdtsync.testing.ground import Machine
from crdtsync.testing.inquiries import Inquiries
from crdtsync.testing.ledger import Ledger
from crdtsync.testing.network import Line, Network, Weather
from crdtsync.testing.node import Node
from crdtsync.testing.number_book import NumberBook
from crdtsync.testing.process import Process
from crdtsync.testing.rot import RotBook
from crdtsync.testing.sealer import plain_identity
from crdtsync.testing.streams import Streams
from crdtsync.testing.timeline import Timeline
from crdtsync.testing.trace import Trace
from crdtsync.testing.verdict import OracleFailed

_SETTLE_STEP_S = 2.0
_GOOD_ENDINGS = (
    "there is another link",
    "nothing was heard",
    "the practice has removed",
    "the peer is no member",
)


class World:
    """One simulated practice. `planted` breaks sites on purpose, as they start."""

    def __init__(self, seed: int, *, planted: Callable[[Node], None] | None = None, everything: bool = False) -> None:
        self.seed = seed
        self.timeline = Timeline()
        self.streams = Streams(seed)
        self.trace = Trace(everything=everything)
        self.network = Network(self.timeline, self.streams, self.trace)
        self.canary = Canary(seed)
        self.network.watch = self.canary.message
        self.ledger = Ledger()
        self.inquiries = Inquiries(self, self.canary.text)
        self.rot = RotBook()
        self.sessions = Sessions()
        self.desk = Desk(self.streams("desk"), self.streams("ids"), canary=self.canary.text, sessions=self.sessions)
        self.numbers = NumberBook()
        self.nodes: dict[str, Node] = {}
        self.archives: dict[str, Archive] = {}
        self.faults: Counter[str] = Counter()
        """How many of each kind of fault there were."""
        self.expected_alarms: set[str] = set()
        self.settled_s = 0.0
        self.settling_s_max = 0.0
        self._planted = planted

    @property
    def crashes(self) -> int:
        """Processes that ended without being asked."""
        return self.faults["crashes"]

    # -- what processes ask of the world (see ground.World) -----------------------------------------------------------

    def fuse(self, process: Process, where: str) -> bool:
        """Nothing crashes by itself here."""
        return False

    def refuses(self, process: Process, where: str) -> str:
        """Disks take everything here."""
        return ""

    def crashed(self, process: Process) -> None:
        """Who makes a process crash starts it again."""
        self.faults["crashes"] += 1

    def opened(self, node: Node) -> None:
        """Somebody answers questions there; then plant what is to be planted."""
        self.inquiries.attend(node)
        if self._planted is not None:
            self._planted(node)

    def alarmed(self, process: Process, alarm: effects.Alarm) -> None:
        """No alarm is right in a world without rot and without forgers, unless it was named as expected."""
        self.canary.alarm(process.name, f"{alarm.kind} {alarm.text}")
        if process.hostile:
            return
        if not any(word in f"{alarm.kind} {alarm.text}" for word in self.expected_alarms):
            raise OracleFailed(f"{process.name} raises a false alarm: {alarm.kind}: {alarm.text}")

    def unreadable(self, process: Process) -> None:
        """A log that cannot be opened is put back by a person."""
        self.rot.put_back(process)

    def derived(self, node: Node) -> None:
        """A transaction is seen whole or not at all."""
        if self.desk.large:
            frozen, logs = node.replica.frozen, self.desk.large_logs
            counting = [made for made in self.desk.large if logs.get(made[0][1]) not in frozen]
            oracles.whole_transactions(node, counting)  # behind a fork nothing counts but what others wrote to it

    def tended(self, node: Node) -> None:
        """No number stands for two patients."""
        self.numbers.look(node, list(self.nodes.values()))

    def lost_own(self, node: Node) -> None:
        """Numbers may have been given that it does not know of."""
        self.numbers.lost(node)

    def lost_links(self, process: Process, link: int, reason: str) -> None:
        """Nobody ends a link for what an honest replica said, unless its disk has changed that."""
        if reason.startswith(_GOOD_ENDINGS) or self.ledger.removed or process.hostile:
            return
        if "claims commits of this replica" in reason and "claim" in self.expected_alarms:
            return
        other = self.network.other_end(process, link)
        if other is None or self._hostile(other.name) or other.replica_id in self.ledger.forked:
            return
        if not self.rot.serves_rot(other.name):
            raise OracleFailed(f"{process.name} gives up an honest peer: {reason}")

    def _hostile(self, name: str) -> bool:
        return name in self.archives and self.archives[name].hostile

    # -- sites -------------------------------------------------------------------------------------------------------

    def node(self, name: str) -> Node:
        """A site by its name."""
        return self.nodes[name]

    def everybody(self) -> list[Process]:
        """All machines."""
        return [*self.nodes.values(), *self.archives.values()]

    def members(self) -> list[Node]:
        """The sites that belong to the practice and were not removed."""
        return [node for node in self.nodes.values() if not node.removed]

    def closed(self) -> list[Node]:
        """The sites that were closed: they run on, and hand over what they had written by then."""
        return [node for node in self.nodes.values() if node.replica_id in self.ledger.closed]

    def keepers(self) -> list[Archive]:
        """The archives that do what they should."""
        return [archive for archive in self.archives.values() if not archive.hostile]

    def found(self, *names: str, machines: Mapping[str, Machine] | None = None) -> None:
        """Found a practice at the first of these sites, and let the others in. All are running then."""
        machines = machines or {}
        founder = Node(self, names[0], PracticeId(bytes(16)), machines.get(names[0], Machine()))
        data = members.founding(
            founder.sealer,
            Keyring(founder.sealer),
            practice="Praxis am Markt",
            name=founder.name,
            recovery=plain_identity("recovery"),
        )
        membership = Membership(founder.sealer.verify)
        membership.add(data)
        founder.practice = membership.practice
        founder.disk.add_members(membership.records())
        self.nodes[founder.name] = founder
        founder.start()
        for name in names[1:]:
            self.invite(founder, name, machines.get(name, Machine()))

    def invite(self, by: Node, name: str, machine: Machine) -> Node:
        """A new site, added by `by`, which must be running; from within a job or between events."""
        newcomer = Node(self, name, by.practice, machine)
        newcomer.disk.add_members(admit(by, newcomer))
        self.nodes[name] = newcomer
        newcomer.start()
        return newcomer

    def invite_archive(self, by: Node, name: str, machine: Machine | None = None, *, hostile: bool = False) -> Archive:
        """A new archive, added by `by`, which must be running; from within a job or between events."""
        archive = Archive(self, name, by.practice, machine or Machine())
        archive.hostile = hostile
        archive.disk.add_members(admit(by, archive, role="archive"))
        self.archives[name] = archive
        archive.start()
        return archive

    def introduce(self, by: Node) -> None:
        """All were set up at one table: everybody knows whom `by` knows, before any of them is brought to its place."""
        records = by.replica.membership.records()
        for process in self.everybody():
            if process is not by:
                process.queue(0.0, partial(_learn, process, records))
        self.run(1.0)

    def clone(self, node: Node, name: str, image: Disk, machine: Machine) -> Node:
        """A machine that runs a copy of the disk of `node`: a second process with its keys."""
        twin = Node(self, name, node.practice, machine, identity=node.identity)
        self.numbers.cloned.add(twin.identity)
        twin.adopt(image)
        self.nodes[name] = twin
        twin.start()
        return twin

    def remove(self, by: Node, gone: Node) -> None:
        """An admin removes a site; from within a job or between events."""
        self.expected_alarms.add("late")
        before = self.ledger.removed.copy()
        self.ledger.removed.add(gone.replica_id)
        gone.removed = True
        try:
            shut_out(by, gone)
        except StorageFailure:  # nobody was removed
            self.ledger.removed, gone.removed = before, False
            raise
        self._void()

    def close(self, by: Node, gone: Node) -> None:
        """An admin closes a site; from within a job or between events."""
        self.expected_alarms.add("late")
        self.ledger.closed.add(gone.replica_id)
        gone.removed = True
        try:
            close_down(by, gone)
        except StorageFailure:  # nobody was closed
            self.ledger.closed.discard(gone.replica_id)
            gone.removed = False
            raise

    def _void(self) -> None:
        """Removing somebody also removes whom they have let in meanwhile, unseen by whoever removed them."""
        book = _book(*self.everybody())
        for node in self.members():
            if book.state().active(node.replica_id) is None:
                self._shut_out(node)

    def forget_strangers(self) -> None:
        """A disk was set back: whoever was let in there since, unheard of elsewhere, has to be let in anew."""
        strangers = True
        while strangers:
            books = {node.name: _book(node) for node in self.members()}
            strangers = False
            for node in self.members():
                known = (book.state().active(node.replica_id) for name, book in books.items() if name != node.name)
                if len(books) > 1 and not any(known):
                    self._shut_out(node)
                    strangers = True

    def _shut_out(self, node: Node) -> None:
        node.removed = True
        self.ledger.removed.add(node.replica_id)

    def connect(self, edges: Iterable[tuple[str, str]], weather: Weather | None = None) -> None:
        """Give pairs of machines a line."""
        machines = {process.name: process for process in self.everybody()}
        for one, other in edges:
            self.network.add_line(machines[one], machines[other], weather or Weather())

    def line(self, one: str, other: str) -> Line:
        """The line between two machines."""
        return self.network.lines[frozenset((one, other))]

    def cut(self, one: str, other: str, *, reset: bool = True) -> None:
        """Cut a line in both directions."""
        self.network.set_cut(self.line(one, other), (True, True), reset=reset)

    def mend(self, one: str, other: str) -> None:
        """Mend a line."""
        self.network.set_cut(self.line(one, other), (False, False), reset=False)

    # -- time --------------------------------------------------------------------------------------------------------

    def run(self, seconds: float) -> None:
        """Let so much time pass."""
        self.timeline.run(self.timeline.now + seconds)

    def heal(self) -> None:
        """Mend every line, with fair weather, and start whatever is down or frozen. What has rotted must have been
        noticed by now, or be found by looking for it; then a person puts it back."""
        for line in self.network.lines.values():
            line.weather = Weather(min(line.weather.delay_s, 0.5), 0.0, bytes_per_s=max(line.weather.bytes_per_s, 1e5))
            line.clogged_until = 0.0
            if any(line.cut):
                self.network.set_cut(line, (False, False), reset=False)
        for process in self.everybody():
            process.thaw()
            if not process.up:
                process.start()
        for node in self.nodes.values():
            self.rot.look_and_mend(node, self.members())
            if node.up and self.rot.commits:
                self.rot.look_over(node)
        self.network.dial_all()

    def settle(self, seconds_max: float | None = None) -> float:
        """Let time pass until all members are one. Returns the seconds that took; raises OracleFailed for too many:
        more than what is outstanding, the lines and the house's own intervals allow."""
        started = self.timeline.now
        allowed = settling.allowed_s(self) if seconds_max is None else seconds_max
        self.settling_s_max = allowed
        self.run(_SETTLE_STEP_S)  # what was just asked for is on its way to the disk
        while reason := self._unsettled():
            if self.timeline.now - started >= allowed:
                raise OracleFailed(f"L5: no rest within {allowed:.0f} s: {reason}")
            self.run(_SETTLE_STEP_S)
        return self.timeline.now - started

    def _unsettled(self) -> str:
        members = self.members()
        return oracles.unsettled(members, self.keepers()) or oracles.handed_over(self.closed(), members, self.ledger)

    def check(self) -> None:
        """Every oracle, on a world at rest; then once more after a while, in which sites compare themselves."""
        self.run(3 * limits.repair_interval_s)
        settling.quiet(self)
        reason = oracles.unsettled(self.members(), self.keepers())
        if reason and any(archive.hostile for archive in self.archives.values()):
            self.settle()  # it lies when it likes
        elif reason:
            raise OracleFailed(f"L5: the world was at rest and is no more: {reason}")
        nodes, archives = self.members(), self.keepers()
        oracles.nothing_lost([*nodes, *archives], self.ledger)
        oracles.cuts_kept(nodes, self.ledger)
        self.desk.books.check(nodes, self.ledger, oracles.cut_off(nodes[0], self.ledger))
        oracles.twins(nodes)
        oracles.equal_conflicts(nodes)
        oracles.equal_branches(nodes)
        oracles.whole_views(nodes)
        oracles.equal_histories(nodes)
        oracles.credit_whole([*nodes, *archives])
        for process in (*nodes, *archives):
            audit.walk(process, self.ledger)
            self.canary.disk(process.name, process.disk)
        self.rot.verdict()
        chosen = self.streams("oracles").choice(nodes)
        oracles.rebuilt(chosen)
        oracles.verified(chosen, poisoned=self.faults["poison"] > 0)


def _book(*processes: Process) -> Membership:
    """The membership that follows from all records on the disks of these."""
    book = Membership(processes[0].sealer.verify)
    for process in processes:
        for data in process.disk.members():
            book.add(data)
    return book


def _learn(process: Process, records: Sequence[tuple[MemberHash, bytes]]) -> None:
    process.publish(records)


@contextmanager
def tightened(bounds: Mapping[str, float]) -> Iterator[None]:
    """Within the block the limits named have other values, in this process."""
    before = {name: getattr(limits, name) for name in bounds}
    for name, value in bounds.items():
        setattr(limits, name, value)
    try:
        yield
    finally:
        for name, value in before.items():
            setattr(limits, name, value)
