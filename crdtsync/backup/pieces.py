"""Pieces: how commits, membership records and wrapped data keys lie in the parts of a backup. Pure.

    piece of the log          [[arrived ms, checked, header bytes, [sealed part, …], signature], …]
    piece of the membership   [record, …]
    keys                      [[epoch, subject, wrapped key], …]

each as msgpack and then sealed (`index`). Pieces of the log follow each other in the order of arrival. A piece is never
changed: when a backup finds news it writes new pieces, and takes along into them only earlier ones that hold less than
that, so that their number stays small and what is written stays in proportion to what is new.
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeVar

from crdtsync import limits
from crdtsync.errors import Malformed
from crdtsync.replication.codec import check_int, pack, unpack
from crdtsync.replication.commit import commit_from_items, commit_items
from crdtsync.replication.stored import KeyObject, StoredCommit, key_object

_REF: Final = struct.Struct(">32sIQ32s")
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class PieceRef:
    """A piece in its order: its name in the vault, the bytes of what it holds, the number of the last item in it
    (1, 2, 3 …; of keys their count) and the running hash up to there (zeros for keys)."""

    name: bytes
    size: int
    last: int
    chain: bytes


def pack_refs(refs: Sequence[PieceRef]) -> bytes:
    """References as they stand in an index: 76 bytes each."""
    return b"".join(_REF.pack(ref.name, ref.size, ref.last, ref.chain) for ref in refs)


def unpack_refs(data: Any) -> tuple[PieceRef, ...]:
    """The inverse of `pack_refs`. Raises Malformed."""
    if type(data) is not bytes or len(data) % _REF.size:
        raise Malformed("backup index: not a list of pieces")
    return tuple(PieceRef(*fields) for fields in _REF.iter_unpack(data))


def worth_keeping(refs: Sequence[PieceRef], news: int) -> int:
    """How many of these pieces stay as they are when `news` bytes follow them; the others are written again with it."""
    kept = len(refs)
    while kept and refs[kept - 1].size <= min(news, limits.backup_piece_bytes_target // 2):
        kept -= 1
        news += refs[kept].size
    return kept


def gaps(refs: Sequence[PieceRef | None], ends: Sequence[int], upto: int) -> list[PieceRef | tuple[int, int]]:
    """The whole order up to item `upto`: pieces that stay, and where none does, `(after, last)` to be written.

    `refs` are earlier pieces, None where one cannot be used; `ends` their last items.
    """
    plan: list[PieceRef | tuple[int, int]] = []
    after = open_from = 0
    for ref, end in zip(refs, ends, strict=True):
        if ref is not None:
            if open_from < after:
                plan.append((open_from, after))
            plan.append(ref)
            open_from = end
        after = end
    if open_from < upto:
        plan.append((open_from, upto))
    return plan


def member_chain(before: bytes, record: bytes) -> bytes:
    """The running hash over membership records, in the order in which they were added."""
    return hashlib.sha256(before + hashlib.sha256(record).digest()).digest()


# -- what lies in a piece ---------------------------------------------------------------------------------------------


def weight(stored: StoredCommit) -> tuple[int, int]:
    """Bytes and values that a commit takes in a piece."""
    return stored.commit.size, len(stored.commit.parts) + 8


def log_piece(commits: Iterable[StoredCommit]) -> bytes:
    """Commits in their order."""
    return pack([[one.arrived_ms, one.checked, *commit_items(one.commit)] for one in commits])


def commits_in(data: bytes, after: int) -> list[StoredCommit]:
    """The inverse of `log_piece`, the first one being arrival `after` + 1. Raises what `commit_from_items` does."""
    found = []
    for arrival, items in enumerate(_items(data, "commits"), after + 1):
        if type(items) is not list or len(items) != 5 or type(items[1]) is not bool:
            raise Malformed("backup: not a commit")
        arrived_ms = check_int(items[0], -(2**53), 2**53, "backup: time of arrival")
        found.append(StoredCommit(arrival, arrived_ms, commit_from_items(items[2:]), items[1]))
    return found


def members_piece(records: Sequence[bytes]) -> bytes:
    """Membership records in their order."""
    return pack(list(records))


def members_in(data: bytes) -> list[bytes]:
    """The inverse of `members_piece`."""
    records = _items(data, "membership")
    if not all(type(record) is bytes for record in records):
        raise Malformed("backup: not a membership record")
    return records


def keys_piece(keys: Iterable[KeyObject]) -> bytes:
    """Wrapped data keys; their ids follow from them."""
    return pack([[key.epoch, key.subject, key.wrapped] for key in keys])


def keys_in(data: bytes) -> list[KeyObject]:
    """The inverse of `keys_piece`."""
    found = []
    for items in _items(data, "data keys"):
        if type(items) is not list or len(items) != 3 or [type(item) for item in items] != [bytes, str, bytes]:
            raise Malformed("backup: not a data key")
        found.append(key_object(*items))
    return found


def _items(data: bytes, what: str) -> list[Any]:
    return unpack(data, bytes_max=limits.backup_piece_bytes_max, what=f"backup: {what}")


def in_pieces(items: Iterable[tuple[T, int, int]]) -> Iterator[list[T]]:
    """Items with their bytes and their count of values, in lists that each make one piece."""
    piece: list[T] = []
    size = values = 0
    for item, bytes_, count in items:
        over = size + bytes_ > limits.backup_piece_bytes_target or values + count > limits.backup_piece_items_max
        if piece and over:
            yield piece
            piece, size, values = [], 0, 0
        piece.append(item)
        size, values = size + bytes_, values + count
    if piece:
        yield piece
