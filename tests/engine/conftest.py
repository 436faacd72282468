"""Both stores for every test that asks for `make_store`."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from crdtsync.storage.base import Store
from crdtsync.storage.memory import MemoryStore
from crdtsync.storage.sqlite import SqliteStore

MakeStore = Callable[[], Store]


@pytest.fixture(params=["memory", "sqlite"])
def make_store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[MakeStore]:
    """Makes empty stores, and closes them."""
    stores: list[Store] = []
    numbers = itertools.count()

    def make() -> Store:
        if request.param == "memory":
            stores.append(MemoryStore())
        else:
            folder = tmp_path / f"site{next(numbers)}"
            folder.mkdir()
            stores.append(SqliteStore(folder, b"v" * 32))
        return stores[-1]

    yield make
    for store in stores:
        store.close()
