"""Patients: who somebody is."""

from __future__ import annotations

import datetime
from typing import Annotated, ClassVar, Literal

from pydantic import AfterValidator

from crdtsync.documents import Entries, Link, Record, Text, Value, entries, flag_on_wins, latest, once, register, text

Sex = Literal["female", "male", "other", "unknown"]


def check_insurance_number(value: str) -> str:
    """A German insurance number (KVNR): a letter, eight digits and a check digit (§ 290 SGB V, annex 1).

    The letter counts as its two-digit place in the alphabet; the digits are weighted 1 and 2 in turn, the digits of
    each product are added, and the sum modulo 10 is the check digit. Raises ValueError, without the number in it.
    """
    number = value.strip().upper()
    if len(number) != 10 or not "A" <= number[0] <= "Z" or not (number[1:].isascii() and number[1:].isdigit()):
        raise ValueError("an insurance number is a letter and nine digits")
    digits = f"{ord(number[0]) - ord('A') + 1:02}{number[1:9]}"
    weighted = [int(digit) * (1 + index % 2) for index, digit in enumerate(digits)]
    if sum(product // 10 + product % 10 for product in weighted) % 10 != int(number[9]):
        raise ValueError("the check digit of this insurance number is wrong; compare it with the card")
    return number


InsuranceNumber = Annotated[str, AfterValidator(check_insurance_number)]


class Address(Value):
    """A postal address."""

    street: str | None = None
    postal_code: str | None = None
    city: str | None = None
    country: str | None = None


class Patient(Record, kind="patient"):
    """A person who is treated (FHIR Patient). `same_as` says "this is the same person", and can be taken back.

    `number` is given by the site where the record is created, out of its ranges. While it has none to give,
    `number_follows` names the replica that gives one as soon as it can.
    """

    indexes: ClassVar[tuple[str, ...]] = (
        "family_name",
        "birth_date",
        "insurance_number",
        "number",
        "number_follows",
    )

    number: int | None = once()
    number_follows: str | None = latest()
    family_name: str | None = register()
    given_name: str | None = register()
    title: str | None = register()
    birth_date: datetime.date | None = register()
    sex: Sex | None = register()
    insurance_number: InsuranceNumber | None = register()
    address: Address | None = register()
    phones: Entries[str] = entries(by_value=True)
    emails: Entries[str] = entries(by_value=True)
    deceased: bool = flag_on_wins()
    deceased_on: datetime.date | None = register()
    home_site: str | None = latest()
    tags: Entries[str] = entries(by_value=True)
    note: Text = text()
    same_as: Entries[Link] = entries(by_value=True)
    archived: bool | None = latest()
