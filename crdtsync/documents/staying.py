"""Taking changes back under the rules by which nothing goes away: what an undo writes instead of removing.

    versions        a version that says what stood before, on the ones that are taken back; the first one stays
    never_removed   an entry that was added is marked as entered in error
    counter         what was added is subtracted, and the other way round

Under every other rule, `append_only` among them, what was written is put back or cleared as it was. Pure, like all of
this folder: the answer follows from what the record said before and after the changes, and says now.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from crdtsync.documents.count import counted
from crdtsync.documents.edits import Edit, EditCounter, EditEntry
from crdtsync.documents.merge import Rule, decide, is_marked
from crdtsync.documents.record import model_of
from crdtsync.documents.slots import Item, items_of, split_slot
from crdtsync.documents.version import RESERVED, Found, find_versions, version_id

Slots = Mapping[str, str]
Turn = tuple[Slots, Slots]
"""The slots of a record before and after a change."""


class TakenBack(NamedTuple):
    """The edits, and the places (field, and entry or None) that they speak for: nothing else is to be written there.

    For `versions` every entry of the field is spoken for, also where nothing could be taken back.
    """

    edits: list[Edit]
    places: set[tuple[str, str | None]]


def take_back(kind: str, turns: Sequence[Turn], now: Slots) -> TakenBack:
    """Take changes, given oldest first, back from a record that says `now`, as far as these rules are concerned.

    What came later stays: an entry that somebody has marked since, a version that others have built upon.
    """
    model = model_of(kind)
    taken = TakenBack([], set())
    for name, rule in model.plan().rules.items() if model is not None else ():
        if rule.name == "counter":
            _count(taken, name, turns)
        elif rule.name == "versions":
            _follow(taken, name, turns, now)
        elif rule.name == "never_removed":
            _mark(taken, name, rule, turns, now)
    return taken


def _count(taken: TakenBack, name: str, turns: Sequence[Turn]) -> None:
    plus = minus = 0
    for before, after in turns:
        (p0, m0), (p1, m1) = counted(_values(before, name)), counted(_values(after, name))
        plus, minus = plus + p1 - p0, minus + m1 - m0
    if any(before.get(slot) != after.get(slot) for before, after in turns for slot in _slots(before, after, name)):
        taken.places.add((name, None))
    if plus or minus:
        taken.edits.append(EditCounter(name, max(minus, 0) + max(-plus, 0), max(plus, 0) + max(-minus, 0)))


def _follow(taken: TakenBack, name: str, turns: Sequence[Turn], now: Slots) -> None:
    stood, stands = _found(turns[0][0], name) if turns else Found({}, ()), _found(now, name)
    added: set[str] = set()
    for before, after in turns:
        changed = {slot for slot in _slots(before, after, name) if before.get(slot) != after.get(slot)}
        taken.places.update((name, split_slot(slot)[1]) for slot in changed)
        added.update(_found(after, name).shown.keys() - _found(before, name).shown.keys())
    parents = sorted(head.value["id"] for head in stands.heads if head.value["id"] in added)
    for head in stood.heads if parents else ():
        content = {part: value for part, value in head.value.items() if part not in RESERVED}
        stored = {**content, "parents": parents}
        taken.edits.append(EditEntry(name, version_id(stored), stored, {}))
        taken.places.add((name, version_id(stored)))


def _mark(taken: TakenBack, name: str, rule: Rule, turns: Sequence[Turn], now: Slots) -> None:
    held = _entries(now, name)
    mark = "entered_in_error" if "entered_in_error" in rule.marks else rule.marks[0]
    added: dict[str, None] = {}
    for before, after in turns:
        stood = _entries(before, name)
        added.update(dict.fromkeys(key for key in _entries(after, name) if key not in stood))
    for key in sorted(added):
        taken.places.add((name, key))
        shown = decide(rule, held[key]).shown if key in held else None
        if type(shown) is dict and not is_marked(rule, shown):
            seen = {slot: raw for slot, raw in now.items() if split_slot(slot)[:2] == (name, key)}
            taken.edits.append(EditEntry(name, key, {**shown, rule.mark: mark}, seen))


def _slots(before: Slots, after: Slots, name: str) -> set[str]:
    return {slot for slot in before.keys() | after.keys() if slot.partition("/")[0] == name}


def _values(slots: Slots, name: str) -> list[Any]:
    """What slots of a field hold that have no entry."""
    return [
        item.value
        for slot, raw in slots.items()
        if split_slot(slot)[:2] == (name, None)
        for item in items_of(split_slot(slot)[2], raw)
    ]


def _entries(slots: Slots, name: str) -> dict[str, list[Item]]:
    found: dict[str, list[Item]] = {}
    for slot, raw in slots.items():
        field, entry, tag = split_slot(slot)
        items = items_of(tag, raw) if field == name and entry is not None else []
        if items:
            found.setdefault(entry or "", []).extend(items)
    return found


def _found(slots: Slots, name: str) -> Found:
    return find_versions(_entries(slots, name))
