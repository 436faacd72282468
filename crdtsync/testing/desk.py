"""People at their desks: what a practice writes, at any site, at any time, also in the same field at two sites at once.

Reads its own writes back the moment they are acknowledged: what a site took must be seen there.
"""

from __future__ import annotations

import datetime
import random
from collections.abc import Callable
from typing import Any, Final

from crdtsync.documents import Document, Record, edits_of, read, subject_of
from crdtsync.engine import RecordEdits, WriteOutcome, WriteRequest
from crdtsync.errors import StorageFailure
from crdtsync.ids import LogId, RecordId, record_id
from crdtsync.practice import Allergy, Appointment, ChartEntry, MedicationStatement, Patient
from crdtsync.practice.appointment import Slot
from crdtsync.practice.medication import Dosage, Drug
from crdtsync.testing import desk_rules
from crdtsync.testing.desk_sessions import Sessions
from crdtsync.testing.node import Node
from crdtsync.testing.verdict import OracleFailed

_NAMES: Final = ("Birkenfeld", "Grünauer", "Mühlhöfer", "Rehbach", "Schönkamp", "Dornstett")
_WORDS: Final = ("Blutdruck", "müde", "Husten", "ß", "Kontrolle", "übel", "Größe", "80/120", "ja", "🙂")
_DRUGS: Final = ("Ramipril", "Metformin", "Bisoprolol", "L-Thyroxin")
_INSURED: Final = ("A123456780", None, None, "B234567895", None)
_ALPHABET: Final = "abcdefghijklmnopqrstuvwxyz234567"
_DAY: Final = datetime.datetime(2026, 1, 5, 8, tzinfo=datetime.UTC)


class Desk:
    """Writes records. `known` are all that were ever begun; `chance` is the stream that the work is drawn from."""

    def __init__(
        self,
        chance: random.Random,
        ids: random.Random,
        *,
        canary: str = "Kanarienvogel",
        sessions: Sessions | None = None,
    ) -> None:
        self.known: list[tuple[str, RecordId]] = []
        self.patients: list[RecordId] = []
        self.large: list[list[tuple[str, RecordId]]] = []
        """What each large transaction has made: to be seen whole or not at all, at every site."""
        self.large_logs: dict[RecordId, LogId] = {}
        """By its first record, the log that such a transaction stands in."""
        self.written = 0
        self.refused = 0
        self._chance = chance
        self._ids = ids
        self._canary = canary
        self._sessions = sessions or Sessions()
        self.books = desk_rules.Books()
        """What must stay by the rules of its fields."""

    # -- acts --------------------------------------------------------------------------------------------------------

    def act(self, node: Node) -> None:
        """One transaction at `node`: something new, or an edit of something that it holds."""
        if self._chance.random() < 0.3 or not self.known:
            self.create(node)
        else:
            self.edit(node, *self._chance.choice(self.known))

    def create(self, node: Node, records: int = 1) -> None:
        """New records in one transaction."""
        self._submit(node, [self._new() for _ in range(records)])

    def create_large(self, node: Node) -> None:
        """A transaction that is too large for one commit, and becomes fragments."""
        records = []
        for _ in range(self._chance.randint(3, 5)):
            record = self._new()
            record.source = self._ids.randbytes(90_000).hex()
            records.append(record)
        self.large.append([(record.kind, record.id) for record in records])
        self._submit(node, records)

    def edit(self, node: Node, kind: str, record: RecordId) -> None:
        """Change something in a record, if `node` has it."""
        found = self.read(node, kind, record)
        if found is not None:
            _EDITS[kind](self, found)
            self._submit(node, [found])

    def read(self, node: Node, kind: str, record: RecordId) -> Any:
        """The record as the view of `node` shows it, or None."""
        try:
            stored = node.disk.document(kind, record)
        except StorageFailure as error:
            node.fail(str(error))
            return None
        self._sessions.read(node, kind, record, node.disk.changed_at(kind, record))
        return None if stored is None else read(kind, record, Document(1, stored.state).content())

    def _submit(self, node: Node, records: list[Any]) -> None:
        changes = []
        for record in records:
            edits = edits_of(record, lambda: self._ids.randbytes(8).hex())
            if edits:
                changes.append(RecordEdits(record.kind, record.id, subject_of(record), edits))
        if changes:
            expected = [(record.kind, record.id, _registers(record)) for record in records]
            request = WriteRequest("dr.weber", "work", "desk-1", "care", changes)
            shown = self._sessions.shown(node)
            promise = self.books.ask(changes)
            node.write(request, lambda outcome: self._written(node, expected, promise, shown, outcome))

    def _written(
        self,
        node: Node,
        expected: list[tuple[str, RecordId, dict[str, Any]]],
        promise: desk_rules.Promise,
        shown: int,
        outcome: WriteOutcome | None,
    ) -> None:
        if outcome is None:
            self.refused += 1
            return
        if outcome.error is not None:
            raise OracleFailed(f"{node.name} refuses an honest transaction: {outcome.error}")
        self.written += 1
        self._sessions.wrote(node, [commit.id for commit in outcome.commits], shown)
        if outcome.commits:
            self.large_logs.setdefault(expected[0][1], outcome.commits[0].header.log)
        for kind, record, values in expected:
            found = self.read(node, kind, record)
            if not node.up:
                return
            self._sessions.read_back(node, kind, found, values)
        self.books.keep(node, promise, [commit.id for commit in outcome.commits])

    # -- new records -------------------------------------------------------------------------------------------------

    def _new(self) -> Any:
        if not self.patients or self._chance.random() < 0.25:
            record: Record = Patient(family_name=self._chance.choice(_NAMES), given_name="Erika", phones=["03641 1"])
            record.id = record_id(self._ids.randbytes(16))
            record.source = self._canary
            self.patients.append(record.id)
        else:
            record = self._chance.choice(_NEW)(self, self._chance.choice(self.patients))
            record.id = record_id(self._ids.randbytes(16))
        _make_alike(record)
        self.known.append((record.kind, record.id))
        return record

    def _allergy(self, patient: RecordId) -> Record:
        return Allergy(patient=patient, substance=self._chance.choice(_WORDS), status="active")

    def _medication(self, patient: RecordId) -> Record:
        drug = Drug(name=self._chance.choice(_DRUGS), strength="5 mg")
        return MedicationStatement(patient=patient, drug=drug, dosage=self._dosage(), status="active")

    def _appointment(self, patient: RecordId) -> Record:
        return Appointment(calendar="Dr. Weber", patient=patient, slot=self._slot(), status="booked")

    def _chart_entry(self, patient: RecordId) -> Record:
        return ChartEntry(patient=patient, type="note", draft=self._chance.choice(_WORDS))

    def _dosage(self) -> Dosage:
        return Dosage(morning=self._chance.randint(0, 4), evening=self._chance.randint(0, 4), unit="Tablette")

    def _slot(self) -> Slot:
        start = _DAY + datetime.timedelta(minutes=15 * self._chance.randint(0, 40))
        return Slot(start=start, end=start + datetime.timedelta(minutes=15), resources=("Zimmer 1",))

    def _staying(self, patient: RecordId) -> Record:
        return desk_rules.new(self._chance, patient)

    # -- edits -------------------------------------------------------------------------------------------------------

    def _edit_patient(self, patient: Any) -> None:
        chance = self._chance
        act = chance.randrange(5)
        if act == 0:
            patient.family_name = chance.choice(_NAMES)
        elif act == 1:
            patient.phones.add(f"03641 {chance.randint(1, 9)}")
        elif act == 2 and len(patient.phones):
            patient.phones.remove(chance.choice(list(patient.phones)))
        elif act == 3:
            patient.deceased = chance.random() < 0.5
        else:
            self._type(patient.note)

    def _edit_allergy(self, allergy: Any) -> None:
        allergy.criticality = self._chance.choice(("low", "high", "unable_to_assess", None))
        if self._chance.random() < 0.3:
            allergy.verification = self._chance.choice(("confirmed", "refuted"))

    def _edit_medication(self, medication: Any) -> None:
        if self._chance.random() < 0.7:
            medication.dosage = self._dosage()
        else:
            medication.status = self._chance.choice(("active", "on_hold", "stopped"))

    def _edit_appointment(self, appointment: Any) -> None:
        if self._chance.random() < 0.4:
            appointment.slot = self._slot()
        elif self._chance.random() < 0.5:
            desk_rules.remind(appointment, self._chance)
        else:
            appointment.status = self._chance.choice(("booked", "arrived", "cancelled"))

    def _edit_chart(self, entry: Any) -> None:
        if self._chance.random() < 0.7:
            self._type(entry.draft)
        else:
            desk_rules.sign(entry, self._chance)
        if self._chance.random() < 0.05:
            entry.retracted = True

    def _edit_sheet(self, sheet: Any) -> None:
        desk_rules.edit_sheet(sheet, self._chance)

    def _edit_invoice(self, invoice: Any) -> None:
        desk_rules.edit_invoice(invoice, self._chance)

    def _edit_prescription(self, prescription: Any) -> None:
        desk_rules.edit_prescription(prescription, self._chance)

    def _type(self, text: Any) -> None:
        length = len(text)
        if length and self._chance.random() < 0.3:
            at = self._chance.randrange(length)
            text.delete(at, min(self._chance.randint(1, 4), length - at))
        text.insert(self._chance.randint(0, len(text)), self._chance.choice(_WORDS))


_NEW: Final[tuple[Callable[[Desk, RecordId], Record], ...]] = (
    Desk._allergy,
    Desk._medication,
    Desk._appointment,
    Desk._chart_entry,
    Desk._staying,
)
_EDITS: Final[dict[str, Callable[[Desk, Any], None]]] = {
    "patient": Desk._edit_patient,
    "allergy": Desk._edit_allergy,
    "medication_statement": Desk._edit_medication,
    "appointment": Desk._edit_appointment,
    "chart_entry": Desk._edit_chart,
    "simulated_sheet": Desk._edit_sheet,
    "invoice": Desk._edit_invoice,
    "prescription": Desk._edit_prescription,
}
_REGISTERS: Final = {
    "patient": ("family_name",),
    "allergy": ("criticality", "verification"),
    "medication_statement": ("dosage",),
    "appointment": ("slot",),
    "chart_entry": (),
    "simulated_sheet": ("risk",),
    "invoice": (),
    "prescription": (),
}


def _make_alike(record: Any) -> None:
    """Some people are registered twice, some numbers given twice, some patients have no known allergies. Which ones
    follows from ids, so that it takes no draw of its own."""
    first, second = (_ALPHABET.index(letter) for letter in record.id[:2])
    if isinstance(record, Patient):
        record.number = 10_000 + first
        record.birth_date = datetime.date(1964, 8, 1 + second % 4)
        record.insurance_number = _INSURED[second % len(_INSURED)]
    elif isinstance(record, Allergy) and first % 4 == 0:
        record.substance = "none known"


def _registers(record: Record) -> dict[str, Any]:
    """What was just assigned to registers of a record: it must be read back, alone or in a conflict."""
    assigned = record._reading.assigned
    return {name: getattr(record, name) for name in _REGISTERS[record.kind] if name in assigned}
