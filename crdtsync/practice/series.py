"""Series of invoice numbers: a duty that one site has at a time."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import AwareDatetime

from crdtsync.documents import Entries, Record, Value, append_only, entries, once

TermOpening = Literal["founded", "handed_over", "taken_over", "reopened"]


class SeriesTerm(Value):
    """A step of a term: which replica gives the numbers from here on (`holder`, and `site`, its name then), how it came
    to that, who said so at which replica (`by`), and why."""

    billing: ClassVar[bool] = True
    term: int
    step: int
    holder: str
    site: str | None = None
    how: TermOpening | None = None
    author: str | None = None
    by: str | None = None
    reason: str | None = None
    at: AwareDatetime | None = None


class SeriesCount(Value):
    """The first and the last number that were given in a term and year."""

    billing: ClassVar[bool] = True
    last: int
    first: int | None = None


class SeriesGap(Value):
    """Why numbers of a term and year have no invoice: those from `first` to `last`; without `last` all from there on,
    and with a `last` before `first` there are none behind it."""

    billing: ClassVar[bool] = True
    term: int
    year: int
    first: int
    last: int | None = None
    reason: str | None = None
    author: str | None = None
    at: AwareDatetime | None = None


class SeriesWish(Value):
    """Somebody at another site asks the holder of this step to hand the series over to the replica `to`."""

    billing: ClassVar[bool] = True
    term: int
    step: int
    to: str
    author: str | None = None
    by: str | None = None
    reason: str | None = None
    at: AwareDatetime | None = None


class Series(Record, kind="series"):
    """A series of numbers. Its record id follows from its name; its fields are set by the site's own verbs alone.

    Who holds it follows from `terms` (see `authority.terms`). The holder writes `counts`, under "term/year", in the
    commit that gives the number. `stands_in_for` names a series in whose place this one may be used.
    """

    billing: ClassVar[bool] = True

    name: str | None = once()
    pattern: str | None = once()
    start: int | None = once()
    stands_in_for: str | None = once()
    terms: Entries[SeriesTerm] = append_only(by=("term", "step", "holder"))
    counts: Entries[SeriesCount] = entries(severity="high")
    gaps: Entries[SeriesGap] = append_only()
    wishes: Entries[SeriesWish] = append_only(by=("term", "step", "to"))
