"""Ed25519 signatures, with the two checks that the library underneath leaves to its caller.

OpenSSL accepts the 14 encodings of points of small order as public keys, and anybody can make signatures that verify
under those. It also accepts encodings that are not the shortest one, which would give one key two names. Both kinds are
refused here, on import and again on verifying.
"""

from __future__ import annotations

from typing import Final

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from crdtsync import limits
from crdtsync.errors import Malformed
from crdtsync.sealing.cache import Cache

SIG_BYTES: Final = 32
SIGNATURE_BYTES: Final = 64
_PRIME: Final = 2**255 - 19
_SIGN_BIT: Final = 2**255

SMALL_ORDER: Final = frozenset(
    bytes.fromhex(point)
    for point in (
        "0100000000000000000000000000000000000000000000000000000000000000",  # order 1
        "0100000000000000000000000000000000000000000000000000000000000080",  # the same, sign bit set
        "eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",  # the same, not reduced
        "eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff",
        "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",  # order 2
        "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff",
        "0000000000000000000000000000000000000000000000000000000000000000",  # order 4
        "0000000000000000000000000000000000000000000000000000000000000080",
        "edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
        "edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff",
        "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05",  # order 8
        "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc85",
        "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a",
        "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac03fa",
    )
)
"""Every encoding of the eight points whose order divides eight."""


def signing_key(sig: bytes) -> Ed25519PublicKey:
    """The public key in `sig`. Raises Malformed for another length, a point of small order, or a second encoding."""
    if len(sig) != SIG_BYTES:
        raise Malformed(f"a signing key has {SIG_BYTES} bytes")
    if sig in SMALL_ORDER:
        raise Malformed("a signing key of small order: anybody could sign under it")
    if int.from_bytes(sig, "little") % _SIGN_BIT >= _PRIME:
        raise Malformed("a signing key in an encoding that is not the shortest one")
    return Ed25519PublicKey.from_public_bytes(sig)


class Verifier:
    """Verifies signatures and keeps the keys of the last authors ready."""

    def __init__(self) -> None:
        self._keys: Cache[bytes, Ed25519PublicKey] = Cache(limits.verify_keys_cached_max)

    def verify(self, sig: bytes, message: bytes, signature: bytes) -> bool:
        """Whether `signature` is that of `message` under `sig`; False for any malformed or refused input."""
        key = self._keys.get(sig)
        try:
            if key is None:
                key = signing_key(sig)
                self._keys.put(sig, key)
            key.verify(signature, message)
        except (InvalidSignature, Malformed, ValueError):
            return False
        return True
