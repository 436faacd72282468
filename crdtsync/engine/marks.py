"""What deriving could not do yet, and what it never will: kept in the view, so that it survives with it (L2, L6).

    waiting   a part whose data key or epoch is not here; its subject's later parts wait behind it, in log order
    traces    what is left out of one record: per log the first and the last change that is held
    direct    the commits that are held whole, as far as they are derived
    unsure    commits with a change that does not fit, while parts wait that may hold what it builds on

All live in the store's `waiting` table. Marks stand there under made-up key ids that begin with seven zero bytes (no
hash does) and a byte for their sort. Arrivals of parts whose key object was not here begin with a 0: their subject was
not known, so that later parts of it may have been derived under another key.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Final

from crdtsync.engine.holds import WORDS
from crdtsync.engine.parts import Parts
from crdtsync.errors import RottenCommit
from crdtsync.ids import CommitId, DataKeyId, LogId, RecordId
from crdtsync.replication.stored import StoredCommit
from crdtsync.storage.base import Store

_PREFIX: Final = bytes(7)
_TRACES, _DIRECT, _UNSURE = b"\0", b"\1", b"\2"
_UNSURE_ID: Final = DataKeyId(_PREFIX + _UNSURE + bytes(8))


def place_of(kind: str, record: RecordId) -> str:
    """The name under which it is kept what a record lacks."""
    return f"{kind}/{record}"


def name_at(store: Store, arrival: int) -> CommitId:
    """Which commit arrived then: its log and sequence are known even when its bytes are not what was written."""
    try:
        return store.arrivals(arrival - 1, 1, 1)[0].commit.id
    except RottenCommit as rotten:
        return CommitId(LogId(rotten.log), rotten.sequence)


def place_of_subject(subject: str) -> str:
    """The name under which it is kept that parts of a subject cannot be read: of records that nobody can name."""
    return f"/{subject}"


def _trace_id(place: str) -> DataKeyId:
    return DataKeyId(_PREFIX + _TRACES + hashlib.sha256(b"crdtsync/held/1" + place.encode()).digest()[:8])


def _direct_id(commit: CommitId) -> DataKeyId:
    name = commit.log + commit.sequence.to_bytes(8, "big")
    return DataKeyId(_PREFIX + _DIRECT + hashlib.sha256(b"crdtsync/held/1" + name).digest()[:8])


@dataclass(slots=True)
class Trace:
    """What is held of one log's changes to one record, by arrivals: from `first` on all of them, the last so far is
    `last`. `root` is the commit that is held directly and led to it. Up to `entered` somebody who knew entered anew
    what was lost; 0 means nobody."""

    first: int
    root: int
    last: int
    entered: int = 0


@dataclass(frozen=True, slots=True)
class Direct:
    """A commit that is held whole: when it arrived, and the word for what was found here; "" when others say so."""

    arrival: int
    reason: str


class Marks:
    """What waits and what is held, in memory; `write` puts what changed into the open view transaction."""

    def __init__(self) -> None:
        self.waiting: dict[DataKeyId, list[int]] = {}
        self.blocked: set[str] = set()
        self.late: set[DataKeyId] = set()
        self.direct: dict[CommitId, Direct] = {}
        self.unsure: list[int] = []
        self._absent: set[DataKeyId] = set()
        self._direct_ids: dict[DataKeyId, CommitId] = {}
        self._traces: dict[DataKeyId, dict[LogId, Trace]] = {}
        self._held_logs: set[LogId] | None = None
        self._logs: dict[int, LogId] = {}
        self._waits_in: set[LogId] | None = None
        self._changed: set[DataKeyId] = set()

    @classmethod
    def load(cls, store: Store, parts: Parts) -> Marks:
        """What the view holds."""
        marks = cls()
        for key, arrivals in store.waiting().items():
            if key.startswith(_PREFIX):
                marks._load(key, arrivals, lambda arrival: name_at(store, arrival))
            else:
                marks.waiting[key] = [arrival for arrival in arrivals if arrival]
                if not arrivals[0]:
                    marks._absent.add(key)
        parts.prefetch(marks.waiting)
        marks.keys_came(list(marks._absent), parts)
        marks.unblock(parts)
        return marks

    def _load(self, key: DataKeyId, numbers: list[int], name: Callable[[int], CommitId]) -> None:
        sort = key[len(_PREFIX) :][:1]
        if sort == _TRACES:
            traces = [Trace(*numbers[at : at + 4]) for at in range(0, len(numbers), 4)]
            self._traces[key] = {name(trace.first).log: trace for trace in traces}
        elif sort == _DIRECT:
            arrival, word = numbers
            commit = name(arrival)
            self.direct[commit] = Direct(arrival, WORDS[word] if word < len(WORDS) else "")
            self._direct_ids[key] = commit
        else:
            self.unsure = numbers

    # -- what waits ---------------------------------------------------------------------------------------------------

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

    # -- what is held -------------------------------------------------------------------------------------------------

    def hold(self, log: LogId, place: str, arrival: int, root: int) -> None:
        """The change by `log` to `place` that arrived at `arrival` is held, because of the commit at `root`."""
        key = _trace_id(place)
        traces = self._traces.setdefault(key, {})
        trace = traces.get(log)
        if trace is None:
            traces[log] = Trace(arrival, root, arrival)
        elif arrival < trace.first:
            traces[log] = Trace(arrival, root, max(trace.last, arrival))
        else:
            trace.last = max(trace.last, arrival)
        self._changed.add(key)
        if self._held_logs is not None:
            self._held_logs.add(log)

    def hold_directly(self, stored: StoredCommit, reason: str) -> bool:
        """A commit is held whole; `reason` is the word for what was found here, else "". False when that is known."""
        commit = stored.commit.id
        if commit in self.direct:
            return False
        key = _direct_id(commit)
        self.direct[commit] = Direct(stored.arrival, reason)
        self._direct_ids[key] = commit
        self._changed.add(key)
        if self._held_logs is not None:
            self._held_logs.add(commit.log)
        return True

    def doubt(self, arrival: int) -> None:
        """A change of the commit at `arrival` does not fit, and something waits that may hold what it builds on."""
        if arrival not in self.unsure:
            self.unsure.append(arrival)
            self._waits_in = None
            self._changed.add(_UNSURE_ID)

    def doubtless(self) -> None:
        """Nothing is unsure any more."""
        self.unsure = []
        self._waits_in = None
        self._changed.add(_UNSURE_ID)

    @property
    def holds(self) -> bool:
        """Whether anything is left out of any record: the question of the hot path."""
        return bool(self._traces)

    def trace(self, log: LogId, place: str, arrival: int) -> Trace | None:
        """By what a change to `place` that arrived at `arrival` is held; None when it is not."""
        traces = self._traces.get(_trace_id(place))
        trace = traces.get(log) if traces else None
        return trace if trace is not None and arrival >= trace.first else None

    def traces(self, place: str) -> dict[LogId, Trace]:
        """Per log what is held of its changes to `place`."""
        return self._traces.get(_trace_id(place), {})

    def entered(self, place: str, trace: Trace) -> None:
        """Somebody who knew entered anew what `trace` lost so far."""
        trace.entered = trace.last
        self._changed.add(_trace_id(place))

    def forget(self, place: str) -> None:
        """A record is derived anew: what it lacks is found again."""
        key = _trace_id(place)
        if self._traces.pop(key, None) is not None:
            self._held_logs = None
            self._changed.add(key)

    def held_from(self) -> Iterator[tuple[int, int]]:
        """Arrivals from which on something is held, each with that of the commit that led to it."""
        for traces in self._traces.values():
            for trace in traces.values():
                yield trace.first, trace.root

    def not_whole(self, log: LogId, log_of: Callable[[int], LogId]) -> bool:
        """Whether documents lack changes of `log`: held ones, or such that wait or are unsure. `log_of` tells whose an
        arrival is."""
        if self._held_logs is None:
            self._held_logs = {held for traces in self._traces.values() for held in traces}
            self._held_logs.update(commit.log for commit in self.direct)
        if log in self._held_logs:
            return True
        if self._waits_in is None:
            arrivals = {arrival for waiting in self.waiting.values() for arrival in waiting}.union(self.unsure)
            self._logs = {arrival: self._logs.get(arrival) or log_of(arrival) for arrival in arrivals}
            self._waits_in = set(self._logs.values())
        return log in self._waits_in

    # -- keeping ------------------------------------------------------------------------------------------------------

    def write(self, store: Store) -> None:
        """Write what changed since the last call."""
        if not self._changed:
            return
        for key in sorted(self._changed):
            store.write_waiting(key, self._numbers(key))
        self._changed.clear()

    def _numbers(self, key: DataKeyId) -> list[int]:
        if key == _UNSURE_ID:
            return self.unsure
        if key in self._direct_ids:
            held = self.direct[self._direct_ids[key]]
            return [held.arrival, WORDS.index(held.reason) if held.reason in WORDS else len(WORDS)]
        if key in self._traces:
            traces = self._traces[key].values()
            return [number for t in traces for number in (t.first, t.root, t.last, t.entered)]
        arrivals = self.waiting.get(key, [])
        unknown = bool(arrivals) and (key in self._absent or key in self.late)
        return [0, *arrivals] if unknown else arrivals
