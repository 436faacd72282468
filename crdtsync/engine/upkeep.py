"""Mending what `inspect` finds: the view from the own log, the log by commits that are fetched again (L5).

Nothing but the own log's chain decides what is right.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress

from crdtsync import limits
from crdtsync.engine.deriving import Deriving
from crdtsync.engine.inspect import Inspector, KeysOf, Place
from crdtsync.errors import BadSignature, RottenCommit
from crdtsync.ids import CommitId, LogId, RecordId, replica_of
from crdtsync.replication.commit import Commit, signed_bytes
from crdtsync.sealing.base import Sealer
from crdtsync.storage.base import Store


class Upkeep:
    """Keeps a list of rotten commits, and derives records anew that are not shown as the log says."""

    def __init__(self, store: Store, sealer: Sealer, deriving: Deriving, alarm: Callable[[str], None]) -> None:
        self._store = store
        self._sealer = sealer
        self._deriving = deriving
        self._alarm = alarm
        self._inspector = Inspector(store, sealer, deriving.view)
        self._rotten: dict[CommitId, RottenCommit] = {}
        self._beyond_us: set[Place] = set()
        """Records that deriving anew does not bring right: told once, and not derived anew for ever."""

    @property
    def passes(self) -> int:
        """How often the whole view was looked over."""
        return self._inspector.passes

    @property
    def rotten(self) -> list[CommitId]:
        """Stored commits that are not what was written, as far as that was noticed."""
        return list(self._rotten)

    def restart(self) -> None:
        """The view was emptied, or a transaction dropped: the sums of the pass under way say nothing."""
        self._inspector.restart()

    def note(self, errors: Iterable[RottenCommit]) -> None:
        """Remember commits that were found to be rotten, as many as the limit says; the rest is found again."""
        for error in errors:
            if len(self._rotten) < limits.rotten_commits_max:
                self._rotten[CommitId(LogId(error.log), error.sequence)] = error

    def inspect(self, keys_of: KeysOf) -> bool:
        """Look over the next page, derive anew what it shows wrongly. True when the whole view must be derived anew."""
        findings = self._inspector.step(keys_of)
        self._rotten = {name: error for name, error in self._rotten.items() if self._inspector.is_rotten(name, keys_of)}
        self.note(findings.rotten)
        self._unsigned(findings.unsigned)
        wrong = [place for place in findings.records if place not in self._beyond_us]
        if wrong and self._anew(wrong, tampered=True):
            for place in wrong:
                self._tell(place)
        if findings.sum_differs:
            self._alarm("The view held other records than its log says, changed from outside; all are derived anew.")
        return findings.sum_differs

    def _unsigned(self, errors: Sequence[RottenCommit]) -> None:
        """Signatures that have changed: a later commit of the log vouches for all before it, through the chain. Only
        the newest one has nothing but its own, and is fetched again."""
        frontier = self._store.frontier() if errors else {}
        for error in errors:
            if error.sequence < frontier[LogId(error.log)].sequence:
                self._store.uncheck(error.arrival)
            else:
                self.note([error])

    def _tell(self, place: Place) -> None:
        kind, record = place
        end = "it was derived anew and is right now."
        if self._inspector.differs(place):
            end = "deriving it anew does not mend that: report this as an error of the program."
            if len(self._beyond_us) < limits.alarms_kept_max:
                self._beyond_us.add(place)
        self._alarm(f"{kind} {record} was not kept as the log says, but changed from outside; {end}")

    def repair(self, records: Sequence[Place]) -> None:
        """Derive these records again from the log, and tell which had not been as it says."""
        before = {place: self._fingerprint(*place) for place in records}
        if self._anew(records, tampered=False):
            for kind, record in records:
                if self._fingerprint(kind, record) != before[kind, record]:
                    self._alarm(f"{kind} {record} was not kept as the log says; it was derived anew and is right now.")

    def _anew(self, records: Sequence[Place], *, tampered: bool) -> bool:
        """False while the log has a hole: then nothing changes, and the next pass tries again."""
        try:
            self._deriving.anew(records, tampered=tampered)
        except RottenCommit as error:
            self.note([error])
            return False
        return True

    def _fingerprint(self, kind: str, record: RecordId) -> bytes | None:
        stored = self._store.document(kind, record)
        return None if stored is None else stored.fingerprint

    def mend(self, commits: Sequence[Commit], keys_of: KeysOf) -> list[CommitId]:
        """Put a peer's copies in the place of rotten commits; what is not just what our log names is passed over.

        Returns those that are whole again. What could not be derived without them may be derived now.
        """
        mended = []
        for commit in commits:
            error, sig = self._rotten.get(commit.id), keys_of(replica_of(commit.header.log))
            if error is None or sig is None:
                continue
            if not self._sealer.verify(sig, signed_bytes(commit.hash), commit.signature):
                continue
            with suppress(BadSignature):
                self._store.mend(error.arrival, commit)
                del self._rotten[commit.id]
                mended.append(commit.id)
        return mended
