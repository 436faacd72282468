"""What people type, and files and keys that others bring: codes, sheets, key files, certificates."""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Iterable
from functools import cache

from crdtsync.errors import BadValue, DamagedFile, InvitationRefused, Malformed, RefusedError, WrongPassphrase
from crdtsync.ids import PracticeId, base32
from crdtsync.sealing import code as codes
from crdtsync.sealing.certificate import check_certificate
from crdtsync.sealing.identity import Identity, PublicIdentity, replica_from_text, replica_text
from crdtsync.sealing.keyfile import KeyFile, is_fast, open_keyfile, seal_keyfile
from crdtsync.sealing.recovery import parse_sheet, secret_groups, sheet_text
from tests.fuzz.dice import Dice, patched
from tests.fuzz.registry import target


@cache
def identity(number: int = 1) -> Identity:
    """A replica's keys, always the same."""
    return Identity(bytes([number]) * 32, bytes([number + 1]) * 32, bytes([number + 2]) * 96)


def code(addresses: tuple[str, ...] = ("jena.example:7443", "[::1]:1")) -> codes.Code:
    """An invitation of `identity(1)`."""
    return codes.Code(
        PracticeId(b"p" * 16), b"invite!!", b"s" * 16, codes.tls_hash(identity().public.tls), addresses
    )


@target("code", lambda: [codes.format_code(code()).encode(), codes.format_code(code(())).upper().encode()])
def code_text(data: bytes) -> None:
    """Any text is refused, or a code that is written as it was read."""
    _read_code(data.decode("utf-8", "replace"))


def _read_code(text: str) -> None:
    with contextlib.suppress(InvitationRefused):
        found = codes.parse_code(text)
        assert codes.parse_code(codes.format_code(found)) == found


@target("code_checked", lambda: [codes.decoded("".join(codes.typed_groups(codes.format_code(code()))))[:-4]])
def code_checked(data: bytes) -> None:
    """The same behind a checksum and a length that are right."""
    body = data[:1] + (len(data) + 4).to_bytes(2, "big") + data[3:]
    _read_code(base32(body + codes._checksum(body)))


@target("sheet", lambda: [sheet_text("Praxis", b"r" * 32, "2026").encode(), "".join(secret_groups(b"q" * 32)).encode()])
def sheet(data: bytes) -> None:
    """Any text is refused, or is the secret of a sheet."""
    text = data.decode("utf-8", "replace")
    with contextlib.suppress(BadValue):
        secret = parse_sheet(text)
        assert parse_sheet(" ".join(secret_groups(secret))) == secret
    with contextlib.suppress(BadValue):
        replica = replica_from_text(text)
        assert replica_from_text(replica_text(replica)) == replica


@cache
def _key_file() -> bytes:
    secrets = KeyFile(b"a" * 32, b"b" * 32, b"c" * 96, b"d" * 32)
    return seal_keyfile(secrets, "correct horse", salt=b"s" * 16, nonce=b"n" * 12, fast=True)


@target("key_file", lambda: [b"\0" + _key_file(), b"\1" + _key_file()[:-32]], mutations=100)
def key_file(data: bytes) -> None:
    """Any file is refused as damaged, as of a later version, or as not opened; behind a right checksum too."""
    file = data[1:]
    if data[:1] == b"\1":
        file += hashlib.sha256(file).digest()
    with contextlib.suppress(DamagedFile, WrongPassphrase, RefusedError):
        if is_fast(file):  # the other kind takes 256 MiB on purpose
            assert open_keyfile(file, "correct horse").sig_seed == b"a" * 32


def _certificates() -> Iterable[bytes]:
    for number in (1, 4):
        yield identity(number).public.tls


@target("certificate", _certificates)
def certificate(data: bytes) -> None:
    """A certificate is the one that its key and the replica make, or is refused."""
    with contextlib.suppress(Malformed):
        check_certificate(data, identity().public.replica)
        assert data[:-64] == identity().public.tls[:-64]


@target("public_identity", lambda: [bytes(range(n, n + 30)) for n in range(10)], bytes_max=512, mutations=100)
def public_identity(data: bytes) -> None:
    """Keys from somebody else are refused, or are keys that can be used."""
    dice = Dice(data)
    items = [patched(dice, item) if dice.below(2) else item for item in identity().public.to_items()]
    with contextlib.suppress(Malformed):
        found = PublicIdentity.from_items(items)
        assert PublicIdentity.from_items(found.to_items()) == found
