"""What stands between an update and the process that takes it in: a change may kill once, never twice (L6).

    step      before a batch is derived its arrivals are noted where a kill of the process leaves them (`Marker`)
    suspects  what an earlier process died over: each change among them is tried in a throw-away process first
    kills     changes of which this replica knows that they end a process; kept, so that no replay applies them
    moved     counts what was begun; with `busy` it tells from outside whether one change takes for ever

A change that kills the process that tries it, twice and both times in a fresh one, is treated like one that the gate
refuses. An innocent change among the suspects costs a try, no more: processes die for other reasons, too.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from crdtsync import limits
from crdtsync.engine.shelf import OpenRecord, Unsound
from crdtsync.engine.trying import Trial, Verdict
from crdtsync.errors import Poisoned
from crdtsync.replication.stored import StoredCommit
from crdtsync.storage.base import Store
from crdtsync.storage.marker import Marker

_META_KILLS: Final = "engine.kills"


class Watch:
    """Used in the store's thread; `busy`, `moved` and `trying` may be read from any.

    Without a `marker` nothing is noted and nobody is suspected, except while `everything` is.
    """

    def __init__(self, store: Store, marker: Marker | None = None, trial: Trial | None = None) -> None:
        self._store = store
        self._marker = marker
        self._trial = trial or Trial()
        found = None if marker is None else marker.found
        self.suspects = range(0) if found is None else range(found[0], found[1] + 1)
        """The arrivals among which an earlier process died."""
        self.careful = False
        """Whether each change is read again right after it was applied: slower, and tells which one is at fault."""
        self.busy = False
        self.moved = 0
        self._step: tuple[int, int] | None = None
        self._kills = {(hash_, kind, record) for hash_, kind, record in json.loads(store.meta(_META_KILLS) or b"[]")}

    @property
    def trying(self) -> bool:
        """Whether a change is being tried in another process: that has a limit of its own."""
        return self._trial.asking

    @contextmanager
    def step(self, first: int, last: int) -> Iterator[None]:
        """Derive the arrivals from `first` to `last` in the block. A step that ends leaves none of them suspected.

        Between steps the note names what is still suspected, mostly nothing.
        """
        noted = (first, max(last, self.suspects.stop - 1))
        around, self._step = self._step, noted
        self._note(noted)
        try:
            yield
            if self.suspects and first <= self.suspects.start:
                self.suspects = range(max(self.suspects.start, last + 1), self.suspects.stop)
        except MemoryError:
            self.suspects = range(first, noted[1] + 1)  # this process is as good as dead
            raise
        finally:
            self._step = around
            suspects = (self.suspects.start, self.suspects.stop - 1) if self.suspects else None
            self._note(around or suspects)
            if not self.suspects:
                self._trial.end()

    def _note(self, arrivals: tuple[int, int] | None) -> None:
        if self._marker is None:
            return
        if arrivals is None:
            self._marker.clear()
        else:
            self._marker.note(*arrivals)

    @contextmanager
    def taking_care(self, suspects: range | None = None) -> Iterator[None]:
        """In the block each change is read again once it is applied, and tried before if it is among `suspects`."""
        before = self.careful, self.suspects
        self.careful = True
        self.suspects = self.suspects if suspects is None else suspects
        try:
            yield
        finally:
            self.careful, self.suspects = before

    def begin(self) -> None:
        """One change is applied, or one record put into words: nothing that takes long. `busy` ends it."""
        self.moved += 1
        self.busy = True

    def examine(self, stored: StoredCommit, found: OpenRecord, client: int, delta: bytes) -> None:
        """Raise Poisoned when `delta`, of this commit, is known to kill, or kills the processes that try it.

        Raises Unsound when already the document kills, without the delta.
        """
        name = (stored.commit.hash.hex(), found.kind, str(found.record))
        if name in self._kills:
            raise Poisoned("this change ends the process that applies it")
        if stored.arrival not in self.suspects:
            return
        verdict = self._trial.of(found, client, delta)
        if verdict is Verdict.UNSOUND:
            raise Unsound(found.kind, found.record)
        if verdict is Verdict.KILLS:
            self._remember(name)
            raise Poisoned("this change ended the process that tried it")

    @property
    def wary(self) -> bool:
        """Whether any change has to be examined: the question of the hot path."""
        return bool(self.suspects or self._kills)

    def _remember(self, name: tuple[str, str, str]) -> None:
        if len(self._kills) < limits.kills_remembered_max:
            self._kills.add(name)
            self._store.set_meta({_META_KILLS: json.dumps(sorted(self._kills)).encode()})

    def close(self) -> None:
        """End the process that tries, and give the note's file back."""
        self._trial.end()
        if self._marker is not None:
            self._marker.close()
