"""Patient numbers as applications and people ask for them: `site.ranges`.

    await site.ranges.set("Weimar", 20_000, 29_999, author="dr.weber")
    async with site.transaction(author="dr.weber") as tx:   # at Weimar
        patient = tx.add(Patient(family_name="Muster"))
    (await site.get(Patient, patient.id)).number            # 20000
    await site.ranges.release("Weimar", author="dr.weber")  # after it was restored from a backup
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from crdtsync.driver import Driver
from crdtsync.engine import WriteGrant, WriteRequest
from crdtsync.errors import CrdtSyncError, RefusedError
from crdtsync.host import Deciding, Host
from crdtsync.ids import CommitId, RecordId, ReplicaId, base32
from crdtsync.ranges import setting
from crdtsync.ranges.setting import By

Work = Callable[[Host, WriteGrant, int], tuple[WriteRequest | None, dict[str, Any]]]


async def decided(driver: Driver, work: Work) -> tuple[dict[str, Any], CommitId | None]:
    """Decide something where it is written, and wait until that is durable: what `work` answered, and the commit (None
    when there was nothing to be written). Raises what `work` raises."""
    answers: list[dict[str, Any]] = []

    def make(host: Host, grant: WriteGrant, now_ms: int) -> WriteRequest | None:
        request, answer = work(host, grant, now_ms)
        answers.append(answer)
        return request

    outcome = await driver.write(Deciding(make))
    if outcome.error is not None:
        raise outcome.error
    return answers[-1], None if outcome.commit is None else outcome.commit.id


class Numbering:
    """The ranges of a site's practice. All methods work at every site of it."""

    def __init__(self, driver: Driver) -> None:
        self._driver = driver

    async def set(
        self, name: str, first: int, last: int, *, spare: bool = False, author: str = "", reason: str = ""
    ) -> dict[str, Any]:
        """The site `name` gives the patient numbers `first` to `last` from now on; a `spare` range comes last.

        Gives id, site, from, to, spare, commit. Raises RefusedError where this site is no admin, and where a range that
        is known here has one of these numbers; NotFound, BadValue.
        """

        def work(host: Host, grant: WriteGrant, now_ms: int) -> tuple[WriteRequest | None, dict[str, Any]]:
            return setting.set_range(host.ranges, name, first, last, spare, By(author, reason, now_ms))

        told, commit = await decided(self._driver, work)
        return {**told, "commit": commit}

    async def release(
        self, name: str, *, to: str | None = None, above: int | None = None, author: str = "", reason: str = ""
    ) -> dict[str, Any]:
        """A person says that what is left of the ranges of the site `name` may be given again: after it was restored,
        or set back, or made anew. Whoever has that name now gives them, or the site `to`, above the highest number that
        is known in each, and above `above`.

        Gives site, replica, `ranges` with `above`, and commit. The site learns of it by the record. Raises RefusedError
        where nothing is closed, where this site is neither an admin nor the one meant, and where the present owner is
        linked with this site; NotFound.
        """
        driver = self._driver

        def work(host: Host, grant: WriteGrant, now_ms: int) -> tuple[WriteRequest | None, dict[str, Any]]:
            owners = setting.owners(host.ranges, name)
            request, told = setting.release(host.ranges, name, to, above, By(author, reason, now_ms))
            alive = [owner for owner in owners if owner != told["replica"] and owner in linked]
            if alive:
                raise RefusedError(
                    f"{name} runs, and gives these numbers itself: what a running site has goes to nobody else"
                )
            return request, told

        linked = {base32(peer.replica) for peer in driver.replica.peers.values() if peer.live}
        told, commit = await decided(driver, work)
        return {**told, "commit": commit}

    async def stop(self, record: str, *, author: str = "", reason: str = "") -> dict[str, Any]:
        """End a range for good: nobody gives another number of it. What was given stays. Raises NotFound, RefusedError
        where this site is no admin."""

        def work(host: Host, grant: WriteGrant, now_ms: int) -> tuple[WriteRequest | None, dict[str, Any]]:
            return setting.stop(host.ranges, record, By(author, reason, now_ms))

        told, commit = await decided(self._driver, work)
        return {**told, "commit": commit}

    async def listed(self) -> list[dict[str, Any]]:
        """All ranges, in order of their first numbers: id, site, replica, from, to, spare, used, left, state (open,
        exhausted, closed, stopped, ended, unclear), blocks."""
        return await self._driver.in_order(_listed)

    async def number(self, patient: str, *, author: str = "", reason: str = "") -> dict[str, Any]:
        """Give a number to a patient that has none: `{"number": n}`, durable when this returns. Where none can be given
        now, `{"number": None, "follows": True}`: it comes by itself as soon as this site can. A patient that has one
        keeps it. Raises NotFound, RefusedError in a practice without ranges."""

        def work(host: Host, grant: WriteGrant, now_ms: int) -> tuple[WriteRequest | None, dict[str, Any]]:
            return host.ranges.give(RecordId(patient), grant, author, reason)

        return (await decided(self._driver, work))[0]

    async def carve(self, workstation: ReplicaId, size: int) -> dict[str, Any]:
        """A block of at most `size` numbers of this site for a workstation: range, first, last. Nobody else gives these
        from now on. Raises RefusedError where none can be given now."""

        def work(host: Host, grant: WriteGrant, now_ms: int) -> tuple[WriteRequest | None, dict[str, Any]]:
            return host.ranges.carve(workstation, size, grant, now_ms)

        return (await decided(self._driver, work))[0]

    async def take_block(self, block: Mapping[str, Any]) -> None:
        """At a workstation: keep a block that its site has carved for it, durably; its next patients get numbers of
        it."""
        await self._driver.in_order(partial(_take_block, block=block))


def _listed(host: Host) -> list[dict[str, Any]]:
    return host.ranges.listed() if host.ranges.exist else []


def _take_block(host: Host, block: Mapping[str, Any]) -> None:
    host.ranges.take_block(block)


async def described(driver: Driver) -> Mapping[str, Any]:
    """What `status` tells of the numbers of this site; nothing of them where the disk refuses."""
    suspended = driver.replica.id in driver.replica.suspended

    def look(host: Host) -> Mapping[str, Any]:
        return host.ranges.described(host.numbers.reason(suspended=suspended))

    try:
        return await driver.thread.run(look)
    except CrdtSyncError as error:
        return {"ranges": [], "numbers": {"warnings": [str(error)]}}
