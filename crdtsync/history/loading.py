"""Getting a record's past out of the store's thread, in steps that keep nobody else waiting."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from typing import Final

from crdtsync import limits
from crdtsync.engine.past import Told
from crdtsync.errors import DamagedFile, NotFound
from crdtsync.host import Host
from crdtsync.ids import RecordId
from crdtsync.opened import Opened

_ROUNDS_MAX: Final = 5


class Loading:
    """Reads from an open site. `derived` waits until the view has what the log held."""

    def __init__(self, site: Opened, derived: Callable[[], Awaitable[bool]]) -> None:
        self._site = site
        self._derived = derived

    async def ready(self) -> None:
        """See what the log held when this was called, as far as it can be derived."""
        with suppress(DamagedFile):  # a hole in the log: what stands before it is told, and the hole named
            await self._derived()

    async def kind_of(self, record: RecordId) -> str:
        """The kind under which an id is kept. Raises NotFound."""
        await self.ready()
        documents = await self._site.driver.thread.run(lambda host: host.store.documents_of(record))
        if not documents:
            raise NotFound(f"there is no record with the id {record} here")
        return documents[0].kind

    async def ids(self, kind: str, after: str, limit: int) -> list[RecordId]:
        """The next ids of a kind, in order."""
        await self.ready()
        place = (kind, after)
        documents = await self._site.driver.thread.run(lambda host: host.store.documents(kind, place, limit))
        return [document.record for document in documents]

    async def told(self, kind: str, record: RecordId) -> list[Told]:
        """What all commits tell of a record, as the view stands: begun anew when what is held, or waits, changes
        meanwhile."""
        await self.ready()
        run = self._site.driver.thread.run
        found: list[Told] = []
        for _ in range(_ROUNDS_MAX):
            arrivals, verdicts = await run(lambda host: (host.engine.arrivals_of(kind, record), host.engine.verdicts))
            found = []
            for at in range(0, len(arrivals), limits.history_commits_step):
                some = arrivals[at : at + limits.history_commits_step]

                def read(host: Host, some: list[int] = some) -> tuple[list[Told], tuple[int, ...]]:
                    return host.engine.told(kind, record, some), host.engine.verdicts

                told, now = await run(read)
                found += told
                if now != verdicts:
                    break
            else:
                return found
        return found

    async def told_of(self, kind: str, records: Sequence[RecordId]) -> list[tuple[RecordId, list[Told]]]:
        """What all commits tell of each of these records."""
        await self.ready()
        found: list[tuple[RecordId, list[Told]]] = []
        while left := records[len(found) :]:

            def read(host: Host, left: Sequence[RecordId] = left) -> list[list[Told]]:
                return host.engine.told_of(kind, left)

            told = await self._site.driver.thread.run(read)
            found += zip(left, told, strict=False)
        return found
