"""A bounded memory of what was used last, safe to share between threads without a lock.

Two generations: what is used moves into the young one; when that is full it becomes the old one, and the old one is
forgotten. Each step is a single dictionary operation, so a race between threads costs at most a cache miss.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


class Cache(Generic[K, V]):
    """Keeps the last `items_max // 2` used values at least, and `items_max` at most (L7)."""

    def __init__(self, items_max: int) -> None:
        self._generation_max = max(1, items_max // 2)
        self._young: dict[K, V] = {}
        self._old: dict[K, V] = {}

    def get(self, key: K) -> V | None:
        """The value, or None when it was never put or is forgotten."""
        value = self._young.get(key)
        if value is None:
            value = self._old.get(key)
            if value is not None:
                self.put(key, value)
        return value

    def put(self, key: K, value: V) -> None:
        """Remember `value`."""
        if len(self._young) >= self._generation_max:
            self._old, self._young = self._young, {}
        self._young[key] = value

    def forget(self, keys: Iterable[K]) -> None:
        """Forget these keys now. A `get` by another thread at the same moment may bring one of them back."""
        for key in keys:
            self._old.pop(key, None)
            self._young.pop(key, None)

    def __len__(self) -> int:
        return len(self._young.keys() | self._old.keys())
