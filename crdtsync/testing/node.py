"""A simulated site: the real core, engine and host under a small driver that can be stopped between any two steps.

It mirrors `crdtsync.driver`: disk work is a queue of jobs in order, each takes modelled time, and what a job did is
told to the core before the next one begins. The world's fuse is asked after every step that the outside could notice.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from typing import Final

from crdtsync import limits
from crdtsync.engine import DeriveResult, DueHold, WriteGrant, WriteOutcome, WriteRequest
from crdtsync.errors import RefusedError
from crdtsync.host import Host
from crdtsync.ids import MemberHash, PracticeId, ReplicaId
from crdtsync.replication import effects, events
from crdtsync.replication.membership import Membership
from crdtsync.replication.replica import Replica
from crdtsync.testing.care import sign_holds
from crdtsync.testing.disk import Disk, PowerCut, Proof
from crdtsync.testing.ground import START_MS, Machine, World
from crdtsync.testing.ledger import Account, OracleFailed
from crdtsync.testing.performing import PERFORM
from crdtsync.testing.sealer import PlainSealer

_SPINS_MAX: Final = 50
_LOOK_EVERY_S: Final = 120.0
"""A small world has few pages; it is looked over several times an hour."""


class _Pending:
    def __init__(self, request: WriteRequest, done: Callable[[WriteOutcome | None], None]) -> None:
        self.request = request
        self.done = done


class Node:
    """One site. `disk` and `proof` outlive its processes; `host` and `replica` are of the life at hand."""

    def __init__(self, world: World, name: str, practice: PracticeId, machine: Machine) -> None:
        self.world = world
        self.name = name
        self.practice = practice
        self.machine = machine
        self.up = False
        self.life = 0
        self.removed = False
        self.perform = dict(PERFORM)
        self.sealer = PlainSealer(name, world.streams(f"{name}/sealer").randbytes)
        self.disk = Disk()
        self.proof = Proof()
        self.account = Account(name, self.replica_id)
        self.duplicates = 0
        self.received = 0
        self._monotonic = 0.0
        self._fresh_disk()

    def _fresh_disk(self) -> None:
        self.disk.on_append = lambda commits: self.world.ledger.appended(self.account, commits)
        self.disk.fuse = lambda where: self.up and self.world.fuse(self, where)

    @property
    def replica_id(self) -> ReplicaId:
        """Who this is."""
        return ReplicaId(self.sealer.public.replica)

    @property
    def now(self) -> float:
        """The monotonic time of this machine."""
        return self.world.timeline.now + self._monotonic

    def keys_of(self, replica: ReplicaId) -> bytes | None:
        """The signing key of a member, as this site knows it."""
        member = self.replica.membership.state().members.get(replica)
        return None if member is None else member.sig

    def wall_ms(self) -> int:
        """The wall clock of this machine."""
        return START_MS + int(self.world.timeline.now * 1000) + self.machine.skew_ms

    # -- life and death ----------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Open the disk, as a fresh process does."""
        self.life += 1
        self.up = True
        self._monotonic = self.world.streams(f"{self.name}/start").uniform(0.0, 1e6)
        self._jobs: deque[tuple[float, Callable[[], None]]] = deque()
        self._working = False
        self._pending: deque[_Pending] = deque()
        self._write_queued = False
        self._deriving = False
        self.holds_due: Sequence[DueHold] = ()
        self._tick_at = float("inf")
        self._spins = 0
        self.step("starts")
        self.world.ledger.restarted(self.account, self.disk)
        try:
            self._open()
        except PowerCut as cut:
            self.stop(str(cut))
            return
        self.world.opened(self)
        self.derive_soon()
        self._plan_tick()
        self._plan_look()
        self.world.network.station_started(self)

    def _open(self) -> None:
        membership = Membership(self.sealer.verify)
        for record in self.disk.members():
            membership.add(record)
        self.host = Host(
            self.disk,
            self.sealer,
            self.proof,
            practice=self.practice,
            replica=self.replica_id,
            membership=membership.state(),
            now_ms=self.wall_ms,
        )
        self.replica = Replica(
            practice=self.practice,
            replica=self.replica_id,
            membership=membership,
            verify=self.sealer.verify,
            frontier=self.disk.frontier(),
            boots=self.host.engine.boots(),
            log=self.host.log,
            line=self.host.engine.line,
            recovering=self.host.recovering,
        )

    def stop(self, where: str) -> None:
        """The process ends now, behind the step `where`: killed, or with the power of its machine."""
        chance = self.world.streams(f"{self.name}/crash")
        power = chance.random() < 0.6
        self.step(f"{'loses power' if power else 'is killed'} after {where}")
        self.count_links()
        self.up = False
        if power:
            self.disk.lose(chance)
            self.proof.lose()
        else:
            self.disk.survive()
        for pending in self._pending:
            pending.done(None)
        self.world.network.station_stopped(self, silently=power)
        self.world.crashed(self)

    def replace_disk(self, image: Disk, elsewhere: Sequence[Disk]) -> None:
        """While the process is down: an older copy of the disk is put back."""
        self.disk = image.image()
        self._fresh_disk()
        self.world.ledger.rolled_back(self.account, self.disk, elsewhere)
        self.step("is restored from an older copy")

    def step(self, what: str) -> None:
        """Put a step into the trace."""
        self.world.trace.step(f"{self.world.timeline.now:.6f} {self.name} {what}")

    def blown(self, where: str) -> bool:
        """Ask the fuse; True when this process has ended."""
        if self.world.fuse(self, where):
            self.stop(where)
            return True
        return False

    # -- the core ----------------------------------------------------------------------------------------------------

    def handle(self, event: events.Event) -> bool:
        """Let the core take in an event, and carry out what it wants. False when the process ended over it."""
        for effect in self.replica.handle(self.now, event):
            if not self.perform[type(effect)](self, effect):
                return False
        self._plan_tick()
        return True

    def _plan_tick(self) -> None:
        due = self.replica.wakeup - self._monotonic
        now = self.world.timeline.now
        if due <= now:
            # Real time goes on by itself; a core that never comes to rest is a busy loop all the same.
            self._spins += 1
            if self._spins > _SPINS_MAX:
                raise OracleFailed(f"L7: {self.name} wants to be woken in the past, for ever")
            due = now + 0.001
        else:
            self._spins = 0
        if due < self._tick_at:
            self._tick_at = due
            life = self.life
            self.world.timeline.at(due, lambda: self._tick(life, due))

    def _tick(self, life: int, due: float) -> None:
        if life != self.life or not self.up or due != self._tick_at:
            return
        self._tick_at = float("inf")
        self.handle(events.Tick())

    # -- links -------------------------------------------------------------------------------------------------------

    def trusts(self, other: ReplicaId) -> bool:
        """Whether the transport would let `other` in."""
        return self.replica.membership.state().active(other) is not None

    def linked(self, other: ReplicaId) -> bool:
        """Whether there is a link to `other`."""
        return any(peer.replica == other for peer in self.replica.peers.values())

    def link_up(self, link: int, other: ReplicaId, *, dialled: bool) -> None:
        """A link stands."""
        self.step(f"link {link} up")
        self.handle(events.LinkUp(link, other, dialled))

    def link_down(self, link: int) -> None:
        """A link has ended."""
        self.step(f"link {link} down")
        self.count_links(link)
        self.handle(events.LinkDown(link))

    def receive(self, link: int, message: bytes) -> None:
        """A message came in."""
        self.handle(events.Received(link, message))

    def count_links(self, only: int | None = None) -> None:
        """Add up what came in over links, before they end."""
        for number, peer in self.replica.peers.items() if self.up and hasattr(self, "replica") else ():
            if only in (None, number):
                self.duplicates += peer.counters.duplicates_in
                self.received += peer.counters.commits_in
                peer.counters.duplicates_in = peer.counters.commits_in = 0

    # -- disk work ---------------------------------------------------------------------------------------------------

    def queue(self, seconds: float, work: Callable[[], None]) -> None:
        """Do `work` behind all other disk work; it takes so long, and is done at the end of that."""
        self._jobs.append((seconds, work))
        self._next_job()

    def _next_job(self) -> None:
        if self._working or not self._jobs:
            return
        self._working = True
        seconds, work = self._jobs.popleft()
        chance = self.world.streams(f"{self.name}/disk").random()
        life = self.life

        def done() -> None:
            if life != self.life or not self.up:
                return
            try:
                work()
            except PowerCut as cut:
                self.stop(str(cut))
                return
            if life == self.life and self.up:
                self._working = False
                self._next_job()

        self.world.timeline.after(seconds * (0.5 + chance), done)

    # -- local work --------------------------------------------------------------------------------------------------

    def write(self, request: WriteRequest, done: Callable[[WriteOutcome | None], None]) -> None:
        """Queue a local transaction; `done` gets its outcome, or None when it was refused or the process ended."""
        if self.replica.recovering:
            done(None)
            return
        self._pending.append(_Pending(request, done))
        if not self._write_queued:
            self._write_queued = True
            self.queue(self.machine.sync_s, self._write_group)

    def _write_group(self) -> None:
        self._write_queued = False
        group = [self._pending.popleft() for _ in range(min(len(self._pending), limits.group_commits_max))]
        if self._pending:
            self._write_queued = True
            self.queue(self.machine.sync_s, self._write_group)
        membership = self.replica.membership
        epoch = membership.state().sealing_epoch()
        try:
            if epoch is None:
                raise RefusedError("every key epoch has a removed reader")
            if self.replica.recovering or self.replica.superseded:
                raise RefusedError("newer commits of this site are fetched first, or another copy of it goes on")
            grant = WriteGrant(tuple(membership.heads), epoch, membership.state().closed)
            outcomes, view, boot = self.host.write([pending.request for pending in group], grant)
        except (RefusedError, PowerCut) as error:
            for pending in group:
                pending.done(None)
            if isinstance(error, PowerCut):
                raise
            return
        if self.blown("write"):
            return
        for pending, outcome in zip(group, outcomes, strict=True):
            self.world.ledger.wrote(self.account, outcome.commits)
            pending.done(outcome)
        if boot is not None and not self.handle(events.BootOpened(boot)):
            return
        commits = [commit for outcome in outcomes for commit in outcome.commits]
        if commits:
            self.step(f"writes {[(c.header.sequence, c.hash[:3].hex()) for c in commits]}")
            keys = [key for outcome in outcomes for key in outcome.keys]
            if not self.handle(events.Wrote(commits, keys)):
                return
        self.derived(view)

    def publish(self, records: Sequence[tuple[MemberHash, bytes]]) -> bool:
        """Make membership records durable and tell everybody, from within a job. False when the process ended."""
        self.host.engine.add_members(records)
        self.step(f"publishes {[record[:3].hex() for record, _ in records]}")
        return self.handle(events.MembersStored(records))

    # -- deriving ----------------------------------------------------------------------------------------------------

    def derive_soon(self) -> None:
        """Derive what the view lacks, in batches, between other jobs."""
        if not self._deriving:
            self._deriving = True
            self.queue(self.machine.read_s, self._derive)

    def _derive(self) -> None:
        self._deriving = False
        result = self.host.engine.derive(self.wall_ms())
        if not result.done:
            self.derive_soon()
        self.derived(result)

    def _plan_look(self) -> None:
        life = self.life

        def look() -> None:
            if life == self.life and self.up:
                self.queue(self.machine.read_s, self._look_over)
                self._plan_look()

        self.world.timeline.after(_LOOK_EVERY_S, look)

    def _look_over(self) -> None:
        """Look over a page of view or log, as a site does that has nothing else to do."""
        self.derived(self.host.engine.inspect(self.wall_ms(), self.keys_of))
        rotten = self.host.engine.upkeep.rotten
        if rotten and self.up:
            self.handle(events.RotFound(rotten))

    def derived(self, result: DeriveResult) -> None:
        """The view is so far now."""
        for text in result.alarms:
            self.world.alarmed(self, effects.Alarm("held", text))
        if result.holds and not self.holds_due:
            self.queue(self.machine.sync_s, lambda: sign_holds(self))
        self.holds_due = result.holds
        if result.done:
            self.handle(events.Derived(result.arrival, result.digest, result.waiting, result.held))

    def derive_waiting(self) -> None:
        """Derive what waited for keys or epochs, from within a job."""
        self.derived(self.host.engine.derive_waiting(self.wall_ms()))
