"""Named streams of randomness: all chance in a simulated world, from one seed.

Whoever needs chance has a stream of its own, so that a fault that is added, or a world that asks once more for it, does
not reshuffle the rest: an old seed goes on meaning what it meant.
"""

from __future__ import annotations

import random


class Streams:
    """The streams of one seed. Asking twice for a name gives the same stream, where it stands."""

    def __init__(self, seed: int) -> None:
        self.seed = seed
        self._streams: dict[str, random.Random] = {}

    def __call__(self, name: str) -> random.Random:
        """The stream `name`. A text as seed is hashed by Python itself, alike in every process and version."""
        stream = self._streams.get(name)
        if stream is None:
            stream = self._streams[name] = random.Random(f"crdtsync/{self.seed}/{name}")
        return stream
