"""What a replica had promised at some point of its life: told by marks in the trace, and to be found on every image.

A mark is JSON. `did` names what was acknowledged, `will` what was begun: of that, old and new are both right.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any

Row = tuple[str, str, str, str]
"""A data key: id, epoch and wrapped key in hexadecimal, and the subject, as (id, epoch, subject, wrapped)."""


@dataclass(slots=True)
class Duties:
    """Everything acknowledged so far. Bytes are in hexadecimal, a log's place is (log, sequence)."""

    founded: dict[str, str] = field(default_factory=dict)
    """`key_file`: its bytes; empty before the practice was founded."""
    view_key: str = ""
    members: list[str] = field(default_factory=list)
    meta: dict[str, set[str | None]] = field(default_factory=dict)
    keys: dict[str, Row] = field(default_factory=dict)
    erasing: set[str] = field(default_factory=set)
    """Keys that may be there or not."""
    erased: dict[str, str] = field(default_factory=dict)
    """Keys of which no byte may be left: id to wrapped key."""
    late: set[str] = field(default_factory=set)
    """Keys that commits use and that were not given to this replica yet."""
    commits: dict[tuple[str, int], str] = field(default_factory=dict)
    """Place to hash."""

    def take(self, mark: str) -> None:
        """The next mark."""
        told = json.loads(mark)
        self._begun(told.get("will", {}))
        self._done(told.get("did", {}))

    def _begun(self, will: dict[str, Any]) -> None:
        self.view_key = will.get("view_key", self.view_key)
        for name, value in will.get("meta", {}).items():
            self.meta.setdefault(name, {None}).add(value)
        self.late.update(will.get("late", []))
        self.erasing.update(will.get("erase", []))

    def _done(self, did: dict[str, Any]) -> None:
        self.founded = did.get("founded", self.founded)
        self.members.extend(did.get("members", []))
        for name, value in did.get("meta", {}).items():
            self.meta[name] = {value}
        for row in did.get("keys", []):
            self.keys[row[0]] = (row[0], row[1], row[2], row[3])
            self.late.discard(row[0])
        for key in did.get("erased", []):
            self.erasing.discard(key)
            self.erased[key] = self.keys.pop(key)[3]
        for log, sequence, commit in did.get("commits", []):
            self.commits[log, sequence] = commit
