"""The simulated disk: what a crash leaves, moments at which the power may go, the proof of continuity (L1, L4).

A disk outlives the process that uses it. What was synced stays; of the view's newest transactions a power cut takes any
suffix. The fuse is asked after every step that reaches the disk, so that a crash can come between any two of them.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence

from crdtsync.ids import MemberHash
from crdtsync.replication.commit import Commit
from crdtsync.replication.stored import KeyObject, LogHead
from crdtsync.storage.base import ViewState
from crdtsync.storage.continuity import Continuity
from crdtsync.storage.memory import MemoryStore


class PowerCut(BaseException):
    """The process ends here, whatever it was doing: no handler of the house may catch this for an error."""


def _never(where: str) -> bool:
    return False


def _ignore(commits: Sequence[tuple[Commit, bool]]) -> None: ...


class Disk(MemoryStore):
    """A store whose owner may be stopped at every step.

    `fuse(where)` is asked behind each write ("keys", "log", "view", "members", "meta"): True stops the process there.
    `on_append` is told what has reached the log.
    """

    def __init__(self) -> None:
        super().__init__()
        self.fuse: Callable[[str], bool] = _never
        self.on_append: Callable[[Sequence[tuple[Commit, bool]]], None] = _ignore

    def _point(self, where: str) -> None:
        if self.fuse(where):
            self.failure = "the process has ended"
            raise PowerCut(where)

    def put_keys(self, keys: Sequence[KeyObject]) -> None:
        """Keep wrapped data keys."""
        super().put_keys(keys)
        self._point("keys")

    def append(self, commits: Sequence[tuple[Commit, bool]], arrived_ms: int) -> LogHead:
        """Append commits."""
        head = super().append(commits, arrived_ms)
        self.on_append(commits)
        self._point("log")
        return head

    def commit_view(self, state: ViewState) -> None:
        """End a transaction of the view."""
        super().commit_view(state)
        self._point("view")

    def add_members(self, records: Sequence[tuple[MemberHash, bytes]]) -> None:
        """Keep membership records."""
        super().add_members(records)
        self._point("members")

    def set_meta(self, values: Mapping[str, bytes | None]) -> None:
        """Write small values."""
        super().set_meta(values)
        self._point("meta")

    def lose(self, chance: random.Random) -> None:
        """A power cut: of what was not synced, any suffix is gone."""
        self.crash(lambda written: chance.randint(0, written))

    def survive(self) -> None:
        """A killed process: the operating system goes on and keeps what was written."""
        self.crash(lambda written: written)

    def image(self) -> Disk:
        """A copy of the disk as it is, on which nobody works."""
        twin = self.copy()
        assert isinstance(twin, Disk)
        twin.fuse, twin.on_append = _never, _ignore
        return twin


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
