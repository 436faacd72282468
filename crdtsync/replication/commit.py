"""A commit: one transaction of one replica, applied whole or not at all (L2).

    commit    = [header bytes, [sealed part, …], signature]
    header    = [version, practice, log, sequence, previous hash, stamp,
                 [[log, sequence, hash], …],                   what it depends on beyond its own log
                 [member hash, …],                             the newest membership records its author knew
                 [[data key, epoch, hash, size, introduces], …],   one entry per sealed part
                 continues, fragment, …]
    signature = Ed25519 over DOMAIN_SIGN ‖ SHA-256(DOMAIN_HASH ‖ header bytes)

Chain and signature cover the header only, so a commit whose part is erased, or was never for this replica, stays
verifiable. Items behind the known ones are kept for later versions: the bytes are passed on as received.
A part's plain content is described in `Part`.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Any, Final

from crdtsync import limits
from crdtsync.errors import BadSignature, Malformed
from crdtsync.ids import (
    HASH_BYTES,
    KEY_ID_BYTES,
    LOG_ID_BYTES,
    PRACTICE_ID_BYTES,
    CommitHash,
    CommitId,
    DataKeyId,
    EpochId,
    Head,
    LogId,
    MemberHash,
    PracticeId,
    RecordId,
)
from crdtsync.replication.codec import check_bytes, check_int, check_list, check_text, pack, unpack

FORMAT_VERSION: Final = 1
DOMAIN_HASH: Final = b"crdtsync/commit/1"
DOMAIN_SIGN: Final = b"crdtsync/commit-signature/1"
DOMAIN_PART: Final = b"crdtsync/part/1"
NO_HASH: Final = CommitHash(bytes(HASH_BYTES))
_SEQUENCE_MAX: Final = 2**53
_STAMP_MAX: Final = 2**63 - 1
_HEADER_ITEMS: Final = 11
SIGNATURE_BYTES: Final = 64


@dataclass(frozen=True, slots=True)
class PartRef:
    """What the header says of one sealed part: the keys that open it, and the hash and size of its sealed bytes.

    `introduces` tells that this commit is the first to use the data key, so that the key object travels with it.
    """

    key: DataKeyId
    epoch: EpochId
    hash: bytes
    size: int
    introduces: bool = False


@dataclass(frozen=True, slots=True)
class Header:
    """The readable part of a commit. `continues` is the head that the first commit of a boot goes on from (L4).

    `fragment` is (index, count) when one large transaction was split: fragments apply as one.
    """

    practice: PracticeId
    log: LogId
    sequence: int
    previous: CommitHash
    stamp: int
    dependencies: tuple[tuple[LogId, Head], ...]
    members: tuple[MemberHash, ...]
    parts: tuple[PartRef, ...]
    continues: tuple[LogId, Head] | None = None
    fragment: tuple[int, int] | None = None


@dataclass(frozen=True, slots=True)
class Commit:
    """A commit as it travels: the header's bytes as signed, sealed parts (b"" where one is not here), signature."""

    header: Header
    header_bytes: bytes
    parts: tuple[bytes, ...]
    signature: bytes
    hash: CommitHash

    @property
    def id(self) -> CommitId:
        """Log and sequence."""
        return CommitId(self.header.log, self.header.sequence)

    @property
    def head(self) -> Head:
        """Sequence and hash: what a frontier keeps of it."""
        return Head(self.header.sequence, self.hash)

    @property
    def size(self) -> int:
        """Bytes that the commit takes in memory and on the wire, within a few."""
        return len(self.header_bytes) + sum(map(len, self.parts)) + SIGNATURE_BYTES + 16


def header_hash(header_bytes: bytes) -> CommitHash:
    """The hash that names a commit in the chain."""
    return CommitHash(hashlib.sha256(DOMAIN_HASH + header_bytes).digest())


def signed_bytes(commit_hash: CommitHash) -> bytes:
    """What the author signs."""
    return DOMAIN_SIGN + commit_hash


def encode_header(header: Header) -> bytes:
    """The header's bytes, to be made once by the author."""
    return pack(
        [
            FORMAT_VERSION,
            header.practice,
            header.log,
            header.sequence,
            header.previous,
            header.stamp,
            [[log, head.sequence, head.hash] for log, head in header.dependencies],
            list(header.members),
            [[part.key, part.epoch, part.hash, part.size, part.introduces] for part in header.parts],
            None if header.continues is None else [header.continues[0], *header.continues[1]],
            None if header.fragment is None else list(header.fragment),
        ]
    )


def decode_header(data: bytes) -> Header:
    """The header in `data`. Raises Malformed or TooLarge; a version that is not ours is Malformed."""
    items = unpack(data, bytes_max=limits.header_bytes_max, what="commit header")
    if len(items) < _HEADER_ITEMS:
        raise Malformed("commit header: too short")
    if items[0] != FORMAT_VERSION:
        raise Malformed(f"commit header: format version {items[0]!r:.20} is not known here; update this program")
    fragment = items[10]
    if fragment is not None:
        if type(fragment) is not list or len(fragment) != 2:
            raise Malformed("commit header: fragment")
        count = check_int(fragment[1], 2, 2**31, "commit fragments")
        fragment = (check_int(fragment[0], 0, count - 1, "commit fragment"), count)
    return Header(
        practice=PracticeId(check_bytes(items[1], PRACTICE_ID_BYTES, "commit practice")),
        log=LogId(check_bytes(items[2], LOG_ID_BYTES, "commit log")),
        sequence=check_int(items[3], 1, _SEQUENCE_MAX, "commit sequence"),
        previous=CommitHash(check_bytes(items[4], HASH_BYTES, "commit chain")),
        stamp=check_int(items[5], 0, _STAMP_MAX, "commit stamp"),
        dependencies=tuple(
            log_head(item) for item in check_list(items[6], limits.dependencies_max, "commit dependencies")
        ),
        members=tuple(
            MemberHash(check_bytes(item, HASH_BYTES, "commit membership"))
            for item in check_list(items[7], limits.dependencies_max, "commit membership")
        ),
        parts=tuple(_part_ref(item) for item in check_list(items[8], limits.parts_per_commit_max, "commit parts")),
        continues=None if items[9] is None else log_head(items[9]),
        fragment=fragment,
    )


def log_head(item: Any) -> tuple[LogId, Head]:
    """`[log, sequence, hash]` as it stands in headers and messages. Raises Malformed."""
    if type(item) is not list or len(item) != 3:
        raise Malformed("log head: not three items")
    return (
        LogId(check_bytes(item[0], LOG_ID_BYTES, "log head")),
        Head(
            check_int(item[1], 0, _SEQUENCE_MAX, "log head"),
            CommitHash(check_bytes(item[2], HASH_BYTES, "log head")),
        ),
    )


def _part_ref(item: Any) -> PartRef:
    if type(item) is not list or len(item) < 5 or type(item[4]) is not bool:
        raise Malformed("commit part: not key, epoch, hash, size and flag")
    return PartRef(
        key=DataKeyId(check_bytes(item[0], KEY_ID_BYTES, "part key")),
        epoch=EpochId(check_bytes(item[1], KEY_ID_BYTES, "part epoch")),
        hash=check_bytes(item[2], HASH_BYTES, "part hash"),
        size=check_int(item[3], 0, limits.part_bytes_max, "part size"),
        introduces=item[4],
    )


def part_hash(sealed: bytes) -> bytes:
    """The hash by which a header names a sealed part."""
    return hashlib.sha256(DOMAIN_PART + sealed).digest()


def commit_items(commit: Commit) -> list[Any]:
    """A commit as it stands inside a message."""
    return [commit.header_bytes, list(commit.parts), commit.signature]


def commit_from_items(items: Any) -> Commit:
    """A commit from a message: form, header and part hashes are checked, chain and signature are not yet.

    Raises Malformed, TooLarge, or BadSignature for a part whose bytes are not what the header names.
    """
    if type(items) is not list or len(items) != 3 or type(items[0]) is not bytes:
        raise Malformed("commit: not three items")
    header_bytes = items[0]
    header = decode_header(header_bytes)
    parts = check_list(items[1], limits.parts_per_commit_max, "commit parts")
    if len(parts) != len(header.parts):
        raise Malformed("commit: other parts than its header names")
    for sealed, ref in zip(parts, header.parts, strict=True):
        if type(sealed) is not bytes:
            raise Malformed("commit part: not bytes")
        if sealed and (len(sealed) != ref.size or part_hash(sealed) != ref.hash):
            raise BadSignature("commit part: its bytes are not those that the header names")
    return Commit(
        header=header,
        header_bytes=header_bytes,
        parts=tuple(parts),
        signature=check_bytes(items[2], SIGNATURE_BYTES, "commit signature"),
        hash=header_hash(header_bytes),
    )


def encode_commit(commit: Commit) -> bytes:
    """One commit as bytes of its own (storage, fixtures)."""
    return pack(commit_items(commit))


def decode_commit(data: bytes) -> Commit:
    """The inverse of `encode_commit`, with the same checks as `commit_from_items`."""
    return commit_from_items(unpack(data, bytes_max=limits.commit_bytes_max, what="commit"))


@dataclass(frozen=True, slots=True)
class Change:
    """One record's change: an opaque delta of its document."""

    kind: str
    record: RecordId
    delta: bytes


@dataclass(frozen=True, slots=True)
class Part:
    """The plain content of one sealed part: who, when, why, and the changes to records of one subject."""

    author: str
    wall_ms: int
    reason: str
    workstation: str
    purpose: str
    changes: tuple[Change, ...]


def encode_part(part: Part) -> bytes:
    """A part's content before compressing, padding and sealing."""
    return pack(
        [
            part.author,
            part.wall_ms,
            part.reason,
            part.workstation,
            part.purpose,
            [[change.kind, change.record, change.delta] for change in part.changes],
        ]
    )


def decode_part(data: bytes) -> Part:
    """The inverse of `encode_part`. Raises Malformed or TooLarge.

    How large a delta may be is for the gate of documents to say: then it is known which record was meant.
    """
    items = unpack(data, bytes_max=limits.inflated_bytes_max, what="commit part")
    if len(items) < 6:
        raise Malformed("commit part: too short")
    changes = []
    for item in check_list(items[5], limits.changes_per_part_max, "changes"):
        if type(item) is not list or len(item) < 3 or type(item[2]) is not bytes:
            raise Malformed("change: not kind, record and delta")
        changes.append(
            Change(
                check_text(item[0], 64, "change kind"),
                RecordId(check_text(item[1], 64, "change record")),
                item[2],
            )
        )
    return Part(
        author=check_text(items[0], limits.name_characters_max, "author"),
        wall_ms=check_int(items[1], -(2**53), 2**53, "wall clock"),
        reason=check_text(items[2], limits.reason_characters_max, "reason"),
        workstation=check_text(items[3], limits.name_characters_max, "workstation"),
        purpose=check_text(items[4], limits.name_characters_max, "purpose"),
        changes=tuple(changes),
    )
