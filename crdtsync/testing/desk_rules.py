"""What people at desks write under every merge rule, and the books of what must never get lost under some of them.

The practice's own kinds use most rules; `Sheet` has a field under each of them.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Final

from crdtsync.documents import (
    Content,
    Counter,
    Document,
    EditCounter,
    EditEntry,
    Entries,
    Link,
    Record,
    Value,
    Versions,
    append_only,
    counter,
    entries,
    flag_off_wins,
    flag_on_wins,
    kinds,
    latest,
    never_removed,
    once,
    register,
    status,
    versions,
)
from crdtsync.documents.count import counted
from crdtsync.documents.settling import settle
from crdtsync.documents.slots import items_of, split_slot
from crdtsync.engine import RecordEdits
from crdtsync.ids import CommitId, RecordId
from crdtsync.practice import ChartEntry, Invoice, InvoiceLine, Payment, Prescription, Reminder
from crdtsync.testing.ledger import Ledger
from crdtsync.testing.node import Node
from crdtsync.testing.verdict import OracleFailed

_STAYING: Final = frozenset({"append_only", "never_removed", "versions"})
_WORDS: Final = ("Penicillin", "Latex", "Jod", "Nüsse")


class Hazard(Value):
    """An entry that is never removed."""

    clinical: ClassVar[bool] = True
    name: str
    verification: str | None = None


class Letter(Value):
    """What a version of a sheet says."""

    text: str
    signed_by: str | None = None


class Sheet(Record, kind="simulated_sheet"):
    """A record with a field under each rule."""

    patient: Link | None = once()
    risk: str | None = register(cautious="high", group="care")
    state: str | None = status("open<checked<done", "void", group="care")
    room: str | None = latest()
    hazard: bool = flag_on_wins()
    consent: bool = flag_off_wins()
    lines: Entries[int] = entries()
    hazards: Entries[Hazard] = never_removed()
    cards: Entries[Any] = append_only(by=("quarter",))
    letters: Versions[Letter] = versions(severity="high")
    visits: Counter = counter()


# -- acts -------------------------------------------------------------------------------------------------------------


def new(chance: random.Random, patient: RecordId) -> Record:
    """A record of a kind in which things stay."""
    if chance.random() < 0.5:
        return Sheet(patient=patient, risk="low", consent=True)
    if chance.random() < 0.5:
        line = InvoiceLine(code="1", amount_cents=chance.randint(1, 9999))
        return Invoice(patient=patient, lines=[line], status="draft")
    return Prescription(patient=patient, content={"quantity": "20"}, status="active")


def edit_sheet(sheet: Any, chance: random.Random) -> None:
    """One or two edits of a sheet."""
    for act in chance.sample(_SHEET_ACTS, chance.randint(1, 2)):
        act(sheet, chance)


def _hazards(sheet: Any, chance: random.Random) -> None:
    held = sheet.hazards.items()
    if not held or chance.random() < 0.4:
        sheet.hazards.add(Hazard(name=chance.choice(_WORDS)))
    elif chance.random() < 0.5:
        sheet.hazards.mark(chance.choice(held)[0], chance.choice(("refuted", "entered_in_error")))
    else:
        sheet.hazards.change(chance.choice(held)[0], Hazard(name=chance.choice(_WORDS)))


def _letters(sheet: Any, chance: random.Random) -> None:
    heads = sheet.letters.heads
    if len(heads) > 1 and chance.random() < 0.5:
        sheet.assign("letters", chance.choice(heads))
    else:
        sheet.letters.add(Letter(text=chance.choice(_WORDS), signed_by=chance.choice((None, "dr.weber"))))


def _lines(sheet: Any, chance: random.Random) -> None:
    held = sheet.lines.items()
    if held and chance.random() < 0.3:
        sheet.lines.remove(chance.choice(held)[0])
    elif held and chance.random() < 0.5:
        sheet.lines.change(chance.choice(held)[0], chance.randint(0, 9))
    else:
        sheet.lines.add(chance.randint(0, 9))


def _marks(sheet: Any, chance: random.Random) -> None:
    sheet.risk = chance.choice(("high", "low", None))
    sheet.state = chance.choice(("open", "checked", "done", "void"))
    sheet.room = chance.choice(_WORDS)
    sheet.hazard, sheet.consent = chance.random() < 0.3, chance.random() < 0.8


def _cards(sheet: Any, chance: random.Random) -> None:
    sheet.cards.add({"quarter": f"2026-Q{chance.randint(1, 4)}", "reader": chance.randint(1, 3)})
    sheet.cards.add(chance.choice(_WORDS))


def _visits(sheet: Any, chance: random.Random) -> None:
    sheet.visits.add(chance.randint(0, 3))
    if chance.random() < 0.3:
        sheet.visits.subtract(chance.randint(1, 2))


_SHEET_ACTS: Final = (_hazards, _letters, _lines, _marks, _cards, _visits)


def edit_invoice(invoice: Any, chance: random.Random) -> None:
    """A payment, a line, or the next state."""
    act = chance.randrange(3)
    if act == 0:
        invoice.payments.add(
            Payment(amount_cents=chance.choice((1072, 2145)), reference=f"bank {chance.randint(1, 4)}")
        )
    elif act == 1:
        invoice.lines.add(InvoiceLine(code=str(chance.randint(1, 9)), amount_cents=chance.randint(1, 9999)))
    else:
        invoice.status = chance.choice(("ready", "issued", "balanced", "cancelled"))


def edit_prescription(prescription: Any, chance: random.Random) -> None:
    """It is given out, or ends."""
    if chance.random() < 0.6:
        prescription.issued.add({"at": f"2026-03-0{chance.randint(1, 3)}T08:00:00Z", "how": "printed"})
    else:
        prescription.status = chance.choice(("completed", "cancelled", "stopped"))


def sign(entry: ChartEntry, chance: random.Random) -> None:
    """Somebody signs what the entry's draft says, or decides for one of two heads."""
    heads = entry.versions.heads
    if len(heads) > 1 and chance.random() < 0.3:
        entry.assign("versions", chance.choice(heads))
    else:
        entry.versions.add({"text": str(entry.draft), "signed_by": chance.choice(("dr.weber", "dr.yilmaz"))})


def remind(appointment: Any, chance: random.Random) -> None:
    """A reminder of the appointment's beginning; two sites may send it unseen by each other."""
    slot = appointment.slot
    if slot is not None:
        appointment.reminders.add(Reminder(channel=chance.choice(("sms", "mail")), start=slot.start, site="here"))


# -- the books --------------------------------------------------------------------------------------------------------

Place = tuple[str, RecordId]


@dataclass(slots=True)
class Promise:
    """What one transaction put where it must stay: keys of entries and versions per record and field, and sums."""

    keys: list[tuple[Place, str, str]] = field(default_factory=list)
    sums: list[tuple[Place, str, int, int]] = field(default_factory=list)
    commits: tuple[CommitId, ...] = ()


class Books:
    """What stays by its rule, kept apart from the code under test: whatever was acknowledged is there at every site.

    A counter lies between what was acknowledged and what was ever asked for, since a site that dies may have written
    what it could not acknowledge.
    """

    def __init__(self) -> None:
        self.kept: list[Promise] = []
        self._asked: dict[tuple[Place, str], tuple[int, int]] = {}
        self.checked = 0

    def ask(self, changes: Sequence[RecordEdits]) -> Promise:
        """A transaction is about to be written."""
        promise = Promise()
        for change in changes:
            place = (change.kind, change.record)
            rules = kinds()[change.kind].plan().rules
            for edit in change.edits:
                if isinstance(edit, EditEntry) and rules[edit.field].name in _STAYING:
                    promise.keys.append((place, edit.field, edit.key))
                elif isinstance(edit, EditCounter):
                    plus, minus = self._asked.get((place, edit.field), (0, 0))
                    self._asked[place, edit.field] = (plus + edit.plus, minus + edit.minus)
                    promise.sums.append((place, edit.field, edit.plus, edit.minus))
        return promise

    def keep(self, node: Node, promise: Promise, commits: Iterable[CommitId]) -> None:
        """It was acknowledged: from now on it must be read at this site, too. Raises OracleFailed."""
        promise.commits = tuple(commits)
        if promise.keys or promise.sums:
            self.kept.append(promise)
            self._look(node, [promise], frozenset())

    def check(self, nodes: Sequence[Node], ledger: Ledger, cut_off: Iterable[CommitId]) -> None:
        """On a world at rest: everything that counts is at every site. Raises OracleFailed.

        Commits in `cut_off` do not count; a record that one of them touched, or that is damaged, is not looked at.
        """
        gone = set(cut_off)
        out: set[str] = set()
        for promise in self.kept:
            counts = all((at.log, at.sequence) in ledger.acknowledged and at not in gone for at in promise.commits)
            if not counts:
                out.update(record for (_, record), _, _ in promise.keys)
                out.update(record for (_, record), _, _, _ in promise.sums)
        for node in nodes:
            held = {record for each in node.host.engine.status().held for record in each.records}
            self._look(node, self.kept, out | held)

    def _look(self, node: Node, promises: Sequence[Promise], out: frozenset[str] | set[str]) -> None:
        found: dict[Place, _Shown | None] = {}
        sums: dict[tuple[Place, str], tuple[int, int]] = {}
        for promise in promises:
            for place, name, key in promise.keys:
                shown = _shown(node, place, found, out)
                if shown is not None and key not in shown.keys.get(name, ()):
                    raise OracleFailed(f"{node.name} has lost an entry of {place[0]}.{name}, which stays by its rule")
                self.checked += shown is not None
            for place, name, plus, minus in promise.sums:
                before = sums.get((place, name), (0, 0))
                sums[place, name] = (before[0] + plus, before[1] + minus)
        for (place, name), (plus, minus) in sums.items():
            shown = _shown(node, place, found, out)
            if shown is not None:
                self._compare(node, place, name, shown.sums.get(name, (0, 0)), (plus, minus))

    def _compare(self, node: Node, place: Place, name: str, here: tuple[int, int], least: tuple[int, int]) -> None:
        most = self._asked[place, name]
        if not all(low <= at <= high for low, at, high in zip(least, here, most, strict=True)):
            raise OracleFailed(
                f"{node.name} counts {here} in {place[0]}.{name}: acknowledged were {least}, asked for {most}"
            )
        self.checked += 1


@dataclass(frozen=True, slots=True)
class _Shown:
    keys: Mapping[str, Mapping[str, Any]]
    sums: Mapping[str, tuple[int, int]]


def _shown(node: Node, place: Place, found: dict[Place, _Shown | None], out: Iterable[str]) -> _Shown | None:
    """What a site shows of a record; None where nothing can be said of it."""
    if place not in found:
        stored = None if place[1] in out else node.disk.document(*place)
        found[place] = None
        if stored is not None and not stored.damaged and stored.subject not in out:
            found[place] = _of(place, Document(1, stored.state).content())
        elif stored is None and place[1] not in out:
            found[place] = _Shown({}, {})
    return found[place]


def _of(place: Place, content: Content) -> _Shown:
    plan = kinds()[place[0]].plan()
    settled = settle(plan, place[1], content.slots)
    keys: dict[str, Mapping[str, Any]] = {**settled.entries}
    keys.update({name: versions.shown for name, versions in settled.versions.items()})
    counters: dict[str, list[Any]] = {}
    for slot, raw in content.slots.items():
        name, entry, tag = split_slot(slot)
        if entry is None and name in plan.rules and plan.rules[name].name == "counter":
            counters.setdefault(name, []).extend(item.value for item in items_of(tag, raw))
    return _Shown(keys, {name: counted(values) for name, values in counters.items()})
