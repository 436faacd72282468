"""The TLS certificate of a replica: self-signed, and a function of the key and the replica's id alone.

Fixed serial number and validity: who belongs is decided by the member list, never by a date. It may be a server and a
client, and it may issue nothing, so a certificate that a member issued to somebody is worth nothing.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Final

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509 import (
    BasicConstraints,
    Certificate,
    CertificateBuilder,
    ExtendedKeyUsage,
    KeyUsage,
    Name,
    NameAttribute,
    load_der_x509_certificate,
)
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from crdtsync import limits
from crdtsync.errors import Malformed
from crdtsync.ids import ReplicaId, base32
from crdtsync.sealing.signing import SIGNATURE_BYTES, signing_key

_SERIAL: Final = 1
_TEMPLATE_KEY: Final = Ed25519PrivateKey.from_private_bytes(bytes(32))
_FROM: Final = datetime(1970, 1, 1, tzinfo=UTC)
_UNTIL: Final = datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC)
_USES: Final = (ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH)


def certificate_of(key: Ed25519PrivateKey, replica: ReplicaId) -> Certificate:
    """The certificate of `key` for `replica`; equal arguments give equal bytes."""
    name = Name([NameAttribute(NameOID.COMMON_NAME, base32(replica))])
    usage = KeyUsage(
        digital_signature=True,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=False,
        crl_sign=False,
        encipher_only=False,
        decipher_only=False,
    )
    return (
        CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(_SERIAL)
        .not_valid_before(_FROM)
        .not_valid_after(_UNTIL)
        .add_extension(BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(usage, critical=True)
        .add_extension(ExtendedKeyUsage(_USES), critical=False)
        .sign(key, None)
    )


def check_certificate(der: bytes, replica: ReplicaId) -> None:
    """Raise Malformed unless `der` is exactly what `certificate_of` makes for `replica` and the key in it.

    So a certificate carries no name, use or extension of its maker's choice, its key has signed it (whoever shows
    somebody else's certificate cannot make it name another replica), and its key is no point of small order.
    """
    if len(der) > limits.certificate_bytes_max:
        raise Malformed(f"a certificate of {len(der)} bytes where at most {limits.certificate_bytes_max} are allowed")
    try:
        certificate = load_der_x509_certificate(der)
        key = certificate.public_key()
        if not isinstance(key, Ed25519PublicKey):
            raise Malformed("a certificate whose key is not Ed25519")
        key.verify(certificate.signature, certificate.tbs_certificate_bytes)
    except Malformed:
        raise
    except Exception:  # the parser raises exceptions of several families; any of them means just this (L6)
        raise Malformed("a certificate that is damaged, or that its own key did not sign") from None
    signing_key(key.public_bytes_raw())
    if der[:-SIGNATURE_BYTES] != _all_but_signature(key, replica):
        raise Malformed("a certificate that was made for another replica, or has another form than ours")


def _all_but_signature(key: Ed25519PublicKey, replica: ReplicaId) -> bytes:
    template = certificate_of(_TEMPLATE_KEY, replica).public_bytes(Encoding.DER)[:-SIGNATURE_BYTES]
    return template.replace(_TEMPLATE_KEY.public_key().public_bytes_raw(), key.public_bytes_raw())
