"""The disk's side: what a power cut may leave of files and folders (a model without any real file).

A write is on disk when its file was synced behind it, a name when its folder was. Until then the disk may have any of
it: nothing, all, what came first, any choice, single sectors of a write. A sync of a file that failed takes what it
should have written for lost, as the kernel does: programs go on reading it, and no later sync writes it. Names are not
lost that way: what keeps them is a journal, which writes them later or refuses everything from then on.

    killed     the process ends and the machine runs on: everything is kept
    lost       nothing is left of what was not synced
    kept       everything is
    ordered    what came before some moment is
    prefixes   the same, with a moment of its own for each file
    files      of each file everything or nothing
    choice     any of the writes
    torn       any of the sectors of any of the writes
    garbled    the same, and a sector that was not written whole may hold anything
"""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, TypeVar

from crdtsync.testing.realdisk.trace import CREATED, EMPTIED, Operation

SECTOR_BYTES: Final = 512
POLICIES: Final = ("lost", "killed", "files", "prefixes", "torn", "ordered", "choice", "garbled", "kept")


@dataclass(slots=True)
class Change:
    """A write (`size` None) or a truncation that was not synced, and when it was made."""

    when: int
    offset: int
    data: bytes
    size: int | None = None

    def on(self, content: bytearray) -> None:
        """Carry it out."""
        if self.size is not None:
            del content[self.size :]
            content.extend(bytes(self.size - len(content)))
        else:
            _put(content, self.offset, self.data)


@dataclass(slots=True)
class File:
    """What is on disk, what programs read, and what lies between the two."""

    durable: bytearray = field(default_factory=bytearray)
    cache: bytearray = field(default_factory=bytearray)
    pending: list[Change] = field(default_factory=list)


@dataclass(slots=True)
class Naming:
    """Names that were given and taken in one step and not synced; None takes a name away."""

    when: int
    names: dict[str, Node | None]


@dataclass(slots=True)
class Folder:
    """The same for names."""

    durable: dict[str, Node] = field(default_factory=dict)
    cache: dict[str, Node] = field(default_factory=dict)
    pending: list[Naming] = field(default_factory=list)

    def name(self, when: int, names: dict[str, Node | None]) -> None:
        """Give and take names."""
        _name(self.cache, names)
        self.pending.append(Naming(when, names))


Node = File | Folder
_Pending = TypeVar("_Pending", Change, Naming)


class Disk:
    """Takes the operations of a trace one after the other; `image` tells what a power cut would leave now."""

    def __init__(self) -> None:
        self.root = Folder()
        self._open: dict[int, Node] = {}
        self._when = 0

    def take(self, operation: Operation) -> None:
        """What the program did next."""
        self._when += 1
        match operation.name:
            case "o":
                self._opened(operation)
            case "c":
                self._open.pop(operation.descriptor, None)
            case "w":
                self._change(operation.descriptor, Change(self._when, operation.offset, operation.data))
            case "t":
                self._change(operation.descriptor, Change(self._when, 0, b"", operation.offset))
            case "s":
                _sync(self._open[operation.descriptor], failed=operation.failed)
            case "u" | "d":
                folder, name = self._place(operation.data.decode())
                folder.name(self._when, {name: None})
            case "m":
                folder, name = self._place(operation.data.decode())
                folder.name(self._when, {name: Folder()})
            case "r":
                self._renamed(*operation.data.decode().split("\0"))

    def _opened(self, operation: Operation) -> None:
        path = operation.data.decode()
        if not path:
            self._open[operation.descriptor] = self.root
            return
        folder, name = self._place(path)
        if operation.offset & CREATED:
            folder.name(self._when, {name: File()})
        node = self._open[operation.descriptor] = folder.cache[name]
        if operation.offset & EMPTIED and isinstance(node, File):
            self._change(operation.descriptor, Change(self._when, 0, b"", 0))

    def _change(self, descriptor: int, change: Change) -> None:
        file = self._open[descriptor]
        assert isinstance(file, File), "folders are not written to"
        change.on(file.cache)
        file.pending.append(change)

    def _renamed(self, before: str, after: str) -> None:
        (source, old), (target, new) = self._place(before), self._place(after)
        node = source.cache[old]
        if source is target:
            source.name(self._when, {old: None, new: node})
        else:
            target.name(self._when, {new: node})
            source.name(self._when, {old: None})

    def _place(self, path: str) -> tuple[Folder, str]:
        *parents, name = path.split("/")
        folder = self.root
        for parent in parents:
            below = folder.cache[parent]
            assert isinstance(below, Folder), "only folders have something below them"
            folder = below
        return folder, name

    def image(self, policy: str, chance: random.Random) -> dict[str, bytes]:
        """What is left: path to content, folders with a slash at their end and without content."""
        left: dict[str, bytes] = {}
        _Cut(policy, chance, chance.randint(0, self._when)).folder(self.root, "", left)
        return left


class _Cut:
    """One way in which the power may go."""

    def __init__(self, policy: str, chance: random.Random, moment: int) -> None:
        self._policy = policy
        self._chance = chance
        self._moment = moment
        self._share = chance.choice((0.1, 0.5, 0.9))

    def folder(self, folder: Folder, path: str, left: dict[str, bytes]) -> None:
        if self._policy == "killed":
            names = folder.cache
        else:
            names = dict(folder.durable)
            for naming in self._chosen(folder.pending):
                _name(names, naming.names)
        for name, node in names.items():
            if isinstance(node, Folder):
                left[f"{path}{name}/"] = b""
                self.folder(node, f"{path}{name}/", left)
            elif not name.endswith("-shm"):  # shared memory: made anew by whoever opens the database first
                left[path + name] = self._content(node)

    def _content(self, file: File) -> bytes:
        if self._policy == "killed":
            return bytes(file.cache)
        if not file.pending or self._policy == "lost":
            return bytes(file.durable)
        content = bytearray(file.durable)
        if self._policy in ("torn", "garbled"):
            for change in file.pending:
                self._tear(content, change)
        else:
            for change in self._chosen(file.pending):
                change.on(content)
        return bytes(content)

    def _chosen(self, pending: list[_Pending]) -> list[_Pending]:
        chance = self._chance
        policy = self._policy
        if policy in ("torn", "garbled"):  # names are not torn
            policy = chance.choice(("lost", "kept", "prefixes", "choice"))
        match policy:
            case "lost":
                return []
            case "kept":
                return pending
            case "ordered":
                return [one for one in pending if one.when <= self._moment]
            case "prefixes":
                return pending[: chance.randint(0, len(pending))]
            case "files":
                return pending if chance.random() < 0.5 else []
        return [one for one in pending if chance.random() < self._share]

    def _tear(self, content: bytearray, change: Change) -> None:
        chance = self._chance
        fate = chance.random()
        if change.size is not None or fate < 0.3:
            if fate < 0.15 or (change.size is not None and fate < 0.5):
                change.on(content)
            return
        end = change.offset + len(change.data)
        if chance.random() < 0.3 and len(content) < end:  # the size got there, the content did not
            content.extend(bytes(end - len(content)))
        at = change.offset
        while at < end:
            stop = min(end, at - at % SECTOR_BYTES + SECTOR_BYTES)
            if chance.random() < self._share:
                _put(content, at, change.data[at - change.offset : stop - change.offset])
            elif self._policy == "garbled" and stop - at == SECTOR_BYTES and chance.random() < 0.3:
                _put(content, at, chance.randbytes(SECTOR_BYTES))
            at = stop


def _sync(node: Node, *, failed: bool) -> None:
    if isinstance(node, File):
        if not failed:
            for change in node.pending:
                change.on(node.durable)
        node.pending.clear()
    elif not failed:
        for naming in node.pending:
            _name(node.durable, naming.names)
        node.pending.clear()


def _name(names: dict[str, Node], changed: dict[str, Node | None]) -> None:
    for name, node in changed.items():
        if node is None:
            names.pop(name, None)
        else:
            names[name] = node


def _put(content: bytearray, offset: int, data: bytes) -> None:
    if len(content) < offset:
        content.extend(bytes(offset - len(content)))
    content[offset : offset + len(data)] = data


def write_image(image: dict[str, bytes], folder: Path) -> None:
    """Make real files of an image, in an existing folder."""
    for path, content in image.items():
        if path.endswith("/"):
            (folder / path).mkdir()
        else:
            (folder / path).write_bytes(content)
