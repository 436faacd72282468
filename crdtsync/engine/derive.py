"""Applying commits to documents in hand: open, check, apply. Total over what members may write (L2, L6).

A transaction (a commit, or the fragments of a large one when the last of them is there) is first looked at as a whole:
every change passes the gate (`documents.delta`) and fits its document as it stands. Only then is any of it applied. So
a transaction with one bad change in it leaves no trace, and is held; see `holds` for why, and by whose word.

What is left out has consequences, which every site finds alike, without a signature: later changes of the same log to
the same record have a hole before them, and changes by others may build on what is held. Those, and what follows them
in their logs, are left out of that record as well. Whatever else does not fit is held itself.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Final

from crdtsync import limits
from crdtsync.documents import Reach, check_delta
from crdtsync.engine.holds import FORM, LIBRARY, PROCESS, REACH, SEAL, Holds, sentence
from crdtsync.engine.marks import Marks, place_of, place_of_subject
from crdtsync.engine.parts import Parts
from crdtsync.engine.shelf import OpenRecord, Shelf
from crdtsync.engine.watch import Watch
from crdtsync.errors import Malformed, Poisoned, SealBroken, TooLarge
from crdtsync.ids import DataKeyId, LogId, RecordId, ReplicaId, base32, client_id, commit_text, replica_of
from crdtsync.replication.commit import Change, Commit, PartRef
from crdtsync.replication.stored import KeyObject, StoredCommit
from crdtsync.storage.base import Store

BROKEN: Final = (SealBroken, Malformed, TooLarge)
"""What a part that does not open raises: verdicts from bytes and keys, which every reader reaches."""


def blame(commit: Commit, name: str | None = None) -> str:
    """How an alarm names a commit and its author, by the site's `name` if it is known."""
    replica = replica_of(commit.header.log)
    return f"commit {commit_text(commit.id)} of " + (f"site {name}" if name else f"replica {base32(replica)}")


class Group:
    """The commits of one transaction, in order: read from the log again each time, never in memory as a whole.

    `whole` tells whether it begins where it says that it does.
    """

    def __init__(self, store: Store, last: StoredCommit) -> None:
        self._store = store
        self.last = last
        header = last.commit.header
        self.first = header.sequence
        self.whole = True
        if header.fragment is not None:
            self._find(header.fragment[1])

    def _find(self, count: int) -> None:
        log = self.last.commit.header.log
        for index in range(count - 2, -1, -1):
            before = self._store.commit(log, self.first - 1)
            if before is None or before.commit.header.fragment != (index, count):
                self.whole = False
                return
            self.first -= 1

    def __iter__(self) -> Iterator[StoredCommit]:
        header = self.last.commit.header
        for sequence in range(self.first, header.sequence):
            found = self._store.commit(header.log, sequence)
            if found is not None:
                yield found
        yield self.last


def group_of(store: Store, stored: StoredCommit) -> Group | None:
    """The transaction that a commit belongs to; None while its last fragment is not here, or if it never will be."""
    header = stored.commit.header
    if header.fragment is None:
        return Group(store, stored)
    index, count = header.fragment
    last = store.commit(header.log, header.sequence + count - 1 - index)
    if last is None or last.commit.header.fragment != (count - 1, count):
        return None
    group = Group(store, last)
    return group if group.first <= header.sequence else None


def _end_of(commit: Commit) -> int:
    """The sequence with which the transaction of a commit is whole: who had less of it saw nothing of it."""
    index, count = commit.header.fragment or (0, 1)
    return commit.header.sequence + count - 1 - index


class Refused(Exception):
    """A commit turned out, while it was being applied, to be one to hold: its batch begins anew without it."""

    def __init__(self, stored: StoredCommit, reason: str, at: int) -> None:
        super().__init__(reason)
        self.stored = stored
        self.reason = reason
        self.at = at


@dataclass(slots=True)
class Step:
    """What to do with one change of a transaction: apply it, hold it because of the commit at `root`, or wait."""

    stored: StoredCommit
    subject: str
    change: Change
    reach: Reach | None
    root: int


Offence = tuple[StoredCommit, str]
"""A commit that is to be held, and the word for why."""


class Deriver:
    """Takes commits in the order of arrival and changes the documents on a shelf accordingly.

    `full` is called when more documents are in hand than `limits.documents_cached_max`: it writes them out and settles
    the shelf. `kinds_of` gives the kinds under which a record id is kept, `name_of` how people call a site.
    """

    def __init__(
        self,
        store: Store,
        parts: Parts,
        shelf: Shelf,
        marks: Marks,
        holds: Holds,
        *,
        alarm: Callable[[StoredCommit, str], None],
        full: Callable[[], None],
        kinds_of: Callable[[RecordId], Sequence[str]],
        name_of: Callable[[ReplicaId], str | None],
        watch: Watch,
    ) -> None:
        self._store = store
        self._parts = parts
        self._shelf = shelf
        self.marks = marks
        self.holds = holds
        self._alarm = alarm
        self._full = full
        self._kinds_of = kinds_of
        self._name_of = name_of
        self._watch = watch
        self._at = 0

    def run(self, batch: Sequence[StoredCommit]) -> None:
        """Apply the commits of a batch. Raises Refused when it must begin anew, without a commit that is held then."""
        self._parts.prefetch({ref.key for stored in batch for ref in stored.commit.header.parts})
        for stored in batch:
            fragment = stored.commit.header.fragment
            self._at = stored.arrival
            if fragment is None or fragment[0] == fragment[1] - 1:
                self._transaction(Group(self._store, stored))

    # -- one transaction ----------------------------------------------------------------------------------------------

    def _transaction(self, group: Group) -> None:
        root = self.root_of(group) if self.holds.any else 0
        if not root:
            waits: set[tuple[int, int]] = set()
            steps, offence = self._look(group, waits) if group.whole else ([], (group.last, FORM))
            if offence is None:
                for step in self._steps(group, {}, waits, note=False) if steps is None else steps:
                    assert isinstance(step, Step), "what was looked at a moment ago is as it was"
                    self._take(step)
                return
            self.holds.find(offence[0].commit, offence[1])
            root = offence[0].arrival
        self.hold(group, root)

    def root_of(self, group: Group) -> int:
        """The arrival of the first commit of a transaction that is held directly; 0 when none is."""
        for stored in group:
            if self.holds.reason(stored.commit) is not None:
                return stored.arrival
        return 0

    def _look(self, group: Group, waits: set[tuple[int, int]]) -> tuple[list[Step] | None, Offence | None]:
        """Go over a transaction without changing a record: what to do, None when that is too much to keep in mind; and
        the commit that must be held. `waits` learns which parts wait, as (arrival, index)."""
        steps: list[Step] | None = []
        size = 0
        for step in self._steps(group, {}, waits, note=True):
            if not isinstance(step, Step):
                return [], step
            if steps is not None:
                steps.append(step)
                size += len(step.change.delta)
                if size > limits.commit_bytes_max or len(steps) > limits.changes_per_part_max:
                    steps = None
            if len(self._shelf.taken) > limits.documents_cached_max:
                self._full()
        return steps, None

    def _steps(
        self,
        group: Iterable[StoredCommit],
        ends: dict[tuple[str, str], int],
        waits: set[tuple[int, int]],
        *,
        note: bool,
    ) -> Iterator[Step | Offence]:
        """The changes of a transaction with what to do with each; or the commit that is to be held, and the end.

        `ends` learns where the structs of the author end in records that the transaction changed. `note` tells to find
        out which parts wait; else `waits` tells it.
        """
        for stored in group:
            for index, ref in enumerate(stored.commit.header.parts):
                if note:
                    key = self._key(stored, ref)
                    if key is None:
                        waits.add((stored.arrival, index))
                else:
                    key = None if (stored.arrival, index) in waits else self._parts.key(ref.key)
                if key is None:
                    continue
                try:
                    changes = self._open(stored, index, ref, key)
                except BROKEN:
                    yield stored, SEAL
                    return
                for change in changes:
                    if self._wanted(change):
                        step = self._judge(stored, key.subject, change, ends)
                        if isinstance(step, str):
                            yield stored, step
                            return
                        yield step

    def _wanted(self, change: Change) -> bool:
        return True

    def _open(self, stored: StoredCommit, index: int, ref: PartRef, key: KeyObject) -> Sequence[Change]:
        header = stored.commit.header
        return self._parts.open(header.log, header.sequence, index, ref, key, stored.commit.parts[index]).changes

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

    # -- one change ---------------------------------------------------------------------------------------------------

    def _judge(
        self, stored: StoredCommit, subject: str, change: Change, ends: dict[tuple[str, str], int]
    ) -> Step | str:
        """What to do with a change; or the word for why its commit is held."""
        log, place = stored.commit.header.log, (change.kind, change.record)
        try:
            reach = check_delta(change.delta, client_id(log, change.record))
        except Poisoned:
            return FORM
        found = self._shelf.take(change.kind, change.record, subject)
        root = self._root(stored, subject, change) if self.marks.holds else 0
        if root:
            return Step(stored, subject, change, None, root)
        try:
            missing = found.document.missing(reach, ends.get(place))
        except Poisoned:
            self._shelf.reload(found, len(found.deltas))
            return LIBRARY
        if missing:
            root = self._led_to(log, change, missing)
            if not root and not self._unsure():
                return REACH
            return Step(stored, subject, change, None, root)
        if reach.end:
            ends[place] = reach.end
        return Step(stored, subject, change, reach, 0)

    def _root(self, stored: StoredCommit, subject: str, change: Change) -> int:
        """The arrival of the commit because of which this log's changes to this record are held; 0 when none are."""
        log, arrival = stored.commit.header.log, stored.arrival
        for place in (place_of(change.kind, change.record), place_of_subject(subject)):
            trace = self.marks.trace(log, place, arrival)
            if trace is not None:
                return trace.root
        return 0

    def _led_to(self, log: LogId, change: Change, missing: Sequence[int]) -> int:
        """The arrival of the commit that led to all that is missing; 0 when some of it is held by nobody.

        A writer's structs are missing because it is held: all that it wrote from there on is left out of this record.
        """
        traces = self.marks.traces(place_of(change.kind, change.record)) if self.marks.holds else {}
        roots = {client_id(other, change.record): trace.root for other, trace in traces.items() if other != log}
        if self.holds.frozen:
            frozen = {client_id(other, change.record) for other in self.holds.frozen if other != log}
            missing = [writer for writer in missing if writer not in frozen or writer in roots]
            if not missing:
                return self._at
        if not all(writer in roots for writer in missing):
            return 0
        return min((roots[writer] for writer in missing), key=lambda root: self.at(root).commit.id)

    def _unsure(self) -> bool:
        """Whether what is missing may be in a part that waits: then there is no verdict yet."""
        return bool(self.marks.waiting)

    def _take(self, step: Step) -> None:
        stored, change = step.stored, step.change
        if step.reach is None and not step.root:
            self.marks.doubt(stored.arrival)
            return
        found = self._shelf.take(change.kind, change.record, step.subject)
        if step.reach is None:
            self._hold_change(stored, found, step.root)
        else:
            self._apply(stored, found, change.delta, step.reach)
            found.deltas.append(change.delta)
            self._touch(stored, found)
            if self.marks.holds:
                self._entered(stored, found)
        if len(self._shelf.taken) > limits.documents_cached_max:
            self._full()

    def _apply(self, stored: StoredCommit, found: OpenRecord, delta: bytes, reach: Reach) -> None:
        """Apply one change, tried before where an earlier process died. Raises Refused when nothing can take it."""
        watch, client = self._watch, self._shelf.client(found.record)
        watch.begin()
        reason = PROCESS
        try:
            if watch.wary:
                watch.examine(stored, found, client, delta)
            reason = LIBRARY
            found.document.apply(delta, reach)
            if watch.careful:
                found.prove(client)
        except Poisoned:
            self._shelf.reload(found, len(found.deltas))
            raise Refused(stored, reason, self._at) from None
        finally:
            watch.busy = False

    def _touch(self, stored: StoredCommit, found: OpenRecord) -> None:
        found.dirty = True
        found.arrival = self._at
        found.arrived_ms = stored.arrived_ms
        found.touches.append(stored.arrival)

    # -- what is held -------------------------------------------------------------------------------------------------

    def hold(self, group: Group, root: int) -> None:
        """Leave a transaction out: note what its records lack, and say so once."""
        for stored in group:
            reason = self.holds.reason(stored.commit)
            new = reason is not None and self.marks.hold_directly(stored, self.holds.found.get(stored.commit.id, ""))
            records = []
            for index, ref in enumerate(stored.commit.header.parts):
                key = self._key(stored, ref)
                if key is not None:
                    records += self.hold_part(stored, index, ref, key, root)
            if new and reason is not None:
                self._say(stored, reason, records)

    def hold_part(self, stored: StoredCommit, index: int, ref: PartRef, key: KeyObject, root: int) -> list[str]:
        """Leave out one part of a commit that is held; the records that lack it, by kind and id."""
        try:
            changes = self._open(stored, index, ref, key)
        except BROKEN:
            return self._hold_unknown(stored, key.subject, root)
        records = []
        for change in changes:
            if self._wanted(change):
                self._hold_change(stored, self._shelf.take(change.kind, change.record, key.subject), root)
                records.append(f"{change.kind} {change.record}")
                if len(self._shelf.taken) > limits.documents_cached_max:
                    self._full()
        return records

    def _hold_change(self, stored: StoredCommit, found: OpenRecord, root: int) -> None:
        self.marks.hold(stored.commit.header.log, place_of(found.kind, found.record), stored.arrival, root)
        self._touch(stored, found)
        self.judge_whole(found)

    def _hold_unknown(self, stored: StoredCommit, subject: str, root: int) -> list[str]:
        """A part that opens to nothing: which records it was to change is not known, only whose they are."""
        self.marks.hold(stored.commit.header.log, place_of_subject(subject), stored.arrival, root)
        for kind in self._kinds_of(RecordId(subject)):
            found = self._shelf.take(kind, RecordId(subject), subject)
            self._touch(stored, found)
            self.judge_whole(found)
        return [f"subject {subject}"]

    def _say(self, stored: StoredCommit, reason: str, records: Sequence[str]) -> None:
        self._alarm(stored, self.sentence_of(stored, reason, records))

    def sentence_of(self, stored: StoredCommit, reason: str, records: Sequence[str]) -> str:
        """What an alarm says of a commit that is held: its author, its records, and why."""
        shown = ", ".join(dict.fromkeys(records[: limits.records_named_max]))
        more = f" and {len(records) - limits.records_named_max} more" if len(records) > limits.records_named_max else ""
        where = f" for {shown}{more}" if shown else ""
        return f"{self.blame(stored)} is held{where}: {sentence(reason)}"

    def blame(self, stored: StoredCommit) -> str:
        """How people are told of a commit and its author."""
        return blame(stored.commit, self._name_of(replica_of(stored.commit.header.log)))

    def judge_whole(self, found: OpenRecord) -> None:
        """Bring up to date whether a record lacks what somebody must enter anew."""
        roots = [
            trace.root
            for place in (place_of(found.kind, found.record), place_of_subject(found.record))
            for trace in self.marks.traces(place).values()
            if trace.last > trace.entered
        ]
        found.damaged = ""
        if roots:
            first = min((self.at(root) for root in roots), key=lambda stored: stored.commit.id)
            found.damaged = f"Not whole: {self.blame(first)} could not be applied. Enter what is missing anew."

    def at(self, arrival: int) -> StoredCommit:
        """The commit that arrived then."""
        return self._store.arrivals(arrival - 1, 1, 1)[0]

    # -- what is entered anew -----------------------------------------------------------------------------------------

    def _entered(self, stored: StoredCommit, found: OpenRecord) -> None:
        """A change clears what its author knew to be lost: the held change was before it, and so was, among the
        membership records that it names, one by which the commit that led to it is held. Bytes decide, so every site
        finds the same."""
        for place in (place_of(found.kind, found.record), place_of_subject(found.record)):
            for log, trace in self.marks.traces(place).items():
                if (
                    trace.last > trace.entered
                    and self._knew(stored.commit, trace.root)
                    and self._saw(stored.commit, log, _end_of(self.at(trace.last).commit))
                ):
                    self.marks.entered(place, trace)
        if found.damaged or not found.fingerprint:
            self.judge_whole(found)

    def _knew(self, commit: Commit, root: int) -> bool:
        return self.holds.knew(commit.header.members, self.at(root).commit.id)

    def _saw(self, commit: Commit, log: LogId, sequence: int) -> bool:
        """Whether the author had that commit. Each commit names all logs that moved since the one before it, so the
        newest one that names `log` tells."""
        header = commit.header
        while header.log != log:
            named = dict(header.dependencies).get(log)
            if named is not None:
                return named.sequence >= sequence
            before = self._store.commit(header.log, header.sequence - 1) if header.sequence > 1 else None
            if before is None:
                return False
            header = before.commit.header
        return header.sequence > sequence

    def written(self, commits: Sequence[StoredCommit], records: Sequence[OpenRecord]) -> None:
        """Local commits changed these records: what they lacked so far was known here, if it was signed."""
        if self.marks.holds and commits:
            last = commits[-1]
            for found in records:
                places = (place_of(found.kind, found.record), place_of_subject(found.record))
                for place in places:
                    for trace in self.marks.traces(place).values():
                        if trace.last > trace.entered and self._knew(last.commit, trace.root):
                            self.marks.entered(place, trace)
                self.judge_whole(found)

    # -- what waited --------------------------------------------------------------------------------------------------

    def run_waiting(self, stored: StoredCommit, key: KeyObject, at: int) -> str:
        """Apply those parts of a commit that waited for `key`; `at` is how far the view goes.

        Gives a reason to hold the commit, REACH when its subject must be derived in the order of the log instead, ""
        when all is done. What was applied is not undone here.
        """
        self._at = at
        held = self.root_here(stored)
        for index, ref in enumerate(stored.commit.header.parts):
            if ref.key != key.id:
                continue
            if held:
                self.hold_part(stored, index, ref, key, held)
                continue
            try:
                changes = self._open(stored, index, ref, key)
            except BROKEN:
                return SEAL
            ends: dict[tuple[str, str], int] = {}
            steps = [self._judge(stored, key.subject, change, ends) for change in changes]
            for step in steps:
                if isinstance(step, str):
                    return step
                if step.reach is None:
                    return REACH
            for step in steps:
                assert isinstance(step, Step)
                self._take(step)
        return ""

    def root_here(self, stored: StoredCommit) -> int:
        """The arrival of the commit by which the transaction of this one is held; 0 when it is not."""
        group = group_of(self._store, stored) if self.holds.any else None
        return self.root_of(group) if group is not None else 0

    # -- what a commit touches ----------------------------------------------------------------------------------------

    def touched(
        self, stored: StoredCommit, keys: Collection[DataKeyId] | None = None
    ) -> Iterator[tuple[str, RecordId]]:
        """Kind and id of the records that a commit changes, as far as it can be read, in parts under any of `keys`."""
        header = stored.commit.header
        for index, ref in enumerate(header.parts):
            key = self._parts.key(ref.key) if keys is None or ref.key in keys else None
            if key is not None and self._parts.readable(key, ref):
                with suppress(*BROKEN):
                    for change in self._open(stored, index, ref, key):
                        yield change.kind, change.record

    def subjects(self, stored: StoredCommit) -> Iterator[str]:
        """The subjects of those of its parts that do not open."""
        for index, ref in enumerate(stored.commit.header.parts):
            key = self._parts.key(ref.key)
            if key is not None and self._parts.readable(key, ref):
                try:
                    self._open(stored, index, ref, key)
                except BROKEN:
                    yield key.subject
