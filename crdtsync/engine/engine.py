"""The engine: one replica's log and view, written and derived in one thread.

    append   keys, then log, each synced before the next (L1)
    derive   the log's newest commits into the view, a batch in one transaction (L2, L8)
    write    local transactions: derive what is pending, edit, seal, sign, append, and the view with it

It is synchronous and deterministic: the driver brings wall time, the sealer randomness. In real life it runs in the
store's thread, in the simulator directly. When the disk refuses, StorageFailure comes out of every later call as well:
the driver closes and opens the replica again.
"""

from __future__ import annotations

import gc
from collections import deque
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from itertools import islice

from crdtsync import limits
from crdtsync.clock import COUNTER_BITS
from crdtsync.engine.accounts import Account, Accounts
from crdtsync.engine.between import is_open
from crdtsync.engine.deeds import Commits, Deed, Deeds
from crdtsync.engine.deriving import Deriving
from crdtsync.engine.exhibits import Exhibit, exhibits
from crdtsync.engine.holds import Knew
from crdtsync.engine.own_log import OwnLog, begun
from crdtsync.engine.parts import Parts
from crdtsync.engine.past import Order, Past, Retelling, Step, Told
from crdtsync.engine.sums import sums
from crdtsync.engine.upkeep import Upkeep
from crdtsync.engine.values import (
    Counted,
    DeriveResult,
    EngineStatus,
    RecordState,
    VerifyResult,
    WriteGrant,
    WriteOutcome,
    WriteRequest,
)
from crdtsync.engine.verify import KeysOf, Progress, Verifier
from crdtsync.engine.watch import Watch
from crdtsync.engine.write import Scribe, Sealing
from crdtsync.errors import EnvironmentFailure, RefusedError, RottenCommit
from crdtsync.ids import (
    BootId,
    CommitHash,
    CommitId,
    DataKeyId,
    Head,
    LogId,
    MemberHash,
    PracticeId,
    RecordId,
    ReplicaId,
    replica_of,
)
from crdtsync.replication.boots import Continues
from crdtsync.replication.commit import Commit
from crdtsync.replication.messages import Path, Sums
from crdtsync.replication.stored import KeyObject, LogHead, StoredCommit
from crdtsync.replication.writer import LogWriter
from crdtsync.sealing.base import Sealer
from crdtsync.sealing.keyring import Keyring
from crdtsync.storage.base import Notes, Store


def _nameless(replica: ReplicaId) -> str | None:
    return None


class Engine:
    """Owns a store. Not safe for use from two threads at once; every call leaves it whole, also when it raises."""

    def __init__(
        self,
        store: Store,
        sealer: Sealer,
        keyring: Keyring,
        *,
        practice: PracticeId,
        replica: ReplicaId,
        name_of: Callable[[ReplicaId], str | None] = _nameless,
        watch: Watch | None = None,
    ) -> None:
        """Declare the tables of all kinds and check the view: one that is no prefix of the log is empty after this.

        `name_of` tells how people call a site: alarms name it so. `watch` knows over what an earlier process died;
        without it, nothing is noted for a later one. Before anything is derived, `honour` must be told what the
        membership holds, where there is a membership.
        """
        self._store = store
        self._sealer = sealer
        self._keyring = keyring
        self._alarms: list[str] = []
        self._parts = Parts(store, sealer, keyring, practice)
        self.watch = watch or Watch(store)
        self._deriving = Deriving(store, self._parts, self._alarm, name_of, self.watch)
        self._own = OwnLog(store, sealer, practice, replica, self._alarm)
        self._log_head = store.log_head()
        self._tail: deque[StoredCommit] = deque()
        self._tail_bytes = 0
        self._now_ms = 0
        self._retry = True
        self._epochs = 0
        self.upkeep = Upkeep(store, sealer, self._deriving, self._alarm)
        self._stuck: RottenCommit | None = None

    # -- boots (L4) ---------------------------------------------------------------------------------------------------

    @property
    def log(self) -> LogId | None:
        """The log that this replica writes; None before a boot was opened or continued."""
        return self._writer.log if self._writer else None

    @property
    def last_sequence(self) -> int:
        """The sequence of the newest commit in the own log, 0 when there is none."""
        return self._writer.head.sequence if self._writer else 0

    @property
    def needs_boot(self) -> bool:
        """Whether documents here lack changes of the own log: held ones, or parts that wait for keys (L6).

        Going on from such a document would give the same CRDT clock to two changes, and never come right again; a
        fresh boot writes under other client ids. True is for what is derived so far.
        """
        writer = self._writer
        return writer is not None and (
            writer.log in self._own.frozen or self._deriving.marks.not_whole(writer.log, self._log_of)
        )

    @property
    def _writer(self) -> LogWriter | None:
        return self._own.writer

    def _log_of(self, arrival: int) -> LogId:
        return self._store.arrivals(arrival - 1, 1, 1)[0].commit.header.log

    @property
    def line(self) -> LogId | None:
        """The log that this folder wrote last, None when it never wrote."""
        return self._own.line

    def boots(self) -> dict[LogId, Continues]:
        """What the first commit of each log that is here continues, but for rotten ones. Reads one commit per log."""
        return begun(self._store, self._own.frontier)

    def open_boot(self, boot: BootId | None = None) -> LogId:
        """Write a fresh log from now on (L4). Its first commit names what it continues, decided then, and the whole
        frontier.

        A boot that is drawn here is drawn again while the tag of its log is taken; one that is given is taken as it is.
        """
        log = self._own.open_boot(boot)
        self._deriving.shelf.write_as(log)
        return log

    def continue_log(self, log: LogId) -> None:
        """Go on writing `log`: the caller has proved that nobody else does (L4)."""
        self._own.continue_log(log)
        self._deriving.shelf.write_as(log)

    @property
    def frozen(self) -> Mapping[LogId, Head]:
        """Logs that end for everybody, and where. Not to be changed."""
        return self._own.frozen

    # -- receiving ----------------------------------------------------------------------------------------------------

    def append(self, commits: Sequence[tuple[Commit, bool]], keys: Sequence[KeyObject], now_ms: int) -> None:
        """Put keys, then commits on disk, each synced when this returns (L1). `derive` brings them into the view."""
        self._now_ms = now_ms
        self.put_keys(keys)
        if not commits:
            return
        before = self._log_head.arrival
        self._log_head = self._store.append(commits, now_ms)
        self._own.arrived([commit for commit, _ in commits])
        tail = self._tail
        if before != (tail[-1].arrival if tail else self._derived.arrival):
            return
        for number, (commit, checked) in enumerate(commits, before + 1):
            tail.append(StoredCommit(number, now_ms, commit, checked))
            self._tail_bytes += commit.size
        if self._tail_bytes > limits.tail_bytes_max:
            self._drop_tail()

    def put_keys(self, keys: Sequence[KeyObject]) -> None:
        """Put wrapped data keys on disk, synced; `derive_waiting` derives what waited for them."""
        if not keys:
            return
        self._store.put_keys(keys)
        self._parts.remember(keys)
        if self._deriving.marks.waiting:
            self._deriving.marks.keys_came([key.id for key in keys], self._parts)
            self._retry = True

    def add_members(self, records: Sequence[tuple[MemberHash, bytes]]) -> None:
        """Put membership records on disk, synced."""
        self._store.add_members(records)

    def honour(
        self,
        holds: Mapping[CommitId, Mapping[CommitHash, str]],
        frozen: Mapping[LogId, Head],
        knew: Knew | None = None,
    ) -> bool:
        """Leave out the commits that the membership holds, and those of `frozen` logs behind these heads (L3, L6).

        `holds` names per commit the hashes under which it is held, each with the word for why; one under another hash
        is not meant. `knew` tells whether an author who named these membership records knew of a hold. Both only grow.
        What was derived already is derived anew without them, in one transaction, synchronously; True tells that there
        was something new: `derive` tells what the view amounts to now.
        """
        self._own.freeze(frozen)
        with _uncollected():
            return self._deriving.honour(holds, {log: end.sequence + 1 for log, end in frozen.items()}, knew)

    def _drop_tail(self) -> None:
        self._tail.clear()
        self._tail_bytes = 0

    # -- deriving -----------------------------------------------------------------------------------------------------

    def derive(self, now_ms: int, commits_max: int = limits.batch_commits_max) -> DeriveResult:
        """Bring the next batch of arrivals into the view, in one transaction; when none is left, what waited for keys
        or epochs that came since.

        A crash in between loses the transaction and nothing else: the next call derives the same batch again.
        """
        self._now_ms = now_ms
        with self._up_to_a_hole():
            with _uncollected():
                self._derive(commits_max)
            if self._derived == self._log_head and self._may_go_on():
                self._derive_waiting(commits_max)
        return self._result()

    def derive_waiting(self, now_ms: int, parts_max: int = limits.batch_commits_max) -> DeriveResult:
        """Derive parts whose keys are here now: per subject, in the order of the log, in one transaction.

        To be called when keys or epochs came. `done` is False when there may be more of them: call this, or `derive`,
        again.
        """
        self._now_ms = now_ms
        with self._up_to_a_hole():
            self._derive_pending()
            self._derive_waiting(parts_max)
        return self._result()

    def derive_rows(
        self, now_ms: int, wanted: Collection[str] = (), documents_max: int = limits.rows_anew_step
    ) -> tuple[str, ...]:
        """Derive anew, in one transaction, the next rows that lack what the program declares of their kind (L8); the
        kinds that are still behind. Rows of `wanted` kinds, which somebody waits for, come first.

        Raises RottenCommit, and goes on once that is mended, where a document must be derived from the log for it.
        """
        self._now_ms = now_ms
        self._deriving.refresh()
        rows = self._deriving.view.rows
        rows.wanted.update(wanted)
        try:
            self._deriving.rows(documents_max, now_ms)
        except RottenCommit as error:
            self.upkeep.note([error])
            raise
        return tuple(rows.behind)

    @contextmanager
    def _up_to_a_hole(self) -> Iterator[None]:
        """A rotten commit ends what is done for now, its transaction dropped: `mend` and `derive` go on from there."""
        try:
            yield
        except RottenCommit as error:
            self.upkeep.note([error])
            self._stuck = error

    def _may_go_on(self) -> bool:
        """Whether something came that parts may have waited for, and the log can be read."""
        came = self._retry or len(self._keyring.epochs()) != self._epochs
        return self._stuck is None and came and bool(self._deriving.marks.waiting)

    def _derive_waiting(self, parts_max: int) -> None:
        self._epochs = len(self._keyring.epochs())
        self._retry = True  # also when the log has a hole
        self._retry = not self._deriving.waiting(parts_max)

    def rebuild(self, now_ms: int, progress: Progress | None = None) -> tuple[str, int]:
        """Empty the view and derive everything again; digest and records are as before (L8).

        Raises RottenCommit, and leaves the view as it is, while the log is not whole. `progress` is told how many of
        the log's commits are done. A crash in between leaves a view that is behind.
        """
        self._now_ms = now_ms
        self._check_whole()
        self._deriving.reset()
        self.upkeep.restart()
        self._drop_tail()
        while self._derived != self._log_head:
            self._derive_more()
            if progress is not None:
                progress(self._derived.arrival, self._log_head.arrival)
        self._retry = True
        while self._may_go_on():
            self._derive_waiting(limits.batch_commits_max)
        return self.digest()

    def _check_whole(self) -> None:
        """Nothing is derived from the beginning while the log has a hole."""
        at = 0
        while at < self._log_head.arrival:
            sound, rotten = self._store.check_log(at, limits.batch_commits_max)
            if rotten:
                self.upkeep.note(rotten)
                raise rotten[0]
            at = sound[-1].arrival

    @property
    def _derived(self) -> LogHead:
        return self._deriving.view.head

    def _derive(self, commits_max: int) -> None:
        self._deriving.refresh()
        self._stuck = None
        # What has to be tried takes its time: few at once, so that other work comes in between.
        batch = self._next(min(commits_max, limits.live_commits_max) if self.watch.suspects else commits_max)
        if not batch:
            return
        stamps = [(stored.commit.header.log, stored.commit.header.stamp) for stored in batch]
        self._own.hear(stamps, self._now_ms)
        self._deriving.batch(batch)
        tail, derived = self._tail, self._derived.arrival
        while tail and tail[0].arrival <= derived:
            self._tail_bytes -= tail.popleft().commit.size

    def derive_all(self, now_ms: int) -> None:
        """Derive all that the log holds, so that what is decided now knows of it. Raises RottenCommit at a hole."""
        self._now_ms = now_ms
        self._derive_pending()

    def _derive_pending(self) -> None:
        self._deriving.refresh()
        while self._derived != self._log_head:
            self._derive_more()

    def _derive_more(self) -> None:
        """The next batch. Raises RottenCommit when the view cannot go on for one."""
        self._derive(limits.batch_commits_max)
        if self._stuck is not None:
            raise self._stuck

    def _next(self, commits_max: int) -> Sequence[StoredCommit]:
        after = self._derived.arrival
        if after == self._log_head.arrival:
            return ()
        tail = self._tail
        if tail and tail[0].arrival == after + 1:
            return list(islice(tail, max(commits_max, 1)))
        with self._up_to_a_hole():
            return self._store.arrivals(after, commits_max, limits.in_flight_bytes_max)
        return ()

    def _alarm(self, text: str) -> None:
        if len(self._alarms) < limits.alarms_kept_max:
            self._alarms.append(text)

    def _result(self) -> DeriveResult:
        view = self._deriving.view
        changed, view.changed = view.changed, []
        alarms, self._alarms = self._alarms, []
        return DeriveResult(
            done=(self._derived == self._log_head or self._stuck is not None) and not self._may_go_on(),
            arrival=view.head.arrival,
            digest=view.digest,
            records=view.records,
            changed=list(dict.fromkeys(changed)),
            waiting=list(self._deriving.marks.waiting),
            alarms=alarms,
            stuck="" if self._stuck is None else str(self._stuck),
            holds=self._deriving.holds.due,
            held=self._deriving.holds.count,
            behind=tuple(self._deriving.view.rows.behind),
        )

    # -- writing ------------------------------------------------------------------------------------------------------

    def write(self, requests: Sequence[WriteRequest], grant: WriteGrant, now_ms: int) -> list[WriteOutcome]:
        """Make local transactions durable and visible, all with one sync of the log; one outcome per request.

        What the log holds is derived first, so that each commit depends on the whole log. A request that fails has its
        error in its outcome and changed nothing. Raises RefusedError when there is no boot to write in, when
        `needs_boot`, or when the epoch is not known; StorageFailure when the disk refuses: then nothing of the call is
        in the view.
        """
        return self._deriving.soundly(lambda: self._write(requests, grant, now_ms))

    def _write(self, requests: Sequence[WriteRequest], grant: WriteGrant, now_ms: int) -> list[WriteOutcome]:
        self._now_ms = now_ms
        self._derive_pending()
        writer = self._writable(grant)
        self._own.hear((), now_ms)
        self._own.decide(grant.closed)
        deriving = self._deriving
        draft = writer.draft()
        sealing = Sealing(self._sealer, self._parts, writer.log, grant, now_ms)
        scribe = Scribe(sealing, deriving.shelf, draft, self._log_head.arrival)
        try:
            outcomes = [self._request(scribe, request) for request in requests]
        except BaseException:
            deriving.recover()
            raise
        done = [request for request, outcome in zip(requests, outcomes, strict=True) if outcome.error is None]
        notes = {name: value for request in done for name, value in request.notes.items()}
        if scribe.commits:
            deriving.written(self._as_stored(scribe), lambda: self._store_written(scribe, notes))
            self._own.wrote(draft)
            self._parts.remember(scribe.keys)
            self._parts.adopt(scribe.keys)
        else:
            deriving.shelf.settle(keep=True)
            if notes:
                self._store.set_meta(notes)
        return outcomes

    def _writable(self, grant: WriteGrant) -> LogWriter:
        writer = self._writer
        if writer is None:
            raise RefusedError("no boot is open; call open_boot or continue_log first")
        if self._own.was_continued():
            raise RefusedError("this replica's log was continued by somebody else; open a new boot")
        if self.needs_boot:
            raise RefusedError("changes of this log are held or wait for keys, so it cannot go on; open a new boot")
        if not self._keyring.has(grant.epoch):
            raise RefusedError("the epoch to seal under is not known here; it comes with the next contact")
        return writer

    def _request(self, scribe: Scribe, request: WriteRequest) -> WriteOutcome:
        try:
            commits, keys = scribe.request(request)
        except EnvironmentFailure:
            raise
        except Exception as error:  # whatever is wrong with one request is its caller's, and leaves the others whole
            return WriteOutcome(error=error)
        return WriteOutcome(commits[-1] if commits else None, tuple(commits), tuple(keys))

    def _as_stored(self, scribe: Scribe) -> list[StoredCommit]:
        after = self._log_head.arrival
        return [StoredCommit(after + n, self._now_ms, commit, True) for n, commit in enumerate(scribe.commits, 1)]

    def _store_written(self, scribe: Scribe, notes: Notes) -> LogHead:
        fresh = self._parts.unstored(scribe.keys)
        if fresh:
            self._store.put_keys(fresh)
        self._log_head = self._store.append([(commit, True) for commit in scribe.commits], self._now_ms, notes)
        return self._log_head

    # -- serving peers ------------------------------------------------------------------------------------------------

    def read_feeds(
        self, cursors: Mapping[LogId, int], commits_max: int, bytes_max: int
    ) -> tuple[list[StoredCommit], list[KeyObject]]:
        """Commits of these logs in order of arrival, and the key objects that they introduce.

        A log whose next commit is rotten here is left out, until that is mended.
        """
        left = dict(cursors)
        commits: list[StoredCommit] = []
        while left and not commits:
            try:
                commits = self._store.feeds(left, commits_max, bytes_max)
                break
            except RottenCommit as error:
                self.upkeep.note([error])
                left.pop(LogId(error.log), None)
        return commits, self._parts.introduced(ref for stored in commits for ref in stored.commit.header.parts)

    def read_backlog(self, cursors: Mapping[LogId, int]) -> tuple[int, int]:
        """Number and bytes of the commits that `read_feeds` would give without limits."""
        return self._store.backlog(cursors)

    def read_keys(self, ids: Sequence[DataKeyId]) -> list[KeyObject]:
        """Those of the named key objects that are here."""
        return self._parts.objects(ids)

    def read_headers(self, log: LogId, sequences: Sequence[int]) -> list[tuple[bytes, bytes]]:
        """Header and signature of those of the named commits that are here, in the order asked for."""
        return [(commit.header_bytes, commit.signature) for commit in self.read_again(log, sequences)]

    def read_again(self, log: LogId, sequences: Sequence[int]) -> list[Commit]:
        """Those of the named commits that are here and sound, in the order asked for."""
        found = []
        for sequence in sequences:
            try:
                stored = self._store.commit(log, sequence)
            except RottenCommit as error:
                self.upkeep.note([error])
                continue
            if stored is not None:
                found.append(stored.commit)
        return found

    # -- looking over what is kept (L5) -------------------------------------------------------------------------------

    def inspect(self, now_ms: int, keys_of: KeysOf) -> DeriveResult:
        """Look over the next page of view or log, and mend what can be mended from here; `upkeep` knows what is rotten.

        `keys_of` gives the signing key of a replica.
        """
        self._now_ms = now_ms
        self._deriving.refresh()
        if self.upkeep.inspect(keys_of):
            with suppress(RottenCommit):
                self.rebuild(now_ms)
        return self._result()

    def repair(self, records: Sequence[tuple[str, RecordId]], now_ms: int) -> DeriveResult:
        """Derive these records again from the own log, since a peer's differ: never from what the peer has."""
        self._now_ms = now_ms
        self._derive_pending()
        self.upkeep.repair(records)
        return self._result()

    def sums(self, paths: Sequence[Path]) -> tuple[int, list[tuple[Path, Sums]]]:
        """How far the view is derived, and what parts of it sum up to."""
        return self._derived.arrival, sums(self._store, paths)

    # -- reading ------------------------------------------------------------------------------------------------------

    def record(self, kind: str | None, record: RecordId) -> RecordState | None:
        """A record as of now, after deriving what is pending; `kind` None means whichever kind has the id.

        None when there is no such record here.
        """
        self._derive_pending()
        if kind is None:
            documents = self._store.documents_of(record)
            if not documents:
                return None
            kind = documents[0].kind
        name = kind
        found = self._deriving.soundly(lambda: self._deriving.shelf.peek(name, record))
        if found is None:
            return None
        return RecordState(kind, record, found.subject, found.document.content(), found.damaged)

    def accounts(self, commits: Sequence[CommitId]) -> dict[CommitId, Account]:
        """Who wrote these commits, when, where and why; those that are not here, or rotten, are left out."""
        return Accounts(self._store, self._parts, self._note_rotten).of(commits)

    def past(self, kind: str, record: RecordId) -> list[Step]:
        """All changes of a record, oldest first, in the order of all sites; none when no commit here names it.

        Those that are held, rotten or wait for a key are told as such. `arrivals_of` and `told` give the same in
        pieces, for long pasts.
        """
        return list(Retelling(record, self.told(kind, record, self.arrivals_of(kind, record))).steps())

    def pasts(self, records: Iterable[tuple[str, RecordId]]) -> Iterator[list[Step]]:
        """The pasts of several records, in their order: those that were changed together take a fraction of the time.

        The view must not go on before the last was taken.
        """
        with suppress(RottenCommit):
            self._derive_pending()
        past = self._past
        for kind, record in records:
            yield list(Retelling(record, past.told(kind, record, past.arrivals(kind, record))).steps())

    def arrivals_of(self, kind: str, record: RecordId) -> list[int]:
        """Arrivals of the commits that name a record, after deriving what is pending (up to a hole in the log)."""
        with suppress(RottenCommit):
            self._derive_pending()
        return self._past.arrivals(kind, record)

    def told(self, kind: str, record: RecordId, arrivals: Sequence[int]) -> list[Told]:
        """What these commits tell of a record: to be put in order, and gone through, by a `Retelling`."""
        return self._past.told(kind, record, arrivals)

    def told_of(self, kind: str, records: Sequence[RecordId]) -> list[list[Told]]:
        """What all commits tell of the first of these records: of so many that some `limits.history_commits_step`
        commits are read, of one at least."""
        past, read = self._past, 0
        found: list[list[Told]] = []
        with suppress(RottenCommit):
            self._derive_pending()
        for record in records:
            arrivals = past.arrivals(kind, record)
            read += len(arrivals)
            if found and read > limits.history_commits_step:
                break
            found.append(past.told(kind, record, arrivals))
        return found

    @property
    def verdicts(self) -> tuple[int, ...]:
        """Numbers that change when something comes to be held, or waits no longer: what was told before may be told
        otherwise then."""
        deriving = self._deriving
        waiting = sum(map(len, deriving.marks.waiting.values())) + len(deriving.marks.unsure)
        traces = sum(1 for _ in deriving.marks.held_from())
        return deriving.holds.count, len(deriving.holds.found), len(deriving.holds.frozen), waiting, traces

    @property
    def _past(self) -> Past:
        return Past(self._store, self._parts, self._deriving.deriver, self._note_rotten)

    def _note_rotten(self, error: RottenCommit) -> None:
        self.upkeep.note([error])

    def exhibits(self, commits: Sequence[CommitId], subject: str, keys_of: KeysOf) -> list[Exhibit]:
        """What proves to strangers what these commits say of a subject; rotten ones, and such that are not here, are
        left out. `keys_of` gives the signing key of a replica."""
        return exhibits(self._store, self._parts, self._sealer, keys_of, commits, subject, self._note_rotten)

    def commits_by(
        self,
        *,
        author: str | None = None,
        site: ReplicaId | None = None,
        since_ms: int = 0,
        until_ms: int | None = None,
        after: Order | None = None,
        looked_max: int = limits.batch_commits_max,
    ) -> Deeds:
        """What an author, or a site in all its boots, or both did from `since_ms` to before `until_ms`, by hybrid time.

        At most `looked_max` commits are looked at in one call: `next` of the answer is to be given as `after` then.
        """
        logs = [log for log in self._own.frontier if site is None or replica_of(log) == site]
        since = after or (since_ms << COUNTER_BITS, LogId(b""), 0)
        return self._commits.between(self._own.frontier, logs, author, since, until_ms, looked_max)

    def transaction_of(self, commit: CommitId) -> list[Deed]:
        """What a commit, with all fragments of its transaction, did. Empty when it is not here, or not whole."""
        return self._commits.transaction(commit)

    @property
    def _commits(self) -> Commits:
        accounts = Accounts(self._store, self._parts, self._note_rotten)
        return Commits(self._store, accounts, self._deriving.deriver, self._note_rotten)

    def digest(self) -> tuple[str, int]:
        """The view's digest in hexadecimal, and the number of its records, as far as it is derived (L5)."""
        view = self._deriving.view
        return view.digest.hex(), view.records

    def status(self, counted: Counted | None = None) -> EngineStatus:
        """Numbers for people, as far as the view is derived.

        `counted`: what the view holds, where somebody else has looked: a store whose disk has failed answers nothing
        more, and a batch that it refused may stand in the memory of this engine.
        """
        if counted is None:
            conflicts = [found for found in self._store.conflicts() if is_open(self._store, found)]
            counted = Counted(*self.digest(), self._store.counts(), len(conflicts))
        return EngineStatus(
            arrival=self._log_head.arrival,
            derived=self._derived.arrival,
            digest=counted.digest,
            records=counted.records,
            kinds=counted.kinds,
            conflicts=counted.conflicts,
            waiting=len(self._deriving.marks.waiting),
            held=tuple(self._deriving.held()),
            rederiving=self._deriving.view.rows.progress(counted.kinds),
        )

    def frontier(self) -> dict[LogId, Head]:
        """Per log the last commit that is here, synced."""
        return dict(self._own.frontier)

    def verify(self, progress: Progress | None, keys_of: KeysOf) -> VerifyResult:
        """Check log and view, without changing anything; `keys_of` gives the signing key of a replica.

        Chains, hashes, signatures (the last of every log and every one that was checked when it came), order and
        dependencies of arrivals, key objects; then all documents are derived again in memory and compared. What is
        wrong stands in the result as sentences.
        """
        waiting, holds = self._deriving.marks.waiting, self._deriving.holds
        return Verifier(
            self._store, self._sealer, self._parts, waiting, holds, progress, keys_of, self.watch
        ).run()


@contextmanager
def _uncollected() -> Iterator[None]:
    """Put cyclic garbage collection off for one bounded batch: it makes many objects that live to its end, and looking
    at them again and again cost 7 % of deriving in a process with a large heap."""
    on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if on:
            gc.enable()
