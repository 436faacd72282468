"""What became of records: `site.history(id)`, `site.at(time)`, and a patient's whole history as a signed file."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from itertools import islice
from typing import Any

import anyio.to_thread

from crdtsync.errors import NotFound
from crdtsync.history.loading import Loading
from crdtsync.history.moment import Moment
from crdtsync.history.told import history
from crdtsync.ids import RecordId
from crdtsync.opened import Opened

__all__ = ["History", "Moment"]


class History:
    """The past of an open site's records. `site.history` is one: `await site.history(id)`."""

    def __init__(self, site: Opened, derived: Callable[[], Awaitable[bool]]) -> None:
        self._site = site
        self._loading = Loading(site, derived)

    async def __call__(
        self, record: str, *, kind: str | None = None, after: str | None = None, limit: int | None = None
    ) -> list[dict[str, Any]]:
        """Every change of a record, oldest first: commit, site, author, reason, workstation, purpose, the three times
        `at`, `written_at` and `arrived_at`, `state`, and `changes` with `field`, `before` and `after` each.

        The same at every site but for `arrived_at`. `after` names the commit behind which to go on, `limit` how many.
        Raises NotFound for a record, or a commit of it, that is not here.
        """
        name = kind or await self._loading.kind_of(RecordId(record))
        told = await self._loading.told(name, RecordId(record))
        if kind is not None and not told:
            raise NotFound(f"there is no {kind} with the id {record} here")
        name_of = self._site.driver.replica.describe

        def tell() -> list[dict[str, Any]]:
            found = history(name, RecordId(record), told, name_of)
            if after is not None and not any(entry["commit"] == after for entry in found):
                raise NotFound(f"no commit {after} changed this record; name one that its history lists")
            return list(islice(found, limit))

        return await anyio.to_thread.run_sync(tell)
