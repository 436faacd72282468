"""The contract of sealing: what the core and the engine are handed instead of keys and ciphers.

Two implementations pass one conformance suite (`crdtsync.testing.sealers`): `Suite1`, the real one, and the simulator's
deterministic `PlainSealer`. Every argument and result is bytes, so the core stays free of ciphers.
"""

from __future__ import annotations

from typing import Protocol

from crdtsync.ids import EpochId
from crdtsync.sealing.identity import PublicIdentity


class Sealer(Protocol):
    """One replica's keys, and everything that is done with keys. Safe to call from several threads."""

    def random(self, n: int) -> bytes:
        """`n` bytes from the source that the constructor was given."""

    @property
    def public(self) -> PublicIdentity:
        """The public half of this replica's keys."""

    def sign(self, message: bytes) -> bytes:
        """64 bytes: the signature of `message` under this replica's signing key. The message carries its domain."""

    def verify(self, sig: bytes, message: bytes, signature: bytes) -> bool:
        """Whether `signature` is the one of `message` under the signing key `sig`.

        False for any malformed input, and for keys of small order, under which anybody can sign.
        """

    def seal(self, key: bytes, salt: bytes, context: bytes, plain: bytes) -> bytes:
        """Compress, pad and encrypt `plain`; it opens with the same `key` (32 bytes), `salt` (32) and `context` only.

        Sealing twice gives different bytes. Raises TooLarge for more than `limits.inflated_bytes_max`.
        """

    def open(self, key: bytes, salt: bytes, context: bytes, sealed: bytes) -> bytes:
        """The inverse of `seal`.

        Raises SealBroken for another key, salt or context and for changed bytes, TooLarge for what would inflate beyond
        `limits.inflated_bytes_max` (nothing is allocated for it then).
        """

    def subject_salt(self, epoch_key: bytes, subject: str) -> bytes:
        """32 bytes: the salt S of one subject in one epoch, from which the epoch key cannot be found."""

    def wrap(self, salt: bytes, data_key: bytes) -> bytes:
        """40 bytes: a 32-byte key wrapped under a salt S."""

    def unwrap(self, salt: bytes, wrapped: bytes) -> bytes:
        """The inverse of `wrap`. Raises SealBroken."""

    def epoch_id(self, epoch_key: bytes) -> EpochId:
        """The name of an epoch key: the beginning of a hash of it."""

    def seal_to(self, kem: bytes, info: bytes, secret: bytes) -> bytes:
        """Seal a short secret to the holder of `kem`, bound to `info`. Raises Malformed when `kem` is no usable key."""

    def open_sealed(self, info: bytes, sealed: bytes) -> bytes:
        """Open what was sealed to this replica under the same `info`. Raises SealBroken."""
