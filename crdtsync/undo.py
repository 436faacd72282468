"""Reverting: what a commit, or a person or a site between two times, did is taken back, by new commits.

    preview    which records, each field before and after, and every later edit in the same places; kept as a plan
    confirm    carries out exactly that plan, a few records at a time, each record whole; refused when somebody changed
               one of these fields since the preview

Later edits are never overwritten: what was written over a change stays, what was written beside it stays beside what is
put back, as a conflict. A revert is a change like any other: it syncs, and it can be reverted.
"""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from functools import partial
from typing import Any, Final

import anyio.lowlevel

from crdtsync import limits
from crdtsync.chosen import Choice
from crdtsync.clock import wall_ms
from crdtsync.documents import Turn, changes, undone
from crdtsync.driver import Driver
from crdtsync.engine import RecordEdits, WriteRequest
from crdtsync.engine.deeds import Deed, Deeds
from crdtsync.engine.past import APPLIED, HELD, Order, Step
from crdtsync.errors import NotFound, RefusedError
from crdtsync.history.told import time_text
from crdtsync.host import Host
from crdtsync.ids import CommitId, RecordId, ReplicaId, base32, commit_from_text, commit_text, log_tag, replica_of
from crdtsync.plans import Plan, Planned, Plans, said

Progress = Callable[[int, int | None], None]
Place = tuple[str, RecordId]
Target = tuple[Place, frozenset[CommitId] | None]
"""A record, and the commits to be taken back; None: those of the time that is asked for."""
_ID_BYTES: Final = 10
_STAYING: Final = {"number_range": "numbers that were given stay given: nobody else must ever get them"}
"""Kinds that no revert touches, and why."""


@dataclass(slots=True)
class _Draft:
    """A plan in the making."""

    planned: list[Planned] = field(default_factory=list)
    changes: list[dict[str, Any]] = field(default_factory=list)
    later: list[dict[str, Any]] = field(default_factory=list)
    left_out: list[dict[str, Any]] = field(default_factory=list)


def plans_of(host: Host) -> Plans:
    """The plans of an open site."""
    if host.kept is None:
        raise RefusedError("this replica keeps nothing for itself, so it plans no reverts")
    return Plans(host.kept)


# --- the preview ------------------------------------------------------------------------------------------------------


async def preview(driver: Driver, chosen: Choice, progress: Progress | None = None) -> dict[str, Any]:
    """Plan a revert, and tell what it would do; nothing is written but the plan.

    `id` (None: there is nothing to revert), `what`, `records`, `changes` (record, kind, field, before, after), `later`
    (record, kind, field, entry, how, commit, author, site, at, value: see `documents.undo.Later`) and `left_out`
    (record, kind, why: what is not known here). Raises NotFound, UsageError.
    """
    places = await _places(driver, chosen)
    draft = _Draft()
    step = limits.revert_records_step
    for at in range(0, len(places), step):
        await anyio.lowlevel.checkpoint_if_cancelled()
        some = places[at : at + step]
        await driver.in_order(partial(_draft, chosen=chosen, places=some, draft=draft))
        if progress is not None:
            progress(min(at + step, len(places)), len(places))
    name = base32(secrets.token_bytes(_ID_BYTES)) if draft.planned else None
    if name is not None:
        await driver.in_order(lambda host: plans_of(host).add(Plan(name, chosen.words(), host.now_ms()), draft.planned))
    return {
        "id": name,
        "what": chosen.words(),
        "records": len(draft.planned),
        "changes": draft.changes,
        "later": [_named(driver, each) for each in draft.later],
        "left_out": draft.left_out,
    }


async def _places(driver: Driver, chosen: Choice) -> list[Target]:
    """The records that are touched, in the order of the commits: what was changed together is read together."""
    if chosen.record is not None:
        record = RecordId(chosen.record)
        found = await driver.in_order(lambda host: host.store.documents_of(record))
        if not found:
            raise NotFound(f"there is no record with the id {record} here")
        return [((each.kind, record), None) for each in found]
    touched: dict[Place, set[CommitId]] = {}
    async for commit, records in _deeds(driver, chosen):
        for place in records:
            touched.setdefault(place, set()).add(commit)
    return [(place, frozenset(commits)) for place, commits in touched.items()]


async def _deeds(driver: Driver, chosen: Choice) -> AsyncIterator[tuple[CommitId, Sequence[Place]]]:
    """Commits that are to be taken back, each with its records."""
    for commit in chosen.commits:
        found = await driver.in_order(partial(_transaction, commit=commit))
        if not found:
            raise NotFound(f"there is no commit {commit_text(commit)} here, or not whole")
        for deed in found:
            yield deed.commit, deed.records
    if chosen.commits:
        return
    sites: list[ReplicaId | None] = [None] if chosen.at_site is None else [*_replicas(driver, chosen.at_site)]
    for site in sites:
        after = None
        while True:
            some = await driver.in_order(partial(_by, chosen=chosen, site=site, after=after))
            for deed in some.found:
                yield deed.commit, deed.records
            after = some.next
            if after is None:
                break


def _transaction(host: Host, commit: CommitId) -> list[Deed]:
    return host.engine.transaction_of(commit)


def _by(host: Host, chosen: Choice, site: ReplicaId | None, after: Order | None) -> Deeds:
    return host.engine.commits_by(
        author=chosen.by, site=site, since_ms=chosen.since_ms, until_ms=chosen.until_ms, after=after
    )


def _replicas(driver: Driver, name: str) -> list[ReplicaId]:
    """All that are or were called so. Raises NotFound."""
    members = driver.replica.membership.state().members.values()
    found = [member.replica for member in members if member.name == name]
    if not found:
        raise NotFound(f"the practice has no site named {name}; `members` lists them")
    return found


def _draft(
    host: Host, chosen: Choice, places: Sequence[tuple[Place, frozenset[CommitId] | None]], draft: _Draft
) -> None:
    """Add some records to a plan, as they are now."""
    pasts = host.engine.pasts([place for place, _ in places])
    for ((kind, record), commits), steps in zip(places, pasts, strict=True):
        state = host.engine.record(kind, record)
        mine = [step for step in steps if _is_chosen(step, chosen, commits)]
        if kind in _STAYING:
            draft.left_out.append({"record": record, "kind": kind, "why": _STAYING[kind]})
            continue
        unknown = next((step for step in mine if step.state not in (APPLIED, HELD)), None)
        if unknown is not None or state is None:
            why = "nothing of it is here" if unknown is None else unknown.why
            draft.left_out.append({"record": record, "kind": kind, "why": why})
            continue
        found = undone(kind, list(_turns(mine)), state.content)
        edits = RecordEdits(kind, record, state.subject, found.edits)
        refusal = host.frozen.refusal(edits)
        if refusal:
            draft.left_out.append({"record": record, "kind": kind, "why": refusal})
            continue
        draft.later += [{"record": record, "kind": kind, **asdict(each)} for each in found.later]
        if found.edits:
            draft.planned.append(Planned(edits, said(state.content, found.edits)))
            fields = {edit.field for edit in found.edits}
            told = changes(kind, record, state.content, found.content, fields)
            draft.changes += [{"record": record, "kind": kind, **each} for each in told]
    _add_accounts(host, draft.later)


def _is_chosen(step: Step, chosen: Choice, commits: frozenset[CommitId] | None) -> bool:
    if commits is not None:
        return step.commit in commits
    at = wall_ms(step.told.stamp)
    return chosen.since_ms <= at and (chosen.until_ms is None or at < chosen.until_ms)


def _turns(steps: Sequence[Step]) -> Iterator[Turn]:
    for step in steps:
        if step.before is not None and step.after is not None:
            yield Turn(step.before, step.after)


def _add_accounts(host: Host, later: Sequence[dict[str, Any]]) -> None:
    """Who wrote the later edits, where and when."""
    waiting = [each for each in later if "author" not in each]
    logs = {log_tag(log): log for log in host.engine.frontier()} if waiting else {}
    for each in waiting:
        tag, _, sequence = each["commit"].rpartition(".")
        commit = CommitId(logs[tag], int(sequence)) if tag in logs else None
        account = None if commit is None else host.engine.accounts([commit]).get(commit)
        each["commit"] = None if commit is None else commit_text(commit)
        each["author"] = None if account is None else account.author
        each["at"] = None if account is None else time_text(wall_ms(account.stamp))


def _named(driver: Driver, later: dict[str, Any]) -> dict[str, Any]:
    commit = later["commit"]
    site = None if commit is None else driver.replica.describe(replica_of(commit_from_text(commit).log))
    return {**later, "site": site}


# --- carrying it out --------------------------------------------------------------------------------------------------


async def confirm(
    driver: Driver, name: str, *, author: str, reason: str, progress: Progress | None = None
) -> dict[str, Any]:
    """Carry out a plan: `{"id", "what", "records", "commits"}` once all of it is durable.

    Nothing is begun when a field of it changed since the preview (RefusedError). Cancelled, or after a crash, the
    records that were done are done, and calling it again goes on with the others. Raises NotFound.
    """
    plan = await driver.in_order(lambda host: plans_of(host).get(name))
    if not plan.begun:
        await _check(driver, plan)
        reason = reason or f"revert of {plan.what}"[: limits.reason_characters_max]
        plan = await driver.in_order(lambda host: plans_of(host).begin(name, author, reason, host.now_ms()))
    for number in range(plan.rows):
        await anyio.lowlevel.checkpoint_if_cancelled()  # what the driver was given is done, whoever cancels
        request = await driver.in_order(partial(_request, plan=plan, number=number))
        if request is not None:
            outcome = await driver.write(request)
            if outcome.error is not None:
                raise outcome.error
        if progress is not None:
            progress(min((number + 1) * limits.revert_records_step, plan.records), plan.records)
    commits = await _commits_of(driver, plan)
    await driver.in_order(lambda host: plans_of(host).forget(name))
    return {"id": name, "what": plan.what, "records": plan.records, "commits": commits}


def _request(host: Host, plan: Plan, number: int) -> WriteRequest | None:
    return plans_of(host).request(plan, number)


async def _check(driver: Driver, plan: Plan) -> None:
    """Refuse a plan that would not do any more what its preview showed."""
    changed: list[Place] = []
    for number in range(plan.rows):
        changed += await driver.in_order(partial(_changed, plan=plan, number=number))
    if changed:
        kind, record = changed[0]
        others = f" and {len(changed) - 1} more" if len(changed) > 1 else ""
        raise RefusedError(
            f"{kind} {record}{others} changed since this preview was made, and nothing was reverted: make a new "
            "preview, and look at it"
        )


def _changed(host: Host, plan: Plan, number: int) -> list[Place]:
    found = []
    for planned in plans_of(host).piece(plan, number):
        state = host.engine.record(planned.edits.kind, planned.edits.record)
        if said(None if state is None else state.content, planned.edits.edits) != planned.said:
            found.append((planned.edits.kind, planned.edits.record))
    return found


async def _commits_of(driver: Driver, plan: Plan) -> list[CommitId]:
    """The commits that a plan became, found by their purpose: also those of an earlier process."""
    found: list[CommitId] = []
    after = None
    while True:
        some = await driver.in_order(partial(_written, plan=plan, after=after))
        found += [deed.commit for deed in some.found if deed.account.purpose == plan.purpose]
        after = some.next
        if after is None:
            return found


def _written(host: Host, plan: Plan, after: Order | None) -> Deeds:
    return host.engine.commits_by(author=plan.author, site=host.replica, since_ms=plan.begun_ms, after=after)


async def at_once(
    driver: Driver, chosen: Choice, *, author: str, reason: str, progress: Progress | None = None
) -> dict[str, Any]:
    """Revert without a preview that somebody looked at. Raises RefusedError where it is a mass change: then the preview
    is there, and is to be looked at and confirmed."""
    made = await preview(driver, chosen, progress)
    name = made["id"]
    if name is None:
        return {"id": None, "what": made["what"], "records": 0, "commits": [], "left_out": made["left_out"]}
    if await driver.in_order(lambda host: _is_mass(host, name)):
        raise RefusedError(
            f"this would change {made['records']} records: look at it first (--preview), then run exactly that with "
            f"--confirm; what was worked out just now waits as {name}"
        )
    done = await confirm(driver, name, author=author, reason=reason, progress=progress)
    return {**done, "left_out": made["left_out"]}


def _is_mass(host: Host, name: str) -> bool:
    plans = plans_of(host)
    plan = plans.get(name)
    edits = [planned.edits for number in range(plan.rows) for planned in plans.piece(plan, number)]
    return host.brake is not None and host.brake.exceeded(edits)


# --- what waits -------------------------------------------------------------------------------------------------------


async def listed(driver: Driver) -> list[dict[str, Any]]:
    """Plans that are kept: id, what, records, kinds, made_at; those that were begun have begun_at, author, and say in
    `done` how many records are reverted."""

    def read(host: Host) -> list[dict[str, Any]]:
        plans = plans_of(host)
        return [_shown(plan, plans.left(plan)) for plan in plans.all()]

    return await driver.thread.run(read)


def _shown(plan: Plan, left: int) -> dict[str, Any]:
    done = max(0, plan.records - left * limits.revert_records_step) if left else plan.records
    return {
        "id": plan.id,
        "what": plan.what,
        "records": plan.records,
        "kinds": dict(sorted(plan.kinds.items())),
        "made_at": time_text(plan.made_ms),
        "begun_at": time_text(plan.begun_ms) if plan.begun else None,
        "author": plan.author or None,
        "done": done if plan.begun else 0,
    }


async def forget(driver: Driver, name: str) -> dict[str, Any]:
    """Drop a plan, or what is left of one that was begun: what is reverted stays so. Raises NotFound."""

    def drop(host: Host) -> dict[str, Any]:
        plans = plans_of(host)
        plan = plans.get(name)
        told = _shown(plan, plans.left(plan))
        plans.forget(name)
        return told

    return await driver.in_order(drop)
