"""Who is who: the keys of a replica, private and public.

A replica has three keys: `sig` (Ed25519) signs its logs and never changes; `tls` (Ed25519) carries its connections;
`kem` (ML-KEM-768 and X25519) is what secrets are sealed to. The replica's id is a hash of `sig`. The TLS certificate is
a function of the keys alone, so that it can be made again from the key file at any time.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509 import Certificate

from crdtsync.errors import BadValue, Malformed
from crdtsync.ids import REPLICA_ID_BYTES, ReplicaId, base32, replica_id_of
from crdtsync.sealing.certificate import certificate_of, check_certificate
from crdtsync.sealing.hybrid import HybridKey, hybrid_public
from crdtsync.sealing.printed import check_characters, decoded, grouped, typed_groups
from crdtsync.sealing.signing import signing_key

SEED_BYTES: Final = 32
_DOMAIN_TEXT: Final = b"crdtsync/replica-text/1"
_TEXT_CHECKS: Final = 4
_TEXT_GROUP: Final = 5


@dataclass(frozen=True, slots=True)
class PublicIdentity:
    """The public half: `sig` (32 bytes), `tls` (the self-signed certificate, DER), `kem` (1,216 bytes).

    The constructor checks nothing; whatever comes from somebody else goes through `from_items`.
    """

    sig: bytes
    tls: bytes
    kem: bytes

    @property
    def replica(self) -> ReplicaId:
        """The id that follows from `sig`."""
        return replica_id_of(self.sig)

    def to_items(self) -> list[bytes]:
        """`[sig, tls, kem]`, as it stands in membership records and join messages."""
        return [self.sig, self.tls, self.kem]

    @classmethod
    def from_items(cls, items: Sequence[Any]) -> PublicIdentity:
        """The inverse of `to_items` (items behind the third are left alone).

        Raises Malformed for keys of another form, signing and TLS keys of small order, keys that nothing can be sealed
        to, and a certificate other than the one that `certificate_of` makes for this replica.
        """
        if len(items) < 3 or not all(type(item) is bytes for item in items[:3]):
            raise Malformed("an identity: not three keys")
        public = cls(*items[:3])
        signing_key(public.sig)
        hybrid_public(public.kem)
        check_certificate(public.tls, public.replica)
        return public


class Identity:
    """All keys of one replica, from its seeds: `sig_seed` 32 bytes, `tls_seed` 32, `kem_seed` 96.

    Deterministic: equal seeds give equal keys and an equal certificate. The seeds do not show in `repr`.
    """

    def __init__(self, sig_seed: bytes, tls_seed: bytes, kem_seed: bytes) -> None:
        if len(sig_seed) != SEED_BYTES or len(tls_seed) != SEED_BYTES:
            raise ValueError(f"a seed of a signing key has {SEED_BYTES} bytes")
        self._sig = Ed25519PrivateKey.from_private_bytes(sig_seed)
        self._tls = Ed25519PrivateKey.from_private_bytes(tls_seed)
        self._kem = HybridKey(kem_seed)
        sig = self._sig.public_key().public_bytes_raw()
        self._certificate = certificate_of(self._tls, replica_id_of(sig))
        self.public: Final = PublicIdentity(sig, self._certificate.public_bytes(Encoding.DER), self._kem.public)

    def __repr__(self) -> str:
        return f"Identity({base32(self.public.replica)})"

    @property
    def certificate(self) -> Certificate:
        """The self-signed TLS certificate."""
        return self._certificate

    def sign(self, message: bytes) -> bytes:
        """64 bytes: the signature of `message` under `sig`."""
        return self._sig.sign(message)

    @cached_property
    def tls_certificate_pem(self) -> bytes:
        """The certificate as PEM."""
        return self._certificate.public_bytes(Encoding.PEM)

    @property
    def tls_private_pem(self) -> bytes:
        """The private TLS key as unencrypted PKCS #8 PEM: for memory only, never for a disk."""
        return self._tls.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())

    def open_sealed(self, info: bytes, sealed: bytes) -> bytes:
        """Open what was sealed to this replica under `info`. Raises SealBroken."""
        return self._kem.open_sealed(info, sealed)


def replica_text(replica: ReplicaId) -> str:
    """A replica's id for people: six groups of five characters, the last four of which check the others."""
    text = base32(replica)
    return grouped(text + check_characters(_DOMAIN_TEXT, text, _TEXT_CHECKS), _TEXT_GROUP)


def replica_from_text(text: str) -> ReplicaId:
    """The inverse of `replica_text`, forgiving case, spaces and missing hyphens. Raises BadValue for typing errors."""
    try:
        typed = "".join(typed_groups(text))
    except ValueError as error:
        raise BadValue(f"this is no replica id: {error}") from None
    content, checks = typed[:-_TEXT_CHECKS], typed[-_TEXT_CHECKS:]
    replica = ReplicaId(decoded(content))
    if len(replica) != REPLICA_ID_BYTES or base32(replica) != content:
        raise BadValue("this is no replica id: it has six groups of five characters; compare it again")
    if check_characters(_DOMAIN_TEXT, content, _TEXT_CHECKS) != checks:
        raise BadValue("the replica id is mistyped; compare it with where it is shown")
    return replica
