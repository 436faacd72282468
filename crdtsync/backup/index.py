"""An index: what one backup is. It is sealed, signed by the site that made it, and names every piece.

    index = magic ‖ [head, body, signature]
    head  = [version, practice, replica, taken ms, key file, [[holder, sealed backup key], …]]        readable
    body  = sealed under the backup key, bound to the head:
            [practice name, site name, arrivals, chain, frontier, membership pieces, log pieces, keys,
             [[name, value], …]]
    signature = Ed25519 by the replica over a domain, SHA-256(head) and SHA-256(body)

The backup key is one for all backups of a site, since they share pieces. It follows from the site's key file, which
lies in the head and opens with its passphrase, and is sealed (HPKE) to the recovery identities of the practice: so a
backup opens with the passphrase of its site, or with the printed recovery sheet, and with nothing else. Somebody who
may write where backups lie cannot make one up: that takes the site's signature.
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from crdtsync import limits
from crdtsync.backup.pieces import PieceRef, pack_refs, unpack_refs
from crdtsync.errors import DamagedFile, Malformed, PeerError, RefusedError, SealBroken
from crdtsync.ids import (
    HASH_BYTES,
    LOG_ID_BYTES,
    PRACTICE_ID_BYTES,
    REPLICA_ID_BYTES,
    CommitHash,
    Head,
    LogId,
    PracticeId,
    ReplicaId,
)
from crdtsync.replication.codec import check_bytes, check_int, check_list, check_text, pack, unpack
from crdtsync.replication.commit import SIGNATURE_BYTES
from crdtsync.replication.stored import LogHead
from crdtsync.sealing.base import Sealer

VERSION: Final = 1
MAGIC: Final = b"\x89crdtsync idx\r\n\x01"
_DOMAIN_KEY: Final = b"crdtsync/backup-key/1"
_DOMAIN_BODY: Final = b"crdtsync/backup-index/1"
_DOMAIN_PART: Final = b"crdtsync/backup-part/1/"
_DOMAIN_SIGN: Final = b"crdtsync/backup-signature/1"
_HEAD_OF_LOG: Final = struct.Struct(f">{LOG_ID_BYTES}sQ{HASH_BYTES}s")
_SEQUENCE_MAX: Final = 2**53
_SEALED_KEY_BYTES_MAX: Final = 4 * 1024
_KEY_FILE_BYTES_MAX: Final = 64 * 1024


@dataclass(frozen=True, slots=True)
class Clear:
    """What everybody can read of a backup: whose it is, when it was taken, and how it opens."""

    practice: PracticeId
    replica: ReplicaId
    taken_ms: int
    key_file: bytes = field(repr=False)
    holders: Mapping[ReplicaId, bytes] = field(repr=False)


@dataclass(frozen=True, slots=True)
class Body:
    """What a backup holds: the log up to `head`, which is the frontier `frontier`; the membership; the data keys."""

    practice_name: str
    site_name: str
    head: LogHead
    frontier: Mapping[LogId, Head]
    members: tuple[PieceRef, ...]
    log: tuple[PieceRef, ...]
    keys: tuple[PieceRef, ...]
    meta: Mapping[str, bytes]


@dataclass(frozen=True, slots=True)
class Index:
    """An index of the right form; nothing in it is opened or believed yet. `name` is its name in the vault."""

    name: bytes
    clear: Clear
    head: bytes = field(repr=False)
    body: bytes = field(repr=False)
    signature: bytes = field(repr=False)


def holder_info(practice: PracticeId, holder: ReplicaId) -> bytes:
    """The context under which the backup key is sealed to a holder."""
    return _DOMAIN_KEY + practice + holder


def encode(sealer: Sealer, key: bytes, clear: Clear, body: Body) -> bytes:
    """The bytes of an index, sealed under `key` and signed by the site of `sealer`."""
    holders = [[holder, sealed] for holder, sealed in sorted(clear.holders.items())]
    head = pack([VERSION, clear.practice, clear.replica, clear.taken_ms, clear.key_file, holders])
    sealed = sealer.seal(key, b"", _context(head), pack(_body_items(body)))
    return MAGIC + pack([head, sealed, sealer.sign(_signed(head, sealed))])


def decode(data: bytes, name: bytes) -> Index:
    """An index from its bytes. Raises DamagedFile, or RefusedError for one of a later version."""
    try:
        if not data.startswith(MAGIC):
            raise Malformed("it does not begin like one")
        items = unpack(data[len(MAGIC) :], bytes_max=limits.backup_index_bytes_max, what="backup index")
        head, body, signature = items
        if type(head) is not bytes or type(body) is not bytes:
            raise Malformed("its parts are no bytes")
        fields = unpack(head, bytes_max=limits.backup_index_bytes_max, what="backup head")
        if fields[0] != VERSION:
            raise RefusedError("this backup was made by a later version of this program; update the program")
        clear = Clear(
            PracticeId(check_bytes(fields[1], PRACTICE_ID_BYTES, "practice")),
            ReplicaId(check_bytes(fields[2], REPLICA_ID_BYTES, "replica")),
            check_int(fields[3], 0, 2**53, "time"),
            _bytes(fields[4], _KEY_FILE_BYTES_MAX, "key file"),
            {
                ReplicaId(check_bytes(holder, REPLICA_ID_BYTES, "holder")): _bytes(sealed, _SEALED_KEY_BYTES_MAX, "key")
                for holder, sealed in check_list(fields[5], limits.message_items_max, "holders")
            },
        )
        return Index(name, clear, head, body, check_bytes(signature, SIGNATURE_BYTES, "signature"))
    except (PeerError, ValueError, TypeError, IndexError) as error:
        raise DamagedFile(f"index/{name.hex()} is no description of a backup ({error}); use another one") from None


def is_signed(sealer: Sealer, sig: bytes, index: Index) -> bool:
    """Whether the site with the signing key `sig` made this backup."""
    return sealer.verify(sig, _signed(index.head, index.body), index.signature)


def open_body(sealer: Sealer, key: bytes, index: Index) -> Body:
    """What the index describes. Raises SealBroken, DamagedFile."""
    plain = sealer.open(key, b"", _context(index.head), index.body)
    try:
        return _body(unpack(plain, bytes_max=limits.backup_index_bytes_max, what="backup index"))
    except (PeerError, ValueError, TypeError, IndexError) as error:
        raise DamagedFile(f"index/{index.name.hex()} says something strange ({error}); use another backup") from None


def seal_part(sealer: Sealer, key: bytes, practice: PracticeId, kind: str, plain: bytes) -> bytes:
    """A piece or keys as they lie in the vault."""
    return sealer.seal(key, b"", _DOMAIN_PART + kind.encode() + practice, plain)


def open_part(sealer: Sealer, key: bytes, practice: PracticeId, kind: str, sealed: bytes) -> bytes:
    """The inverse of `seal_part`. Raises DamagedFile: the bytes are those of their name, and not of this backup."""
    try:
        return sealer.open(key, b"", _DOMAIN_PART + kind.encode() + practice, sealed)
    except (SealBroken, PeerError):
        raise DamagedFile("a part of the backup was not sealed by the site that made it; use another backup") from None


def _context(head: bytes) -> bytes:
    return _DOMAIN_BODY + hashlib.sha256(head).digest()


def _signed(head: bytes, body: bytes) -> bytes:
    return _DOMAIN_SIGN + hashlib.sha256(head).digest() + hashlib.sha256(body).digest()


def _bytes(value: Any, most: int, what: str) -> bytes:
    if type(value) is not bytes or len(value) > most:
        raise Malformed(f"{what}: not at most {most} bytes")
    return value


def _body_items(body: Body) -> list[Any]:
    frontier = [_HEAD_OF_LOG.pack(log, head.sequence, head.hash) for log, head in sorted(body.frontier.items())]
    pieces = [pack_refs(refs) for refs in (body.members, body.log, body.keys)]
    meta = [[name, value] for name, value in sorted(body.meta.items())]
    names = [body.practice_name, body.site_name]
    return [*names, body.head.arrival, body.head.chain, b"".join(frontier), *pieces, meta]


def _body(items: list[Any]) -> Body:
    if type(items[4]) is not bytes or len(items[4]) % _HEAD_OF_LOG.size:
        raise Malformed("frontier")
    frontier = {
        LogId(log): Head(sequence, CommitHash(hash_)) for log, sequence, hash_ in _HEAD_OF_LOG.iter_unpack(items[4])
    }
    members, log, keys = map(unpack_refs, items[5:8])
    return Body(
        check_text(items[0], limits.name_characters_max, "practice"),
        check_text(items[1], limits.name_characters_max, "site"),
        LogHead(check_int(items[2], 0, _SEQUENCE_MAX, "arrivals"), check_bytes(items[3], HASH_BYTES, "chain")),
        frontier,
        members,
        log,
        keys,
        {
            check_text(name, 64, "name"): _bytes(value, limits.message_bytes_max, "value")
            for name, value in check_list(items[8], 64, "values")
        },
    )
