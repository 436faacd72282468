"""The key file: a replica's seeds and the key of its view, under a passphrase.

    magic (15) ‖ version (1) ‖ cost (1) ‖ salt (16) ‖ nonce (12) ‖ AES-256-GCM(seeds) ‖ SHA-256 of all before it (32)

The cipher's key is Argon2id(passphrase, salt); everything before the ciphertext is authenticated with it. The checksum
tells a damaged file from a wrong passphrase: both would merely fail to open otherwise.
"""

from __future__ import annotations

import hashlib
import unicodedata
from dataclasses import dataclass
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.argon2 import Argon2id

from crdtsync.errors import BadValue, DamagedFile, EnvironmentFailure, RefusedError, WrongPassphrase
from crdtsync.sealing.derivation import derive
from crdtsync.sealing.hybrid import KEM_SEED_BYTES
from crdtsync.sealing.identity import SEED_BYTES, Identity

SALT_BYTES: Final = 16
NONCE_BYTES: Final = 12
VIEW_KEY_BYTES: Final = 32
_MAGIC: Final = b"\x89crdtsync key\r\n"
_DOMAIN_BACKUP: Final = b"crdtsync/backup-key/1"
_VERSION: Final = 1
_SLOW, _FAST = 0, 1
_COSTS: Final = {_SLOW: (256 * 1024, 3, 4), _FAST: (1024, 1, 1)}
"""Per cost: memory in KiB, passes, lanes. The slow one takes about 0.8 s."""
_SECRET_BYTES: Final = 2 * SEED_BYTES + KEM_SEED_BYTES + VIEW_KEY_BYTES
_HEADER_BYTES: Final = len(_MAGIC) + 2 + SALT_BYTES + NONCE_BYTES
_CHECKSUM_BYTES: Final = 32
_FILE_BYTES: Final = _HEADER_BYTES + _SECRET_BYTES + 16 + _CHECKSUM_BYTES


@dataclass(frozen=True, slots=True, repr=False)
class KeyFile:
    """What the file holds: the three seeds of `Identity` (32, 32, 96 bytes) and the key of the view (32). No `repr`."""

    sig_seed: bytes
    tls_seed: bytes
    kem_seed: bytes
    view_key: bytes

    def identity(self) -> Identity:
        """The replica's keys."""
        return Identity(self.sig_seed, self.tls_seed, self.kem_seed)


def seal_keyfile(secrets: KeyFile, passphrase: str, *, salt: bytes, nonce: bytes, fast: bool) -> bytes:
    """The bytes of a key file; `salt` (16 bytes) and `nonce` (12) are random and new each time.

    `fast` makes a file that opens in a millisecond, and that somebody who steals it guesses as fast: for tests only.
    Raises BadValue for an empty passphrase, ValueError for secrets, salt or nonce of another length.
    """
    plain = secrets.sig_seed + secrets.tls_seed + secrets.kem_seed + secrets.view_key
    if len(plain) != _SECRET_BYTES or len(salt) != SALT_BYTES or len(nonce) != NONCE_BYTES:
        raise ValueError("secrets, salt or nonce of a key file have another length")
    if not passphrase:
        raise BadValue("an empty passphrase protects nothing; give one of some length")
    cost = _FAST if fast else _SLOW
    header = _MAGIC + bytes((_VERSION, cost)) + salt + nonce
    body = header + AESGCM(_stretched(passphrase, salt, cost)).encrypt(nonce, plain, header)
    return body + hashlib.sha256(body).digest()


def open_keyfile(data: bytes, passphrase: str) -> KeyFile:
    """The secrets in a key file.

    Raises DamagedFile when the bytes are not those that were written, WrongPassphrase when they are and do not open,
    RefusedError for a file of a later version, EnvironmentFailure when the machine lacks the memory that opening takes.
    """
    cost = _checked_cost(data)
    header, sealed = data[:_HEADER_BYTES], data[_HEADER_BYTES:-_CHECKSUM_BYTES]
    salt, nonce = header[-SALT_BYTES - NONCE_BYTES : -NONCE_BYTES], header[-NONCE_BYTES:]
    try:
        plain = AESGCM(_stretched(passphrase, salt, cost)).decrypt(nonce, sealed, header)
    except InvalidTag:
        raise WrongPassphrase("the key file does not open with this passphrase; check it and try again") from None
    kem_at = 2 * SEED_BYTES
    view_at = kem_at + KEM_SEED_BYTES
    return KeyFile(plain[:SEED_BYTES], plain[SEED_BYTES:kem_at], plain[kem_at:view_at], plain[view_at:])


def backup_key(view_key: bytes) -> bytes:
    """The key under which a site's backups are sealed (32 bytes): it follows from the key of its view, so that whoever
    opens the key file opens every backup of the site."""
    return derive(view_key, b"", _DOMAIN_BACKUP)


def is_fast(data: bytes) -> bool:
    """Whether the file was made cheap to open. Raises as `open_keyfile` does for damage and later versions."""
    return _checked_cost(data) == _FAST


def _checked_cost(data: bytes) -> int:
    if not data.startswith(_MAGIC):
        raise DamagedFile("this is no key file, or its beginning is damaged; put back the copy from a backup")
    body = data[:-_CHECKSUM_BYTES]
    if hashlib.sha256(body).digest() != data[-_CHECKSUM_BYTES:]:
        raise DamagedFile("the key file is damaged or incomplete; put back the copy from a backup")
    version, cost = data[len(_MAGIC)], data[len(_MAGIC) + 1]
    if version != _VERSION or cost not in _COSTS:
        raise RefusedError("the key file was written by a later version of this program; update the program")
    if len(data) != _FILE_BYTES:
        raise DamagedFile("the key file has another length than it was written with; put back the copy from a backup")
    return cost


def _stretched(passphrase: str, salt: bytes, cost: int) -> bytes:
    memory_kib, passes, lanes = _COSTS[cost]
    typed = unicodedata.normalize("NFC", passphrase).encode("utf-8", "surrogatepass")
    try:
        return Argon2id(salt=salt, length=32, iterations=passes, lanes=lanes, memory_cost=memory_kib).derive(typed)
    except MemoryError:
        raise EnvironmentFailure(
            f"opening the key file takes {memory_kib // 1024} MiB of memory, which the machine does not give; free some"
        ) from None
