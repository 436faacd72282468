"""A simulated archive: it stores sealed commits, passes them on, and has no key to any of them.

The same core as a site's, without an engine: what it keeps is what the core gives it, on the same disk.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress

from crdtsync.errors import RottenCommit
from crdtsync.ids import DataKeyId, LogId, MemberHash, PracticeId
from crdtsync.replication.commit import Commit
from crdtsync.replication.messages import Path, Sums
from crdtsync.replication.stored import KeyObject, StoredCommit
from crdtsync.testing.disk import Disk
from crdtsync.testing.ground import Machine, World
from crdtsync.testing.process import Process


class Vault:
    """The disk as an archive uses it: sealed commits and wrapped keys, in and out."""

    def __init__(self, disk: Disk) -> None:
        self._disk = disk

    def append(self, commits: Sequence[tuple[Commit, bool]], keys: Sequence[KeyObject], now_ms: int) -> None:
        """Keys, then commits, each synced (L1)."""
        self.put_keys(keys)
        if commits:
            self._disk.append(commits, now_ms)

    def put_keys(self, keys: Sequence[KeyObject]) -> None:
        """Keys alone, synced."""
        if keys:
            self._disk.put_keys(keys)

    def add_members(self, records: Sequence[tuple[MemberHash, bytes]]) -> None:
        """Membership records, synced."""
        self._disk.add_members(records)

    def read_feeds(
        self, cursors: Mapping[LogId, int], commits_max: int, bytes_max: int
    ) -> tuple[list[StoredCommit], list[KeyObject]]:
        """Commits in order of arrival, and the keys that they introduce."""
        commits = self._disk.feeds(cursors, commits_max, bytes_max)
        refs = (ref for stored in commits for ref in stored.commit.header.parts)
        return commits, self.read_keys([ref.key for ref in refs if ref.introduces])

    def read_backlog(self, cursors: Mapping[LogId, int]) -> tuple[int, int]:
        """Number and bytes of what `read_feeds` would give without limits."""
        return self._disk.backlog(cursors)

    def read_keys(self, ids: Sequence[DataKeyId]) -> list[KeyObject]:
        """Those of the keys that are here."""
        return list(self._disk.keys(ids).values())


    def read_headers(self, log: LogId, sequences: Sequence[int]) -> list[tuple[bytes, bytes]]:
        """Header and signature of those of the commits that are here."""
        return [(commit.header_bytes, commit.signature) for commit in self.read_again(log, sequences)]

    def read_again(self, log: LogId, sequences: Sequence[int]) -> list[Commit]:
        """Those of the commits that are here and sound."""
        found = []
        for sequence in sequences:
            with suppress(RottenCommit):
                stored = self._disk.commit(log, sequence)
                if stored is not None:
                    found.append(stored.commit)
        return found


    def sums(self, paths: Sequence[Path]) -> tuple[int, list[tuple[Path, Sums]]]:
        """An archive has no view, and nothing to compare."""
        return 0, []


class Archive(Process):
    """A light node: a core and a disk."""

    def __init__(self, world: World, name: str, practice: PracticeId, machine: Machine) -> None:
        super().__init__(world, name, practice, machine)
        self._vault = Vault(self.disk)

    @property
    def keeper(self) -> Vault:
        """The vault on the disk at hand."""
        return self._vault

    def _open(self) -> None:
        self._vault = Vault(self.disk)
        self.replica = self._core(self._membership(), None)

    def _opened(self) -> None: ...

    def _drop_waiting(self) -> None: ...

    def derive_soon(self) -> None:
        """Nothing is derived here."""

    def derive_waiting(self) -> None:
        """Nothing waits here."""

    def members_changed(self) -> None:
        """An archive has no keys to learn and none to share."""
