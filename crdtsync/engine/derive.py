"""Applying commits to documents in hand: open, check, apply. Total over what members may write (L2, L6).

A commit that is a fragment is applied when the last of its transaction is there, so that a large transaction is seen
whole or not at all, wherever batches end.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from typing import Final

from crdtsync import limits
from crdtsync.documents import check_delta
from crdtsync.engine.marks import Marks
from crdtsync.engine.parts import Parts
from crdtsync.engine.shelf import OpenRecord, Shelf
from crdtsync.engine.watch import Watch
from crdtsync.errors import Malformed, Poisoned, SealBroken, TooLarge
from crdtsync.ids import RecordId, base32, client_id, commit_text, replica_of
from crdtsync.replication.commit import Change, Commit, PartRef
from crdtsync.replication.stored import KeyObject, StoredCommit
from crdtsync.storage.base import Store

_BROKEN: Final = (SealBroken, Malformed, TooLarge)


def blame(commit: Commit) -> str:
    """How an alarm names a commit and its author."""
    return f"commit {commit_text(commit.id)} of replica {base32(replica_of(commit.header.log))}"


def group_sequences(store: Store, last: Commit) -> tuple[int, bool]:
    """The first sequence of the fragments that end with `last`, and whether the transaction begins there."""
    header = last.header
    first = header.sequence
    if header.fragment is not None:
        count = header.fragment[1]
        for index in range(count - 2, -1, -1):
            before = store.commit(header.log, first - 1)
            if before is None or before.commit.header.fragment != (index, count):
                return first, False
            first -= 1
    return first, True


class Deriver:
    """Takes commits in the order of arrival and changes the documents on a shelf accordingly.

    `full` is called between two parts when more documents are in hand than `limits.documents_cached_max`: it writes
    them out and settles the shelf. `kinds_of` gives the kinds under which a record id is kept.
    """

    def __init__(
        self,
        store: Store,
        parts: Parts,
        shelf: Shelf,
        marks: Marks,
        *,
        alarm: Callable[[str], None],
        full: Callable[[], None],
        kinds_of: Callable[[RecordId], Sequence[str]],
        watch: Watch,
    ) -> None:
        self._store = store
        self._parts = parts
        self._shelf = shelf
        self.marks = marks
        self._alarm = alarm
        self._full = full
        self._kinds_of = kinds_of
        self._watch = watch
        self._at = 0

    def run(self, batch: Sequence[StoredCommit]) -> None:
        """Apply the commits of a batch."""
        self._parts.prefetch({ref.key for stored in batch for ref in stored.commit.header.parts})
        for stored in batch:
            fragment = stored.commit.header.fragment
            self._at = stored.arrival
            if fragment is None:
                self._commit(stored)
            elif fragment[0] == fragment[1] - 1:
                for each in self._group(stored):
                    self._commit(each)

    def run_waiting(self, stored: StoredCommit, key: KeyObject, at: int) -> None:
        """Apply those parts of a commit that waited for `key`; `at` is how far the view goes."""
        self._at = at
        for index, ref in enumerate(stored.commit.header.parts):
            if ref.key == key.id:
                self._part(stored, index, ref, key)

    def hold_whole(self, stored: StoredCommit, error: Exception) -> None:
        """Hold a commit that this program cannot take for a reason that it does not know (L6)."""
        commit = stored.commit
        for ref in commit.header.parts:
            key = self._parts.key(ref.key)
            if key is not None:
                self.marks.hold(commit.header.log, key.subject, stored.arrival)
        self._alarm(
            f"{blame(commit)} could not be derived ({type(error).__name__}): it and later changes by that log to "
            "the same subjects are held; report this as an error of the program"
        )

    def touched(self, stored: StoredCommit) -> Iterator[str]:
        """The names under which changes of a commit may be held: its subjects, and kind and id of its records."""
        header = stored.commit.header
        for index, ref in enumerate(header.parts):
            key = self._parts.key(ref.key)
            if key is None or not self._parts.readable(key, ref):
                continue
            yield key.subject
            with suppress(*_BROKEN):
                part = self._parts.open(header.log, header.sequence, index, ref, key, stored.commit.parts[index])
                yield from (f"{change.kind}/{change.record}" for change in part.changes)

    def _group(self, last: StoredCommit) -> Iterator[StoredCommit]:
        """The fragments that end with `last`, one at a time: a large transaction is never in memory as a whole."""
        log = last.commit.header.log
        first, whole = group_sequences(self._store, last.commit)
        if not whole:
            self._alarm(f"{blame(last.commit)} ends a large transaction that has no beginning; what is there counts")
        for sequence in range(first, last.commit.header.sequence):
            found = self._store.commit(log, sequence)
            if found is not None:
                yield found
        yield last

    def _commit(self, stored: StoredCommit) -> None:
        for index, ref in enumerate(stored.commit.header.parts):
            key = self._key(stored, ref)
            if key is not None:
                self._part(stored, index, ref, key)

    def _key(self, stored: StoredCommit, ref: PartRef) -> KeyObject | None:
        """The key of a part that can be read now; None when it waits, which is noted."""
        parts, marks = self._parts, self.marks
        key = parts.key(ref.key)
        if key is None:
            marks.wait(ref.key, None, stored.arrival)
        elif not parts.readable(key, ref) or (
            marks.waiting and (ref.key in marks.waiting or key.subject in marks.blocked)
        ):
            marks.wait(ref.key, key.subject, stored.arrival)
            key = None
        return key

    def _part(self, stored: StoredCommit, index: int, ref: PartRef, key: KeyObject) -> None:
        commit, subject = stored.commit, key.subject
        header = commit.header
        if self.marks.holds and self.marks.is_held(header.log, subject, stored.arrival):
            return
        try:
            part = self._parts.open(header.log, header.sequence, index, ref, key, commit.parts[index])
        except _BROKEN as error:
            self._broken(stored, subject, error)
            return
        for change in part.changes:
            self._change(stored, subject, change)
        if len(self._shelf.taken) > limits.documents_cached_max:
            self._full()

    def _change(self, stored: StoredCommit, subject: str, change: Change) -> None:
        log = stored.commit.header.log
        record, delta = change.record, change.delta
        found = self._shelf.take(change.kind, record, subject)
        if self.marks.holds and self.marks.is_held(log, f"{change.kind}/{record}", stored.arrival):
            return
        watch = self._watch
        watch.begin()
        try:
            check_delta(delta, client_id(log, record))
            if watch.wary:
                watch.examine(stored, found, self._shelf.client(record), delta)
            found.document.apply(delta)
            if watch.careful:
                found.prove(self._shelf.client(record))
        except Poisoned:
            self._poisoned(stored, found)
            return
        finally:
            watch.busy = False
        found.deltas.append(delta)
        found.dirty = True
        found.arrival = self._at
        found.arrived_ms = stored.arrived_ms

    def _poisoned(self, stored: StoredCommit, found: OpenRecord) -> None:
        """A delta that no document can take: the document goes on without it, and without what builds on it (L6)."""
        commit = stored.commit
        self._shelf.reload(found, len(found.deltas))
        self._damage(stored, found)
        if self.marks.hold(commit.header.log, f"{found.kind}/{found.record}", stored.arrival):
            self._alarm(
                f"{blame(commit)} cannot be applied to {found.kind} {found.record}: it and later changes by that log "
                "to this record are held; enter what is missing anew"
            )

    def _broken(self, stored: StoredCommit, subject: str, error: Exception) -> None:
        """A part that opens to nothing: which records it was to change is not known, only whose they are (L6)."""
        commit = stored.commit
        for kind in self._kinds_of(RecordId(subject)):
            self._damage(stored, self._shelf.take(kind, RecordId(subject), subject))
        if self.marks.hold(commit.header.log, subject, stored.arrival):
            self._alarm(
                f"{blame(commit)} has a part that does not open ({type(error).__name__}): it and later changes by that "
                f"log to the records of subject {subject} are held; enter what is missing anew"
            )

    def _damage(self, stored: StoredCommit, found: OpenRecord) -> None:
        found.damaged = found.damaged or (
            f"Not whole: {blame(stored.commit)} could not be applied. Enter what is missing anew."
        )
        found.dirty = True
        found.arrival = self._at
        found.arrived_ms = stored.arrived_ms
