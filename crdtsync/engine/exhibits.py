"""Commits as they can be shown to strangers: with a signature that holds, and the keys of single parts."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from crdtsync.engine.parts import Parts
from crdtsync.errors import NotFound, RottenCommit, SealBroken
from crdtsync.ids import CommitId, ReplicaId, replica_of
from crdtsync.replication.commit import signed_bytes
from crdtsync.replication.stored import StoredCommit
from crdtsync.sealing.base import Sealer
from crdtsync.storage.base import Store

KeysOf = Callable[[ReplicaId], bytes | None]


@dataclass(frozen=True, slots=True)
class Exhibit:
    """A stored commit, the key of each of its parts of one subject by index (None for a part that cannot be opened),
    and what its author signed: `signature` covers it, through the headers in `chain` that follow it in its log.

    The chain is empty but for commits that came in the middle of a run with a signature that does not hold; a
    signature of b"" tells that no later one is here either.
    """

    stored: StoredCommit
    keys: dict[int, bytes | None]
    chain: tuple[bytes, ...]
    signature: bytes


def exhibits(
    store: Store,
    parts: Parts,
    sealer: Sealer,
    keys_of: KeysOf,
    commits: Sequence[CommitId],
    subject: str,
    rotten: Callable[[RottenCommit], None],
) -> list[Exhibit]:
    """Those of the named commits that are here and sound."""
    found = []
    for commit in commits:
        try:
            stored = store.commit(*commit)
            if stored is not None:
                chain, signature = _signed(store, sealer, keys_of(replica_of(commit.log)) or b"", stored)
                found.append(Exhibit(stored, dict(_keys(parts, stored, subject)), chain, signature))
        except RottenCommit as error:
            rotten(error)
    return found


def _signed(store: Store, sealer: Sealer, sig: bytes, stored: StoredCommit) -> tuple[tuple[bytes, ...], bytes]:
    chain: list[bytes] = []
    log = stored.commit.header.log
    at: StoredCommit | None = stored
    while at is not None:
        if sealer.verify(sig, signed_bytes(at.commit.hash), at.commit.signature):
            return tuple(chain), at.commit.signature
        at = store.commit(log, at.commit.header.sequence + 1)
        if at is not None:
            chain.append(at.commit.header_bytes)
    return (), b""


def _keys(parts: Parts, stored: StoredCommit, subject: str) -> Iterator[tuple[int, bytes | None]]:
    header = stored.commit.header
    for index, ref in enumerate(header.parts):
        key = parts.key(ref.key)
        if key is None or key.subject != subject:
            continue
        opened = None
        if parts.readable(key, ref):
            try:
                parts.open(header.log, header.sequence, index, ref, key, stored.commit.parts[index])
                opened = parts.content_key(header.log, header.sequence, index, ref, key)
            except (SealBroken, NotFound):
                opened = None
        yield index, opened
