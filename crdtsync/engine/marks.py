"""What deriving could not do yet, and what it never will: kept in the view, so that it survives with it (L2, L6).

    waiting   a part whose data key or epoch is not here; its subject's later parts wait behind it, in log order
    held      a change that no document can take: later changes to the same record by that log are held as well, since
              they build on it. The verdict follows from bytes alone, so every site reaches it.

Both live in the store's `waiting` table. What is held stands there under a made-up key id that begins with eight zero
bytes (no hash does), with the arrival from which on it is held. Arrivals of parts whose key object was not here begin
with a 0: their subject was not known, so that later parts of it may have been derived under another key.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable
from typing import Final

from crdtsync.engine.parts import Parts
from crdtsync.ids import DataKeyId, LogId
from crdtsync.storage.base import Store

_HELD_PREFIX: Final = bytes(8)


def held_id(log: LogId, what: str) -> DataKeyId:
    """The name under which it is kept that changes by `log` to `what` are held."""
    return DataKeyId(_held_by(log) + hashlib.sha256(what.encode()).digest()[:8])


def _held_by(log: LogId) -> bytes:
    return _HELD_PREFIX + hashlib.sha256(b"crdtsync/held/1" + log).digest()[:8]


class Marks:
    """The waiting and the held, in memory; `write` puts what changed into the open view transaction."""

    def __init__(self) -> None:
        self.waiting: dict[DataKeyId, list[int]] = {}
        self.blocked: set[str] = set()
        self.late: set[DataKeyId] = set()
        self._absent: set[DataKeyId] = set()
        self._held: dict[DataKeyId, int] = {}
        self._logs: dict[int, LogId] = {}
        self._waits_in: set[LogId] | None = None
        self._changed: set[DataKeyId] = set()

    @classmethod
    def load(cls, store: Store, parts: Parts) -> Marks:
        """What the view holds."""
        marks = cls()
        for key, arrivals in store.waiting().items():
            if key.startswith(_HELD_PREFIX):
                marks._held[key] = arrivals[0]
            else:
                marks.waiting[key] = [arrival for arrival in arrivals if arrival]
                if not arrivals[0]:
                    marks._absent.add(key)
        parts.prefetch(marks.waiting)
        marks.keys_came(list(marks._absent), parts)
        marks.unblock(parts)
        return marks

    def wait(self, key: DataKeyId, subject: str | None, arrival: int) -> None:
        """A part of the commit at `arrival` waits for `key`; `subject` is known when the key object is here."""
        self.waiting.setdefault(key, []).append(arrival)
        self._changed.add(key)
        self._waits_in = None
        if subject is None:
            self._absent.add(key)
        else:
            self.blocked.add(subject)

    def keys_came(self, ids: Iterable[DataKeyId], parts: Parts) -> None:
        """Keys are on disk now: parts of their subjects wait until what waited for them is derived."""
        for key in self._absent.intersection(ids):
            found = parts.key(key)
            if found is not None:
                self._absent.discard(key)
                self.late.add(key)
                self.blocked.add(found.subject)

    def derived(self, key: DataKeyId, left: list[int]) -> None:
        """Of the parts that waited for `key`, these are left."""
        self._changed.add(key)
        self._waits_in = None
        if left:
            self.waiting[key] = left
        else:
            del self.waiting[key]
            self.late.discard(key)
            self._absent.discard(key)

    def unblock(self, parts: Parts) -> None:
        """Subjects that nothing waits for any more flow again."""
        found = (parts.key(key) for key in self.waiting)
        self.blocked = {key.subject for key in found if key is not None}

    def hold(self, log: LogId, what: str, arrival: int) -> bool:
        """Hold changes by `log` to `what` from `arrival` on. False when they are held already."""
        key = held_id(log, what)
        if key in self._held:
            return False
        self._held[key] = arrival
        self._changed.add(key)
        return True

    @property
    def holds(self) -> bool:
        """Whether anything is held: the question of the hot path."""
        return bool(self._held)

    def held_since(self) -> list[int]:
        """The arrivals from which on something is held, in their order."""
        return sorted(set(self._held.values()))

    def is_held(self, log: LogId, what: str, arrival: int) -> bool:
        """Whether a change that arrived at `arrival` is held."""
        since = self._held.get(held_id(log, what))
        return since is not None and arrival >= since

    def not_whole(self, log: LogId, log_of: Callable[[int], LogId]) -> bool:
        """Whether documents lack changes of `log`: held ones, or such that wait. `log_of` tells whose an arrival is."""
        if self._held and any(key.startswith(_held_by(log)) for key in self._held):
            return True
        if self._waits_in is None:
            arrivals = {arrival for waiting in self.waiting.values() for arrival in waiting}
            self._logs = {arrival: self._logs.get(arrival) or log_of(arrival) for arrival in arrivals}
            self._waits_in = set(self._logs.values())
        return log in self._waits_in

    def write(self, store: Store) -> None:
        """Write what changed since the last call."""
        for key in sorted(self._changed):
            since = self._held.get(key)
            arrivals = self.waiting.get(key, []) if since is None else [since]
            unknown = bool(arrivals) and (key in self._absent or key in self.late)
            store.write_waiting(key, [0, *arrivals] if unknown else arrivals)
        self._changed.clear()
