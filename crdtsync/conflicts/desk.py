"""`site.conflicts`: what a practice program needs to show conflicts and to have them decided.

    for conflict in await site.conflicts(severity="high"):
        ...
    await site.conflicts.acknowledge(conflict_id, author="dr.weber")
    await site.conflicts.resolve(conflict_id, keep=1, author="dr.weber", reason="asked the patient")

What people do is written like any record, so it is durable when the call returns, and seen at every site.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import AbstractAsyncContextManager
from datetime import UTC, datetime
from typing import Any, Protocol

from crdtsync import limits
from crdtsync.conflicts.deciding import UNSET, as_decided, brought_back, decide, decision, refuse_between, standing
from crdtsync.conflicts.values import Conflict, Stated, in_full, look, look_at_all, resolved_ones
from crdtsync.conflicts.watching import ConflictChange, Seen
from crdtsync.documents import Record, model_of
from crdtsync.driver import Driver
from crdtsync.engine import Account, RecordEdits, WriteRequest
from crdtsync.errors import BadValue, NotFound, RefusedError, StorageFailure, UsageError
from crdtsync.host import Host
from crdtsync.ids import CommitId, RecordId, commit_text, is_record_id, log_tag, replica_of
from crdtsync.practice import DetectedIssue, Remark, Resolution
from crdtsync.query import Questions
from crdtsync.storage.reader import Reader
from crdtsync.transaction import Transaction


class Begin(Protocol):
    """Begins a transaction of the site."""

    def __call__(self, *, author: str, reason: str) -> AbstractAsyncContextManager[Transaction]:
        """A block that becomes one commit."""


class Conflicts:
    """The conflicts of one open site. Calling it lists them."""

    def __init__(
        self, driver: Driver, questions: Questions, derived: Callable[[], Awaitable[bool]], begin: Begin
    ) -> None:
        self._driver = driver
        self._questions = questions
        self._derived = derived
        self._begin = begin

    # -- looking -----------------------------------------------------------------------------------------------------

    async def __call__(
        self,
        *,
        kind: str | None = None,
        severity: str | None = None,
        record: str | None = None,
        assignee: str | None = None,
        state: str | None = None,
    ) -> list[dict[str, Any]]:
        """What people have to decide, oldest first: id, kind, severity, records, field, values, detected_at; and
        written, state, assignee.

        Without `state` all but those that were dismissed; else those in this one: `open` (nobody has acknowledged it),
        `acknowledged`, `dismissed`, or `resolved` (decided, and there no more). Raises UsageError for another word.
        """
        if state not in (None, "open", "acknowledged", "dismissed", "resolved"):
            raise UsageError("the state of a conflict is open, acknowledged, dismissed or resolved")
        await self._derived()
        found = await self._questions.ask(resolved_ones if state == "resolved" else look_at_all)

        def wanted(each: dict[str, Any]) -> bool:
            pairs = ((kind, each["kind"]), (severity, each["severity"]), (assignee, each["assignee"]))
            fits = all(asked in (None, there) for asked, there in pairs) and record in (None, *each["records"])
            return fits and (each["state"] != "dismissed" if state is None else each["state"] == state)

        return [summary for each in found if wanted(summary := each.summary())]

    async def get(self, conflict: str) -> Conflict:
        """One conflict with who wrote each value, when and where, and with all that was said about it; also one that
        was resolved. Raises NotFound."""
        stated = await self._look(conflict)
        records = [RecordId(record) for record in stated.body["records"]]
        kinds = await self._questions.ask(lambda reader: [_kind_of(reader, stated, record) for record in records])
        return in_full(stated, kinds, await self._accounts(value["commit"] for value in stated.body["values"]))

    async def _look(self, conflict: str) -> Stated:
        await self._derived()
        return await self._questions.ask(lambda reader: look(reader, conflict))

    async def _accounts(self, commits: Iterable[str]) -> dict[str, tuple[str, str, Account]]:
        """Per commit, as documents name it: its full name, its site, what it says. Empty where the disk refuses."""
        named = list(commits)

        def ask(host: Host) -> dict[str, tuple[CommitId, Account]]:
            logs = {log_tag(log): log for log in host.engine.frontier()}
            split = {name: name.rpartition(".") for name in named}
            ids = {name: CommitId(logs[tag], int(n)) for name, (tag, _, n) in split.items() if tag in logs}
            accounts = host.engine.accounts(list(ids.values()))
            return {name: (commit, accounts[commit]) for name, commit in ids.items() if commit in accounts}

        try:
            found = await self._driver.thread.run(ask)
        except StorageFailure:
            return {}
        describe = self._driver.replica.describe
        return {
            name: (commit_text(commit), describe(replica_of(commit.log)), account)
            for name, (commit, account) in found.items()
        }

    async def watch(self) -> AsyncIterator[ConflictChange]:
        """Conflicts as they come and go: first those that are there, as `opened`, then live, without end.

        Whoever takes his time misses only what came and went in between. What is kept in mind is bounded: beyond it a
        change `lost` says that the list must be read anew (L7). The site never waits for a watcher.
        """
        seen, counted = Seen(), -1
        while True:
            notified = self._driver.changed.count
            await self._derived()
            now = await self._questions.ask(Reader.conflict_changes)
            if now != counted:
                counted = now
                for change in seen.changes(await self._questions.ask(look_at_all)):
                    yield change
            else:
                self._driver.check()
                await self._driver.changed.beyond(notified)

    # -- what people say ---------------------------------------------------------------------------------------------

    async def assign(self, conflict: str, assignee: str | None, *, author: str = "", reason: str = "") -> None:
        """Say who looks after a conflict; None: nobody. Raises NotFound."""
        _check(assignee or "", limits.name_characters_max)

        def edit(issue: DetectedIssue) -> None:
            issue.assignee = assignee

        await self._say(conflict, edit, author, reason)

    async def comment(self, conflict: str, text: str, *, author: str) -> None:
        """Add a remark. Raises NotFound, UsageError without a text or an author."""
        if not text:
            raise UsageError("a comment has a text")
        remark = _remark(author, text)
        await self._say(conflict, lambda issue: issue.comments.add(remark), author, "")

    async def acknowledge(self, conflict: str, *, author: str, reason: str = "") -> None:
        """Say that somebody has seen a conflict and answers for acting on the record all the same: from now on the
        field may be read for prescribing, at every site that knows. It stays open. Raises NotFound, UsageError without
        an author."""
        remark = _remark(author, reason)
        await self._say(conflict, lambda issue: issue.acknowledged.add(remark), author, reason)

    async def dismiss(self, conflict: str, reason: str, *, author: str) -> None:
        """Say that a conflict between records is none: two twins, two short visits in one slot.

        It is not listed any more, until what is at odds changes or somebody takes it up again. Raises NotFound,
        UsageError without a reason or an author, and for values within one record: one of those must be chosen.
        """
        if not reason:
            raise UsageError("say why it is no conflict")
        remark, stated = _remark(author, reason), await self._look(conflict)
        if stated.kind == "field":
            raise UsageError("values of one field cannot all hold: resolve this conflict by saying which one does")

        def edit(issue: DetectedIssue) -> None:
            issue.dismissed = remark

        await self._say(conflict, edit, author, reason)

    async def _say(self, conflict: str, edit: Callable[[DetectedIssue], None], author: str, reason: str) -> None:
        stated = await self._look(conflict)
        async with self._begin(author=author, reason=reason) as tx:
            edit(await self._issue(tx, stated))

    async def _issue(self, tx: Transaction, stated: Stated) -> DetectedIssue:
        """The record about a conflict, made where there is none yet: every site makes the same."""
        if stated.issue is not None:
            return await tx.get(DetectedIssue, stated.id)
        body = stated.body
        records = [RecordId(record) for record in body["records"]]
        issue = DetectedIssue(
            patient=await self._questions.ask(lambda reader: _patient_of(reader, stated, records)),
            code=stated.kind,
            severity=body["severity"],
            field=body["field"],
            implicated=records,
        )
        issue.id = RecordId(stated.id)
        return tx.add(issue)

    # -- deciding ----------------------------------------------------------------------------------------------------

    async def resolve(
        self, conflict: str, *, keep: int | None = None, value: Any = UNSET, author: str = "", reason: str = ""
    ) -> CommitId | None:
        """Decide between values of one record: `keep` one of `values`, counted from 0, or say the `value` that holds
        (None clears; an object of fields where two belong together). One commit, that closes it at every site.

        Who decided otherwise elsewhere, unseen, makes a new conflict with this decision. Raises NotFound, RefusedError
        when the conflict is another one by now, BadValue for a value that the field refuses, and UsageError for a
        conflict between records, with what to do instead.
        """
        stated = await self._look(conflict)
        if stated.conflict is None:
            raise NotFound(f"conflict {conflict} is resolved already")
        if stated.kind != "field" or stated.within is None:
            raise refuse_between(stated.kind)
        async with self._begin(author=author, reason=reason) as tx:
            record = await tx.get(stated.within, stated.conflict.record)
            if not isinstance(record, Record):
                raise RefusedError("this record is of a later version of the program; update first")
            found = standing(record, conflict)
            decided = decision(found, record, keep, value)
            decide(record, found, decided)
            issue = await self._issue(tx, stated)
            issue.resolved = Resolution(
                author=author,
                at=datetime.now(UTC),
                text=reason,
                values=found.values,
                decided=as_decided(record, found, decided),
            )
        return tx.commit

    async def reopen(self, conflict: str, *, author: str = "", reason: str = "") -> str:
        """Take up again what was dismissed, or bring the values back that stood against each other before somebody
        decided; the id of the conflict that is open now.

        Raises NotFound, UsageError for one that is open, RefusedError when the field has changed since the decision.
        """
        stated = await self._look(conflict)
        if stated.state == "dismissed":

            def edit(issue: DetectedIssue) -> None:
                issue.dismissed = None

            await self._say(conflict, edit, author, reason)
            return conflict
        if stated.conflict is not None or stated.issue is None or stated.issue.resolved is None:
            raise UsageError(f"conflict {conflict} is open")
        return await self._bring_back(stated.issue, stated.issue.resolved, author, reason)

    async def _bring_back(self, issue: DetectedIssue, resolved: Resolution, author: str, reason: str) -> str:
        place = next(iter(issue.implicated), None)
        found = None if place is None else await self._questions.ask(lambda reader: reader.documents_of(place))
        kinds = [document.kind for document in found or () if (m := model_of(document.kind)) and _has(m, issue.field)]
        if place is None or not kinds or not isinstance(resolved.values, list):
            raise NotFound(f"the record of conflict {issue.id} is not here")
        record: Any = self._questions.record(kinds[0], place)
        field = issue.field or ""
        for edits in brought_back(record, field, resolved.values, resolved.decided):
            change = RecordEdits(record.kind, record.id, "", edits)
            outcome = await self._driver.write(WriteRequest(author, reason, "", "", [change]))
            if outcome.error is not None:
                raise outcome.error
        await self._derived()
        now: Any = self._questions.record(kinds[0], place)
        return str(next(each.id for each in now._reading.found if each.field == field))


def _has(model: type[Record], field: str | None) -> bool:
    return {name.partition("/")[0] for name in (field or "").split("+")} <= set(model.model_fields)


def _kind_of(reader: Reader, stated: Stated, record: RecordId) -> str:
    if stated.within is not None:
        return stated.within
    documents = reader.documents_of(record)
    return documents[0].kind if documents else ""


def _patient_of(reader: Reader, stated: Stated, records: list[RecordId]) -> RecordId | None:
    """The one patient whose records all of these are, as they were created: then the issue is sealed and erased with
    them. None when there is no one such."""
    subjects = set()
    for record in records:
        document = reader.document(_kind_of(reader, stated, record), record)
        model = None if document is None else model_of(document.kind)
        if document is None or model is None:
            return None
        field = model.plan().fields.get("patient")
        of_patient = document.kind == "patient" or (field is not None and field.rule.name == "once")
        subjects.add(document.subject if of_patient else None)
    subject = subjects.pop() if len(subjects) == 1 else None
    return RecordId(subject) if subject is not None and is_record_id(subject) else None


def _remark(author: str, text: str) -> Remark:
    if not author:
        raise UsageError("say who you are: author=…")
    _check(text, limits.reason_characters_max)
    return Remark(author=author, at=datetime.now(UTC), text=text)


def _check(text: str, characters_max: int) -> None:
    if len(text) > characters_max:
        raise BadValue(f"at most {characters_max} characters are allowed here")
