"""Conflicts between records, derived at the end of each transaction of the view over the records that changed (L8).

A changed record may have come to places where others are, and may have left places where it clashed. All conflicts at
these places are found anew: what stands at a place follows from the records there alone, not from the order in which
they came, so every site has the same conflicts under the same ids (L5), and so does a view that is derived anew.

A machine cancels nothing: this only tells.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from itertools import islice
from typing import Any, Final, Protocol

from crdtsync import limits
from crdtsync.documents import Document, model_of, project
from crdtsync.documents.conflict import between_id
from crdtsync.documents.settling import settle, written
from crdtsync.documents.slots import canonical
from crdtsync.engine.clashes import BOOKING, RULES, SHARED, WATCHED, Member, Rule, claims, fold_of
from crdtsync.engine.shelf import Unsound
from crdtsync.errors import Poisoned
from crdtsync.ids import RecordId, is_record_id
from crdtsync.storage.base import Store, StoredConflict, StoredDocument, ViewChange

ISSUE: Final = "detected_issue"
"""The kind of record that holds the state of a conflict, under the conflict's id."""
_CLIENT: Final = 1
_PAGE: Final = 500


class Between:
    """Keeps the conflicts between records of one view up to date."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._arrived: dict[RecordId, int] = {}
        self._moved: dict[str, list[RecordId]] = {}
        self._left: dict[str, None] = {}
        self._claims: dict[RecordId, Mapping[str, str]] = {}
        self._issues = False

    def note(self, change: ViewChange, arrived_ms: int, *, new: bool) -> None:
        """A record is about to be written into the transaction that is open; its last change came at `arrived_ms`.

        One of which nothing that rules look at has changed is only compared again where it clashed so far: most edits
        cost one look at its row.
        """
        kind, record, row = change.document.kind, change.document.record, change.row or {}
        columns = WATCHED.get(kind)
        if columns is None:
            self._issues = self._issues or kind == ISSUE
            return
        self._arrived[record] = arrived_ms
        before = None if new else self._store.columns_of(kind, record, columns)
        if before != tuple(map(row.get, columns)):
            self._moved.setdefault(kind, []).append(record)
            if before is not None:
                self._left.update(_places_of(kind, dict(zip(columns, before, strict=True))))
            if kind == BOOKING.kind and is_record_id(record):
                self._claims[record] = _claimed(row)

    @property
    def full(self) -> bool:
        """Whether so much was noted that it should be settled before more is."""
        return len(self._arrived) >= limits.between_records_max

    def forget(self) -> None:
        """The transaction was dropped."""
        self._arrived, self._moved, self._left, self._claims, self._issues = {}, {}, {}, {}, False

    def settle(self, detected: Mapping[str, int]) -> None:
        """Bring the conflicts up to date with what was noted, in the transaction that is open.

        A conflict counts as seen when the last of the changes came by which it was found, or as `detected` says.
        """
        if not self._arrived and not self._issues:
            return
        if self._claims:
            self._store.write_claims(self._claims)
        found: dict[str, Sequence[StoredConflict]] = {}
        for place in self._places():
            before = {conflict.id: conflict for conflict in self._store.between_at(place)}
            after = [_dated(each, before, detected, self._arrived) for each in conflicts_at(self._store, place)]
            if after != list(before.values()):
                found[place] = after
        if found or self._issues:
            self._store.write_between(found)
        self.forget()

    def _places(self) -> dict[str, None]:
        """Where something may have changed: where moved records meet others now, which places they have left (others
        there may have been linked through them), and where any clashed so far."""
        places = self._left
        for rule in SHARED:
            for value in _shared(self._store, rule, self._moved.get(rule.kind, ())):
                places[_place(rule, value)] = None
        for claimed in self._claims.values():
            for hour in claimed:
                places[_place(BOOKING, hour)] = None
        places.update(dict.fromkeys(self._store.between_places(self._arrived)))
        return places


def _shared(store: Store, rule: Rule, records: Collection[RecordId]) -> Iterator[str]:
    """The values, as canonical JSON, by which any of the records may clash with another."""
    for value, mine, its in store.sharing(rule.kind, rule.columns[0], records, rule.alike) if records else ():
        if rule.alike is None or fold_of(mine) == fold_of(its):
            yield canonical(value)


def _place(rule: Rule, where: str) -> str:
    return f"{rule.name} {where}"


def _places_of(kind: str, row: Mapping[str, Any]) -> dict[str, None]:
    """The places of a record, but for hours that it claims."""
    shared = ((rule, row[rule.columns[0]]) for rule in SHARED if rule.kind == kind)
    return {_place(rule, canonical(value)): None for rule, value in shared if value is not None}


def _claimed(row: Mapping[str, Any]) -> Mapping[str, str]:
    try:
        return claims(row)
    except Exception:  # as below
        return {}


def _dated(
    conflict: StoredConflict,
    before: Mapping[str, StoredConflict],
    detected: Mapping[str, int],
    arrived: Mapping[RecordId, int],
) -> StoredConflict:
    known = before.get(conflict.id)
    since = known.detected_ms if known is not None else detected.get(conflict.id)
    if since is None:
        since = max(arrived.get(record, 0) for record in json.loads(conflict.body)["records"])
    return StoredConflict(conflict.id, conflict.kind, conflict.record, conflict.severity, conflict.body, since)


def conflicts_at(store: Store, place: str) -> list[StoredConflict]:
    """The conflicts at a place as they follow from the records there, in order of their ids; without times."""
    name, _, where = place.partition(" ")
    rule = RULES[name]
    if rule is BOOKING:
        members = [Member(record, {"claim": body}) for record, body in store.claimants(where)]
    else:
        rows = store.holding(rule.kind, rule.columns, json.loads(where))
        members = [
            Member(row[0], dict(zip(rule.columns, row[1:], strict=True))) for row in rows if is_record_id(row[0])
        ]
    return _conflicts(store, rule, members, where)


def _conflicts(store: Store, rule: Rule, members: Sequence[Member], where: str) -> list[StoredConflict]:
    if len(members) < 2:
        return []
    try:
        pairs = list(islice(rule.pairs(members, where), limits.clashes_per_place_max))
    except Exception:  # rows hold what members wrote: one that nobody foresaw must not stop the site (L6)
        return []
    return sorted((_conflict(store, rule, pair) for pair in pairs), key=lambda conflict: conflict.id)


def _conflict(store: Store, rule: Rule, pair: Sequence[RecordId]) -> StoredConflict:
    records = sorted(pair)
    commits: set[str] = set()
    values = [_value(store, rule, record, commits) for record in records]
    body = {"severity": rule.severity, "records": records, "field": "+".join(rule.fields), "values": values}
    text = json.dumps(body, ensure_ascii=False, separators=(",", ":"))
    return StoredConflict(
        between_id(rule.conflict, records, commits), rule.conflict, records[0], rule.severity, text, 0
    )


def _value(store: Store, rule: Rule, record: RecordId, commits: set[str]) -> dict[str, Any]:
    """What one of the records brings: the values that clash, as readers see them, and who wrote the newest of them."""
    stored, model = store.document(rule.kind, record), model_of(rule.kind)
    assert stored is not None and model is not None, "it has a row"
    try:
        slots = Document(_CLIENT, stored.state).content().slots
    except Poisoned:
        raise Unsound(rule.kind, record) from None
    shown = settle(model.plan(), record, slots).shown
    items = written(slots, rule.fields)
    commits.update(item.commit for item in items)
    newest = max(items, key=lambda item: (item.stamp, item.tag, item.sequence))
    value = shown.get(rule.fields[0]) if len(rule.fields) == 1 else {name: shown.get(name) for name in rule.fields}
    return {"record": record, "value": value, "commit": newest.commit, "stamp": newest.stamp}


def recomputed(store: Store) -> Iterator[StoredConflict]:
    """All conflicts between records as they follow from the view's documents, without looking at those that are kept,
    nor at claims; in no order."""
    hours: dict[str, list[Member]] = {}
    for record in _records(store, BOOKING.kind):
        for hour, body in _claims_now(store, record).items():
            hours.setdefault(hour, []).append(Member(record, {"claim": body}))
    for hour, members in hours.items():
        yield from _conflicts(store, BOOKING, members, hour)
    for rule in SHARED:
        for value in dict.fromkeys(_shared(store, rule, list(_records(store, rule.kind)))):
            yield from conflicts_at(store, _place(rule, value))


def _records(store: Store, kind: str) -> Iterator[RecordId]:
    after = (kind, "")
    while page := store.documents(kind, after, _PAGE):
        yield from (stored.record for stored in page if is_record_id(stored.record))
        if (page[-1].kind, page[-1].record) <= after:
            return  # a view that somebody has changed; whoever looks at its documents says so
        after = (page[-1].kind, page[-1].record)


def _claims_now(store: Store, record: RecordId) -> Mapping[str, str]:
    stored = store.document(BOOKING.kind, record)
    row = None if stored is None else project(BOOKING.kind, record, Document(_CLIENT, stored.state).content()).row
    return _claimed(row) if row is not None else {}


class Documents(Protocol):
    """What looks up documents: a store, or a reader beside it."""

    def document(self, kind: str, record: RecordId) -> StoredDocument | None:
        """One document."""


def is_open(documents: Documents, conflict: StoredConflict) -> bool:
    """Whether a conflict is there to be dealt with: not one between records that somebody has dismissed as none."""
    if conflict.kind == "field":
        return True
    stored, model = documents.document(ISSUE, RecordId(conflict.id)), model_of(ISSUE)
    if stored is None or model is None:
        return True
    slots = Document(_CLIENT, stored.state).content().slots
    return settle(model.plan(), stored.record, slots).shown.get("dismissed") is None
