"""Giving numbers to invoices, at the site that has their series: decided in the store's thread, one commit for each.

That commit freezes what stands on the invoice, gives it the number, and counts on; so the number is durable, signed and
known together with its invoice, or not at all (L2). An invoice that has a number keeps it, whoever asks again.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from crdtsync.authority.series import count_key, next_number
from crdtsync.documents import Content, Entries, edits_of, fields_json, read, subject_of
from crdtsync.documents.slots import canonical, items_of, split_slot
from crdtsync.engine import RecordEdits, WriteGrant, WriteRequest
from crdtsync.errors import BadValue, NotFound, RefusedError
from crdtsync.frozen import CONTENT
from crdtsync.host import Host
from crdtsync.ids import CommitId, RecordId, base32, log_tag, record_id_from
from crdtsync.practice import Invoice, InvoiceLine, Series
from crdtsync.practice.series import SeriesCount, SeriesGap
from crdtsync.series_state import KIND, SeriesState, every, find, known, time_of, values_of

INVOICE: Final = "invoice"
BY_ITSELF: Final = "issued by itself, since it was ready"


@dataclass(frozen=True, slots=True)
class At:
    """Where and when something is decided: at this replica, now."""

    host: Host
    grant: WriteGrant
    now_ms: int

    @property
    def replica(self) -> str:
        """This replica's id as text."""
        return base32(self.host.replica)

    def look(self, kind: str, record: RecordId) -> Content | None:
        """What a record says now."""
        state = self.host.engine.record(kind, record)
        return None if state is None else state.content

    def refusal(self) -> str:
        """Why this replica gives no numbers of a series now, as a sentence; empty when it does."""
        numbers = self.host.numbers
        if numbers.refusal(self.grant):
            return numbers.refusal(self.grant)
        if numbers.series_closed:
            return (
                "this site lost a part of its log, and may have given numbers that nobody knows of: it opens the next "
                "term of its series first, which it does by itself; try again in a moment"
            )
        return ""

    def check(self, series: SeriesState) -> None:
        """Raises RefusedError where this replica may not give a number of this series now."""
        if series.wrong:
            raise RefusedError(series.wrong)
        if not series.held_by(self.replica):
            raise RefusedError(f"the series {series.name} is held by {series.site}, which alone gives its numbers")
        if self.refusal():
            raise RefusedError(self.refusal())


def local_year(at_ms: int) -> int:
    """The year by this machine's clock and zone."""
    return datetime.fromtimestamp(at_ms / 1000).astimezone().year


Year = Callable[[int], int]


@dataclass(frozen=True, slots=True)
class Words:
    """Who wants it, and why."""

    author: str = ""
    reason: str = ""
    workstation: str = ""
    purpose: str = ""

    def request(self, records: Sequence[RecordEdits]) -> WriteRequest:
        """One transaction of theirs."""
        return WriteRequest(self.author, self.reason, self.workstation, self.purpose, records, mass=True)


class Paper:
    """One invoice as it stands, to be edited."""

    def __init__(self, record: RecordId, content: Content, subject: str) -> None:
        self.id = record
        self.content = content
        self.subject = subject
        found = read(INVOICE, record, content)
        assert isinstance(found, Invoice)
        self.invoice = found

    @classmethod
    def load(cls, host: Host, record: str) -> Paper:
        """Raises NotFound."""
        state = host.engine.record(INVOICE, RecordId(record))
        if state is None:
            raise NotFound(f"there is no invoice {record} here")
        made = cls(RecordId(record), state.content, state.subject)
        made.invoice._reading.damaged = state.damaged
        return made

    @property
    def numbers(self) -> list[str]:
        """Its numbers: none, one, or several that stand against each other."""
        return [str(value) for value in values_of(self.content, "number")]

    @property
    def states(self) -> list[str]:
        """Its status, or several that stand against each other."""
        return [str(value) for value in values_of(self.content, "status")]

    @property
    def series(self) -> list[str]:
        """The series that it names."""
        return [str(value) for value in values_of(self.content, "series")]

    def wrong(self) -> str:
        """Why it must not be frozen as it is, as a sentence; empty when it may."""
        if self.invoice.damaged:
            return f"invoice {self.id} is damaged: {self.invoice.damaged}"
        against = sorted({*CONTENT, "series", "status"} & self.invoice.conflicts.keys())
        if against:
            return f"{', '.join(against)} of invoice {self.id} is in conflict: somebody must decide that first"
        if set(CONTENT) & self.invoice.unknown.keys():
            return f"invoice {self.id} holds values of a newer version of this program: update this site first"
        return ""

    def ready_since(self) -> tuple[int, str]:
        """When it was made ready, by hybrid time, and by which commit, as documents name commits."""
        found = [
            item
            for slot, raw in self.content.slots.items()
            if split_slot(slot)[0] == "status"
            for item in items_of(split_slot(slot)[2], raw)
            if item.value == "ready"
        ]
        first = min(found, key=lambda item: (item.stamp, item.tag), default=None)
        return (0, "") if first is None else (first.stamp, first.commit)

    def edits(self) -> RecordEdits:
        """What was changed."""
        return RecordEdits(INVOICE, self.id, self.subject, edits_of(self.invoice, str))


def series_edits(series: SeriesState) -> RecordEdits:
    """What was changed of a series."""
    record: Series = series.record
    return RecordEdits(KIND, record.id, record.id, edits_of(record, str))


def issue(at: At, paper: Paper, series: SeriesState, year: Year, words: Words) -> WriteRequest:
    """The commit that gives a ready invoice its number. Raises RefusedError."""
    at.check(series)
    wrong = paper.wrong()
    if wrong:
        raise RefusedError(wrong)
    if paper.numbers or paper.invoice.status != "ready":
        raise RefusedError(f"invoice {paper.id} is {paper.invoice.status}; only a ready one gets a number")
    number, place, n = _take(at, series, year, words)
    content = {name: value for name, value in fields_json(paper.invoice).items() if name in CONTENT}
    paper.invoice.issued_content = {
        "content": content,
        "sha256": hashlib.sha256(canonical(content).encode()).hexdigest(),
        "number": number,
        "series": series.name,
        "term": place[0],
        "year": place[1] or None,
        "n": n,
        "issued_at": time_of(at.now_ms).isoformat(timespec="milliseconds"),
        "holder": at.replica,
        "site": at.host.name,
    }
    paper.invoice.series = series.name
    paper.invoice.number = number
    paper.invoice.status = "issued"
    return words.request([paper.edits(), series_edits(series), *_cancelled(at, paper)])


def _take(at: At, series: SeriesState, year: Year, words: Words) -> tuple[str, tuple[int, int], int]:
    """Count on, over numbers that an invoice from elsewhere has already: those are noted as gaps."""
    holder, pattern = series.holder, series.pattern
    assert holder is not None and pattern is not None, "at.check has looked"
    place = holder.term, series.year(year(at.now_ms))
    n = next_number(place, series.counts, series.start)
    first, _ = series.ranges.get(place, (n, n))
    while at.host.store.holding(INVOICE, ("number",), number := pattern.number(place[0], place[1] or None, n)):
        reason = "an invoice that came from elsewhere has this number"
        series.record.gaps.add(SeriesGap(
            term=place[0], year=place[1], first=n, last=n, reason=reason, author=words.author, at=time_of(at.now_ms)
        ))  # fmt: skip
        n += 1
    key, count = count_key(place), SeriesCount(first=first, last=n)
    counts = series.record.counts
    if key in dict(counts.items()):
        counts.change(key, count)
    else:
        counts.add(count, key=key)
    return number, place, n


def _cancelled(at: At, paper: Paper) -> list[RecordEdits]:
    """The invoice that this one cancels, cancelled in the same commit."""
    cancels = paper.invoice.cancels
    if not cancels or at.look(INVOICE, RecordId(cancels)) is None:
        return []
    other = Paper.load(at.host, cancels)
    if other.invoice.status == "cancelled":
        return []
    other.invoice.status = "cancelled"
    return [other.edits()]


def make_ready(
    at: At, record: str, name: str | None, year: Year, words: Words, *, stand_in: bool = False
) -> WriteRequest | None:
    """Make an invoice ready in a series, and issue it in the same commit where that series is held here.

    None when there is nothing to be done here: it has a number, or is ready and waits for the holder. `stand_in` takes
    the series of this site that stands in for the one that is meant. Raises NotFound, RefusedError.
    """
    paper = Paper.load(at.host, record)
    if paper.numbers:
        return None
    series = meant(at, paper, name)
    if stand_in and not series.held_by(at.replica):
        series = stand_in_for(at, series)
    if series.wrong:
        raise RefusedError(series.wrong)
    if paper.wrong():
        raise RefusedError(paper.wrong())
    if paper.invoice.status not in (None, "draft", "ready"):
        raise RefusedError(f"invoice {record} is {paper.invoice.status}, and gets no number")
    ready = paper.invoice.status == "ready" and paper.series == [series.name]
    if paper.invoice.status == "ready" and not ready and not stand_in and paper.series:
        raise RefusedError(
            f"invoice {record} waits for a number of the series {paper.series[0]}: set its status back to draft first, "
            "or take the series of this site that stands in for it (--stand-in)"
        )
    if not ready:
        paper.invoice.series = series.name
        paper.invoice.status = "ready"
    if series.held_by(at.replica) and not at.refusal():
        return issue(at, paper, series, year, words)
    return None if ready else words.request([paper.edits()])


def meant(at: At, paper: Paper, name: str | None) -> SeriesState:
    """The series that is named, or that the invoice names, or the only one. Raises NotFound, RefusedError, BadValue."""
    if name is not None:
        return known(at.look, name)
    if len(paper.series) == 1:
        return known(at.look, paper.series[0])
    found = [each for each in every(at.host.store, at.look) if not each.record.stands_in_for]
    if len(found) != 1:
        raise BadValue("say of which series the invoice is to get its number (--series NAME); `series list` shows them")
    return found[0]


def stand_in_for(at: At, series: SeriesState) -> SeriesState:
    """The series that this site has in the place of another one. Raises RefusedError."""
    for each in every(at.host.store, at.look):
        meant_for = each.record.stands_in_for
        if meant_for and meant_for.casefold() == series.name.casefold() and each.held_by(at.replica):
            return each
    raise RefusedError(
        f"this site has no series that stands in for {series.name}: the practice may set one up (series add NAME "
        f"--stands-in-for {series.name} --holder SITE)"
    )


def cancellation(record: str) -> RecordId:
    """The record id of the invoice that cancels another one: asked for twice, there is one."""
    return record_id_from("cancellation", record)


def cancel(at: At, record: str, name: str | None, year: Year, words: Words) -> WriteRequest | None:
    """Make the invoice that cancels another one, ready in a series, and issue it where that is held here.

    None where it is there. Raises NotFound; RefusedError for an invoice without a number, or one that is cancelled.
    """
    paper = Paper.load(at.host, record)
    if at.look(INVOICE, cancellation(record)) is not None:
        return make_ready(at, cancellation(record), name, year, words)
    if not paper.numbers:
        raise RefusedError(f"invoice {record} has no number: set its status to cancelled, nothing more is needed")
    if paper.invoice.status == "cancelled" or paper.invoice.cancels:
        raise RefusedError(f"invoice {record} is cancelled already, or is itself a cancellation")
    if paper.wrong():
        raise RefusedError(paper.wrong())
    series = meant(at, paper, name)
    made = Invoice(
        patient=paper.invoice.patient,
        recipient=paper.invoice.recipient,
        lines=_negated(paper.invoice.lines),
        cancels=paper.id,
        series=series.name,
        status="ready",
    )
    made.id = cancellation(record)
    fresh = _Fresh(made)
    if series.held_by(at.replica) and not at.refusal():
        return issue(at, fresh, series, year, words)
    return words.request([fresh.edits()])


def _negated(lines: Entries[InvoiceLine]) -> Entries[InvoiceLine]:
    """The same lines with their amounts taken back, under keys that everybody makes alike."""
    found: Entries[InvoiceLine] = Entries()
    for index, line in enumerate(lines):
        amount = None if line.amount_cents is None else -line.amount_cents
        found.add(line.model_copy(update={"amount_cents": amount}), key=f"{index:04}-cancelled")
    return found


class _Fresh(Paper):
    """An invoice that is made in the same commit."""

    def __init__(self, invoice: Invoice) -> None:
        self.id = invoice.id
        self.content = Content({}, {})
        self.subject = subject_of(invoice)
        self.invoice = invoice


def author_of(at: At, commit: str) -> str:
    """Who wrote a commit that a document names; empty where that is not known here."""
    tag, _, sequence = commit.rpartition(".")
    for log in at.host.engine.frontier():
        if log_tag(log) == tag:
            account = at.host.engine.accounts([CommitId(log, int(sequence))]).get(CommitId(log, int(sequence)))
            return "" if account is None else account.author
    return ""


def issue_waiting(at: At, record: RecordId, year: Year) -> WriteRequest | None:
    """Issue an invoice that waits for a number of a series held here; None where it does so no more."""
    paper = Paper.load(at.host, record)
    if paper.numbers or paper.states != ["ready"] or len(paper.series) != 1:
        return None
    series = find(at.look, paper.series[0])
    if series is None or not series.held_by(at.replica):
        return None
    _, commit = paper.ready_since()
    return issue(at, paper, series, year, Words(author_of(at, commit), BY_ITSELF))
