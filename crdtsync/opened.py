"""A replica that is open in this process: what founding, serving and `Site` share."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Protocol

import anyio

from crdtsync.driver import Driver
from crdtsync.engine.watch import Watch
from crdtsync.folder import Unlocked
from crdtsync.host import Host
from crdtsync.ids import MemberHash, base32
from crdtsync.joining import Invitation
from crdtsync.replication.member_codec import decode_record
from crdtsync.replication.membership import Member, Place
from crdtsync.sealing.keyfile import backup_key


class Planned(Protocol):
    """Backups that are made at intervals: how far apart, when the next is due, why the last attempt brought none."""

    every_s: float
    failure: str | None

    @property
    def next_ms(self) -> int: ...


class Opened:
    """Who this replica is, and how to reach its core and its store.

    `reachable` are the addresses that newcomers are told, None while nobody listens. `worker` is for `status`: how
    often the process that serves was `started`, for what `reason` the one before it was replaced, and its `pid`; None
    when no supervisor looks after it.
    `watch` tells, from any thread, whether the store's thread gets on. `last_backup` is when the last verified backup
    was taken (milliseconds since 1970) and where it lies, `restored` when the backup was taken that this folder was
    restored from, and when it was; `schedule` makes further ones.
    """

    def __init__(self, unlocked: Unlocked, driver: Driver) -> None:
        self.path = unlocked.path
        self.identity = unlocked.identity
        self.kdf_fast = unlocked.fast
        self.backup_key = backup_key(unlocked.view_key)
        self.driver = driver
        self.reachable: tuple[str, ...] | None = None
        self.invitations: list[Invitation] = []
        self._publishing = anyio.Lock()
        self.worker: Mapping[str, Any] | None = None
        self.watch: Watch | None = None
        self.backing_up = anyio.Lock()
        self.last_backup: tuple[int, str] | None = None
        self.restored: tuple[int, int] | None = None
        self.schedule: Planned | None = None

    @property
    def practice(self) -> str:
        """The practice's name."""
        return self.driver.replica.membership.practice_name

    @property
    def practice_id(self) -> str:
        """The practice's id, in base32."""
        return base32(self.driver.replica.membership.practice)

    @property
    def replica(self) -> str:
        """This replica's id, in base32."""
        return base32(self.identity.public.replica)

    @property
    def name(self) -> str:
        """This site's name."""
        return self.driver.replica.describe(self.identity.public.replica)

    def member(self) -> Member | None:
        """This replica in the membership, None when it was removed."""
        return self.driver.replica.membership.state().active(self.identity.public.replica)

    async def sign(self, make: Callable[[Host, Place], bytes | None]) -> MemberHash | None:
        """Make one membership record, put it on disk and tell everybody. One at a time: each names the one before."""
        async with self._publishing:
            place = self.driver.replica.membership.place(self.identity.public.replica)
            data = await self.driver.thread.run(lambda host: make(host, place))
            if data is None:
                return None
            record = decode_record(data).hash
            await self.driver.publish([(record, data)])
            return record
