"""How the logs of one replica follow each other, and where that line branches (L4).

The first commit of a boot names the head that it continues. So the logs of a replica form a tree, and a *tip* is a log
that goes beyond everything by which it is continued. One tip is a line: restarts, also of a disk that was set back and
fetched its own newer commits before it wrote. More than one tip means that two disks wrote from one common past: a
clone, or a disk that was set back and written to. Both branches count, and nothing of them is lost.

No delay looks like a branch: a commit depends on the head that it continues, so it never comes before that (L2).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from crdtsync.ids import Head, LogId, ReplicaId, replica_of
from crdtsync.replication.commit import Commit

Continues = tuple[LogId, Head] | None
"""What the first commit of a log goes on from; None for the beginning of everything."""
Height = Callable[[LogId], int]
"""How many commits of a log are here."""


class Boots:
    """The tree of the logs that have commits here. `height` is asked whenever something is to be judged.

    What a log continues that is not its own replica's is ignored: such a log is a beginning.
    """

    def __init__(self, continues: Mapping[LogId, Continues], height: Height) -> None:
        self._height = height
        self._parent: dict[LogId, LogId | None] = {}
        self._children: dict[LogId, dict[LogId, int]] = {}
        self._of: dict[ReplicaId, list[LogId]] = {}
        for log, head in continues.items():
            self.begin(log, head)

    def learn(self, commit: Commit) -> bool:
        """A commit is stored here. Whether it may have changed the number of tips of its replica."""
        header = commit.header
        if header.sequence == 1:
            self.begin(header.log, header.continues)
            return True
        return header.log in self._children

    def begin(self, log: LogId, continues: Continues) -> None:
        """The first commit of `log` is here. Saying it again changes nothing."""
        if log in self._parent:
            return
        self._of.setdefault(replica_of(log), []).append(log)
        self._parent[log] = None
        if continues is not None and continues[0] != log and replica_of(continues[0]) == replica_of(log):
            parent, head = continues
            self._parent[log] = parent
            self._children.setdefault(parent, {})[log] = head.sequence

    def __contains__(self, log: object) -> bool:
        return log in self._parent

    def replicas(self) -> list[ReplicaId]:
        """Everybody who has written."""
        return list(self._of)

    def tips(self, replica: ReplicaId) -> list[LogId]:
        """Where the replica's logs end, in ascending order: more than one means that it has branched."""
        return sorted(log for log in self._of.get(replica, ()) if self._ends(log))

    def open_tips(self, replica: ReplicaId, closed: Mapping[LogId, Head]) -> list[LogId]:
        """The tips that no successor has closed. A tip that has grown beyond where it was closed is open again."""
        return [log for log in self.tips(replica) if not self.is_closed(log, closed)]

    def is_closed(self, log: LogId, closed: Mapping[LogId, Head]) -> bool:
        """Whether all of `log` that is here is within what was closed."""
        head = closed.get(log)
        return head is not None and self._height(log) <= head.sequence

    def ends_of(self, log: LogId) -> list[LogId]:
        """The tips of the line that `log` belongs to, as who wrote it sees it: `log` itself where it is a tip, else all
        tips that go on from it; none while nothing of it is here."""
        if log not in self._parent:
            return []
        if self._ends(log):
            return [log]
        found, left = [], [log]
        seen = {log}
        while left:
            for child in self._children.get(left.pop(), ()):
                if child not in seen:
                    seen.add(child)
                    left.append(child)
                    if self._ends(child):
                        found.append(child)
        return sorted(found)

    def _ends(self, log: LogId) -> bool:
        height, children = self._height(log), self._children.get(log, {})
        # What goes on from it but counts nowhere, since its log is frozen before its first commit, is not everywhere.
        return height > 0 and all(height > at for child, at in children.items() if self._height(child))
