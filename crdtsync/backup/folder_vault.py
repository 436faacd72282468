"""A vault in a folder: one file per part, which programs that copy folders elsewhere take well.

    pieces/HASH       of the log and the membership, sealed
    keys/HASH         wrapped data keys, sealed; those of the newest backup
    index/TIME_HASH   one for each backup; when it is there, the backup is whole
    lock              held while a backup is written

A part is written beside its place, synced and renamed, so that a name never stands for half of it. Names that end in
`.part` were left by a process that was killed; the next backup removes them.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Final

from crdtsync import limits
from crdtsync.backup.vault import INDEX, KEYS, KINDS, PIECE, Progress, disk, locked, name_of
from crdtsync.errors import DamagedFile, NotFound, RefusedError
from crdtsync.storage.database import sync_file, sync_folder
from crdtsync.storage.lock import FolderLock

_FOLDERS: Final = {PIECE: "pieces", KEYS: "keys", INDEX: "index"}
_HALF: Final = ".part"


class FolderVault:
    """The vault in `path`. `writing` makes it where there is nothing yet, and locks it.

    Raises NotFound for a folder that holds no backups, RefusedError for one that holds something else, AlreadyOpen
    while another process writes there, StorageFailure.
    """

    def __init__(self, path: Path, *, writing: bool) -> None:
        self.path = path
        self._added: list[Path] = []
        self._lock: FolderLock | None = None
        if writing:
            self._make()
        elif not (path / _FOLDERS[INDEX]).is_dir():
            raise NotFound(f"{path} holds no backups; name the folder or the file that `backup` wrote")

    def _make(self) -> None:
        if self.path.is_dir() and not (self.path / _FOLDERS[INDEX]).is_dir():
            strange = [each for each in self.path.iterdir() if not each.name.startswith(".") and each.name != "lock"]
            if any(each.name not in _FOLDERS.values() for each in strange):
                raise RefusedError(f"{self.path} holds something else than backups; name a folder of its own for them")
        with disk(self.path, "no backup can be written to"):
            self.path.mkdir(mode=0o700, exist_ok=True)
            self._lock = locked(self.path, self.path, "lock")
            try:
                for name in _FOLDERS.values():
                    (self.path / name).mkdir(mode=0o700, exist_ok=True)
                sync_folder(self.path)
            except BaseException:
                self.close()
                raise

    def names(self, kind: str) -> list[bytes]:
        """The parts of a kind that were published; indexes by the time in their names."""
        return [_hash_in(path.name) for path in self._files(kind)]

    def _files(self, kind: str) -> list[Path]:
        with disk(self.path, "cannot read the backups in"):
            return sorted(path for path in (self.path / _FOLDERS[kind]).iterdir() if _hash_in(path.name))

    def _place(self, kind: str, name: bytes) -> Path:
        if kind != INDEX:
            return self.path / _FOLDERS[kind] / name.hex()
        for path in self._files(INDEX):
            if _hash_in(path.name) == name:
                return path
        raise NotFound(f"{self.path} has no backup {name.hex()[:12]}; `crdtsync verify` lists them")

    def read(self, kind: str, name: bytes) -> bytes:
        """A part whose bytes are those that its name is the hash of."""
        return self._read(kind, self._place(kind, name), name)

    def _read(self, kind: str, path: Path, name: bytes) -> bytes:
        most = limits.backup_index_bytes_max if kind == INDEX else limits.backup_piece_bytes_max
        with disk(self.path, "cannot read the backups in"):
            try:
                with path.open("rb") as file:
                    data = file.read(most + 1)
            except FileNotFoundError:
                raise DamagedFile(f"{self._told(path)} is missing from the backups in {self.path}") from None
        if name_of(data) != name:
            raise DamagedFile(f"{self._told(path)} in {self.path} is not what was written there")
        return data

    def _told(self, path: Path) -> str:
        return str(path.relative_to(self.path))

    def add(self, kind: str, data: bytes) -> bytes:
        """Write a part, synced; its name."""
        name = name_of(data)
        self._write(self.path / _FOLDERS[kind] / name.hex(), data)
        return name

    def _write(self, path: Path, data: bytes) -> None:
        half = path.with_name(path.name + _HALF)
        with disk(self.path, "no backup can be written to"):
            self._added.append(half)
            with open(os.open(half, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
                file.write(data)
            sync_file(half)
            _forget_cached(half)
            half.replace(path)
            self._added[-1] = path

    def publish(self, index: bytes, label: str, doomed: Mapping[str, Collection[bytes]]) -> None:
        """Make what was added one backup: its index appears with one rename, behind everything that it names."""
        name = name_of(index)
        path = self.path / _FOLDERS[INDEX] / f"{label}_{name.hex()}"
        half = path.with_name(path.name + _HALF)
        with disk(self.path, "no backup can be written to"):
            for kind in (PIECE, KEYS):
                sync_folder(self.path / _FOLDERS[kind])
            self._added.append(half)
            with open(os.open(half, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
                file.write(index)
            sync_file(half)
            _forget_cached(half)
            self._read(INDEX, half, name)
            half.replace(path)
            self._added.clear()
            sync_folder(path.parent)
        self._remove(doomed)

    def _remove(self, doomed: Mapping[str, Collection[bytes]]) -> None:
        """What is not needed any more. A disk that refuses this leaves it: the new backup is whole."""
        with suppress(OSError):
            for path in self._files(INDEX):
                if _hash_in(path.name) in doomed.get(INDEX, ()):
                    path.unlink()
            sync_folder(self.path / _FOLDERS[INDEX])  # before the pieces that only these backups need
            for name in doomed.get(KEYS, ()):
                _destroy(self._place(KEYS, name))
            for name in doomed.get(PIECE, ()):
                self._place(PIECE, name).unlink(missing_ok=True)
            for kind in KINDS:
                for half in (self.path / _FOLDERS[kind]).glob(f"*{_HALF}"):
                    _destroy(half)

    def discard(self) -> None:
        """Remove what was added and not published."""
        for path in self._added:
            with suppress(OSError):
                path.unlink(missing_ok=True)
        self._added.clear()

    def check(self, progress: Progress | None) -> Iterator[str]:
        """Read every file."""
        files = [(kind, path) for kind in KINDS for path in self._files(kind)]
        for done, (kind, path) in enumerate(files, 1):
            try:
                self._read(kind, path, _hash_in(path.name))
            except DamagedFile as error:
                yield str(error)
            if progress is not None:
                progress(done, len(files))

    def weigh(self) -> int:
        """Bytes of all files."""
        with disk(self.path, "cannot read the backups in"):
            return sum(path.stat().st_size for kind in KINDS for path in self._files(kind))

    def close(self) -> None:
        """Give the lock back."""
        if self._lock is not None:
            self._lock.release()
            self._lock = None


def _hash_in(name: str) -> bytes:
    """The hash in a file's name, b"" where there is none."""
    text = name.rpartition("_")[2]
    try:
        return bytes.fromhex(text) if len(text) == 64 else b""
    except ValueError:
        return b""


def _destroy(path: Path) -> None:
    """Overwrite and remove: what the medium beneath keeps of old blocks is beyond any program.

    It loses its name first, so that nothing that is called a part is ever zeros.
    """
    doomed = path if path.name.endswith(_HALF) else path.with_name(path.name + _HALF)
    with suppress(FileNotFoundError):
        path.replace(doomed)
        with doomed.open("r+b") as file:
            file.write(bytes(doomed.stat().st_size))
        sync_file(doomed)
        doomed.unlink()


def _forget_cached(path: Path) -> None:
    """Ask the system, where it can be asked, to read the file from the disk next time and not from memory."""
    if hasattr(os, "posix_fadvise"):
        handle = os.open(path, os.O_RDONLY)
        try:
            os.posix_fadvise(handle, 0, 0, os.POSIX_FADV_DONTNEED)
        finally:
            os.close(handle)
