"""The chart: what is known about a patient, and what was written about a visit."""

from __future__ import annotations

import datetime
from typing import ClassVar, Literal

from pydantic import AwareDatetime

from crdtsync.documents import Link, Record, Text, Value, flag_on_wins, once, register, status, text

Criticality = Literal["low", "high", "unable_to_assess"]
AllergyStatus = Literal["active", "inactive", "resolved"]
Verification = Literal["unconfirmed", "confirmed", "refuted", "entered_in_error"]
ConditionStatus = Literal["active", "recurrence", "relapse", "inactive", "remission", "resolved"]
ObservationStatus = Literal["preliminary", "final", "amended", "entered_in_error"]


class Allergy(Record, kind="allergy"):
    """A known risk (FHIR AllergyIntolerance). While people disagree, the dangerous reading is the one shown."""

    clinical: ClassVar[bool] = True

    patient: Link | None = once()
    substance: str | None = register(severity="high")
    criticality: Criticality | None = register(severity="high", cautious="high")
    status: AllergyStatus | None = register(severity="high", cautious="active")
    verification: Verification | None = register(severity="high", cautious="confirmed")
    reaction: str | None = register(severity="high")
    noted_on: datetime.date | None = register(severity="low")


class ConditionCode(Value):
    """A diagnosis: ICD-10-GM code, how certain (A, G, V, Z) and which side (L, R, B)."""

    icd10: str | None = None
    certainty: str | None = None
    side: str | None = None


class Condition(Record, kind="condition"):
    """A diagnosis or problem (FHIR Condition)."""

    clinical: ClassVar[bool] = True
    indexes: ClassVar[tuple[str, ...]] = ("code_icd10",)

    patient: Link | None = once()
    code: ConditionCode | None = register()
    text: str | None = register()
    onset: datetime.date | None = register()
    status: ConditionStatus | None = register()


class Immunization(Record, kind="immunization"):
    """A dose that was given (FHIR Immunization). Two doses of a vaccine that are nearer to each other than
    `minimum_interval_days` of either are a conflict: `possible_double_dose`."""

    clinical: ClassVar[bool] = True
    indexes: ClassVar[tuple[str, ...]] = ("given_on",)

    patient: Link | None = once()
    vaccine: str | None = once()
    lot: str | None = once()
    given_on: datetime.date | None = once()
    dose_number: int | None = once()
    minimum_interval_days: int | None = once()
    entered_in_error: bool = flag_on_wins()


class ObservationValue(Value):
    """A measured value: a number with its unit, or text, and the range that is normal."""

    number: float | None = None
    text: str | None = None
    unit: str | None = None
    range: str | None = None


class Observation(Record, kind="observation"):
    """A measurement or finding (FHIR Observation)."""

    clinical: ClassVar[bool] = True
    indexes: ClassVar[tuple[str, ...]] = ("code", "taken_at")

    patient: Link | None = once()
    code: str | None = once()
    value: ObservationValue | None = register()
    taken_at: AwareDatetime | None = once()
    status: ObservationStatus | None = status("preliminary<final<amended", "entered_in_error")
    source_id: str | None = once()


class ChartEntry(Record, kind="chart_entry"):
    """An entry of the chart (FHIR Composition): `draft` is typed together until it is signed."""

    clinical: ClassVar[bool] = True
    indexes: ClassVar[tuple[str, ...]] = ("clinical_time",)

    patient: Link | None = once()
    visit: Link | None = register()
    type: str | None = once()
    clinical_time: AwareDatetime | None = once()
    draft: Text = text()
    retracted: bool = flag_on_wins()
