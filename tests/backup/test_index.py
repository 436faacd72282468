"""An index: it comes back as it was written, opens to its holders alone, and nobody else can make one."""

from __future__ import annotations

import random
import secrets
from dataclasses import replace

import pytest

from crdtsync import DamagedFile, RefusedError, SealBroken
from crdtsync.backup import index
from crdtsync.backup.index import Body, Clear
from crdtsync.backup.pieces import PieceRef
from crdtsync.folder import new_keys
from crdtsync.ids import BootId, CommitHash, Head, PracticeId, log_id
from crdtsync.replication.codec import pack
from crdtsync.replication.stored import LogHead
from crdtsync.sealing.suite1 import Suite1

PRACTICE = PracticeId(b"p" * 16)
KEY = b"k" * 32
SITE = Suite1(new_keys().identity(), secrets.token_bytes)
OTHER = Suite1(new_keys().identity(), secrets.token_bytes)
OWN = SITE.public.replica
LOG = log_id(OWN, BootId(b"b" * 8))
BODY = Body(
    "Praxis am Markt", "Jena", LogHead(7, b"c" * 32), {LOG: Head(7, CommitHash(b"h" * 32))},
    (PieceRef(b"m" * 32, 5, 1, b"n" * 32),), (PieceRef(b"l" * 32, 9, 7, b"c" * 32),),
    (PieceRef(b"k" * 32, 3, 2, bytes(32)),), {"hints": b"\x90"},
)  # fmt: skip
SEALED = SITE.seal_to(SITE.public.kem, index.holder_info(PRACTICE, OWN), KEY)
CLEAR = Clear(PRACTICE, OWN, 1_767_600_000_000, b"key file", {OWN: SEALED})
DATA = index.encode(SITE, KEY, CLEAR, BODY)


def test_it_comes_back() -> None:
    found = index.decode(DATA, b"name")
    assert found.clear == CLEAR and found.name == b"name"
    assert index.open_body(SITE, KEY, found) == BODY
    assert index.is_signed(OTHER, SITE.public.sig, found) and not index.is_signed(SITE, OTHER.public.sig, found)
    assert SITE.open_sealed(index.holder_info(PRACTICE, OWN), found.clear.holders[OWN]) == KEY
    with pytest.raises(SealBroken):
        OTHER.open_sealed(index.holder_info(PRACTICE, OWN), found.clear.holders[OWN])


def test_no_byte_of_it_can_be_changed() -> None:
    chance = random.Random(3)
    for at in [*range(60), *chance.sample(range(60, len(DATA)), 300)]:
        data = DATA[:at] + bytes([DATA[at] ^ 1 << at % 8]) + DATA[at + 1 :]
        try:
            found = index.decode(data, b"")
        except (DamagedFile, RefusedError):
            continue
        assert not index.is_signed(SITE, SITE.public.sig, found), f"byte {at}"


def test_a_body_belongs_to_its_head() -> None:
    """What two backups of one site say cannot be put together anew, not even by who knows the backup key."""
    later = index.decode(index.encode(SITE, KEY, replace(CLEAR, taken_ms=CLEAR.taken_ms + 1), BODY), b"")
    mixed = replace(later, body=index.decode(DATA, b"").body)
    assert not index.is_signed(SITE, SITE.public.sig, mixed)
    with pytest.raises(SealBroken):
        index.open_body(SITE, KEY, mixed)
    with pytest.raises(SealBroken):
        index.open_body(SITE, b"x" * 32, later)


def test_a_part_belongs_to_its_kind_practice_and_key() -> None:
    sealed = index.seal_part(SITE, KEY, PRACTICE, "keys", b"content")
    assert index.open_part(OTHER, KEY, PRACTICE, "keys", sealed) == b"content"
    others = ((b"x" * 32, PRACTICE, "keys"), (KEY, PracticeId(b"q" * 16), "keys"), (KEY, PRACTICE, "piece"))
    for key, practice, kind in others:
        with pytest.raises(DamagedFile, match="was not sealed by the site"):
            index.open_part(SITE, key, practice, kind, sealed)


@pytest.mark.parametrize(
    "items", [[], [1], [b"", b"", b""], [pack([2]), b"", bytes(64)], [pack([1, b"x"]), b"", bytes(64)], ["a", "b", "c"]]
)
def test_strange_bytes_are_refused(items: list[object]) -> None:
    for data in (b"", b"\x90", index.MAGIC, index.MAGIC + pack(items)):
        with pytest.raises((DamagedFile, RefusedError)):
            index.decode(data, b"")
