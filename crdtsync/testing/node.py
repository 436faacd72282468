"""A simulated site: the real core, engine and host under a small driver that can be stopped between any two steps.

It mirrors `crdtsync.driver`: disk work is a queue of jobs in order, each takes modelled time, and what a job did is told
to the core before the next one begins. `fuse` is asked after every step that the outside could notice.
"""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Protocol

from crdtsync import limits
from crdtsync.engine import DeriveResult, WriteGrant, WriteOutcome, WriteRequest
from crdtsync.errors import RefusedError
from crdtsync.host import Host
from crdtsync.ids import MemberHash, PracticeId, ReplicaId
from crdtsync.replication import effects, events, messages
from crdtsync.replication.membership import Membership
from crdtsync.replication.replica import Replica
from crdtsync.testing.care import care
from crdtsync.testing.disk import Disk, PowerCut, Proof
from crdtsync.testing.ledger import Account, Ledger, OracleFailed, rightful
from crdtsync.testing.network import Network
from crdtsync.testing.sealer import PlainSealer
from crdtsync.testing.streams import Streams
from crdtsync.testing.timeline import Timeline
from crdtsync.testing.trace import Trace

START_MS: Final = 1_767_600_000_000
"""The wall clock's time when every world begins: a Monday in January 2026."""
_HAVE, _COMMITS = 4, 8
_SPINS_MAX: Final = 50


class World(Protocol):
    """What a site needs of the world around it."""

    timeline: Timeline
    streams: Streams
    trace: Trace
    network: Network
    ledger: Ledger

    def fuse(self, node: Node, where: str) -> bool:
        """Whether the power goes at `node` now, right behind the step `where`."""

    def crashed(self, node: Node) -> None:
        """The process of `node` has ended: it is started again some time."""

    def alarmed(self, node: Node, alarm: effects.Alarm) -> None:
        """A site raised an alarm."""

    def opened(self, node: Node) -> None:
        """A site has host and core, and does not run yet."""

    def lost_links(self, node: Node, reason: str) -> None:
        """A site ended a link."""


@dataclass(slots=True)
class Machine:
    """What differs from one computer to the next: seconds per sync and per read, and the clock's error in ms."""

    sync_s: float = 0.002
    read_s: float = 0.0003
    skew_ms: int = 0


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

    def wall_ms(self) -> int:
        """The wall clock of this machine."""
        return START_MS + int(self.world.timeline.now * 1000) + self.machine.skew_ms

    # -- life and death ------------------------------------------------------------------------------------------------

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
        self._tick_at = float("inf")
        self._spins = 0
        self._step("starts")
        self.world.ledger.restarted(self.account, self.disk)
        try:
            self._open()
        except PowerCut as cut:
            self.stop(str(cut))
            return
        self.world.opened(self)
        self.derive_soon()
        self._plan_tick()
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
            log=self.host.log,
        )

    def stop(self, where: str) -> None:
        """The process ends now, behind the step `where`: killed, or with the power of its machine."""
        chance = self.world.streams(f"{self.name}/crash")
        power = chance.random() < 0.6
        self._step(f"{'loses power' if power else 'is killed'} after {where}")
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
        self._step("is restored from an older copy")

    def _step(self, what: str) -> None:
        self.world.trace.step(f"{self.world.timeline.now:.6f} {self.name} {what}")

    def _blown(self, where: str) -> bool:
        """Ask the fuse; True when this process has ended."""
        if self.world.fuse(self, where):
            self.stop(where)
            return True
        return False

    # -- the core ------------------------------------------------------------------------------------------------------

    def handle(self, event: events.Event) -> bool:
        """Let the core take in an event, and carry out what it wants. False when the process ended over it."""
        for effect in self.replica.handle(self.now, event):
            if not _PERFORM[type(effect)](self, effect):
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

    # -- links ---------------------------------------------------------------------------------------------------------

    def trusts(self, other: ReplicaId) -> bool:
        """Whether the transport would let `other` in."""
        return self.replica.membership.state().active(other) is not None

    def linked(self, other: ReplicaId) -> bool:
        """Whether there is a link to `other`."""
        return any(peer.replica == other for peer in self.replica.peers.values())

    def link_up(self, link: int, other: ReplicaId, *, dialled: bool) -> None:
        """A link stands."""
        self._step(f"link {link} up")
        self.handle(events.LinkUp(link, other, dialled))

    def link_down(self, link: int) -> None:
        """A link has ended."""
        self._step(f"link {link} down")
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

    # -- disk work -----------------------------------------------------------------------------------------------------

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

    # -- local work ----------------------------------------------------------------------------------------------------

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
            grant = WriteGrant(tuple(membership.heads), epoch)
            outcomes, view, boot = self.host.write([pending.request for pending in group], grant)
        except (RefusedError, PowerCut) as error:
            for pending in group:
                pending.done(None)
            if isinstance(error, PowerCut):
                raise
            return
        if self._blown("write"):
            return
        for pending, outcome in zip(group, outcomes, strict=True):
            self.world.ledger.wrote(self.account, outcome.commits)
            pending.done(outcome)
        if boot is not None and not self.handle(events.BootOpened(boot)):
            return
        commits = [commit for outcome in outcomes for commit in outcome.commits]
        if commits:
            self._step(f"writes {[(c.header.sequence, c.hash[:3].hex()) for c in commits]}")
            keys = [key for outcome in outcomes for key in outcome.keys]
            if not self.handle(events.Wrote(commits, keys)):
                return
        self._derived(view)

    def publish(self, records: Sequence[tuple[MemberHash, bytes]]) -> bool:
        """Make membership records durable and tell everybody, from within a job. False when the process ended."""
        self.host.engine.add_members(records)
        self._step(f"publishes {[record[:3].hex() for record, _ in records]}")
        return self.handle(events.MembersStored(records))

    # -- deriving ------------------------------------------------------------------------------------------------------

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
        self._derived(result)

    def _derived(self, result: DeriveResult) -> None:
        for text in result.alarms:
            self.world.alarmed(self, effects.Alarm("held", text))
        if result.done:
            self.handle(events.Derived(result.arrival, result.digest, result.waiting))

    def _derive_waiting(self) -> None:
        self._derived(self.host.engine.derive_waiting(self.wall_ms()))

    # -- effects: each returns False when the process ended behind it ----------------------------------------------------

    def _send(self, effect: effects.Send) -> bool:
        kind = effect.message[1]
        if kind == _HAVE:
            have = messages.decode(effect.message)
            assert isinstance(have, messages.Have)
            self.world.ledger.told(self.account, self.disk, have.heads)
        elif kind == _COMMITS:
            sent = messages.decode(effect.message)
            assert isinstance(sent, messages.Commits)
            self.world.ledger.told(self.account, self.disk, [(c.header.log, c.head) for c in sent.commits])
        self.world.network.send(self, effect.link, effect.message, effect.urgent)
        return not self._blown("have" if kind == _HAVE else "send")

    def _close(self, effect: effects.Close) -> bool:
        self._step(f"closes link {effect.link}: {effect.reason}")
        self.world.lost_links(self, effect.reason)
        self.world.network.close(self, effect.link)
        return True

    def _store(self, effect: effects.Store) -> bool:
        state = self.replica.membership.state()
        rightful(self.name, [commit for commit, _ in effect.commits], state)
        return self.store(effect)

    def store(self, effect: effects.Store) -> bool:
        """Put commits on disk, then tell the core, then derive."""

        def job() -> None:
            self.host.engine.append(effect.commits, effect.keys, self.wall_ms())
            if self._blown("store"):
                return
            self._step(f"stored {len(effect.commits)}")
            self.derive_soon()
            self.handle(events.Stored())

        self.queue(self.machine.sync_s, job)
        return True

    def _store_members(self, effect: effects.StoreMembers) -> bool:
        def job() -> None:
            self.publish(effect.records)

        self.queue(self.machine.sync_s, job)
        return True

    def _store_keys(self, effect: effects.StoreKeys) -> bool:
        def job() -> None:
            self.host.engine.put_keys(effect.keys)
            if self.handle(events.KeysStored(effect.keys)):
                self.queue(self.machine.read_s, self._derive_waiting)

        self.queue(self.machine.sync_s, job)
        return True

    def _read_feeds(self, effect: effects.ReadFeeds) -> bool:
        def job() -> None:
            commits, keys = self.host.engine.read_feeds(effect.cursors, effect.commits_max, effect.bytes_max)
            self.handle(events.FeedsRead(effect.link, commits, keys))

        self.queue(self.machine.read_s, job)
        return True

    def _read_backlog(self, effect: effects.ReadBacklog) -> bool:
        def job() -> None:
            self.handle(events.BacklogRead(effect.link, *self.host.engine.read_backlog(effect.cursors)))

        self.queue(self.machine.read_s, job)
        return True

    def _read_keys(self, effect: effects.ReadKeys) -> bool:
        def job() -> None:
            self.handle(events.KeysRead(effect.link, self.host.engine.read_keys(effect.ids)))

        self.queue(self.machine.read_s, job)
        return True

    def _members_changed(self, effect: effects.MembersChanged) -> bool:
        del effect

        def job() -> None:
            if self.host.learn_epochs(self.replica.membership.state()):
                self._derive_waiting()
            self.queue(self.machine.sync_s, lambda: care(self))
            self.world.network.station_started(self)

        self.queue(self.machine.read_s, job)
        return True

    def _new_boot(self, effect: effects.NewBoot) -> bool:
        self._step(f"opens a new boot: {effect.reason}")
        self.queue(self.machine.sync_s, lambda: self._boot_opened())
        return True

    def _boot_opened(self) -> None:
        self.handle(events.BootOpened(self.host.new_boot()))

    def _rederive(self, effect: effects.Rederive) -> bool:
        del effect

        def job() -> None:
            self.host.engine.rebuild(self.wall_ms(), None)
            self.derive_soon()

        self.queue(self.machine.sync_s, job)
        return True

    def _alarm(self, effect: effects.Alarm) -> bool:
        self._step(f"alarm {effect.kind}: {effect.text}")
        self.world.alarmed(self, effect)
        return True


_PERFORM: Final[Mapping[type, Callable[[Node, Any], bool]]] = {
    effects.Send: Node._send,
    effects.Close: Node._close,
    effects.Store: Node._store,
    effects.StoreMembers: Node._store_members,
    effects.StoreKeys: Node._store_keys,
    effects.ReadFeeds: Node._read_feeds,
    effects.ReadBacklog: Node._read_backlog,
    effects.ReadKeys: Node._read_keys,
    effects.MembersChanged: Node._members_changed,
    effects.NewBoot: Node._new_boot,
    effects.Rederive: Node._rederive,
    effects.Alarm: Node._alarm,
}

ChanceOf = Callable[[str], random.Random]
