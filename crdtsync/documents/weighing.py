"""How much edits take away: what the brake goes by.

A *retraction* takes one thing back: a field is cleared, an entry removed, a text emptied, or a field is given a value
by which the whole record does not count any more (`Record.retracts`: retracted, cancelled, archived ...). A record is
*overwritten* when anything that stood in it gives way. What is only added is neither.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from crdtsync.documents.edits import Edit, EditCounter, EditText, Restore, SetField
from crdtsync.documents.record import Record, model_of
from crdtsync.documents.slots import items_of


class Weight(NamedTuple):
    """What edits of one record take away: `retractions`, those of them that are `marks` (the record does not count any
    more, which takes nothing away from a new one), and whether it is `overwritten`."""

    retractions: int
    marks: int
    overwritten: bool


def weigh(kind: str, edits: Sequence[Edit]) -> Weight:
    """What these edits of one record of a kind take away. Follows from the edits alone."""
    retracts = (model_of(kind) or Record).retracts
    retractions = marks = 0
    overwritten = False
    for edit in edits:
        if isinstance(edit, EditText):
            gone = sum(hunk.end - hunk.start for hunk in edit.hunks)
            added = sum(len(hunk.insert) for hunk in edit.hunks)
            overwritten |= gone > 0
            retractions += 0 < len(edit.base) == gone and not added
            continue
        if isinstance(edit, EditCounter):
            continue  # what was counted is all there still
        stood = _stood(edit.seen)
        overwritten |= stood
        values = [item.value for item in edit.items] if isinstance(edit, Restore) else [edit.value]
        if all(value is None for value in values):
            retractions += stood
        elif isinstance(edit, SetField) and edit.value in retracts.get(edit.field, ()):
            marks += 1
    return Weight(retractions + marks, marks, overwritten)


def _stood(seen: Mapping[str, str]) -> bool:
    """Whether something stood in these slots."""
    return any(item.value not in (None, False) for raw in seen.values() for item in items_of("", raw))
