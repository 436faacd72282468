"""A vault: the place where the parts of backups lie, in a folder or in a single file.

A part is named by the SHA-256 of its bytes, so that anybody can tell, without a key, whether it is what was written.
There are three kinds: *pieces* of the log and the membership, shared by all backups that need them; *keys*, the wrapped
data keys, of which a vault holds those of its newest backup and no others, so that a key that was destroyed at the site
is gone from its backups with the next one; and an *index* for each backup, which names its parts.

What is added counts only when `publish` has made it one backup with its index: that is one step, also for a process
that is killed or a machine that loses power.
"""

from __future__ import annotations

import errno
import hashlib
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Final, Protocol

from crdtsync.errors import AlreadyOpen, DamagedFile, NotFound, StorageFailure
from crdtsync.storage.lock import FolderLock

PIECE: Final = "piece"
KEYS: Final = "keys"
INDEX: Final = "index"
KINDS: Final = (PIECE, KEYS, INDEX)
Progress = Callable[[int, int | None], None]
_FULL: Final = frozenset({errno.ENOSPC, getattr(errno, "EDQUOT", errno.ENOSPC)})


class Vault(Protocol):
    """One person writes at a time; reading needs no lock. Methods block, and raise StorageFailure for a disk that
    refuses, DamagedFile for what is not as it was written."""

    path: Path

    def names(self, kind: str) -> list[bytes]:
        """The parts of a kind that were published, indexes in the order in which they were."""

    def read(self, kind: str, name: bytes) -> bytes:
        """A part, published or just added; its bytes are those that its name is the hash of, else DamagedFile."""

    def add(self, kind: str, data: bytes) -> bytes:
        """Write a part, synced; its name."""

    def publish(self, index: bytes, label: str, doomed: Mapping[str, Collection[bytes]]) -> None:
        """Make what was added one backup that this index describes, and remove the `doomed` parts, keys for good.

        `label` is a word by which people tell it. All that was added since the last time must be in its place, read
        back by the caller. A kill leaves the backup whole or not there; what was to be removed may stay then, until
        the next one.
        """

    def discard(self) -> None:
        """Remove what was added and not published."""

    def check(self, progress: Progress | None) -> Iterator[str]:
        """Read every byte: a sentence for each part that is not as it was written."""

    def weigh(self) -> int:
        """Bytes on disk."""

    def close(self) -> None:
        """Let go of it. Idempotent; discards nothing."""


def name_of(data: bytes) -> bytes:
    """What a part is called: 32 bytes."""
    return hashlib.sha256(data).digest()


def sound(vault: Vault, kind: str, name: bytes) -> bool:
    """Whether a part is there as it was written. Reads all of it."""
    try:
        vault.read(kind, name)
    except (DamagedFile, NotFound):
        return False
    return True


def locked(path: Path, folder: Path, name: str) -> FolderLock | None:
    """The right to write backups at `path`; None on a network disk that has no locks: a site makes one at a time.

    Raises AlreadyOpen.
    """
    try:
        return FolderLock(folder, name)
    except AlreadyOpen:
        raise AlreadyOpen(f"another process writes a backup to {path}; wait until it is done") from None
    except StorageFailure:
        return None


@contextmanager
def disk(path: Path, doing: str) -> Iterator[None]:
    """What the disk says while the block runs, as a sentence for people."""
    try:
        yield
    except OSError as error:
        if error.errno in _FULL:
            raise StorageFailure(
                f"{doing} {path}: its disk is full; free some space, or name another one, and try again. Backups that "
                "were whole before are so still"
            ) from None
        raise StorageFailure(f"{doing} {path}: {error.strerror or error}; check the disk and its rights") from None
