"""The recovery sheet: 32 bytes on paper, from which an admin identity is derived that every epoch is sealed to.

On the sheet stand 14 numbered groups of 6 characters. Groups 1 to 13 carry 4 characters of the secret and 2 that check
them and their number; group 14 carries 4 that check the whole, and 2 for itself.
"""

from __future__ import annotations

import re
from typing import Final

from crdtsync.errors import BadValue
from crdtsync.ids import base32
from crdtsync.sealing.derivation import derive
from crdtsync.sealing.hybrid import KEM_SEED_BYTES
from crdtsync.sealing.identity import SEED_BYTES, Identity, replica_text
from crdtsync.sealing.printed import check_characters, decoded, typed_groups

SECRET_BYTES: Final = 32
_DOMAIN_GROUP: Final = b"crdtsync/recovery-group/1"
_DOMAIN_WHOLE: Final = b"crdtsync/recovery-sheet/1"
_DOMAIN_SEED: Final = b"crdtsync/recovery-identity/1/"
_CONTENT, _CHECKS = 4, 2
_GROUP: Final = _CONTENT + _CHECKS
_GROUPS: Final = 14
_PER_LINE: Final = 4
_RULE: Final = "-" * 60
_NUMBER: Final = re.compile(r"\b\d{1,2}[.:)]")


def recovery_identity(secret: bytes) -> Identity:
    """The admin identity that follows from the 32 bytes of a sheet."""
    if len(secret) != SECRET_BYTES:
        raise ValueError(f"the secret of a recovery sheet has {SECRET_BYTES} bytes")
    return Identity(
        derive(secret, b"", _DOMAIN_SEED + b"sig", SEED_BYTES),
        derive(secret, b"", _DOMAIN_SEED + b"tls", SEED_BYTES),
        derive(secret, b"", _DOMAIN_SEED + b"kem", KEM_SEED_BYTES),
    )


def secret_groups(secret: bytes) -> list[str]:
    """The 14 groups that stand on the sheet, in capitals."""
    if len(secret) != SECRET_BYTES:
        raise ValueError(f"the secret of a recovery sheet has {SECRET_BYTES} bytes")
    text = base32(secret)
    text += check_characters(_DOMAIN_WHOLE, text, _CONTENT)
    contents = [text[at : at + _CONTENT] for at in range(0, len(text), _CONTENT)]
    return [(content + _group_check(number, content)).upper() for number, content in enumerate(contents, 1)]


def parse_sheet(text: str) -> bytes:
    """The 32 bytes from a whole sheet, or from its groups as somebody typed them (numbers and case do not matter).

    Raises BadValue naming the group in which a typing error is.
    """
    if text.count(_RULE) >= 2:
        text = text.split(_RULE)[-2]
    try:
        groups = typed_groups(_NUMBER.sub(" ", text))
    except ValueError as error:
        raise BadValue(f"recovery sheet: {error}; compare it with the sheet") from None
    if len(groups) == 1:  # typed without spaces
        groups = [groups[0][at : at + _GROUP] for at in range(0, len(groups[0]), _GROUP)]
    for number, group in enumerate(groups[:_GROUPS], 1):
        _check_group(number, group)
    if len(groups) != _GROUPS:
        raise BadValue(f"recovery sheet: {len(groups)} groups where {_GROUPS} are printed; type all of them")
    content = "".join(group[:_CONTENT] for group in groups)
    text, check = content[:-_CONTENT], content[-_CONTENT:]
    secret = decoded(text)
    if check_characters(_DOMAIN_WHOLE, text, _CONTENT) != check or base32(secret) != text:
        raise BadValue("recovery sheet: its groups are not of one sheet; compare all of them with the sheet")
    return secret


def sheet_text(practice: str, secret: bytes, date: str | None = None) -> str:
    """The sheet as it is printed: what it is, how to keep it, the groups, and the identity they give."""
    numbered = [f"{number:2}. {group}" for number, group in enumerate(secret_groups(secret), 1)]
    lines = ["   ".join(numbered[at : at + _PER_LINE]) for at in range(0, _GROUPS, _PER_LINE)]
    made = f"Made on: {date}\n" if date else ""
    return (
        f"RECOVERY SHEET\nPractice: {practice}\n{made}\n"
        "Whoever has this sheet can read all records and decide who belongs to the\n"
        "practice. It is the way back in when every site's keys are lost. Print it,\n"
        "lock it away outside the practice, and keep no copy on a computer.\n\n"
        f"{_RULE}\n" + "\n".join(lines) + f"\n{_RULE}\n\n"
        f"Identity: {replica_text(recovery_identity(secret).public.replica)}\n"
    )


def _group_check(number: int, content: str) -> str:
    return check_characters(_DOMAIN_GROUP + bytes((number,)), content, _CHECKS)


def _check_group(number: int, group: str) -> None:
    if len(group) != _GROUP:
        raise BadValue(f"recovery sheet: group {number} has {len(group)} characters where {_GROUP} are printed")
    if _group_check(number, group[:_CONTENT]) != group[_CONTENT:]:
        raise BadValue(f"recovery sheet: group {number} is mistyped or in the wrong place; compare it with the sheet")
