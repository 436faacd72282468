"""Local transactions become commits: edits to deltas, deltas to sealed parts, parts to signed commits (L2, L6).

A transaction that is too large for one commit is split while its deltas are made, because a delta names the commit it
stands in. All its commits go into one append, so that all of them are on disk or none.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from crdtsync import limits
from crdtsync.documents import check_delta
from crdtsync.engine.parts import Parts
from crdtsync.engine.shelf import OpenRecord, Shelf
from crdtsync.engine.values import RecordEdits, WriteGrant, WriteRequest
from crdtsync.errors import BadValue
from crdtsync.ids import LogId, client_id, log_tag
from crdtsync.replication.commit import Change, Commit, Part, PartRef, encode_header, header_hash, signed_bytes
from crdtsync.replication.stored import KeyObject
from crdtsync.replication.writer import Draft, Place
from crdtsync.sealing.base import Sealer

_PART_OVERHEAD_BYTES: Final = 400
"""What a part costs beside its words and changes: header entry, seal, padding."""
_CHANGE_OVERHEAD_BYTES: Final = 100


class Fragment:
    """One commit in the making: its place and the changes per subject, in the order in which they were made."""

    def __init__(self, place: Place) -> None:
        self.place = place
        self.changes: dict[str, list[Change]] = {}
        self.size = 0

    def full(self, subject: str) -> bool:
        """Whether another change to `subject` belongs into the next fragment."""
        changes = self.changes.get(subject)
        if changes is None:
            return self.size >= limits.commit_bytes_target or len(self.changes) >= limits.parts_written_max
        return self.size >= limits.commit_bytes_target or len(changes) >= limits.changes_per_part_max

    def add(self, subject: str, change: Change, words: int) -> None:
        """Take a change; `words` is the size of what every part repeats."""
        if subject not in self.changes:
            self.changes[subject] = []
            self.size += _PART_OVERHEAD_BYTES + words
        self.changes[subject].append(change)
        self.size += _CHANGE_OVERHEAD_BYTES + len(change.delta)


@dataclass(frozen=True, slots=True)
class Sealing:
    """What the commits of one call have in common: keys, log, membership, epoch and wall time."""

    sealer: Sealer
    parts: Parts
    log: LogId
    grant: WriteGrant
    now_ms: int

    def part(
        self,
        request: WriteRequest,
        place: Place,
        index: int,
        subject: str,
        changes: Sequence[Change],
        introduced: dict[str, KeyObject],
    ) -> tuple[PartRef, bytes]:
        """Seal the changes to one subject; a key that is new is added to `introduced`."""
        epoch = self.grant.epoch
        key, new = self.parts.key_for(subject, epoch, introduced)
        part = Part(request.author, self.now_ms, request.reason, request.workstation, request.purpose, tuple(changes))
        return self.parts.seal(self.log, place.sequence, index, epoch, key, new, part)

    def commit(
        self, draft: Draft, place: Place, sealed: Sequence[tuple[PartRef, bytes]], fragment: tuple[int, int] | None
    ) -> Commit:
        """Sign the next commit of the draft."""
        header = draft.build(place, self.grant.members, [ref for ref, _ in sealed], fragment)
        header_bytes = encode_header(header)
        commit_hash = header_hash(header_bytes)
        signature = self.sealer.sign(signed_bytes(commit_hash))
        commit = Commit(header, header_bytes, tuple([data for _, data in sealed]), signature, commit_hash)
        draft.add(commit)
        return commit


class Scribe:
    """Makes the commits of one call of `Engine.write`, one request after the other; `arrival` is where the log ends."""

    def __init__(self, sealing: Sealing, shelf: Shelf, draft: Draft, arrival: int) -> None:
        self._sealing = sealing
        self._shelf = shelf
        self._draft = draft
        self._arrival = arrival
        self._log = sealing.log
        self._tag = log_tag(sealing.log)
        self._now_ms = sealing.now_ms
        self._introduced: dict[str, KeyObject] = {}
        self._prefaces = [draft.place(ahead, self._now_ms) for ahead in range(draft.prefaces)]
        self.commits: list[Commit] = []

    @property
    def keys(self) -> list[KeyObject]:
        """All keys that the commits introduce: to be synced before them (L1)."""
        return list(self._introduced.values())

    def request(self, request: WriteRequest) -> tuple[list[Commit], list[KeyObject]]:
        """The commits of one request and the keys that they introduce; none when nothing changed.

        Raises what is wrong with the request; then documents, keys and places are as before it.
        """
        check_words(request)
        before: dict[tuple[str, str], int] = {}
        keys, prefaces, mark = dict(self._introduced), self._prefaces, self._draft.mark()
        try:
            fragments = self._edit(request, before)
            commits = self._seal(request, fragments)
        except BaseException:
            self._introduced, self._prefaces = keys, prefaces
            self._draft.back_to(mark)
            self._undo(before)
            raise
        first = self._arrival + len(self.commits) + len(commits) - len(fragments)
        self.commits.extend(commits)
        for place in before:
            self._shelf.taken[place].arrival = self._arrival + len(self.commits)
        for arrival, fragment in enumerate(fragments, first + 1):
            for changes in fragment.changes.values():
                for change in changes:
                    self._shelf.taken[change.kind, change.record].touches.append(arrival)
        return commits, [key for subject, key in self._introduced.items() if subject not in keys]

    def _edit(self, request: WriteRequest, before: dict[tuple[str, str], int]) -> list[Fragment]:
        texts = (request.author, request.reason, request.workstation, request.purpose)
        words = sum(len(text.encode()) for text in texts)
        fragments: list[Fragment] = []
        for edits in merged(request.records):
            found = self._shelf.take(edits.kind, edits.record, edits.subject)
            before.setdefault((edits.kind, edits.record), len(found.deltas))
            if not fragments or fragments[-1].full(found.subject):
                fragments.append(Fragment(self._place(len(fragments))))
            delta = self._write(found, edits, fragments[-1].place)
            if delta:
                fragments[-1].add(found.subject, Change(edits.kind, edits.record, delta), words)
        if fragments and not fragments[-1].changes:
            fragments.pop()
        return fragments

    def _write(self, found: OpenRecord, edits: RecordEdits, place: Place) -> bytes:
        delta = found.document.write(tag=self._tag, sequence=place.sequence, stamp=place.stamp, edits=edits.edits)
        if not delta:
            return b""
        found.deltas.append(delta)
        # Authors pass the same gate before their own log (L6).
        check_delta(delta, client_id(self._log, edits.record))
        found.dirty = True
        found.arrived_ms = self._now_ms
        return delta

    def _place(self, ahead: int) -> Place:
        return self._draft.place(ahead + len(self._prefaces), self._now_ms)

    def _seal(self, request: WriteRequest, fragments: list[Fragment]) -> list[Commit]:
        if not fragments:
            return []
        sealing, draft = self._sealing, self._draft
        commits = [sealing.commit(draft, place, [], None) for place in self._prefaces]
        self._prefaces = []
        count = len(fragments)
        for index, fragment in enumerate(fragments):
            sealed = [
                sealing.part(request, fragment.place, at, subject, changes, self._introduced)
                for at, (subject, changes) in enumerate(fragment.changes.items())
            ]
            commits.append(sealing.commit(draft, fragment.place, sealed, (index, count) if count > 1 else None))
        return commits

    def _undo(self, before: dict[tuple[str, str], int]) -> None:
        for place, deltas in before.items():
            found = self._shelf.taken.get(place)
            if found is None:
                continue
            if deltas == 0:
                self._shelf.forget(found)
            else:
                self._shelf.reload(found, deltas)


def check_words(request: WriteRequest) -> None:
    """Refuse, before anything is made, what no reader would accept. Raises BadValue."""
    for what, text, most in (
        ("author", request.author, limits.name_characters_max),
        ("reason", request.reason, limits.reason_characters_max),
        ("workstation", request.workstation, limits.name_characters_max),
        ("purpose", request.purpose, limits.name_characters_max),
    ):
        if len(text) > most:
            raise BadValue(f"the {what} of a transaction has {len(text)} characters where at most {most} are allowed")
    for edits in request.records:
        for what, text in (("kind", edits.kind), ("id", edits.record), ("subject", edits.subject or edits.record)):
            if not 0 < len(text) <= 64:
                raise BadValue(f"the {what} of a record is a text of 1 to 64 characters")


def merged(records: Sequence[RecordEdits]) -> list[RecordEdits]:
    """One entry per record: two of the same in one transaction are one change, in their order."""
    found: dict[tuple[str, str], RecordEdits] = {}
    for edits in records:
        place = (edits.kind, edits.record)
        first = found.get(place)
        if first is None:
            found[place] = edits
        else:
            found[place] = RecordEdits(first.kind, first.record, first.subject, [*first.edits, *edits.edits])
    return list(found.values())
