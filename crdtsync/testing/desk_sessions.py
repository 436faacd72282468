"""What a person at one desk may rely on, whichever site the desk is at (Terry et al., 1994).

    read your writes       what I wrote I read, beside what others wrote unseen
    monotonic reads        what I have read I do not lose again
    monotonic writes       my writes are ordered as I made them
    writes follow reads    what I write is ordered behind what I had read

A session is one process and one view of one site: a site that derives its view anew says so, and begins another. That
the order of writes holds at every other site too is the ledger's matter (L2): it knows what each author's disk held.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from crdtsync.ids import CommitId, LogId, RecordId
from crdtsync.testing.ledger import short
from crdtsync.testing.node import Node
from crdtsync.testing.verdict import OracleFailed


@dataclass(slots=True)
class _Session:
    derived: int = 0
    """How far the view went when it was read last."""
    changed: dict[tuple[str, RecordId], int] = field(default_factory=dict)
    """Per record that was read, the arrival of the commit that had changed it last."""
    written: dict[LogId, int] = field(default_factory=dict)


class Sessions:
    """All sessions of a world. `reads` counts what was checked."""

    def __init__(self) -> None:
        self.reads = 0
        self._sessions: dict[tuple[str, int, int], _Session] = {}

    def _of(self, node: Node) -> _Session:
        return self._sessions.setdefault((node.name, node.life, node.disk.views), _Session())

    def read(self, node: Node, kind: str, record: RecordId, changed: int | None) -> None:
        """A record was read; `changed` is the arrival that changed it last, None when it was not there.

        Raises OracleFailed where reads go back.
        """
        self.reads += 1
        session = self._of(node)
        derived = node.disk.view_state().head.arrival
        before = session.changed.get((kind, record))
        if derived < session.derived:
            raise OracleFailed(f"monotonic reads: the view of {node.name} went back to {derived}")
        if before is not None and (changed is None or changed < before):
            raise OracleFailed(f"monotonic reads: {node.name} shows {kind} {record} as it was before it was read")
        session.derived = derived
        if changed is not None:
            session.changed[kind, record] = changed

    def shown(self, node: Node) -> int:
        """Up to which arrival this session has been shown the log: what it writes now builds on that."""
        return self._of(node).derived

    def wrote(self, node: Node, commits: Iterable[CommitId], shown: int) -> None:
        """A transaction of the session stands, which was made when it had been shown so much.

        Raises OracleFailed where it is not behind what came before it.
        """
        session = self._of(node)
        for commit in commits:
            if commit.sequence <= session.written.get(commit.log, 0):
                raise OracleFailed(f"monotonic writes: {short(commit.log)}:{commit.sequence} is out of order")
            session.written[commit.log] = commit.sequence
            stored = node.disk.kept(commit.log, commit.sequence)
            if stored is None or stored.arrival <= shown:
                raise OracleFailed(f"writes follow reads: {node.name} writes behind less than it has shown")

    def read_back(self, node: Node, kind: str, found: Any, values: Mapping[str, Any]) -> None:
        """What was just written, as it is read now. Raises OracleFailed when it is not there (read your writes)."""
        for name, value in values.items():
            if found is None or (getattr(found, name) != value and value not in found.conflicts.get(name, ())):
                raise OracleFailed(f"{node.name} does not read its own write of {kind}.{name}")
