"""Whether this replica may give numbers now (L4): patient numbers of its ranges, numbers of series that it holds.

Records may be written by any boot at once: what two copies of a disk write stays apart. A number must not be given
twice, so it takes more:

- a process that provably continues its own log may give numbers;
- a fresh boot waits until another site has told all that it holds, and holds no more of this replica's commits than are
  here, or until a person says `recover --alone`; in a practice of one site it asks its archives, without them nobody;
- after a restore, and after another site brought commits of this replica that were not here, numbers may have been
  given that nobody knows of any more: what is left of its ranges is closed until a person releases it, and the series
  that it holds go on under their next term.

What is noted here lies on the disk, so that it holds for the processes that follow.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final

from crdtsync import limits
from crdtsync.engine import WriteGrant
from crdtsync.ids import ReplicaId, replica_of
from crdtsync.replication.commit import Commit
from crdtsync.storage.base import Store

META_UNCONFIRMED: Final = "numbers.unconfirmed"
META_RANGES_CLOSED: Final = "numbers.ranges_closed"
META_SERIES_CLOSED: Final = "numbers.series_closed"
_META_LEFT_OUT: Final = "numbers.left_out"
_META_FORKED: Final = "numbers.forked"
META_CLOSING: Final = "ranges.closing"
"""Under which key the ranges say that they are closed; empty before they do, see `crdtsync.ranges`."""
CLOSED: Final[Mapping[str, bytes]] = {META_RANGES_CLOSED: b"1", META_SERIES_CLOSED: b"1", META_CLOSING: b""}
"""What a folder holds in which numbers may have been given that nobody knows of."""


class Numbers:
    """The notes of one replica. Used in the store's thread alone. `proved` tells that the own log is continued."""

    def __init__(self, store: Store, replica: ReplicaId, *, proved: bool) -> None:
        self._store = store
        self._replica = replica
        if not proved and any(replica_of(log) == replica for log in store.frontier()):
            self._note(META_UNCONFIRMED)

    def _note(self, name: str) -> None:
        if self._store.meta(name) is None:
            self._store.set_meta({name: b"1"})

    @property
    def unconfirmed(self) -> bool:
        """Whether nobody has confirmed yet that this boot goes on from all that the replica wrote."""
        return self._store.meta(META_UNCONFIRMED) is not None

    @property
    def ranges_closed(self) -> bool:
        """Whether numbers of this replica's ranges may have been given that are not known here."""
        return self._store.meta(META_RANGES_CLOSED) is not None

    @property
    def series_closed(self) -> bool:
        """The same of the series that it holds."""
        return self._store.meta(META_SERIES_CLOSED) is not None

    @property
    def given_up(self) -> bool:
        """Whether so many logs of this replica were written twice that it gives no numbers any more, and says no more
        of itself that the next fork would only make it say again."""
        return int(self._store.meta(_META_FORKED) or b"0") >= limits.forked_logs_max

    def confirm(self) -> None:
        """Another site has confirmed it, or a person has."""
        if self.unconfirmed:
            self._store.set_meta({META_UNCONFIRMED: None})

    def arrived(self, commits: Iterable[Commit]) -> None:
        """Commits came from others. To be called before they are stored: this replica's own among them were lost here,
        and so may be later ones."""
        own = any(replica_of(commit.header.log) == self._replica for commit in commits)
        if own and any(self._store.meta(name) != value for name, value in CLOSED.items()):
            self._store.set_meta(CLOSED)

    def left_out(self, logs: int, commits: int = 0) -> None:
        """So many logs of this replica end before what it wrote in them, and commits of it are held, as the membership
        says: what was given there is not shown any more."""
        if logs + commits > int(self._store.meta(_META_LEFT_OUT) or b"0"):
            notes = {_META_LEFT_OUT: str(logs + commits).encode(), _META_FORKED: str(logs).encode()}
            self._store.set_meta({**CLOSED, **notes})

    def refusal(self, grant: WriteGrant) -> str:
        """Why no number may be given now, as a sentence that says what to do; empty when it may."""
        return self.reason(suspended=grant.suspended)

    def reason(self, *, suspended: bool) -> str:
        """The same, for whoever writes nothing: whether the own logs have branched is all that it takes."""
        if suspended:
            return (
                "this site's folder runs twice, or did: numbers wait until an admin signs which copy goes on "
                "(`crdtsync succeed`; `status` lists the copies)"
            )
        if self.given_up:
            return (
                "logs of this site were written twice again and again, so somebody else may have its keys: it gives no "
                "numbers any more; let an admin take over its series, remove it, and join anew"
            )
        if self.unconfirmed:
            return (
                "this machine was started anew and no other site was reached since, which could tell whether its disk "
                "is up to date: numbers wait for that; where there is no other site, `crdtsync recover DIR --alone` "
                "says that it is"
            )
        return ""
