"""Taking changes back: from what a record said before and after them, and says now, to edits that undo them.

Every place of a record (a field, or one entry of it) holds a set of surviving writes. A change took some away, which
it had seen, and added its own. Undoing it puts back what it took away, as whose it was, if what it added still stands;
what was written later stays in any case:

    now        what stands after undoing
    x          o           nothing came since: the old value is back
    x, y       o, y        y was written beside it, unseen: it stays, and both are shown as what they are, a conflict
    y          y           y was written over it: it stays, and `later` names it

Several changes are undone from the newest to the oldest, so that one which was overwritten by another of them comes
back as well. A text is taken back by hunks, between the characters that came since. Under some rules nothing goes away:
`staying` tells what is written there instead.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal, NamedTuple

from crdtsync.documents.document import Content
from crdtsync.documents.edits import Edit, EditCounter, EditEntry, EditText, Restore, SetField
from crdtsync.documents.record import model_of
from crdtsync.documents.slots import Item, canonical, items_of, slot_key, split_slot
from crdtsync.documents.staying import take_back
from crdtsync.documents.text import Hunk, difference, rebase

Place = tuple[str, str | None]
Standing = dict["Identity", Item]
How = Literal["stays", "beside", "woven"]
_PREVIEW_TAG: Final = "~"
"""Stands for the log that will write the edits; no log has such a tag."""


class Identity(NamedTuple):
    """Which write a surviving item is, wherever it stands."""

    tag: str
    sequence: int
    value: str


class Turn(NamedTuple):
    """A change that is to be taken back: what the record said before and after it."""

    before: Content
    after: Content


@dataclass(frozen=True, slots=True)
class Later:
    """A write that came later than what is undone, or beside it, in the same place.

    `stays`: it was written over it, and nothing is changed here. `beside`: both stand then. `woven`: the text was
    edited since, and is taken back around that; `commit` (`tag.sequence`) and `value` (JSON) are then empty.
    """

    field: str
    entry: str | None
    how: How
    commit: str = ""
    value: Any = None


@dataclass(frozen=True, slots=True)
class Undone:
    """How changes are taken back: the `edits`, what the record says after them, and what others wrote later."""

    edits: tuple[Edit, ...]
    content: Content
    later: tuple[Later, ...]


def undone(kind: str, turns: Sequence[Turn], now: Content) -> Undone:
    """Take `turns`, given oldest first, back from a record that says `now`.

    Nothing is lost: each edit names what it had seen, so that what comes in between stays beside what is put back.
    Undoing what was undone, as whoever reads it, gives what stood before.
    """
    board = _Board(now.slots)
    for turn in reversed(turns):
        board.take_back(turn)
    staying = take_back(kind, [(turn.before.slots, turn.after.slots) for turn in turns], now.slots)
    places = [place for place in board.touched if place not in staying.places]
    edits: list[Edit] = [*staying.edits, *(edit for place in places if (edit := board.edit(kind, place)))]
    later = [each for place in places for each in board.later(place)]
    texts = dict(now.texts)
    for field in sorted({name for turn in turns for name in _texts_changed(turn)}):
        text, woven = _text_before(field, turns, texts.get(field, ""))
        if woven:
            later.append(Later(field, None, "woven"))
        hunks = difference(texts.get(field, ""), text)
        if hunks:
            edits.append(EditText(field, texts.get(field, ""), tuple(hunks)))
            texts[field] = text
    content = Content(_slots_after(now.slots, edits), {field: text for field, text in texts.items() if text})
    return Undone(tuple(edits), content, tuple(later))


class _Board:
    """What stands in each place that a turn touched, while turns are taken back one after the other."""

    def __init__(self, now: Mapping[str, str]) -> None:
        self._slots: dict[Place, dict[str, str]] = {}
        for slot, raw in now.items():
            self._slots.setdefault(_place(slot), {})[slot] = raw
        self._stands: dict[Place, Standing] = {}
        self._mine: dict[Place, set[Identity]] = {}
        self._known: dict[Place, set[Identity]] = {}

    @property
    def touched(self) -> list[Place]:
        """The places that the turns changed, in order."""
        return sorted(self._stands, key=lambda place: (place[0], place[1] or ""))

    def take_back(self, turn: Turn) -> None:
        """One step back."""
        before, after = turn.before.slots, turn.after.slots
        changed = {_place(slot) for slot in before.keys() | after.keys() if before.get(slot) != after.get(slot)}
        for place in changed:
            stood, stands = _at(place, before), _at(place, after)
            added, removed = stands.keys() - stood.keys(), stood.keys() - stands.keys()
            now = self._stands.setdefault(place, _items(self._slots.get(place, {})))
            self._mine.setdefault(place, set()).update(added)
            self._known.setdefault(place, set()).update(stood.keys())
            if added and not added & now.keys():
                continue  # something was written over it since, and stays
            for each in added & now.keys():
                del now[each]
            now.update({each: stood[each] for each in removed})

    def edit(self, kind: str, place: Place) -> Edit | None:
        """What makes `place` what stands on the board; None when it is that already."""
        field, entry = place
        slots, stands = self._slots.get(place, {}), self._stands[place]
        held = {slot: _items({slot: raw}) for slot, raw in slots.items()}
        here = {each for items in held.values() for each in items}
        gone, back = here - stands.keys(), stands.keys() - here
        if not gone and not back:
            return None
        seen = {slot: slots[slot] for slot, items in held.items() if gone & items.keys()}
        kept = {each for slot in seen for each in held[slot]} & stands.keys()
        if stands:
            items = sorted((stands[each] for each in back | kept), key=lambda item: (item.stamp, item.tag))
            return Restore(field, entry, tuple(items), seen)
        if entry is not None:
            return EditEntry(field, entry, None, seen)
        return SetField(field, None, seen, self._group_seen(kind, field))

    def _group_seen(self, kind: str, field: str) -> tuple[str, ...] | None:
        """What clearing a field has seen of its group, where it has one: what stands there, and what is put back."""
        model = model_of(kind)
        rule = None if model is None else model.plan().rules.get(field)
        if model is None or rule is None or rule.group is None:
            return None
        found: set[str] = set()
        for member in model.plan().groups[rule.group]:
            place = (member, None)
            items = [*_items(self._slots.get(place, {})).values(), *self._stands.get(place, {}).values()]
            found.update(item.commit for item in items)
        return tuple(sorted(found))

    def later(self, place: Place) -> Iterator[Later]:
        """The writes in `place` that are neither a turn's nor older than all of them."""
        now = _items(self._slots.get(place, {}))
        how: How = "beside" if now.keys() & self._mine[place] else "stays"
        others = now.keys() - self._mine[place] - self._known[place]
        if how == "beside":
            others = now.keys() - self._mine[place]
        for each in sorted(others):
            yield Later(*place, how, now[each].commit, now[each].value)


def _place(slot: str) -> Place:
    field, entry, _ = split_slot(slot)
    return field, entry


def _at(place: Place, slots: Mapping[str, str]) -> Standing:
    return _items({slot: raw for slot, raw in slots.items() if _place(slot) == place})


def _items(slots: Mapping[str, str]) -> Standing:
    found: Standing = {}
    for slot, raw in slots.items():
        for item in items_of(split_slot(slot)[2], raw):
            found[Identity(item.tag, item.sequence, canonical(item.value))] = item
    return found


def _slots_after(now: Mapping[str, str], edits: Sequence[Edit]) -> dict[str, str]:
    """The slots as they will read once the edits are written, under a tag that stands for their log."""
    slots = dict(now)
    stamp = max((item.stamp for slot, raw in now.items() for item in items_of("", raw)), default=0) + 1
    for edit in edits:
        if isinstance(edit, EditText):
            continue
        if isinstance(edit, EditCounter):
            slots[slot_key(edit.field, _PREVIEW_TAG)] = canonical([[0, stamp, [edit.plus, edit.minus]]])
            continue
        for slot in edit.seen:
            slots.pop(slot, None)
        if isinstance(edit, Restore):
            key, items = edit.key, [[0, i.stamp, i.value, i.seen, [i.tag, i.sequence]] for i in edit.items]
        else:
            key, items = edit.key if isinstance(edit, EditEntry) else None, [[0, stamp, edit.value, _known(edit)]]
        if items:
            slots[slot_key(edit.field, _PREVIEW_TAG, key)] = canonical(items)
    return slots


def _known(edit: SetField | EditEntry) -> list[str] | None:
    return None if edit.group_seen is None else list(edit.group_seen)


def _texts_changed(turn: Turn) -> Iterator[str]:
    before, after = turn.before.texts, turn.after.texts
    return (name for name in before.keys() | after.keys() if before.get(name) != after.get(name))


def _text_before(field: str, turns: Sequence[Turn], now: str) -> tuple[str, bool]:
    """A text without what the turns did to it, and whether others edited it since."""
    woven = False
    for turn in reversed(turns):
        before, after = turn.before.texts.get(field, ""), turn.after.texts.get(field, "")
        if before == after or now == before:
            continue
        if now != after:
            woven = True
        now = _with(now, rebase(difference(after, before), after, now))
    return now, woven


def _with(text: str, hunks: Sequence[Hunk]) -> str:
    for start, end, insert in reversed(hunks):
        text = text[:start] + insert + text[end:]
    return text
