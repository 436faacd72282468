"""Deriving chosen records once more from the whole log: to verify, and for keys and holds that came late (L5, L8)."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence

from crdtsync import limits
from crdtsync.engine.derive import Deriver, Group, Offence, Refused, Step
from crdtsync.engine.holds import FORM, Holds
from crdtsync.engine.marks import Marks
from crdtsync.engine.parts import Parts
from crdtsync.engine.shelf import Shelf
from crdtsync.engine.watch import Watch
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

    A commit that turns out to be one to hold is held, and is in `offences`: its other records are then to be derived
    anew as well. `broken` tells that these records have part of such a commit, and that nothing more is applied.
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
        watch: Watch,
    ) -> None:
        super().__init__(
            store,
            parts,
            shelf,
            marks,
            holds,
            alarm=alarm,
            full=full,
            kinds_of=lambda record: (),
            name_of=name_of,
            watch=watch,
        )
        self._wants = wanted
        self._skip = skip
        self._unreadable = unreadable
        self.offences: list[Offence] = []
        self.broken = False

    def run(self, batch: Sequence[StoredCommit]) -> None:
        """Apply what the commits of a batch bring to the wanted records."""
        if not self.broken:
            super().run(batch)

    def _transaction(self, group: Group) -> None:
        root = self.root_of(group) if self.holds.any else 0
        if not root:
            steps, offence = self._all(group) if group.whole else ([], (group.last, FORM))
            if offence is None:
                self._take_all(steps)
                return
            self.holds.find(offence[0].commit, offence[1])
            self.offences.append(offence)
            root = offence[0].arrival
        self.hold(group, root)

    def _all(self, group: Group) -> tuple[list[Step], Offence | None]:
        steps = []
        for step in self._steps(group, {}, set(), note=True):
            if not isinstance(step, Step):
                return [], step
            steps.append(step)
        return steps, None

    def _take_all(self, steps: Sequence[Step]) -> None:
        try:
            for step in steps:
                self._take(step)
        except Refused as refused:
            self.holds.find(refused.stored.commit, refused.reason)
            self.offences.append((refused.stored, refused.reason))
            self.broken = True

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
