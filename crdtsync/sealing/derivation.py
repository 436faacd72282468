"""One key derivation for everything: HKDF with SHA-256 (RFC 5869)."""

from __future__ import annotations

from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

_SHA256 = SHA256()


def derive(secret: bytes, salt: bytes, info: bytes, length: int = 32) -> bytes:
    """`length` bytes from `secret`; `info` begins with a domain string, so that no two uses give the same key."""
    return HKDF(_SHA256, length, salt, info).derive(secret)
