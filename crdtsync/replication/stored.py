"""What a replica keeps of commits and keys: the values that the core and a store hand each other."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Any, Final

from crdtsync.errors import BadSignature, Malformed
from crdtsync.ids import KEY_ID_BYTES, DataKeyId, EpochId
from crdtsync.replication.codec import check_bytes, check_text, pack
from crdtsync.replication.commit import Commit

_DOMAIN_KEY: Final = b"crdtsync/data-key/1"
_WRAPPED_BYTES: Final = 40


@dataclass(frozen=True, slots=True)
class StoredCommit:
    """A commit in the log, with its place in the order of arrival (1, 2, 3 … without gaps, a causal order: L2).

    `checked` tells that its own signature was verified, not only that of a later commit in its chain.
    """

    arrival: int
    arrived_ms: int
    commit: Commit
    checked: bool


@dataclass(frozen=True, slots=True)
class KeyObject:
    """A wrapped data key: an object of its own, never part of the log, so that it can be destroyed.

    `id` is the beginning of a hash over the other fields, so that nobody can put another object in its place.
    """

    id: DataKeyId
    epoch: EpochId
    subject: str
    wrapped: bytes


def key_object(epoch: EpochId, subject: str, wrapped: bytes) -> KeyObject:
    """The object that carries `wrapped`, under the id that everybody computes alike."""
    digest = hashlib.sha256(_DOMAIN_KEY + pack([epoch, subject, wrapped])).digest()
    return KeyObject(DataKeyId(digest[:KEY_ID_BYTES]), epoch, subject, wrapped)


def key_items(key: KeyObject) -> list[Any]:
    """A key as it stands in messages and files."""
    return [key.id, key.epoch, key.subject, key.wrapped]


def key_from_items(items: Any) -> KeyObject:
    """The inverse of `key_items`. Raises Malformed, or BadSignature when the id is not that of the content."""
    if type(items) is not list or len(items) != 4:
        raise Malformed("data key: not four items")
    key = key_object(
        EpochId(check_bytes(items[1], KEY_ID_BYTES, "data key epoch")),
        check_text(items[2], 64, "data key subject"),
        check_bytes(items[3], _WRAPPED_BYTES, "data key"),
    )
    if items[0] != key.id:
        raise BadSignature("data key: its id is not that of its content")
    return key


@dataclass(frozen=True, slots=True)
class LogHead:
    """How far a log store goes: the last arrival (0 when empty) and the running hash over all commits up to it.

    chain(0) = 32 zero bytes; chain(n) = SHA-256(chain(n-1) ‖ hash of commit n).
    """

    arrival: int
    chain: bytes


EMPTY_LOG: Final = LogHead(0, bytes(32))


def next_head(head: LogHead, commit: Commit) -> LogHead:
    """The head after `commit` arrived."""
    return LogHead(head.arrival + 1, hashlib.sha256(head.chain + commit.hash).digest())
