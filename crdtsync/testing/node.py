"""A simulated site: a process with host and engine, in which people write (see `process`)."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from typing import Final

from crdtsync import limits
from crdtsync.duties import KINDS
from crdtsync.engine import DeriveResult, DueHold, Engine, WriteGrant, WriteOutcome, WriteRequest
from crdtsync.errors import RefusedError, RottenCommit
from crdtsync.host import Deciding, Host
from crdtsync.ids import PracticeId, replica_of
from crdtsync.ranges import KIND as RANGE
from crdtsync.replication import effects, events
from crdtsync.testing.billing import Billing
from crdtsync.testing.care import care, sign_holds
from crdtsync.testing.disk import ROTTEN_VIEW
from crdtsync.testing.ground import Machine, World
from crdtsync.testing.process import Process

_LOOK_EVERY_S: Final = 600.0
"""A small world has few pages; it is looked over several times an hour."""


class _Pending:
    def __init__(self, request: WriteRequest | Deciding, done: Callable[[WriteOutcome | None], None]) -> None:
        self.request = request
        self.done = done


class Node(Process):
    """One site. `host` is of the life at hand; `care_s` is how long it waits before it cares for the membership."""

    host: Host

    def __init__(
        self, world: World, name: str, practice: PracticeId, machine: Machine, *, identity: str | None = None
    ) -> None:
        super().__init__(world, name, practice, machine, identity=identity)
        self.care_s = machine.sync_s
        self.rebuilds = False
        """A person asks for a new view at the next start."""
        self.billing: Billing | None = None
        """Whoever looks at what this site does about series of numbers; None in worlds without any."""

    @property
    def keeper(self) -> Engine:
        """The engine of the life at hand."""
        return self.host.engine

    # -- life and death ----------------------------------------------------------------------------------------------

    def _open(self) -> None:
        self._pending: deque[_Pending] = deque()
        self._write_queued = False
        self._tending = False
        self._tended = False
        self._deriving = False
        if self.rebuilds:
            self.rebuilds = False
            self.disk.reset_view()
        membership = self._membership()
        self.host = Host(
            self.disk,
            self.sealer,
            self.proof,
            practice=self.practice,
            replica=self.replica_id,
            membership=membership.state(),
            now_ms=self.wall_ms,
        )
        self.holds_due: Sequence[DueHold] = ()
        self._duties_due = True
        self._duties_queued = False
        self._rot = False
        self.replica = self._core(
            membership, self.host.log, line=self.host.engine.line, recovering=self.host.recovering
        )

    def _opened(self) -> None:
        self.world.opened(self)
        self.derive_soon()
        self._plan_look()

    def fail(self, text: str) -> None:
        """The disk refuses. A view that is damaged is derived anew at the next start: a person asks for it."""
        self.rebuilds = text.startswith(ROTTEN_VIEW)
        super().fail(text)

    def _drop_waiting(self) -> None:
        for pending in self._pending:
            pending.done(None)
        self._pending.clear()

    # -- local work --------------------------------------------------------------------------------------------------

    def append(self, effect: effects.Store) -> None:
        """Store what came from others."""
        self.host.append(effect.commits, effect.keys)
        if any(replica_of(commit.header.log) == self.replica_id for commit, _ in effect.commits):
            self.world.lost_own(self)

    def confirmed(self) -> None:
        """Another site has told that this boot goes on from all that was written here."""
        if self.host.numbers.unconfirmed:
            self.queue(self.machine.sync_s, self._confirm)

    def _confirm(self) -> None:
        self.host.numbers.confirm()
        self.tend_if_ranges()
        self.duties_soon()

    def tend_if_ranges(self) -> None:
        """Let the ranges do what they do by themselves, in a practice that has some."""
        if self.host.ranges.exist:
            self.tend_soon()

    def tend_soon(self) -> None:
        """Let the ranges do what they do by themselves."""
        if not self._tending and not self.replica.recovering:
            self._tending = True
            tend = Deciding(lambda host, grant, now_ms: host.ranges.tend(grant, now_ms))
            self.write(tend, lambda outcome: self.world.tended(self))

    def write(self, request: WriteRequest | Deciding, done: Callable[[WriteOutcome | None], None]) -> None:
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
        self._tending = False  # asked for once more at most, when it is in a later group
        try:
            outcomes, view, boot = self.host.write([pending.request for pending in group], self.grant())
        except BaseException as error:
            for pending in group:
                pending.done(None)
            if isinstance(error, RefusedError):
                return
            raise
        for text in self.host.ranges.told():
            self.world.alarmed(self, effects.Alarm("range", text))
        if self.blown("write"):
            for pending in group:
                pending.done(None)
            return
        for pending, outcome in zip(group, outcomes, strict=True):
            self.world.ledger.wrote(self.account, outcome.commits)
            pending.done(outcome)
            if not self.up:
                return
        if boot is not None and not self.handle(events.BootOpened(boot)):
            return
        commits = [commit for outcome in outcomes for commit in outcome.commits]
        if commits:
            self.step(f"writes {[(c.header.sequence, c.hash[:3].hex()) for c in commits]}")
            keys = [key for outcome in outcomes for key in outcome.keys]
            if not self.handle(events.Wrote(commits, keys)):
                return
        self.derived(view)

    def grant(self) -> WriteGrant:
        """Under what this site may write now. Raises RefusedError."""
        membership = self.replica.membership
        epoch = membership.state().sealing_epoch()
        if epoch is None:
            raise RefusedError("every key epoch has a removed reader")
        if self.replica.recovering or self.replica.superseded:
            raise RefusedError("newer commits of this site are fetched first, or another copy of it goes on")
        suspended = self.replica_id in self.replica.suspended
        return WriteGrant(tuple(membership.heads), epoch, membership.state().closed, suspended)

    # -- duties --------------------------------------------------------------------------------------------------------

    def duties_soon(self) -> None:
        """Something has changed by which this site may have to do something about series of numbers."""
        self._duties_due = True
        if self.billing is not None and not self._deriving and not self._duties_queued:
            self._duties_queued = True
            self.queue(self.machine.read_s, self._look_for_duties)

    def _look_for_duties(self) -> None:
        self._duties_queued = self._duties_due = False
        billing = self.billing
        if billing is None:
            return
        try:
            due = billing.duties.due(self.host, self.grant(), self.wall_ms())
        except RefusedError:
            self._duties_due = True
            return
        for duty in due:
            self.write(duty.deciding, partial(billing.did, self, duty))

    def members_changed(self) -> None:
        """Learn the epochs that came, then care for the membership."""
        with suppress(RottenCommit):
            if self.host.learn(self.replica.membership.state()):
                self.derive_waiting()
        self.tend_if_ranges()
        self.duties_soon()
        life = self.life
        self.world.timeline.after(
            self.care_s,
            lambda: self.queue(self.machine.sync_s, lambda: care(self)) if self.up and life == self.life else None,
        )

    # -- looking over what is kept -------------------------------------------------------------------------------------

    def _plan_look(self) -> None:
        life = self.life

        def look() -> None:
            if life == self.life and self.up:
                if not self.frozen:
                    self.queue(self.machine.read_s, self.look_over)
                self._plan_look()

        self.world.timeline.after(_LOOK_EVERY_S, look)

    def look_over(self) -> None:
        """Look over a page of view or log, as a site does that has nothing else to do."""
        self.derived(self.host.engine.inspect(self.wall_ms(), self.keys_of))
        rotten = self.host.engine.upkeep.rotten
        if (rotten or self._rot) and self.up:
            self._rot = bool(rotten)
            self.handle(events.RotFound(rotten))

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

    def derived(self, result: DeriveResult) -> None:
        """The view is so far now."""
        self.world.derived(self)
        for text in result.alarms:
            self.world.alarmed(self, effects.Alarm("held", text))
        if result.holds and not self.holds_due:
            self.queue(self.machine.sync_s, lambda: sign_holds(self))
        self.holds_due = result.holds
        if any(kind == RANGE for kind, _ in result.changed):
            self.tend_soon()
        elif result.done and not self._tended:
            self.tend_if_ranges()
        self._tended = self._tended or result.done
        if result.done:
            self.handle(events.Derived(result.arrival, result.digest, result.waiting, result.held))
        if self.up and (self._duties_due or any(kind in KINDS for kind, _ in result.changed)):
            self.duties_soon()

    def mended(self) -> None:
        """Commits are whole again: what could not be done without them can be done now."""
        self.derive_soon()
        if self.host.unlearnt:
            self.members_changed()

    def derive_waiting(self) -> None:
        """Derive what waited for keys or epochs, from within a job."""
        self.derived(self.host.engine.derive_waiting(self.wall_ms()))
