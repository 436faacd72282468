"""Ids that cannot be mixed up: each is a type of its own to the type checker.

Binary ids are `bytes` of a fixed length; people see base32 in lower case. A `RecordId` is text of 26 such characters
(16 random bytes), and the only id that applications handle.
"""

from __future__ import annotations

import base64
import hashlib
from typing import NamedTuple, NewType

PracticeId = NewType("PracticeId", bytes)
"""16 bytes: the beginning of the founding record's hash."""
ReplicaId = NewType("ReplicaId", bytes)
"""16 bytes: the beginning of SHA-256 over a domain string and the replica's signing key."""
BootId = NewType("BootId", bytes)
"""8 random bytes, drawn whenever a replica cannot prove that it continues its last log (L4)."""
LogId = NewType("LogId", bytes)
"""24 bytes: replica and boot."""
CommitHash = NewType("CommitHash", bytes)
"""32 bytes: SHA-256 over a domain string and the commit's header."""
MemberHash = NewType("MemberHash", bytes)
"""32 bytes: the id of a membership record."""
EpochId = NewType("EpochId", bytes)
"""16 bytes: the beginning of a hash of the epoch key."""
DataKeyId = NewType("DataKeyId", bytes)
"""16 bytes: the beginning of the hash of the wrapped data key object."""
AskId = NewType("AskId", bytes)
"""16 random bytes: the name of one question from one replica to another."""
RecordId = NewType("RecordId", str)
"""26 characters of base32 in lower case."""

REPLICA_ID_BYTES = 16
BOOT_ID_BYTES = 8
LOG_ID_BYTES = REPLICA_ID_BYTES + BOOT_ID_BYTES
PRACTICE_ID_BYTES = 16
HASH_BYTES = 32
KEY_ID_BYTES = 16
ASK_ID_BYTES = 16
TAG_CHARACTERS = 8


class CommitId(NamedTuple):
    """A commit's name: its log and its place there. Never a hash, since documents carry it inside what is hashed."""

    log: LogId
    sequence: int


class Head(NamedTuple):
    """The last commit of a log that somebody holds."""

    sequence: int
    hash: CommitHash


def base32(data: bytes) -> str:
    """Lower-case base32 without padding."""
    return base64.b32encode(data).decode("ascii").rstrip("=").lower()


def from_base32(text: str) -> bytes:
    """The inverse of `base32`. Raises ValueError for anything else: each value has one text."""
    padded = text.upper() + "=" * (-len(text) % 8)
    data = base64.b32decode(padded)
    if base32(data) != text:
        raise ValueError("not lower-case base32, or with bits left over at its end")
    return data


def replica_id_of(sig: bytes) -> ReplicaId:
    """The id of the replica whose logs the Ed25519 public key `sig` (32 bytes) signs."""
    return ReplicaId(hashlib.sha256(b"crdtsync/replica/1" + sig).digest()[:REPLICA_ID_BYTES])


def log_id(replica: ReplicaId, boot: BootId) -> LogId:
    """The log that `replica` writes in `boot`."""
    return LogId(replica + boot)


def replica_of(log: LogId) -> ReplicaId:
    """The replica that writes `log`."""
    return ReplicaId(log[:REPLICA_ID_BYTES])


def boot_of(log: LogId) -> BootId:
    """The boot in which `log` is written."""
    return BootId(log[REPLICA_ID_BYTES:])


def log_text(log: LogId) -> str:
    """`replica.boot` in base32: how a log is shown and named in JSON."""
    return f"{base32(replica_of(log))}.{base32(boot_of(log))}"


def log_from_text(text: str) -> LogId:
    """The inverse of `log_text`. Raises ValueError."""
    replica, _, boot = text.partition(".")
    log = LogId(from_base32(replica) + from_base32(boot))
    if len(log) != LOG_ID_BYTES or log_text(log) != text:
        raise ValueError("a log is named by 26 characters, a point and 13 characters")
    return log


def commit_text(commit: CommitId) -> str:
    """`replica.boot:sequence`."""
    return f"{log_text(commit.log)}:{commit.sequence}"


def commit_from_text(text: str) -> CommitId:
    """The inverse of `commit_text`. Raises ValueError."""
    log, _, sequence = text.rpartition(":")
    commit = CommitId(log_from_text(log), int(sequence))
    if commit_text(commit) != text:
        raise ValueError("a commit is named by its log, a colon and its number without sign or leading zeros")
    return commit


def log_tag(log: LogId) -> str:
    """The 8 characters that stand for a log inside documents; a boot whose tag is taken draws again."""
    return base32(hashlib.sha256(b"crdtsync/tag/1" + log).digest()[:5])


def client_id(log: LogId, record: RecordId) -> int:
    """The CRDT client id under which `log` writes `record`: 53 bits, so that it is exact in every language."""
    digest = hashlib.sha256(b"crdtsync/client/1" + log + record.encode()).digest()
    return int.from_bytes(digest[:7], "big") >> 3 or 1


def record_id(random: bytes) -> RecordId:
    """A record id from 16 random bytes."""
    if len(random) != 16:
        raise ValueError("a record id is made from 16 bytes")
    return RecordId(base32(random))


def record_id_from(*parts: str) -> RecordId:
    """A record id that everybody derives alike from the same words: importing twice gives one record."""
    encoded = [part.encode() for part in parts]
    digest = hashlib.sha256(b"crdtsync/record/1" + b"".join(len(p).to_bytes(4, "big") + p for p in encoded))
    return RecordId(base32(digest.digest()[:16]))


def is_record_id(text: str) -> bool:
    """Whether `text` has the form of a record id."""
    return len(text) == 26 and all(c in "abcdefghijklmnopqrstuvwxyz234567" for c in text)
