"""What people cannot set by hand: numbers of series, what stands on an issued invoice, and the series themselves.

Every local transaction passes here, in the store's thread, before the brake. An invoice of a known series gets its
number, and the status `issued`, from the series' holder alone; once it is ready, what is to stand on it is frozen, and
once it is issued it stays so. Invoices of no series, or of one that this practice does not have, are free. An import
may bring invoices that were issued elsewhere.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Final

from crdtsync.authority.series import series_id
from crdtsync.documents import Content, Edit, Restore, SetField, edits_of
from crdtsync.documents.slots import canonical
from crdtsync.engine import RecordEdits, WriteOutcome, WriteRequest
from crdtsync.errors import RefusedError
from crdtsync.practice.series import SeriesGap
from crdtsync.series_state import KIND, Given, Look, load, time_of, values_of

CONTENT: Final = ("patient", "recipient", "lines", "cancels")
"""What stands on an invoice: frozen when it is issued."""
_GIVEN: Final = ("number", "issued_content")
_OPEN: Final = ("draft", "ready", "cancelled")
"""States that people set of an invoice without a number."""
_AFTER: Final = ("issued", "balanced")
"""States that people set of an invoice that has one."""


class Frozen:
    """The rules of one replica. Used in the store's thread alone; `look` reads records of the view."""

    def __init__(self, look: Look) -> None:
        self._look = look

    def judge(self, request: WriteRequest, now_ms: int) -> WriteRequest | WriteOutcome:
        """The request, to be written, or what became of it instead. One that decides between two numbers of an invoice
        notes in the series what became of the other."""
        if not any(edits.kind in ("invoice", KIND) for edits in request.records):
            return request
        noted: list[RecordEdits] = []
        for edits in request.records:
            refusal = self.refusal(edits, new=request.mass)
            if refusal:
                return WriteOutcome(error=RefusedError(refusal))
            noted += self._decided(edits, request.author, now_ms)
        return replace(request, records=[*request.records, *noted]) if noted else request

    def refusal(self, edits: RecordEdits, *, new: bool = False) -> str:
        """Why people may not make these edits, as a sentence that says what to do; empty when they may. `new` lets
        invoices be created with a number."""
        if edits.kind == KIND and edits.edits:
            return (
                "a series is changed by nobody's hand: use `series add`, `hand-over` and `take-over`; its counts and "
                "terms stay as they were written"
            )
        if edits.kind != "invoice":
            return ""
        content = self._look("invoice", edits.record)
        named = [] if content is None else values_of(content, "series")
        named += [value for value in _set_to(edits.edits, "series") if value is not None]
        if not any(type(name) is str and self._look(KIND, series_id(name)) is not None for name in named):
            return ""
        if content is None:
            return "" if new else _refused_at_first(edits.edits)
        if values_of(content, "number") or values_of(content, "issued_content"):
            return _refused_when_issued(edits, content)
        return _refused_before(edits, content)

    def _decided(self, edits: RecordEdits, author: str, now_ms: int) -> list[RecordEdits]:
        """Whoever keeps one of two numbers of an invoice leaves a gap where the other was."""
        kept = next((each.value for each in edits.edits if isinstance(each, SetField) and each.field == "number"), None)
        content = self._look("invoice", edits.record) if edits.kind == "invoice" and kept is not None else None
        found = []
        for issued in [] if content is None else values_of(content, "issued_content"):
            given = Given.of(issued)
            series = None if given is None or given.number == kept else load(self._look, series_id(given.series))
            if given is None or series is None:
                continue
            place, n = given.place, given.n
            why = f"invoice {edits.record} was given two numbers, and {kept} was kept"
            series.record.gaps.add(SeriesGap(
                term=place[0], year=place[1], first=n, last=n, reason=why, author=author, at=time_of(now_ms)
            ))  # fmt: skip
            found.append(RecordEdits(KIND, series.record.id, series.record.id, edits_of(series.record, str)))
        return found


def _set_to(edits: Sequence[Edit], field: str) -> list[Any]:
    """What a field is set to; [None] where it is put back, to whatever it was."""
    found: list[Any] = []
    for edit in edits:
        if edit.field == field:
            found.append(edit.value if isinstance(edit, SetField) else None)
    return found


def _refused_at_first(edits: Sequence[Edit]) -> str:
    if any(value is not None for field in _GIVEN for value in _set_to(edits, field)):
        return "the number of an invoice comes from its series: leave it out, and use `invoice issue`"
    if any(value not in (None, *_OPEN) for value in _set_to(edits, "status")):
        return "an invoice of a series is issued by `invoice issue`; make it as a draft"
    return ""


def _refused_before(edits: RecordEdits, content: Content) -> str:
    """An invoice of a series without a number."""
    for field in _GIVEN:
        if _set_to(edits.edits, field):
            return f"invoice {edits.record} gets its number from its series: use `invoice issue`"
    states = _set_to(edits.edits, "status")
    if any(state not in (None, *_OPEN) for state in states):
        return f"invoice {edits.record} is issued by its series: use `invoice issue`"
    freed = any(state in ("draft", "cancelled") for state in states)
    if "ready" in values_of(content, "status") and not freed:
        touched = sorted({edit.field for edit in edits.edits} & {*CONTENT, "series"})
        if touched:
            return (
                f"invoice {edits.record} is ready to be issued, so {', '.join(touched)} cannot be changed: set its "
                "status back to draft first"
            )
    return ""


def _refused_when_issued(edits: RecordEdits, content: Content) -> str:
    """An invoice that has a number of a series."""
    touched = sorted({edit.field for edit in edits.edits} & {*CONTENT, "series"})
    if touched:
        return (
            f"invoice {edits.record} is issued, so {', '.join(touched)} cannot be changed: cancel it with `invoice "
            "cancel`, and make a new one"
        )
    cancelled = values_of(content, "status") == ["cancelled"]
    for edit in edits.edits:
        if edit.field in _GIVEN and not _decides(edit, content):
            return f"invoice {edits.record} is issued: its number and what stands on it stay for ever"
        if edit.field != "status" or _decides(edit, content):
            continue
        if cancelled or isinstance(edit, Restore) or edit.value not in _AFTER:  # type: ignore[union-attr]  # a status has no hunks
            return (
                f"invoice {edits.record} is issued: it can be balanced, and it is cancelled by a cancellation invoice "
                "(`invoice cancel`)"
            )
    return ""


def _decides(edit: Edit, content: Content) -> bool:
    """Whether an edit keeps one of several values that stand against each other."""
    values = [canonical(value) for value in values_of(content, edit.field)]
    return isinstance(edit, SetField) and len(values) > 1 and canonical(edit.value) in values
