"""What sites do about series: found them, hand them over, take them over, and, at the holder, what is due by itself.

Everything here is decided in the store's thread, as a `Deciding` that sees all that the log holds: the simulator and
real sites run the same. Who holds a series follows from its terms (`authority.terms`).

By itself a site opens the next term of the series that it holds when it may have given numbers that nobody knows of,
hands a series over when another site asked for it, says where it ended when it hears that it has lost one, and issues
what is ready, in the order in which it became so. Each of these changes a record, so that it is not due again; what
cannot be done is left until something changes (L7).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from crdtsync import limits
from crdtsync.authority import terms
from crdtsync.authority.pattern import may_coincide, parse
from crdtsync.authority.series import ENDED, UNKNOWN_AFTER_RESTORE, UNKNOWN_END, first_of, series_id
from crdtsync.authority.terms import Tenure
from crdtsync.documents import edits_of
from crdtsync.engine import RecordEdits, WriteGrant, WriteRequest
from crdtsync.errors import BadValue, NotFound, RefusedError
from crdtsync.host import Deciding, Host
from crdtsync.ids import RecordId, base32
from crdtsync.issuing import (
    INVOICE,
    At,
    Paper,
    Words,
    Year,
    cancel,
    issue_waiting,
    local_year,
    make_ready,
    series_edits,
)
from crdtsync.numbers import META_SERIES_CLOSED
from crdtsync.practice import Series
from crdtsync.practice.series import SeriesGap, SeriesTerm, SeriesWish, TermOpening
from crdtsync.replication.membership import Member
from crdtsync.series_state import KIND, SeriesState, every, find, known, time_of

KINDS: Final = (KIND, INVOICE)
"""Kinds of which a change may make something due."""
Decide = Callable[[At], WriteRequest | None]


@dataclass(frozen=True, slots=True)
class Duty:
    """Something that is due here by itself; `alarm` is told once it is written, where people should know of it.
    `invoice` is the one that is to get its number by it."""

    deciding: Deciding
    alarm: str = ""
    invoice: RecordId | None = None


class Duties:
    """Makes what is to be written. `year` tells the year of a wall time, by this machine's zone unless said otherwise.

    Holds nothing: each call looks at the records as they are.
    """

    def __init__(self, year: Year = local_year) -> None:
        self._year = year
        self.opened = terms.opened
        """What the first step of the next term of a series is."""

    # -- what people ask -----------------------------------------------------------------------------------------------

    def add_series(
        self, name: str, pattern: str, holder: str | None, start: int, stands_in_for: str | None, words: Words
    ) -> Deciding:
        """Found a series; `holder` names the site that gives its numbers, None this one. Refused at a site that is no
        admin, and where its numbers could ever be those of another series."""

        def decide(at: At) -> WriteRequest:
            _check_admin(at.host)
            written = parse(name, pattern)
            if start < 1:
                raise BadValue("a series starts with a number from 1 on")
            if stands_in_for is not None:
                known(at.look, stands_in_for)
            if find(at.look, name) is not None:
                raise RefusedError(f"the practice has a series {name} already; `series list` shows it")
            others = list(every(at.host.store, at.look))
            if len(others) >= limits.series_max:
                raise RefusedError(f"the practice has {len(others)} series, and no more are kept")
            for other in others:
                if other.pattern is not None and may_coincide(written, other.pattern):
                    raise RefusedError(
                        f"the series {other.name} ({other.pattern.text}) could give the same numbers: choose a pattern "
                        "that reads otherwise"
                    )
            first = _site(at.host, holder) if holder is not None else _own(at.host)
            made = Series(name=name, pattern=pattern, start=start, stands_in_for=stands_in_for)
            made.id = series_id(name)
            made.terms.add(_step(at, Tenure(1, 0, base32(first.replica)), first.name, "founded", words))
            return words.request([RecordEdits(KIND, made.id, made.id, edits_of(made, str))])

        return _deciding(decide)

    def hand_over(self, name: str, to: str, words: Words) -> Deciding:
        """Give a series that is held here to another site, which counts on. At another site it becomes a wish, which
        the holder carries out when it hears of it."""

        def decide(at: At) -> WriteRequest | None:
            series, site = known(at.look, name), _site(at.host, to)
            last = series.holder
            if series.wrong or last is None:
                raise RefusedError(series.wrong or f"nobody holds the series {name}")
            if last.holder == base32(site.replica):
                return None
            if last.holder == at.replica:
                return _handed(at, series, site, words)
            wish = SeriesWish(
                term=last.term, step=last.step, to=base32(site.replica), author=words.author, by=at.replica,
                reason=words.reason, at=time_of(at.now_ms),
            )  # fmt: skip
            series.record.wishes.add(wish)
            return words.request([series_edits(series)])

        return _deciding(decide)

    def take_over(self, name: str, to: str | None, words: Words) -> Deciding:
        """Open the next term of a series for a site (None: this one), since its holder is lost. Refused at a site that
        is no admin, and without a reason."""

        def decide(at: At) -> WriteRequest:
            _check_admin(at.host)
            series = known(at.look, name)
            site = _site(at.host, to) if to is not None else _own(at.host)
            if not words.reason.strip():
                raise BadValue("say why the series is taken over (--reason TEXT): auditors ask")
            if series.held_by(base32(site.replica)):
                raise RefusedError(f"{site.name} has the series {name} already")
            return words.request([self._opened(at, series, site, words, "taken_over", UNKNOWN_END)])

        return _deciding(decide)

    def make_ready(self, invoice: str, series: str | None, words: Words, *, stand_in: bool = False) -> Deciding:
        """Make an invoice ready, and issue it where its series is held here (see `issuing`)."""
        return _deciding(lambda at: make_ready(at, invoice, series, self._year, words, stand_in=stand_in))

    def cancel(self, invoice: str, series: str | None, words: Words) -> Deciding:
        """Cancel an invoice by another one (see `issuing`)."""
        return _deciding(lambda at: cancel(at, invoice, series, self._year, words))

    # -- what is due by itself -----------------------------------------------------------------------------------------

    def due(self, host: Host, grant: WriteGrant, now_ms: int) -> list[Duty]:
        """What this replica has to do now, in its order; at most `limits.issued_per_turn` invoices at a time."""
        at = At(host, grant, now_ms)
        if host.numbers.refusal(grant):
            return []
        if host.numbers.series_closed:
            return [Duty(_deciding(self._reopen))]
        found = list(every(host.store, at.look))
        ended = [duty for series in found for duty in self._ended(at, series)]
        held = {series.name: series for series in found if not series.wrong and series.held_by(at.replica)}
        handed = [duty for series in held.values() for duty in self._wished(at, series)]
        waiting = [] if handed else [record for record, _ in waiting_for(at, held)]
        return [*ended, *handed, *(self._issue(record) for record in waiting[: limits.issued_per_turn])]

    def _issue(self, record: RecordId) -> Duty:
        return Duty(_deciding(lambda at: issue_waiting(at, record, self._year)), invoice=record)

    def _reopen(self, at: At) -> WriteRequest | None:
        """Numbers may have been given that nobody knows of: every series that is held here goes on in a term that this
        site opens for itself, and of terms that it has lost it cannot say where they ended. The note of it is taken
        away in the same commit."""
        if not at.host.numbers.series_closed or at.host.numbers.refusal(at.grant):
            return None
        words, own = Words(reason="this site lost a part of its log"), _own(at.host)
        edits = []
        for each in every(at.host.store, at.look):
            lost = _unsaid(at, each)
            for tenure in lost:
                place, last = _last_of(each, tenure.term, self._year(at.now_ms))
                _note(at, each, place, last + 1, None, UNKNOWN_AFTER_RESTORE, words)
            if each.held_by(at.replica):
                edits.append(self._opened(at, each, own, words, "reopened", UNKNOWN_AFTER_RESTORE))
            elif lost:
                edits.append(series_edits(each))
        request = words.request(edits)
        return WriteRequest(
            request.author, request.reason, "", "", request.records, {META_SERIES_CLOSED: None}, mass=True
        )

    def _ended(self, at: At, series: SeriesState) -> Iterator[Duty]:
        """A series that was taken over elsewhere: this site says where it ended, once."""
        for tenure in _unsaid(at, series):
            alarm = (
                f"the series {series.name} was taken over: this site gives no more of its numbers, and {series.site} "
                f"does; what was given here meanwhile is listed by: crdtsync series audit DIR {series.name}"
            )

            def decide(at: At, tenure: Tenure = tenure, name: str = series.name) -> WriteRequest | None:
                now = find(at.look, name)
                if now is None or tenure not in _unsaid(at, now):
                    return None
                place, last = _last_of(now, tenure.term, self._year(at.now_ms))
                _note(at, now, place, last + 1, last, ENDED, Words())
                return Words(reason="duty lost").request([series_edits(now)])

            yield Duty(_deciding(decide), alarm)

    def _wished(self, at: At, series: SeriesState) -> Iterator[Duty]:
        """Another site asked for a series that is held here."""
        wish = _wish(series)
        if wish is None:
            return

        def decide(at: At, name: str = series.name) -> WriteRequest | None:
            now = find(at.look, name)
            asked = None if now is None else _wish(now)
            if now is None or asked is None or not now.held_by(at.replica):
                return None
            site = next((m for m in _sites(at.host) if base32(m.replica) == asked.to), None)
            words = Words(asked.author or "", asked.reason or "")
            return None if site is None else _handed(at, now, site, words)

        if any(base32(member.replica) == wish.to for member in _sites(at.host)):
            yield Duty(_deciding(decide))

    def _opened(
        self, at: At, series: SeriesState, site: Member, words: Words, how: TermOpening, unknown: str
    ) -> RecordEdits:
        """The next term of a series, and what is not known of the one before."""
        indices = {base32(replica): index for replica, index in at.host.membership.indices.items()}
        tenure = self.opened(series.terms, base32(site.replica), indices, anew=how == "reopened")
        last = max((each.term for each in series.terms), default=0)
        if last:
            place, count = _last_of(series, last, self._year(at.now_ms))
            _note(at, series, place, count + 1, None, unknown, words)
        series.record.terms.add(_step(at, tenure, site.name, how, words))
        return series_edits(series)


def _deciding(decide: Decide) -> Deciding:
    return Deciding(lambda host, grant, now_ms: decide(At(host, grant, now_ms)))


def waiting_for(at: At, held: Mapping[str, SeriesState]) -> list[tuple[RecordId, str]]:
    """Invoices that wait for a number of these series and can get it, in the order in which they became ready."""
    order: list[tuple[int, RecordId, str]] = []
    names = {name.casefold(): name for name in held}
    for record, _, named in at.host.store.holding(INVOICE, ("status", "series"), "ready"):
        name = names.get(named.strip().casefold()) if type(named) is str else None
        if name is None:
            continue
        paper = Paper.load(at.host, record)
        if not paper.numbers and not paper.wrong():
            order.append((paper.ready_since()[0], record, name))
    return [(record, name) for _, record, name in sorted(order)]


def why_waiting(at: At, record: str) -> str:
    """Why an invoice that is ready has no number yet, as a sentence."""
    paper = Paper.load(at.host, record)
    series = find(at.look, paper.series[0]) if len(paper.series) == 1 else None
    if paper.wrong():
        return paper.wrong()
    if series is None:
        return "it names no series of this practice"
    if series.wrong:
        return series.wrong
    if not series.held_by(at.replica):
        return f"{series.site} has the series {series.name}, and issues it when it hears of it"
    return at.refusal() or "it is about to be issued"


def _wish(series: SeriesState) -> SeriesWish | None:
    last = series.holder
    for wish in series.record.wishes:
        if last is not None and (wish.term, wish.step) == (last.term, last.step) and wish.to != last.holder:
            return wish
    return None


def _unsaid(at: At, series: SeriesState) -> list[Tenure]:
    """Terms that others have ended, and of which this site has not said where it stopped."""
    said = {gap.place[0] for gap in series.gaps() if gap.last is not None and gap.last < gap.first}
    said |= {gap.place[0] for gap in series.gaps() if gap.reason == UNKNOWN_AFTER_RESTORE}
    own = {each.term for each in series.record.terms if each.how == "reopened" and each.by == at.replica}
    found = terms.lost(series.terms, at.replica)
    return [each for each in found if each.term not in said and _next(series, each.term) not in own]


def _next(series: SeriesState, term: int) -> int:
    return min((each.term for each in series.terms if each.term > term), default=0)


def _last_of(series: SeriesState, term: int, year: int) -> tuple[tuple[int, int], int]:
    """Where a term has come to: its last place, and the last number given there."""
    places = [place for place in series.counts if place[0] == term]
    if places:
        return max(places), series.counts[max(places)]
    place = (term, series.year(year))
    return place, first_of(place, series.counts, series.start) - 1


def _handed(at: At, series: SeriesState, site: Member, words: Words) -> WriteRequest:
    at.check(series)
    assert series.holder is not None, "at.check has looked"
    step = terms.handed(series.holder, base32(site.replica))
    series.record.terms.add(_step(at, step, site.name, "handed_over", words))
    return words.request([series_edits(series)])


def _note(
    at: At, series: SeriesState, place: tuple[int, int], first: int, last: int | None, reason: str, words: Words
) -> None:
    series.record.gaps.add(SeriesGap(
        term=place[0], year=place[1], first=first, last=last, reason=reason, author=words.author or None,
        at=time_of(at.now_ms),
    ))  # fmt: skip


def _step(at: At, tenure: Tenure, site: str, how: TermOpening, words: Words) -> SeriesTerm:
    return SeriesTerm(
        term=tenure.term, step=tenure.step, holder=tenure.holder, site=site, how=how, author=words.author or None,
        by=at.replica, reason=words.reason or None, at=time_of(at.now_ms),
    )  # fmt: skip


def _sites(host: Host) -> list[Member]:
    return [member for member in host.membership.members.values() if member.active and member.role == "site"]


def _site(host: Host, name: str) -> Member:
    """The site of this name. Raises NotFound."""
    found = [member for member in _sites(host) if member.name == name]
    if not found:
        raise NotFound(f"the practice has no site named {name}; `members` lists them")
    return found[0]


def _own(host: Host) -> Member:
    found = host.membership.active(host.replica)
    if found is None:
        raise RefusedError("the practice has removed this site")
    return found


def _check_admin(host: Host) -> None:
    if not _own(host).administers:
        raise RefusedError(f"{host.name} is no admin of the practice; decide this at a site that is one")
