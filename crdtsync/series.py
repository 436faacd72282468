"""Series of invoice numbers as applications and the command line use them: set up, used, handed on, listed.

    await site.add_series("R1", "R1-{year}-{n:05}", author="admin")
    told = await site.issue(invoice.id, "R1", author="empfang")      # {"number": "R1-2026-00001", "series": "R1", …}

The holder of a series gives its numbers, wherever they are asked for: an invoice that is made ready travels to the
holder like every record, is issued there, and comes back with its number. Where the holder is not reached it stays
ready, and is issued on contact.
"""

from __future__ import annotations

import csv
import io
import time
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Any, Final, TypeVar

import anyio

from crdtsync import limits
from crdtsync.authority.series import Given as GivenLine
from crdtsync.authority.series import Line, audit
from crdtsync.documents import Content, Document
from crdtsync.driver import Driver
from crdtsync.duties import why_waiting
from crdtsync.engine import WriteGrant
from crdtsync.errors import AuthorityUnreachable, CrdtSyncError, NotFound, RefusedError
from crdtsync.host import Deciding, Host
from crdtsync.ids import RecordId, ReplicaId, base32, from_base32
from crdtsync.issuing import INVOICE, At, Paper, Words, cancellation
from crdtsync.series_state import Given, SeriesState, every, known, values_of

T = TypeVar("T")
COLUMNS: Final = (
    "number", "term", "year", "n", "invoice", "issued_at", "holder", "cancelled_by", "gap", "unseen",
)  # fmt: skip
"""What a line of the audit has, in the order of its CSV form."""
_CLIENT: Final = 1


async def decide(driver: Driver, deciding: Deciding) -> None:
    """Carry out what is decided in the store's thread. Raises what it refuses."""
    outcome = await driver.write(deciding)
    if outcome.error is not None:
        raise outcome.error


# --- setting up, and handing on ---------------------------------------------------------------------------------------


async def add(
    driver: Driver, name: str, pattern: str, holder: str | None, start: int, stands_in_for: str | None, words: Words
) -> dict[str, Any]:
    """See `Site.add_series`."""
    await decide(driver, driver.duties.add_series(name, pattern, holder, start, stands_in_for, words))
    return await one(driver, name)


async def listed(driver: Driver) -> list[dict[str, Any]]:
    """All series, by their names."""

    def read(host: Host) -> list[dict[str, Any]]:
        return [_shown(host, each) for each in every(host.store, _look(host))]

    return sorted(await driver.in_order(read), key=lambda each: str(each["name"]))


async def one(driver: Driver, name: str) -> dict[str, Any]:
    """One series. Raises NotFound."""
    return await driver.in_order(lambda host: _shown(host, known(_look(host), name)))


def _look(host: Host) -> Callable[[str, RecordId], Content | None]:
    """Looks up records as they are derived: a read, that waits for nothing."""

    def look(kind: str, record: RecordId) -> Content | None:
        stored = host.store.document(kind, record)
        return None if stored is None else Document(_CLIENT, stored.state).content()

    return look


def _shown(host: Host, series: SeriesState) -> dict[str, Any]:
    last, record = series.holder, series.record
    return {
        "name": series.name,
        "id": record.id,
        "pattern": record.pattern,
        "start": series.start,
        "stands_in_for": record.stands_in_for,
        "holder": None if last is None else _called(host, last.holder, series.site),
        "replica": None if last is None else last.holder,
        "term": None if last is None else last.term,
        "held_here": series.held_by(base32(host.replica)),
        "wrong": series.wrong or None,
        "terms": [
            {
                "term": each.term,
                "step": each.step,
                "holder": each.site,
                "how": each.how,
                "author": each.author,
                "reason": each.reason,
                "at": None if each.at is None else each.at.isoformat(timespec="milliseconds"),
            }
            for each in sorted(record.terms, key=lambda each: (each.term, each.step, each.holder))
        ],
    }


def _called(host: Host, replica: str, otherwise: str) -> str:
    """How a site is called now."""
    member = host.membership.members.get(ReplicaId(from_base32(replica)))
    return otherwise if member is None else member.name


async def hand_over(driver: Driver, name: str, to: str, words: Words, wait: float) -> dict[str, Any]:
    """See `Site.hand_over`."""
    await decide(driver, driver.duties.hand_over(name, to, words))

    async def moved() -> dict[str, Any] | None:
        shown = await one(driver, name)
        return shown if shown["holder"] == to else None

    then = f"it hands {name} over when it hears of this, if it still has it then; nothing more needs to be done"
    return await _awaited(driver, moved, (await one(driver, name)), wait, then)


async def take_over(driver: Driver, name: str, to: str | None, words: Words) -> dict[str, Any]:
    """See `Site.take_over`."""
    await decide(driver, driver.duties.take_over(name, to, words))
    return await one(driver, name)


# --- numbers ----------------------------------------------------------------------------------------------------------


async def issue(
    driver: Driver, invoice: str, name: str | None, words: Words, wait: float, *, stand_in: bool = False
) -> dict[str, Any]:
    """See `Site.issue`."""
    await decide(driver, driver.duties.make_ready(invoice, name, words, stand_in=stand_in))
    return await _number(driver, invoice, wait)


async def cancel(driver: Driver, invoice: str, name: str | None, words: Words, wait: float) -> dict[str, Any]:
    """See `Site.cancel_invoice`."""
    await decide(driver, driver.duties.cancel(invoice, name, words))
    made = cancellation(invoice)
    return {"invoice": made, **await _number(driver, made, wait)}


async def _number(driver: Driver, invoice: str, wait: float) -> dict[str, Any]:
    """The number of an invoice that is ready, as soon as it is known here."""

    async def given() -> dict[str, Any] | None:
        return await driver.in_order(lambda host: _given(host, invoice))

    told = await given()
    if told is not None:
        return told
    grant = driver.grant()
    series = await driver.in_order(lambda host: _series_of(host, invoice, grant))
    then = f"invoice {invoice} is ready, and is issued on contact; asking again is safe"
    return await _awaited(driver, given, series, wait, then)


async def _awaited(
    driver: Driver, look: Callable[[], Awaitable[T | None]], series: dict[str, Any], wait: float, then: str
) -> T:
    """Wait until the holder of a series has done what was asked of it, as records tell. Nobody is waited for while no
    other site is linked. Raises AuthorityUnreachable."""
    if not driver.replica.peers:
        wait = 0.0
    with anyio.move_on_after(wait):
        while True:
            seen = driver.changed.count
            found = await look()
            if found is not None:
                return found
            driver.check()
            await driver.changed.beyond(seen)
    found = await look()
    if found is not None:
        return found
    heard = driver.last_heard.get(ReplicaId(from_base32(str(series["replica"]))))
    since = None if heard is None else time.strftime("%Y-%m-%dT%H:%M:%S+00:00", time.gmtime(heard))
    raise AuthorityUnreachable(str(series["holder"]), since, then)


def _given(host: Host, invoice: str) -> dict[str, Any] | None:
    """What `issue` tells, once there is a number."""
    paper = Paper.load(host, invoice)
    number = paper.invoice.number
    if number is None:
        return None
    for issued in values_of(paper.content, "issued_content"):
        given = Given.of(issued)
        if given is not None and given.number == number:
            return {"number": number, "series": given.series, "term": given.place[0]}
    return {"number": number, "series": paper.invoice.series, "term": None}


def _series_of(host: Host, invoice: str, grant: WriteGrant) -> dict[str, Any]:
    """The series that an invoice waits for. Raises RefusedError where it is held here, and no number is given."""
    paper = Paper.load(host, invoice)
    found = [_shown(host, known(_look(host), name)) for name in paper.series]
    if len(found) != 1 or found[0]["replica"] is None:
        raise NotFound(f"invoice {invoice} names no series that somebody holds")
    if found[0]["held_here"]:
        why = why_waiting(At(host, grant, host.now_ms()), invoice)
        raise RefusedError(f"invoice {invoice} stays ready, and is issued as soon as it can be: {why}")
    return found[0]


# --- looking over what was given --------------------------------------------------------------------------------------


async def audited(driver: Driver, name: str) -> list[dict[str, Any]]:
    """See `Site.series_audit`."""
    lines = await driver.in_order(lambda host: lines_of(host, name))
    return [_line(line) for line in lines]


def lines_of(host: Host, name: str) -> list[Line]:
    """Every number of a series. Raises NotFound."""
    look = _look(host)
    series = known(look, name)
    if series.pattern is None:
        raise RefusedError(series.wrong)
    return audit(series.pattern, series.ranges, _all_given(host, series.name), series.gaps())


def _all_given(host: Host, name: str) -> list[GivenLine]:
    """What invoices say of numbers of a series, also those that have several."""
    store, look = host.store, _look(host)
    records = [row[0] for row in store.holding(INVOICE, ("series",), name)]
    for conflicts in range(1, limits.invoice_fields_max):
        records += [row[0] for row in store.holding(INVOICE, ("conflicted",), conflicts)]
    found: list[GivenLine] = []
    for record in dict.fromkeys(records):
        content = look(INVOICE, record)
        numbers = [] if content is None else values_of(content, "number")
        for issued in [] if content is None else values_of(content, "issued_content"):
            given = Given.of(issued)
            if content is not None and given is not None and given.series == name and given.number in numbers:
                by = _cancelled_by(host, record, content)
                found.append(GivenLine(given.place, given.n, record, given.at, given.holder, by))
    return found


def _cancelled_by(host: Host, record: str, content: Content) -> str:
    """The number, or else the id, of the invoice that cancels one that is cancelled."""
    if "cancelled" not in values_of(content, "status"):
        return ""
    by = host.store.holding(INVOICE, ("cancels", "number"), record)
    return str(by[0][2] or by[0][0]) if by else ""


def _line(line: Line) -> dict[str, Any]:
    given = line.given
    return {
        "number": line.number,
        "term": line.place[0],
        "year": line.place[1] or None,
        "n": line.n,
        "invoice": None if given is None else given.invoice,
        "issued_at": None if given is None else given.at,
        "holder": None if given is None else given.holder,
        "cancelled_by": None if given is None else given.cancelled_by or None,
        "gap": None if given is not None else line.reason or "nobody knows: look after this",
        "unseen": line.unseen,
    }


def as_csv(lines: Iterable[dict[str, Any]]) -> str:
    """The audit as CSV (RFC 4180), with a line of names."""
    text = io.StringIO()
    writer = csv.DictWriter(text, COLUMNS)
    writer.writeheader()
    writer.writerows(lines)
    return text.getvalue()


async def waiting(driver: Driver) -> dict[str, Any]:
    """For `status`, which answers also when the disk refuses: whether numbers may be given, the series that are held
    here, and the invoices that wait for a number, with why."""
    try:
        grant = driver.grant()
    except RefusedError as error:
        grant, refused = None, str(error)
    else:
        refused = ""

    def read(host: Host) -> dict[str, Any]:
        numbers = host.numbers
        at = None if grant is None else At(host, grant, host.now_ms())
        held = [each for each in every(host.store, _look(host)) if each.held_by(base32(host.replica))]
        rows: Sequence[tuple[Any, ...]] = host.store.holding(INVOICE, ("status", "series"), "ready")
        return {
            "numbers": {
                "unconfirmed": numbers.unconfirmed,
                "series_closed": numbers.series_closed,
                "ranges_closed": numbers.ranges_closed,
                "refused": refused or (numbers.refusal(grant) if grant is not None else "") or None,
            },
            "series_held": sorted(each.name for each in held),
            "invoices_waiting": [
                {"invoice": row[0], "series": row[2], "why": refused if at is None else why_waiting(at, row[0])}
                for row in rows[: limits.waiting_invoices_shown_max]
                if row[2] is not None
            ],
        }

    try:
        return await driver.in_order(read)
    except CrdtSyncError as error:
        unknown = {"unconfirmed": None, "series_closed": None, "ranges_closed": None, "refused": str(error)}
        return {"numbers": unknown, "series_held": [], "invoices_waiting": []}
