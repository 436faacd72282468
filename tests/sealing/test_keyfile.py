from __future__ import annotations

import hashlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crdtsync.errors import BadValue, DamagedFile, EnvironmentFailure, RefusedError, WrongPassphrase
from crdtsync.sealing import keyfile
from crdtsync.sealing.keyfile import KeyFile, is_fast, open_keyfile, seal_keyfile

SECRETS = KeyFile(b"s" * 32, b"t" * 32, b"k" * 96, b"v" * 32)
SALT, NONCE = b"\x05" * 16, b"\x06" * 12
PASSPHRASE = "Äpfel & Birnen"


def sealed(passphrase: str = PASSPHRASE, *, fast: bool = True) -> bytes:
    return seal_keyfile(SECRETS, passphrase, salt=SALT, nonce=NONCE, fast=fast)


def test_the_file_opens_with_its_passphrase() -> None:
    data = sealed()
    assert open_keyfile(data, PASSPHRASE) == SECRETS
    assert is_fast(data)
    for secret in (b"s" * 8, b"t" * 8, b"k" * 8, b"v" * 8):
        assert secret not in data


def test_the_costly_form_opens_too() -> None:
    data = sealed(fast=False)
    assert not is_fast(data)
    assert open_keyfile(data, PASSPHRASE) == SECRETS
    with pytest.raises(WrongPassphrase, match="does not open"):
        open_keyfile(data, "Birnen")


def test_the_costly_form_costs_what_the_design_says() -> None:
    assert keyfile._COSTS[keyfile._SLOW] == (256 * 1024, 3, 4)


@pytest.mark.parametrize("passphrase", ["", "äpfel & Birnen", PASSPHRASE + " ", "\udcff"])
def test_another_passphrase_is_told_apart_from_damage(passphrase: str) -> None:
    with pytest.raises(WrongPassphrase, match="check it and try again"):
        open_keyfile(sealed(), passphrase)


def test_a_passphrase_typed_on_another_system_opens() -> None:
    """macOS gives A and two dots where others give one Ä."""
    assert open_keyfile(sealed(), "A\u0308pfel & Birnen") == SECRETS


def test_every_damaged_byte_is_noticed_without_a_passphrase() -> None:
    data = sealed()
    for at in range(len(data)):
        damaged = data[:at] + bytes((data[at] ^ 0x10,)) + data[at + 1 :]
        with pytest.raises(DamagedFile, match="backup"):
            open_keyfile(damaged, PASSPHRASE)
        with pytest.raises(DamagedFile, match="backup"):
            is_fast(damaged)


@pytest.mark.parametrize("length", [0, 1, 15, 44, 45, 46, 100, 252])
def test_a_shortened_file_is_noticed(length: int) -> None:
    with pytest.raises(DamagedFile, match="backup"):
        open_keyfile(sealed()[:length], PASSPHRASE)


def resealed(body: bytes) -> bytes:
    return body + hashlib.sha256(body).digest()


def test_a_changed_file_with_a_new_checksum_does_not_open() -> None:
    body = bytearray(sealed()[:-32])
    for at in range(17, len(body)):
        changed = bytes(body[:at]) + bytes((body[at] ^ 1,)) + bytes(body[at + 1 :])
        with pytest.raises(WrongPassphrase):
            open_keyfile(resealed(changed), PASSPHRASE)


def test_a_file_of_a_later_version_says_so() -> None:
    body = bytearray(sealed()[:-32])
    for at, value in ((15, 2), (16, 9)):
        later = body.copy()
        later[at] = value
        with pytest.raises(RefusedError, match="later version"):
            open_keyfile(resealed(bytes(later)), PASSPHRASE)


def test_a_file_of_another_length_with_a_right_checksum_is_damaged() -> None:
    with pytest.raises(DamagedFile, match="length"):
        open_keyfile(resealed(sealed()[:-40]), PASSPHRASE)


def test_an_empty_passphrase_is_refused() -> None:
    with pytest.raises(BadValue, match="empty passphrase"):
        sealed("")


def test_a_machine_without_the_memory_is_told_so(monkeypatch: pytest.MonkeyPatch) -> None:
    data = sealed()

    def lacking(**costs: object) -> None:
        raise MemoryError

    monkeypatch.setattr(keyfile, "Argon2id", lacking)
    with pytest.raises(EnvironmentFailure, match="MiB of memory"):
        open_keyfile(data, PASSPHRASE)


@pytest.mark.parametrize(("salt", "nonce"), [(b"", NONCE), (SALT, b""), (SALT + b"x", NONCE)])
def test_salt_and_nonce_have_one_length(salt: bytes, nonce: bytes) -> None:
    with pytest.raises(ValueError, match="another length"):
        seal_keyfile(SECRETS, "x", salt=salt, nonce=nonce, fast=True)


def test_secrets_do_not_show() -> None:
    assert "ssss" not in repr(SECRETS) and "vvvv" not in repr(SECRETS)


def test_the_identity_follows_from_the_file() -> None:
    assert SECRETS.identity().public == open_keyfile(sealed(), PASSPHRASE).identity().public


@settings(max_examples=50)
@given(st.binary(max_size=300))
def test_any_bytes_are_damaged(data: bytes) -> None:
    with pytest.raises(DamagedFile):
        open_keyfile(data, PASSPHRASE)


def test_a_file_of_format_version_1_opens() -> None:
    assert hashlib.sha256(sealed()).hexdigest() == "3d51607b78f9840fb13254bd6e4cef932ad8ab592e34e731079538e8c006a85d"
