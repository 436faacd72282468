"""Letters: a question or an answer from one replica to one other, which nobody on the way can read or move elsewhere.

    letter   length of the next (2 bytes) ‖ a fresh key sealed to the receiver (HPKE) ‖ the text sealed with that key

The context names practice, direction, question, sender and receiver: an answer is not opened as a question, nor one of
them in place of another. Who wrote a letter is not told by the seal but by the signature beside it.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Final

from crdtsync import limits
from crdtsync.errors import SealBroken, TooLarge
from crdtsync.ids import ASK_ID_BYTES, PRACTICE_ID_BYTES, REPLICA_ID_BYTES, AskId, PracticeId, ReplicaId
from crdtsync.sealing.base import Sealer

_DOMAIN: Final = b"crdtsync/letter/1"
_KEY_BYTES: Final = 32
_LENGTH_BYTES: Final = 2
_CONTEXT_BYTES: Final = len(_DOMAIN) + PRACTICE_ID_BYTES + 1 + ASK_ID_BYTES + 2 * REPLICA_ID_BYTES


@dataclass(frozen=True, slots=True)
class Envelope:
    """Where a letter belongs: who wrote it to whom, about which question, and whether it is the `answer`."""

    practice: PracticeId
    ask: AskId
    sender: ReplicaId
    receiver: ReplicaId
    answer: bool

    def context(self) -> bytes:
        """The same in fields of fixed length. Raises ValueError when an id has another length."""
        context = b"".join((_DOMAIN, self.practice, bytes([self.answer]), self.ask, self.sender, self.receiver))
        if len(context) != _CONTEXT_BYTES:
            raise ValueError("the ids on an envelope have other lengths")
        return context


def seal_letter(sealer: Sealer, envelope: Envelope, kem: bytes, plain: bytes) -> bytes:
    """Seal `plain` to the holder of `kem`: at most `limits.ask_body_bytes_max` bytes for at most
    `limits.ask_plain_bytes_max`. Raises TooLarge for more, Malformed for an unusable key."""
    if len(plain) > limits.ask_plain_bytes_max:
        raise TooLarge(f"a letter of {len(plain)} bytes, where {limits.ask_plain_bytes_max} are allowed")
    context = envelope.context()
    key = sealer.random(_KEY_BYTES)
    sealed_key = sealer.seal_to(kem, context, key)
    text = sealer.seal(key, _salt(context), context, plain)
    return len(sealed_key).to_bytes(_LENGTH_BYTES, "big") + sealed_key + text


def open_letter(sealer: Sealer, envelope: Envelope, sealed: bytes) -> bytes:
    """Open a letter to this replica. Raises SealBroken for one to somebody else, from another place, or with a changed
    byte, TooLarge for more than a letter may hold."""
    end = _LENGTH_BYTES + int.from_bytes(sealed[:_LENGTH_BYTES], "big")
    if len(sealed) < end:
        raise SealBroken("a letter that is cut off")
    context = envelope.context()
    key = sealer.open_sealed(context, sealed[_LENGTH_BYTES:end])
    plain = sealer.open(key, _salt(context), context, sealed[end:])
    if len(plain) > limits.ask_plain_bytes_max:
        raise TooLarge(f"a letter of {len(plain)} bytes, where {limits.ask_plain_bytes_max} are allowed")
    return plain


def _salt(context: bytes) -> bytes:
    return hashlib.sha256(context).digest()
