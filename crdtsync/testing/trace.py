"""The steps of a world: the last ones in words, all of them in one hash. Equal seeds give equal hashes."""

from __future__ import annotations

import hashlib
from collections import deque
from typing import Final

STEPS_KEPT: Final = 200
_FLUSH: Final = 512


class Trace:
    """Takes lines. With `everything` it keeps all of them, else the last `STEPS_KEPT`."""

    def __init__(self, *, everything: bool = False) -> None:
        self._digest = hashlib.sha256()
        self._fresh: list[str] = []
        self._kept: deque[str] = deque(maxlen=None if everything else STEPS_KEPT)

    def step(self, line: str) -> None:
        """One step. What it says must follow from the seed alone."""
        self._fresh.append(line)
        if len(self._fresh) >= _FLUSH:
            self._flush()

    def _flush(self) -> None:
        self._digest.update("".join(f"{line}\n" for line in self._fresh).encode())
        self._kept.extend(self._fresh)
        self._fresh.clear()

    def steps(self) -> list[str]:
        """The steps that were kept."""
        self._flush()
        return list(self._kept)

    def digest(self) -> str:
        """A hash over every step so far."""
        self._flush()
        return self._digest.hexdigest()
