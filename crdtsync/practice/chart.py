"""The chart: what is known about a patient, and what was written about a visit."""

from __future__ import annotations

import datetime
from collections.abc import Sequence
from typing import ClassVar, Final, Literal

from pydantic import AwareDatetime

from crdtsync.documents import (
    Link,
    Record,
    Text,
    Value,
    Version,
    Versions,
    flag_on_wins,
    once,
    register,
    status,
    text,
    versions,
)

Criticality = Literal["low", "high", "unable_to_assess"]
AllergyStatus = Literal["active", "inactive", "resolved"]
Verification = Literal["unconfirmed", "confirmed", "refuted", "entered_in_error"]
ConditionStatus = Literal["active", "recurrence", "relapse", "inactive", "remission", "resolved"]
ObservationStatus = Literal["preliminary", "final", "amended", "entered_in_error"]
NONE_KNOWN: Final = "none known"
"""The substance of an allergy that says that none is known, as of its date."""
MINIMUM_INTERVAL_DAYS: Final = 28
"""Between two doses of one vaccine, where the record of neither says otherwise: four weeks, as between the first doses
of most basic immunisations (STIKO)."""


class Allergy(Record, kind="allergy"):
    """A known risk (FHIR AllergyIntolerance). While people disagree, the dangerous reading is the one shown.

    Never removed: what turns out wrong gets the verification `refuted` or `entered_in_error`. The substance
    `NONE_KNOWN` is a statement of its day, and contradicts an active allergy beside it.
    """

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

    clinical: ClassVar[bool] = True
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
    """A dose that was given (FHIR Immunization).

    `minimum_interval_days` is that of the vaccine, noted when the dose was given; else `MINIMUM_INTERVAL_DAYS` counts.
    """

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

    clinical: ClassVar[bool] = True
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


class ChartVersion(Value):
    """What somebody signed, or kept, of an entry. `files` are the ids of files."""

    clinical: ClassVar[bool] = True
    text: str | None = None
    codes: tuple[str, ...] | None = None
    files: tuple[str, ...] | None = None
    signed_by: str | None = None
    signed_at: AwareDatetime | None = None
    reason: str | None = None


class ChartEntry(Record, kind="chart_entry"):
    """An entry of the chart (FHIR Composition): `draft` is typed together, and what is signed becomes a version.

    A signed version never changes. What somebody else typed or signed unseen stays beside it: text in the draft
    (`unsigned`), a version as a second head, until somebody signs a version that builds on it.
    """

    clinical: ClassVar[bool] = True
    indexes: ClassVar[tuple[str, ...]] = ("clinical_time",)

    patient: Link | None = once()
    visit: Link | None = register()
    type: str | None = once()
    clinical_time: AwareDatetime | None = once()
    draft: Text = text()
    versions: Versions[ChartVersion] = versions()
    retracted: bool = flag_on_wins()

    def sign(
        self,
        by: str,
        at: datetime.datetime,
        *,
        codes: Sequence[str] | None = None,
        files: Sequence[str] | None = None,
        reason: str | None = None,
    ) -> Version[ChartVersion]:
        """Make the draft a version, signed `by` somebody `at` a time with a zone, on all versions that are shown.

        The draft stays as it is: what others type unseen is woven into it, and is to be signed in its turn.
        """
        signed = {"text": str(self.draft), "codes": codes, "files": files, "signed_by": by, "signed_at": at}
        made = self.versions.add({**signed, "reason": reason})
        assert made is not None
        return made

    @property
    def unsigned(self) -> str | None:
        """The draft, where it says something else than each version that stands: text that nobody has signed yet."""
        typed = str(self.draft)
        return typed if typed and all(typed != head.value.text for head in self.versions.heads) else None
