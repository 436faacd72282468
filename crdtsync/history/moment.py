"""Records as they were at a time (`site.at(time)`).

A site knew a change when its commit had arrived on its disk. But a new site's commits all arrived when it joined, and
after a rebuild over the network likewise; so for times before the folder first was current (`history.since`), a change
counts from its hybrid time on. Which rule it is follows from the time that is asked for alone:

    time at or after `since`     arrival      what this site knew then
    time before it               written      what had been written by then, wherever

Either way a change counts only with all that it builds on, and what is held, or became so later, counts never (L6).
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Final, Literal, TypeVar, overload

import anyio.to_thread

from crdtsync.clock import wall_ms
from crdtsync.documents import Content, Record, UnknownRecord, column_value, kinds, model_of, project, read
from crdtsync.engine.past import Retelling, Told
from crdtsync.errors import NotFound, UnknownKind, UsageError
from crdtsync.history.loading import Loading
from crdtsync.history.since import since_ms
from crdtsync.history.told import time_text
from crdtsync.ids import RecordId
from crdtsync.opened import Opened

R = TypeVar("R", bound=Record)
AnyRecord = Record | UnknownRecord
Rule = Literal["arrival", "written"]
_PAGE: Final = 200
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_EMPTY: Final = Content({}, {})


def content_at(record: RecordId, told: Sequence[Told], ms: int, rule: Rule) -> tuple[Content | None, str]:
    """What a record said at a time, None when it was not there yet; and why it is not whole, else ""."""

    def counts(each: Told) -> bool:
        return (each.arrived_ms if rule == "arrival" else wall_ms(each.stamp)) <= ms

    content, missing = Retelling(record, told).at(counts)
    if content == _EMPTY and not missing:
        return None, ""
    return content, f"Not whole at {time_text(ms)}: {missing[0].why}." if missing else ""


class Moment:
    """A site's records as they were at one time. Reading them takes the longer the more often they were changed."""

    def __init__(self, site: Opened, derived: Callable[[], Awaitable[bool]], time: datetime | str) -> None:
        self._site = site
        self._loading = Loading(site, derived)
        self.ms = milliseconds(time)

    async def rule(self) -> Rule:
        """By what it was decided which changes count: their arrival here, or when they were written."""
        membership = self._site.driver.replica.membership
        since = await self._site.driver.thread.run(lambda host: since_ms(host, membership))
        return "written" if since is None or self.ms < since else "arrival"

    @overload
    async def get(self, kind: type[R], record: str) -> R: ...

    @overload
    async def get(self, kind: str, record: str) -> AnyRecord: ...

    async def get(self, kind: type[Record] | str, record: str) -> AnyRecord:
        """One record as it was. Raises NotFound for one that was not there yet, or never was."""
        return await self._one(kind if isinstance(kind, str) else kind.kind, RecordId(record))

    async def record(self, record: str) -> AnyRecord:
        """One record of whatever kind. Raises NotFound."""
        return await self._one(await self._loading.kind_of(RecordId(record)), RecordId(record))

    async def _one(self, kind: str, record: RecordId) -> AnyRecord:
        found = await self._read(kind, [record], await self.rule())
        if not found:
            raise NotFound(f"there was no {kind} with the id {record} here at {time_text(self.ms)}")
        return found[0]

    @overload
    async def find(self, kind: type[R], *, limit: int | None = None, **equals: Any) -> list[R]: ...

    @overload
    async def find(self, kind: str, *, limit: int | None = None, **equals: Any) -> list[AnyRecord]: ...

    async def find(self, kind: type[Record] | str, *, limit: int | None = None, **equals: Any) -> Sequence[AnyRecord]:
        """Records of a kind whose fields had these values, in order of their ids. Goes over all records of the kind.

        Raises UnknownKind, UnknownField.
        """
        name = kind if isinstance(kind, str) else kind.kind
        where = _columns(name, equals)
        rule = await self.rule()
        found: list[AnyRecord] = []
        after = ""
        while page := await self._loading.ids(name, after, _PAGE):
            found += await self._read(name, page, rule, where)
            if limit is not None and len(found) >= limit:
                return found[:limit]
            after = page[-1]
        if not found and not after and model_of(name) is None:
            raise UnknownKind(f"no kind is named {name!r}; the kinds are {', '.join(sorted(kinds()))}")
        return found

    async def _read(
        self, kind: str, records: Sequence[RecordId], rule: Rule, where: Mapping[str, Any] | None = None
    ) -> list[AnyRecord]:
        if len(records) == 1:
            told = [(records[0], await self._loading.told(kind, records[0]))]
        else:
            told = await self._loading.told_of(kind, records)

        def read_all() -> list[AnyRecord]:
            found = []
            for record, each in told:
                content, why = content_at(record, each, self.ms, rule)
                if content is not None and _has(kind, record, content, where):
                    found.append(_as_it_was(kind, record, content, why))
            return found

        return await anyio.to_thread.run_sync(read_all)


def _as_it_was(kind: str, record: RecordId, content: Content, why: str) -> AnyRecord:
    found = read(kind, record, content)
    if why:
        (found._reading if isinstance(found, Record) else found).damaged = why
    return found


def _columns(kind: str, equals: Mapping[str, Any]) -> dict[str, Any]:
    model = model_of(kind)
    if model is None and equals:
        raise UsageError(f"{kind} is a kind of a later version; it can be listed here, not searched by its fields")
    return {} if model is None else {name: column_value(model, name, value) for name, value in equals.items()}


def _has(kind: str, record: RecordId, content: Content, where: Mapping[str, Any] | None) -> bool:
    if not where:
        return True
    row = project(kind, record, content).row or {}
    return all(row.get(name) == value for name, value in where.items())


def milliseconds(time: datetime | str) -> int:
    """A time with a zone, or its ISO 8601 text, in milliseconds since 1970. Raises UsageError."""
    if isinstance(time, str):
        try:
            time = datetime.fromisoformat(time)
        except ValueError:
            raise UsageError("a time is written like 2026-11-23T08:30:00+01:00") from None
    if time.tzinfo is None:
        raise UsageError("a time needs a zone, as in 2026-11-23T08:30:00+01:00 or datetime.now(UTC)")
    return (time - _EPOCH) // timedelta(milliseconds=1)
