"""Bringing the records of bundles into a site."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any, Protocol

import anyio.to_thread

from crdtsync import limits
from crdtsync.documents import Record, fields_json
from crdtsync.interop.fhir.bundle import read_bundle
from crdtsync.interop.fhir.convert import Conversion, convert

Progress = Callable[[int, int], None]
"""Told how many records are done, of how many."""


class WritesRecords(Protocol):
    """A transaction, as far as an import needs it."""

    def add(self, record: Any, /) -> Any: ...


class TakesRecords(Protocol):
    """A site, as far as an import needs it."""

    def transaction(self, *, author: str, reason: str, mass: bool) -> AbstractAsyncContextManager[WritesRecords]: ...

    async def sql(self, query: str, params: Sequence[Any] = ...) -> list[dict[str, Any]]: ...

    async def record(self, record: Any, /) -> Any: ...


async def import_files(
    site: TakesRecords, paths: Iterable[str | Path], *, author: str, progress: Progress | None = None
) -> dict[str, Any]:
    """Import the bundles at `paths` and say what came of it.

    The answer: `created`, records that this import wrote; `unchanged`, those that were there before and that it left
    as they are (what people wrote since is never overwritten); `left_out`, by resource type, what has no record;
    and, only where there are some, `differing`: how many of the unchanged hold other values here than in the file.

    All files are read and converted before the first is written, so a bad one (UsageError) changes nothing. Records
    are written in transactions of up to `limits.import_batch_records_max`; a crash or a cancellation leaves whole
    transactions, and calling again goes on where it stopped, because a resource's record id follows from its source.
    """
    files = [Path(path) for path in paths]
    conversions = await anyio.to_thread.run_sync(_convert_all, files)
    run = _Run(site, author, sum(len(conversion.records) for _, conversion in conversions), progress)
    left_out: Counter[str] = Counter()
    for file, conversion in conversions:
        left_out.update(conversion.left_out)
        for batch in _batches(conversion.records):
            await run.write(batch, f"FHIR import of {file.name}"[: limits.reason_characters_max])
    result: dict[str, Any] = {
        "created": run.created,
        "unchanged": run.unchanged,
        "left_out": dict(sorted(left_out.items())),
    }
    return {**result, "differing": run.differing} if run.differing else result


class _Run:
    """The counts of one import, and its way of writing a batch."""

    def __init__(self, site: TakesRecords, author: str, total: int, progress: Progress | None) -> None:
        self.created = self.unchanged = self.differing = 0
        self._site = site
        self._author = author
        self._total = total
        self._progress = progress

    async def write(self, batch: list[Record], reason: str) -> None:
        """Add what is new of `batch` in one transaction; compare the rest."""
        present = await self._present(batch)
        new: dict[str, Record] = {}
        repeated: list[Record] = []
        for record in batch:
            if record.id in present or record.id in new:
                repeated.append(record)
            else:
                new[record.id] = record
        if new:
            async with self._site.transaction(author=self._author, reason=reason, mass=True) as transaction:
                for record in new.values():
                    transaction.add(record)
        self.created += len(new)
        for record in repeated:
            self.unchanged += 1
            self.differing += _said(record, record) != _said(record, await self._site.record(record.id))
        if self._progress is not None:
            self._progress(self.created + self.unchanged, self._total)

    async def _present(self, batch: list[Record]) -> set[str]:
        ids: dict[str, list[str]] = {}
        for record in batch:
            ids.setdefault(record.kind, []).append(record.id)
        present: set[str] = set()
        for kind, wanted in ids.items():
            marks = ", ".join("?" * len(wanted))
            rows = await self._site.sql(f'SELECT id FROM "{kind}" WHERE id IN ({marks})', wanted)
            present.update(row["id"] for row in rows)
        return present


def _said(kind: Record, record: Any) -> dict[str, Any]:
    """The fields of a record, to be compared; entries that are their values stand in no order."""
    fields = fields_json(record)
    for name, plan in kind.plan().fields.items():
        if plan.rule.by_value and name in fields:
            fields[name] = sorted(fields[name], key=repr)
    return fields


def _convert_all(files: list[Path]) -> list[tuple[Path, Conversion]]:
    return [(file, convert(read_bundle(file))) for file in files]


def _batches(records: list[Record]) -> Iterator[list[Record]]:
    size = limits.import_batch_records_max
    for start in range(0, len(records), size):
        yield records[start : start + size]
