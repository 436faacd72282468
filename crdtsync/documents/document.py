"""A record's CRDT document: bytes in, bytes out, and nothing of the CRDT library beyond this file.

The raw classes of pycrdt are used, not its Python layer, which doubles the time to load a document; the package is
pinned to one minor version, and `tests/documents/test_pycrdt_contract.py` shows what is relied on:

- updates applied in causal order give equal documents in any batching; out of order they silently do not (L2);
- state vectors and update bytes prove nothing; the snapshot, sorted, does (L5);
- positions in texts are UTF-8 bytes; numbers come back as floats; panics are no `Exception`.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, NoReturn, TypeVar

from pycrdt import _pycrdt as crdt

from crdtsync import limits
from crdtsync.documents.count import raised
from crdtsync.documents.delta import Reach, Typed
from crdtsync.documents.edits import Edit, EditCounter, EditEntry, EditText, Restore, SetField
from crdtsync.documents.order import Order
from crdtsync.documents.slots import canonical, items_of, parse_items, slot_key
from crdtsync.documents.text import rebase
from crdtsync.errors import BadValue, Poisoned
from crdtsync.ids import RecordId

_MAP: Final = "r"
_TEXT: Final = "t:"
_WHOLE: Final = b"\x00"
_NEW_TEXT: Final = _TEXT.encode()
_BASIC: Final = "\uffff"
"""The last character that is one unit of UTF-16."""
_DOMAIN: Final = "crdtsync/fingerprint/1"

R = TypeVar("R")
BLANK: Final = bytes(32)
"""The fingerprint of a document without any write; it adds nothing to a digest, and is no record to be counted."""


@dataclass(frozen=True, slots=True)
class Content:
    """All that a document says: slots by key, and non-empty texts by field."""

    slots: Mapping[str, str]
    texts: Mapping[str, str]


class Document:
    """One record's document. Single-threaded: load, use and drop it in one thread.

    After Poisoned, and after an exception out of `write`, the object is broken for good (the library has no rollback):
    throw it away and load the last good state (L6).
    """

    __slots__ = ("_clocks", "_content", "_doc", "_map", "_order")

    def __init__(self, client: int, state: bytes = b"") -> None:
        """An empty document, or the one whose `state` was kept. `client` is the id that writes here: `ids.client_id`.

        Raises Poisoned when the state is not one.
        """
        self._content: Content | None = None
        self._clocks: dict[int, int] | None = None if state else {}
        self._doc: crdt.Doc | None = crdt.Doc(client, None, None)
        self._map: crdt.Map | None = None
        self._order = Order()
        self._guarded(lambda doc: self._load(doc, state))

    def _load(self, doc: crdt.Doc, state: bytes) -> None:
        transaction = doc.create_transaction()
        try:
            self._map = doc.get_or_insert_map(transaction, _MAP)
            if state:
                doc.apply_update(transaction, state)
        finally:
            transaction.drop()

    def missing(self, reach: Reach, own: int | None = None) -> list[int]:
        """The writers of whom a delta with this reach needs more than is here; empty when it fits.

        The delta's own writer is among them when its structs do not go on exactly where those of this document end, or
        at `own`, if the delta is to be applied behind others that end there. Costs less than 1 µs, but for the first
        question to a document that was loaded.
        """
        client, start, end, needs, _ = reach
        clocks = self._clocks
        if clocks is None:
            clocks = self._clocks = self._guarded(_clocks_of)
        here = clocks.get(client, 0) if own is None else own
        found = [client] if end and start != here else []
        for writer, clock in needs.items() if needs else ():
            if clock > (here if writer == client else clocks.get(writer, 0)) and writer not in found:
                found.append(writer)
        return found

    def apply(self, delta: bytes, reach: Reach | None = None) -> None:
        """Apply a delta that passed `check_delta`, and that fits. Deltas come in causal order (L2), in any batching.

        `reach` is what the check gave; without it, nothing is looked at that was found right when this delta was first
        applied. Raises Poisoned when the library cannot take it, or would have another document after `state` than
        before; then this document is broken.
        """
        self._content = None
        if reach is None:
            self._order = Order()
        else:
            self._order.learn(reach.client, reach.typed)
        self._guarded(lambda doc: _apply(doc, delta, self._order, reach.typed if reach else ()))
        if reach is None:
            self._clocks = None
        elif reach.end and self._clocks is not None:
            self._clocks[reach.client] = reach.end

    def state(self) -> bytes:
        """The whole document, to be kept. Equal documents may have different bytes."""
        return self._guarded(_state)

    def content(self) -> Content:
        """What the document says now."""
        if self._content is None:
            self._content = self._guarded(self._read)
        return self._content

    def fingerprint(self, kind: str, record: RecordId) -> bytes:
        """32 bytes that are equal exactly when two documents hold the same writes and say the same (L5).

        A document that nothing was written to has `BLANK`: it is as if it were not there.
        """
        content = self.content()
        deletes, clocks = parse_snapshot(self._guarded(lambda doc: crdt.Snapshot.from_doc(doc).encode()))
        if not deletes and not clocks:
            return BLANK
        whole = [_DOMAIN, kind, record, deletes, clocks, content.slots, content.texts]
        return hashlib.sha256(canonical(whole).encode()).digest()

    def write(self, *, tag: str, sequence: int, stamp: int, edits: Sequence[Edit]) -> bytes:
        """Make edits as commit `sequence` of the log that `tag` stands for; the delta, b"" when nothing changed.

        What was seen is overwritten, what was not stays beside it. Raises BadValue when one record's change is larger
        than `limits.delta_bytes_max`, or a counter beyond its limit; then, as after any exception here, this document
        is broken.
        """
        content = self.content()
        self._clocks = None
        self._order = Order()
        slots, texts = dict(content.slots), dict(content.texts)
        counts = _counts(edits, slots, tag, [sequence, stamp])
        updates: list[bytes] = []
        owns = [_own_slot(edit, tag) if isinstance(edit, SetField | EditEntry) else None for edit in edits]

        def make(doc: crdt.Doc) -> None:
            subscription = doc.observe(lambda event: updates.append(event.update))
            transaction = doc.create_transaction()
            try:
                for index, edit in enumerate(edits):
                    if isinstance(edit, EditText):
                        _write_text(doc, transaction, edit, texts)
                    elif isinstance(edit, Restore):
                        self._put_back(transaction, edit, slots, tag, sequence)
                    elif isinstance(edit, EditCounter):
                        self._write_count(transaction, slots, slot_key(edit.field, tag), counts)
                    else:
                        own = _own_slot(edit, tag)
                        self._write_slot(transaction, edit, slots, own, [sequence, stamp])
                        if own not in owns[index + 1 :]:  # what is overwritten at once would leave a hole in the delta
                            self._map_now.insert(transaction, own, slots[own])
            finally:
                transaction.drop()
                subscription.drop()

        self._guarded(make)
        typed = any(isinstance(edit, EditText) for edit in edits)
        # Where what was typed now stands is the library's word: a hostile delta may have bent the text's structs.
        self._content = None if typed else Content(slots, texts)
        delta = updates[0] if updates else b""
        if len(delta) > limits.delta_bytes_max:
            self._doc = None
            raise BadValue(
                f"one change of one record takes {len(delta)} bytes, at most {limits.delta_bytes_max} are allowed: "
                "split it into several, or keep the content as a file"
            )
        return delta

    @property
    def _map_now(self) -> crdt.Map:
        assert self._map is not None
        return self._map

    def _write_slot(
        self, transaction: crdt.Transaction, edit: SetField | EditEntry, slots: dict[str, str], own: str, at: list[int]
    ) -> None:
        item = [*at, edit.value] if edit.group_seen is None else [*at, edit.value, list(edit.group_seen)]
        raw = canonical([*_unseen(slots.get(own), edit.seen.get(own)), item])
        for slot, seen in edit.seen.items():
            if slot != own and slots.get(slot) == seen:
                self._map_now.remove(transaction, slot)
                del slots[slot]
        slots[own] = raw

    def _put_back(
        self, transaction: crdt.Transaction, edit: Restore, slots: dict[str, str], tag: str, sequence: int
    ) -> None:
        assert self._map is not None
        own = slot_key(edit.field, tag, edit.key)
        back = [[sequence, item.stamp, item.value, item.seen, [item.tag, item.sequence]] for item in edit.items]
        items = [*_unseen(slots.get(own), edit.seen.get(own)), *back]
        for slot, seen in edit.seen.items():
            if slots.get(slot) == seen and (slot != own or not items):
                self._map.remove(transaction, slot)
                del slots[slot]
        if items and (back or own in edit.seen):
            self._map.insert(transaction, own, canonical(items))
            slots[own] = canonical(items)

    def _write_count(
        self, transaction: crdt.Transaction, slots: dict[str, str], own: str, counts: Mapping[str, str]
    ) -> None:
        assert self._map is not None
        if slots.get(own) != counts[own]:
            self._map.insert(transaction, own, counts[own])
            slots[own] = counts[own]

    def _read(self, doc: crdt.Doc) -> Content:
        assert self._map is not None
        transaction = doc.create_transaction()
        try:
            slots = json.loads(self._map.to_json(transaction))
            roots = doc.roots(transaction)
            texts = {}
            for name in roots if len(roots) > 1 else ():
                if name.startswith(_TEXT):
                    text = doc.get_or_insert_text(transaction, name).get_string(transaction)
                    if text:
                        texts[name[len(_TEXT) :]] = text
        finally:
            transaction.drop()
        for slot, raw in slots.items():
            if type(raw) is not str:  # nobody of this house writes it; kept, and never shown
                slots[slot] = canonical(raw)
        return Content(slots, texts)

    def _guarded(self, act: Callable[[crdt.Doc], R]) -> R:
        """Run the library. Its panics derive from BaseException; whatever it raises breaks this document (L6)."""
        doc = self._doc
        if doc is None:
            raise Poisoned("this document is broken by an earlier delta; load the last good state")
        try:
            return act(doc)
        except (KeyboardInterrupt, SystemExit):
            raise
        except MemoryError:  # says something about this machine now, not about the bytes
            self._doc = self._map = self._content = None
            raise
        except BaseException as error:
            self._break(error)

    def _break(self, error: BaseException) -> NoReturn:
        self._doc = self._map = self._content = self._clocks = None
        raise Poisoned(f"the document cannot take this: {type(error).__name__}; load the last good state") from None


def _own_slot(edit: SetField | EditEntry, tag: str) -> str:
    return slot_key(edit.field, tag, edit.key if isinstance(edit, EditEntry) else None)


def _apply(doc: crdt.Doc, delta: bytes, order: Order, typed: Sequence[Typed]) -> None:
    transaction = doc.create_transaction()
    try:
        before = _texts(doc, transaction)
        doc.apply_update(transaction, delta)
    finally:
        transaction.drop()
    if typed and not order.right(doc, typed):
        raise ValueError("text between characters that do not stand in this order")
    if before or _NEW_TEXT in delta:
        _check_texts(doc, before)


def _texts(doc: crdt.Doc, transaction: crdt.Transaction) -> dict[str, str]:
    """The texts of a document, by root; refused when anything but characters stands in one.

    A value that was put between characters is invisible and counts as one byte: whoever wrote there next would hit
    another place and split a character.
    """
    roots = doc.roots(transaction)
    texts = {}
    for name in roots if len(roots) > 1 else ():
        if name.startswith(_TEXT):
            text = doc.get_or_insert_text(transaction, name)
            texts[name] = text.get_string(transaction)
            if text.len(transaction) != len(texts[name].encode()):
                raise ValueError("a value inside a text")
    return texts


def _check_texts(doc: crdt.Doc, before: Mapping[str, str]) -> None:
    """Refuse a delta that cut a character in half: clocks of texts count UTF-16, and from then on the document in
    memory is another than the one that its state gives."""
    now = _seen(doc)
    if any(max(text, default="") > _BASIC for text in (*before.values(), *now[0].values())):
        again = crdt.Doc(1, None, None)
        transaction = again.create_transaction()
        try:
            again.get_or_insert_map(transaction, _MAP)
            again.apply_update(transaction, _state(doc))
        finally:
            transaction.drop()
        if _seen(again) != now:
            raise ValueError("half a character")


def _seen(doc: crdt.Doc) -> tuple[dict[str, str], list[Any]]:
    """The texts that say something, and each writer's clock."""
    transaction = doc.create_transaction()
    try:
        numbers = _numbers(doc.get_state(transaction))
        texts = {name: text for name, text in _texts(doc, transaction).items() if text}
        return texts, sorted(zip(numbers[1::2], numbers[2::2], strict=True))
    finally:
        transaction.drop()


def _state(doc: crdt.Doc) -> bytes:
    transaction = doc.create_transaction()
    try:
        return doc.get_update(transaction, _WHOLE)
    finally:
        transaction.drop()


def _clocks_of(doc: crdt.Doc) -> dict[int, int]:
    """How many structs of each writer the document has."""
    transaction = doc.create_transaction()
    try:
        take = iter(_numbers(doc.get_state(transaction))).__next__
    finally:
        transaction.drop()
    return {take(): take() for _ in range(take())}


def _unseen(now: str | None, seen: str | None) -> list[list[Any]]:
    """The items of the own slot that the writer had not seen: another transaction of this log came in between."""
    if now is None or now == seen:
        return []
    known = {canonical(item) for item in parse_items(seen) or ()} if seen is not None else set()
    return [item for item in parse_items(now) or () if canonical(item) not in known]


def _counts(edits: Sequence[Edit], slots: Mapping[str, str], tag: str, at: list[int]) -> dict[str, str]:
    """What the slots of counters are to hold. Only this log writes them, so the sums go on from what stands there now,
    whatever was read before. Raises BadValue, before the document is touched."""
    sums: dict[str, list[int]] = {}
    for edit in edits:
        if isinstance(edit, EditCounter):
            own = slot_key(edit.field, tag)
            before = [sums[own]] if own in sums else [item.value for item in items_of(tag, slots.get(own, ""))]
            sums[own] = raised(before, edit.plus, edit.minus)
    return {own: canonical([[*at, both]]) for own, both in sums.items()}


def _write_text(doc: crdt.Doc, transaction: crdt.Transaction, edit: EditText, texts: dict[str, str]) -> None:
    text = doc.get_or_insert_text(transaction, _TEXT + edit.field)
    current = texts.get(edit.field, "")
    hunks = edit.hunks if current == edit.base else rebase(edit.hunks, edit.base, current)
    for start, end, insert in reversed(hunks):
        at = len(current[:start].encode())
        if end > start:
            text.remove_range(transaction, at, len(current[start:end].encode()))
        if insert:
            text.insert(transaction, at, insert)
        current = current[:start] + insert + current[end:]
    texts[edit.field] = current


def parse_snapshot(data: bytes) -> tuple[list[Any], list[Any]]:
    """A snapshot as sorted lists: `[client, [[clock, length] ...]]` of what is deleted, and `[client, clock]`.

    The library writes them in the order of a hash map and may split a deleted range; neither says anything.
    """
    numbers = _numbers(data)
    take = iter(numbers).__next__
    deletes: list[Any] = []
    for _ in range(take()):
        client = take()
        ranges = sorted([take(), take()] for _ in range(take()))
        merged: list[list[int]] = []
        for clock, length in ranges:
            if merged and clock <= merged[-1][0] + merged[-1][1]:
                merged[-1][1] = max(merged[-1][1], clock + length - merged[-1][0])
            else:
                merged.append([clock, length])
        if merged:
            deletes.append([client, merged])
    clocks = [[take(), take()] for _ in range(take())]
    return sorted(deletes), sorted(clocks)


def _numbers(data: bytes) -> list[int]:
    numbers = []
    value = shift = 0
    for byte in data:
        value |= (byte & 127) << shift
        if byte > 127:
            shift += 7
        else:
            numbers.append(value)
            value = shift = 0
    return numbers
