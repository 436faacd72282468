"""PADMÉ padding (Nikitin et al., "Reducing Metadata Leakage from Encrypted Files", 2019).

A length of L bits tells only its first log2(L) bits; the padding adds at most 12 %. The end of the content is marked by
one byte 0x80, zeros follow: there is exactly one padded form of each content.
"""

from __future__ import annotations

_MARK = b"\x80"


def padded_length(length: int) -> int:
    """The smallest PADMÉ length that is not below `length`."""
    if length < 2:
        return length
    exponent = length.bit_length() - 1
    zero_bits = exponent - exponent.bit_length()
    mask = (1 << zero_bits) - 1
    return (length + mask) & ~mask


def pad(content: bytes) -> bytes:
    """`content`, a mark, and zeros up to a PADMÉ length."""
    marked = content + _MARK
    return marked.ljust(padded_length(len(marked)), b"\x00")


def unpad(padded: bytes) -> bytes:
    """The inverse of `pad`. Raises ValueError for bytes that `pad` does not give."""
    marked = padded.rstrip(b"\x00")
    if marked[-1:] != _MARK or padded_length(len(marked)) != len(padded):
        raise ValueError("not a padded content")
    return marked[:-1]
