"""A series as this replica knows it now: who has it, how far it has counted, and why it gives no numbers if it cannot.

Read from documents in the store's thread, whole: also where copies of one disk have written beside each other.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Any, Final, NamedTuple

from crdtsync import limits
from crdtsync.authority import terms
from crdtsync.authority.pattern import Pattern, parse
from crdtsync.authority.series import Gap, Place, place_of, series_id
from crdtsync.authority.terms import Tenure
from crdtsync.documents import Content, read
from crdtsync.documents.slots import items_of, split_slot
from crdtsync.errors import BadValue, NotFound
from crdtsync.ids import RecordId
from crdtsync.practice import Series
from crdtsync.storage.base import Store

KIND: Final = "series"
Look = Callable[[str, RecordId], Content | None]
"""What a record says now; None when there is none."""
_FIXED: Final = ("name", "pattern", "start", "stands_in_for")


class SeriesState:
    """One series. `record` may be edited; what it is read as stays."""

    def __init__(self, record: Series, content: Content) -> None:
        self.record = record
        self.content = content
        self.name = record.name or ""
        self.start = 1 if record.start is None else record.start
        self.terms = [Tenure(each.term, each.step, each.holder) for each in record.terms]
        self.ranges = _ranges(content)
        """The first and the last number that were given, per term and year."""
        self.counts = {place: last for place, (_, last) in self.ranges.items()}
        self.pattern: Pattern | None = None
        self.wrong = ""
        """Why nobody may give numbers of this series, as a sentence; empty when its holder may."""
        try:
            self.pattern = parse(self.name, record.pattern or "")
        except BadValue as error:
            self.wrong = f"the series {self.name or record.id} cannot be used: {error}"
        if record.damaged:
            self.wrong = f"the series {self.name} is damaged: {record.damaged}"
        elif undecided := sorted(set(_FIXED) & record.conflicts.keys()):
            self.wrong = (
                f"the series {self.name} was set up twice, and {', '.join(undecided)} is in conflict: decide that "
                "first (crdtsync conflicts)"
            )
        elif self.terms and self.holder is None:
            self.wrong = (
                f"two sites have the series {self.name}, since it was given out twice unseen: nobody gives its numbers "
                "until an admin takes it over (crdtsync take-over)"
            )

    @property
    def holder(self) -> Tenure | None:
        """Who has it now."""
        return terms.current(self.terms)

    @property
    def site(self) -> str:
        """What the holder was called when it got the series."""
        last = self.holder
        named = [each.site for each in self.record.terms if last and (each.term, each.step) == (last.term, last.step)]
        return (named[0] if named else None) or "a site"

    def held_by(self, replica: str) -> bool:
        """Whether this replica has it."""
        return self.holder is not None and self.holder.holder == replica

    def gaps(self) -> list[Gap]:
        """What was noted of numbers without an invoice."""
        return [Gap((each.term, each.year), each.first, each.last, each.reason or "") for each in self.record.gaps]

    def year(self, year: int) -> int:
        """The year under which it counts now: 0 where its numbers name none."""
        return year if self.pattern is not None and self.pattern.yearly else 0


def _ranges(content: Content) -> dict[Place, tuple[int, int]]:
    """The lowest and the highest count that anybody noted, per term and year."""
    found: dict[Place, tuple[int, int]] = {}
    for slot, raw in content.slots.items():
        field, key, tag = split_slot(slot)
        place = place_of(key) if field == "counts" and key is not None else None
        if place is None:
            continue
        for item in items_of(tag, raw):
            value = item.value if type(item.value) is dict else {}
            first, last = value.get("first", 1), value.get("last")
            if type(first) is int and type(last) is int:
                least, most = found.get(place, (first, last))
                found[place] = min(first, least), max(last, most)
    return found


def find(look: Look, name: str) -> SeriesState | None:
    """The series of a name, in whatever case; None when there is none."""
    return load(look, series_id(name))


def load(look: Look, record: RecordId) -> SeriesState | None:
    """The series under a record id."""
    content = look(KIND, record)
    if content is None:
        return None
    found = read(KIND, record, content)
    assert isinstance(found, Series)
    return SeriesState(found, content)


def known(look: Look, name: str) -> SeriesState:
    """The series of a name. Raises NotFound."""
    found = find(look, name)
    if found is None:
        raise NotFound(f"this practice has no series {name}; crdtsync series list DIR shows those that there are")
    return found


def every(store: Store, look: Look) -> Iterator[SeriesState]:
    """All series, in order of their ids."""
    for stored in store.documents(KIND, (KIND, ""), limits.series_max):
        found = load(look, stored.record)
        if found is not None:
            yield found


class Given(NamedTuple):
    """What an invoice says of a number that it was given."""

    series: str
    number: str
    place: Place
    n: int
    at: str
    holder: str

    @classmethod
    def of(cls, issued: Any) -> Given | None:
        """From one value of its `issued_content`; None for one that no series wrote."""
        if type(issued) is not dict:
            return None
        texts = [issued.get(name) for name in ("series", "number", "issued_at", "site")]
        counts = [issued.get("term"), issued.get("year") or 0, issued.get("n")]
        if any(type(text) is not str for text in texts) or any(type(count) is not int for count in counts):
            return None
        series, number, at, holder = map(str, texts)
        term, year, n = (int(str(count)) for count in counts)
        return cls(series, number, (term, year), n, at, holder)


def time_of(now_ms: int) -> datetime:
    """A wall time as records keep it."""
    return datetime.fromtimestamp(now_ms / 1000, UTC)


def values_of(content: Content, field: str) -> list[Any]:
    """All surviving values of a field, each once, None left out."""
    found: list[Any] = []
    for slot, raw in content.slots.items():
        name, entry, tag = split_slot(slot)
        if name == field and entry is None:
            found += [item.value for item in items_of(tag, raw) if item.value is not None and item.value not in found]
    return found
