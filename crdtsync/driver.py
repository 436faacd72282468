"""The driver: carries out what the core wants, with a real clock, a real disk and real links.

Everything that touches the disk is a job in one queue, carried out by the store's thread in order: what was stored is
known as stored before anything later happens, and a local transaction never runs between the log and the view of a
batch. The event loop runs the core and the links, and waits for nothing.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

import anyio
import anyio.lowlevel

from crdtsync import limits, members
from crdtsync.asking import Asks, OnAsk
from crdtsync.duties import KINDS, Duties
from crdtsync.engine import DeriveResult, DueHold, WriteGrant, WriteOutcome, WriteRequest
from crdtsync.errors import (
    Braked,
    CrdtSyncError,
    DamagedFile,
    EnvironmentFailure,
    RefusedError,
    RottenCommit,
    UsageError,
)
from crdtsync.host import Deciding, Host
from crdtsync.ids import CommitId, LogId, MemberHash, ReplicaId
from crdtsync.ranges import KIND as RANGE
from crdtsync.replication import effects, events
from crdtsync.replication.member_codec import decode_record
from crdtsync.replication.member_state import Member
from crdtsync.replication.replica import Replica
from crdtsync.sealing.base import Sealer
from crdtsync.storage.worker import StoreThread

_R = TypeVar("_R")
Job = Callable[[], Awaitable[None]]


class Outlet(Protocol):
    """A link as the driver needs it."""

    def post(self, message: bytes, urgent: bool = False) -> None:
        """Queue a message."""

    def close(self, reason: str, flush: bool = False) -> None:
        """End the link."""


@dataclass(frozen=True, slots=True)
class Notice:
    """Something that people should see: an alarm, a peer that came or went. Never content of records."""

    kind: str
    text: str


class Signal:
    """Wakes all who wait for something to have changed."""

    def __init__(self) -> None:
        self._event: anyio.Event | None = None
        self.count = 0
        """How often it was notified."""

    def notify(self) -> None:
        """Wake everybody who waits now."""
        self.count += 1
        if self._event is not None:
            self._event.set()
            self._event = None

    async def wait(self) -> None:
        """Wait until the next `notify`."""
        if self._event is None:
            self._event = anyio.Event()
        await self._event.wait()

    async def beyond(self, count: int) -> None:
        """Wait until it was notified more than `count` times: nothing is missed between looking and waiting."""
        while self.count <= count:
            await self.wait()


class _Awaited:
    """Something that somebody waits for: `done` when it happened, or when it is known not to."""

    def __init__(self) -> None:
        self.done = anyio.Event()
        self.failure: BaseException | None = None

    def fail(self, error: BaseException) -> None:
        """It does not happen."""
        if not self.done.is_set():
            self.failure = error
            self.done.set()


class _Pending(_Awaited):
    """A local transaction on its way."""

    def __init__(self, request: WriteRequest | Deciding, alarm: str = "") -> None:
        super().__init__()
        self.request = request
        self.alarm = alarm
        """What people are told once it is written."""
        self.outcome: WriteOutcome | None = None


class Driver:
    """Runs one replica. `run` must be running for anything to happen.

    `view_arrival` is how far the view is derived.
    """

    def __init__(self, replica: Replica, thread: StoreThread[Host]) -> None:
        self.replica = replica
        self.thread = thread
        self.view_arrival = 0
        self.changed = Signal()
        self.heard = Signal()
        self.links_changed = Signal()
        self.members_changed = Signal()
        self.last_heard: dict[ReplicaId, float] = {}
        self.last_told: dict[ReplicaId, float] = {}
        """When a replica was last heard on a link over which it had told all that it has."""
        self.alarms: deque[Notice] = deque(maxlen=limits.alarms_kept_max)
        self.on_notice: Callable[[Notice], None] | None = None
        self.on_ask: OnAsk | None = None
        """Answers what other replicas ask, as `(asker, question) -> answer`; an error of this library that it raises is
        told to the asker. It is cancelled when nobody waits any more, and may be asked the same thing again under
        another name."""
        self.asks = Asks(self)
        self.failure: BaseException | None = None
        self._links: dict[int, Outlet] = {}
        self._jobs: deque[Job] = deque()
        self._work = Signal()
        self._pending: deque[_Pending] = deque()
        self._awaited: set[_Awaited] = set()
        self._write_queued = False
        self._tending: _Pending | None = None
        self._tended = False
        self._deriving = False
        self._rot = False
        self.stuck = ""
        """Why the view cannot go on although the log does; empty as long as it can."""
        self.behind: tuple[str, ...] | None = None
        """The kinds of which rows are derived anew, since the program declares more than those who wrote them knew;
        None before that was asked."""
        self._rows_queued = False
        self._rows_wanted: set[str] = set()
        self._holds: Sequence[DueHold] = ()
        self.duties = Duties()
        """What this site does about series of numbers."""
        self._duties_due = True
        self._duties_queued = False
        self._earlier = Signal()
        self._sleeping_until = 0.0
        self._sealer: Sealer | None = None

    # -- the loop ----------------------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Carry out jobs and ticks until cancelled.

        A job that was begun is ended; whoever waits for one that was not gets an error. A disk that refuses ends it,
        and is never asked again: reading goes on, all else raises what the disk said.
        """
        try:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(self._tick)
                tasks.start_soon(self._look_over)
                tasks.start_soon(self.asks.run)
                self.derive_soon()
                await self._work_off()
                tasks.cancel_scope.cancel()
        finally:
            self._end(UsageError("this site is closed; open it again"), "the site is closed")

    async def _work_off(self) -> None:
        while True:
            while self._jobs:
                job = self._jobs.popleft()
                try:
                    with anyio.CancelScope(shield=True):
                        await job()
                except CrdtSyncError as error:
                    self._end(error, "this site's disk refuses")
                    self._alarm(effects.Alarm("storage", str(error)))
                    return
                await anyio.lowlevel.checkpoint_if_cancelled()
            await self._work.wait()

    def _end(self, error: BaseException, reason: str) -> None:
        """Nothing more is carried out: tell all who wait, once."""
        if self.failure is not None:
            return
        self.failure = error
        self._jobs.clear()
        self._pending.clear()
        for awaited in self._awaited:
            awaited.fail(error)
        self.asks.fail(error)
        for link in list(self._links.values()):
            link.close(reason)
        for signal in (self.changed, self.heard, self.links_changed, self.members_changed):
            signal.notify()

    def check(self) -> None:
        """Raise why nothing more is carried out, if that is so."""
        if self.failure is not None:
            raise self.failure.with_traceback(None)

    async def _happened(self, awaited: _Awaited) -> None:
        """Wait for what was queued, also when cancelled: cancellation is answered when it is known what happened."""
        self._awaited.add(awaited)
        try:
            with anyio.CancelScope(shield=True):
                await awaited.done.wait()
        finally:
            self._awaited.discard(awaited)
        if awaited.failure is not None:
            raise awaited.failure.with_traceback(None)

    async def _tick(self) -> None:
        while True:
            self._sleeping_until = self.replica.wakeup
            with anyio.move_on_after(max(0.0, self._sleeping_until - time.monotonic())):
                await self._earlier.wait()
                continue
            self.handle(events.Tick())

    async def _look_over(self) -> None:
        """Look over view and log, a page at a time, whenever nothing else has been asked of the disk for a moment."""
        while True:
            seen = self._work.count
            with anyio.move_on_after(limits.inspect_idle_s):
                await self._work.beyond(seen)
                continue
            self._queue(self._inspect)
            await anyio.sleep(limits.inspect_interval_s)

    async def _inspect(self) -> None:
        members = self.replica.membership.state().members

        def look(host: Host) -> tuple[DeriveResult, Sequence[CommitId]]:
            return host.engine.inspect(host.now_ms(), _keys_of(members)), host.engine.upkeep.rotten

        result, rotten = await self.thread.run(look)
        self._derived(result)
        if rotten or self._rot:
            self._rot = bool(rotten)
            self.handle(events.RotFound(rotten))

    def _queue(self, job: Job) -> None:
        if self.failure is not None:
            return
        self._jobs.append(job)
        self._work.notify()

    def handle(self, event: events.Event) -> None:
        """Let the core take in an event, and carry out what it wants."""
        for effect in self.replica.handle(time.monotonic(), event):
            _PERFORM[type(effect)](self, effect)
        if self.replica.wakeup < self._sleeping_until:
            self._earlier.notify()

    # -- links -------------------------------------------------------------------------------------------------------

    def link_up(self, number: int, replica: ReplicaId, link: Outlet, *, dialled: bool) -> None:
        """A link stands. `link_down` must follow when it ends."""
        if self.failure is not None:
            link.close("this site carries nothing out any more")
            return
        self._links[number] = link
        self.handle(events.LinkUp(number, replica, dialled))
        self.links_changed.notify()
        self.heard.notify()

    def link_down(self, number: int) -> None:
        """The link has ended."""
        self._links.pop(number, None)
        self.handle(events.LinkDown(number))
        self.links_changed.notify()
        self.heard.notify()

    def received(self, number: int, message: bytes) -> None:
        """A message came in."""
        peer = self.replica.peers.get(number)
        now = time.time()
        if peer is not None:
            self.last_heard[peer.replica] = now
        self.handle(events.Received(number, message))
        if peer is not None and peer.live:
            self.last_told[peer.replica] = now
        self.heard.notify()

    def linked(self, replica: ReplicaId) -> bool:
        """Whether there is a link to this replica."""
        return any(peer.replica == replica for peer in self.replica.peers.values())

    def holders(self, commit: CommitId) -> int:
        """How many replicas that belong, this one included, are known to have `commit` on disk."""
        here = self.replica.stored.sequence(commit.log) >= commit.sequence
        members = self.replica.membership.state().members.values()
        others = (m.replica for m in members if m.active and m.replica != self.replica.id)
        return here + sum(self.replica.holding(other).sequence(commit.log) >= commit.sequence for other in others)

    # -- local work --------------------------------------------------------------------------------------------------

    async def write(self, request: WriteRequest | Deciding) -> WriteOutcome:
        """Make `request` durable and visible here. Transactions that wait together share one sync.

        Once this was called the transaction happens, also when the caller is cancelled: cancellation is answered when
        the outcome is known. Raises RefusedError while this replica is fetching its own newer log (L4), and what the
        disk says.
        """
        self.check()
        self._check_own_line()
        pending = _Pending(request)
        self._write_soon(pending)
        await self._happened(pending)
        assert pending.outcome is not None
        return pending.outcome

    def _write_soon(self, pending: _Pending) -> None:
        self._pending.append(pending)
        if not self._write_queued:
            self._write_queued = True
            self._queue(self._write_group)

    def _tend_soon(self) -> None:
        """Let the ranges do what they do by themselves. Nobody waits for it; what is refused now is tried again when
        something has changed."""
        if self._tending is None and self.failure is None:
            self._tending = _Pending(Deciding(lambda host, grant, now_ms: host.ranges.tend(grant, now_ms)))
            self._write_soon(self._tending)

    async def _tend_first(self) -> None:
        if await self.thread.run(lambda host: host.ranges.exist):
            self._tend_soon()

    async def _write_group(self) -> None:
        self._write_queued = False
        group = [self._pending.popleft() for _ in range(min(len(self._pending), limits.group_commits_max))]
        if self._pending:
            self._write_queued = True
            self._queue(self._write_group)
        requests = [pending.request for pending in group]
        if self._tending in group:
            self._tending = None
        try:
            grant = self.grant()
            (outcomes, view, boot), told = await self.thread.run(
                lambda host: (host.write(requests, grant), host.ranges.told())
            )
        except BaseException as error:
            for pending in group:
                pending.fail(error)
            if isinstance(error, RefusedError) and not isinstance(error, DamagedFile):
                return
            raise
        for pending, outcome in zip(group, outcomes, strict=True):
            pending.outcome = outcome
            pending.done.set()
            if isinstance(outcome.error, Braked) and outcome.error.new:
                self._alarm(effects.Alarm("proposal", str(outcome.error)))
            if pending.alarm and outcome.commits:
                self._alarm(effects.Alarm("duty", pending.alarm))
        for text in told:
            self._alarm(effects.Alarm("range", text))
        if boot is not None:
            self.handle(events.BootOpened(boot))
        commits = [commit for outcome in outcomes for commit in outcome.commits]
        if commits:
            keys = [key for outcome in outcomes for key in outcome.keys]
            self.handle(events.Wrote(commits, keys))
        self._derived(view)

    def _check_own_line(self) -> None:
        """Raise where what is written now would part this replica from what it wrote already (L4)."""
        if self.replica.recovering:
            raise RefusedError(
                "other sites hold newer commits of this site, which are fetched first: try again in a moment; where "
                "nobody can send them, `crdtsync recover DIR --alone` ends the waiting"
            )
        if self.replica.superseded:
            raise RefusedError(
                "another copy of this site goes on, as an admin has signed; here records can be read, not written: "
                "stop this copy, and join with it as a new site"
            )

    def grant(self) -> WriteGrant:
        """Under what this replica may write now. Raises RefusedError where it may not."""
        self._check_own_line()
        membership = self.replica.membership
        state = membership.state()
        if state.active(self.replica.id) is None:
            own = state.members.get(self.replica.id)
            did = "removed" if own is None or own.closed_at is None else "closed"
            raise RefusedError(f"the practice has {did} this site; its records can be read here, not written")
        epoch = membership.state().sealing_epoch()
        if epoch is None:
            raise RefusedError("every key epoch has a removed reader; an admin site must open the next one first")
        suspended = self.replica.id in self.replica.suspended
        return WriteGrant(tuple(membership.heads), epoch, membership.state().closed, suspended)

    # -- duties ------------------------------------------------------------------------------------------------------

    def _duties_soon(self) -> None:
        """Something has changed by which this site may have to do something about series of numbers: once all that is
        here is derived, it is looked what, and that is written like every local transaction."""
        self._duties_due = True
        if self._at_rest and not self._duties_queued:
            self._duties_queued = True
            self._queue(self._look_for_duties)

    async def _look_for_duties(self) -> None:
        self._duties_queued = self._duties_due = False
        try:
            grant = self.grant()
            due = await self.thread.run(lambda host: self.duties.due(host, grant, host.now_ms()))
        except RefusedError:
            self._duties_due = True  # looked at again with whatever is derived next
            return
        for duty in due:
            self._write_soon(_Pending(duty.deciding, duty.alarm))

    async def publish(self, records: Sequence[tuple[MemberHash, bytes]]) -> None:
        """Make membership records of our own durable, and tell everybody. Raises what the disk says."""
        self.check()
        published = _Awaited()

        async def job() -> None:
            await self.thread.run(lambda host: host.engine.add_members(records))
            self.handle(events.MembersStored(records))
            published.done.set()

        self._queue(job)
        await self._happened(published)

    async def in_order(self, work: Callable[[Host], _R]) -> _R:
        """Run `work` in the store's thread, behind all jobs that are queued now."""
        box: list[_R] = []
        worked = _Awaited()

        async def job() -> None:
            try:
                box.append(await self.thread.run(work))
                worked.done.set()
            except Exception as error:
                worked.fail(error)
                if isinstance(error, EnvironmentFailure):
                    raise

        self.check()
        self._queue(job)
        await self._happened(worked)
        return box[0]

    # -- questions ---------------------------------------------------------------------------------------------------

    async def ask(self, target: ReplicaId, body: bytes, timeout: float) -> bytes:
        """Ask another replica, over whatever path of the mesh leads there, and wait for its answer; `target` may be
        this one. `body` is for its eyes only, at most `limits.ask_plain_bytes_max` bytes, `timeout` seconds, at most
        those of `limits.ask_life_ms_max`.

        Cancelling withdraws the question. Raises AuthorityUnreachable when no answer came in time: the question may
        have been heard all the same. Raises RefusedError with what the target says where it refuses, NotFound for no
        member that could answer, BadValue, and what the disk said where nothing is carried out any more.
        """
        self.check()
        return await self.asks.ask(target, body, timeout)

    async def sealer(self) -> Sealer:
        """This replica's keys, for use in this thread."""
        if self._sealer is None:
            self._sealer = await self.thread.run(lambda host: host.sealer)
        return self._sealer

    def alarm(self, kind: str, text: str) -> None:
        """Tell people: one word, and a sentence without content of records."""
        self._alarm(effects.Alarm(kind, text))

    def _asked(self, effect: effects.Asked) -> None:
        self.asks.asked(effect)

    def _withdrawn(self, effect: effects.Withdrawn) -> None:
        self.asks.withdrawn(effect)

    def _answered(self, effect: effects.Answered) -> None:
        self.asks.answered(effect)

    # -- deriving ----------------------------------------------------------------------------------------------------

    def derive_soon(self) -> None:
        """Derive what the view lacks, in batches, between other jobs."""
        if not self._deriving:
            self._deriving = True
            self._queue(self._derive)

    async def _derive(self) -> None:
        self._deriving = False
        result = await self.thread.run(lambda host: host.engine.derive(host.now_ms()))
        self._derived(result)

    def _rows_soon(self, behind: tuple[str, ...]) -> None:
        """Derive rows anew, a few at a time: each slice queues up behind all other jobs."""
        self.behind = behind
        if behind and not self._rows_queued:
            self._rows_queued = True
            self._queue(self._derive_rows)

    async def _derive_rows(self) -> None:
        self._rows_queued = False
        wanted = frozenset(self._rows_wanted)
        with suppress(RottenCommit):  # once it is mended, deriving goes on and comes back to this
            self._rows_soon(await self.thread.run(lambda host: host.engine.derive_rows(host.now_ms(), wanted)))
            self._rows_wanted.difference_update(wanted)
        self.changed.notify()

    async def rows_of(self, kinds: Collection[str]) -> None:
        """Wait until the rows of these kinds hold what the program declares; theirs come first from now on.

        Raises what the disk said where it has refused.
        """
        self._rows_wanted.update(kinds)
        while self.behind is None or any(kind in self.behind for kind in kinds):
            self.check()
            await self.changed.wait()

    async def _derive_waiting(self) -> None:
        self._derived(await self.thread.run(lambda host: host.engine.derive_waiting(host.now_ms())))

    def _derived(self, result: DeriveResult) -> None:
        self.view_arrival = result.arrival
        self.stuck = result.stuck
        if not result.done:
            self.derive_soon()
        for text in result.alarms:
            self._alarm(effects.Alarm("held", text))
        if result.holds and not self._holds:
            self._queue(self._sign_holds)
        self._holds = result.holds
        self._rows_soon(result.behind)
        if any(kind == RANGE for kind, _ in result.changed):
            self._tend_soon()
        elif result.done and not self._tended:
            self._queue(self._tend_first)
        self._tended = self._tended or result.done
        if result.done:
            self.handle(events.Derived(result.arrival, result.digest, result.waiting, result.held))
        if self._duties_due or any(kind in KINDS for kind, _ in result.changed):
            self._duties_soon()
        self.changed.notify()
        self.heard.notify()

    async def _sign_holds(self) -> None:
        """Sign what is held here and by nobody yet, also while no other site is reached: so that all leave it out."""
        membership = self.replica.membership
        state = membership.state()
        due = [hold for hold in self._holds if hold.hash not in state.holds.get(hold.commit, ())]
        room = limits.membership_records_max - len(membership)  # held here it is all the same, and an alarm says so
        member, now = state.active(self.replica.id), due[: max(0, min(limits.holds_signed_max, room))]
        self._holds = ()
        if member is None or not member.reader or not now:
            return
        place = membership.place(self.replica.id)

        def sign(host: Host) -> list[tuple[MemberHash, bytes]]:
            records = [(decode_record(data).hash, data) for data in members.holding(host, place, now)]
            host.engine.add_members(records)
            return records

        self.handle(events.MembersStored(await self.thread.run(sign)))
        if len(now) < len(due):
            self._holds = due
            self._queue(self._sign_holds)

    # -- effects -----------------------------------------------------------------------------------------------------

    def _send(self, effect: effects.Send) -> None:
        link = self._links.get(effect.link)
        if link is not None:
            link.post(effect.message, effect.urgent)

    def _close(self, effect: effects.Close) -> None:
        link = self._links.get(effect.link)
        if link is not None:
            link.close(effect.reason)

    def _store(self, effect: effects.Store) -> None:
        async def job() -> None:
            if len(effect.commits) <= limits.live_commits_max and self._at_rest:
                view = await self.thread.run(lambda host: host.receive(effect.commits, effect.keys))
                self.handle(events.Stored())
                self._derived(view)
                return
            await self.thread.run(lambda host: host.append(effect.commits, effect.keys))
            self.derive_soon()
            self.handle(events.Stored())

        self._queue(job)

    @property
    def _at_rest(self) -> bool:
        """Whether the view follows from all that is stored, so that deriving a little more takes no time."""
        return not self._deriving and self.view_arrival == self.replica.arrived

    def _store_members(self, effect: effects.StoreMembers) -> None:
        async def job() -> None:
            await self.thread.run(lambda host: host.engine.add_members(effect.records))
            self.handle(events.MembersStored(effect.records))

        self._queue(job)

    def _store_keys(self, effect: effects.StoreKeys) -> None:
        async def job() -> None:
            await self.thread.run(lambda host: host.engine.put_keys(effect.keys))
            self.handle(events.KeysStored(effect.keys))
            self._queue(self._derive_waiting)

        self._queue(job)

    def _read_feeds(self, effect: effects.ReadFeeds) -> None:
        async def job() -> None:
            commits, keys = await self.thread.run(
                lambda host: host.engine.read_feeds(effect.cursors, effect.commits_max, effect.bytes_max)
            )
            self.handle(events.FeedsRead(effect.link, commits, keys))

        self._queue(job)

    def _read_backlog(self, effect: effects.ReadBacklog) -> None:
        async def job() -> None:
            commits, size = await self.thread.run(lambda host: host.engine.read_backlog(effect.cursors))
            self.handle(events.BacklogRead(effect.link, commits, size))

        self._queue(job)

    def _read_keys(self, effect: effects.ReadKeys) -> None:
        async def job() -> None:
            keys = await self.thread.run(lambda host: host.engine.read_keys(effect.ids))
            self.handle(events.KeysRead(effect.link, keys))

        self._queue(job)

    def _read_headers(self, effect: effects.ReadHeaders) -> None:
        async def job() -> None:
            signed = await self.thread.run(lambda host: host.engine.read_headers(effect.log, effect.sequences))
            self.handle(events.HeadersRead(effect.link, effect.log, signed, effect.asked))

        self._queue(job)

    def _read_sums(self, effect: effects.ReadSums) -> None:
        async def job() -> None:
            arrival, sums = await self.thread.run(lambda host: host.engine.sums(effect.paths))
            self.handle(events.SumsRead(effect.link, arrival, sums, effect.asked))

        self._queue(job)

    def _read_again(self, effect: effects.ReadAgain) -> None:
        async def job() -> None:
            commits = await self.thread.run(lambda host: host.engine.read_again(effect.log, effect.sequences))
            self.handle(events.AgainRead(effect.link, commits))

        self._queue(job)

    def _mend(self, effect: effects.Mend) -> None:
        members = self.replica.membership.state().members

        async def job() -> None:
            def mend(host: Host) -> tuple[list[CommitId], bool]:
                return host.engine.upkeep.mend(effect.commits, _keys_of(members)), host.unlearnt

            mended, unlearnt = await self.thread.run(mend)
            if mended:
                self.handle(events.Mended(mended))
                self.derive_soon()
                if unlearnt:
                    self._members_changed(effects.MembersChanged())

        self._queue(job)

    def _repair_records(self, effect: effects.RepairRecords) -> None:
        async def job() -> None:
            with suppress(RottenCommit):
                self._derived(await self.thread.run(lambda host: host.engine.repair(effect.records, host.now_ms())))

        self._queue(job)

    def _members_changed(self, effect: effects.MembersChanged) -> None:
        del effect
        state = self.replica.membership.state()

        async def job() -> None:
            with suppress(RottenCommit):  # what is to be left out cannot be read now: once it is whole again
                if await self.thread.run(lambda host: host.learn(state)):
                    await self._derive_waiting()
            await self._tend_first()
            self._duties_soon()
            self.members_changed.notify()
            self.heard.notify()

        self._queue(job)

    def _new_boot(self, effect: effects.NewBoot) -> None:
        del effect

        async def job() -> None:
            log: LogId = await self.thread.run(lambda host: host.new_boot())
            self.handle(events.BootOpened(log))

        self._queue(job)

    def _note_recovering(self, effect: effects.NoteRecovering) -> None:
        async def job() -> None:
            await self.thread.run(lambda host: host.note_recovering(effect.recovering))
            await self._tend_first()
            self._duties_soon()
            self.heard.notify()

        self._queue(job)

    def _confirmed(self, effect: effects.Confirmed) -> None:
        del effect

        async def job() -> None:
            await self.thread.run(lambda host: host.numbers.confirm())
            await self._tend_first()
            self._duties_soon()
            self.heard.notify()

        self._queue(job)

    def _rederive(self, effect: effects.Rederive) -> None:
        del effect

        async def job() -> None:
            with suppress(RottenCommit):  # it is asked for again, and then everything is looked over
                await self.thread.run(lambda host: host.engine.rebuild(host.now_ms(), None))
            self.derive_soon()

        self._queue(job)

    def _alarm(self, effect: effects.Alarm) -> None:
        notice = Notice(effect.kind, effect.text)
        self.alarms.append(notice)
        if self.on_notice is not None:
            self.on_notice(notice)


def _keys_of(members: Mapping[ReplicaId, Member]) -> Callable[[ReplicaId], bytes | None]:
    return lambda replica: members[replica].sig if replica in members else None


_PERFORM: Mapping[type, Callable[[Driver, Any], None]] = {
    effects.Send: Driver._send,
    effects.Close: Driver._close,
    effects.Store: Driver._store,
    effects.StoreMembers: Driver._store_members,
    effects.StoreKeys: Driver._store_keys,
    effects.ReadFeeds: Driver._read_feeds,
    effects.ReadBacklog: Driver._read_backlog,
    effects.ReadKeys: Driver._read_keys,
    effects.ReadHeaders: Driver._read_headers,
    effects.ReadSums: Driver._read_sums,
    effects.ReadAgain: Driver._read_again,
    effects.Mend: Driver._mend,
    effects.RepairRecords: Driver._repair_records,
    effects.MembersChanged: Driver._members_changed,
    effects.NewBoot: Driver._new_boot,
    effects.NoteRecovering: Driver._note_recovering,
    effects.Confirmed: Driver._confirmed,
    effects.Rederive: Driver._rederive,
    effects.Asked: Driver._asked,
    effects.Withdrawn: Driver._withdrawn,
    effects.Answered: Driver._answered,
    effects.Alarm: Driver._alarm,
}
