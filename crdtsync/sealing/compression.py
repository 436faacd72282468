"""zstd, level 3, before sealing; and an inflater that looks before it allocates (L7).

Compressors are not safe to share between threads, and making one costs more than using it: a free one is taken from a
list and put back, both single operations on the list.
"""

from __future__ import annotations

from typing import Final

import zstandard

from crdtsync import limits
from crdtsync.errors import SealBroken, TooLarge

_LEVEL: Final = 3
_SMALLEST: Final = 32
_free_compressors: list[zstandard.ZstdCompressor] = []
_free_decompressors: list[zstandard.ZstdDecompressor] = []


def deflate(plain: bytes) -> bytes | None:
    """One zstd frame that names its content's size, or None when that would not be smaller."""
    if len(plain) < _SMALLEST:
        return None
    try:
        compressor = _free_compressors.pop()
    except IndexError:
        compressor = zstandard.ZstdCompressor(level=_LEVEL, write_content_size=True)
    packed = compressor.compress(plain)
    _free_compressors.append(compressor)
    return packed if len(packed) < len(plain) else None


def inflate(packed: bytes) -> bytes:
    """The inverse of `deflate`.

    Raises TooLarge for a frame that names more than `limits.inflated_bytes_max`, before anything is allocated for it,
    and SealBroken for what is no single well-formed frame or does not name its size.
    """
    try:
        size = zstandard.frame_content_size(packed)
        if size > limits.inflated_bytes_max:
            raise TooLarge(f"content of {size} bytes when inflated, where {limits.inflated_bytes_max} are allowed")
        if size < 0:
            raise SealBroken("compressed content that does not name its size")
        return _inflate(packed)
    except zstandard.ZstdError:
        raise SealBroken("compressed content that is not well-formed") from None


def _inflate(packed: bytes) -> bytes:
    try:
        decompressor = _free_decompressors.pop()
    except IndexError:
        decompressor = zstandard.ZstdDecompressor()
    plain = decompressor.decompress(packed, allow_extra_data=False)
    _free_decompressors.append(decompressor)
    return plain
