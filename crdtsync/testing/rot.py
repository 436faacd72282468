"""The book of rot: every bit that turned over on a disk, and what became of it.

Rot is never silent: by the end of a world it has gone (the disk was replaced, the view derived anew), or whoever looks
for it finds it. What a peer is served of it must not pass for good: the ledger checks every commit that any disk takes.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Final

from crdtsync import limits
from crdtsync.errors import RottenCommit, StorageFailure
from crdtsync.ids import commit_text
from crdtsync.replication.commit import Commit
from crdtsync.testing import oracles
from crdtsync.testing.node import Node
from crdtsync.testing.process import Process
from crdtsync.testing.verdict import OracleFailed

_PAGE: Final = min(limits.inspected_documents_step, limits.inspected_commits_step)


@dataclass(slots=True)
class Rotten:
    """One rotten commit: where it lies, what was written there, and what is there now."""

    node: Node
    arrival: int
    good: Commit
    bad: Commit
    state: str = "silent"

    @property
    def there(self) -> bool:
        """Whether the disk at hand still has the rot."""
        return self.node.disk.at_arrival(self.arrival) == self.bad

    @property
    def vouched(self) -> bool:
        """Whether only a signature has changed that a later commit of its log vouches for, through the chain."""
        return self.there and self.good.parts == self.bad.parts and not self.node.disk.checked_at(self.arrival)


class RotBook:
    """All rot of a world."""

    def __init__(self) -> None:
        self.commits: list[Rotten] = []

    def commit(self, node: Node, arrival: int, *, part: int | None, at: int) -> None:
        """One bit of a commit turns over: of one of its parts, or of its signature."""
        good = node.disk.at_arrival(arrival)
        assert good is not None, "only what is there can rot"
        if part is None:
            node.disk.rot_signature(arrival, at)
        else:
            node.disk.rot_part(arrival, part, at)
        bad = node.disk.at_arrival(arrival)
        assert bad is not None
        node.step(f"has a bit turned over at arrival {arrival}")
        self.commits.append(Rotten(node, arrival, good, bad))

    def serves_rot(self, name: str) -> bool:
        """Whether what this site serves may rightly be refused by others."""
        return any(rotten.node.name == name for rotten in self.commits)

    def spoils(self, node: Node) -> bool:
        """Whether this site's view may lack something, or may have lacked it."""
        return self.serves_rot(node.name) or bool(node.disk.rotten_documents)

    def look_and_mend(self, node: Node, others: Sequence[Node]) -> None:
        """Verify a site on which something rotted. Raises OracleFailed when that finds nothing; else put back what was
        there, and derive the view anew, as a person would."""
        mine = [rotten for rotten in self.commits if rotten.node is node and rotten.there]
        mine = [rotten for rotten in mine if not self._elsewhere(rotten, others)]
        documents = dict(node.disk.rotten_documents)
        if not node.up or not (mine or documents):
            return
        if not self.serves_rot(node.name) or mine:
            self._look(node, mine, rotten_view=bool(documents))
        for rotten in mine:
            node.disk.mend(rotten.arrival, rotten.good)
        node.disk.rotten_documents.clear()
        node.queue(node.machine.sync_s, lambda: _rebuild(node))

    def _elsewhere(self, rotten: Rotten, others: Sequence[Node]) -> bool:
        """Whether another site can send it again: then nobody has to do anything."""
        good = rotten.good
        bad = {(other.node.name, other.good.id) for other in self.commits if other.there}
        for other in others:
            stored = other.disk.kept(*good.id)
            has = stored is not None and stored.commit.hash == good.hash
            if has and other.identity != rotten.node.identity and (other.name, good.id) not in bad:
                return True
        return False

    def put_back(self, process: Process) -> None:
        """A log that cannot even be opened: a person puts back what was there."""
        for rotten in self.commits:
            if rotten.node is process and rotten.there:
                rotten.node.disk.mend(rotten.arrival, rotten.good)
                rotten.state = "reported"

    def look_over(self, node: Node) -> None:
        """Let a site look over all that it keeps, as it does by and by: it may be in the middle, and comes round."""
        pages = 1 + max(node.disk.log_head().arrival, len(node.disk.listed())) // _PAGE
        for _ in range(2 * (2 * pages + 2)):  # view and log by turns
            node.queue(node.machine.read_s, node.look_over)

    def _look(self, node: Node, mine: Sequence[Rotten], *, rotten_view: bool) -> None:
        members = node.replica.membership.state().members
        try:
            found = oracles.engine_on_copy(node).verify(None, lambda r: members[r].sig if r in members else None)
        except StorageFailure:
            found = None
        if found is None and not rotten_view:
            raise OracleFailed(f"{node.name} cannot verify itself, although its view can be read")
        hole = any(not rotten.vouched for rotten in mine)  # of a log with holes nothing more is told
        if found is not None and rotten_view and not hole:
            raise OracleFailed(f"{node.name} verifies itself and does not find that its view cannot be read")
        for rotten in mine:
            if rotten.vouched:
                continue
            name = commit_text(rotten.good.id)
            here = f"at arrival {rotten.arrival} "
            if found is not None and not any(name in text or here in text for text in found.problems):
                raise OracleFailed(f"{node.name} verifies its log and does not find the rot in {name}")
            rotten.state = "reported"

    def verdict(self) -> None:
        """At the end: each was reported and mended, or has gone with the disk that it was on; none is left."""
        for rotten in self.commits:
            if rotten.vouched:
                rotten.state = "vouched for by what follows"
            elif rotten.there and rotten.node.removed and rotten.good.id in rotten.node.host.engine.upkeep.rotten:
                rotten.state = "reported"  # and nobody is linked who could send it again
            elif rotten.there:
                raise OracleFailed(f"rot at arrival {rotten.arrival} of {rotten.node.name} is left, and {rotten.state}")
            if rotten.state == "silent":
                rotten.state = "gone"


def _rebuild(node: Node) -> None:
    with suppress(RottenCommit):
        node.host.engine.rebuild(node.wall_ms(), None)
    node.derive_soon()
