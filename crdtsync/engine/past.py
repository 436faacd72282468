"""A record's past, from the log: each change of it, and what the record said before and after (L8).

The view's index tells which commits name a record, so that nothing else is read. A change is told as the view has it:
one that is held, rotten or waits for a key is named as such, and changes nothing. Nothing is guessed: behind a rotten
commit it is not known what a record said, until that commit has been fetched again.

Steps stand in one order at all sites: by hybrid time, each behind what it builds on. So a history differs from site to
site in its times of arrival alone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Final

from crdtsync import limits
from crdtsync.documents import Content, Document, Reach, check_delta
from crdtsync.engine.accounts import Account, account_of
from crdtsync.engine.derive import BROKEN, Deriver
from crdtsync.engine.holds import FROZEN, SEAL, sentence
from crdtsync.engine.marks import place_of, place_of_subject
from crdtsync.engine.parts import Parts
from crdtsync.errors import Poisoned, RottenCommit
from crdtsync.ids import CommitId, LogId, RecordId, client_id, commit_text
from crdtsync.replication.commit import Part
from crdtsync.replication.stored import StoredCommit
from crdtsync.storage.base import Store

APPLIED: Final = "applied"
HELD: Final = "held"
"""Documents could not take it, or it goes with one that they could not take (L6, L3)."""
ROTTEN: Final = "rotten"
"""Its bytes on this disk are not what was written; they are fetched again."""
WAITING: Final = "waiting"
"""It waits for a key, or builds on what does."""
UNKNOWN: Final = "unknown"
"""It was applied, but what the record said then is not known: a commit before it is rotten here."""

_CLIENT: Final = 1
"""A document that is only read needs no client id of its own."""

_WAITS: Final = "it waits for a key"
_MAY_WAIT: Final = "a part of it waits for a key, and may change this record"

Order = tuple[int, LogId, int]
"""Hybrid time, log and sequence: where a commit stands among all others, alike at every site."""


@dataclass(frozen=True, slots=True)
class Told:
    """What one commit tells of one record: its changes of it, as they stand in the log, and how the view took them.

    `stamp`, `arrival` and `arrived_ms` are those with which it counted: of the last fragment of its transaction.
    `account` is None for a rotten commit. `why` is a sentence unless the change was applied.
    """

    commit: CommitId
    order: Order
    deltas: tuple[bytes, ...]
    account: Account | None
    stamp: int
    arrival: int
    arrived_ms: int
    state: str = APPLIED
    why: str = ""


@dataclass(frozen=True, slots=True)
class Step:
    """One change of a record. `before` and `after` are what the document said; None where that is not known.

    `slots` are the keys of all slots of the document that differ, `texts` the fields of co-edited text that do: none
    for a change that was not applied, or that said what was there already.
    """

    told: Told
    before: Content | None
    after: Content | None
    slots: tuple[str, ...] = ()
    texts: tuple[str, ...] = ()
    state: str = APPLIED
    why: str = ""

    @property
    def commit(self) -> CommitId:
        """The commit that made the change."""
        return self.told.commit

    @property
    def account(self) -> Account | None:
        """Who, when, where and why; None for a rotten commit."""
        return self.told.account

    @property
    def fields(self) -> tuple[str, ...]:
        """The names of the fields that differ."""
        return tuple(sorted({*(slot.partition("/")[0] for slot in self.slots), *self.texts}))


# --- from commits to steps: pure -----------------------------------------------------------------------------------


class Retelling:
    """Goes through changes of one record in the order of all sites, and keeps its document as it was behind each."""

    def __init__(self, record: RecordId, told: Iterable[Told]) -> None:
        self._record = record
        self._told = sorted(told, key=lambda each: each.order)
        self.document = Document(_CLIENT)

    def steps(self) -> Iterator[Step]:
        """Every change, oldest first."""
        rotten: Told | None = None
        before = self.document.content()
        for told, applied in self._run():
            if rotten is not None and told.state == APPLIED:
                why = f"what stood here is not known: {commit_text(rotten.commit)}, before it, is rotten on this disk"
                yield Step(told, None, None, state=UNKNOWN, why=why)
            elif applied:
                after = self.document.content()
                yield _step(told, before, after)
                before = after
            elif told.state == APPLIED:
                yield Step(told, None, None, state=WAITING, why="it builds on changes that are not here yet")
            else:
                yield Step(told, None, None, state=told.state, why=told.why)
            if told.state == ROTTEN:
                rotten = told

    def at(self, counts: Callable[[Told], bool]) -> tuple[Content, list[Told]]:
        """What the document said when just these changes counted, and those of them that say why it is not whole.

        A change that builds on one that did not count yet did not count either.
        """
        missing = [told for told, applied in self._run(counts) if not applied and counts(told)]
        return self.document.content(), [told for told in missing if told.state in (ROTTEN, WAITING)]

    def _run(self, counts: Callable[[Told], bool] | None = None) -> Iterator[tuple[Told, bool]]:
        """Each change with whether it is applied now; those that fit nowhere come last."""
        aside: list[tuple[Told, list[Reach]]] = []
        for told in self._told:
            reaches = self._reaches(told) if told.state == APPLIED and (counts is None or counts(told)) else None
            if reaches is None:
                yield told, False
            elif not self._apply(told, reaches):
                aside.append((told, reaches))
            else:
                yield told, True
                while (fits := self._next(aside)) is not None:
                    yield fits, True
        for told, _ in aside:
            yield told, False

    def _next(self, aside: list[tuple[Told, list[Reach]]]) -> Told | None:
        """The first change that was put aside and can be applied now."""
        for index, (told, reaches) in enumerate(aside):
            if self._apply(told, reaches):
                del aside[index]
                return told
        return None

    def _reaches(self, told: Told) -> list[Reach] | None:
        client = client_id(told.commit.log, self._record)
        try:
            return [check_delta(delta, client) for delta in told.deltas]
        except Poisoned:
            return None

    def _apply(self, told: Told, reaches: Sequence[Reach]) -> bool:
        """Apply a change if it fits."""
        end: int | None = None
        for reach in reaches:
            if self.document.missing(reach, end):
                return False
            end = reach.end or end
        for delta, reach in zip(told.deltas, reaches, strict=True):
            self.document.apply(delta, reach)
        return True


def _step(told: Told, before: Content, after: Content) -> Step:
    slots = _different(before.slots, after.slots)
    return Step(told, before, after, slots, _different(before.texts, after.texts))


def _different(before: object, after: object) -> tuple[str, ...]:
    assert isinstance(before, dict) and isinstance(after, dict)
    names = before.keys() | after.keys()
    return tuple(sorted(name for name in names if before.get(name) != after.get(name)))


@dataclass(slots=True)
class _Said:
    """Changes found in parts of a commit; whether some of them wait, and whether some part cannot be read."""

    deltas: list[bytes] = field(default_factory=list)
    waits: bool = False
    closed: bool = False
    part: Part | None = None


# --- from the log to commits ------------------------------------------------------------------------------------------


class _Opened:
    """A commit in hand: what its parts say, each opened once, for all records that are asked for."""

    def __init__(self, stored: StoredCommit, parts: Parts) -> None:
        self.stored = stored
        self._parts = parts
        self._changes: dict[int, tuple[Part, dict[tuple[str, RecordId], list[bytes]]] | None] = {}
        self._of_subject: dict[str, list[int]] = {}
        self._unknown: list[int] = []
        for index, ref in enumerate(stored.commit.header.parts):
            key = parts.key(ref.key)
            if key is None:
                self._unknown.append(index)
            else:
                self._of_subject.setdefault(key.subject, []).append(index)

    def about(self, subject: str) -> list[int]:
        """The parts for a subject, and those of which the subject is not known."""
        return sorted([*self._of_subject.get(subject, ()), *self._unknown])

    def others(self, subject: str) -> list[int]:
        """All other parts."""
        return sorted(index for name, found in self._of_subject.items() if name != subject for index in found)

    def readable(self, index: int) -> bool:
        """Whether the keys of a part are here."""
        ref = self.stored.commit.header.parts[index]
        key = self._parts.key(ref.key)
        return key is not None and self._parts.readable(key, ref)

    def part(self, index: int, place: tuple[str, RecordId]) -> tuple[Part, list[bytes]] | None:
        """A readable part and its changes of a record; None when it does not open."""
        if index not in self._changes:
            self._changes[index] = self._open(index)
        found = self._changes[index]
        return None if found is None else (found[0], found[1].get(place, []))

    def _open(self, index: int) -> tuple[Part, dict[tuple[str, RecordId], list[bytes]]] | None:
        commit = self.stored.commit
        header, ref = commit.header, commit.header.parts[index]
        key = self._parts.key(ref.key)
        try:
            assert key is not None, "only readable parts are asked for"
            part = self._parts.open(header.log, header.sequence, index, ref, key, commit.parts[index])
        except BROKEN:
            return None
        changes: dict[tuple[str, RecordId], list[bytes]] = {}
        for change in part.changes:
            changes.setdefault((change.kind, change.record), []).append(change.delta)
        return part, changes


class Past:
    """Reads what commits tell of records. `rotten` hears of those whose bytes are not what was written.

    The last commits are kept in hand (`limits.commits_opened_max`): records that were changed together are read
    quickly one after the other. Good for one look: a view that goes on may judge otherwise.
    """

    def __init__(self, store: Store, parts: Parts, deriver: Deriver, rotten: Callable[[RottenCommit], None]) -> None:
        self._store = store
        self._parts = parts
        self._deriver = deriver
        self._marks = deriver.marks
        self._rotten = rotten
        self._opened: dict[int, _Opened] = {}
        self._lasts: dict[CommitId, tuple[int, int, int]] = {}

    def _at(self, arrival: int) -> _Opened:
        found = self._opened.pop(arrival, None) or _Opened(self._deriver.at(arrival), self._parts)
        self._opened[arrival] = found
        if len(self._opened) > limits.commits_opened_max:
            del self._opened[next(iter(self._opened))]
        return found

    def arrivals(self, kind: str, record: RecordId) -> list[int]:
        """Arrivals of all commits that name the record, or may: their parts for its subject cannot be read yet."""
        found = set(self._store.touches(kind, record))
        document = self._store.document(kind, record)
        if document is not None:
            found.update(self._waiting_of(document.subject))
        marks = self._marks
        apart = [direct.arrival for direct in marks.direct.values() if direct.reason not in ("", FROZEN)]
        for arrival in {*apart, *marks.unsure} - found:
            with suppress(RottenCommit):
                if (kind, record) in self._deriver.touched(self._deriver.at(arrival)):
                    found.add(arrival)
        return sorted(found)

    def _waiting_of(self, subject: str) -> Iterator[int]:
        for key_id, arrivals in self._marks.waiting.items():
            key = self._parts.key(key_id)
            if key is not None and key.subject == subject:
                yield from arrivals

    def told(self, kind: str, record: RecordId, arrivals: Iterable[int]) -> list[Told]:
        """What these commits tell of the record."""
        document = self._store.document(kind, record)
        subject = record if document is None else document.subject
        found = []
        for arrival in arrivals:
            try:
                found.append(self._one(kind, record, subject, self._at(arrival)))
            except RottenCommit as error:
                self._rotten(error)
                found.append(self._unreadable(error, arrival))
        return found

    def _one(self, kind: str, record: RecordId, subject: str, opened: _Opened) -> Told:
        stored = opened.stored
        header = stored.commit.header
        said = self._said(opened, opened.about(subject), (kind, record))
        if not (said.deltas or said.closed):  # nobody of this house puts a record's change under another subject
            said = self._said(opened, opened.others(subject), (kind, record))
        state, why = self._verdict(stored, subject, kind, record)
        if state == APPLIED and (said.waits or (said.closed and not said.deltas)):
            state, why = WAITING, _WAITS if said.deltas else _MAY_WAIT
        elif state == APPLIED and not said.deltas:
            state, why = HELD, sentence(SEAL)
        return Told(
            stored.commit.id,
            (header.stamp, header.log, header.sequence),
            tuple(said.deltas),
            account_of(stored, said.part),
            *self._last(stored),
            state,
            why,
        )

    def _said(self, opened: _Opened, indexes: Iterable[int], place: tuple[str, RecordId]) -> _Said:
        """What these parts of a commit say of a record."""
        stored, said = opened.stored, _Said()
        for index in indexes:
            if not opened.readable(index):
                said.closed = True
                continue
            found = opened.part(index, place)
            if found is None:
                continue
            part, mine = found
            ref = stored.commit.header.parts[index]
            said.deltas += mine
            said.waits |= bool(mine) and stored.arrival in self._marks.waiting.get(ref.key, ())
            said.part = part if mine or said.part is None else said.part
        return said

    def _verdict(self, stored: StoredCommit, subject: str, kind: str, record: RecordId) -> tuple[str, str]:
        """How the view took a change by this commit."""
        deriver, log = self._deriver, stored.commit.header.log
        root = deriver.root_here(stored)
        if root:
            held = deriver.at(root).commit
            reason = deriver.holds.reason(held)
            return HELD, sentence(reason or "")
        for place in (place_of(kind, record), place_of_subject(subject)) if self._marks.holds else ():
            trace = self._marks.trace(log, place, stored.arrival)
            if trace is not None:
                held = deriver.at(trace.root).commit
                return HELD, f"it goes with {commit_text(held.id)}, which is held; enter it anew"
        return APPLIED, ""

    def _last(self, stored: StoredCommit) -> tuple[int, int, int]:
        """Stamp, arrival and time of arrival of a transaction's last fragment: with it the whole counted."""
        header = stored.commit.header
        if header.fragment is None:
            return header.stamp, stored.arrival, stored.arrived_ms
        index, count = header.fragment
        place = CommitId(header.log, header.sequence + count - 1 - index)
        if place not in self._lasts:
            last = stored
            with suppress(RottenCommit):
                last = self._store.commit(*place) or stored
            self._lasts[place] = last.commit.header.stamp, last.arrival, last.arrived_ms
        return self._lasts[place]

    def _unreadable(self, error: RottenCommit, arrival: int) -> Told:
        """A rotten commit stands where it stands at the earliest: right behind the one before it in its log."""
        log, stamp = LogId(error.log), 0
        with suppress(RottenCommit):
            before = self._store.commit(log, error.sequence - 1) if error.sequence > 1 else None
            stamp = 0 if before is None else before.commit.header.stamp
        why = "its bytes on this disk are not what was written; they are fetched again from another site"
        commit = CommitId(log, error.sequence)
        return Told(commit, (stamp, log, error.sequence), (), None, stamp, arrival, 0, ROTTEN, why)

