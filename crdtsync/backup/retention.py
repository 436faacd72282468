"""Which backups are kept when there are many: the newest of each of the last days, weeks and months that have one."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime

from crdtsync.errors import BadValue


@dataclass(frozen=True, slots=True)
class Retention:
    """How many days, weeks (from Monday) and months keep their newest backup; days begin at midnight UTC.

    Only days, weeks and months that have a backup count, so a pause ages nothing. Whatever the numbers say, the newest
    backup of all is kept: it was verified when it was made. `parse` reads `daily=7,weekly=5,monthly=12`.
    """

    daily: int = 7
    weekly: int = 5
    monthly: int = 12

    def __post_init__(self) -> None:
        if min(self.daily, self.weekly, self.monthly) < 0:
            raise BadValue("a retention rule counts days, weeks and months: none of them below 0")

    @classmethod
    def parse(cls, text: str) -> Retention:
        """The rule that `text` names; what it leaves out is 0. Raises BadValue."""
        wanted = {"daily": 0, "weekly": 0, "monthly": 0}
        for word in filter(None, (word.strip() for word in text.split(","))):
            name, _, number = word.partition("=")
            if name not in wanted or not (number.isascii() and number.isdigit()):
                raise BadValue(f"{word!r} is no retention rule; write it like daily=7,weekly=5,monthly=12")
            wanted[name] = int(number)
        return cls(**wanted)

    def kept(self, taken_ms: Iterable[int]) -> set[int]:
        """Of backups taken at these times (milliseconds since 1970) those that are kept."""
        newest_first = sorted(set(taken_ms), reverse=True)
        kept = set(newest_first[:1])
        for count, name in ((self.daily, _day), (self.weekly, _week), (self.monthly, _month)):
            kept |= _newest_of_each(newest_first, count, name)
        return kept


def _newest_of_each(newest_first: list[int], count: int, name: Callable[[datetime], object]) -> set[int]:
    found: dict[object, int] = {}
    for taken in newest_first:
        found.setdefault(name(datetime.fromtimestamp(taken / 1000, UTC)), taken)
    return set(list(found.values())[:count])


def _day(at: datetime) -> object:
    return at.date()


def _week(at: datetime) -> object:
    return at.isocalendar()[:2]


def _month(at: datetime) -> object:
    return at.year, at.month
