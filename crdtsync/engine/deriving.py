"""The view's transactions: batches of commits, and what waited for keys (L2, L8)."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress

from crdtsync import limits
from crdtsync.engine.derive import Deriver
from crdtsync.engine.marks import Marks
from crdtsync.engine.parts import Parts
from crdtsync.engine.replay import replay_keys
from crdtsync.engine.shelf import Shelf
from crdtsync.engine.values import Held
from crdtsync.engine.view import View
from crdtsync.errors import EnvironmentFailure
from crdtsync.ids import DataKeyId, RecordId
from crdtsync.replication.stored import KeyObject, LogHead, StoredCommit, next_head
from crdtsync.storage.base import Store


class Deriving:
    """Keeps view, marks and documents in step: all of them move with a transaction, or none."""

    def __init__(self, store: Store, parts: Parts, alarm: Callable[[str], None]) -> None:
        self._store = store
        self._parts = parts
        self._alarm = alarm
        self.view = View(store)
        self.shelf = Shelf(store.document)
        self._renew()

    def _renew(self) -> None:
        self.marks = Marks.load(self._store, self._parts)
        self._deriver = Deriver(
            self._store,
            self._parts,
            self.shelf,
            self.marks,
            alarm=self._alarm,
            full=self._flush,
            kinds_of=self._kinds_of,
        )

    def _kinds_of(self, record: RecordId) -> Sequence[str]:
        self._flush()  # also records that this very batch made
        return [document.kind for document in self._store.documents_of(record)]

    def _flush(self) -> None:
        self.view.write(self.shelf.dirty())
        self.shelf.settle(keep=False)

    def refresh(self) -> None:
        """Take in kinds that were declared since the last call; the view may have to start anew for them (L8)."""
        if self.view.declare():
            self.view.load()
            self.shelf.clear()
            self._renew()

    def batch(self, batch: Sequence[StoredCommit]) -> None:
        """Derive the commits that arrived next, in one transaction.

        Whatever in them is beyond this program must not stop the site (L6): then they are derived one by one, and the
        one that it cannot take is held.
        """
        try:
            self._batch(batch)
        except EnvironmentFailure:
            raise
        except Exception as error:
            for stored in batch:
                try:
                    self._batch([stored])
                except EnvironmentFailure:
                    raise
                except Exception:
                    self._hold_whole(stored, error)

    def _batch(self, batch: Sequence[StoredCommit]) -> None:
        # Documents of a large batch are mostly new and not asked for soon: they would only push out others.
        keep = len(batch) <= limits.group_commits_max
        self._transaction(lambda: self._deriver.run(batch), self._head_after(batch), keep=keep)

    def _head_after(self, batch: Sequence[StoredCommit]) -> LogHead:
        head = self.view.head
        for stored in batch:
            head = next_head(head, stored.commit)
        return head

    def _hold_whole(self, stored: StoredCommit, error: Exception) -> None:
        self._transaction(lambda: self._deriver.hold_whole(stored, error), self._head_after([stored]), keep=False)

    def held(self) -> Iterator[Held]:
        """The commits from which on changes are held, oldest first, and the records or subjects that lack them."""
        for arrival in self.marks.held_since():
            stored = self._store.arrivals(arrival - 1, 1, 1)[0]
            log = stored.commit.header.log
            lacking = [what for what in self._deriver.touched(stored) if self.marks.is_held(log, what, arrival)]
            records = tuple(dict.fromkeys(what.rpartition("/")[2] for what in lacking))
            yield Held(stored.commit.id, records, "it cannot be applied; enter what is missing anew")

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

        self._transaction(run, self.view.head, keep=False)
        return finished

    def reset(self) -> None:
        """Empty the view, to be derived again (L8)."""
        self.view.reset()
        self.shelf.clear()
        self._renew()

    def written(self, append: Callable[[], LogHead]) -> None:
        """End a local write: records into the view, then `append` (synced), and only then the transaction (L1)."""
        self._transaction(lambda: None, append, keep=True)

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
        finished = True
        subjects = self._waiting_subjects()
        for subject in sorted(subjects, key=lambda subject: (subjects[subject][0], subject)):
            if parts_max <= 0 or len(again) > limits.subjects_replayed_max:
                finished = False
                break
            keys = {key for _, key in subjects[subject]}
            several = self._derived_under_others(subject, keys)
            taken = self._subject(subjects[subject], apply=not several)
            parts_max -= max(taken, 1)
            if several and taken:
                again.update(several)
        if again:
            self._flush()
            replay_keys(self._store, self._parts, self.marks, self.view, again, self._alarm)
            self.shelf.clear()
        self.marks.unblock(self._parts)
        return finished

    def _waiting_subjects(self) -> dict[str, list[tuple[int, DataKeyId]]]:
        """Per subject whose waiting keys are here, the parts that wait, in the order of the log."""
        self._parts.prefetch(self.marks.waiting)
        found: dict[str, list[tuple[int, DataKeyId]]] = {}
        for key_id, arrivals in self.marks.waiting.items():
            key = self._parts.key(key_id)
            if key is not None:
                found.setdefault(key.subject, []).extend([(arrival, key_id) for arrival in arrivals])
        return {subject: sorted(set(pairs)) for subject, pairs in found.items()}

    def _derived_under_others(self, subject: str, waiting: set[DataKeyId]) -> list[DataKeyId]:
        """All keys of a subject of which later parts may have been derived while earlier ones waited, else none."""
        if not waiting & self.marks.late:
            return []
        keys = [key.id for key in self._store.key_of_subject(subject)]
        return keys if len(keys) > 1 else []

    def _subject(self, pairs: Sequence[tuple[int, DataKeyId]], *, apply: bool) -> int:
        """Derive a subject's parts until one cannot be read yet; the number of those that can."""
        taken = 0
        for arrival, key_id in pairs:
            stored = self._store.arrivals(arrival - 1, 1, 1)[0]
            key = self._parts.key(key_id)
            if key is None or not self._readable(stored, key):
                break
            if apply:
                self._deriver.run_waiting(stored, key, self.view.head.arrival)
            taken += 1
        left: dict[DataKeyId, list[int]] = {}
        for arrival, key_id in pairs[taken:]:
            left.setdefault(key_id, []).append(arrival)
        for key_id in {key for _, key in pairs[:taken]}:
            self.marks.derived(key_id, left.get(key_id, []))
        return taken

    def _readable(self, stored: StoredCommit, key: KeyObject) -> bool:
        refs = stored.commit.header.parts
        return all(self._parts.readable(key, ref) for ref in refs if ref.key == key.id)
