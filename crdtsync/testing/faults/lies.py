"""Two lies of a member that unsigned claims make possible."""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import TYPE_CHECKING, Final

from crdtsync.ids import CommitHash, Head
from crdtsync.replication import messages

if TYPE_CHECKING:
    from crdtsync.testing.network import Station

_HAVE: Final = 4


def claims_own_log(to: Station, message: bytes, chance: random.Random) -> Iterator[list[tuple[float, bytes]]]:
    """It says to a site that it has more of that site's own logs than the site wrote."""
    have = messages.decode(message) if message[1] == _HAVE else None
    if isinstance(have, messages.Have) and chance.random() < 0.3:
        heads = tuple(
            (log, Head(head.sequence + chance.randint(1, 5), CommitHash(chance.randbytes(32))))
            if log[:16] == to.replica_id
            else (log, head)
            for log, head in have.heads
        )
        yield [(0.0, messages.encode(messages.Have(heads, have.whole)))]


def other_hashes(to: Station, message: bytes, chance: random.Random) -> Iterator[list[tuple[float, bytes]]]:
    """It says that commits which it has bear other hashes than they do."""
    del to
    have = messages.decode(message) if message[1] == _HAVE else None
    if isinstance(have, messages.Have) and chance.random() < 0.3:
        heads = tuple(
            (log, Head(head.sequence, CommitHash(chance.randbytes(32))) if chance.random() < 0.3 else head)
            for log, head in have.heads
        )
        yield [(0.0, messages.encode(messages.Have(heads, have.whole)))]
