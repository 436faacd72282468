"""What the recorder wrote down: operations on files and folders, and marks, in one order."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

_HEAD: Final = struct.Struct("<BBiQI")
CREATED: Final = 1
EMPTIED: Final = 2


@dataclass(frozen=True, slots=True)
class Operation:
    """One call. `name` is one of o c w t s u d m r M (see recorder.c); `failed` tells that a sync was refused."""

    name: str
    failed: bool
    descriptor: int
    offset: int
    data: bytes

    @property
    def changes(self) -> bool:
        """Whether a power cut behind it differs from one before it."""
        return self.name in "wtsudmrM" or (self.name == "o" and self.offset != 0)


def operations(data: bytes) -> Iterator[Operation]:
    """All of a trace's bytes. A record that was cut off ends them."""
    at = 0
    while at + _HEAD.size <= len(data):
        code, failed, descriptor, offset, length = _HEAD.unpack_from(data, at)
        at += _HEAD.size
        if at + length > len(data):
            return
        yield Operation(chr(code), bool(failed), descriptor, offset, data[at : at + length])
        at += length


def read_trace(path: Path) -> list[Operation]:
    """The operations in the file, without those on shared memory: it is made anew after a power cut."""
    kept, shared = [], set()
    for operation in operations(path.read_bytes()):
        descriptor = operation.descriptor
        if operation.name == "o" and operation.data.endswith(b"-shm"):
            shared.add(descriptor)
        elif operation.name == "c" and descriptor in shared:
            shared.discard(descriptor)
        elif operation.name in "oudr" and operation.data.endswith(b"-shm"):
            pass
        elif descriptor < 0 or descriptor not in shared:
            kept.append(operation)
    return kept
