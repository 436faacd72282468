"""The simulated disk: what a crash leaves, moments at which the power may go, the proof of continuity (L1, L4).

A disk outlives the process that uses it. What was synced stays; of the view's newest transactions a power cut takes any
suffix. The fuse is asked after every step that reaches the disk, so that a crash can come between any two of them.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Final

from crdtsync.errors import StorageFailure
from crdtsync.ids import LogId, MemberHash, RecordId
from crdtsync.replication.commit import Commit
from crdtsync.replication.stored import KeyObject, LogHead, StoredCommit
from crdtsync.storage.base import NO_NOTES, Notes, StoredDocument, ViewChange, ViewState
from crdtsync.storage.continuity import Continuity
from crdtsync.storage.memory import MemoryStore
from crdtsync.testing.verdict import OracleFailed

SYNC_FAILED: Final = "the sync failed"
"""How a disk begins what it says when bytes were written, and nobody knows whether they will stay."""
ROTTEN_VIEW: Final = "view.db is damaged"
"""How a disk begins what it says of a rotten document."""


class PowerCut(BaseException):
    """The process ends here, whatever it was doing: no handler of the house may catch this for an error."""


def _never(where: str) -> bool:
    return False


def _takes(where: str) -> str:
    return ""


def _ignore(commits: Sequence[tuple[Commit, bool]]) -> None: ...


class Disk(MemoryStore):
    """A store whose owner may be stopped at every step, and whose bytes may rot.

    `fuse(where)` is asked behind each write ("keys", "log", "view", "members", "meta") and amid each append ("torn"):
    True stops the process there. `refuses(where)` is asked before each write: a sentence means that the disk refuses
    it, and from then on everything. `on_append` is told what has reached the log.
    """

    def __init__(self) -> None:
        super().__init__()
        self.fuse: Callable[[str], bool] = _never
        self.refuses: Callable[[str], str] = _takes
        self.on_append: Callable[[Sequence[tuple[Commit, bool]]], None] = _ignore
        self.rotten_documents: dict[tuple[str, RecordId], None] = {}
        self.views = 0
        """How often the view was begun anew."""
        self._refused = False

    def _point(self, where: str) -> None:
        if self.fuse(where):
            self.failure = "the process has ended"
            raise PowerCut(where)

    def _ask(self, where: str) -> None:
        """Whether the disk takes this write. After one that it refused nobody may ask it again (L1)."""
        if self._refused:
            raise OracleFailed(f"L1: a disk that refused is asked again, for a write of {where}")
        text = self.refuses(where)
        if text:
            self._refused = True
            self.failure = text
            raise StorageFailure(text)

    def put_keys(self, keys: Sequence[KeyObject]) -> None:
        """Keep wrapped data keys."""
        self._ask("keys")
        super().put_keys(keys)
        self._point("keys")

    def append(self, commits: Sequence[tuple[Commit, bool]], arrived_ms: int, notes: Notes = NO_NOTES) -> LogHead:
        """Append commits. Before the sync is done the power may go: then any prefix of them is on the disk."""
        try:
            self._ask("log")
        except StorageFailure as error:
            if str(error).startswith(SYNC_FAILED):  # what was written may be there all the same
                self.failure = ""
                super().append(commits, arrived_ms, notes)
                self.on_append(commits)
                self.failure = str(error)
            raise
        if self.fuse("torn"):
            self._tear(commits, arrived_ms)
        head = super().append(commits, arrived_ms, notes)
        self.on_append(commits)
        self._point("log")
        return head

    def _tear(self, commits: Sequence[tuple[Commit, bool]], arrived_ms: int) -> None:
        there = commits[: self.torn_at(len(commits))]
        if there:
            super().append(there, arrived_ms)
            self.on_append(there)
        self.failure = "the process has ended"
        raise PowerCut("torn")

    def torn_at(self, count: int) -> int:
        """How many of `count` commits a torn append leaves; a world draws it."""
        return count // 2

    def commit_view(self, state: ViewState) -> None:
        """End a transaction of the view."""
        self._ask("view")
        super().commit_view(state)
        self._point("view")

    def add_members(self, records: Sequence[tuple[MemberHash, bytes]]) -> None:
        """Keep membership records."""
        self._ask("members")
        super().add_members(records)
        self._point("members")

    def set_meta(self, values: Mapping[str, bytes | None]) -> None:
        """Write small values."""
        self._ask("meta")
        super().set_meta(values)
        self._point("meta")

    # -- for those who look from outside -----------------------------------------------------------------------------

    def small_values(self) -> list[bytes]:
        """All small values."""
        return list(self._meta.values())

    def listed(self) -> list[tuple[str, RecordId]]:
        """Kind and id of all documents, in their order."""
        return sorted(self._entries)

    def changed_at(self, kind: str, record: RecordId) -> int | None:
        """The arrival of the commit that changed a record last; None when it is not in the view."""
        entry = self._entries.get((kind, record))
        return None if entry is None else entry.arrival

    def all_keys(self) -> list[KeyObject]:
        """All wrapped keys."""
        return list(self._keys.values())

    # -- rot ---------------------------------------------------------------------------------------------------------

    def rot_part(self, arrival: int, part: int, at: int) -> None:
        """One bit of a sealed part turns over."""
        stored = self._arrivals[arrival - 1]
        parts = list(stored.commit.parts)
        parts[part] = flipped(parts[part], at)
        self._put_commit(arrival, replace(stored.commit, parts=tuple(parts)))
        self.rot(arrival)

    def rot_signature(self, arrival: int, at: int) -> None:
        """One bit of a signature turns over."""
        commit = self._arrivals[arrival - 1].commit
        self._put_commit(arrival, replace(commit, signature=flipped(commit.signature, at)))

    def _put_commit(self, arrival: int, commit: Commit) -> None:
        self._replace(replace(self._arrivals[arrival - 1], commit=commit))

    def at_arrival(self, arrival: int) -> Commit | None:
        """The commit that arrived then, as it lies there."""
        return self._arrivals[arrival - 1].commit if 1 <= arrival <= len(self._arrivals) else None

    def kept(self, log: LogId, sequence: int) -> StoredCommit | None:
        """A commit as it lies there, rotten or not: for whoever keeps the books of a world."""
        commits = self._logs.get(log, [])
        return commits[sequence - 1] if 1 <= sequence <= len(commits) else None

    def checked_at(self, arrival: int) -> bool:
        """Whether the signature of the commit that arrived then was verified."""
        return self._arrivals[arrival - 1].checked

    def rot_document(self, kind: str, record: RecordId) -> None:
        """A page of the view under this document no longer bears its code: whoever reads it hears that."""
        self.rotten_documents[kind, record] = None

    def document(self, kind: str, record: RecordId) -> StoredDocument | None:
        """One document as last derived. Raises StorageFailure for a rotten one."""
        if (kind, record) in self.rotten_documents:
            self._refused = True
            self.failure = f"{ROTTEN_VIEW} at {kind} {record}"
        return super().document(kind, record)

    def _put(self, key: tuple[str, RecordId], entry: ViewChange | None) -> None:
        if self.rotten_documents:
            self.rotten_documents.pop(key, None)
        super()._put(key, entry)

    def reset_view(self) -> None:
        """Empty the view."""
        self.rotten_documents = {}
        self.views += 1
        super().reset_view()

    # -- ends --------------------------------------------------------------------------------------------------------

    def lose(self, chance: random.Random) -> None:
        """A power cut: of what was not synced, any suffix is gone."""
        self._refused = False
        self.crash(lambda written: chance.randint(0, written))

    def survive(self) -> None:
        """A killed process: the operating system goes on and keeps what was written."""
        self._refused = False
        self.crash(lambda written: written)

    def image(self) -> Disk:
        """A copy of the disk as it is, on which nobody works."""
        twin = self.copy()
        assert isinstance(twin, Disk)
        twin.fuse, twin.refuses, twin.on_append = _never, _takes, _ignore
        for name in ("append", "crash", "document", "torn_at"):  # what a world or a planted bug has put in their place
            vars(twin).pop(name, None)
        return twin


def flipped(data: bytes, at: int) -> bytes:
    """`data` with one bit turned over; `at` counts bits and may go beyond the end."""
    at %= 8 * len(data)
    return data[: at // 8] + bytes((data[at // 8] ^ 1 << at % 8,)) + data[at // 8 + 1 :]


class Proof(Continuity):
    """The proof of continuity in memory: holds over a killed process, not over a power cut or a copied disk."""

    def __init__(self) -> None:
        self.held: tuple[str, bytes, int] | None = None

    def proves(self, log: str, nonce: bytes, sequence: int) -> bool:
        """Whether log and nonce are those of the last opening, and the store is not behind."""
        return self.held is not None and self.held[:2] == (log, nonce) and self.held[2] <= sequence

    def renew(self, log: str, nonce: bytes, sequence: int) -> None:
        """A new opening."""
        self.held = (log, nonce, sequence)

    def advance(self, sequence: int) -> None:
        """The log is synced up to here."""
        if self.held is not None:
            self.held = (*self.held[:2], sequence)

    def close(self) -> None:
        """Nothing to give back."""

    def lose(self) -> None:
        """The boot session has ended."""
        self.held = None
