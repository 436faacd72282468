"""What lives in the store's thread: store, keys, engine and the proof of continuity of one replica (L1, L4)."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace

from crdtsync.brake import Brake
from crdtsync.documents import Content
from crdtsync.engine import DeriveResult, Engine, WriteGrant, WriteOutcome, WriteRequest
from crdtsync.engine.watch import Watch
from crdtsync.errors import CrdtSyncError, EnvironmentFailure, RefusedError, RottenCommit, SealBroken
from crdtsync.frozen import Frozen
from crdtsync.ids import LogId, PracticeId, RecordId, ReplicaId, base32, log_from_text, log_text, replica_of
from crdtsync.kept import Kept
from crdtsync.numbers import Numbers
from crdtsync.ranges import NUMBERED, Ranges
from crdtsync.replication.commit import Commit
from crdtsync.replication.membership import State
from crdtsync.replication.stored import KeyObject
from crdtsync.sealing.base import Sealer
from crdtsync.sealing.keyring import Keyring
from crdtsync.storage.base import Store
from crdtsync.storage.continuity import Continuity

_META_LOG = "boot.log"
_META_NONCE = "boot.nonce"
META_RECOVERING = "boot.recovering"
_NONCE_BYTES = 16


@dataclass(frozen=True, slots=True)
class Deciding:
    """A local transaction that is decided when it is written: nothing is written between what `make` reads and this.

    `make` gets the host, what may be written now, and the wall time in milliseconds; all that the log holds is derived.
    None writes nothing. A CrdtSyncError that it raises is the outcome's, and nothing is written.
    """

    make: Callable[[Host, WriteGrant, int], WriteRequest | None]


class Host:
    """Made in the store's thread and used only there. `now_ms` reads the wall clock.

    `secret` (32 bytes, this replica's own) seals what it keeps for itself; without it there is no brake.
    """

    def __init__(
        self,
        store: Store,
        sealer: Sealer,
        continuity: Continuity,
        *,
        practice: PracticeId,
        replica: ReplicaId,
        membership: State,
        now_ms: Callable[[], int],
        watch: Watch | None = None,
        secret: bytes | None = None,
    ) -> None:
        self.store = store
        self.sealer = sealer
        self.practice = practice
        self.replica = replica
        self.now_ms = now_ms
        self.keyring = Keyring(sealer)
        self.learn_epochs(membership)
        self._membership = membership
        self.engine = Engine(
            store, sealer, self.keyring, practice=practice, replica=replica, name_of=self._name_of, watch=watch
        )
        self.unlearnt = False
        """Whether the log has a hole where something is to be left out: `learn` once it is whole again."""
        with suppress(RottenCommit):
            self.honour(membership)
        self._continuity = continuity
        self.continued = self._open_log()
        self.numbers = Numbers(store, replica, proved=self.continued)
        self.ranges = Ranges(store, sealer, self.numbers, replica, look=self._look, state=lambda: self._membership)
        self._note_left_out(membership)
        self.kept = None if secret is None else Kept(store, sealer, secret, replica)
        self.brake = None if self.kept is None else Brake(self.kept, sealer, self._look)
        self.frozen = Frozen(self._look)

    def _open_log(self) -> bool:
        """Continue the last log if this is provably its only continuation, else open a fresh boot (L4)."""
        text = self.store.meta(_META_LOG)
        nonce = self.store.meta(_META_NONCE)
        log = None if text is None else _log_in(text)
        if log is not None and nonce is not None:
            head = self.store.frontier().get(log)
            sequence = 0 if head is None else head.sequence
            if log not in self.engine.frozen and self._continuity.proves(log_text(log), nonce, sequence):
                with suppress(RottenCommit):  # a log whose last commit is not there cannot be gone on with
                    self.engine.continue_log(log)
                    self._renew(log)
                    return True
        self.new_boot()
        return False

    def new_boot(self) -> LogId:
        """Open a log that nobody has written before."""
        log = self.engine.open_boot()
        self._renew(log)
        return log

    def _renew(self, log: LogId) -> None:
        """A new nonce at every opening: of two folders that were one, only the one opened last can prove it."""
        nonce = self.sealer.random(_NONCE_BYTES)
        self.store.set_meta({_META_LOG: log_text(log).encode(), _META_NONCE: nonce})
        self._continuity.renew(log_text(log), nonce, self.engine.last_sequence)

    @property
    def recovering(self) -> bool:
        """Whether this replica was waiting for newer commits of its own when it was last noted (L4)."""
        return self.store.meta(META_RECOVERING) is not None

    def note_recovering(self, recovering: bool) -> None:
        """Keep the flag on disk, for the next process."""
        if recovering != self.recovering:
            self.store.set_meta({META_RECOVERING: b"1" if recovering else None})

    def close(self) -> None:
        """Give files back."""
        self._continuity.close()
        self.engine.watch.close()
        self.store.close()

    @property
    def membership(self) -> State:
        """What the membership says, as this replica was told last."""
        return self._membership

    @property
    def name(self) -> str:
        """How people call this replica."""
        return self._name_of(self.replica) or base32(self.replica)

    @property
    def log(self) -> LogId:
        """The log that is written now."""
        log = self.engine.log
        assert log is not None, "a host opens a log when it is made"
        return log

    def write(
        self, requests: Sequence[WriteRequest | Deciding], grant: WriteGrant
    ) -> tuple[list[WriteOutcome], DeriveResult, LogId | None]:
        """Write local transactions, tell how far the view is now, and the boot that had to be opened for it, if any.

        A log of which changes are held or wait for keys cannot go on (L6): it is followed by a fresh one. What the
        brake holds is a proposal when this returns, and no commit. One that is decided here sees what was asked for
        before it; what is refused once something was written is the outcome of those that were to follow.
        """
        now = self.now_ms()
        every: list[WriteOutcome] = []
        boot: LogId | None = None
        for group, decided in _together(requests, lambda request: self._numbers_matter(request, now)):
            try:
                outcomes, opened = self._write(group, grant, now, decided=decided)
            except RefusedError as error:
                if not any(outcome.commits for outcome in every):
                    raise
                outcomes, opened = [WriteOutcome(error=error) for _ in group], None
            every += outcomes
            boot = opened or boot
        return every, self.engine.derive(now), boot

    def _write(
        self, requests: Sequence[WriteRequest | Deciding], grant: WriteGrant, now: int, *, decided: bool
    ) -> tuple[list[WriteOutcome], LogId | None]:
        boot = None
        made: Sequence[WriteRequest | WriteOutcome]
        if decided:
            made = [self._made(each, grant, now) for each in requests]
        else:
            made = [each for each in requests if isinstance(each, WriteRequest)]
        judged = self._judged([self._allowed(each, of, now) for each, of in zip(made, requests, strict=True)], now)
        if decided:
            judged = [self._numbered(asked, each, grant) for asked, each in zip(requests, judged, strict=True)]
        passed = [each for each in judged if isinstance(each, WriteRequest)]
        try:
            outcomes = self.engine.write(passed, grant, now)
        except RefusedError:
            if not self.engine.needs_boot:
                raise
            boot = self.new_boot()
            outcomes = self.engine.write(passed, grant, now)
        self._continuity.advance(self.engine.last_sequence)
        written = iter(outcomes)
        return [next(written) if isinstance(each, WriteRequest) else each for each in judged], boot

    def _made(self, request: WriteRequest | Deciding, grant: WriteGrant, now: int) -> WriteRequest | WriteOutcome:
        self.engine.derive_all(now)
        try:
            if isinstance(request, WriteRequest):
                self.ranges.check(request)
                return request
            return request.make(self, grant, now) or WriteOutcome()
        except EnvironmentFailure:
            raise
        except CrdtSyncError as error:
            return WriteOutcome(error=error)

    def _numbers_matter(self, request: WriteRequest, now: int) -> bool:
        """Whether patient numbers have to do with a transaction, by all that the log holds."""
        if any(each.kind == NUMBERED for each in request.records) and not self.ranges.exist:
            self.engine.derive_all(now)
        return self.ranges.concerns(request)

    def _numbered(
        self, asked: WriteRequest | Deciding, judged: WriteRequest | WriteOutcome, grant: WriteGrant
    ) -> WriteRequest | WriteOutcome:
        """What passed the brake, with patient numbers: what it holds has none, and gets them when it is confirmed. What
        was decided when it was written is taken as it is."""
        if isinstance(asked, Deciding) or isinstance(judged, WriteOutcome):
            return judged
        try:
            return self.ranges.numbered(judged, grant)
        except EnvironmentFailure:
            raise
        except CrdtSyncError as error:
            return WriteOutcome(error=error)
    def _allowed(
        self, made: WriteRequest | WriteOutcome, asked: WriteRequest | Deciding, now: int
    ) -> WriteRequest | WriteOutcome:
        """What people may not set by hand is refused; what is decided here comes from whoever may."""
        if isinstance(made, WriteOutcome) or isinstance(asked, Deciding):
            return made
        return self.frozen.judge(made, now)

    def _judged(self, requests: Sequence[WriteRequest | WriteOutcome], now: int) -> list[WriteRequest | WriteOutcome]:
        """What is to be written, and in its place what became of the rest: held by the brake, or written before."""
        judged: list[WriteRequest | WriteOutcome] = []
        tickets: set[str] = set()
        for request in requests:
            if isinstance(request, WriteOutcome):
                judged.append(request)
                continue
            if request.ticket:
                if request.ticket in tickets or self.store.meta(request.ticket) is None:
                    judged.append(WriteOutcome())
                    continue
                tickets.add(request.ticket)
                request = replace(request, notes={**request.notes, request.ticket: None})
            judged.append(request if self.brake is None else self.brake.judge(request, now))
        return judged

    def _look(self, kind: str, record: RecordId) -> Content | None:
        state = self.engine.record(kind, record)
        return None if state is None else state.content

    def append(self, commits: Sequence[tuple[Commit, bool]], keys: Sequence[KeyObject]) -> None:
        """Store commits of others, synced (L1)."""
        self.numbers.arrived(commit for commit, _ in commits)
        self.engine.append(commits, keys, self.now_ms())

    def receive(self, commits: Sequence[tuple[Commit, bool]], keys: Sequence[KeyObject]) -> DeriveResult:
        """Store a few commits of others and derive them at once."""
        self.append(commits, keys)
        return self.engine.derive(self.now_ms())

    def learn(self, state: State) -> bool:
        """Take in what the membership says now: epoch keys, and which commits are held. True when the view changed by
        it, or may change."""
        learnt = self.learn_epochs(state)
        self._note_left_out(state)
        return self.honour(state) or learnt

    def _note_left_out(self, state: State) -> None:
        ended = sum(replica_of(log) == self.replica for log in state.frozen)
        self.numbers.left_out(ended, sum(replica_of(commit.log) == self.replica for commit in state.holds))

    def honour(self, state: State) -> bool:
        """Leave out what the membership holds (L6). True when there was something new.

        Raises RottenCommit, and sets `unlearnt`, when what is to be left out cannot be read.
        """
        self._membership = state
        self.unlearnt = True
        found = self.engine.honour(state.holds, state.frozen, state.held_by)
        self.unlearnt = False
        return found

    def _name_of(self, replica: ReplicaId) -> str | None:
        member = self._membership.members.get(replica)
        return None if member is None else member.name

    def learn_epochs(self, state: State) -> bool:
        """Open every epoch key that the membership holds for us. True when one was new.

        One that does not open is left: another member may share it again.
        """
        before = len(self.keyring.epochs())
        for delivery in state.deliveries(self.replica):
            if not self.keyring.has(delivery.epoch):
                with suppress(SealBroken):
                    self.keyring.learn_sealed(delivery.epoch, delivery.info, delivery.sealed)
        learn_wrapped(self.keyring, state)
        return len(self.keyring.epochs()) > before


def _together(
    requests: Sequence[WriteRequest | Deciding], alone: Callable[[WriteRequest], bool]
) -> Iterator[tuple[Sequence[WriteRequest | Deciding], bool]]:
    """Runs of requests that are written at once; one that is decided when it is written stands alone, behind what came
    before it, and so does a transaction that is to stand `alone`: these with True."""
    run: list[WriteRequest | Deciding] = []
    for request in requests:
        if isinstance(request, Deciding) or alone(request):
            if run:
                yield run, False
            yield [request], True
            run = []
        else:
            run.append(request)
    if run:
        yield run, False


def _log_in(text: bytes) -> LogId | None:
    """The log that is named; None where the disk has rotted, which proves nothing."""
    try:
        return log_from_text(text.decode())
    except ValueError:
        return None


def learn_wrapped(keyring: Keyring, state: State) -> None:
    """Open what the known epochs wrap: later ones wrap earlier ones, so that a newcomer reads history."""
    found = True
    while found:
        found = False
        for epoch in state.epochs.values():
            for parent, wrapped in epoch.parents:
                if keyring.has(epoch.id) and not keyring.has(parent):
                    keyring.learn_wrapped(parent, wrapped, epoch.id)
                    found = True
