"""Backups at intervals, beside a site that serves; and how old the last verified one is.

The next one is due an interval after the last one in its place was taken, so that restarts do not shift it. One that
fails is told and tried again; it never stops the site.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import anyio
import anyio.to_thread

from crdtsync import limits
from crdtsync.backup.opening import listed, reading, shown_time
from crdtsync.backup.retention import Retention
from crdtsync.errors import BadValue, CrdtSyncError, PeerError
from crdtsync.host import Host
from crdtsync.ids import PracticeId, ReplicaId
from crdtsync.replication.codec import unpack

if TYPE_CHECKING:
    from crdtsync.opened import Opened

META_LAST: Final = "backup.last"
META_RESTORED: Final = "backup.restored"
Tell = Callable[[Mapping[str, Any]], None]


def wall_ms() -> int:
    """The wall clock, in milliseconds since 1970."""
    return time.time_ns() // 1_000_000


def remembered(host: Host) -> tuple[tuple[int, str] | None, tuple[int, int] | None]:
    """What the store knows: the last verified backup (time and place), and the restoring of this folder (the time of
    the backup, and of the restoring)."""
    last, restored = _two(host, META_LAST), _two(host, META_RESTORED)
    return (
        None if last is None else (int(last[0]), str(last[1])),
        None if restored is None else (int(restored[0]), int(restored[1])),
    )


def _two(host: Host, name: str) -> list[Any] | None:
    data = host.store.meta(name)
    try:
        found = None if data is None else unpack(data, bytes_max=limits.header_bytes_max, what=name)
    except PeerError:  # not what was written: it is known again after the next one
        return None
    return found if found is not None and len(found) == 2 and type(found[0]) is int else None


@dataclass
class Schedule:
    """Backups to a folder every so many seconds. `make` makes one; `failure` says why the last attempt brought none.

    Raises BadValue for an interval that is too short.
    """

    place: Path
    every_s: float
    make: Callable[[], Awaitable[Mapping[str, Any]]]
    tell: Tell
    failure: str | None = None
    _last_ms: int = 0
    _pause_until: float = field(default=0.0, repr=False)

    def __post_init__(self) -> None:
        if not limits.backup_every_min_s <= self.every_s:
            raise BadValue(f"backups are made every {limits.backup_every_min_s:.0f} seconds or less often")

    @property
    def next_ms(self) -> int:
        """When the next one is due; a time that has passed: now."""
        return self._last_ms + int(self.every_s * 1000)

    async def run(self, practice: PracticeId, replica: ReplicaId) -> None:
        """Until cancelled."""
        self._last_ms = await anyio.to_thread.run_sync(_newest, self.place, practice, replica)
        while True:
            wait = self._wait()
            if wait > 0:
                await anyio.sleep(min(wait, limits.backup_look_s))
                continue
            try:
                told = await self.make()
            except CrdtSyncError as error:
                self._failed(str(error))
            except Exception as error:
                self._failed(f"an error in the program ({type(error).__name__})")
            else:
                self._succeeded(told)

    def _wait(self) -> float:
        pause = self._pause_until - time.monotonic()
        if pause > 0:
            return pause
        ahead = self._last_ms > wall_ms()  # a clock was set back: one more, and from then on by the other clock
        return 0.0 if ahead else (self.next_ms - wall_ms()) / 1000

    def _succeeded(self, told: Mapping[str, Any]) -> None:
        self.failure = None
        self._last_ms = int(told["taken_ms"])
        if self._last_ms > wall_ms():
            self._pause_until = time.monotonic() + self.every_s
        megabytes = told["written_bytes"] / 1e6
        text = f"taken {told['taken']}, {megabytes:.1f} MB written to {told['path']} and read back"
        self.tell({"event": "backup", "text": text, **told})

    def _failed(self, why: str) -> None:
        self.failure = why
        self._pause_until = time.monotonic() + min(limits.backup_retry_s, self.every_s)
        self.tell({"event": "backup-failed", "text": why})


def _newest(place: Path, practice: PracticeId, replica: ReplicaId) -> int:
    """When the newest backup of this site in its place was taken; 0 where there is none, or it cannot be told."""
    try:
        with reading(place) as vault:
            found = listed(vault).indexes
    except CrdtSyncError:
        return 0
    own = [each.clear.taken_ms for each in found if (each.clear.practice, each.clear.replica) == (practice, replica)]
    return max(own, default=0)


def described(site: Opened) -> dict[str, Any]:
    """What `status` tells of backups: `last` (when the last verified one was taken), its `path`, `age_s`, `limit_s`,
    whether it is `overdue`; of a schedule `every_s`, `next` and the `failure` of its last attempt."""
    schedule, last = site.schedule, site.last_backup
    limit = limits.backup_age_max_s if schedule is None else 2 * schedule.every_s
    age = None if last is None else max(0, wall_ms() - last[0]) // 1000
    return {
        "last": None if last is None else shown_time(last[0]),
        "path": None if last is None else last[1],
        "age_s": age,
        "limit_s": int(limit),
        "overdue": age is None or age > limit,
        "every_s": None if schedule is None else schedule.every_s,
        "next": None if schedule is None else shown_time(max(schedule.next_ms, wall_ms())),
        "failure": None if schedule is None else schedule.failure,
    }


def restored(site: Opened) -> dict[str, Any] | None:
    """When this folder was restored, and from a backup of when; None for one that never was."""
    if site.restored is None:
        return None
    taken, at = site.restored
    return {"taken": shown_time(taken), "restored": shown_time(at)}


STANDARD: Final = Retention()
"""What a schedule keeps, where nobody says otherwise."""
