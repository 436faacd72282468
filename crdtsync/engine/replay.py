"""Deriving chosen records once more from the whole log: to verify, and for keys and holds that came late (L5, L8)."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping

from crdtsync import limits
from crdtsync.engine.derive import Deriver, Group, Offence, Refused, Step
from crdtsync.engine.holds import FORM, Holds
from crdtsync.engine.marks import Marks
from crdtsync.engine.parts import Parts
from crdtsync.engine.shelf import Shelf
from crdtsync.ids import DataKeyId, RecordId, ReplicaId
from crdtsync.replication.commit import Change, PartRef
from crdtsync.replication.stored import KeyObject, StoredCommit
from crdtsync.storage.base import Store


def arrivals(store: Store, upto: int) -> Iterator[list[StoredCommit]]:
    """The log in batches, from its beginning up to arrival `upto`."""
    at = 0
    while at < upto:
        batch = store.arrivals(at, min(limits.batch_commits_max, upto - at), limits.in_flight_bytes_max)
        if not batch:
            return
        yield batch
        at = batch[-1].arrival


class Replay(Deriver):
    """Applies what touches `wanted` records, and nothing that waits according to `skip`.

    A commit that turns out to be one to hold is in `offences`, and what it brings to these records may be there in
    part: who replays holds it and begins anew.
    """

    def __init__(
        self,
        store: Store,
        parts: Parts,
        shelf: Shelf,
        marks: Marks,
        holds: Holds,
        *,
        wanted: Callable[[str, RecordId], bool],
        skip: Mapping[DataKeyId, Collection[int]],
        alarm: Callable[[StoredCommit, str], None],
        full: Callable[[], None],
        unreadable: Callable[[StoredCommit], None],
        name_of: Callable[[ReplicaId], str | None],
    ) -> None:
        super().__init__(
            store, parts, shelf, marks, holds, alarm=alarm, full=full, kinds_of=lambda record: (), name_of=name_of
        )
        self._wants = wanted
        self._skip = skip
        self._unreadable = unreadable
        self.offences: list[Offence] = []

    def _transaction(self, group: Group) -> None:
        root = self.root_of(group) if self.holds.any else 0
        if root:
            self.hold(group, root)
            return
        if not group.whole:
            self.offences.append((group.last, FORM))
            return
        for step in self._steps(group, {}, set(), note=True):
            if not isinstance(step, Step):
                self.offences.append(step)
                return
            try:
                self._take(step)
            except Refused as refused:
                self.offences.append((refused.stored, refused.reason))
                return

    def _key(self, stored: StoredCommit, ref: PartRef) -> KeyObject | None:
        if stored.arrival in self._skip.get(ref.key, ()):
            return None
        key = self._parts.key(ref.key)
        if key is None or not self._parts.readable(key, ref):
            self._unreadable(stored)
            return None
        return key

    def _wanted(self, change: Change) -> bool:
        return self._wants(change.kind, change.record)

    def _unsure(self) -> bool:
        return bool(self._skip)
