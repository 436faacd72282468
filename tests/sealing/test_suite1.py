from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor

import pytest
import zstandard
from cryptography.cobblestone import Cobblestone256Encryptor

from crdtsync import limits
from crdtsync.errors import Malformed, SealBroken, TooLarge
from crdtsync.sealing.derivation import derive
from crdtsync.sealing.padding import pad, padded_length
from crdtsync.sealing.suite1 import Suite1

from .identities import identity_of

KEY, SALT = b"k" * 32, b"s" * 32


@pytest.fixture
def suite() -> Suite1:
    return Suite1(identity_of("jena"), os.urandom)


def sealed_inner(inner: bytes) -> bytes:
    """What a key holder who does not keep to our form can seal."""
    info = b"crdtsync/content/1" + b"place"
    encryptor = Cobblestone256Encryptor(derive(KEY, SALT, info), info)
    return encryptor.update(inner) + encryptor.finalize()


def test_content_is_compressed_and_padded(suite: Suite1) -> None:
    text = b'{"family_name": "Muster"}' * 100
    sealed = suite.seal(KEY, SALT, b"place", text)
    assert len(sealed) < len(text) // 5
    overhead = len(suite.seal(KEY, SALT, b"place", b"")) - padded_length(2)
    for length in range(200):
        sealed = suite.seal(KEY, SALT, b"place", os.urandom(length))
        assert len(sealed) - overhead == padded_length(len(sealed) - overhead)


def test_sizes_tell_little(suite: Suite1) -> None:
    sizes = {len(suite.seal(KEY, SALT, b"place", os.urandom(n))) for n in range(1000, 2000)}
    assert len(sizes) <= 33


def test_inflating_stops_at_its_limit_before_allocating(suite: Suite1) -> None:
    bomb = zstandard.ZstdCompressor(level=3).compress(bytes(limits.inflated_bytes_max + 1))
    assert len(bomb) < 10_000
    with pytest.raises(TooLarge, match="inflated"):
        suite.open(KEY, SALT, b"place", sealed_inner(pad(b"\x01" + bomb)))


def test_a_frame_that_lies_about_its_size_is_refused(suite: Suite1) -> None:
    huge = (2**62).to_bytes(8, "little")
    forged = b"\x28\xb5\x2f\xfd" + b"\xe0" + huge + b"\x01\x00\x00"
    with pytest.raises(TooLarge, match="inflated"):
        suite.open(KEY, SALT, b"place", sealed_inner(pad(b"\x01" + forged)))
    frame = bytearray(zstandard.ZstdCompressor(level=3).compress(b"abcdefgh" * 1000))
    position = frame.index((8000 - 256).to_bytes(2, "little"))
    frame[position : position + 2] = (100).to_bytes(2, "little")
    with pytest.raises(SealBroken, match="compressed"):
        suite.open(KEY, SALT, b"place", sealed_inner(pad(b"\x01" + bytes(frame))))


def test_frames_without_size_or_with_company_are_refused(suite: Suite1) -> None:
    frame = zstandard.ZstdCompressor(level=3).compress(b"x" * 100)
    unnamed = zstandard.ZstdCompressor(level=3, write_content_size=False).compress(b"x" * 100)
    for body in (unnamed, frame + frame, frame + b"more", frame[:-1], b"", b"not zstd at all"):
        with pytest.raises(SealBroken, match="compressed"):
            suite.open(KEY, SALT, b"place", sealed_inner(pad(b"\x01" + body)))


@pytest.mark.parametrize("inner", [b"", b"\x00", b"\x00abc", pad(b"\x00abc") + b"\x00" * 40, pad(b"\x02abc"), b"\x80"])
def test_inner_forms_that_sealing_never_gives_are_refused(suite: Suite1, inner: bytes) -> None:
    with pytest.raises(SealBroken):
        suite.open(KEY, SALT, b"place", sealed_inner(inner))


def test_what_nobody_could_open_is_not_sealed(suite: Suite1, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "inflated_bytes_max", 1000)
    assert suite.open(KEY, SALT, b"", suite.seal(KEY, SALT, b"", bytes(1000))) == bytes(1000)
    with pytest.raises(TooLarge, match="to seal"):
        suite.seal(KEY, SALT, b"", bytes(1001))


def test_nothing_is_sealed_to_an_unusable_key(suite: Suite1) -> None:
    with pytest.raises(Malformed, match="for sealing"):
        suite.seal_to(suite.public.kem[:-32] + bytes(32), b"info", KEY)


def test_several_threads_share_one_sealer(suite: Suite1) -> None:
    def work(number: int) -> bool:
        plain = b"%d" % number * 500
        return suite.open(KEY, SALT, b"place", suite.seal(KEY, SALT, b"place", plain)) == plain

    with ThreadPoolExecutor(8) as threads:
        assert all(threads.map(work, range(2000)))


def test_derivations_of_format_version_1(suite: Suite1) -> None:
    """Other values here mean that what is sealed today would not open tomorrow."""
    assert suite.epoch_id(KEY).hex() == "15c57fb15a5ff707feba09807c5750ee"
    assert suite.subject_salt(KEY, "ä").hex() == "4b55d8f08e8478a1990ea8aaa7921a939736f168d535cce26bcd817f985ddafb"
    assert (
        suite.wrap(SALT, KEY).hex()
        == "833bc86e7cc966f56e51ff5fd25e9dbdbb6c91d8247bb6a97c123640cfd42e54edcda4590fdcdd0e"
    )


def test_a_part_that_was_sealed_by_format_version_1_opens(suite: Suite1) -> None:
    assert suite.open(KEY, SALT, b"place", bytes.fromhex(SEALED)) == b"format version 1 " * 10


SEALED = """
e464c2235ce8a49ebc0f89d26b1074cc6350377df9e581ba800bf5874bb6318766ec56d59b66828dd0d30f9137b326697088
3260ef5a8aaa169a343e22ccde5220e4c16e6cb6ec06af2a95a8a4b9ca013fe86c9c8b2c139c22f9a021f496ba6da72784e4
8512eb005c81965c
"""
