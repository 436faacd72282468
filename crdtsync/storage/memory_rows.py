"""The same in memory as `sqlite_rows` on disk."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial

from crdtsync.errors import UsageError
from crdtsync.storage.base import KindState, ViewChange
from crdtsync.storage.checks import keep_detected
from crdtsync.storage.memory_view import MemoryView


class MemoryRows(MemoryView):
    """The part of a `MemoryStore` that derives rows anew."""

    def __init__(self) -> None:
        super().__init__()
        self._kind_states: dict[str, KindState] = {}

    def write_rows(self, changes: Sequence[ViewChange]) -> None:
        """Replace rows, words and conflicts of records that are there."""
        self._open()
        anew = []
        for change in changes:
            key = (change.document.kind, change.document.record)
            before = self._entries.get(key)
            if before is None:
                raise UsageError(f"the view has no {key[0]} {key[1]} to derive a row from; write_view comes first")
            detected = {conflict.id: conflict.detected_ms for conflict in before.conflicts}
            anew.append(
                ViewChange(
                    replace(before.document, damaged=change.document.damaged),
                    change.row,
                    change.words,
                    keep_detected(change.conflicts, detected),
                    before.arrival,
                )
            )
        self.write_view(anew)

    def kind_states(self) -> dict[str, KindState]:
        """What was noted of kinds' rows."""
        self._guard()
        return dict(self._kind_states)

    def write_kind_state(self, kind: str, state: KindState) -> None:
        """Note how far a kind's rows are, with the transaction that is open."""
        undo = self._open()
        undo.append(partial(self._note, kind, self._kind_states.get(kind)))
        self._note(kind, state)

    def _note(self, kind: str, state: KindState | None) -> None:
        self._kind_states.pop(kind, None)
        if state is not None:
            self._kind_states[kind] = state
