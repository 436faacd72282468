"""What happens in one seed's world: people write, lines are cut, machines crash, sites come and go, all by chance."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from crdtsync.testing import oracles
from crdtsync.testing.disk import Disk
from crdtsync.testing.ground import Machine
from crdtsync.testing.node import Node
from crdtsync.testing.options import TIGHT_LIMITS, Options, edges, weather
from crdtsync.testing.world import World, tightened

_NAMES = ("Jena", "Weimar", "Gera", "Apolda", "Ilmenau", "Saalfeld")
_BOUNDS_EVERY_S = 120.0


class Story(World):
    """A world that lives by chance, as its options say."""

    def __init__(
        self,
        seed: int,
        options: Options,
        *,
        planted: Callable[[Node], None] | None = None,
        everything: bool = False,
    ) -> None:
        super().__init__(seed, planted=planted, everything=everything)
        self.options = options
        self.partitions = 0
        self.settled_s = 0.0
        self._over = True  # no faults before and after the story
        if options.clocks_wild:
            self.expected_alarms.add("minutes ahead")

    # -- crashes -----------------------------------------------------------------------------------------------------

    def fuse(self, node: Node, where: str) -> bool:
        """Aimed crashes: behind any step, as often as the options say."""
        if self._over or self.crashes >= self.options.crashes:
            return False
        odds = self.options.crash_points.get(where, 0.0)
        return odds > 0.0 and self.streams(f"fuse/{where}").random() < odds

    def crashed(self, node: Node) -> None:
        """The site comes back after a while."""
        super().crashed(node)
        chance = self.streams("outages")
        wait = 10 ** chance.uniform(-1.0, 2.0 if chance.random() < 0.8 else 3.2)
        self.timeline.after(wait, lambda: self._restart(node))

    def _restart(self, node: Node) -> None:
        if not node.up:
            node.start()

    # -- the plan of a day -------------------------------------------------------------------------------------------

    def play(self) -> None:
        """The whole seed. Raises OracleFailed where a promise is broken, and whatever the code under test raises."""
        options = self.options
        bounds = TIGHT_LIMITS if options.tight else {}
        with tightened(bounds):
            names = list(_NAMES[: options.sites])
            self.found(*names, machines={name: self._machine(name) for name in names})
            self._add_lines(edges(options.topology, names, self.streams))
            self._plan_work()
            self._plan_faults()
            self._over = False
            self._watch()
            self.run(options.duration_s)
            self._over = True
            self.heal()
            self.settled_s = self.settle()
            self.check()
            for node in self.members():
                node.count_links()
            if options.calm:
                oracles.few_duplicates(self.members())

    def _machine(self, name: str) -> Machine:
        chance = self.streams(f"machine/{name}")
        sync = chance.choice((0.0005, 0.003, 0.03))
        skew = self.options.skew_ms
        return Machine(sync, sync / 5, chance.randint(-skew, skew))

    def _add_lines(self, pairs: list[tuple[str, str]]) -> None:
        for one, other in pairs:
            self.connect([(one, other)], weather(self.options, f"{one}-{other}", self.streams))

    def _plan_work(self) -> None:
        """Bursts of writing, some of them at two sites in the same record."""
        chance = self.streams("work")
        left = self.options.writes
        while left > 0:
            burst = min(left, chance.randint(3, 30))
            left -= burst
            start = chance.uniform(0.0, self.options.duration_s * 0.97)
            length = 10 ** chance.uniform(0.0, 2.0)
            names = chance.sample(list(self.nodes), chance.randint(1, len(self.nodes)))
            for _ in range(burst):
                self._plan_act(start + chance.random() * length, chance.choice(names))
        if self.options.large:
            name = chance.choice(list(self.nodes))
            self.timeline.at(chance.uniform(1.0, 3000.0), lambda: self._at(name, self.desk.create_large))

    def _plan_act(self, when: float, name: str) -> None:
        chance = self.streams("work")
        roll = chance.random()
        if roll < 0.15:
            self.timeline.at(when, lambda: self._edit_together())
        elif roll < 0.2:
            self.timeline.at(when, lambda: self._at(name, lambda node: self.desk.create(node, 4)))
        else:
            self.timeline.at(when, lambda: self._at(name, self.desk.act))

    def _at(self, name: str, act: Callable[[Node], None]) -> None:
        node = self.nodes[name]
        if node.up:
            act(node)

    def _edit_together(self) -> None:
        """The same record at two sites, at one moment."""
        chance = self.streams("together")
        running = [node for node in self.nodes.values() if node.up]
        if self.desk.known and len(running) >= 2:
            kind, record = chance.choice(self.desk.known)
            for node in chance.sample(running, 2):
                self.desk.edit(node, kind, record)

    # -- faults ------------------------------------------------------------------------------------------------------

    def _plan_faults(self) -> None:
        options, chance = self.options, self.streams("faults")
        for _ in range(options.partitions):
            self.timeline.at(chance.uniform(0.0, options.duration_s), self._partition)
        if options.crash_points.get("time", 0.0) > 0.0:
            for _ in range(options.crashes):
                self.timeline.at(chance.uniform(0.0, options.duration_s), self._crash_somewhere)
        for _ in range(options.newcomers):
            self.timeline.at(chance.uniform(1.0, options.duration_s * 0.9), self._newcomer)
        if options.removal:
            self.timeline.at(chance.uniform(60.0, options.duration_s * 0.9), self._removal)
        if options.restore:
            self.timeline.at(chance.uniform(60.0, options.duration_s * 0.7), self._take_image)

    def _crash_somewhere(self) -> None:
        chance = self.streams("faults/crash")
        running = [node for node in self.nodes.values() if node.up]
        if running and self.crashes < self.options.crashes and not self._over:
            chance.choice(running).stop("a while")

    def _partition(self) -> None:
        """Cut some lines: those between two halves, or a few, or one direction of one; for a second to an hour."""
        chance = self.streams("faults/partition")
        lines = list(self.network.lines.values())
        how = chance.random()
        towards = (True, True)
        if how < 0.5:
            half = set(chance.sample(list(self.nodes), chance.randint(1, max(1, len(self.nodes) // 2))))
            chosen = [line for line in lines if (line.stations[0].name in half) != (line.stations[1].name in half)]
        elif how < 0.8:
            chosen = chance.sample(lines, chance.randint(1, len(lines)))
        else:
            chosen = chance.sample(lines, 1)
            towards = chance.choice(((True, False), (False, True)))
        self.partitions += 1
        reset = chance.random() < 0.5
        wait = 10 ** chance.uniform(0.0, 3.55)
        for line in chosen:
            self.network.set_cut(line, towards, reset=reset)

        def mend() -> None:
            for line in chosen:
                self.network.set_cut(line, (False, False), reset=False)

        self.timeline.after(wait, mend)

    def _newcomer(self) -> None:
        """Somebody lets a new site in."""
        chance = self.streams("faults/newcomer")
        running = [node for node in self.members() if node.up]
        if not running:
            return
        by = chance.choice(running)
        name = _NAMES[len(self.nodes)]

        def join() -> None:
            self.invite(by, name, self._machine(name))
            others = [node.name for node in self.members() if node.name not in (name, by.name)]
            more = chance.sample(others, chance.randint(0, len(others)))
            self._add_lines([(by.name, name), *((other, name) for other in more)])
            for _ in range(10):
                at = chance.uniform(self.timeline.now, self.options.duration_s)
                self.timeline.at(at, lambda: self._at(name, self.desk.act))

        by.queue(by.machine.sync_s, join)

    def _removal(self) -> None:
        """An admin removes a site that is writing, often while lines are cut."""
        chance = self.streams("faults/removal")
        running = [node for node in self.members() if node.up]
        if len(running) < 3:
            return
        by, gone = chance.sample(running, 2)
        if not self._connected_without(gone):
            return
        if chance.random() < 0.7:
            for line in self.network.lines.values():
                if by in line.stations:
                    self._cut_for(line, chance.uniform(5.0, 200.0))
        for _ in range(chance.randint(2, 12)):
            at = self.timeline.now + chance.uniform(0.0, 40.0)
            self.timeline.at(at, lambda: self._at(gone.name, self.desk.act))
        when = chance.uniform(0.0, 30.0)
        self.timeline.after(when, lambda: self._remove(by, gone))

    def _remove(self, by: Node, gone: Node) -> None:
        if by.up and gone.replica_id in by.replica.membership.state().members:
            by.queue(by.machine.sync_s, lambda: self.remove(by, gone))

    def _cut_for(self, line: Any, seconds: float) -> None:
        self.network.set_cut(line, (True, True), reset=True)
        self.timeline.after(seconds, lambda: self.network.set_cut(line, (False, False), reset=False))

    def _connected_without(self, gone: Node) -> bool:
        """Whether the others still have lines to each other."""
        names = {node.name for node in self.members()} - {gone.name}
        reached, left = set(), [min(names)]
        while left:
            name = left.pop()
            reached.add(name)
            for line in self.network.lines.values():
                pair = {station.name for station in line.stations}
                if name in pair:
                    left += sorted((pair & names) - reached)
        return reached == names

    def _take_image(self) -> None:
        """Copy a disk; some time later it is put back in place of what was written since."""
        chance = self.streams("faults/restore")
        running = [node for node in self.members() if node.up]
        if not running:
            return
        node = chance.choice(running)
        image = node.disk.image()
        self.timeline.after(10 ** chance.uniform(1.0, 3.0), lambda: self._restore(node, image))

    def _restore(self, node: Node, image: Disk) -> None:
        if self._over:
            return
        if node.up:
            node.stop("its disk failed")
        node.proof.lose()
        self.expected_alarms |= {"restored", "clone"}
        node.replace_disk(image, [other.disk for other in self.nodes.values() if other is not node])

    def _watch(self) -> None:
        for node in self.nodes.values():
            if node.up:
                oracles.bounds(node)
        if not self._over:
            self.timeline.after(_BOUNDS_EVERY_S, self._watch)
