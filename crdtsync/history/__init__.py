"""What became of records: `site.history(id)`, `site.at(time)`, and a patient's whole history as a signed file."""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable
from heapq import merge
from itertools import islice
from pathlib import Path
from typing import Any

import anyio
import anyio.lowlevel
import anyio.to_thread

from crdtsync import limits
from crdtsync.engine.exhibits import Exhibit
from crdtsync.errors import NotFound, RefusedError
from crdtsync.history.checking import check
from crdtsync.history.export import Case, in_this_file, write
from crdtsync.history.loading import Loading
from crdtsync.history.moment import Moment
from crdtsync.history.told import history
from crdtsync.host import Host
from crdtsync.ids import CommitId, RecordId
from crdtsync.opened import Opened
from crdtsync.practice import Patient
from crdtsync.query import Questions
from crdtsync.sealing.signing import Verifier

__all__ = ["History", "Moment"]


class History:
    """The past of an open site's records. `site.history` is one: `await site.history(id)`."""

    def __init__(self, site: Opened, questions: Questions, derived: Callable[[], Awaitable[bool]]) -> None:
        self._site = site
        self._questions = questions
        self._loading = Loading(site, derived)

    async def __call__(
        self,
        record: str,
        *,
        kind: str | None = None,
        linked: bool = True,
        after: str | None = None,
        limit: int | None = None,
    ) -> list[dict[str, Any]]:
        """Every change of a record, oldest first: record, commit, site, author, reason, workstation, purpose, the three
        times `at`, `written_at` and `arrived_at`, `state`, and `changes` with `field`, `before` and `after` each.

        Of a patient also what became of those that were linked to it as the same person, unless `linked` is false. The
        same at every site but for `arrived_at`. `after` names the commit behind which to go on, `limit` how many.
        Raises NotFound for a record, or a commit of it, that is not here.
        """
        name = kind or await self._loading.kind_of(RecordId(record))
        told = {RecordId(record): await self._loading.told(name, RecordId(record))}
        if kind is not None and not told[RecordId(record)]:
            raise NotFound(f"there is no {kind} with the id {record} here")
        if linked and name == Patient.kind:
            for other in await self._questions.same_person(RecordId(record)):
                if other not in told:
                    told[other] = await self._loading.told(name, other)
        name_of = self._site.driver.replica.describe

        def tell() -> list[dict[str, Any]]:
            each = [history(name, one, steps, name_of) for one, steps in sorted(told.items())]
            found = merge(*each, key=lambda entry: (entry["at"] or "", entry["commit"]))
            if after is not None and not any(entry["commit"] == after for entry in found):
                raise NotFound(f"no commit {after} changed this record; name one that its history lists")
            rest = (entry for entry in found if entry["commit"] != after)  # one commit may change several of them
            return list(islice(rest, limit))

        return await anyio.to_thread.run_sync(tell)

    async def export(
        self, patient: str, path: str | os.PathLike[str], *, author: str = "", reason: str = ""
    ) -> dict[str, Any]:
        """Write the whole history of a patient, and of all records that belong to it, to a new file, sealed by this
        site. `python -m crdtsync.verify FILE` checks it anywhere. **Whoever has the file reads it.**

        `author` and `reason` are noted in it. Gives what its head says, and `file`; `missing` names commits that cannot
        be shown, for example because they wait for a key. The file is read back and checked before this returns.
        Raises NotFound; RefusedError where there is a file already. Cancelling leaves no file.
        """
        place = Path(path)
        case = await self._case(patient, author, reason)
        sealer = await self._site.driver.thread.run(lambda host: host.sealer)

        def written() -> dict[str, Any]:
            head = write(place, case, sealer.public.sig, sealer.sign)
            verdict = check(place.read_bytes(), Verifier().verify)
            if not verdict.intact:
                place.unlink()
                first = verdict.problems[0]
                what = f"{first.section}: {first.problem}"
                raise RefusedError(f"the file does not verify ({what}); report that as an error of the program")
            return {**head, "file": str(place)}

        with anyio.CancelScope(shield=True):
            told = await anyio.to_thread.run_sync(written)
        try:
            await anyio.lowlevel.checkpoint_if_cancelled()
        except anyio.get_cancelled_exc_class():
            place.unlink()
            raise
        return {name: value for name, value in told.items() if name != "section"}

    async def _case(self, patient: str, author: str, reason: str) -> Case:
        """All that the file of a patient is made of."""
        driver = self._site.driver
        membership = driver.replica.membership
        await self._loading.ready()
        places = await self._questions.records_of(patient)
        if not places:
            raise NotFound(f"no record here belongs to {patient}; name the id of a patient")
        told = {place: await self._loading.told(*place) for place in places}
        members = membership.state().members
        sigs = {replica: member.sig for replica, member in members.items()}
        wanted = sorted({each.commit for every in told.values() for each in every})
        exhibits: dict[CommitId, Exhibit] = {}
        for at in range(0, len(wanted), limits.history_commits_step):
            some = wanted[at : at + limits.history_commits_step]

            def show(host: Host, some: list[CommitId] = some) -> list[Exhibit]:
                return host.engine.exhibits(some, patient, sigs.get)

            for exhibit in await driver.thread.run(show):
                exhibits[exhibit.stored.commit.id] = exhibit
        practice = membership.practice
        return Case(
            practice=practice,
            practice_name=self._site.practice,
            patient=patient,
            replica=self._site.identity.public.replica,
            exported_ms=await driver.thread.run(lambda host: host.now_ms()),
            author=author,
            reason=reason,
            members=[data for _, data in membership.records()],
            told={
                place: [in_this_file(each, place, exhibits, practice) for each in every]
                for place, every in told.items()
            },
            exhibits=exhibits,
            name_of=driver.replica.describe,
        )
