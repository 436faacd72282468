"""Private keys on their way into a TLS library that reads them only from files."""

from __future__ import annotations

from cryptography.hazmat.primitives import serialization

from crdtsync.errors import BadValue


def encrypt_private_pem(private_pem: bytes, password: bytes) -> bytes:
    """The same private key as PEM under `password`: AES-256-CBC, PKCS 8.

    Meant for a password of 32 random bytes or more that is used once. Raises BadValue when `private_pem` holds no
    unencrypted private key.
    """
    try:
        key = serialization.load_pem_private_key(private_pem, password=None)
    except (ValueError, TypeError):
        raise BadValue("the private key for connections is no unencrypted private key in PEM") from None
    return key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.BestAvailableEncryption(password),
    )
