"""The simulator's `Sealer`: deterministic, cheap, and as unforgiving as the real one, but no secrecy against anybody.

It is made of SHA-2 and SHAKE alone. What the conformance suite asks of the real suite holds here too: another key,
salt, context or recipient and every changed byte are refused, plain text does not show in sealed bytes, and sealing
twice gives different bytes. What does not hold is resistance to an adversary who knows this file: signatures and sealed
secrets are functions of public keys. Never use it outside tests.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable

from crdtsync import limits
from crdtsync.errors import SealBroken, TooLarge
from crdtsync.ids import KEY_ID_BYTES, EpochId
from crdtsync.sealing.identity import PublicIdentity

_NONCE_BYTES = 8
_TAG_BYTES = 16
_WRAP_TAG_BYTES = 8
_BROKEN = "sealed content does not open: it was changed, or sealed with another key or for another place"


def plain_identity(name: str) -> PublicIdentity:
    """The stand-in identity of the replica `name`: bytes of the usual kinds, without keys behind them."""
    seed = name.encode()
    return PublicIdentity(
        sig=hashlib.sha256(b"plain/sig" + seed).digest(),
        tls=b"plain certificate of " + hashlib.sha256(b"plain/tls" + seed).digest(),
        kem=hashlib.sha256(b"plain/kem" + seed).digest(),
    )


class PlainSealer:
    """A `Sealer` for the replica `name`; `random` gives the simulator's seeded bytes (as `Random.randbytes` does)."""

    def __init__(self, name: str, random: Callable[[int], bytes]) -> None:
        self._public = plain_identity(name)
        self._random = random

    def random(self, n: int) -> bytes:
        """`n` bytes from the callable that the constructor was given."""
        return self._random(n)

    @property
    def public(self) -> PublicIdentity:
        """The stand-in identity."""
        return self._public

    def sign(self, message: bytes) -> bytes:
        """64 bytes that only `verify` under this replica's `sig` accepts."""
        return _signature(self._public.sig, message)

    def verify(self, sig: bytes, message: bytes, signature: bytes) -> bool:
        """Whether `signature` was made for `message` under `sig`."""
        return len(sig) == 32 and _signature(sig, message) == signature

    def seal(self, key: bytes, salt: bytes, context: bytes, plain: bytes) -> bytes:
        """Nonce, tag, and `plain` under a key stream. Raises TooLarge as the real one does."""
        if len(plain) > limits.inflated_bytes_max:
            raise TooLarge(f"{len(plain)} bytes to seal where at most {limits.inflated_bytes_max} are allowed")
        return _seal(key + salt, context, plain, self._random(_NONCE_BYTES))

    def open(self, key: bytes, salt: bytes, context: bytes, sealed: bytes) -> bytes:
        """The inverse of `seal`. Raises SealBroken, or TooLarge as the real one does."""
        plain = _open(key + salt, context, sealed)
        if len(plain) > limits.inflated_bytes_max:
            raise TooLarge(f"content of {len(plain)} bytes, where {limits.inflated_bytes_max} are allowed")
        return plain

    def subject_salt(self, epoch_key: bytes, subject: str) -> bytes:
        """A hash of both."""
        return hashlib.sha256(b"plain/salt" + epoch_key + subject.encode()).digest()

    def wrap(self, salt: bytes, data_key: bytes) -> bytes:
        """40 bytes: a short tag and the key under a key stream."""
        tag = hashlib.sha256(b"plain/wrap" + salt + data_key).digest()[:_WRAP_TAG_BYTES]
        return tag + _mask(salt + tag, data_key)

    def unwrap(self, salt: bytes, wrapped: bytes) -> bytes:
        """The inverse of `wrap`. Raises SealBroken."""
        data_key = _mask(salt + wrapped[:_WRAP_TAG_BYTES], wrapped[_WRAP_TAG_BYTES:])
        if len(wrapped) != 40 or self.wrap(salt, data_key) != wrapped:
            raise SealBroken("a wrapped key does not open: changed, or of another subject or epoch")
        return data_key

    def epoch_id(self, epoch_key: bytes) -> EpochId:
        """The beginning of a hash of the epoch key."""
        return EpochId(hashlib.sha256(b"plain/epoch" + epoch_key).digest()[:KEY_ID_BYTES])

    def seal_to(self, kem: bytes, info: bytes, secret: bytes) -> bytes:
        """Sealed under the recipient's public bytes: only the recipient's `open_sealed` accepts it."""
        return _seal(b"plain/kem" + kem, info, secret, self._random(_NONCE_BYTES))

    def open_sealed(self, info: bytes, sealed: bytes) -> bytes:
        """Open what was sealed to this replica. Raises SealBroken."""
        return _open(b"plain/kem" + self._public.kem, info, sealed)


def _signature(sig: bytes, message: bytes) -> bytes:
    return hashlib.sha512(b"plain/signature" + sig + message).digest()


def _mask(seed: bytes, data: bytes) -> bytes:
    stream = hashlib.shake_128(seed).digest(len(data))
    return (int.from_bytes(data, "big") ^ int.from_bytes(stream, "big")).to_bytes(len(data), "big")


def _tag(seed: bytes, context: bytes, plain: bytes) -> bytes:
    return hashlib.sha256(seed + len(context).to_bytes(4, "big") + context + plain).digest()[:_TAG_BYTES]


def _seal(key: bytes, context: bytes, plain: bytes, nonce: bytes) -> bytes:
    seed = key + nonce
    return nonce + _tag(seed, context, plain) + _mask(seed, plain)


def _open(key: bytes, context: bytes, sealed: bytes) -> bytes:
    seed = key + sealed[:_NONCE_BYTES]
    head = _NONCE_BYTES + _TAG_BYTES
    plain = _mask(seed, sealed[head:])
    if len(sealed) < head or _tag(seed, context, plain) != sealed[_NONCE_BYTES:head]:
        raise SealBroken(_BROKEN)
    return plain
