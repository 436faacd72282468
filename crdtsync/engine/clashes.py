"""What clashes between records: the rules of derived conflicts, as pure functions of rows.

A *place* is where records meet: a value that they share (an insurance number, a patient), or an hour of a room. A rule
looks at all records at a place and tells which two of them clash. It looks at what readers see first; what is in
conflict within one record is a conflict of its own. Rows may hold whatever members wrote: what is no name, date or time
takes no part (L6).

| rule        | place                | two records clash when                                          | severity |
|-------------|----------------------|-----------------------------------------------------------------|----------|
| `insurance` | insurance number     | both have it, and they are not linked by `same_as`              | high     |
| `person`    | birth date           | names equal after folding, not linked, not told by `insurance`  | low      |
| `number`    | patient number       | both have it                                                    | high     |
| `invoice`   | invoice number       | both have it, in one series                                     | high     |
| `none`      | patient of allergies | "none known" stands beside an active allergy                    | high     |
| `dose`      | patient of doses     | one vaccine, nearer to each other than its minimum interval     | high     |
| `range`     | what is numbered     | they have numbers in common, and neither was ended              | high     |
| `booking`   | hour of a resource   | their slots overlap, both live (pending, booked, arrived)       | medium   |
"""

from __future__ import annotations

import datetime
import json
import re
import unicodedata
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import combinations
from typing import Any, Final, NamedTuple

from crdtsync import limits
from crdtsync.documents.merge import Severity
from crdtsync.ids import RecordId

_HOUR_US: Final = 3_600_000_000
_EPOCH: Final = datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC)
_MICROSECOND: Final = datetime.timedelta(microseconds=1)
_TIME: Final = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,6})?(Z|[+-]\d\d:\d\d)", re.ASCII)
_DATE: Final = re.compile(r"\d{4}-\d\d-\d\d", re.ASCII)
_WORD: Final = re.compile(r"\w+")
_LIVE: Final = frozenset({"pending", "booked", "arrived"})
_NOT_ACTIVE: Final = frozenset({"inactive", "resolved"})
_TAKEN_BACK: Final = frozenset({"refuted", "entered_in_error"})
NONE_KNOWN: Final = "none known"
"""The substance of an allergy record that states that there is none."""


class Member(NamedTuple):
    """A record at a place, with the columns that its rule asked for."""

    record: RecordId
    row: Mapping[str, Any]


Pairs = Iterator[tuple[RecordId, RecordId]]


@dataclass(frozen=True)
class Rule:
    """One sort of derived conflict.

    `conflict` is the kind that people see, `kind` that of the records, `columns` what `pairs` needs of their rows, the
    column that makes the place in front (for `booking`: what the records claim). `fields` are those whose values clash.
    `pairs` gives each pair once, in an order that no third record changes. Two records that differ in the column
    `alike`, folded, do not clash: so much is told without looking at all who are at a place.
    """

    name: str
    conflict: str
    severity: Severity
    kind: str
    columns: tuple[str, ...]
    fields: tuple[str, ...]
    pairs: Callable[[Sequence[Member], str], Pairs]
    alike: str | None = None


# --- words and times ------------------------------------------------------------------------------------------------


@lru_cache(maxsize=20_000)
def folded(text: str) -> str:
    """Text as searching sees it: words without case, accents and punctuation."""
    plain = "".join(c for c in unicodedata.normalize("NFKD", text) if not unicodedata.combining(c))
    return " ".join(_WORD.findall(plain.casefold()))


def fold_of(value: Any) -> str:
    """`folded` text; empty for anything else."""
    return folded(value) if type(value) is str else ""


def _time_us(value: Any) -> int | None:
    """Microseconds since 1970 of a time as fields hold it; None for anything else."""
    if type(value) is not str or not _TIME.fullmatch(value):
        return None
    try:
        return (datetime.datetime.fromisoformat(value) - _EPOCH) // _MICROSECOND
    except (ValueError, OverflowError):
        return None


def _day(value: Any) -> int | None:
    """A date as a number of days; None for anything else."""
    if type(value) is not str or not _DATE.fullmatch(value):
        return None
    try:
        return datetime.date.fromisoformat(value).toordinal()
    except ValueError:
        return None


# --- equal values ---------------------------------------------------------------------------------------------------


def _all(members: Sequence[Member], _place: str) -> Pairs:
    return combinations([member.record for member in members], 2)


def _unlinked(members: Sequence[Member], _place: str) -> Pairs:
    person = _persons(members)
    for one, other in combinations([member.record for member in members], 2):
        if person[one] != person[other]:
            yield one, other


def _same_name(members: Sequence[Member], _place: str) -> Pairs:
    namesakes: dict[tuple[str, str], list[Member]] = {}
    for member in members:
        name = fold_of(member.row["family_name"]), fold_of(member.row["given_name"])
        if all(name):
            namesakes.setdefault(name, []).append(member)
    for name in sorted(namesakes):
        person = _persons(namesakes[name])  # links by others do not count: they come and go unnoticed here
        for one, other in combinations(namesakes[name], 2):
            number = one.row["insurance_number"]
            told = number is not None and number == other.row["insurance_number"]
            if not told and person[one.record] != person[other.record]:
                yield one.record, other.record


def _persons(members: Sequence[Member]) -> dict[RecordId, RecordId]:
    """One id for all of the records that are linked with each other by `same_as`, directly or through others here."""
    first = {member.record: member.record for member in members}

    def root(record: RecordId) -> RecordId:
        while first[record] != record:
            record = first[record]
        return record

    for member in members:
        for other in _links(member.row["same_as"]):
            if other in first:
                one, two = sorted((root(member.record), root(other)))
                first[two] = one
    return {record: root(record) for record in first}


def _links(column: Any) -> list[RecordId]:
    """The links in a column of entries."""
    if type(column) is not str or column == "[]":
        return []
    try:
        found = json.loads(column)
    except ValueError:
        return []
    return [RecordId(link) for link in found if type(link) is str] if type(found) is list else []


def _one_series(members: Sequence[Member], _place: str) -> Pairs:
    for one, other in combinations(members, 2):
        if one.row["series"] == other.row["series"]:
            yield one.record, other.record


def _common_numbers(members: Sequence[Member], _place: str) -> Pairs:
    """There are few ranges, so one place for all of them does: sorted by their first numbers, each is compared with
    those alone that begin before it ends."""
    spans = sorted(
        (member.row["first"], member.record, member.row["last"])
        for member in members
        if type(member.row["first"]) is int and type(member.row["last"]) is int and not member.row["stopped"]
    )
    for index, (_, one, last) in enumerate(spans):
        for first, other, _ in spans[index + 1 :]:
            if first > last:
                break
            yield one, other


# --- the chart ------------------------------------------------------------------------------------------------------


def _contradictions(members: Sequence[Member], _place: str) -> Pairs:
    standing = [
        member
        for member in members
        if member.row["status"] not in _NOT_ACTIVE and member.row["verification"] not in _TAKEN_BACK
    ]
    none = {member.record for member in standing if fold_of(member.row["substance"]) == NONE_KNOWN}
    active = [m.record for m in standing if m.record not in none and m.row["substance"] is not None]
    for statement in sorted(none):
        for allergy in active:
            yield statement, allergy


def _near_doses(members: Sequence[Member], _place: str) -> Pairs:
    doses: dict[str, list[tuple[int, RecordId, int]]] = {}
    for member in members:
        row = member.row
        vaccine, day, interval = fold_of(row["vaccine"]), _day(row["given_on"]), row["minimum_interval_days"]
        if vaccine and day is not None and not row["entered_in_error"]:
            days = max(interval, 1) if type(interval) is int else 1  # one dose, entered at two sites
            doses.setdefault(vaccine, []).append((day, member.record, days))
    for vaccine in sorted(doses):
        given = sorted(doses[vaccine])
        widest = max(days for _, _, days in given)
        for index, (day, record, days) in enumerate(given):
            for its_day, other, its_days in given[index + 1 :]:
                if its_day - day >= widest:
                    break
                if its_day - day < max(days, its_days):
                    yield record, other


# --- the calendar ---------------------------------------------------------------------------------------------------


def claims(row: Mapping[str, Any]) -> dict[str, str]:
    """The hours of people, rooms and devices that an appointment takes: place to what it says there. None unless live.

    At most `limits.claims_per_record_max`, the first by name and hour.
    """
    if row.get("status") not in _LIVE or not row.get("slot"):
        return {}
    slot = json.loads(row["slot"])
    start, end = (_time_us(slot.get("start")), _time_us(slot.get("end"))) if type(slot) is dict else (None, None)
    named = slot.get("resources") if start is not None else None
    if start is None or end is None or end <= start or type(named) is not list:
        return {}
    resources = sorted({fold_of(name) for name in named} - {""})
    body = json.dumps([start, end, resources], ensure_ascii=False, separators=(",", ":"))
    found: dict[str, str] = {}
    for resource in resources:
        for hour in range(start // _HOUR_US, (end - 1) // _HOUR_US + 1):
            if len(found) >= limits.claims_per_record_max:
                return found
            found[_hour_of(resource, hour)] = body
    return found


def _hour_of(resource: str, hour: int) -> str:
    return f"{resource}@{hour}"


def _overlaps(members: Sequence[Member], place: str) -> Pairs:
    """Pairs whose first common hour of their first common resource this is: each pair has one place."""
    taken = [_Taken(member.record, *json.loads(member.row["claim"])) for member in members]
    beginning = [each for each in taken if _hour_of("", each.start // _HOUR_US) == place[place.rindex("@") :]]
    for index, one in enumerate(taken):
        begins = one in beginning
        for other in taken[index + 1 :] if begins else beginning:
            if (begins or other.record > one.record) and max(one.start, other.start) < min(one.end, other.end):
                common = min(set(one.names).intersection(other.names), default="")
                if _hour_of(common, max(one.start, other.start) // _HOUR_US) == place:
                    yield one.record, other.record


class _Taken(NamedTuple):
    record: RecordId
    start: int
    end: int
    names: Sequence[str]


# --- all of them ----------------------------------------------------------------------------------------------------

BOOKING: Final = Rule("booking", "double_booking", "medium", "appointment", ("claim",), ("slot",), _overlaps)
SHARED: Final = (
    Rule(
        "insurance", "duplicate_patient", "high", "patient",
        ("insurance_number", "same_as"), ("insurance_number",), _unlinked,
    ),
    Rule(
        "person", "duplicate_patient", "low", "patient",
        ("birth_date", "family_name", "given_name", "insurance_number", "same_as"),
        ("family_name", "given_name", "birth_date"), _same_name, "family_name",
    ),
    Rule("number", "duplicate_number", "high", "patient", ("number",), ("number",), _all),
    Rule("invoice", "duplicate_number", "high", "invoice", ("number", "series"), ("number",), _one_series),
    Rule(
        "range", "range_overlap", "high", "number_range",
        ("numbers", "first", "last", "stopped"), ("first", "last"), _common_numbers,
    ),
    Rule(
        "none", "contradiction", "high", "allergy",
        ("patient", "substance", "status", "verification"), ("substance",), _contradictions,
    ),
    Rule(
        "dose", "possible_double_dose", "high", "immunization",
        ("patient", "vaccine", "given_on", "minimum_interval_days", "entered_in_error"),
        ("vaccine", "given_on"), _near_doses,
    ),
)  # fmt: skip
"""The rules whose place is a column's value."""
RULES: Final[Mapping[str, Rule]] = {rule.name: rule for rule in (*SHARED, BOOKING)}
WATCHED: Final[Mapping[str, tuple[str, ...]]] = {
    BOOKING.kind: ("status", "slot"),
    **{
        kind: tuple({c: None for r in SHARED if r.kind == kind for c in r.columns}) for kind in {r.kind for r in SHARED}
    },
}
"""The columns of each kind that rules look at."""
