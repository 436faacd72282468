"""`Site`: one location's server, and the one place where clock, disk, network and core meet.

async with Site.open("jena", passphrase="correct horse") as jena:
    async with jena.transaction(author="dr.weber") as tx:
        patient = tx.add(Patient(family_name="Muster"))
    async with jena.serve("192.168.1.10:7443"):
        ...
"""

from __future__ import annotations

import os
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any, TypeVar, overload

import anyio
import anyio.from_thread
import anyio.lowlevel
import anyio.to_thread

from crdtsync import copies, folder, founding, held, leaving, limits, members, numbering, proposals, undo
from crdtsync import series as invoicing
from crdtsync.backup import making, schedule
from crdtsync.backup.retention import Retention
from crdtsync.changes import Change, Cursor
from crdtsync.chosen import choice
from crdtsync.conflicts import Conflicts
from crdtsync.contact import contacts
from crdtsync.documents import Record
from crdtsync.driver import Driver
from crdtsync.errors import DamagedFile, RefusedError, RowsBehind, StorageFailure, UsageError
from crdtsync.history import History, Moment
from crdtsync.host import Host
from crdtsync.ids import CommitId, RecordId
from crdtsync.issuing import Words
from crdtsync.numbering import Numbering
from crdtsync.opened import Opened
from crdtsync.persons import Linking, Persons
from crdtsync.query import Questions
from crdtsync.replication.replica import Replica
from crdtsync.serve import Serving, serving
from crdtsync.status import describe
from crdtsync.storage.worker import StoreThread
from crdtsync.transaction import AnyRecord, Transaction

R = TypeVar("R", bound=Record)
T = TypeVar("T")
Progress = Callable[[int, int | None], None]


class Site(Opened):
    """A site that is open. Made by `create`, `open` and `join`; closed when their block ends.

    Closing waits for what is being written; a process that is killed instead loses nothing that was acknowledged (L1).
    """

    def __init__(self, unlocked: folder.Unlocked, driver: Driver, questions: Questions) -> None:
        super().__init__(unlocked, driver)
        self.recovery_sheet: str | None = None
        self._questions = questions
        self.persons = Persons(self, questions, self._whole)
        self._serving: Serving | None = None
        self.conflicts = Conflicts(driver, questions, self._derived, self.transaction)
        """What people have to decide: `await site.conflicts()` lists it."""
        self.ranges = Numbering(driver)
        """Who gives which patient numbers: `await site.ranges.set("Weimar", 20_000, 29_999)`."""

    # -- making and opening -----------------------------------------------------------------------------------------

    @classmethod
    @asynccontextmanager
    async def create(
        cls, path: str | os.PathLike[str], *, practice: str, name: str, passphrase: str
    ) -> AsyncIterator[Site]:
        """Found a practice whose first site lives in the new folder `path`.

        `recovery_sheet` of the site holds the text to print, this once: it opens the practice should all sites be
        lost. Raises RefusedError when the folder exists, BadValue for unusable names. Cancelling leaves no folder.
        """
        place = Path(path)
        sheet = await anyio.to_thread.run_sync(lambda: founding.found(place, practice, name, passphrase))
        async with cls._open_new(place, passphrase) as site:
            site.recovery_sheet = sheet
            yield site

    @classmethod
    @asynccontextmanager
    async def join(
        cls,
        path: str | os.PathLike[str],
        code: str,
        *,
        passphrase: str,
        on_digits: Callable[[str], None] | None = None,
        address: str | None = None,
    ) -> AsyncIterator[Site]:
        """Join the practice that `code` invites to, as a new site in the new folder `path`.

        `on_digits` gets the six digits to be confirmed at the inviting site, which must be serving; joining waits for
        that. `address` replaces the addresses in the code. Records come once the site serves. Raises InvitationRefused,
        Unreachable. Cancelling, or a crash before the end, leaves no folder.
        """
        place = Path(path)
        await founding.join(place, code, passphrase, on_digits or (lambda _: None), address)
        async with cls._open_new(place, passphrase) as site:
            yield site

    @classmethod
    @asynccontextmanager
    async def _open_new(cls, place: Path, passphrase: str) -> AsyncIterator[Site]:
        """Open a folder that was made a moment ago; if that does not succeed, there never was one."""
        async with AsyncExitStack() as stack:
            try:
                site = await stack.enter_async_context(cls.open(place, passphrase=passphrase))
            except BaseException:
                folder.discard(place)
                raise
            yield site

    @classmethod
    @asynccontextmanager
    async def open(cls, path: str | os.PathLike[str], *, passphrase: str) -> AsyncIterator[Site]:
        """Open the site in `path`. Works without any other site, and asks none.

        Raises NotFound (no such site), AlreadyOpen, WrongPassphrase, DamagedFile. The log decides what is true: a view
        that is behind, lost or damaged is derived again from it (L8).
        """
        unlocked = await folder.unlock(Path(path), passphrase)
        try:
            membership = await anyio.to_thread.run_sync(founding.stored_membership, unlocked)
            practice = membership.practice
            thread: StoreThread[Host] = await StoreThread.open(unlocked.host(membership, practice))
            try:
                async with Questions.open(unlocked) as questions:
                    frontier, log, watch = await thread.run(
                        lambda host: (host.store.frontier(), host.log, host.engine.watch)
                    )
                    boots, line, recovering = await thread.run(
                        lambda host: (host.engine.boots(), host.engine.line, host.recovering)
                    )
                    replica = Replica(
                        practice=practice,
                        replica=unlocked.identity.public.replica,
                        membership=membership,
                        verify=founding.verifier(),
                        frontier=frontier,
                        boots=boots,
                        log=log,
                        line=line,
                        recovering=recovering,
                    )
                    async with _running(Driver(replica, thread)) as driver:
                        site = cls(unlocked, driver, questions)
                        site.watch = watch
                        site.last_backup, site.restored = await thread.run(schedule.remembered)
                        site.invitations = await founding.invitations(site)
                        yield site
            finally:
                with anyio.CancelScope(shield=True):
                    await thread.aclose()
        finally:
            unlocked.lock.release()

    # -- who belongs -------------------------------------------------------------------------------------------------

    def members(self) -> list[dict[str, Any]]:
        """All who belong or belonged: name, replica, role, admin, state, addresses. The printed recovery sheet is not
        listed: it is nobody's machine."""
        state = self.driver.replica.membership.state()
        listed = [members.shown(member) for member in state.members.values() if member.role != "recovery"]
        return sorted(listed, key=lambda member: (member["name"], member["replica"]))

    async def held_by(self, name: str) -> list[dict[str, Any]]:
        """The patients that the workstation `name` was ever given, by name: id, name, number, since, and the replica id
        of the workstation. Name and number are None for one that is not here.

        Raises NotFound for a name that nobody has or had, RefusedError for one that is no workstation's.
        """
        await self._derived()
        return await held.held_by(self, self.driver.replica.membership.state(), name)

    # -- writing -----------------------------------------------------------------------------------------------------

    @asynccontextmanager
    async def transaction(
        self, *, author: str = "", reason: str = "", workstation: str = "", purpose: str = "", mass: bool = False
    ) -> AsyncIterator[Transaction]:
        """Write records: all edits of the block become one commit, durable and visible here when the block has ended.

        An exception in the block drops everything. Cancelling while the block ends does not stop the commit: whether
        it happened is then seen in `commit` of the transaction. Raises StorageFailure when the disk refuses, and Braked
        for a mass change: nothing of it is written, and it waits as a proposal for a second person (`proposals`).
        `mass` says that so many changes are meant, as by an import: the brake lets them pass.
        """
        await anyio.lowlevel.checkpoint_if_cancelled()  # what waits below is shielded: a loop of writes must end here
        tx = Transaction(self._load, author=author, reason=reason, workstation=workstation, purpose=purpose)
        yield tx
        request = tx.request()
        if request is None:
            return
        outcome = await self.driver.write(replace(request, mass=mass))
        if outcome.error is not None:
            raise outcome.error
        tx.commit = None if outcome.commit is None else outcome.commit.id

    # -- what the brake holds ----------------------------------------------------------------------------------------

    async def proposals(self) -> list[dict[str, Any]]:
        """Mass changes that wait at this site for a second person, oldest first: id, author, reason, workstation, at,
        why, records, retractions, kinds, confirmed_by."""
        return await proposals.listed(self.driver)

    async def proposal(self, name: str) -> dict[str, Any]:
        """One of them with its `changes`: record, kind, field, before, after. Raises NotFound."""
        return await proposals.details(self.driver, name)

    async def approve(self, name: str, *, author: str, progress: Progress | None = None) -> dict[str, Any]:
        """Write what a proposal holds: `author` confirms it, who must be another person than its own author.

        It applies to what its author had seen; what was changed since stays beside it, as a conflict. Gives `id`,
        `commits` and `records`. Cancelled, or after a crash, the same call ends what was begun, and writes nothing
        twice. Raises NotFound, RefusedError.
        """
        return await proposals.approve(self.driver, name, author, progress)

    async def reject(self, name: str) -> dict[str, Any]:
        """Drop a proposal; nothing of it is written. Raises NotFound, RefusedError once it was confirmed."""
        return await proposals.reject(self.driver, name)

    async def brake(
        self,
        *,
        retractions: int | None = None,
        seconds: int | None = None,
        records: int | None = None,
        author: str = "",
        reason: str = "",
    ) -> dict[str, int]:
        """What passes the brake in the whole practice: `retractions` of one person within `seconds`, and `records` that
        one transaction may overwrite. Numbers that are given are set. Raises BadValue for one below 1."""
        changed = {"retractions": retractions, "seconds": seconds, "records": records}
        if any(number is not None for number in changed.values()):
            await proposals.set_bounds(self, author, reason, changed)
        return proposals.bounds_value(await proposals.bounds_of(self.driver), {})

    # -- numbers of invoices -----------------------------------------------------------------------------------------

    async def add_series(
        self,
        name: str,
        pattern: str,
        *,
        holder: str | None = None,
        start: int = 1,
        stands_in_for: str | None = None,
        author: str = "",
        reason: str = "",
    ) -> dict[str, Any]:
        """Found a series of invoice numbers, like "R1" with the pattern "R1-{year}-{n:05}"; the site `holder` gives
        them, by default this one. The first number counts `start`. With `stands_in_for` it may be used in the place of
        another series while that one's holder is away.

        Raises BadValue for a pattern that will not do; RefusedError where this site is no admin, where there is such a
        series, and where another one could ever give the same numbers; NotFound for a site that is none.
        """
        return await invoicing.add(self.driver, name, pattern, holder, start, stands_in_for, Words(author, reason))

    async def series(self) -> list[dict[str, Any]]:
        """All series: name, pattern, who holds it (`holder`, `held_here`), its `term`, and all `terms` so far."""
        await self._derived()
        return await invoicing.listed(self.driver)

    async def issue(
        self,
        invoice: str,
        series: str | None = None,
        *,
        wait: float = limits.issue_wait_s,
        stand_in: bool = False,
        author: str = "",
        reason: str = "",
        workstation: str = "",
    ) -> dict[str, Any]:
        """Give an invoice its number: `{"number", "series", "term"}`. Asked again, it tells the same number.

        It is made ready, and its content freezes; the holder of the series gives the number. Waits at most `wait`
        seconds for a holder elsewhere: AuthorityUnreachable then, and the invoice stays ready and is issued on contact.
        Without a name the invoice's own series is taken, or the only one. `stand_in` takes the series that this site
        has for the time in which the holder is away. Raises NotFound, RefusedError. Cancelled, it is as after
        AuthorityUnreachable, or not begun.
        """
        words = Words(author, reason, workstation)
        return await invoicing.issue(self.driver, invoice, series, words, wait, stand_in=stand_in)

    async def cancel_invoice(
        self,
        invoice: str,
        series: str | None = None,
        *,
        wait: float = limits.issue_wait_s,
        author: str = "",
        reason: str = "",
    ) -> dict[str, Any]:
        """Cancel an issued invoice by another one with the same lines and amounts taken back: `{"invoice", "number",
        "series", "term"}` of that. The first becomes `cancelled` in the commit that gives this one its number.

        Asked again, it tells the same. Raises what `issue` raises; RefusedError for one without a number.
        """
        return await invoicing.cancel(self.driver, invoice, series, Words(author, reason), wait)

    async def hand_over(
        self, name: str, to: str, *, wait: float = limits.issue_wait_s, author: str = "", reason: str = ""
    ) -> dict[str, Any]:
        """Give a series to the site `to`, which counts on where its holder stopped.

        At another site than the holder it is a wish, which the holder carries out when it hears of it: waits at most
        `wait` seconds for that. Raises AuthorityUnreachable, NotFound, RefusedError.
        """
        return await invoicing.hand_over(self.driver, name, to, Words(author, reason), wait)

    async def take_over(self, name: str, to: str | None = None, *, reason: str, author: str = "") -> dict[str, Any]:
        """Take a series from a holder that is lost, for the site `to`, by default this one: it opens the next term.

        The count is never continued, since a holder that is only cut off may still be counting. Raises BadValue without
        a reason, RefusedError where this site is no admin, NotFound.
        """
        return await invoicing.take_over(self.driver, name, to, Words(author, reason))

    async def series_audit(self, name: str) -> list[dict[str, Any]]:
        """Every number of a series in order: number, term, year, n, invoice, issued_at, holder, cancelled_by, or the
        reason of its `gap`; `unseen` marks what an earlier holder gave before it heard that it had lost the series.

        `crdtsync.series.as_csv` writes it as CSV. Raises NotFound.
        """
        await self._derived()
        return await invoicing.audited(self.driver, name)

    # -- taking back -------------------------------------------------------------------------------------------------

    async def revert(
        self,
        *,
        commit: CommitId | str | Sequence[CommitId | str] | None = None,
        record: str | None = None,
        by: str | None = None,
        at_site: str | None = None,
        since: datetime | str | None = None,
        until: datetime | str | None = None,
        preview: bool = False,
        confirm: str | None = None,
        author: str = "",
        reason: str = "",
        progress: Progress | None = None,
    ) -> dict[str, Any]:
        """Take back, by new commits, what a commit did (or several), what became of a record since a time, or all that
        an author (`by`), a site (`at_site`) or both did between two times. Later edits stay.

        `preview` writes nothing: it tells each field before and after, every later edit in the same places, and an
        `id`. `confirm=id` carries out exactly that, unless one of these fields changed since: then RefusedError.
        Without either it is done at once, unless it is a mass change: then RefusedError. Each record is reverted whole;
        cancelled, or after a crash, `confirm` goes on where it was. See `crdtsync.undo` for what is given. Raises
        NotFound, UsageError.
        """
        await self._derived()
        if confirm is not None:
            if preview or any(each is not None for each in (commit, record, by, at_site, since, until)):
                raise UsageError("confirm carries out a preview as it is; name nothing beside it")
            return await undo.confirm(self.driver, confirm, author=author, reason=reason, progress=progress)
        chosen = choice(commit, record, by, at_site, since, until)
        if preview:
            return await undo.preview(self.driver, chosen, progress)
        return await undo.at_once(self.driver, chosen, author=author, reason=reason, progress=progress)

    async def reverts(self) -> list[dict[str, Any]]:
        """Previews that are kept, and reverts that were begun and not ended, with how far they came."""
        return await undo.listed(self.driver)

    async def forget_revert(self, name: str) -> dict[str, Any]:
        """Drop a preview, or the rest of a revert that was begun: what is reverted stays so. Raises NotFound."""
        return await undo.forget(self.driver, name)

    # -- reading -----------------------------------------------------------------------------------------------------

    async def _load(self, kind: type[Record] | str | None, record: RecordId) -> AnyRecord:
        await self._derived()
        return self._questions.record(kind, record)

    async def _derived(self) -> bool:
        """Reads first see what the log held when they were asked. False where a disk that refuses has ended deriving:
        they go on with what there is."""
        goal = self.driver.replica.arrived
        while self.driver.view_arrival < goal:
            if self.driver.failure is not None:
                return False
            if self.driver.stuck:
                raise DamagedFile(self.driver.stuck)
            await self.driver.changed.wait()
        return True

    @overload
    async def get(self, kind: type[R], record: str) -> R: ...

    @overload
    async def get(self, kind: str, record: str) -> AnyRecord: ...

    async def get(self, kind: type[Record] | str, record: str) -> AnyRecord:
        """One record. Fields in conflict show the value that a reader sees first; `conflicts` of the record has all.

        Raises NotFound, UnknownKind.
        """
        return await self._load(kind, RecordId(record))

    async def record(self, record: str) -> AnyRecord:
        """One record of whatever kind. Raises NotFound."""
        return await self._load(None, RecordId(record))

    @overload
    async def find(self, kind: type[R], *, limit: int | None = None, **equals: Any) -> list[R]: ...

    @overload
    async def find(self, kind: str, *, limit: int | None = None, **equals: Any) -> list[AnyRecord]: ...

    async def find(self, kind: type[Record] | str, *, limit: int | None = None, **equals: Any) -> Sequence[AnyRecord]:
        """Records of a kind whose fields have these values, in order of their ids. Raises UnknownKind, UnknownField.

        A field that names a patient is followed: records of all patients that are the same person are found. Asked for
        a field that this program has just learnt, it waits until that is known of all records.
        """
        return await self._whole(lambda: self._questions.find(kind, limit, equals))

    async def sql(self, query: str, params: Sequence[Any] = ()) -> list[dict[str, Any]]:
        """Ask in SQL, read-only: one table per kind, with a column per field. Raises UsageError for what is refused.

        `person` maps each `patient` to one `person`: the same id for all patients that are linked.
        A question that reads columns of which this program has just learnt waits until all rows have them.
        """
        return await self._whole(lambda: self._questions.sql(query, params))

    async def _whole(self, ask: Callable[[], Awaitable[T]]) -> T:
        """An answer from rows that hold what the log held now, and all that it asks for. Raises RowsBehind where a disk
        that refuses has ended their deriving."""
        await self._derived()
        while True:
            try:
                return await ask()
            except RowsBehind as behind:
                if self.driver.failure is not None:
                    raise
                await self.driver.rows_of(behind.kinds)

    async def search(self, words: str, limit: int = 50) -> list[AnyRecord]:
        """Records that contain all these words or beginnings of words."""
        await self._derived()
        return await self._questions.search(words, limit)

    @property
    def history(self) -> History:
        """What became of records: `await site.history(id)`, and `site.history.export(patient, path)`."""
        return History(self, self._questions, self._derived)

    def at(self, time: datetime | str) -> Moment:
        """Records as they were at a time (with a zone): `await site.at(time).get(Patient, id)`, `.record(id)`, `.find`.

        By what this site knew then; for times before its folder first was current, by what had been written then.
        """
        return Moment(self, self._derived, time)

    async def changes(self, since: str | None = None) -> AsyncIterator[Change]:
        """Records as they change, from `since` (a cursor, None for the beginning) on, then live, without end.

        A record that changed several times in between is told once, at its newest place. The `cursor` of each change
        may be kept and given back, also to a later process on the same folder.
        """
        cursor = Cursor.parse(since)
        while True:
            seen = self.driver.changed.count
            await self._derived()
            found = await self._questions.changes(cursor)
            for change in found:
                yield change
            if found:
                cursor = Cursor.parse(found[-1].cursor)
            else:
                self.driver.check()
                await self.driver.changed.beyond(seen)

    async def as_of(self) -> list[dict[str, Any]]:
        """How fresh the data of each other site are here: `site`, `replica`, `role`, `connected`, `as_of`,
        `missing_here` and `missing_there` with their `commits` and `bytes`, `last_heard`.

        All that the site had written up to `as_of` is in what is read here; None where nothing of it is known. It is a
        lower bound: of a site that is linked it is when it was last heard, of others often the newest commit of theirs,
        by their own clock. `missing_here` is what the site holds and this one lacks, `missing_there` the reverse, as
        far as this process was told; None is for what nobody has said.
        """
        derived = await self._derived()
        return [each.shown() for each in await contacts(self.driver, derived=derived) if each.member.role == "site"]

    async def record_count(self) -> dict[str, int]:
        """Number of records per kind."""
        await self._derived()
        try:
            return await self.driver.thread.run(lambda host: host.store.counts())
        except StorageFailure:
            return (await self._questions.counted()).kinds

    # -- patients that are one person -------------------------------------------------------------------------------

    async def link(
        self, one: str, other: str, *, author: str = "", reason: str = "", workstation: str = "", purpose: str = ""
    ) -> Linking:
        """Say that two patients are the same person. Nothing is moved or merged, and `unlink` takes it back.

        `find` by a patient finds from then on what belongs to either, and `persons` shows one. Raises NotFound where
        one of them is no patient here.
        """
        about = {"author": author, "reason": reason, "workstation": workstation, "purpose": purpose}
        return await self.persons.link(one, other, **about)

    async def unlink(
        self, one: str, other: str, *, author: str = "", reason: str = "", workstation: str = "", purpose: str = ""
    ) -> Linking:
        """Take back that two patients are the same person, whichever of them says it.

        They stay one where others link them as well: then the result has one person. Raises NotFound where they are
        not linked, RefusedError, with what to unlink instead, where they are linked only through others.
        """
        about = {"author": author, "reason": reason, "workstation": workstation, "purpose": purpose}
        return await self.persons.unlink(one, other, **about)

    # -- waiting for others ------------------------------------------------------------------------------------------

    async def wait_for(self, commit: CommitId | None, *, sites: int) -> None:
        """Wait until `commit` is on disk at `sites` replicas, this one included. None returns at once."""
        if sites > len([m for m in self.driver.replica.membership.state().members.values() if m.active]) - 1:
            raise UsageError(f"this practice does not have {sites} sites; ask for fewer")
        while commit is not None and self.driver.holders(commit) < sites:
            await self._hear()

    async def _hear(self) -> None:
        self.driver.check()
        await self.driver.heard.wait()

    async def wait_until_current(self) -> None:
        """Wait for a first hello of another site, then until all that this site held is derived here.

        Alone in the practice it returns at once. Wrap it in `anyio.fail_after` to wait no longer than you like. Raises
        RefusedError where this site is known here to belong no longer.
        """
        own = self.identity.public.replica
        state = self.driver.replica.membership.state()
        others = [m for m in state.members.values() if m.active and m.role == "site" and m.replica != own]
        if not others:
            return
        if self.member() is None:
            raise RefusedError("this site belongs to the practice no longer, so nobody tells it anything")
        if self._serving is None:
            raise UsageError("nobody can be heard while this site does not serve; enter `site.serve(…)` first")
        goal = None
        while goal is None:
            state = self.driver.replica.membership.state()
            live = [p for p in self.driver.replica.peers.values() if p.live and state.active(p.replica)]
            goal = live[0].have.copy() if live else None
            if goal is None:
                await self._hear()
        replica = self.driver.replica
        while not replica.stored.covers([(log, head) for log, head in goal.items() if log not in replica.frozen]):
            await self._hear()
        if not await self._derived():
            self.driver.check()

    # -- care --------------------------------------------------------------------------------------------------------

    async def digest(self) -> dict[str, Any]:
        """`digest`, equal at two sites exactly when their content is, and the number of `records`."""
        await self._derived()
        if self.driver.failure is None:
            digest, records = await self.driver.thread.run(lambda host: host.engine.digest())
        else:  # what the disk refused may stand in the engine's memory: tell what readers see
            counted = await self._questions.counted()
            digest, records = counted.digest, counted.records
        return {"digest": digest, "records": records}

    async def status(self) -> dict[str, Any]:
        """Practice, site, frontier, records, conflicts, peers, digest; what is held, frozen or late.

        Answers also when the disk has refused, and says so in `failure`.
        """
        derived = await self._derived()
        try:
            engine = await self.driver.thread.run(lambda host: host.engine.status())
        except StorageFailure:  # the store answers nothing more; readers have connections of their own
            counted = await self._questions.counted()
            engine = await self.driver.thread.run(lambda host: host.engine.status(counted))
        address = None if self._serving is None else self._serving.address
        joining = [] if self._serving is None else self._serving.joining()
        branched = await copies.suspended(self)
        waiting = {**await proposals.waiting(self.driver), **await invoicing.waiting(self.driver)}
        backups = {"backup": schedule.described(self), "restored": schedule.restored(self)}
        known = await contacts(self.driver, derived=derived)
        ranged = await numbering.described(self.driver)
        waiting |= {**ranged, "numbers": {**waiting["numbers"], **ranged["numbers"]}}
        return {**describe(self, engine, branched, known), **waiting, **backups, "listen": address, "joining": joining}

    @property
    def serving(self) -> Serving | None:
        """What `serve` runs, None while this site does not serve."""
        return self._serving

    async def verify(self, progress: Progress | None = None) -> dict[str, Any]:
        """Check the whole log, chain, signatures and keys, and derive all documents again beside the view.

        Gives `ok`, `commits`, `records` and `problems`, a sentence each. Nothing is changed.
        """
        state = self.driver.replica.membership.state()
        sigs = {replica: member.sig for replica, member in state.members.items()}
        report = _threaded(progress)
        result = await self.driver.in_order(lambda host: host.engine.verify(report, sigs.get))
        return {
            "ok": not result.problems,
            "commits": result.commits,
            "records": result.records,
            "problems": result.problems,
        }

    async def rebuild(self, progress: Progress | None = None) -> dict[str, Any]:
        """Derive documents, tables and indexes again from the log (L8). Gives the `digest`, which stays the same."""
        report = _threaded(progress)
        digest, records = await self.driver.in_order(lambda host: host.engine.rebuild(host.now_ms(), report))
        return {"digest": digest, "records": records}

    async def backup(
        self,
        path: str | os.PathLike[str],
        *,
        folder: bool | None = None,
        keep: Retention | None = None,
        progress: Progress | None = None,
    ) -> dict[str, Any]:
        """Make a backup at `path` while this site works on: a folder if there is one, or if the name ends in a slash
        or `folder` says so, else a single file.

        It holds exactly what this site had when it was begun. It is encrypted, opens with this site's passphrase or
        the practice's recovery sheet, and is read back before it counts; the next one at the same place writes only
        what is new. `keep` says which earlier ones stay there, None all of them. `progress` is told commits done and
        their total. Gives `taken`, `path`, `commits`, `frontier`, `written_bytes`, `bytes` (of all), `backups` (how
        many are there) and more.

        Raises RefusedError where another site's backups lie, StorageFailure for a disk that refuses or is full,
        RottenCommit, NotFound for a place that does not exist. When cancelled, refused or killed, earlier backups
        there are as they were.
        """
        if folder is None:
            folder = os.fspath(path).endswith(("/", os.sep))
        report = _threaded(progress) or (lambda done, total: None)
        async with self.backing_up:
            return await making.make(self, Path(path), folder=folder, keep=keep, report=report)

    async def back_up_every(
        self,
        seconds: float,
        path: str | os.PathLike[str],
        *,
        keep: Retention | None = schedule.STANDARD,
        on_event: Callable[[Mapping[str, Any]], None] | None = None,
    ) -> None:
        """Make backups in the folder `path` until cancelled, each so many seconds after the last one there was taken.

        One that fails is told (`backup-failed`), shown in `status`, and tried again after some minutes; nothing here
        stops the site. Raises BadValue for an interval that is too short.
        """
        place = Path(path)
        plan = self.schedule = schedule.Schedule(
            place, seconds, lambda: self.backup(place, folder=True, keep=keep), on_event or (lambda event: None)
        )
        try:
            await plan.run(self.driver.replica.membership.practice, self.identity.public.replica)
        finally:
            self.schedule = None

    # -- the practice ------------------------------------------------------------------------------------------------

    async def invite(
        self, name: str, *, role: str = "site", admin: bool = True, trust_code: bool = False, address: str | None = None
    ) -> str:
        """A one-time code for somebody who joins while this site serves. Good for an hour.

        `trust_code` waives the comparison of six digits, for unattended set-ups. `address` is where the newcomer finds
        this site, if it cannot be told from what it listens on. Raises RefusedError where this site is no admin.
        """
        return await founding.invite(self, name, role=role, admin=admin, trust_code=trust_code, address=address)

    async def confirm(self, digits: str) -> dict[str, Any]:
        """Let in whoever shows these six digits: `name` and `replica`. Wrong digits count against the code."""
        if self._serving is None:
            raise UsageError("nobody can join while this site does not serve; enter `site.serve(…)` first")
        return await self._serving.confirm(digits)

    async def revoke(self, name: str, reason: str) -> dict[str, Any]:
        """Shut a member out: a stolen machine, a site that is not to be trusted any more. Signed by this admin site.

        Others refuse it as soon as they hear, and what is written from then on is sealed with keys that it never gets.
        Of what it wrote counts what some other site had accepted; the rest is set aside (`late` in `status`). `name` is
        the member's name, or its replica id. Gives name, replica, role, state, commits (those of it that are here),
        epoch (the next one) and admins (the sites that administer the practice now).

        Works whether this site serves or not. Raises RefusedError where this site is no admin, for this site itself and
        for a member that was revoked before, NotFound for a name that nobody has, BadValue without a reason.
        """
        return await leaving.revoke(self, name, reason)

    async def close_site(self, name: str) -> dict[str, Any]:
        """Take leave of a member whose machine is dead or given up, but honest. Signed by this admin site.

        It belongs no longer and gets no data, but all that it had written by now counts: if its machine ever runs again
        and reaches a site, it hands that over. What it writes later is set aside. Gives, and raises, what `revoke`
        does, which still shuts it out altogether.
        """
        return await leaving.close(self, name)

    async def accept_late(self, name: str) -> dict[str, Any]:
        """Let count, at all sites, what the member `name` wrote late, after a person has found it to be right: until
        then it is set aside (`late` in `status`). Signed by this admin site. Gives `name` and the number of `commits`.

        It is what was shown here so far, signed by its author; what turns up later is set aside again. It comes in when
        somebody who has it is linked. Raises RefusedError where nothing is set aside here, and where this site is no
        admin, NotFound for a name that nobody has.
        """
        return await leaving.accept_late(self, name)

    async def succeed(self, name: str, boot: str) -> dict[str, Any]:
        """Sign that of the branches of the site `name` the one that ends in `boot` goes on (see `suspended` in
        `status`): its machine writes on, the others refuse to. `closed` are their boots.

        Raises NotFound for a site or boot that is none, RefusedError for a site that has not branched, and where this
        site is no admin.
        """
        return await copies.succeed(self, name, boot)

    async def recover(self, *, alone: bool = False) -> dict[str, Any]:
        """Wait until this site has all that it ever wrote and others hold, so that it may write again. At once when
        nothing is missing.

        `alone` ends the waiting by a person's word: the site writes on from what it has, and what others hold of its
        later commits becomes a branch. Raises RefusedError where the site does not serve and something is missing.
        """
        await copies.recovered(self.driver, alone=alone, serving=self._serving is not None)
        return {"recovering": False}

    @asynccontextmanager
    async def serve(
        self,
        listen: str = "127.0.0.1:0",
        *,
        advertise: str | None = None,
        peers: Sequence[str] = (),
        only_peers: bool = False,
        on_event: Callable[[Mapping[str, Any]], None] | None = None,
        taken_up: str | None = None,
    ) -> AsyncIterator[Serving]:
        """Listen, dial the other sites, and exchange commits until the block ends.

        `advertise` is the address that others are told; without it they are told `listen`, unless it is a loopback
        address with a port chosen by the system; `taken_up` is what an earlier process listened on for the same
        `listen`, to be used again. With `only_peers`, only the named `peers` are dialled. Raises AddressInUse. Sites
        that cannot be reached delay nothing.
        """
        if self._serving is not None:
            raise UsageError("this site serves already")
        async with serving(
            self, listen, advertise=advertise, peers=peers, only_peers=only_peers, on_event=on_event, taken_up=taken_up
        ) as running:
            self._serving = running
            try:
                yield running
            finally:
                self._serving = None


@asynccontextmanager
async def _running(driver: Driver) -> AsyncIterator[Driver]:
    """Run the driver beside the block. An error of the block is raised as it is, not as a group."""
    failure: BaseException | None = None
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(driver.run)
        try:
            yield driver
        except anyio.get_cancelled_exc_class():
            raise
        except BaseException as error:
            failure = error
        finally:
            tasks.cancel_scope.cancel()
    if failure is not None:
        raise failure


def _threaded(progress: Progress | None) -> Progress | None:
    """A report that may be called in the store's thread, at most ten times a second."""
    if progress is None:
        return None
    last = -1.0
    token = anyio.lowlevel.current_token()

    def report(done: int, total: int | None) -> None:
        nonlocal last
        if time.monotonic() - last >= 0.1 or done == total:
            last = time.monotonic()
            anyio.from_thread.run_sync(progress, done, total, token=token)

    return report
