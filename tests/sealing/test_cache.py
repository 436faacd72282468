from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from crdtsync.sealing.cache import Cache


def test_what_is_used_stays_and_the_rest_goes() -> None:
    cache: Cache[int, str] = Cache(10)
    cache.put(0, "kept")
    for number in range(1, 200):
        cache.put(number, "passing")
        assert cache.get(0) == "kept"
        assert len(cache) <= 10
    assert cache.get(1) is None


def test_what_is_forgotten_is_gone_from_both_generations() -> None:
    cache: Cache[int, str] = Cache(4)
    for number in range(4):
        cache.put(number, "x")
    cache.forget([0, 3, 99])
    assert [cache.get(number) for number in range(4)] == [None, "x", "x", None]


@given(st.lists(st.integers(0, 30)), st.integers(1, 12))
def test_a_value_is_never_another_ones(keys: list[int], items_max: int) -> None:
    cache: Cache[int, int] = Cache(items_max)
    for key in keys:
        assert cache.get(key) in (None, key * 7)
        cache.put(key, key * 7)
        assert cache.get(key) == key * 7
        assert len(cache) <= max(2, items_max)
