from __future__ import annotations

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crdtsync import limits
from crdtsync.errors import BadValue, InvitationRefused
from crdtsync.ids import PracticeId, base32
from crdtsync.sealing.code import Code, format_code, parse_code, tls_hash
from crdtsync.sealing.printed import decoded, grouped

CODE = Code(PracticeId(b"p" * 16), b"i" * 8, b"s" * 16, b"t" * 16, ("127.0.0.1:47001", "[::1]:47001"))

CODES = st.builds(
    Code,
    st.binary(min_size=16, max_size=16).map(PracticeId),
    st.binary(min_size=8, max_size=8),
    st.binary(min_size=16, max_size=16),
    st.binary(min_size=16, max_size=16),
    st.lists(st.text(max_size=40), max_size=16).map(tuple),
)


@given(CODES)
def test_codes_read_back(code: Code) -> None:
    text = format_code(code)
    assert parse_code(text) == code
    assert parse_code("  " + text.upper().replace("-", " \n") + "\n") == code
    assert parse_code(text.replace("-", "")) == code


def test_every_mistyped_character_is_refused() -> None:
    text = format_code(CODE)
    for at, character in enumerate(text):
        if character != "-":
            wrong = "a" if character != "a" else "b"
            with pytest.raises(InvitationRefused, match=r"mistyped|incomplete"):
                parse_code(text[:at] + wrong + text[at + 1 :])


def test_a_shortened_code_is_called_incomplete() -> None:
    text = format_code(CODE)
    for length in range(len(text) - 1):
        with pytest.raises(InvitationRefused, match=r"incomplete|mistyped"):
            parse_code(text[:length])
    with pytest.raises(InvitationRefused, match="incomplete"):
        parse_code(text[: len(text) // 2])


@pytest.mark.parametrize("text", ["", " ", "x" * 5000, "hello world", "Ümlaut", "9" * 100, "https://example.org"])
def test_what_is_no_code_is_refused(text: str) -> None:
    with pytest.raises(InvitationRefused, match="code"):
        parse_code(text)


def test_two_codes_at_once_are_refused() -> None:
    with pytest.raises(InvitationRefused, match="more than one"):
        parse_code(format_code(CODE) + " " + format_code(CODE))


def with_checksum(body: bytes) -> str:
    checksum = hashlib.sha256(b"crdtsync/invitation-code/1" + body).digest()[:4]
    return grouped(base32(body + checksum), 5)


def test_a_code_of_a_later_version_says_so() -> None:
    body = b"\x02" + decoded(format_code(CODE).replace("-", ""))[1:-4]
    with pytest.raises(InvitationRefused, match="later version"):
        parse_code(with_checksum(body))


@pytest.mark.parametrize("tail", [b"\x05abc", b"\x01\xff", b"\x00" * 17])
def test_addresses_that_cannot_be_read_are_refused(tail: bytes) -> None:
    bare = Code(CODE.practice, CODE.invitation, CODE.secret, CODE.inviter_tls_hash, ())
    body = decoded(format_code(bare).replace("-", ""))[:-4] + tail
    body = body[:1] + (len(body) + 4).to_bytes(2, "big") + body[3:]
    with pytest.raises(InvitationRefused, match="addresses"):
        parse_code(with_checksum(body))


def test_too_many_or_too_long_addresses_are_refused() -> None:
    for addresses in (("a:1",) * (limits.addresses_per_member_max + 1), ("a" * 256,)):
        with pytest.raises(BadValue, match="addresses"):
            format_code(Code(CODE.practice, CODE.invitation, CODE.secret, CODE.inviter_tls_hash, addresses))


def test_fields_of_other_lengths_are_refused() -> None:
    with pytest.raises(ValueError, match="other lengths"):
        format_code(Code(CODE.practice, b"i" * 7, CODE.secret, CODE.inviter_tls_hash, ()))
    with pytest.raises(ValueError, match="other lengths"):
        format_code(Code(CODE.practice, b"i" * 9, b"s" * 15, CODE.inviter_tls_hash, ()))


def test_the_secret_does_not_show() -> None:
    assert "ssss" not in repr(CODE)


def test_the_hash_of_a_certificate_is_short() -> None:
    assert len(tls_hash(b"certificate")) == 16
    assert tls_hash(b"certificate") != tls_hash(b"certificates")
