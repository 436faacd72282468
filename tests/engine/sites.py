"""Small replicas for the engine's tests: an engine over a store, a counted clock, and a way to bring commits."""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, cast

from crdtsync.documents import Record, edits_of, read, subject_of
from crdtsync.engine import DeriveResult, Engine, RecordEdits, WriteGrant, WriteOutcome, WriteRequest
from crdtsync.engine.write import Sealing
from crdtsync.ids import BootId, EpochId, PracticeId, RecordId, ReplicaId, base32
from crdtsync.practice import Patient
from crdtsync.replication.commit import Change, Commit, part_hash
from crdtsync.replication.stored import KeyObject
from crdtsync.sealing.base import Sealer
from crdtsync.sealing.keyring import Keyring
from crdtsync.storage.base import Store
from crdtsync.storage.memory import MemoryStore
from crdtsync.testing.sealer import PlainSealer

PRACTICE = PracticeId(b"p" * 16)
EPOCH_KEY = b"e" * 32
START_MS = 1_700_000_000_000


def record_of(number: int) -> RecordId:
    """A record id that is easy to tell apart."""
    return RecordId(base32(number.to_bytes(16, "big")))


def patient_of(number: int, **fields: Any) -> Patient:
    """A new patient under `record_of(number)`."""
    patient = Patient(**({"family_name": f"Muster{number}"} | fields))
    patient.id = record_of(number)
    return patient


class SiteRig:
    """One replica. `epochs` are the epoch keys that it knows; the first one it seals under."""

    def __init__(
        self,
        name: str,
        store: Store | None = None,
        *,
        epochs: Sequence[bytes] = (EPOCH_KEY,),
        sealer: Sealer | None = None,
        boot: BootId | None = None,
    ) -> None:
        self.name = name
        self.store = store if store is not None else MemoryStore()
        self.sealer = sealer or PlainSealer(name, random.Random(name).randbytes)
        self.replica = ReplicaId(self.sealer.public.replica)
        self.keyring = Keyring(self.sealer)
        self.grant = WriteGrant((), EpochId(bytes(16)))
        for key in epochs:
            self.learn(key)
        self.now_ms = START_MS
        self._keys = itertools.count()
        self.engine = self.open(boot)

    def learn(self, epoch_key: bytes) -> None:
        epoch = self.keyring.learn(epoch_key)
        if self.grant.epoch == bytes(16):
            self.grant = WriteGrant((), epoch)

    def open(self, boot: BootId | None = None) -> Engine:
        """A new engine over the same store, as after a restart, with a fresh boot."""
        self.engine = Engine(self.store, self.sealer, self.keyring, practice=PRACTICE, replica=self.replica)
        self.engine.open_boot(boot)
        return self.engine

    def reopen(self) -> Engine:
        """A new engine over the same store that goes on writing the same log."""
        log = self.engine.log
        assert log is not None
        self.engine = Engine(self.store, self.sealer, self.keyring, practice=PRACTICE, replica=self.replica)
        self.engine.continue_log(log)
        return self.engine

    def now(self) -> int:
        self.now_ms += 1
        return self.now_ms

    # -- writing ------------------------------------------------------------------------------------------------------

    def edits(self, record: Record) -> RecordEdits:
        return RecordEdits(record.kind, record.id, subject_of(record), edits_of(record, lambda: f"k{next(self._keys)}"))

    def request(self, *records: Record, author: str = "dr.weber", reason: str = "visit") -> WriteRequest:
        return WriteRequest(author, reason, "desk-1", "care", [self.edits(record) for record in records])

    def write_all(self, requests: Sequence[WriteRequest]) -> list[WriteOutcome]:
        return self.engine.write(requests, self.grant, self.now())

    def write(self, *records: Record, author: str = "dr.weber") -> Commit:
        """Write one transaction that must succeed and change something; its last commit."""
        [outcome] = self.write_all([self.request(*records, author=author)])
        if outcome.error is not None:
            raise outcome.error
        assert outcome.commit is not None
        return outcome.commit

    def get(self, kind: str, record: RecordId) -> Record:
        state = self.engine.record(kind, record)
        assert state is not None
        found = read(kind, record, state.content)
        assert isinstance(found, Record)
        return found

    def patient(self, number: int) -> Patient:
        return cast("Patient", self.get("patient", record_of(number)))

    # -- receiving ----------------------------------------------------------------------------------------------------

    def pull(self, other: SiteRig, *, upto: int | None = None, keys: bool = True, checked: bool = False) -> None:
        """Append what `other` has and this one lacks, in the order of its arrivals (up to one of them)."""
        mine = self.store.frontier()
        commits = []
        for stored in other.store.arrivals(0, 10**9, 10**12):
            commit = stored.commit
            if upto is not None and stored.arrival > upto:
                break
            if commit.header.sequence > (mine[commit.header.log].sequence if commit.header.log in mine else 0):
                commits.append((commit, checked))
        ids = [ref.key for commit, _ in commits for ref in commit.header.parts if ref.introduces]
        self.engine.append(commits, other.engine.read_keys(ids) if keys else (), self.now())

    def derive(self, commits_max: int = 1_000) -> DeriveResult:
        """Derive until nothing is left; the last result, with all that changed and every alarm."""
        changed: list[tuple[str, RecordId]] = []
        alarms: list[str] = []
        while True:
            result = self.engine.derive(self.now(), commits_max)
            changed.extend(result.changed)
            alarms.extend(result.alarms)
            if result.done:
                return DeriveResult(
                    True,
                    result.arrival,
                    result.digest,
                    result.records,
                    changed,
                    result.waiting,
                    alarms,
                    result.holds,
                    result.held,
                )

    def sync(self, other: SiteRig) -> None:
        """Both have everything afterwards, derived."""
        self.pull(other)
        other.pull(self)
        self.derive()
        other.derive()

    def verify(self, *others: SiteRig) -> list[str]:
        return self.engine.verify(None, keys_of(self, *others)).problems


def keys_of(*sites: SiteRig) -> Callable[[ReplicaId], bytes | None]:
    """The signing keys of these replicas."""
    return {site.replica: site.sealer.public.sig for site in sites}.get


def forge(
    site: SiteRig,
    subject: str,
    *changes: Change,
    sealed: bytes | None = None,
    fragment: tuple[int, int] | None = None,
) -> Commit:
    """Append a commit with these changes to the log of `site`, signed and sealed as it would, past every gate.

    With `sealed` the one part holds these bytes, whatever they are; `fragment` is what the header says of it.
    """
    engine = site.engine
    writer, parts = engine._own.writer, engine._parts
    assert writer is not None
    draft = writer.draft()
    place = draft.place(0, site.now())
    sealing = Sealing(site.sealer, parts, writer.log, site.grant, site.now_ms)
    introduced: dict[str, KeyObject] = {}
    ref, data = sealing.part(site.request(), place, 0, subject, list(changes), introduced)
    if sealed is not None:
        ref, data = replace(ref, hash=part_hash(sealed), size=len(sealed)), sealed
    commit = sealing.commit(draft, place, [(ref, data)], fragment)
    engine.append([(commit, True)], list(introduced.values()), site.now())
    writer.accept(draft)
    return commit
