"""A simulated process of a replica: the real core on a simulated disk, under a small driver that can be stopped between
any two steps.

It mirrors `crdtsync.driver`: disk work is a queue of jobs in order, each takes modelled time, and what a job did is
told to the core before the next one begins. The world's fuse is asked after every step that the outside could notice.
What a process is besides that, a site or an archive, is its subclass's matter.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, Protocol

from crdtsync.engine.own_log import begun
from crdtsync.errors import RottenCommit, StorageFailure
from crdtsync.ids import DataKeyId, LogId, MemberHash, PracticeId, ReplicaId
from crdtsync.replication import effects, events
from crdtsync.replication.commit import Commit
from crdtsync.replication.membership import Membership
from crdtsync.replication.messages import Path, Sums
from crdtsync.replication.replica import Replica
from crdtsync.replication.stored import KeyObject, StoredCommit
from crdtsync.testing.disk import Disk, PowerCut, Proof
from crdtsync.testing.ground import Machine, World
from crdtsync.testing.ledger import Account
from crdtsync.testing.mailbox import Mailbox
from crdtsync.testing.performing import PERFORM
from crdtsync.testing.sealer import PlainSealer
from crdtsync.testing.verdict import OracleFailed

_SPINS_MAX: Final = 50


class Keeper(Protocol):
    """What takes a replica's commits and gives them out again: a site's engine, or an archive's vault."""

    def append(self, commits: Sequence[tuple[Commit, bool]], keys: Sequence[KeyObject], now_ms: int) -> None:
        """Keys, then commits, each synced (L1)."""

    def put_keys(self, keys: Sequence[KeyObject]) -> None:
        """Keys alone, synced."""

    def add_members(self, records: Sequence[tuple[MemberHash, bytes]]) -> None:
        """Membership records, synced."""

    def read_feeds(
        self, cursors: Mapping[LogId, int], commits_max: int, bytes_max: int
    ) -> tuple[list[StoredCommit], list[KeyObject]]:
        """Commits in order of arrival, and the keys that they introduce."""

    def read_backlog(self, cursors: Mapping[LogId, int]) -> tuple[int, int]:
        """Number and bytes of what `read_feeds` would give without limits."""

    def read_keys(self, ids: Sequence[DataKeyId]) -> list[KeyObject]:
        """Those of the keys that are here."""

    def read_headers(self, log: LogId, sequences: Sequence[int]) -> list[tuple[bytes, bytes]]:
        """Header and signature of those of the commits that are here."""

    def read_again(self, log: LogId, sequences: Sequence[int]) -> list[Commit]:
        """Those of the commits that are here and sound."""

    def sums(self, paths: Sequence[Path]) -> tuple[int, list[tuple[Path, Sums]]]:
        """How far a view is derived, and what parts of it sum up to."""


class Process(ABC):
    """One replica's machine. `disk` and `proof` outlive its processes; `replica` is of the life at hand.

    `identity` names the keys it has; a copied disk has those of the one that it was copied from. `frozen` tells that
    the process is stopped and will go on where it was; `hostile` that it does not do what a member should.
    """

    def __init__(
        self, world: World, name: str, practice: PracticeId, machine: Machine, *, identity: str | None = None
    ) -> None:
        self.world = world
        self.name = name
        self.practice = practice
        self.machine = machine
        self.up = False
        self.life = 0
        self.removed = False
        self.hostile = False
        self.frozen = False
        self.perform: dict[type, Callable[[Any, Any], bool]] = dict(PERFORM)
        self.identity = identity or name
        self.sealer = PlainSealer(self.identity, world.streams(f"{name}/sealer").randbytes)
        self.disk = Disk()
        self.proof = Proof()
        self.account = Account(name, self.replica_id, self.wall_ms)
        self.mailbox = Mailbox(self)
        self.duplicates = 0
        self.received = 0
        self._monotonic = 0.0
        self._held_back: list[Callable[[], None]] = []
        self._own_disk()

    def _own_disk(self) -> None:
        self.disk.on_append = lambda commits: self.world.ledger.appended(self.account, commits)
        self.disk.fuse = lambda where: self.up and self.world.fuse(self, where)
        self.disk.torn_at = lambda count: self.world.streams(f"{self.name}/torn").randint(0, count)  # type: ignore[method-assign]
        self.disk.refuses = lambda where: self.world.refuses(self, where) if self.up else ""

    @property
    @abstractmethod
    def keeper(self) -> Keeper:
        """What takes and gives commits in the life at hand."""

    def append(self, effect: effects.Store) -> None:
        """Store what came from others."""
        self.keeper.append(effect.commits, effect.keys, self.wall_ms())

    def confirmed(self) -> None:
        """Another site has told that this boot goes on from all that was written here; only sites give numbers."""
        self.step("is confirmed")

    @property
    def replica_id(self) -> ReplicaId:
        """Who this is."""
        return ReplicaId(self.sealer.public.replica)

    @property
    def awake(self) -> bool:
        """Whether a process runs and does something."""
        return self.up and not self.frozen

    @property
    def now(self) -> float:
        """The monotonic time of this machine."""
        return self.world.timeline.now + self._monotonic

    def wall_ms(self) -> int:
        """The wall clock of this machine."""
        return self.machine.wall_ms(self.world.timeline.now)

    def set_clock(self, by_ms: int) -> None:
        """A person, or a time service, sets the clock."""
        self.account.wall_max = max(self.account.wall_max, self.wall_ms())
        self.account.stepped_back_ms += max(0, -by_ms)
        self.machine.skew_ms += by_ms
        self.step(f"has its clock set by {by_ms} ms")

    # -- life and death ----------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Open the disk, as a fresh process does."""
        self.life += 1
        self.up = True
        self.frozen = False
        self._held_back.clear()
        self._monotonic = self.world.streams(f"{self.name}/start").uniform(0.0, 1e6)
        self._jobs: deque[tuple[float, Callable[[], None]]] = deque()
        self._working = False
        self.coming: list[tuple[MemberHash, bytes]] = []
        """Membership records that are to be stored."""
        self._tick_at = float("inf")
        self._spins = 0
        self.step("starts")
        self.world.ledger.restarted(self.account, self.disk)
        try:
            self._open()
        except PowerCut as cut:
            self.stop(str(cut))
            return
        except StorageFailure as error:
            self.fail(str(error))
            return
        except RottenCommit as error:
            self.step(f"cannot be opened: {error}")
            self.up = False
            self.world.unreadable(self)
            self.start()
            return
        self._opened()
        self._plan_tick()
        self.world.network.station_started(self)

    @abstractmethod
    def _open(self) -> None:
        """Read the disk and make the core. Raises PowerCut, and StorageFailure from a disk that refuses."""

    @abstractmethod
    def _opened(self) -> None:
        """What follows on that."""

    def _membership(self) -> Membership:
        membership = Membership(self.sealer.verify)
        for record in self.disk.members():
            membership.add(record)
        return membership

    def _core(
        self, membership: Membership, log: LogId | None, *, line: LogId | None = None, recovering: bool = False
    ) -> Replica:
        frontier = self.disk.frontier()
        return Replica(
            practice=self.practice,
            replica=self.replica_id,
            membership=membership,
            verify=self.sealer.verify,
            frontier=frontier,
            boots=begun(self.disk, frontier),
            log=log,
            line=line,
            recovering=recovering,
        )

    def stop(self, where: str) -> None:
        """The process ends now, behind the step `where`: killed, or with the power of its machine."""
        chance = self.world.streams(f"{self.name}/crash")
        power = chance.random() < 0.6 or where == "torn"
        self.step(f"{'loses power' if power else 'is killed'} after {where}")
        self._end(power=power)

    def fail(self, text: str) -> None:
        """The disk refuses: as the driver does, carry nothing out any more, end the links, and never ask it again."""
        self.step(f"stops, since its disk refuses: {text}")
        self._end(power=False)

    def _end(self, *, power: bool) -> None:
        self.count_links()
        self.up = self.frozen = False
        self._held_back.clear()
        if power:
            self.disk.lose(self.world.streams(f"{self.name}/crash"))
            self.proof.lose()
        else:
            self.disk.survive()
        self._drop_waiting()
        self.mailbox.drop()
        self.world.network.station_stopped(self, silently=power)
        self.world.crashed(self)

    @abstractmethod
    def _drop_waiting(self) -> None:
        """Tell whoever waits for something that it does not happen."""

    def freeze(self) -> None:
        """The process is stopped where it is; whatever reaches it waits."""
        self.frozen = True
        self.step("is frozen")

    def thaw(self) -> None:
        """It goes on with what it knew; then what has waited comes in, in its order."""
        if not self.frozen:
            return
        self.step("goes on")
        self.frozen = False
        held, self._held_back = self._held_back, []
        life = self.life
        for act in held:
            if self.up and self.life == life:
                act()
        if self.up and self.life == life:
            self.world.network.station_started(self)

    def _later(self, act: Callable[[], None]) -> bool:
        if self.frozen:
            self._held_back.append(act)
        return self.frozen

    def adopt(self, image: Disk) -> None:
        """Before the first start: this machine's disk is a copy of another one's."""
        self.disk = image.image()
        self._own_disk()
        self.account.frontier = self.disk.frontier()

    def replace_disk(self, image: Disk, elsewhere: Sequence[Disk]) -> None:
        """While the process is down: an older copy of the disk is put back."""
        self.disk = image.image()
        self._own_disk()
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

    replica: Replica

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
        if self._later(lambda: self._tick(life, due)):
            return
        self._tick_at = float("inf")
        self.handle(events.Tick())

    def publish(self, records: Sequence[tuple[MemberHash, bytes]]) -> bool:
        """Make membership records durable and tell everybody, from within a job. False when the process ended."""
        # What these records build on may still be on its way to the disk: it never comes behind them.
        self.keeper.add_members([*self.coming, *records])
        self.coming = [record for record in self.coming if record not in records]
        self.step(f"publishes {[record[:3].hex() for record, _ in records]}")
        return self.handle(events.MembersStored(records))

    # -- what follows on disk work ---------------------------------------------------------------------------------

    @abstractmethod
    def derive_soon(self) -> None:
        """Commits have come in: derive them, if this is a site."""

    @abstractmethod
    def derive_waiting(self) -> None:
        """Keys or epochs have come in."""

    @abstractmethod
    def members_changed(self) -> None:
        """From within a job: the membership has grown."""

    def keys_of(self, replica: ReplicaId) -> bytes | None:
        """The signing key of a member, as this replica knows it."""
        member = self.replica.membership.state().members.get(replica)
        return None if member is None else member.sig

    # -- links -------------------------------------------------------------------------------------------------------

    def trusts(self, other: ReplicaId) -> bool:
        """Whether the transport would let `other` in."""
        member = self.replica.membership.state().members.get(other)
        return member is not None and member.links

    def linked(self, other: ReplicaId) -> bool:
        """Whether there is a link to `other`."""
        return any(peer.replica == other for peer in self.replica.peers.values())

    def link_up(self, link: int, other: ReplicaId, *, dialled: bool) -> None:
        """A link stands."""
        if self._later(lambda: self.link_up(link, other, dialled=dialled)):
            return
        self.step(f"link {link} up")
        self.handle(events.LinkUp(link, other, dialled))

    def link_down(self, link: int) -> None:
        """A link has ended."""
        if self._later(lambda: self.link_down(link)):
            return
        self.step(f"link {link} down")
        self.count_links(link)
        self.handle(events.LinkDown(link))

    def receive(self, link: int, message: bytes) -> None:
        """A message came in."""
        if not self._later(lambda: self.receive(link, message)):
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
        self.world.timeline.after(seconds * (0.5 + chance), lambda: self._job(life, work))

    def _job(self, life: int, work: Callable[[], None]) -> None:
        if life != self.life or not self.up or self._later(lambda: self._job(life, work)):
            return
        try:
            work()
        except PowerCut as cut:
            self.stop(str(cut))
            return
        except StorageFailure as error:
            self.fail(str(error))
            return
        if life == self.life and self.up:
            self._working = False
            self._next_job()
