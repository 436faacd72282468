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

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager

from crdtsync import limits, members
from crdtsync.ids import PracticeId
from crdtsync.replication import effects
from crdtsync.replication.membership import Membership
from crdtsync.sealing.keyring import Keyring
from crdtsync.testing import oracles
from crdtsync.testing.care import admit, shut_out
from crdtsync.testing.desk import Desk
from crdtsync.testing.ground import Machine
from crdtsync.testing.ledger import Ledger, OracleFailed
from crdtsync.testing.network import Line, Network, Weather
from crdtsync.testing.node import Node
from crdtsync.testing.sealer import plain_identity
from crdtsync.testing.streams import Streams
from crdtsync.testing.timeline import Timeline
from crdtsync.testing.trace import Trace

SETTLE_SECONDS_MAX = 900.0
"""After everything is mended the world must come to rest within this time."""
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
        self.ledger = Ledger()
        self.desk = Desk(self.streams("desk"), self.streams("ids"))
        self.nodes: dict[str, Node] = {}
        self.crashes = 0
        self.expected_alarms: set[str] = set()
        self._planted = planted

    # -- what sites ask of the world (see node.World) ----------------------------------------------------------------

    def fuse(self, node: Node, where: str) -> bool:
        """Nothing crashes by itself here."""
        return False

    def crashed(self, node: Node) -> None:
        """Who makes a site crash starts it again."""
        self.crashes += 1

    def opened(self, node: Node) -> None:
        """Plant what is to be planted."""
        if self._planted is not None:
            self._planted(node)

    def alarmed(self, node: Node, alarm: effects.Alarm) -> None:
        """No alarm is right in a world without rot and without forgers, unless it was named as expected."""
        if not any(word in f"{alarm.kind} {alarm.text}" for word in self.expected_alarms):
            raise OracleFailed(f"{node.name} raises a false alarm: {alarm.kind}: {alarm.text}")

    def lost_links(self, node: Node, reason: str) -> None:
        """Honest sites never end a link for what the other said."""
        if not reason.startswith(_GOOD_ENDINGS) and not self.ledger.removed:
            raise OracleFailed(f"{node.name} gives up an honest peer: {reason}")

    # -- sites -------------------------------------------------------------------------------------------------------

    def node(self, name: str) -> Node:
        """A site by its name."""
        return self.nodes[name]

    def members(self) -> list[Node]:
        """The sites that belong to the practice and were not removed."""
        return [node for node in self.nodes.values() if not node.removed]

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
        records = admit(by, newcomer)
        newcomer.disk.add_members(records)
        self.nodes[name] = newcomer
        newcomer.start()
        return newcomer

    def remove(self, by: Node, gone: Node) -> None:
        """An admin removes a site; from within a job or between events."""
        gone.removed = True
        self.ledger.removed.add(gone.replica_id)
        self.expected_alarms.add("late")
        shut_out(by, gone)

    def connect(self, edges: Iterable[tuple[str, str]], weather: Weather | None = None) -> None:
        """Give pairs of sites a line."""
        for one, other in edges:
            self.network.add_line(self.nodes[one], self.nodes[other], weather or Weather())

    def line(self, one: str, other: str) -> Line:
        """The line between two sites."""
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
        """Mend every line, with fair weather, and start whatever is down."""
        for line in self.network.lines.values():
            line.weather = Weather(min(line.weather.delay_s, 0.5), 0.0, bytes_per_s=max(line.weather.bytes_per_s, 1e5))
            if any(line.cut):
                self.network.set_cut(line, (False, False), reset=False)
        for node in self.nodes.values():
            if not node.up:
                node.start()
        self.network.dial_all()

    def settle(self, seconds_max: float = SETTLE_SECONDS_MAX) -> float:
        """Let time pass until all members are one. Returns the seconds that took; raises OracleFailed for too many."""
        started = self.timeline.now
        self.run(_SETTLE_STEP_S)  # what was just asked for is on its way to the disk
        while reason := oracles.unsettled(self.members()):
            if self.timeline.now - started >= seconds_max:
                raise OracleFailed(f"L5: no rest within {seconds_max:.0f} s: {reason}")
            self.run(_SETTLE_STEP_S)
        return self.timeline.now - started

    def check(self) -> None:
        """Every oracle, on a world at rest; then once more after a while, in which sites compare themselves."""
        self.run(3 * limits.repair_interval_s)
        reason = oracles.unsettled(self.members())
        if reason:
            raise OracleFailed(f"L5: the world was at rest and is no more: {reason}")
        nodes = self.members()
        oracles.nothing_lost(nodes, self.ledger)
        oracles.cuts_kept(nodes, self.ledger)
        oracles.equal_conflicts(nodes)
        oracles.equal_branches(nodes)
        oracles.whole_views(nodes)
        oracles.credit_whole(nodes)
        chosen = self.streams("oracles").choice(nodes)
        oracles.rebuilt(chosen)
        oracles.verified(chosen)


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
