"""What happens in one seed's world: people write, lines are cut, machines crash, sites come and go, all by chance.

The faults themselves are in `faults`, one module per kind; this is who lives there and what they do all day.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from crdtsync.testing import inquiries, oracles
from crdtsync.testing.billing import Billing
from crdtsync.testing.disk import SYNC_FAILED
from crdtsync.testing.faults import FAULTS, duties, numbers
from crdtsync.testing.ground import Machine
from crdtsync.testing.node import Node
from crdtsync.testing.options import TIGHT_LIMITS, Options, edges, weather
from crdtsync.testing.pairs import compare
from crdtsync.testing.process import Process
from crdtsync.testing.world import World, tightened

_NAMES: Final = (
    *("Jena", "Weimar", "Gera", "Apolda", "Ilmenau", "Saalfeld"),
    *("Greiz", "Zeitz", "Pößneck", "Suhl", "Eisenach"),
)
_ARCHIVES: Final = ("Archiv", "Tresor")
_LOOKS: Final = 30
"""How often in a story the bounds of all processes are looked at."""


class Story(World):
    """A world that lives by chance, as its options say. `over` tells that no fault is to come any more."""

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
        self.over = True  # no faults before and after the story
        self.down_for: dict[str, float] = {}
        """How long a machine stays down, where that is decided."""
        self.refusing: dict[str, int] = {}
        """By name, how many writes a disk still takes before it refuses one."""
        self.full_until: dict[str, float] = {}
        self.billing = Billing(self) if options.series else None
        """Series of numbers, where the practice has any."""
        self.parted_until: dict[str, float] = {}
        """Lines, by name, that stay cut so long although a contact was planned."""
        if options.clocks_wild:
            self.expected_alarms.add("minutes ahead")

    def opened(self, node: Node) -> None:
        """Sites of a practice with series look after them."""
        node.billing = self.billing
        duties.started(self, node)
        super().opened(node)

    # -- what machines are asked to bear ------------------------------------------------------------------------------

    def fuse(self, process: Process, where: str) -> bool:
        """Aimed crashes: behind any step, as often as the options say."""
        if self.over or self.crashes >= self.options.crashes:
            return False
        odds = self.options.crash_points.get(where, 0.0)
        return odds > 0.0 and self.streams(f"fuse/{where}").random() < odds

    def refuses(self, process: Process, where: str) -> str:
        """A disk that is full, or fails once."""
        if self.over:
            return ""
        if self.timeline.now < self.full_until.get(process.name, 0.0):
            self.faults["full_disks"] += 1
            return f"no space left for {where}"
        left = self.refusing.get(process.name)
        if left is None:
            return ""
        if left:
            self.refusing[process.name] = left - 1
            return ""
        del self.refusing[process.name]
        self.faults["io_errors"] += 1
        late = self.streams("faults/syncs").random() < 0.5
        return f"{SYNC_FAILED if late else 'input/output error'} on {where}"

    def crashed(self, process: Process) -> None:
        """It comes back after a while."""
        super().crashed(process)
        chance = self.streams("outages")
        wait = 10 ** chance.uniform(-1.0, 2.0 if chance.random() < 0.8 else 3.2)
        wait = self.down_for.pop(process.name, wait)
        life = process.life
        self.timeline.after(wait, lambda: self._restart(process, life))

    def _restart(self, process: Process, life: int) -> None:
        if not process.up and process.life == life:
            process.start()

    # -- the plan of a day -------------------------------------------------------------------------------------------

    def play(self) -> None:
        """The whole seed. Raises OracleFailed where a promise is broken, and whatever the code under test raises."""
        options = self.options
        bounds = TIGHT_LIMITS if options.tight else {}
        with tightened(bounds):
            self._settlers()
            self._plan_work()
            inquiries.plan(self)
            for plan in FAULTS:
                plan(self)
            self.over = False
            self._watch()
            self.run(options.duration_s)
            self.over = True
            self.heal()
            self.settled_s = self.settle()
            if options.asks:
                self.inquiries.last_round()
            numbers.finish(self)
            self.check()
            if self.billing is not None:
                self.billing.verdict(self.members())
            for process in self.everybody():
                process.count_links()
            if options.calm:
                self.inquiries.all_answered()
                oracles.few_duplicates(self.everybody())
        if options.pair:
            self.faults["pairs"] += 1
            compare(self.seed, 2 * self.seed, 2 * self.seed + 1, planted=self._planted)

    def _settlers(self) -> None:
        """Sites, archives, and the lines between them."""
        options = self.options
        names = list(_NAMES[: options.sites])
        self.found(*names, machines={name: self.machine(name) for name in names})
        archives = list(_ARCHIVES[: options.archives])
        for name in archives:
            self.invite_archive(self.nodes[names[0]], name, self.machine(name))
        for node in self.nodes.values():
            node.care_s = max(node.care_s, options.care_s)
        both = [*names, *archives]
        if archives:  # anywhere among the sites: also between two that have no other way to each other
            self.streams("places").shuffle(both)
        self.introduce(self.nodes[names[0]])
        for one, other in edges(options.topology, both, self.streams):
            self.connect([(one, other)], weather(options, f"{one}-{other}", self.streams))

    def machine(self, name: str) -> Machine:
        """A computer for a new site or archive."""
        chance = self.streams(f"machine/{name}")
        sync = chance.choice((0.0005, 0.003, 0.03))
        skew = self.options.skew_ms
        skew_ms = chance.randint(-skew, skew)
        return Machine(sync, sync / 5, skew_ms, self.options.drift * chance.choice((-1.0, 0.0, 1.0)))

    def next_name(self) -> str:
        """A name for one more site."""
        return next(name for name in _NAMES if name not in self.nodes)

    def running(self) -> list[Process]:
        """All machines on which a process runs."""
        return [process for process in self.everybody() if process.up]

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
            self.act_at(when, name)

    def act_at(self, when: float, name: str) -> None:
        """Somebody writes something at this site then, if it is running."""
        self.timeline.at(when, lambda: self._at(name, self.desk.act))

    def _at(self, name: str, act: Callable[[Node], None]) -> None:
        node = self.nodes[name]
        if node.awake:
            act(node)

    def _edit_together(self) -> None:
        """The same record at two sites, at one moment."""
        chance = self.streams("together")
        running = [node for node in self.nodes.values() if node.awake]
        if self.desk.known and len(running) >= 2:
            kind, record = chance.choice(self.desk.known)
            for node in chance.sample(running, 2):
                if node.awake:
                    self.desk.edit(node, kind, record)

    def _watch(self) -> None:
        for process in self.everybody():
            if process.up:
                oracles.bounds(process)
        if not self.over:
            self.timeline.after(self.options.duration_s / _LOOKS, self._watch)
