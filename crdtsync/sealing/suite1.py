"""Suite 1: the ciphers of format version 1. There is no negotiation; another suite is another format version.

What is sealed:

    content key  HKDF(data key D, salt S, domain ‖ context)         reading needs both D and S
    sealed       Cobblestone256(content key, domain ‖ context)      random salt, commits to its key; pyca draws the salt
    inside       flag ‖ body ‖ 0x80 ‖ zeros                         flag 1: body is one zstd frame, 0: plain
                 padded to a PADMÉ length: at most 12 % more, and a length tells little about the content

Keys: S = HKDF(E, subject); a data key is wrapped by AES-KW (RFC 3394) under a key derived from S.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import Final

from cryptography.cobblestone import Cobblestone256Decryptor, Cobblestone256Encryptor
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.keywrap import InvalidUnwrap, aes_key_unwrap, aes_key_wrap

from crdtsync import limits
from crdtsync.errors import SealBroken, TooLarge
from crdtsync.ids import KEY_ID_BYTES, EpochId
from crdtsync.sealing import hybrid
from crdtsync.sealing.compression import deflate, inflate
from crdtsync.sealing.derivation import derive
from crdtsync.sealing.identity import Identity, PublicIdentity
from crdtsync.sealing.padding import pad, unpad
from crdtsync.sealing.signing import Verifier

_DOMAIN_CONTENT: Final = b"crdtsync/content/1"
_DOMAIN_SALT: Final = b"crdtsync/subject-salt/1"
_DOMAIN_WRAP: Final = b"crdtsync/wrap/1"
_DOMAIN_EPOCH: Final = b"crdtsync/epoch-id/1"
_PLAIN: Final = b"\x00"
_ZSTD: Final = b"\x01"
_BROKEN: Final = "sealed content does not open: it was changed, or sealed with another key or for another place"


class Suite1:
    """The real `Sealer`: `identity` holds the keys, `random` gives random bytes (`os.urandom` in a running site)."""

    def __init__(self, identity: Identity, random: Callable[[int], bytes]) -> None:
        self._identity = identity
        self._random = random
        self._verifier = Verifier()

    def random(self, n: int) -> bytes:
        """`n` bytes from the source that the constructor was given."""
        return self._random(n)

    @property
    def public(self) -> PublicIdentity:
        """The public half of this replica's keys."""
        return self._identity.public

    def sign(self, message: bytes) -> bytes:
        """The Ed25519 signature of `message`, 64 bytes."""
        return self._identity.sign(message)

    def verify(self, sig: bytes, message: bytes, signature: bytes) -> bool:
        """Whether `signature` is that of `message` under `sig`; see `Sealer.verify`."""
        return self._verifier.verify(sig, message, signature)

    def seal(self, key: bytes, salt: bytes, context: bytes, plain: bytes) -> bytes:
        """Compress, pad and encrypt; see `Sealer.seal`."""
        if len(plain) > limits.inflated_bytes_max:
            raise TooLarge(f"{len(plain)} bytes to seal where at most {limits.inflated_bytes_max} are allowed")
        packed = deflate(plain)
        inner = pad(_PLAIN + plain if packed is None else _ZSTD + packed)
        info = _DOMAIN_CONTENT + context
        encryptor = Cobblestone256Encryptor(derive(key, salt, info), info)
        return encryptor.update(inner) + encryptor.finalize()

    def open(self, key: bytes, salt: bytes, context: bytes, sealed: bytes) -> bytes:
        """The inverse of `seal`; raises SealBroken or TooLarge. Nothing is returned before all of it is verified."""
        return open_content(content_key(key, salt, context), context, sealed)

    def subject_salt(self, epoch_key: bytes, subject: str) -> bytes:
        """S = HKDF(E, subject)."""
        return derive(epoch_key, b"", _DOMAIN_SALT + subject.encode())

    def wrap(self, salt: bytes, data_key: bytes) -> bytes:
        """40 bytes: AES-KW of `data_key` under a key derived from `salt`."""
        return aes_key_wrap(derive(salt, b"", _DOMAIN_WRAP), data_key)

    def unwrap(self, salt: bytes, wrapped: bytes) -> bytes:
        """The inverse of `wrap`. Raises SealBroken."""
        try:
            return aes_key_unwrap(derive(salt, b"", _DOMAIN_WRAP), wrapped)
        except InvalidUnwrap:
            raise SealBroken("a wrapped key does not open: changed, or of another subject or epoch") from None

    def epoch_id(self, epoch_key: bytes) -> EpochId:
        """The beginning of a hash of the epoch key."""
        return EpochId(hashlib.sha256(_DOMAIN_EPOCH + epoch_key).digest()[:KEY_ID_BYTES])

    def seal_to(self, kem: bytes, info: bytes, secret: bytes) -> bytes:
        """HPKE to the holder of `kem`. Raises Malformed for an unusable key."""
        return hybrid.seal_to(kem, info, secret)

    def open_sealed(self, info: bytes, sealed: bytes) -> bytes:
        """Open what was sealed to this replica. Raises SealBroken."""
        return self._identity.open_sealed(info, sealed)


def content_key(key: bytes, salt: bytes, context: bytes) -> bytes:
    """The key that opens what was sealed with `key`, `salt` and `context`, and nothing else: neither of them can be
    found from it. Who is given it reads that one content, and can prove what it says."""
    return derive(key, salt, _DOMAIN_CONTENT + context)


def open_content(content_key: bytes, context: bytes, sealed: bytes) -> bytes:
    """Open sealed content with its own key. Raises SealBroken or TooLarge.

    The seal commits to its key: no second key opens the same bytes to something else.
    """
    decryptor = Cobblestone256Decryptor(content_key, _DOMAIN_CONTENT + context)
    try:
        inner = unpad(decryptor.update(sealed) + decryptor.finalize())
    except (InvalidTag, ValueError):
        raise SealBroken(_BROKEN) from None
    flag, body = inner[:1], inner[1:]
    if flag == _ZSTD:
        return inflate(body)
    if flag != _PLAIN:
        raise SealBroken("sealed content in a form that this version does not know; update this program")
    return body
