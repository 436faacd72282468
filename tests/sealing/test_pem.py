"""Private keys under a password of one use."""

from __future__ import annotations

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, load_pem_private_key

from crdtsync.errors import BadValue
from crdtsync.sealing.pem import encrypt_private_pem

KEY = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
PEM = KEY.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def test_the_same_key_comes_back_and_only_with_the_password() -> None:
    sealed = encrypt_private_pem(PEM, b"p" * 64)
    opened = load_pem_private_key(sealed, b"p" * 64)
    assert opened.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()) == PEM
    with pytest.raises(ValueError, match=r"password"):
        load_pem_private_key(sealed, b"q" * 64)


def test_the_key_does_not_show() -> None:
    sealed = encrypt_private_pem(PEM, b"p" * 64)
    assert b"ENCRYPTED" in sealed
    assert sealed != encrypt_private_pem(PEM, b"p" * 64)


@pytest.mark.parametrize("wrong", [b"", b"no PEM", encrypt_private_pem(PEM, b"p" * 64)])
def test_what_is_no_open_private_key(wrong: bytes) -> None:
    with pytest.raises(BadValue, match="no unencrypted private key"):
        encrypt_private_pem(wrong, b"p" * 64)
