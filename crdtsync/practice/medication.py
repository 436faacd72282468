"""Medication: what a patient takes, and what was prescribed."""

from __future__ import annotations

import datetime
from typing import Any, ClassVar, Literal

from pydantic import AwareDatetime

from crdtsync.documents import Entries, Link, Record, Value, append_only, once, register, status

StatementStatus = Literal["active", "on_hold", "stopped"]
PrescriptionStatus = Literal["draft", "active", "completed", "cancelled", "stopped"]


class Drug(Value):
    """A medicine: name, strength ("5 mg"), form, and its code (PZN or ATC)."""

    clinical: ClassVar[bool] = True
    name: str | None = None
    strength: str | None = None
    form: str | None = None
    code: str | None = None


class Dosage(Value):
    """How much when; it moves as one, never half of each."""

    clinical: ClassVar[bool] = True
    morning: float | None = None
    noon: float | None = None
    evening: float | None = None
    night: float | None = None
    unit: str | None = None
    text: str | None = None
    as_needed: bool | None = None


class Period(Value):
    """From when to when, both days included."""

    start: datetime.date | None = None
    end: datetime.date | None = None


class PrescriptionContent(Value):
    """What a prescription says."""

    clinical: ClassVar[bool] = True
    drug: Drug | None = None
    dosage: Dosage | None = None
    quantity: str | None = None
    kind: str | None = None


class Issue(Value):
    """When and how a prescription was given out: printed, sent, and under which number."""

    at: AwareDatetime
    how: str | None = None
    by: str | None = None
    number: str | None = None


class MedicationStatement(Record, kind="medication_statement"):
    """Something that a patient takes (FHIR MedicationStatement).

    Dosage and status belong together: a stop beside an unseen change of the dosage is a conflict.
    """

    clinical: ClassVar[bool] = True
    indexes: ClassVar[tuple[str, ...]] = ("drug_name",)

    patient: Link | None = once()
    drug: Drug | None = register(severity="high")
    dosage: Dosage | None = register(severity="high", group="regimen")
    period: Period | None = register(severity="high")
    status: StatementStatus | None = status("active<on_hold<stopped", severity="high", group="regimen")
    reason: str | None = register(severity="high")


class Prescription(Record, kind="prescription"):
    """A prescription (FHIR MedicationRequest): what it says never changes.

    `issued` are of the form of `Issue`, or whatever JSON a practice program keeps of it.
    """

    clinical: ClassVar[bool] = True

    patient: Link | None = once()
    medication_statement: Link | None = register()
    content: PrescriptionContent | None = once()
    status: PrescriptionStatus | None = status("draft<active<completed", "cancelled", "stopped", severity="high")
    issued: Entries[Any] = append_only()
