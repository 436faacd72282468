"""The change feed's values: which record changed, and the cursor to go on from."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from crdtsync.errors import UsageError
from crdtsync.ids import RecordId

_ARRIVAL: Final = re.compile(r"[0-9]{1,18}")
"""More digits no arrival has, and no database would take."""


@dataclass(frozen=True, slots=True)
class Cursor:
    """A place in the order in which records changed here: behind this record at this arrival."""

    arrival: int = 0
    kind: str = ""
    record: str = ""

    @classmethod
    def parse(cls, text: str | None) -> Cursor:
        """The cursor that `str` gave, None for the beginning. Raises UsageError."""
        if text is None:
            return cls()
        arrival, _, rest = text.partition(".")
        kind, _, record = rest.partition(".")
        if not _ARRIVAL.fullmatch(arrival):
            raise UsageError("a cursor is what an earlier change brought; None begins from the start")
        return cls(int(arrival), kind, record)

    def __str__(self) -> str:
        return f"{self.arrival}.{self.kind}.{self.record}"


@dataclass(frozen=True, slots=True)
class Change:
    """A record has changed. `cursor` stands behind this change."""

    cursor: str
    kind: str
    id: RecordId
