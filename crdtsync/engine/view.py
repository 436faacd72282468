"""The view as the engine keeps it: what it was derived from, what it sums up to, how records get into it (L5, L8)."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Final

import crdtsync.practice  # noqa: F401  # declares the built-in kinds
from crdtsync.documents import BLANK, Projection, kinds, model_of, project, table_of
from crdtsync.engine.between import Between
from crdtsync.engine.shelf import OpenRecord
from crdtsync.engine.watch import Watch
from crdtsync.ids import RecordId
from crdtsync.replication.stored import LogHead
from crdtsync.storage.base import Store, StoredConflict, StoredDocument, TableSpec, ViewChange, ViewState

_META_BARE_KINDS: Final = "engine.kinds-without-model"
_MODULUS: Final = 1 << 256


class View:
    """The running sums of a store's view, and the way in which records are written to it."""

    def __init__(self, store: Store, watch: Watch) -> None:
        self._store = store
        self._watch = watch
        bare = store.meta(_META_BARE_KINDS)
        self._bare: set[str] = set(json.loads(bare)) if bare else set()
        self._declared = 0
        self._detected: dict[str, int] = {}
        self._between = Between(store)
        self.changed: list[tuple[str, RecordId]] = []
        self.watch: Callable[[tuple[str, RecordId], bytes, bytes], None] | None = None
        """Told of every record that is written: its fingerprint before (b"" when it is new) and now."""
        self.declare()
        self.load()

    def declare(self) -> bool:
        """Declare the tables of kinds that are new in this program. True when the view was emptied for that.

        Rows that only now can be filled were left out so far: the log has what they need (L8).
        """
        if self._declared == len(kinds()):
            return False
        added = self._store.declare_tables(table_specs())
        self._declared = len(kinds())
        if not added and not any(model_of(kind) for kind in self._bare):
            return False
        self._empty()
        return True

    def load(self) -> None:
        """Take over what the store says."""
        self._between.forget()
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
            self._watch.begin()
            try:
                change = view_change(each, self._detected)
            finally:
                self._watch.busy = False
            changes.append(change)
            self._between.note(change, each.arrived_ms, new=not before)
            digest += int.from_bytes(each.fingerprint, "big") - int.from_bytes(before, "big")
            self.records += is_record(each.fingerprint) - is_record(before)
            if self.watch is not None:
                self.watch((each.kind, each.record), before, each.fingerprint)
            if change.row is None and each.kind not in self._bare and model_of(each.kind) is None:
                self._note_bare(each.kind)
        self._digest = digest % _MODULUS
        self._store.write_view(changes)
        if self._between.full:
            self._between.settle(self._detected)
        self.changed.extend([(each.kind, each.record) for each in found])

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
        self._forget_bare()

    def _note_bare(self, kind: str) -> None:
        """Remember that rows of this kind are missing, before the view counts: a later program may know its model."""
        self._bare.add(kind)
        self._store.set_meta({_META_BARE_KINDS: json.dumps(sorted(self._bare)).encode()})

    def _forget_bare(self) -> None:
        if self._bare:
            self._bare.clear()
            self._store.set_meta({_META_BARE_KINDS: None})


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
        damaged = damaged or f"Not shown in tables: its values could not be read ({type(error).__name__})."
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
