"""Sealing a secret to a member: HPKE (RFC 9180), base mode, MLKEM768_X25519, HKDF-SHA256, AES-256-GCM.

A hybrid, so that key deliveries recorded today stay closed to a later quantum computer. A public key is the ML-KEM-768
key (1,184 bytes) and the X25519 key (32); a private one the seeds of both (64 and 32).
"""

from __future__ import annotations

from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.mlkem import MLKEM768PrivateKey, MLKEM768PublicKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.hpke import (
    AEAD,
    KDF,
    KEM,
    MLKEM768X25519PrivateKey,
    MLKEM768X25519PublicKey,
    Suite,
)

from crdtsync.errors import Malformed, SealBroken

KEM_BYTES: Final = 1184 + 32
KEM_SEED_BYTES: Final = 64 + 32
_MLKEM_BYTES: Final = 1184
_MLKEM_SEED_BYTES: Final = 64
_SUITE: Final = Suite(KEM.MLKEM768_X25519, KDF.HKDF_SHA256, AEAD.AES_256_GCM)
_PROBE: Final = X25519PrivateKey.from_private_bytes(b"\x01" * 32)


class HybridKey:
    """The private half, from a 96-byte seed."""

    def __init__(self, seed: bytes) -> None:
        if len(seed) != KEM_SEED_BYTES:
            raise ValueError(f"a key seed for sealing has {KEM_SEED_BYTES} bytes")
        mlkem = MLKEM768PrivateKey.from_seed_bytes(seed[:_MLKEM_SEED_BYTES])
        x25519 = X25519PrivateKey.from_private_bytes(seed[_MLKEM_SEED_BYTES:])
        self._key = MLKEM768X25519PrivateKey(mlkem, x25519)
        self.public: Final = mlkem.public_key().public_bytes_raw() + x25519.public_key().public_bytes_raw()

    def open_sealed(self, info: bytes, sealed: bytes) -> bytes:
        """Open what was sealed to `public` under `info`. Raises SealBroken."""
        try:
            return _SUITE.decrypt(sealed, self._key, info)
        except (InvalidTag, ValueError):
            raise SealBroken("a secret that was not sealed to this replica for this use, or was changed") from None


def hybrid_public(kem: bytes) -> MLKEM768X25519PublicKey:
    """The public key in `kem`.

    Raises Malformed for another length, an ML-KEM key out of range, and X25519 points of small order. Without this
    check one member's bad key would keep everybody from sealing the next epoch.
    """
    if len(kem) != KEM_BYTES:
        raise Malformed(f"a public key for sealing has {KEM_BYTES} bytes")
    try:
        x25519 = X25519PublicKey.from_public_bytes(kem[_MLKEM_BYTES:])
        _PROBE.exchange(x25519)  # raises for the points of small order, whatever the scalar
        return MLKEM768X25519PublicKey(MLKEM768PublicKey.from_public_bytes(kem[:_MLKEM_BYTES]), x25519)
    except ValueError:
        raise Malformed("a public key for sealing that nothing can be sealed to") from None


def seal_to(kem: bytes, info: bytes, secret: bytes) -> bytes:
    """Seal `secret` to the holder of `kem`, bound to `info`. Raises Malformed for an unusable key."""
    return _SUITE.encrypt(secret, hybrid_public(kem), info)
