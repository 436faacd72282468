from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crdtsync.errors import Malformed, SealBroken
from crdtsync.sealing.hybrid import KEM_BYTES, HybridKey, hybrid_public, seal_to

ONE, OTHER = HybridKey(b"1" * 96), HybridKey(b"2" * 96)


def test_a_secret_opens_with_its_key_and_info_only() -> None:
    sealed = seal_to(ONE.public, b"info", b"secret")
    assert ONE.open_sealed(b"info", sealed) == b"secret"
    with pytest.raises(SealBroken, match="not sealed to this replica"):
        OTHER.open_sealed(b"info", sealed)
    with pytest.raises(SealBroken, match="not sealed to this replica"):
        ONE.open_sealed(b"other", sealed)


def test_each_half_of_the_key_is_needed() -> None:
    """A hybrid that one broken half opens would be none."""
    sealed = seal_to(ONE.public, b"info", b"secret")
    for seed in (b"1" * 64 + b"2" * 32, b"2" * 64 + b"1" * 32):
        with pytest.raises(SealBroken):
            HybridKey(seed).open_sealed(b"info", sealed)


def test_the_public_key_follows_from_the_seed() -> None:
    assert HybridKey(b"1" * 96).public == ONE.public != OTHER.public
    assert len(ONE.public) == KEM_BYTES
    with pytest.raises(ValueError, match="96 bytes"):
        HybridKey(b"1" * 64)


@given(st.binary(max_size=KEM_BYTES + 1))
def test_any_bytes_are_a_key_or_an_error(kem: bytes) -> None:
    with pytest.raises(Malformed):
        hybrid_public(kem)


def test_a_secret_that_was_sealed_by_format_version_1_opens() -> None:
    assert ONE.open_sealed(b"info", bytes.fromhex(SEALED)) == b"secret"


SEALED = """
0dc191f83f961c1ae8c994f49c90aa663d39f42b3e3f2a8d2db4a0616f8f425c5410cbc56e8f21d6159256db0294e3369d27
f7a3770645b0618e647a74fd1cd6b40773aa6a713f5b8f3e2be2d6d86f5d4f4a6185a614b2f7632b5d4c766ebfa20d202b33
d3265235ccdfee4daa07f5051d556e3bd6c54b7c4c57f1759cd2fba0f90126273ab71533b4ccbed35317f429897ad19c1168
5236766f46d1dd5fd3eca5a8d06cd961d70d1496d4f6959a828dd2e46f43d45eb2f1439a1f7f100828a022453266e74df738
dca9092c21d6c1ef4496f5104b8ca5b48a7229cc15f64d022b83c14512dc015acce9519346c362f6e7e8cdd6775e54366322
2cde7dffbcf7797d7994ca442afbf14853285b5c62e86be34d7f3cbe3cce390129aa4eec1e4125d40117d095849906d9d418
67f4a0c24733cbec242f038be3c72c3bb45d86d0414c40b390a7f2594f21a34a26c31abe770745f44f39cc7ea3926728415d
a3796d1b55e1b8204417e0ff42e2fdc19e0afd4594a51861b15b936235a07f133291272d33712cc59db3daedafef3f9dd392
5fe5f6ae30ac50cca2004af5d255d8cc5ef7f04a32f515a6536894e2725736d97b920a149059d292a919005e196e967c5168
ccb87eb57d0d571a0426b4bec4b37ec3c28abaea22492b35ae3ee2d084643bffc03e8fba72a8b151023939d7bb878330bfa0
5ed48cbb3fca70db2dd9e103af0f6c7e59b59d93844891c14d0e5d279ff6c0f1761c409ac9ab9cc692eacb561a0e509c29c6
797605f7a3c5f0ab2ec0f49a5008c66c65640279c7b33d2ad93ec9ff48906b028362c4aa8c8cde96bc6019bea7be56c5ce7f
80d937734fb083a852343ff0b8d1fd9a4fca6db8ef5e0f584184909f816391f7fe82fdc316a23b45ee6781eab08b888e119e
6aeb0100a06de598cdc79e97b64c915bddf197f1c0ef0dcf2e96bf085946c3098fd9b59a8a5d42605fa06101bd8657cbc8f3
15253ad06edb6a702ec02a0a6067e96b30f66638181429692d241891b5f2612a0160e4acd15887b9945cb853444d91d4b306
947f725dcd7114efb8144485705550618a6e4edaaff46d6778f10eda8f921946c3ced9e9c1add7b75a7a1f82653894e7c447
dc1bba9010bfc184eec9e6825da82310db94232fcb2112154176b4af4f77add4a9b4528b9ed07a5fa6d594c5151ff9abfb24
f3a094d57b83145ecdd1d52e67adfdc3273d0973eac6fffb5be892d56805596753ecd685ca1232500f67255f29cb1b9e7f2b
30b6b76915cf3088cb21b68cf2883fa9601b4ede5f46d1cce88cfda3bba525bceb85ba94b274efd4cf9ac8704545b944701a
85fd813c167adabc6def78fb0741ba563e6cf3ea3dbebb2e2e2eec2c06faf88fcaa6ad4025139fc1539328f6c54362fcd57f
8c05c3fecf965ae435547116632fb4d5c0d168f0b02935f9cc9f7bc56b10376303a1502727a8f5fd5a570c85d80c28aebad3
c11e98b8748e8684a5af60f37cee45a8fd4f371c3ccbbf2c0d6e67692b93d391e93709a3137fe9798d0dd56257cf8328cfa7
f19c5701c09bb41e43ddd846a2e29cca83ee914cb7c9705eb626c852bd555917992b6e8be9a9e9a91b92
"""
