"""Replicas that have branched: their disk was copied, or set back and written to (L4).

Both branches count, and both are written on. But such a replica is suspended, until an admin signs which branch goes on
(`succeed`): what only one may do at a time is not for it. An alarm is raised when that begins, and at each start anew.
"""

from __future__ import annotations

from collections.abc import Mapping

from crdtsync.ids import LogId, ReplicaId, replica_of
from crdtsync.replication.state import Core


class Branches:
    """Which members are suspended, kept up as commits are stored and membership changes."""

    def __init__(self, core: Core) -> None:
        self._core = core
        self._boots = core.boots
        self._several: set[ReplicaId] = set()
        core.touched.update(core.boots.replicas())
        self._suspended: dict[ReplicaId, tuple[LogId, ...]] = {}

    @property
    def suspended(self) -> Mapping[ReplicaId, tuple[LogId, ...]]:
        """The members that have more than one branch that nobody has closed, and the logs in which these end."""
        return self._suspended

    def members_changed(self) -> None:
        """What is closed, and who belongs, may have changed."""
        self._core.touched.update(self._several)

    def look(self) -> None:
        """Judge anew who was touched; alarms for those that are suspended now and were not."""
        touched, self._core.touched = self._core.touched, set()
        for replica in sorted(touched):
            self._judge(replica)

    def _judge(self, replica: ReplicaId) -> None:
        core = self._core
        if any(replica_of(log) == replica and log not in self._boots for log, _ in core.stored.items()):
            return  # what one of its logs continues has rotted here: that is told once it is whole again
        if len(self._boots.tips(replica)) > 1:
            self._several.add(replica)
        state = core.membership.state()
        tips = self._boots.open_tips(replica, state.closed)
        member = state.active(replica)
        if member is None or len(tips) < 2:
            self._suspended.pop(replica, None)
            return
        if replica not in self._suspended:
            core.alarm(
                "clone",
                f"{member.name} has written from {len(tips)} copies of its folder, or from one that was set back: all "
                "of it counts. Run only one of them, and say which one with `crdtsync succeed`; `status` names them.",
            )
        self._suspended[replica] = tuple(tips)

    def superseded(self, log: LogId | None) -> bool:
        """Whether every end of the line that `log` belongs to was closed: another branch of its replica goes on."""
        if log is None:
            return False
        ends = self._boots.ends_of(log)
        closed = self._core.membership.state().closed
        return bool(ends) and all(self._boots.is_closed(end, closed) for end in ends)
