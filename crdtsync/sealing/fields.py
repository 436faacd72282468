"""Byte fields in a row, each with its length before it: one encoding for one list, in hashes and in join messages."""

from __future__ import annotations

from collections.abc import Iterable

from crdtsync.errors import Malformed, TooLarge

_LENGTH_BYTES = 4


def join_fields(fields: Iterable[bytes]) -> bytes:
    """Each field behind its length in 4 bytes, big-endian."""
    return b"".join(len(field).to_bytes(_LENGTH_BYTES, "big") + field for field in fields)


def split_fields(data: bytes, *, fields_max: int, field_bytes_max: int, what: str) -> list[bytes]:
    """The inverse of `join_fields`.

    Raises Malformed for anything that is not exactly a list of fields, TooLarge for more or longer fields than allowed;
    a length is compared with what is there before anything is copied (L7).
    """
    fields: list[bytes] = []
    at, end = 0, len(data)
    while at < end:
        if len(fields) == fields_max:
            raise TooLarge(f"{what}: more than {fields_max} fields")
        length = int.from_bytes(data[at : at + _LENGTH_BYTES], "big")
        at += _LENGTH_BYTES
        if at + length > end:
            raise Malformed(f"{what}: ends before its last field does")
        if length > field_bytes_max:
            raise TooLarge(f"{what}: a field of {length} bytes where at most {field_bytes_max} are allowed")
        fields.append(data[at : at + length])
        at += length
    return fields
