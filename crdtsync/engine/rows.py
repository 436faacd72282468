"""Rows that are derived anew, a few at a time, when the program knows more of a kind than those who wrote them (L8).

Documents hold everything, also what no program here knew when it came; so what a later version of a kind shows of them
follows from the documents alone, without the log. Per kind the view notes from which declaration its rows follow, and
up to which record: in the same transaction as the rows, so a process that ends goes on where it was. What is written
meanwhile is right at once.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Final

from crdtsync import limits
from crdtsync.documents import kinds
from crdtsync.documents.declared import columns_behind, declared, refusal, with_former
from crdtsync.documents.slots import canonical
from crdtsync.errors import RefusedError
from crdtsync.ids import RecordId
from crdtsync.storage.base import KindState, Store

_ALL: Final = ""
"""Behind no record's id: all of them are to be gone over."""


class Rows:
    """How far the rows of each kind are. What it changes lies in the caller's transaction of the view."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._states: dict[str, KindState] = {}
        self.wanted: set[str] = set()
        """Kinds that somebody waits for: their rows come first."""

    def load(self) -> None:
        """Take over what the store says."""
        self._states = self._store.kind_states()

    def check(self) -> None:
        """Raise RefusedError where this program declares a kind otherwise than programs here did before.

        What was declared just so before is an older program, and welcome: what it does not know stays as it is.
        """
        for kind, model in kinds().items():
            state = self._states.get(kind)
            if state is None:
                continue
            now, former = declared(model.plan()), json.loads(state.former)
            if _mark(now) not in former["seen"]:
                reason = refusal(kind, former["all"], now)
                if reason:
                    raise RefusedError(reason)

    def outdated(self) -> dict[str, KindState]:
        """What is to be noted of kinds whose rows do not follow from what is declared now."""
        filled: Mapping[str, int] | None = None
        found = {}
        for kind, model in kinds().items():
            now, state = declared(model.plan()), self._states.get(kind)
            before = json.loads(state.declared) if state is not None and state.declared else None
            if before == now:
                continue
            filled = self._store.counts() if filled is None else filled  # rows of a kind without records are right
            behind = _joined(state, columns_behind(model.plan(), before, now)) if filled.get(kind) else ()
            after = _ALL if filled.get(kind) else None
            found[kind] = KindState(canonical(now), _former(state, now), after, behind)
        return found

    def note(self, states: Mapping[str, KindState]) -> None:
        """Remember this with the open transaction."""
        for kind, state in states.items():
            self._store.write_kind_state(kind, state)
            self._states[kind] = state

    def left_out(self, kind: str) -> None:
        """A record of a kind was written that no model here declares: a program that knows it has to add the row."""
        state = self._states.get(kind)
        if state is not None and state.declared:
            self.note({kind: replace(state, declared="", after=_ALL, behind=None, done=0)})

    def emptied(self) -> dict[str, KindState]:
        """What is to be noted when the view was emptied: all that comes follows from what is declared now."""
        for kind in self._states:
            if kind not in kinds():
                continue
            self._states[kind] = replace(self._states[kind], after=None, behind=(), done=0)
        return dict(self._states)

    @property
    def behind(self) -> list[str]:
        """The kinds of which rows are to be derived anew here, those first that somebody waits for."""
        found = [kind for kind in sorted(self._states) if self._states[kind].after is not None and kind in kinds()]
        return sorted(found, key=lambda kind: kind not in self.wanted)

    def misses(self, kind: str, record: RecordId) -> bool:
        """Whether this record's row may still be as a former declaration had it."""
        state = self._states.get(kind)
        return state is not None and state.after is not None and record > state.after

    def after(self, kind: str) -> str:
        """Up to which record the rows of a kind that is behind are right."""
        return self._states[kind].after or _ALL

    def went(self, kind: str, records: Sequence[RecordId], *, more: bool) -> None:
        """These, the next ones, were derived anew, and there may be `more`. Noted with the open transaction."""
        state = self._states[kind]
        if more:
            self.note({kind: replace(state, after=records[-1], done=state.done + len(records))})
        else:
            self.wanted.discard(kind)
            self.note({kind: replace(state, after=None, behind=(), done=0)})

    def progress(self, filled: Mapping[str, int]) -> list[dict[str, Any]]:
        """`{"kind", "done", "total"}` of each kind that is behind."""
        done = {kind: self._states[kind].done for kind in sorted(self.behind)}
        return [{"kind": kind, "done": done[kind], "total": filled.get(kind, 0)} for kind in done]


def _former(state: KindState | None, now: Mapping[str, Any]) -> str:
    """All that was declared here, and the marks of each declaration, the newest last (L7)."""
    former = json.loads(state.former) if state is not None else {"all": None, "seen": []}
    mark = _mark(now)
    seen = [*(other for other in former["seen"] if other != mark), mark]
    return canonical({"all": with_former(former["all"], now), "seen": seen[-limits.declarations_remembered_max :]})


def _mark(now: Mapping[str, Any]) -> str:
    """Tells declarations apart by their fields."""
    return hashlib.sha256(canonical(now["fields"]).encode()).hexdigest()[:32]


def _joined(state: KindState | None, behind: Iterable[str] | None) -> tuple[str, ...] | None:
    """Columns that are behind now, and those of which some rows still were."""
    if behind is None or (state is not None and state.after is not None and state.behind is None):
        return None
    return tuple(sorted({*behind, *((state.behind or ()) if state is not None and state.after is not None else ())}))
