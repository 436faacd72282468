"""Conflicts as they come and go, for whoever shows them (L7: what a watcher keeps in mind is bounded)."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from typing import Any, Literal

from crdtsync import limits
from crdtsync.conflicts.values import Stated


@dataclass(frozen=True, slots=True)
class ConflictChange:
    """A conflict `opened`, `changed` (its state, or what is shown of it) or `closed`; `conflict` is what the list says
    of it now, None when it is closed.

    `lost`: more has happened than was kept in mind, so that changes are missing: list the conflicts anew. `id` is empty
    then, and what follows goes on from that moment.
    """

    what: Literal["opened", "changed", "closed", "lost"]
    id: str
    conflict: dict[str, Any] | None = None


LOST = ConflictChange("lost", "")


class Seen:
    """What a watcher knows: which conflicts there are, and a print of what is said of each."""

    def __init__(self) -> None:
        self._prints: dict[str, bytes] | None = {}

    def changes(self, now: list[Stated]) -> list[ConflictChange]:
        """What has changed since the last call, or that it cannot be told."""
        if len(now) > limits.conflicts_watched_max:
            self._prints = None
            return [LOST]
        before, summaries = self._prints, {stated.id: stated.summary() for stated in now}
        after = {stated.id: _print(stated, summaries[stated.id]) for stated in now}
        self._prints = after
        if before is None:
            return [LOST]
        found = [ConflictChange("closed", each) for each in before if each not in after]
        for each, print_ in after.items():
            if before.get(each) != print_:
                found.append(ConflictChange("changed" if each in before else "opened", each, summaries[each]))
        return found if len(found) <= limits.conflict_changes_max else [LOST]


def _print(stated: Stated, summary: dict[str, Any]) -> bytes:
    issue = stated.issue
    said = [] if issue is None else [issue.comments.json(), issue.acknowledged.json()]
    return hashlib.sha256(json.dumps([summary, said], sort_keys=True).encode()).digest()[:16]
