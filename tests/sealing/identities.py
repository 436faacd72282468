"""What the tests of this folder share."""

from __future__ import annotations

import hashlib

from crdtsync.sealing.identity import Identity


def identity_of(name: str) -> Identity:
    """The identity that tests call `name`."""
    seeds = hashlib.shake_256(name.encode()).digest(160)
    return Identity(seeds[:32], seeds[32:64], seeds[64:])
