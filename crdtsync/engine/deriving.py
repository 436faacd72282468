"""The view's transactions: batches of commits, and what waited for keys (L2, L8)."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import TypeVar

from crdtsync import limits
from crdtsync.engine.derive import Deriver, Group, Refused, group_of
from crdtsync.engine.holds import FROZEN, LIBRARY, PROGRAM, REACH, Holds, Knew, sentence
from crdtsync.engine.marks import Marks, name_at, place_of, place_of_subject
from crdtsync.engine.parts import Parts
from crdtsync.engine.replay import Replay, arrivals
from crdtsync.engine.shelf import Shelf, Unsound
from crdtsync.engine.values import Held
from crdtsync.engine.view import View
from crdtsync.engine.watch import Watch
from crdtsync.errors import EnvironmentFailure, Poisoned, RottenCommit
from crdtsync.ids import CommitHash, CommitId, DataKeyId, LogId, RecordId, ReplicaId, commit_text
from crdtsync.replication.stored import KeyObject, LogHead, StoredCommit, next_head
from crdtsync.storage.base import Store, StoredDocument

Records = set[tuple[str, RecordId]]

R = TypeVar("R")
_NOT_ITS_FAULT = (EnvironmentFailure, RottenCommit, MemoryError)
"""What says nothing of the commit that is being derived."""


class Deriving:
    """Keeps view, marks and documents in step: all of them move with a transaction, or none.

    What the membership says is held must be told (`honour`) before anything is derived.
    """

    def __init__(
        self,
        store: Store,
        parts: Parts,
        alarm: Callable[[str], None],
        name_of: Callable[[ReplicaId], str | None],
        watch: Watch,
    ) -> None:
        self._store = store
        self._parts = parts
        self._tell = alarm
        self._name_of = name_of
        self._watch = watch
        self._told: set[CommitId] = set()
        self._honoured: set[tuple[CommitId, CommitHash]] = set()
        self.holds = Holds()
        self.view = View(store, watch)
        self.shelf = Shelf(store.document)
        self._renew()

    def _renew(self) -> None:
        self.marks = Marks.load(self._store, self._parts)
        self.deriver = Deriver(
            self._store,
            self._parts,
            self.shelf,
            self.marks,
            self.holds,
            alarm=self._alarm,
            full=self._flush,
            kinds_of=self._kinds_of,
            name_of=self._name_of,
            watch=self._watch,
        )
        for name, direct in self.marks.direct.items():
            if direct.reason not in ("", FROZEN):
                try:
                    self.holds.find(self.deriver.at(direct.arrival).commit, direct.reason)
                except RottenCommit:
                    self.holds.found.setdefault(name, direct.reason)

    def _alarm(self, stored: StoredCommit, text: str) -> None:
        """Tell people of a commit, once in this process."""
        if stored.commit.id not in self._told:
            self._told.add(stored.commit.id)
            self._tell(text)

    def _kinds_of(self, record: RecordId) -> Sequence[str]:
        self._flush()  # also records that this very batch made
        return [document.kind for document in self._store.documents_of(record)]

    def _flush(self) -> None:
        self.view.write(self.shelf.dirty())
        self.shelf.settle(keep=False)

    def refresh(self) -> None:
        """Take in kinds that were declared since the last call: `rows` derives anew what they show (L8)."""
        self.view.declare()

    def rows(self, documents_max: int, now_ms: int) -> None:
        """Derive anew, in one transaction, the next rows that lack what the program declares of their kind."""
        self.soundly(
            lambda: self._transaction(
                lambda: self.view.write_rows(documents_max, now_ms), self.view.head, keep=False
            )
        )

    def batch(self, batch: Sequence[StoredCommit]) -> None:
        """Derive the commits that arrived next, in one transaction; in several, when one of them turns out bad on the
        way.

        Whatever in them is beyond the CRDT library or this program must not stop the site (L6): then they are derived
        one by one, each change read again once it is applied, and the one that cannot be taken is held.
        """
        with self._watch.step(batch[0].arrival, batch[-1].arrival):
            with suppress(Unsound):
                try:
                    self.soundly(lambda: self._attempt(batch))
                    return
                except _NOT_ITS_FAULT:
                    raise
                except Exception:
                    pass  # whatever it is: below it is found out which commit does it
            with self._watch.taking_care():
                for stored in batch:
                    if stored.arrival > self.view.head.arrival:
                        self._single(stored)

    def _single(self, stored: StoredCommit) -> None:
        error: Exception
        try:
            self.soundly(lambda: self._attempt([stored]))
            return
        except Unsound as unsound:
            error = unsound
        except _NOT_ITS_FAULT:
            raise
        except Exception as reason:
            error = reason
        self.holds.find(stored.commit, LIBRARY if isinstance(error, Poisoned) else PROGRAM)
        if not isinstance(error, Poisoned):
            self._alarm(
                stored,
                f"{self.deriver.blame(stored)} could not be derived ({type(error).__name__}): it is held at this "
                "site alone; report this as an error of the program",
            )
        try:
            self.soundly(lambda: self._batch([stored]))
        except Unsound:
            self._hold_quietly(stored)
        except _NOT_ITS_FAULT:
            raise
        except Exception:  # its records cannot even be shown as damaged
            self._hold_quietly(stored)

    def _hold_quietly(self, stored: StoredCommit) -> None:
        def run() -> None:
            self.marks.hold_directly(stored, self.holds.found[stored.commit.id])
            for kind, record in self.deriver.touched(stored):
                self.marks.hold(stored.commit.header.log, place_of(kind, record), stored.arrival, stored.arrival)
            self._alarm(stored, self.deriver.sentence_of(stored, self.holds.found[stored.commit.id], ()))

        self._transaction(run, self._head_after([stored]), keep=False)

    def _attempt(self, batch: Sequence[StoredCommit]) -> None:
        """Derive what of `batch` is not derived yet, and hold what turns out bad on the way."""
        batch = [stored for stored in batch if stored.arrival > self.view.head.arrival]
        while batch:
            try:
                self._batch(batch)
                return
            except Refused as refused:
                self.holds.find(refused.stored.commit, refused.reason)
                good = [stored for stored in batch if stored.arrival < refused.at]
            if good:
                self._batch(good)
                batch = batch[len(good) :]

    def soundly(self, act: Callable[[], R]) -> R:
        """Do what needs documents of the view; one that does not load is derived anew from the log, and it is done
        again. Raises Unsound when that was of no use."""
        renewed: Records = set()
        while True:
            try:
                return act()
            except Unsound as unsound:
                place = (unsound.kind, unsound.record)
                if place in renewed:
                    raise
                renewed.add(place)
                self._renew_record(place)

    def _renew_record(self, place: tuple[str, RecordId]) -> None:
        """Derive one record anew, without whichever change broke its document: each is tried, and proved (L6, L8)."""
        upto = max(self.view.head.arrival, 1)
        with self._watch.taking_care(range(1, upto + 1)):
            self._from_the_beginning(lambda: self._replay({place}))

    def _from_the_beginning(self, run: Callable[[], None]) -> None:
        """A transaction that may apply anything of what was derived so far."""
        with self._watch.step(1, max(self.view.head.arrival, 1)):
            self._transaction(run, self.view.head, keep=False)

    def _batch(self, batch: Sequence[StoredCommit]) -> None:
        # Documents of a large batch are mostly new and not asked for soon: they would only push out others.
        keep = len(batch) <= limits.group_commits_max
        self._transaction(lambda: self.deriver.run(batch), self._head_after(batch), keep=keep)

    def _head_after(self, batch: Sequence[StoredCommit]) -> LogHead:
        head = self.view.head
        for stored in batch:
            head = next_head(head, stored.commit)
        return head

    # -- holds --------------------------------------------------------------------------------------------------------

    def honour(
        self,
        signed: Mapping[CommitId, Mapping[CommitHash, str]],
        frozen: Mapping[LogId, int],
        knew: Knew | None,
    ) -> bool:
        """Leave out what is held, also where it was derived already. True when there is something new.

        What a commit touched that is held only now is derived anew from the log, in one transaction.
        """
        before = self.holds.count, len(self.holds.frozen)
        self.holds.honour(signed, frozen, knew)
        late = [stored for stored in self._newly_held() if stored.arrival <= self.view.head.arrival]
        if late:
            self._from_the_beginning(lambda: self._undo(late))
        return bool(late) or before != (self.holds.count, len(frozen))

    def _newly_held(self) -> Iterator[StoredCommit]:
        store, direct = self._store, self.marks.direct
        for commit, hashes in self.holds.signed.items():
            if commit in direct and not direct[commit].reason:
                continue  # left out since an earlier day; it need not be read, and may have rotted
            for hash_ in hashes:
                if (commit, hash_) not in self._honoured:
                    stored = store.commit(*commit)
                    if stored is not None and stored.commit.hash == hash_:
                        self._honoured.add((commit, hash_))
                        yield stored
        for log, sequence in self.holds.frozen.items():
            while True:
                if CommitId(log, sequence) not in direct:
                    stored = store.commit(log, sequence)
                    if stored is None:
                        break
                    yield stored
                sequence += 1

    def _undo(self, late: Sequence[StoredCommit]) -> None:
        records: Records = set()
        for stored in late:
            group = group_of(self._store, stored)
            if group is not None and group.last.arrival <= self.view.head.arrival:
                records |= self._touched(group)
                for each in group:
                    for subject in self.deriver.subjects(each):
                        self.marks.forget(place_of_subject(subject))
            else:
                self.marks.hold_directly(stored, "")
        self._replay(records)

    def _touched(self, group: Group) -> Records:
        return {record for stored in group for record in self.deriver.touched(stored)}

    def _replay(self, records: Records) -> None:
        """Derive these records anew, into the open transaction; and those of the commits that turn out bad with it."""
        self._flush()
        upto = self.view.head.arrival
        while True:
            for kind, record in records:
                self.marks.forget(place_of(kind, record))
            shelf = Shelf(self._from_nothing)
            replay = self._replayer(shelf, records)
            for batch in arrivals(self._store, upto):
                replay.run(batch)
            if not replay.offences:
                break
            for stored, _ in replay.offences:
                records |= self._touched(group_of(self._store, stored) or Group(self._store, stored))
        for kind, record in records:
            if (kind, record) not in shelf.taken and self._store.document(kind, record) is not None:
                shelf.take(kind, record, "").dirty = True
        dirty = shelf.dirty()
        for found in dirty:
            found.arrival = upto
        self.view.write(dirty)
        self.shelf.clear()

    def _replayer(self, shelf: Shelf, records: Records) -> Replay:
        return Replay(
            self._store,
            self._parts,
            shelf,
            self.marks,
            self.holds,
            wanted=lambda kind, record: (kind, record) in records,
            skip={key: set(waiting) for key, waiting in self.marks.waiting.items()},
            alarm=self._alarm,
            full=lambda: None,
            unreadable=lambda stored: None,
            name_of=self._name_of,
            watch=self._watch,
        )

    def _from_nothing(self, kind: str, record: RecordId) -> StoredDocument | None:
        stored = self._store.document(kind, record)
        return replace(stored, state=b"", damaged="") if stored else None

    def held(self) -> Iterator[Held]:
        """What is held, by log and sequence, and the records or subjects that lack it: commits that are held directly,
        and changes that are left out because of them, each log's first to a record."""
        marks, at = self.marks, self.deriver.at
        led: dict[int, set[int]] = {}
        for first, root in marks.held_from():
            if first != root:
                led.setdefault(first, set()).add(root)
        arrived = {direct.arrival for direct in marks.direct.values()} | led.keys()
        found = sorted((name_at(self._store, arrival), arrival) for arrival in arrived)
        for name, arrival in found[: limits.held_listed_max]:
            try:
                yield self._held(at(arrival), led)
            except RottenCommit:
                yield Held(name, (), "what is stored of it has rotted; what it touched is told once that is mended")

    def _held(self, stored: StoredCommit, led: Mapping[int, Collection[int]]) -> Held:
        reason = self.holds.reason(stored.commit)
        if reason is None:
            first_root = min(name_at(self._store, root) for root in led[stored.arrival])
            text = f"it goes with {commit_text(first_root)}, which is held; enter it anew"
        else:
            text = sentence(reason)
        return Held(stored.commit.id, self._lacking(stored), text)

    def _lacking(self, stored: StoredCommit) -> tuple[str, ...]:
        log, arrival = stored.commit.header.log, stored.arrival
        found: dict[str, None] = {}
        for kind, record in self.deriver.touched(stored):
            if self.marks.trace(log, place_of(kind, record), arrival):
                found[record] = None
        for subject in self.deriver.subjects(stored):
            found[subject] = None
        return tuple(sorted(found))

    # -- transactions -------------------------------------------------------------------------------------------------

    def anew(self, records: Collection[tuple[str, RecordId]], *, tampered: bool) -> None:
        """Derive these records again from the log.

        `tampered` tells that what is kept of them was changed from outside: then the digest, which is kept apart, says
        what they were, and is not brought up to date by what they pretend to be.
        """

        def run() -> None:
            totals = self.view.totals
            self._replay(set(records))
            if tampered:
                self.view.totals = totals

        self._from_the_beginning(run)
        self.shelf.clear()

    def waiting(self, parts_max: int) -> bool:
        """Derive waiting parts that can be read now, whole subjects at a time, until about `parts_max` are done.

        False when it stopped before it had looked at all of them.
        """
        if not self.marks.waiting:
            return True
        finished = True

        def run() -> None:
            nonlocal finished
            finished = self._run_waiting(parts_max)

        with self._watch.step(1, max(self.view.head.arrival, 1)):
            self._transaction(run, self.view.head, keep=False)
        return finished

    def reset(self) -> None:
        """Empty the view, to be derived again (L8)."""
        self.view.reset()
        self.shelf.clear()
        self.holds.forget()
        self._renew()

    def written(self, commits: Sequence[StoredCommit], append: Callable[[], LogHead]) -> None:
        """End a local write: records into the view, then `append` (synced), and only then the transaction (L1)."""
        self._transaction(lambda: self.deriver.written(commits, self.shelf.dirty()), append, keep=True)

    def _transaction(self, run: Callable[[], None], head: LogHead | Callable[[], LogHead], *, keep: bool) -> None:
        self._store.begin_view()
        try:
            run()
            self.view.write(self.shelf.dirty())
            self.marks.write(self._store)
            self.view.commit(head() if callable(head) else head)
        except BaseException:
            self.recover()
            raise
        self.shelf.settle(keep)

    def recover(self) -> None:
        """Drop what is half done, and take over what the store holds."""
        self.shelf.clear()
        # A disk that refuses has its own error on the way; every later call repeats it.
        with suppress(EnvironmentFailure):
            self._store.abort_view()
            self._parts.forget()
            self.view.load()
            self._renew()

    # -- what waited --------------------------------------------------------------------------------------------------

    def _run_waiting(self, parts_max: int) -> bool:
        again: set[DataKeyId] = set()
        records: Records = set()
        finished = True
        subjects = self._waiting_subjects()
        for subject in sorted(subjects, key=lambda subject: (subjects[subject][0], subject)):
            if parts_max <= 0 or len(again) > limits.subjects_replayed_max:
                finished = False
                break
            keys = {key for _, key in subjects[subject]}
            several = self._derived_under_others(subject, keys)
            taken, whole = self._subject(subjects[subject], records, apply=not several)
            parts_max -= max(taken, 1)
            if taken and (several or not whole):
                again.update(several or keys)
        records |= self._records_under(again)
        if self.marks.unsure and not self.marks.waiting:
            records |= {record for arrival in self.marks.unsure for record in self._touched_at(arrival)}
            self.marks.doubtless()
        if records:
            self._replay(records)
        self.marks.unblock(self._parts)
        return finished

    def _touched_at(self, arrival: int) -> Records:
        return set(self.deriver.touched(self.deriver.at(arrival)))

    def _records_under(self, keys: Collection[DataKeyId]) -> Records:
        """All records that parts under these keys touch."""
        records: Records = set()
        for batch in arrivals(self._store, self.view.head.arrival) if keys else ():
            for stored in batch:
                if any(ref.key in keys for ref in stored.commit.header.parts):
                    records.update(self.deriver.touched(stored, keys))
        return records

    def _waiting_subjects(self) -> dict[str, list[tuple[int, DataKeyId]]]:
        """Per subject whose waiting keys are here, the parts that wait, in the order of the log."""
        self._parts.prefetch(self.marks.waiting)
        found: dict[str, list[tuple[int, DataKeyId]]] = {}
        for key_id, waiting in self.marks.waiting.items():
            key = self._parts.key(key_id)
            if key is not None:
                found.setdefault(key.subject, []).extend([(arrival, key_id) for arrival in waiting])
        return {subject: sorted(set(pairs)) for subject, pairs in found.items()}

    def _derived_under_others(self, subject: str, waiting: set[DataKeyId]) -> list[DataKeyId]:
        """All keys of a subject of which later parts may have been derived while earlier ones waited, else none."""
        if not waiting & self.marks.late:
            return []
        keys = [key.id for key in self._store.key_of_subject(subject)]
        return keys if len(keys) > 1 else []

    def _subject(self, pairs: Sequence[tuple[int, DataKeyId]], records: Records, *, apply: bool) -> tuple[int, bool]:
        """Derive a subject's parts until one cannot be read yet; the number of those that can, and whether all of them
        fitted: else the subject is to be derived in the order of the log.

        `records` learns what is to be derived anew, because a part shows that its commit must be held.
        """
        taken, whole = 0, True
        for arrival, key_id in pairs:
            stored = self._store.arrivals(arrival - 1, 1, 1)[0]
            key = self._parts.key(key_id)
            if key is None or not self._readable(stored, key):
                break
            if self.deriver.root_here(stored):  # what was entered anew meanwhile counts only in the order of the log
                records |= set(self.deriver.touched(stored, {key_id}))
            if apply and whole:
                reason = self._run_part(stored, key)
                whole = reason != REACH
                if reason and whole:
                    self.holds.find(stored.commit, reason)
                    records |= self._touched(group_of(self._store, stored) or Group(self._store, stored))
            taken += 1
        left: dict[DataKeyId, list[int]] = {}
        for arrival, key_id in pairs[taken:]:
            left.setdefault(key_id, []).append(arrival)
        for key_id in {key for _, key in pairs[:taken]}:
            self.marks.derived(key_id, left.get(key_id, []))
        return taken, whole

    def _run_part(self, stored: StoredCommit, key: KeyObject) -> str:
        try:
            return self.deriver.run_waiting(stored, key, self.view.head.arrival)
        except Refused as refused:
            return refused.reason

    def _readable(self, stored: StoredCommit, key: KeyObject) -> bool:
        refs = stored.commit.header.parts
        return all(self._parts.readable(key, ref) for ref in refs if ref.key == key.id)
