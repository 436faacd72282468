"""Looking over what is kept, page by page, all the time: is the view still what follows from the log, and the log
still what was written (L5)?

A disk changes bytes, and people open databases behind a program's back. So each document is loaded and projected again
and compared with what the view shows; the sum over all of them is compared with the digest; each commit is checked
against the chain, and its signature verified. Whatever differs is derived anew from the own log, never taken from a
peer; a commit that is rotten is reported, to be fetched again.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from crdtsync import limits
from crdtsync.engine.shelf import Unsound
from crdtsync.engine.view import View, is_record, opened, view_change
from crdtsync.errors import RottenCommit
from crdtsync.ids import CommitId, RecordId, ReplicaId, replica_of
from crdtsync.replication.commit import signed_bytes
from crdtsync.replication.stored import StoredCommit
from crdtsync.sealing.base import Sealer
from crdtsync.storage.base import Store, StoredDocument

Place = tuple[str, RecordId]
KeysOf = Callable[[ReplicaId], bytes | None]
_START = ("", RecordId(""))


@dataclass(frozen=True, slots=True)
class Findings:
    """What one page brought: records that the view shows wrongly, whether the digest is not the sum of all (told at the
    end of a pass), rotten commits, changed signatures, and whether the pass over the view has ended."""

    records: tuple[Place, ...] = ()
    sum_differs: bool = False
    rotten: tuple[RottenCommit, ...] = ()
    unsigned: tuple[RottenCommit, ...] = ()
    ended: bool = False


class Inspector:
    """Goes over view and log in turns, round after round. Changes nothing."""

    def __init__(self, store: Store, sealer: Sealer, view: View) -> None:
        self._store = store
        self._sealer = sealer
        self._view = view
        self._after: Place = _START
        self._sum = 0
        self._count = 0
        self._arrival = 0
        self._log_next = False
        view.watch = self._changed
        self.passes = 0
        """How often the whole view was looked over."""

    def restart(self) -> None:
        """Begin the pass over the view anew: it was emptied, or a transaction dropped."""
        self._after, self._sum, self._count = _START, 0, 0

    def _changed(self, place: Place, before: bytes, after: bytes) -> None:
        if place <= self._after:
            self._sum += int.from_bytes(after, "big") - int.from_bytes(before, "big")
            self._count += is_record(after) - is_record(before)

    def step(self, keys_of: KeysOf) -> Findings:
        """Look over the next page, of the view and of the log by turns."""
        self._log_next = not self._log_next
        return self._view_page() if self._log_next else self._log_page(keys_of)

    # -- the view -----------------------------------------------------------------------------------------------------

    def _view_page(self) -> Findings:
        page = self._store.documents(None, self._after, limits.inspected_documents_step)
        if not page:
            return self._end_pass()
        wrong = []
        for stored in page:
            self._sum += int.from_bytes(stored.fingerprint, "big")
            if not self._shown_rightly(stored):
                wrong.append((stored.kind, stored.record))
        self._count += sum(is_record(stored.fingerprint) for stored in page)
        self._after = (page[-1].kind, page[-1].record)
        return Findings(records=tuple(wrong))

    def differs(self, place: Place) -> bool:
        """Whether the view shows this record otherwise than its document says."""
        stored = self._store.document(*place)
        return stored is not None and not self._shown_rightly(stored)

    def _end_pass(self) -> Findings:
        view = self._view
        digest = (self._sum % (1 << 256)).to_bytes(32, "big")
        differs = digest != view.digest or self._count != view.records
        self.restart()
        self.passes += 1
        return Findings(sum_differs=differs, ended=True)

    def _shown_rightly(self, stored: StoredDocument) -> bool:
        try:
            change = view_change(opened(stored), {})
        except Unsound:
            return False
        if self._view.rows.misses(stored.kind, stored.record):
            return change.document.fingerprint == stored.fingerprint  # its row comes with the others of its kind
        return self._store.shows(change) and self._view.persons.shows(change)

    # -- the log ------------------------------------------------------------------------------------------------------

    def _log_page(self, keys_of: KeysOf) -> Findings:
        sound, rotten = self._store.check_log(self._arrival, limits.inspected_commits_step)
        if not sound and not rotten:
            self._arrival = 0
            return Findings()
        places = [stored.arrival for stored in sound] + [error.arrival for error in rotten]
        self._arrival = max(places)
        return Findings(rotten=tuple(rotten), unsigned=tuple(self._unsigned(sound, keys_of)))

    def is_rotten(self, commit: CommitId, keys_of: KeysOf) -> bool:
        """Whether a commit is not what was written, now."""
        try:
            stored = self._store.commit(*commit)
        except RottenCommit:
            return True
        return stored is None or bool(self._unsigned([stored], keys_of))

    def _unsigned(self, commits: Sequence[StoredCommit], keys_of: KeysOf) -> list[RottenCommit]:
        """Commits that bear no signature of their author although it was verified once: no chain covers it."""
        found = []
        for stored in commits:
            commit = stored.commit
            sig = keys_of(replica_of(commit.header.log))
            checked = stored.checked and sig is not None
            if checked and not self._sealer.verify(sig or b"", signed_bytes(commit.hash), commit.signature):
                found.append(RottenCommit(stored.arrival, *commit.id))
        return found
