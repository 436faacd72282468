from __future__ import annotations

import hashlib
from collections.abc import Iterator

import pytest
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from hypothesis import given
from hypothesis import strategies as st

from crdtsync import limits
from crdtsync.errors import Malformed
from crdtsync.sealing.signing import SMALL_ORDER, Verifier, signing_key

PRIME = 2**255 - 19
D = -121665 * pow(121666, -1, PRIME) % PRIME
ORDER = 2**252 + 27742317777372353535851937790883648493

Point = tuple[int, int]


def add(left: Point, right: Point) -> Point:
    """Addition on the twisted Edwards curve -x² + y² = 1 + dx²y² (RFC 8032)."""
    (x1, y1), (x2, y2) = left, right
    product = D * x1 * x2 * y1 * y2 % PRIME
    x = (x1 * y2 + x2 * y1) * pow(1 + product, -1, PRIME) % PRIME
    y = (y1 * y2 + x1 * x2) * pow(1 - product, -1, PRIME) % PRIME
    return x, y


def times(factor: int, point: Point) -> Point:
    result: Point = (0, 1)
    for bit in bin(factor)[2:]:
        result = add(result, result)
        if bit == "1":
            result = add(result, point)
    return result


def points_at(y: int) -> list[Point]:
    """The points of the curve with this y."""
    square = (y * y - 1) * pow(D * y * y + 1, -1, PRIME) % PRIME
    root = pow(square, (PRIME + 3) // 8, PRIME)
    for x in (root, root * pow(2, (PRIME - 1) // 4, PRIME) % PRIME):
        if x * x % PRIME == square:
            return [(x, y), (-x % PRIME, y)]
    return []


def encodings(point: Point) -> Iterator[bytes]:
    """All 32 bytes that decode to the point if nobody looks closely: y not reduced, and a sign bit for x = 0."""
    x, y = point
    for value in (y, y + PRIME):
        if value < 2**255:
            for sign in {x & 1} if x else {0, 1}:
                yield (value | sign << 255).to_bytes(32, "little")


def small_order_points() -> set[Point]:
    """Multiples of the group's order of any point have an order that divides eight; one of order eight gives all."""
    for y in range(2, 100):
        for point in points_at(y):
            torsion = times(ORDER, point)
            if times(4, torsion) != (0, 1):
                return {times(factor, torsion) for factor in range(8)}
    raise AssertionError


def test_the_block_list_is_every_encoding_of_the_eight_points_of_small_order() -> None:
    points = small_order_points()
    assert len(points) == 8
    assert {encoding for point in points for encoding in encodings(point)} == SMALL_ORDER
    assert len(SMALL_ORDER) == 14


def forgery(sig: bytes) -> tuple[bytes, bytes]:
    """A message and a signature that pyca accepts under `sig`, made without any private key."""
    key = Ed25519PublicKey.from_public_bytes(sig)
    nothing = (1).to_bytes(32, "little") + bytes(32)  # R is the neutral point, s is 0
    for attempt in range(1000):
        message = b"pay %d" % attempt
        try:
            key.verify(nothing, message)
        except InvalidSignature:
            continue
        return message, nothing
    raise AssertionError("no forgery found")


@pytest.mark.parametrize("sig", sorted(SMALL_ORDER), ids=lambda sig: sig[::31].hex())
def test_a_forgery_under_a_key_of_small_order_is_refused(sig: bytes) -> None:
    message, signature = forgery(sig)
    assert not Verifier().verify(sig, message, signature)
    with pytest.raises(Malformed, match="small order"):
        signing_key(sig)


def test_other_encodings_that_are_not_reduced_are_refused() -> None:
    for y in range(2, 19):
        with pytest.raises(Malformed, match="not the shortest"):
            signing_key((y + PRIME).to_bytes(32, "little"))


@pytest.mark.parametrize("length", [0, 31, 33, 64])
def test_other_lengths_are_refused(length: int) -> None:
    with pytest.raises(Malformed, match="32 bytes"):
        signing_key(b"\x07" * length)


def test_a_signature_with_s_beyond_the_order_is_refused() -> None:
    key = Ed25519PrivateKey.from_private_bytes(bytes(32))
    signature = key.sign(b"m")
    second = (int.from_bytes(signature[32:], "little") + ORDER).to_bytes(32, "little")
    assert Verifier().verify(key.public_key().public_bytes_raw(), b"m", signature)
    assert not Verifier().verify(key.public_key().public_bytes_raw(), b"m", signature[:32] + second)


@pytest.mark.parametrize(
    ("seed", "message", "signature"),
    [
        (
            "9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60",
            "",
            "e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e065224901555fb8821590a33bacc61e39701cf9b46bd25bf5f0595bbe24"
            "655141438e7a100b",
        ),
        (
            "c5aa8df43f9f837bedb7442f31dcb7b166d38535076f094b85ce3a2e0b4458f7",
            "af82",
            "6291d657deec24024827e69c3abe01a30ce548a284743a445e3680d7db5ac3ac18ff9b538d16f290ae67f760984dc6594a7c15e9716ed28d"
            "c027beceea1ec40a",
        ),
    ],
)
def test_published_vectors_of_rfc_8032(seed: str, message: str, signature: str) -> None:
    key = Ed25519PrivateKey.from_private_bytes(bytes.fromhex(seed))
    sig = key.public_key().public_bytes_raw()
    assert key.sign(bytes.fromhex(message)) == bytes.fromhex(signature)
    assert Verifier().verify(sig, bytes.fromhex(message), bytes.fromhex(signature))


def test_the_verifier_forgets_keys_and_stays_bounded() -> None:
    verifier = Verifier()
    for number in range(limits.verify_keys_cached_max * 2):
        key = Ed25519PrivateKey.from_private_bytes(hashlib.sha256(b"%d" % number).digest())
        verifier.verify(key.public_key().public_bytes_raw(), b"", bytes(64))
    assert len(verifier._keys) <= limits.verify_keys_cached_max


@given(st.binary(max_size=40), st.binary(max_size=70))
def test_any_bytes_give_an_answer(sig: bytes, signature: bytes) -> None:
    assert Verifier().verify(sig, b"message", signature) is False
