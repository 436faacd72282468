"""What the brake holds, as people deal with it: listed, looked at, confirmed by a second person, or dropped."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractAsyncContextManager
from datetime import UTC, datetime
from typing import Any, Final, Protocol

import anyio
import anyio.lowlevel

from crdtsync import limits, undo
from crdtsync.brake import SETTING, Bounds, Brake, Proposal, failed
from crdtsync.clock import COUNTER_BITS
from crdtsync.documents import Document, fields_json, read
from crdtsync.driver import Driver, Notice
from crdtsync.engine import RecordEdits, WriteOutcome, WriteRequest
from crdtsync.errors import BadValue, DamagedFile, NotFound, RefusedError, StorageFailure
from crdtsync.host import Host
from crdtsync.ids import CommitId
from crdtsync.transaction import Transaction

Progress = Callable[[int, int | None], None]
_TRYING_CLIENT: Final = 1
_TRYING_TAG: Final = "~"
"""What is tried on a document that is thrown away needs no log."""


class Writes(Protocol):
    """A site, as far as setting something takes one."""

    driver: Driver

    def transaction(self, *, author: str, reason: str) -> AbstractAsyncContextManager[Transaction]: ...


def brake_of(host: Host) -> Brake:
    """The brake of an open site: every folder has one."""
    if host.brake is None:
        raise RefusedError("this replica has no brake, so it holds no proposals")
    return host.brake


async def listed(driver: Driver) -> list[dict[str, Any]]:
    """What waits for a second person, oldest first."""
    found = await driver.thread.run(lambda host: brake_of(host).proposals())
    return [shown(proposal) for proposal in found]


async def waiting(driver: Driver) -> dict[str, list[dict[str, Any]]]:
    """What waits for people at this site, for `status`, which answers also when the disk refuses: proposals, and
    reverts that were begun and not ended."""
    found: dict[str, list[dict[str, Any]]] = {"proposals": [], "reverts": []}
    try:
        found["proposals"] = await listed(driver)
        found["reverts"] = [each for each in await undo.listed(driver) if each["begun_at"]]
    except DamagedFile as error:
        notice = Notice("kept", str(error))
        if notice not in driver.alarms:
            driver.alarms.append(notice)
    except StorageFailure:
        pass  # `failure` says so
    return found


def shown(proposal: Proposal) -> dict[str, Any]:
    """A proposal for people and scripts; nothing of what its records say."""
    at = datetime.fromtimestamp(proposal.at_ms / 1000, UTC)
    return {
        "id": proposal.id,
        "author": proposal.author,
        "reason": proposal.reason,
        "workstation": proposal.workstation,
        "at": at.isoformat(timespec="milliseconds"),
        "why": proposal.why,
        "records": proposal.records,
        "retractions": proposal.retractions,
        "kinds": dict(sorted(proposal.kinds.items())),
        "confirmed_by": proposal.approved_by or None,
    }


async def details(driver: Driver, name: str) -> dict[str, Any]:
    """A proposal with `changes`, per record and field what it says now and what it would be set to (the first
    `limits.proposal_changes_shown_max` of them). Raises NotFound."""

    def look(host: Host) -> dict[str, Any]:
        proposal, requests = brake_of(host).proposal(name)
        changes: list[dict[str, Any]] = []
        for edits in (each for request in requests for each in request.records):
            if len(changes) >= limits.proposal_changes_shown_max:
                break
            changes += _changes(host, edits)
        return {**shown(proposal), "changes": changes[: limits.proposal_changes_shown_max]}

    return await driver.in_order(look)


def _changes(host: Host, edits: RecordEdits) -> list[dict[str, Any]]:
    """What edits make of a record as it is now: tried in memory, on a document that is thrown away."""
    stored = host.store.document(edits.kind, edits.record)
    document = Document(_TRYING_CLIENT, b"" if stored is None else stored.state)
    before = document.content()
    document.write(tag=_TRYING_TAG, sequence=0, stamp=host.now_ms() << COUNTER_BITS, edits=edits.edits)
    one, other = (fields_json(read(edits.kind, edits.record, each)) for each in (before, document.content()))
    names = [name for name in {**one, **other} if one.get(name) != other.get(name)]
    return [
        {"record": edits.record, "kind": edits.kind, "field": n, "before": one.get(n), "after": other.get(n)}
        for n in sorted(names)
    ]


async def approve(driver: Driver, name: str, author: str, progress: Progress | None = None) -> dict[str, Any]:
    """Write what a proposal holds, since a second person says so: `{"id", "commits", "records"}`.

    Its transactions are durable one by one and each exactly once: cancelled, or after a crash, confirming again ends
    what was begun. Raises NotFound; RefusedError for its own author.
    """
    requests = await driver.in_order(lambda host: brake_of(host).confirm(name, author))
    outcomes = await write_all(driver, requests, progress)
    done = await driver.in_order(lambda host: brake_of(host).settle(name))
    error = failed(outcomes)
    if error is not None:
        raise error
    if not done:
        raise RefusedError(f"proposal {name} is being written by somebody else at this moment; look at it again then")
    return {"id": name, "commits": commits_of(outcomes), "records": sum(len(each.records) for each in requests)}


async def write_all(
    driver: Driver, requests: list[WriteRequest], progress: Progress | None = None
) -> list[WriteOutcome]:
    """Write transactions in their order, as many at once as share a sync. Cancelling stops between those."""
    outcomes: list[WriteOutcome] = []
    step = limits.group_commits_max
    for start in range(0, len(requests), step):
        await anyio.lowlevel.checkpoint_if_cancelled()
        group = requests[start : start + step]
        found: dict[int, WriteOutcome] = {}

        async def write(number: int, request: WriteRequest, found: dict[int, WriteOutcome] = found) -> None:
            found[number] = await driver.write(request)

        async with anyio.create_task_group() as tasks:
            for number, request in enumerate(group):
                tasks.start_soon(write, number, request)
        outcomes += [found[number] for number in range(len(group))]
        if progress is not None:
            progress(start + len(group), len(requests))
    return outcomes


def commits_of(outcomes: list[WriteOutcome]) -> list[CommitId]:
    """The commits that transactions became: of each, the one that names the whole."""
    return [outcome.commit.id for outcome in outcomes if outcome.commit is not None]


async def reject(driver: Driver, name: str) -> dict[str, Any]:
    """Drop a proposal: nothing of it is written. Raises NotFound; RefusedError once it was confirmed."""
    return shown(await driver.in_order(lambda host: brake_of(host).reject(name)))


# --- the practice's setting -----------------------------------------------------------------------------------------


def bounds_value(bounds: Bounds, changed: Mapping[str, int | None]) -> dict[str, int]:
    """The value of the setting with some numbers changed. Raises BadValue for a number below 1."""
    value = {"retractions": bounds.retractions, "seconds": bounds.seconds, "records": bounds.records}
    for name, number in changed.items():
        if number is not None:
            if number < 1:
                raise BadValue(f"the brake's {name} is a number from 1 on; a very large one lets everything pass")
            value[name] = number
    return value


async def bounds_of(driver: Driver) -> Bounds:
    """What passes the brake now, in the whole practice."""
    return await driver.in_order(lambda host: brake_of(host).bounds())


async def set_bounds(site: Writes, author: str, reason: str, changed: Mapping[str, int | None]) -> None:
    """Set numbers of the brake for the whole practice."""
    from crdtsync.practice import Setting  # not before somebody asks: it declares kinds

    value = bounds_value(await bounds_of(site.driver), changed)
    async with site.transaction(author=author, reason=reason) as tx:
        try:
            setting = await tx.get(Setting, SETTING)
        except NotFound:
            setting = Setting(key="brake", scope="practice")
            setting.id = SETTING
            tx.add(setting)
        setting.value = value
