"""The invitation code: what one site hands to somebody who is to join, on paper or by message.

    version (1) ‖ length of all (2) ‖ practice (16) ‖ invitation (8) ‖ secret (16)
    ‖ hash of the inviter's certificate (16) ‖ addresses, each behind its length (1) ‖ checksum (4)

All of it stands in base32, in groups of five characters. Only typing errors are found here; what a code is worth is
decided by the inviting site.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from typing import Final

from crdtsync import limits
from crdtsync.errors import BadValue, InvitationRefused
from crdtsync.ids import PRACTICE_ID_BYTES, PracticeId, base32
from crdtsync.sealing.printed import decoded, grouped, typed_groups

INVITATION_BYTES: Final = 8
SECRET_BYTES: Final = 16
TLS_HASH_BYTES: Final = 16
_VERSION: Final = 1
_DOMAIN: Final = b"crdtsync/invitation-code/1"
_CHECKSUM_BYTES: Final = 4
_PREFIX_BYTES: Final = 3
_ADDRESSES_AT: Final = _PREFIX_BYTES + PRACTICE_ID_BYTES + INVITATION_BYTES + SECRET_BYTES + TLS_HASH_BYTES
_ADDRESS_BYTES_MAX: Final = 255
_GROUP: Final = 5


def tls_hash(certificate: bytes) -> bytes:
    """16 bytes: what a code keeps of the inviter's certificate (DER), for the joiner to compare on connecting."""
    return hashlib.sha256(certificate).digest()[:TLS_HASH_BYTES]


@dataclass(frozen=True, slots=True)
class Code:
    """An invitation: `invitation` (8 bytes) names it, `secret` (16 random bytes) proves it, `addresses` are hints."""

    practice: PracticeId
    invitation: bytes
    secret: bytes = field(repr=False)
    inviter_tls_hash: bytes
    addresses: tuple[str, ...]


def format_code(code: Code) -> str:
    """The code as it is shown.

    Raises BadValue for too many or too long addresses, ValueError when an id or the secret has another length.
    """
    addresses = [address.encode() for address in code.addresses]
    if len(addresses) > limits.addresses_per_member_max or any(len(a) > _ADDRESS_BYTES_MAX for a in addresses):
        raise BadValue("an invitation code holds no so many or so long addresses; name fewer")
    content = code.practice + code.invitation + code.secret + code.inviter_tls_hash
    if _PREFIX_BYTES + len(content) != _ADDRESSES_AT or len(code.secret) != SECRET_BYTES:
        raise ValueError("the fields of an invitation code have other lengths")
    content += b"".join(bytes((len(address),)) + address for address in addresses)
    length = _PREFIX_BYTES + len(content) + _CHECKSUM_BYTES
    body = bytes((_VERSION,)) + length.to_bytes(2, "big") + content
    return grouped(base32(body + _checksum(body)), _GROUP)


def parse_code(text: str) -> Code:
    """The inverse of `format_code`, forgiving case, spaces and missing hyphens.

    Raises InvitationRefused with a sentence for a code that is mistyped, incomplete, or of a later version.
    """
    try:
        typed = "".join(typed_groups(text))
    except ValueError as error:
        raise InvitationRefused(f"this is no invitation code: {error}; copy it again") from None
    data = decoded(typed)
    length = int.from_bytes(data[1:_PREFIX_BYTES], "big")
    if len(data) < max(length, _ADDRESSES_AT + _CHECKSUM_BYTES):
        raise InvitationRefused("the invitation code is incomplete or mistyped; copy all of it")
    body, checksum = data[:-_CHECKSUM_BYTES], data[-_CHECKSUM_BYTES:]
    if len(data) != length or _checksum(body) != checksum or base32(data) != typed:
        raise InvitationRefused("the invitation code is mistyped, or more than one code was given; copy it again")
    if data[0] != _VERSION:
        raise InvitationRefused("the invitation code was made by a later version of this program; update the program")
    return _from_body(body)


def _from_body(body: bytes) -> Code:
    fields, at = [], _PREFIX_BYTES
    for size in (PRACTICE_ID_BYTES, INVITATION_BYTES, SECRET_BYTES, TLS_HASH_BYTES):
        fields.append(body[at : at + size])
        at += size
    return Code(PracticeId(fields[0]), fields[1], fields[2], fields[3], _addresses(body[at:]))


def _addresses(data: bytes) -> tuple[str, ...]:
    addresses: list[str] = []
    while data and len(addresses) < limits.addresses_per_member_max:
        size, data = data[0], data[1:]
        try:
            addresses.append(data[:size].decode())
        except UnicodeDecodeError:
            break
        if len(data) < size:
            break
        data = data[size:]
    else:
        if not data:
            return tuple(addresses)
    raise InvitationRefused("the invitation code holds addresses that cannot be read; ask for a new one")


def _checksum(body: bytes) -> bytes:
    return hashlib.sha256(_DOMAIN + body).digest()[:_CHECKSUM_BYTES]
