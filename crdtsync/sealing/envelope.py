"""Sealing the parts of commits: the context names the one place where a part may stand.

A sealed part that is moved to another practice, log, sequence, index, epoch or data key does not open.
"""

from __future__ import annotations

from typing import Final

from crdtsync.ids import KEY_ID_BYTES, LOG_ID_BYTES, PRACTICE_ID_BYTES, DataKeyId, EpochId, LogId, PracticeId
from crdtsync.sealing.base import Sealer

_DOMAIN: Final = b"crdtsync/sealed-part/1"
_CONTEXT_BYTES: Final = len(_DOMAIN) + PRACTICE_ID_BYTES + LOG_ID_BYTES + 8 + 4 + 2 * KEY_ID_BYTES


def part_context(
    practice: PracticeId, log: LogId, sequence: int, index: int, epoch: EpochId, key_id: DataKeyId
) -> bytes:
    """The place of a part, in fields of fixed length. Raises ValueError when an id has another length."""
    place = sequence.to_bytes(8, "big") + index.to_bytes(4, "big")
    context = b"".join((_DOMAIN, practice, log, place, epoch, key_id))
    if len(context) != _CONTEXT_BYTES:
        raise ValueError("the ids of a part's place have other lengths")
    return context


def seal_part(
    sealer: Sealer,
    key: bytes,
    salt: bytes,
    practice: PracticeId,
    log: LogId,
    sequence: int,
    index: int,
    epoch: EpochId,
    key_id: DataKeyId,
    plain: bytes,
) -> bytes:
    """Seal the content of part `index` of commit `sequence` under data key `key` and subject salt `salt`."""
    return sealer.seal(key, salt, part_context(practice, log, sequence, index, epoch, key_id), plain)


def open_part(
    sealer: Sealer,
    key: bytes,
    salt: bytes,
    practice: PracticeId,
    log: LogId,
    sequence: int,
    index: int,
    epoch: EpochId,
    key_id: DataKeyId,
    sealed: bytes,
) -> bytes:
    """The inverse of `seal_part`. Raises SealBroken or TooLarge."""
    return sealer.open(key, salt, part_context(practice, log, sequence, index, epoch, key_id), sealed)
