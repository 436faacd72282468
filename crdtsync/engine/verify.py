"""Verifying a replica: the log by its hashes and signatures, the view by deriving it once more (L3, L5, L8)."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Collection, Mapping
from typing import Final

from crdtsync import limits
from crdtsync.documents import Document
from crdtsync.engine.between import recomputed
from crdtsync.engine.derive import blame
from crdtsync.engine.holds import Holds, sentence
from crdtsync.engine.marks import Marks
from crdtsync.engine.parts import Parts
from crdtsync.engine.replay import Replay, arrivals
from crdtsync.engine.shelf import Shelf
from crdtsync.engine.values import VerifyResult
from crdtsync.engine.view import is_record
from crdtsync.engine.watch import Watch
from crdtsync.errors import Poisoned
from crdtsync.ids import CommitHash, DataKeyId, Head, LogId, RecordId, ReplicaId, replica_of
from crdtsync.replication.commit import NO_HASH, Commit, header_hash, part_hash, signed_bytes
from crdtsync.replication.stored import EMPTY_LOG, StoredCommit, key_object, next_head
from crdtsync.sealing.base import Sealer
from crdtsync.storage.base import Store, StoredDocument

Progress = Callable[[int, int], None]
KeysOf = Callable[[ReplicaId], bytes | None]

_PROBLEMS_MAX: Final = limits.alarms_kept_max
_NOTHING: Final = Head(0, NO_HASH)
_PAGE: Final = 500


class Verifier:
    """Goes over the log once for its own sake, and once per `limits.verified_documents_max` records for the view's."""

    def __init__(
        self,
        store: Store,
        sealer: Sealer,
        parts: Parts,
        waiting: Mapping[DataKeyId, Collection[int]],
        holds: Holds,
        progress: Progress | None,
        keys_of: KeysOf,
        watch: Watch,
    ) -> None:
        self._store = store
        self._sealer = sealer
        self._parts = parts
        self._waiting = {key: set(found) for key, found in waiting.items()}
        self._holds = holds
        self._progress = progress
        self._keys_of = keys_of
        self._watch = watch
        self._problems: list[str] = []
        self._heads: dict[LogId, Head] = {}
        self._checked_keys: set[DataKeyId] = set()
        self._unverified: dict[LogId, Commit] = {}

    def run(self) -> VerifyResult:
        """Everything; findings are sentences, the first thousand of them."""
        upto = self._store.log_head().arrival
        state = self._store.view_state()
        self._passes = 1 + max(1, -(-state.records // limits.verified_documents_max))
        self._total = upto + (self._passes - 1) * state.head.arrival
        if self._sound(upto):
            self._log(upto)
            self._view(state.head.arrival)
        else:
            self._signatures(upto)
        return VerifyResult(upto, state.records, self._problems)

    def _problem(self, text: str) -> None:
        if len(self._problems) < _PROBLEMS_MAX:
            self._problems.append(text)

    def _report(self, done: int) -> None:
        if self._progress is not None:
            self._progress(min(done, self._total), self._total)

    def _sound(self, upto: int) -> bool:
        """Whether every stored commit is what was written: of a log with holes nothing else can be told."""
        at = 0
        while at < upto:
            sound, rotten = self._store.check_log(at, limits.batch_commits_max)
            for error in rotten:
                self._problem(str(error))
            at = max([at + 1, *(stored.arrival for stored in sound), *(error.arrival for error in rotten)])
        return not self._problems

    def _signatures(self, upto: int) -> None:
        """Of a log with holes: whether what is whole bears its authors' signatures, where it was checked to."""
        at = 0
        while at < upto:
            sound, rotten = self._store.check_log(at, limits.batch_commits_max)
            for stored in sound:
                if stored.checked:
                    self._signature(stored.commit)
            at = max([at + 1, *(stored.arrival for stored in sound), *(error.arrival for error in rotten)])

    # -- the log ------------------------------------------------------------------------------------------------------

    def _log(self, upto: int) -> None:
        head = EMPTY_LOG
        for batch in arrivals(self._store, upto):
            for stored in batch:
                if stored.arrival != head.arrival + 1:
                    self._problem(f"the log has no commit at arrival {head.arrival + 1}")
                self._commit(stored)
                head = next_head(head, stored.commit)
            self._report(head.arrival)
        if head != self._store.log_head():
            self._problem("the running hash over the log is not the one that is kept beside it")
        for commit in self._unverified.values():
            self._signature(commit)
        if self._heads != self._store.frontier():
            self._problem("the frontier that is kept does not follow from the log")

    def _commit(self, stored: StoredCommit) -> None:
        commit = stored.commit
        header = commit.header
        before = self._heads.get(header.log, _NOTHING)
        if header_hash(commit.header_bytes) != commit.hash:
            self._problem(f"{blame(commit)} is kept under a hash that is not its own")
        if header.sequence != before.sequence + 1:
            self._problem(f"{blame(commit)} follows on {before.sequence}: a gap in its log")
        elif header.previous != before.hash:
            self._problem(f"{blame(commit)} is not chained to the commit before it")
        for log, head in header.dependencies:
            self._dependency(commit, log, head)
        if header.continues is not None:
            self._dependency(commit, *header.continues)
        self._part_bytes(commit)
        self._heads[header.log] = commit.head
        # The signature of a log's last commit covers all before it through the chain.
        self._unverified[header.log] = commit
        if stored.checked:
            self._signature(commit)
            del self._unverified[header.log]

    def _dependency(self, commit: Commit, log: LogId, head: Head) -> None:
        if head.sequence >= self._holds.frozen.get(log, head.sequence + 1):
            return  # which of its two ends an author had seen counts for nothing (L3)
        here = self._heads.get(log, _NOTHING)
        if head.sequence > here.sequence:
            self._problem(f"{blame(commit)} arrived before a commit that it depends on")
            return
        found: CommitHash | None = here.hash
        if head.sequence < here.sequence:
            stored = self._store.commit(log, head.sequence)
            found = stored.commit.hash if stored else None
        if found != head.hash:
            self._problem(f"{blame(commit)} depends on another commit than the one that is here under that name")

    def _part_bytes(self, commit: Commit) -> None:
        for ref, sealed in zip(commit.header.parts, commit.parts, strict=True):
            if len(sealed) != ref.size or part_hash(sealed) != ref.hash:
                self._problem(f"{blame(commit)} has a part whose bytes are not those that its header names")
            if ref.key not in self._checked_keys:
                self._checked_keys.add(ref.key)
                key = self._parts.key(ref.key)
                if key is not None and key_object(key.epoch, key.subject, key.wrapped).id != ref.key:
                    self._problem(f"{blame(commit)} uses a data key whose object is not the one its id names")

    def _signature(self, commit: Commit) -> None:
        sig = self._keys_of(replica_of(commit.header.log))
        if sig is None:
            self._problem(f"{blame(commit)} is by a replica that the practice does not know")
        elif not self._sealer.verify(sig, signed_bytes(commit.hash), commit.signature):
            self._problem(f"{blame(commit)} does not bear its author's signature")

    # -- the view -----------------------------------------------------------------------------------------------------

    def _view(self, upto: int) -> None:
        """Derive all again, a share of the records at a time, and compare (L5)."""
        digest = records = 0
        shares = self._passes - 1
        done = self._store.log_head().arrival
        for share in range(shares):
            found = self._share(share, shares, upto, done)
            done += upto
            records += sum(map(is_record, found.values()))
            for (kind, record), fingerprint in found.items():
                digest += int.from_bytes(fingerprint, "big")
                self._compare(kind, record, fingerprint)
        state = self._store.view_state()
        if records != state.records:
            self._problem(f"the view holds {state.records} records where the log gives {records}; run `rebuild`")
        if (digest % (1 << 256)).to_bytes(32, "big") != state.digest:
            self._problem("the digest of the view is not the one that follows from the log; run `rebuild`")
        self._no_others(state.records)
        if not self._problems:
            self._between()

    def _share(self, share: int, shares: int, upto: int, done: int) -> dict[tuple[str, RecordId], bytes]:
        kept: dict[tuple[str, str], StoredDocument] = {}
        touches: dict[tuple[str, RecordId], set[int]] = {}
        shelf = Shelf(lambda kind, record: kept.get((kind, record)))

        def put_away() -> None:
            for found in shelf.dirty():
                touches.setdefault((found.kind, found.record), set()).update(found.touches)
                print_ = found.document.fingerprint(found.kind, found.record)
                kept[found.kind, found.record] = StoredDocument(
                    found.kind, found.record, found.subject, found.document.state(), print_, found.damaged
                )
            shelf.settle(keep=False)

        replay = Replay(
            self._store,
            self._parts,
            shelf,
            Marks(),
            self._holds.copy(),
            wanted=lambda kind, record: shares == 1 or _share_of(kind, record, shares) == share,
            skip=self._waiting,
            alarm=lambda stored, text: None,
            full=put_away,
            unreadable=lambda stored: self._problem(
                f"{blame(stored.commit)} has a part whose key is not here, and that is not noted as waiting"
            ),
            name_of=lambda replica: None,
            watch=self._watch,
        )
        for batch in arrivals(self._store, upto):
            replay.run(batch)
            put_away()
            self._report(done + batch[-1].arrival)
        for stored, reason in replay.offences:
            self._problem(f"{blame(stored.commit)} is not held, and should be: {sentence(reason)}")
        for place, known in touches.items():
            if not known.issubset(self._store.touches(*place)):
                self._problem(f"the view does not know all commits of {place[0]} {place[1]}; run `rebuild`")
        return {(found.kind, found.record): found.fingerprint for found in kept.values()}

    def _compare(self, kind: str, record: RecordId, fingerprint: bytes) -> None:
        stored = self._store.document(kind, record)
        if stored is None:
            self._problem(f"{kind} {record} is in the log and not in the view; run `rebuild`")
            return
        if stored.fingerprint != fingerprint:
            self._problem(f"{kind} {record} in the view is not what follows from the log; run `rebuild`")
            return
        try:
            whole = Document(1, stored.state).fingerprint(kind, record) == fingerprint
        except Poisoned:
            whole = False
        if not whole:
            self._problem(f"the document of {kind} {record} in the view is not the one it sums up; run `rebuild`")

    def _between(self) -> None:
        """Conflicts between records follow from the records that were just compared."""
        kept = sorted((c.id, c.kind, c.severity, c.body) for c in self._store.conflicts() if c.kind != "field")
        if kept != sorted((c.id, c.kind, c.severity, c.body) for c in recomputed(self._store)):
            self._problem("the view holds other conflicts between records than follow from them; run `rebuild`")

    def _no_others(self, records: int) -> None:
        count, after = 0, ("", "")
        while page := self._store.documents(None, after, _PAGE):
            count += sum(is_record(stored.fingerprint) for stored in page)
            last = (page[-1].kind, page[-1].record)
            if last <= after:
                self._problem("the view lists documents out of order; run `rebuild`")
                return
            after = last
        if count != records:
            self._problem(f"the view holds {count} documents and says {records}; run `rebuild`")


def _share_of(kind: str, record: RecordId, shares: int) -> int:
    digest = hashlib.sha256(f"{kind}/{record}".encode()).digest()
    return int.from_bytes(digest[:8], "big") % shares
