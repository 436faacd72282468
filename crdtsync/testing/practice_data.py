"""A practice that does not exist: invented patients and what a practice writes about them.

For the demo, benchmarks and tests. Everything follows from the seed, record ids too, so that the same practice can be
made at two sites, or twice, and is the same. Names are put together by chance; telephone numbers come from the range
that is kept free for films (Bundesnetzagentur, 030 23125 xxx), mail addresses from example.org.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from datetime import UTC, date, datetime, time, timedelta
from typing import Any, TypeVar

from crdtsync.documents import Record
from crdtsync.ids import RecordId, record_id_from
from crdtsync.practice import Allergy, Appointment, MedicationStatement, Patient, Visit

T = TypeVar("T")
R = TypeVar("R", bound=Record)

_FIRST_NAMES = {
    "female": (
        "Anneke",
        "Berit",
        "Clara",
        "Dörte",
        "Elif",
        "Frieda",
        "Gesine",
        "Hanna",
        "Ilka",
        "Jördis",
        "Käthe",
        "Nele",
    ),
    "male": ("Arved", "Bosse", "Cem", "Detlef", "Eike", "Falko", "Götz", "Henning", "Ivo", "Jörn", "Kilian", "Piet"),
}
_NAME_STARTS = ("Birken", "Dorn", "Eichen", "Falken", "Grün", "Hasel", "Kirsch", "Mühl", "Nuss", "Ober", "Reh", "Schön")
_NAME_ENDS = ("auer", "bach", "berger", "born", "brück", "feld", "hauser", "hofer", "kamp", "reuter", "stett", "thal")
_STREETS = ("Ahornweg", "Bahnhofstraße", "Gartenweg", "Lindenallee", "Marktstraße", "Mühlgasse", "Schulstraße")
_CITIES = (("07743", "Jena"), ("99423", "Weimar"), ("07545", "Gera"))
_DRUGS = (
    ("Ramipril", "5 mg", "Tablette", "C09AA05"),
    ("Metformin", "1000 mg", "Filmtablette", "A10BA02"),
    ("Bisoprolol", "2,5 mg", "Tablette", "C07AB07"),
    ("L-Thyroxin", "75 µg", "Tablette", "H03AA01"),
    ("Pantoprazol", "20 mg", "Tablette, magensaftresistent", "A02BC02"),
    ("Ibuprofen", "400 mg", "Filmtablette", "M01AE01"),
)
_SUBSTANCES = ("Penicillin", "Bienengift", "Haselnuss", "Latex", "Jod", "Birkenpollen")
_REASONS = ("Blutdruckkontrolle", "Husten", "Impfberatung", "Rückenschmerzen", "Verbandwechsel", "Überweisung")
_TAGS = ("Hausarztvertrag", "DMP Diabetes", "Privat", "Studie")
_ROOMS = ("Zimmer 1", "Zimmer 2", "Labor")
_CALENDARS = ("Dr. Weber", "Dr. Yilmaz")
FIRST_DAY = date(2026, 1, 5)
"""The Monday on which the generated calendar begins."""


def generate(patients: int, seed: int) -> Iterator[Record]:
    """The records of a practice of so many patients, each patient followed by what belongs to it.

    About six records a patient: medication statements (none to three), an allergy for every other one, an appointment
    and visits (none to four). Appointments of one calendar never overlap. Equal arguments give equal records, and the
    first n patients are the same whatever `patients` is.
    """
    for number in range(patients):
        yield from _of_patient(number, seed)


def patient(number: int, seed: int) -> Patient:
    """The patient of this number: twelve short fields, as benchmarks count them; some have a title besides."""
    made = _Maker(number, seed)
    sex = made.one_of(("female", "male"))
    family_name, given_name = made.family_name(), made.one_of(_FIRST_NAMES[sex])
    postal_code, city = made.one_of(_CITIES)
    return made.record(
        Patient(
            number=100_000 + number,
            family_name=family_name,
            given_name=given_name,
            title=made.one_of(("", "", "", "Dr.")) or None,
            birth_date=made.day_before(date(2020, 1, 1), days=90 * 365),
            sex=sex,
            insurance_number=made.insurance_number(),
            address={
                "street": f"{made.one_of(_STREETS)} {made.number(1, 120)}",
                "postal_code": postal_code,
                "city": city,
                "country": "DE",
            },
            phones=[f"030 23125 {made.number(0, 999):03}"],
            emails=[f"patient{number}.{seed}@example.org"],
            tags=[made.one_of(_TAGS)],
            home_site=city,
            archived=False,
        )
    )


def _of_patient(number: int, seed: int) -> Iterator[Record]:
    person = patient(number, seed)
    yield person
    made = _Maker(number, seed, "of")
    for drug in made.some_of(_DRUGS, 3):
        yield made.record(_medication(made, person.id, drug))
    if made.number(0, 1):
        yield made.record(_allergy(made, person.id))
    yield made.record(_appointment(made, person.id, number))
    for _ in range(made.number(0, 4)):
        yield made.record(_visit(made, person.id))


class _Maker:
    """Draws for one patient: a stream of its own, so that patients do not depend on each other."""

    def __init__(self, number: int, seed: int, what: str = "patient") -> None:
        self._name = f"{seed}/{number}/{what}"
        self._random = random.Random(self._name)
        self._made = 0

    def record(self, record: R) -> R:
        """Give `record` the next id of this stream."""
        record.id = record_id_from("generated", self._name, str(self._made))
        self._made += 1
        return record

    def number(self, low: int, high: int) -> int:
        return self._random.randint(low, high)

    def one_of(self, items: tuple[T, ...]) -> T:
        return self._random.choice(items)

    def some_of(self, items: tuple[T, ...], most: int) -> list[T]:
        return self._random.sample(items, self.number(0, most))

    def family_name(self) -> str:
        return self.one_of(_NAME_STARTS) + self.one_of(_NAME_ENDS)

    def day_before(self, day: date, *, days: int) -> date:
        return day - timedelta(days=self.number(1, days))

    def insurance_number(self) -> str:
        """A letter, eight digits and the check digit of the German health insurance number (Anlage 1, § 290 SGB V)."""
        letter, digits = self.number(1, 26), f"{self.number(0, 99_999_999):08}"
        weighed = [int(digit) * (1 + place % 2) for place, digit in enumerate(f"{letter:02}{digits}")]
        check = sum(value // 10 + value % 10 for value in weighed) % 10
        return f"{chr(ord('A') + letter - 1)}{digits}{check}"


def _moment(day: date, minutes: int) -> datetime:
    return datetime.combine(day, time(tzinfo=UTC)) + timedelta(minutes=minutes)


def _medication(made: _Maker, person: RecordId, drug: tuple[str, str, str, str]) -> MedicationStatement:
    name, strength, form, code = drug
    return MedicationStatement(
        patient=person,
        drug={"name": name, "strength": strength, "form": form, "code": code},
        dosage={"morning": made.number(0, 2), "noon": 0, "evening": made.number(0, 1), "night": 0, "unit": "Stück"},
        period={"start": made.day_before(FIRST_DAY, days=3_000)},
        status="active",
    )


def _allergy(made: _Maker, person: RecordId) -> Allergy:
    return Allergy(
        patient=person,
        substance=made.one_of(_SUBSTANCES),
        criticality=made.one_of(("low", "high")),
        status="active",
        verification="confirmed",
        noted_on=made.day_before(FIRST_DAY, days=5_000),
    )


def _appointment(made: _Maker, person: RecordId, number: int) -> Appointment:
    """Every calendar has 24 quarters of an hour a day, given out in the order of the patients' numbers."""
    calendar = _CALENDARS[number % len(_CALENDARS)]
    day, quarter = divmod(number // len(_CALENDARS), 24)
    start = _moment(FIRST_DAY + timedelta(days=day // 5 * 7 + day % 5), 7 * 60 + 15 * quarter)
    slot: dict[str, Any] = {"start": start, "end": start + timedelta(minutes=15), "resources": [calendar]}
    return Appointment(calendar=calendar, patient=person, slot=slot, title=made.one_of(_REASONS), status="booked")


def _visit(made: _Maker, person: RecordId) -> Visit:
    started = _moment(made.day_before(FIRST_DAY, days=1_500), made.number(7 * 60, 16 * 60))
    return Visit(
        patient=person,
        status="finished",
        started=started,
        ended=started + timedelta(minutes=made.number(5, 45)),
        site=made.one_of(_CITIES)[1],
        practitioner=made.one_of(_CALENDARS),
        room=made.one_of(_ROOMS),
        reason=made.one_of(_REASONS),
    )
