"""The view as the engine keeps it: what it was derived from, what it sums up to, how records get into it (L5, L8)."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Final

import crdtsync.practice  # noqa: F401  # declares the built-in kinds
from crdtsync.documents import BLANK, Document, Projection, Record, kinds, model_of, project, table_of
from crdtsync.engine.between import Between
from crdtsync.engine.persons import Persons
from crdtsync.engine.rows import Rows
from crdtsync.engine.shelf import OpenRecord, Unsound
from crdtsync.engine.watch import Watch
from crdtsync.errors import Poisoned
from crdtsync.ids import RecordId
from crdtsync.replication.stored import LogHead
from crdtsync.storage.base import KindState, Store, StoredConflict, StoredDocument, TableSpec, ViewChange, ViewState

_NOT_SHOWN: Final = "Not shown in tables: "
_CLIENT: Final = 1
_MODULUS: Final = 1 << 256


class View:
    """The running sums of a store's view, and the way in which records are written to it."""

    def __init__(self, store: Store, watch: Watch) -> None:
        self._store = store
        self._watch = watch
        self._declared: tuple[type[Record], ...] = ()
        self.rows = Rows(store)
        self.persons = Persons(store)
        self._detected: dict[str, int] = {}
        self._between = Between(store)
        self.changed: list[tuple[str, RecordId]] = []
        self.watch: Callable[[tuple[str, RecordId], bytes, bytes], None] | None = None
        """Told of every record that is written: its fingerprint before (b"" when it is new) and now."""
        self.declare()
        self.load()

    def declare(self) -> None:
        """Declare the tables of kinds and fields that are new in this program, and note whose rows lack them.

        Raises RefusedError, and changes nothing, where a kind is declared otherwise than here before.
        """
        models = tuple(kinds().values())
        if self._declared == models:
            return
        self.rows.load()
        self.rows.check()
        self._store.declare_tables(table_specs())
        self._declared = models
        self._note(self.rows.outdated())

    def _note(self, states: Mapping[str, KindState]) -> None:
        if states:
            self._store.begin_view()
            try:
                self.rows.note(states)
                self._store.commit_view(self._store.view_state())
            except BaseException:
                self._store.abort_view()
                self.rows.load()
                raise

    def load(self) -> None:
        """Take over what the store says."""
        self._between.forget()
        self.rows.load()
        state = self._store.view_state()
        self.head = state.head
        self.records = state.records
        self._digest = int.from_bytes(state.digest, "big")

    @property
    def digest(self) -> bytes:
        """The order-free sum of all fingerprints, 32 bytes (L5)."""
        return self._digest.to_bytes(32, "big")

    def write(self, found: Sequence[OpenRecord]) -> None:
        """Write records into the transaction that is open, and bring the sums up to date."""
        changes = []
        digest = self._digest
        for each in found:
            before = each.fingerprint
            change = self._watched(each)
            changes.append(change)
            self._between.note(change, each.arrived_ms, new=not before)
            digest += int.from_bytes(each.fingerprint, "big") - int.from_bytes(before, "big")
            self.records += is_record(each.fingerprint) - is_record(before)
            if self.watch is not None:
                self.watch((each.kind, each.record), before, each.fingerprint)
            if change.row is None and model_of(each.kind) is None:
                self.rows.left_out(each.kind)
        self._digest = digest % _MODULUS
        self._store.write_view(changes)
        self.persons.update(changes)
        if self._between.full:
            self._between.settle(self._detected)
        self.changed.extend([(each.kind, each.record) for each in found])

    def _watched(self, found: OpenRecord) -> ViewChange:
        self._watch.begin()
        try:
            return view_change(found, self._detected)
        finally:
            self._watch.busy = False

    def write_rows(self, documents_max: int, now_ms: int) -> None:
        """Derive the next rows that lack what is declared, into the transaction that is open, from their documents.

        A conflict that nobody could see so far counts as seen now. Raises Unsound for a document that does not load.
        """
        for kind in self.rows.behind[:1]:
            page = self._store.documents(kind, (kind, self.rows.after(kind)), documents_max)
            changes = []
            for stored in page:
                found = opened(stored)
                found.arrived_ms = now_ms
                found.damaged = "" if stored.damaged.startswith(_NOT_SHOWN) else stored.damaged
                changes.append(self._watched(found))
                self._between.note(changes[-1], found.arrived_ms, new=False)
            self._store.write_rows(changes)
            self.persons.update(changes)
            self.rows.went(kind, [stored.record for stored in page], more=len(page) == documents_max)

    @property
    def totals(self) -> tuple[bytes, int]:
        """Digest and number of records."""
        return self.digest, self.records

    @totals.setter
    def totals(self, totals: tuple[bytes, int]) -> None:
        self._digest, self.records = int.from_bytes(totals[0], "big"), totals[1]

    def commit(self, head: LogHead) -> None:
        """End the transaction: the view is now derived up to `head`, conflicts between records included."""
        self._between.settle(self._detected)
        self._store.commit_view(ViewState(head, self.digest, self.records))
        self.head = head

    def reset(self) -> None:
        """Empty the view, to be derived again from the log (L8)."""
        self._empty()
        self.load()

    def _empty(self) -> None:
        """Empty the store's view. What is known is when its conflicts were seen first: the log does not tell that."""
        self._detected = {conflict.id: conflict.detected_ms for conflict in self._store.conflicts()}
        self._store.reset_view()
        self._note(self.rows.emptied())


def opened(stored: StoredDocument) -> OpenRecord:
    """A document of the view in memory, to be looked at. Raises Unsound when it does not load."""
    try:
        found = OpenRecord(stored.kind, stored.record, stored.subject, Document(_CLIENT, stored.state))
    except Poisoned:
        raise Unsound(stored.kind, stored.record) from None
    found.fingerprint = stored.fingerprint
    found.damaged = stored.damaged
    return found


def is_record(fingerprint: bytes) -> bool:
    """Whether this is the fingerprint of a record that counts: one that is there and has been written to."""
    return fingerprint not in (b"", BLANK)


def table_specs() -> list[TableSpec]:
    """The tables of all kinds that this program knows."""
    specs = []
    for kind in sorted(kinds()):
        columns, indexes = table_of(kind)
        specs.append(TableSpec(kind, columns, indexes))
    return specs


def view_change(found: OpenRecord, detected: Mapping[str, int]) -> ViewChange:
    """What the view keeps of a record now; `found.fingerprint` is brought up to date.

    A conflict counts as seen when the change arrived that made it, or since `detected` if it was known before.
    """
    kind, record, document = found.kind, found.record, found.document
    content = document.content()
    damaged = found.damaged
    found.fingerprint = document.fingerprint(kind, record)
    try:
        projection = project(kind, record, content)
    except Exception as error:  # a value that no rule foresaw must not stop the site (L6)
        projection = Projection(None, "", [])
        damaged = damaged or f"{_NOT_SHOWN}its values could not be read ({type(error).__name__})."
    conflicts = [
        StoredConflict(
            conflict.id,
            "field",
            record,
            conflict.severity,
            json.dumps(
                {
                    "severity": conflict.severity,
                    "records": [record],
                    "field": conflict.field,
                    "values": conflict.values,
                },
                ensure_ascii=False,
                separators=(",", ":"),
            ),
            detected.get(conflict.id, found.arrived_ms),
        )
        for conflict in projection.conflicts
    ]
    stored = StoredDocument(kind, record, found.subject, document.state(), found.fingerprint, damaged)
    return ViewChange(stored, projection.row, projection.words, conflicts, found.arrival, found.touches)
