"""A vault in a single file, which grows by what is new.

    0        magic, zeros               4,096 bytes
    4,096    slot ‖ zeros               4,096 bytes; two slots, written in turn: the one with the higher number counts
    8,192    slot ‖ zeros               4,096 bytes
    12,288   parts, directories, and zeros where something was removed

    slot       magic ‖ number (8) ‖ place (8) and size (8) of the directory ‖ end (8) ‖ clean (1) ‖ SHA-256 of the
               directory ‖ SHA-256 of all before it
    directory  per part: kind (1) ‖ name (32) ‖ place (8) ‖ size (8)

Parts and a new directory are appended and synced; then a slot makes them count, in one write. What lies behind the end
was left by a process that was killed, and is cut off by the next backup. What was removed is then overwritten with
zeros, and a second slot says that this is done (`clean`): from then on every byte of the file is accounted for. A file
of which more than half is zeros is written anew beside itself and renamed.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Collection, Iterator, Mapping
from contextlib import suppress
from io import FileIO
from pathlib import Path
from typing import Final, NamedTuple

from crdtsync import limits
from crdtsync.backup.vault import INDEX, KINDS, Progress, disk, locked, name_of
from crdtsync.errors import DamagedFile, NotFound, RefusedError, StorageFailure
from crdtsync.storage.database import sync_file, sync_folder
from crdtsync.storage.lock import FolderLock

MAGIC: Final = b"\x89crdtsync bak\r\n\x01"
_PAGE: Final = 4096
_BEGIN: Final = 3 * _PAGE
_SLOT: Final = struct.Struct(">16sQQQQB32s")
_ENTRY: Final = struct.Struct(">B32sQQ")
_SHORT_BYTES: Final = 1 << 20
"""Less than this is not worth writing a file anew."""


class Slot(NamedTuple):
    """What counts: the directory's place and hash, where the file ends, and whether all else in it is zeros."""

    number: int
    place: int
    size: int
    end: int
    clean: bool
    directory: bytes


class Entry(NamedTuple):
    """A part of the file."""

    kind: str
    name: bytes
    place: int
    size: int


_NOTHING: Final = Slot(0, _BEGIN, 0, _BEGIN, True, name_of(b""))


class FileVault:
    """The vault in the file `path`. `writing` makes it where there is none, and locks it.

    Raises NotFound where there is no file, RefusedError for one of another program, DamagedFile, AlreadyOpen while
    another process writes it, StorageFailure.
    """

    def __init__(self, path: Path, *, writing: bool) -> None:
        self.path = path
        self._lock: FolderLock | None = None
        self._file: FileIO | None = None
        self._added: list[Entry] = []
        try:
            if writing:
                self._lock = locked(path, path.parent, f".{path.name}.lock")
            self._open(writing)
        except BaseException:
            self.close()
            raise

    def _open(self, writing: bool) -> None:
        with disk(self.path, "cannot open the backup"):
            if writing and (not self.path.exists() or not self.path.stat().st_size):
                self.path.touch(mode=0o600)
                with self.path.open("r+b") as file:
                    file.write(MAGIC.ljust(_BEGIN, b"\0"))
                sync_file(self.path)
                sync_folder(self.path.parent)
            try:
                # Unbuffered: what a full disk refused must not be tried again when the file is closed.
                self._file = self.path.open("r+b" if writing else "rb", buffering=0)
            except FileNotFoundError:
                raise NotFound(f"there is no backup {self.path}; name what `backup` wrote") from None
            if self._bytes(0, len(MAGIC)) != MAGIC:
                raise RefusedError(f"{self.path} is no backup, or its beginning is damaged; name what `backup` wrote")
            self._load()
            if writing:
                self._handle.truncate(self._slot.end)

    @property
    def _handle(self) -> FileIO:
        if self._file is None:
            raise StorageFailure(f"the backup {self.path} is closed; open it again")
        return self._file

    def _bytes(self, place: int, size: int) -> bytes:
        self._handle.seek(place)
        found = b""
        while len(found) < size and (more := self._handle.read(size - len(found))):
            found += more
        return found

    def _load(self) -> None:
        """The newest state that was published."""
        slots = [self._slot_at(number) for number in (0, 1)]
        found = [slot for slot in slots if slot is not None]
        if not found and self._bytes(_PAGE, 2 * _PAGE).strip(b"\0"):
            raise DamagedFile(f"the head of {self.path} is not what was written there; use another backup")
        self._slot = max(found, default=_NOTHING)
        data = self._bytes(self._slot.place, min(self._slot.size, limits.backup_index_bytes_max))
        if name_of(data) != self._slot.directory or len(data) % _ENTRY.size:
            raise DamagedFile(f"the directory of {self.path} is not what was written there; use another backup")
        self._entries = [Entry(KINDS[kind], name, *where) for kind, name, *where in _ENTRY.iter_unpack(data)]
        self._places = {(entry.kind, entry.name): entry for entry in self._entries}

    def _slot_at(self, number: int) -> Slot | None:
        data = self._bytes(_PAGE * (1 + number), _SLOT.size + 32)
        if len(data) < _SLOT.size + 32 or name_of(data[: _SLOT.size]) != data[_SLOT.size :]:
            return None
        magic, at, place, size, end, clean, directory = _SLOT.unpack(data[: _SLOT.size])
        return Slot(at, place, size, end, bool(clean), directory) if magic == MAGIC else None

    # -- reading ------------------------------------------------------------------------------------------------------

    def names(self, kind: str) -> list[bytes]:
        """The parts of a kind that were published, in the order in which they were."""
        return [entry.name for entry in self._entries if entry.kind == kind]

    def read(self, kind: str, name: bytes) -> bytes:
        """A part whose bytes are those that its name is the hash of."""
        entry = self._places.get((kind, name))
        if entry is None:
            if kind == INDEX:
                raise NotFound(f"{self.path} has no backup {name.hex()[:12]}; `crdtsync verify` lists them")
            raise DamagedFile(f"{kind}/{name.hex()} is missing from {self.path}")
        return self._part(entry)

    def _part(self, entry: Entry) -> bytes:
        most = limits.backup_index_bytes_max if entry.kind == INDEX else limits.backup_piece_bytes_max
        with disk(self.path, "cannot read the backup"):
            data = self._bytes(entry.place, min(entry.size, most))
        if name_of(data) != entry.name:
            raise DamagedFile(
                f"{entry.kind}/{entry.name.hex()} at byte {entry.place} of {self.path} is not what was written there"
            )
        return data

    # -- writing ------------------------------------------------------------------------------------------------------

    def add(self, kind: str, data: bytes) -> bytes:
        """Append a part, synced; its name."""
        entry = Entry(kind, name_of(data), self._tail(), len(data))
        with disk(self.path, "no backup can be written to"):
            self._write(entry.place, data)
            self._sync()
        self._added.append(entry)
        self._places[kind, entry.name] = entry
        return entry.name

    def _tail(self) -> int:
        last = self._added[-1] if self._added else None
        return self._slot.end if last is None else last.place + last.size

    def _write(self, place: int, data: bytes) -> None:
        self._handle.seek(place)
        left = memoryview(data)
        while left:
            left = left[self._handle.write(left) :]

    def _sync(self) -> None:
        sync_file(self.path)
        if hasattr(os, "posix_fadvise"):  # what is read back comes from the disk, where the system can be asked
            os.posix_fadvise(self._handle.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)

    def publish(self, index: bytes, label: str, doomed: Mapping[str, Collection[bytes]]) -> None:
        """Make what was added one backup with this index; then overwrite the `doomed` parts."""
        del label  # the time stands in the index
        self.read(INDEX, self.add(INDEX, index))
        with disk(self.path, "no backup can be written to"):
            live = [entry for entry in self._entries if entry.name not in doomed.get(entry.kind, ())]
            self._switch([*live, *self._added], self._slot.number + 1)
            self._added.clear()
        with suppress(OSError, StorageFailure):  # the new backup is whole, whatever becomes of old bytes
            self._clean()
            self._compact()

    def _switch(self, entries: list[Entry], number: int) -> None:
        place = self._tail()
        directory = b"".join(
            _ENTRY.pack(KINDS.index(entry.kind), entry.name, entry.place, entry.size) for entry in entries
        )
        self._write(place, directory)
        self._sync()
        slot = Slot(number, place, len(directory), place + len(directory), False, name_of(directory))
        self._write_slot(slot)
        self._slot, self._entries = slot, entries
        self._places = {(entry.kind, entry.name): entry for entry in entries}

    def _write_slot(self, slot: Slot) -> None:
        data = _SLOT.pack(MAGIC, slot.number, slot.place, slot.size, slot.end, slot.clean, slot.directory)
        self._write(_PAGE * (1 + slot.number % 2), (data + name_of(data)).ljust(_PAGE, b"\0"))
        self._sync()

    def _holes(self) -> Iterator[tuple[int, int]]:
        """Place and size of what is neither a part nor the directory."""
        taken = sorted([*((e.place, e.size) for e in self._entries), (self._slot.place, self._slot.size)])
        at = _BEGIN
        for place, size in taken:
            if place > at:
                yield at, place - at
            at = max(at, place + size)
        if at < self._slot.end:
            yield at, self._slot.end - at

    def _clean(self) -> None:
        for place, size in self._holes():
            for at in range(place, place + size, _SHORT_BYTES):
                self._write(at, bytes(min(_SHORT_BYTES, place + size - at)))
        self._sync()
        self._slot = self._slot._replace(number=self._slot.number + 1, clean=True)
        self._write_slot(self._slot)

    def _compact(self) -> None:
        """Write the file anew without its zeros, when they are most of it."""
        dead = sum(size for _, size in self._holes())
        if dead < max(_SHORT_BYTES, self._slot.end // 2):
            return
        beside = self.path.with_name(f".{self.path.name}.part")
        beside.unlink(missing_ok=True)
        try:
            other = FileVault(beside, writing=True)
            try:
                for entry in self._entries:
                    other.add(entry.kind, self._part(entry))
                other._switch(list(other._added), 1)
                other._clean()
            finally:
                other.close()
            self._handle.close()
            os.replace(beside, self.path)
            sync_folder(self.path.parent)
        finally:
            beside.unlink(missing_ok=True)
            self._file = self.path.open("r+b", buffering=0)
            self._load()

    def discard(self) -> None:
        """Cut off what was added and not published."""
        self._added.clear()
        if self._file is not None and self._file.writable():
            with suppress(OSError, DamagedFile):
                self._load()  # a slot may be on the disk although it refused to say so
                self._file.truncate(self._slot.end)

    # -- care ---------------------------------------------------------------------------------------------------------

    def check(self, progress: Progress | None) -> Iterator[str]:
        """Read every byte up to the end."""
        yield from self._check_head()
        for done, entry in enumerate(self._entries, 1):
            try:
                self._part(entry)
            except DamagedFile as error:
                yield str(error)
            if progress is not None:
                progress(done, len(self._entries))
        if self._slot.clean:
            for place, size in self._holes():
                if not self._zeros(place, size):
                    yield f"between bytes {place} and {place + size} of {self.path} lies something that was not written"

    def _check_head(self) -> Iterator[str]:
        with disk(self.path, "cannot read the backup"):
            if self._bytes(0, _PAGE) != MAGIC.ljust(_PAGE, b"\0"):
                yield f"the first bytes of {self.path} are not what was written there"
            for number in (0, 1):
                page = self._bytes(_PAGE * (1 + number), _PAGE)
                slot = self._slot_at(number)
                if (page if slot is None else page[_SLOT.size + 32 :]).strip(b"\0"):
                    yield f"the head of {self.path}, at byte {_PAGE * (1 + number)}, is not what was written there"
            if self.path.stat().st_size < self._slot.end:
                yield f"{self.path} is cut off: it has not all of its {self._slot.end} bytes"

    def _zeros(self, place: int, size: int) -> bool:
        with disk(self.path, "cannot read the backup"):
            pieces = range(place, place + size, _SHORT_BYTES)
            return not any(self._bytes(at, min(_SHORT_BYTES, place + size - at)).strip(b"\0") for at in pieces)

    def weigh(self) -> int:
        """The size of the file."""
        with disk(self.path, "cannot read the backup"):
            return self.path.stat().st_size

    def close(self) -> None:
        """Give file and lock back."""
        if self._file is not None:
            self._file.close()
            self._file = None
        if self._lock is not None:
            with suppress(OSError):
                (self.path.parent / f".{self.path.name}.lock").unlink(missing_ok=True)
            self._lock.release()
            self._lock = None
